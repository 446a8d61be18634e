"""The discrete-event model of a run: job, failures, repair and checkpoints on one cluster."""

from simulator.cluster.plan import RunPlan, plan_run, reprice
from simulator.cluster.trial import TrialResult, run_trial

__all__ = ["RunPlan", "TrialResult", "plan_run", "reprice", "run_trial"]

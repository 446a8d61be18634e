"""The best checkpoint interval by simulation, where no closed form holds: tiers, storms, planned stops, slow writes."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from simulator.cluster import RunPlan, plan_run, run_trial
from simulator.cluster.checkpoints import interval_s
from simulator.montecarlo.streams import stream
from simulator.scenario import Scenario

TRIALS = 64
_SPAN = 8.0  # times Daly's optimum, up and down
_TOLERANCE = 0.02  # of the logarithm of the interval


def with_interval(scenario: Scenario, tau_s: float) -> Scenario:
    """Return the scenario with a fixed interval."""
    return scenario.model_copy(update={"checkpoint": scenario.checkpoint.model_copy(update={"interval_s": tau_s})})


def best_interval_s(scenario: Scenario, trials: int = TRIALS) -> float:
    """Return the computing time between checkpoints with the shortest mean run, s.

    Bounded minimisation (scipy) of the mean wall time over the logarithm of the interval, around Daly's optimum. All intervals
    are tried with the same luck (common random numbers), of streams that no trial of a study uses.
    """
    from scipy.optimize import minimize_scalar

    central = scenario.central()
    plan = plan_run(central)
    start_s = interval_s(central, plan.checkpoint, plan.mtbf_s)
    if not math.isfinite(start_s) or not math.isfinite(plan.mtbf_s):
        return start_s
    seed = scenario.monte_carlo.seed

    def mean_time_s(log_tau: float) -> float:
        candidate: RunPlan = plan_run(with_interval(central, math.exp(log_tau)), plan.estimates)
        return float(np.mean([run_trial(candidate, partial(_searching, seed, trial)).row["time_s"] for trial in range(trials)]))

    low, high = math.log(start_s / _SPAN), math.log(start_s * _SPAN)
    found = minimize_scalar(mean_time_s, bounds=(low, high), method="bounded", options={"xatol": _TOLERANCE})
    return max(math.exp(float(found.x)), plan.checkpoint.persist_s)


def _searching(seed: int, trial: int, purpose: str) -> np.random.Generator:
    return stream(seed, trial, f"interval search: {purpose}")

"""Monte Carlo: random streams, trials, executors, and the study they make; of a fleet that serves: `montecarlo.serving`."""

from simulator.montecarlo.queueing import QueueStudy, run_queue_study
from simulator.montecarlo.study import Study, run_study

__all__ = ["QueueStudy", "Study", "run_queue_study", "run_study"]

"""Monte Carlo: random streams, trials, executors, and the study they make."""

from simulator.montecarlo.queueing import QueueStudy, run_queue_study
from simulator.montecarlo.serving import ServeStudy, run_serve_study
from simulator.montecarlo.study import Study, run_study

__all__ = ["QueueStudy", "ServeStudy", "Study", "run_queue_study", "run_serve_study", "run_study"]

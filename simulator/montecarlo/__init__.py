"""Monte Carlo: random streams, trials, executors, and the study they make."""

from simulator.montecarlo.executors import run_study
from simulator.montecarlo.study import Study

__all__ = ["Study", "run_study"]

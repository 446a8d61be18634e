"""Layout and cluster to step estimates: time, memory, FLOPs and power of one step."""

from simulator.performance.estimate import StepEstimate, estimate_steps, longest
from simulator.performance.search import choose_layout, search

__all__ = ["StepEstimate", "choose_layout", "estimate_steps", "longest", "search"]

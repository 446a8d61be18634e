"""Plots of a study, each a function that draws in the axes given, or in new ones, and returns them."""

from simulator.report.plots.breakdown import breakdown_bars, spread, waterfall
from simulator.report.plots.drivers import tornado
from simulator.report.plots.outcomes import chance, distribution, goals_map, overlay
from simulator.report.plots.runs import convergence, timeline
from simulator.report.plots.steps import gantt, power, power_spectrum, roofline, scaling
from simulator.report.plots.validation import validation

__all__ = ["breakdown_bars", "chance", "convergence", "distribution", "gantt", "goals_map", "overlay", "power", "power_spectrum",
           "roofline", "scaling", "spread", "timeline", "tornado", "validation", "waterfall"]

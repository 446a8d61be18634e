"""A step estimate as a notebook shows it: time by phase, memory by term."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator import html

if TYPE_CHECKING:
    from simulator.performance.estimate import StepEstimate


def step_html(estimate: StepEstimate) -> str:
    """Return time, MFU and layout, and the tables of phases and of memory; phases add up to the step."""
    from simulator.performance.search import describe

    whole_s = estimate.step_time_s
    watts = estimate.energy.compute_j + estimate.energy.communication_j + estimate.energy.bubble_j
    rest = (f", MFU {estimate.mfu:.1%}, HFU {estimate.hfu:.1%}, {estimate.batch.tokens_per_step / whole_s:,.0f} tokens/s"
            + ("" if math.isnan(watts) else f", {watts / estimate.step.time_s:,.0f} W an accelerator"))
    times_s = {**estimate.phases_s, "waiting for the slowest": whole_s - estimate.step.time_s}
    phases = [(name.removesuffix("_s").replace("_", " "), f"{time_s:.4g}", f"{time_s / whole_s:.1%}", html.bar(time_s / whole_s))
              for name, time_s in times_s.items() if time_s > 1e-6 * whole_s]
    memory = estimate.memory
    terms = [(name.replace("_", " "), f"{size / 2**30:.1f}", f"{size / memory.total:.1%}", html.bar(size / memory.total))
             for name, size in memory._asdict().items() if size > 0.0 and name != "total"]
    return "".join((
        html.heading(f"Step of {whole_s:.4g} s", rest), html.line(f"layout {describe(estimate.layout)}"),
        html.table(("phase", "s", "share", ""), [*phases, ("step", f"{whole_s:.4g}", "100.0%", "")], left=(0, 3)),
        html.folded(f"Memory: {memory.total / 2**30:.1f} GiB of the fullest accelerator",
                    html.table(("term", "GiB", "share", ""), terms, left=(0, 3)))))

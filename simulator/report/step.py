"""The views of a step: phases, memory, bytes by parallel dimension and the schedule of each stretch of the batch schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.performance import StepEstimate, longest
from simulator.performance.dimensions import Dimension, dimensions
from simulator.performance.schedule import Schedule, batch_s, step_schedule
from simulator.performance.search import describe
from simulator.report.lanes import bytes_text, lanes, phases, seconds_text
from simulator.report.tables import plain_table
from simulator.report.text_gantt import TextGantt
from simulator.scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR = 24


def step_json(scenario: Scenario, estimates: tuple[StepEstimate, ...]) -> list[dict[str, Any]]:
    """Return the estimates in SI, ready for JSON."""
    return [
        {
            "steps": e.batch.steps, "tokens": e.batch.tokens_per_step, "sequence": e.batch.sequence,
            "time_s": e.step_time_s, "straggler_factor": e.straggler_factor, "mfu": e.mfu, "hfu": e.hfu,
            "phases_s": e.phases_s,
            "dimensions": {d.name: {key: value for key, value in vars(d).items() if key != "name"}
                           for d in dimensions(scenario, e)},
            "schedule": _schedule_json(step_schedule(scenario, e), e),
            "memory_bytes": e.memory._asdict(),
            "energy_per_accelerator_j": {k: None if math.isnan(v) else v for k, v in e.energy._asdict().items()},
            "tokens_per_s": e.batch.tokens_per_step / e.step_time_s, "layout": e.layout.to_file(),
        }
        for e in estimates
    ]


def _schedule_json(schedule: Schedule, estimate: StepEstimate) -> dict[str, Any]:
    """Return seconds of one microbatch on each stage, and of all of them, block by block and by the estimate."""
    times = schedule.times
    return {
        "kind": schedule.kind, "microbatches": schedule.microbatches, "chunks": schedule.chunks,
        "makespan_s": schedule.makespan_s, "estimate_s": batch_s(schedule, estimate), "idle_share": schedule.idle_share,
        "transfer_s": times.transfer_s,
        "stages": [
            {"layers": float(layers), "forward_s": float(forward), "backward_s": float(backward), "recompute_s": float(again),
             "weight_gradient_s": float(weight), "busy_s": float(busy)}
            for layers, forward, backward, again, weight, busy in zip(
                times.layers.sum(axis=1), times.forward_s.sum(axis=1), times.backward_s.sum(axis=1),
                times.recompute_s.sum(axis=1), times.weight_gradient_s.sum(axis=1), schedule.busy_s, strict=True)
        ],
    }


def step_title(scenario: Scenario) -> str:
    """Return the model and what it runs on, in one line."""
    return f"{scenario.model.name} on {scenario.cluster.accelerators:,} x {scenario.cluster.accelerator.name}"


def step_picture(scenario: Scenario, estimates: tuple[StepEstimate, ...]) -> Figure:
    """Return the picture of the longest stretch's step."""
    from simulator.report.gantt import step_figure

    main = longest(estimates)
    return step_figure(step_title(scenario), f"layout {describe(main.layout)}", main,
                       lanes(step_schedule(scenario, main), main), dimensions(scenario, main))


def step_view(scenario: Scenario, estimates: tuple[StepEstimate, ...]) -> Group:
    """Return one line a stretch, and of the longest one: the schedule, time by phase, bytes by dimension, memory by term."""
    main = longest(estimates)
    head = Text.assemble((step_title(scenario), "bold"), f"\nLayout {describe(main.layout)}")
    stretches = plain_table("\nStretches of the batch schedule", "tokens a step", "steps", "step s", "MFU")
    for e in estimates:
        stretches.add_row(f"{e.batch.tokens_per_step:,.0f}", f"{e.batch.steps:,}", f"{e.step_time_s:.4g}", f"{e.mfu:.1%}")
    parts: list[RenderableType] = [head, stretches, TextGantt(lanes(step_schedule(scenario, main), main), main),
                                   _phase_table(main, len(estimates))]
    found = dimensions(scenario, main)
    if found:
        parts.append(_dimension_table(found))
    ends = (f"\nMFU {main.mfu:.1%}, HFU {main.hfu:.1%}, {main.batch.tokens_per_step / main.step_time_s:,.0f} tokens/s, "
            f"{main.step.hardware_flops / main.step.time_s / 1e12:.0f} TFLOP/s an accelerator with recomputation")
    return Group(*parts, _memory_table(main, scenario.cluster.accelerator.memory_bytes), Text(ends))


def _phase_table(main: StepEstimate, stretches: int) -> Table:
    title = "\nTime on the mean accelerator" + (", longest stretch" if stretches > 1 else "")
    table = plain_table(title, "phase", "s", "share", "")
    for row in phases(main):
        share = row.time_s / main.step_time_s
        table.add_row(row.label, f"{row.time_s:.4g}", f"{share:.1%}", "█" * round(_BAR * share))
    table.add_row("step", f"{main.step_time_s:.4g}", "100.0%", "")
    return table


def _dimension_table(found: tuple[Dimension, ...]) -> Table:
    table = plain_table("\nBy parallel dimension, one accelerator in a step", "dimension", "ranks", "exposed", "sent", "over",
                        "link busy")
    for d in found:
        table.add_row(d.name, f"{d.ranks:,}", seconds_text(d.exposed_s), bytes_text(d.sent_bytes), d.link, f"{d.link_share:.1%}")
    return table


def _memory_table(main: StepEstimate, capacity_bytes: float) -> Group:
    # The title is wider than the table, which would break it.
    title = Text(f"\nMemory of the fullest accelerator, of {capacity_bytes / 2**30:.1f} GiB", style="bold")
    table = plain_table("", "term", "GiB", "share", "")
    for name, value in main.memory._asdict().items():
        share = value / capacity_bytes
        bar = "█" * round(_BAR * share) if name != "total" else ""
        table.add_row(name.replace("_", " "), f"{value / 2**30:.1f}", f"{share:.1%}", bar)
    return Group(title, table)

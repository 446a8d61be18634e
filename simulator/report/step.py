"""The terminal view of a step: phases, memory and FLOPs of each stretch of the batch schedule."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator.performance import StepEstimate, longest
from simulator.performance.search import describe
from simulator.report.tables import plain_table

_BAR = 30
_PHASES = {
    "gemm_s": "matrix products", "attention_s": "attention", "memory_s": "memory-bound operators", "optimizer_s": "optimizer",
    "tensor_s": "tensor-parallel collectives", "context_s": "context-parallel collectives",
    "expert_s": "expert all-to-alls", "pipeline_s": "pipeline transfers", "data_s": "data-parallel collectives",
    "bubble_s": "pipeline bubble and imbalance",
}


def step_json(estimates: tuple[StepEstimate, ...]) -> list[dict[str, Any]]:
    """Return the estimates in SI, ready for JSON."""
    return [
        {
            "steps": e.batch.steps, "tokens": e.batch.tokens_per_step, "sequence": e.batch.sequence,
            "time_s": e.step_time_s, "straggler_factor": e.straggler_factor, "mfu": e.mfu, "hfu": e.hfu,
            "phases_s": e.phases_s,
            "memory_bytes": e.memory._asdict(), "energy_per_accelerator_j": e.energy._asdict(),
            "tokens_per_s": e.batch.tokens_per_step / e.step_time_s, "layout": e.layout.to_file(),
        }
        for e in estimates
    ]


def step_view(estimates: tuple[StepEstimate, ...], capacity_bytes: float) -> Group:
    """Return the longest stretch's step by phase and memory by term, and one line for each stretch."""
    main = longest(estimates)
    parts: list[Table | Text] = [Text(f"Layout {describe(main.layout)}")]
    stretches = plain_table("\nStretches of the batch schedule", "tokens a step", "steps", "step s", "MFU")
    for e in estimates:
        stretches.add_row(f"{e.batch.tokens_per_step:,.0f}", f"{e.batch.steps:,}", f"{e.step_time_s:.4g}", f"{e.mfu:.1%}")
    phases = plain_table("\nTime on the mean accelerator, longest stretch", "phase", "s", "share", "")
    for name, label in _PHASES.items():
        value = main.phases_s[name]
        if value > 0.0:
            share = value / main.step_time_s
            phases.add_row(label, f"{value:.4g}", f"{share:.1%}", "█" * round(_BAR * share))
    late = main.step_time_s - main.step.time_s
    if late > 0.0:
        phases.add_row("waiting for the slowest", f"{late:.4g}", f"{late / main.step_time_s:.1%}",
                       "█" * round(_BAR * late / main.step_time_s))
    phases.add_row("step", f"{main.step_time_s:.4g}", "100.0%", "")
    memory = plain_table(f"\nMemory of the fullest accelerator, of {capacity_bytes / 2**30:.1f} GiB", "term", "GiB", "share", "")
    for name, value in main.memory._asdict().items():
        share = value / capacity_bytes
        memory.add_row(name, f"{value / 2**30:.1f}", f"{share:.1%}", "█" * round(_BAR * share) if name != "total" else "")
    ends = (f"\nMFU {main.mfu:.1%}, HFU {main.hfu:.1%}, {main.batch.tokens_per_step / main.step_time_s:,.0f} tokens/s, "
            f"{main.step.hardware_flops / main.step.time_s / 1e12:.0f} TFLOP/s an accelerator with recomputation")
    return Group(*parts, stretches, phases, memory, Text(ends))

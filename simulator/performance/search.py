"""The layout search: every feasible layout, by step time; and the message when one does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from kernels.memory import Memory
from simulator.errors import UserError
from simulator.performance.estimate import memory_of, step_of
from simulator.scenario import Layout, Scenario
from simulator.workload import StepBatch, step_batches

_GIB = 2.0**30


def _powers_and_divisors(limit: int, number: int) -> list[int]:
    return [n for n in range(1, min(limit, number) + 1) if number % n == 0]


def candidate_layouts(scenario: Scenario, batch: StepBatch) -> Iterator[Layout]:
    """Yield the layouts that divide cluster and heads evenly and use every replica, before memory is asked."""
    model, cluster = scenario.model, scenario.cluster
    n = cluster.accelerators
    tensors = [t for t in _powers_and_divisors(cluster.accelerator.scale_up_domain, model.heads) if n % t == 0 and t <= 64]
    experts = model.mixture_of_experts.experts if model.mixture_of_experts else 1
    for tensor in tensors:
        for pipeline in (p for p in _powers_and_divisors(min(model.layers, 128), n // tensor)):
            data = n // tensor // pipeline
            # Batches of 16 M tokens divide by nothing: a remainder is allowed, and costs a whole microbatch.
            for microbatch in (b for b in (1, 2, 4, 8) if batch.sequences >= data * b):
                for expert in (e for e in (1, 8, 16, 32, 64) if experts % e == 0 and (tensor * data) % e == 0):
                    if expert > experts:
                        continue
                    zeros: tuple[Literal[1, 3], ...] = (1, 3) if pipeline == 1 else (1,)
                    for zero in zeros:
                        chunked = pipeline > 1 and -(-model.layers // pipeline) > 1
                        schedule: Literal["1f1b", "interleaved"] = "interleaved" if chunked else "1f1b"
                        yield Layout.model_construct(
                            tensor=tensor, pipeline=pipeline, virtual_pipeline=1, context=1, expert=expert, data=data,
                            microbatch=microbatch, zero=zero, schedule=schedule, sequence_parallel=True,
                            overlap_data=True, overlap_expert=False)


def feasible_layouts(scenario: Scenario, recompute: str) -> list[tuple[float, Layout]]:
    """Return (step time in s, layout) of every layout that fits in memory, fastest first, for the largest batch."""
    batch = max(step_batches(scenario.training), key=lambda b: b.steps * b.tokens_per_step)
    capacity = scenario.cluster.accelerator.memory_bytes
    found = [
        (step_of(scenario, layout, batch, recompute).time_s, layout)
        for layout in candidate_layouts(scenario, batch)
        if memory_of(scenario, layout, batch, recompute).total <= capacity
    ]
    return sorted(found, key=lambda item: item[0])


def choose_layout(scenario: Scenario) -> Layout:
    """Return the fastest layout that fits; raise UserError where none does."""
    found = feasible_layouts(scenario, scenario.training.recompute)
    if not found:
        hint = ""
        for recompute in ("selective", "full"):
            if feasible_layouts(scenario, recompute):
                hint = f"; with training.recompute: {recompute} there is one"
                break
        raise UserError(f"training.layout: auto finds no layout of {scenario.model.name} on "
                        f"{scenario.cluster.accelerators} x {scenario.cluster.accelerator.name} that fits in memory{hint}")
    return found[0][1]


def describe(layout: Layout) -> str:
    """Return a layout in one line, as a scenario file writes it."""
    parts = [f"tensor: {layout.tensor}", f"pipeline: {layout.pipeline}", f"data: {layout.data}"]
    if layout.expert > 1:
        parts.append(f"expert: {layout.expert}")
    parts += [f"microbatch: {layout.microbatch}", f"zero: {layout.zero}", f"schedule: {layout.schedule}"]
    return "{" + ", ".join(parts) + "}"


def _distance(a: Layout, b: Layout) -> float:
    keys = ("tensor", "pipeline", "microbatch", "expert", "zero")
    return sum(getattr(a, k) != getattr(b, k) for k in keys)


def refuse_oversize(scenario: Scenario, layout: Layout, batch: StepBatch, memory: Memory) -> None:
    """Raise the error of a layout that does not fit: the terms, the overflow, the nearest layouts that do fit."""
    capacity = scenario.cluster.accelerator.memory_bytes
    terms = {k: v for k, v in memory._asdict().items() if k != "total"}
    largest = max(terms, key=lambda k: terms[k])
    listed = ", ".join(f"{k} {v / _GIB:.1f}" for k, v in sorted(terms.items(), key=lambda kv: -kv[1]))
    lines = [
        f"training.layout: {scenario.model.name} needs {memory.total / _GIB:.1f} GiB on the fullest accelerator; "
        f"{scenario.cluster.accelerator.name} has {capacity / _GIB:.1f} GiB: "
        f"{(memory.total - capacity) / _GIB:.1f} GiB too much",
        f"  by term (GiB): {listed}; the largest is {largest}",
    ]
    options: list[tuple[float, float, str]] = []
    for recompute in ("none", "selective", "full"):
        changed = float(recompute != scenario.training.recompute)
        for time_s, other in feasible_layouts(scenario, recompute):
            text = describe(other) + (f" with recompute: {recompute}" if changed else "")
            options.append((_distance(layout, other) + changed, time_s, text))
    if options:
        lines.append("  nearest layouts that fit:")
        lines += [f"    {text}  (step {time_s:.2f} s)" for _, time_s, text in sorted(options)[:3]]
    else:
        lines.append(f"  no layout fits on {scenario.cluster.accelerators} accelerators; use more, or ones with more memory")
    raise UserError("\n".join(lines))

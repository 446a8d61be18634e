"""The layout search: every legal layout, priced in bulk; and the message when one does not fit.

Legal: tensor divides heads and stays in a scale-up domain; pipeline x chunks is at most the layers, and two where the end
chunks hold embedding and head alone; interleaving has a microbatch for every stage; context divides the sequence; experts
divide evenly; every data rank has a microbatch. The overlap, schedule and method settings that are no sizes take the defaults
of a scenario's layout.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, cast

import numpy as np

from kernels.bulk import price_layouts
from kernels.memory import Memory
from kernels.packs import Layout as LayoutPack
from kernels.power import PowerModel
from simulator.errors import UserError
from simulator.performance.estimate import Packs, layout_pack, packs
from simulator.performance.hardware import power_model
from simulator.scenario import Layout, Scenario
from simulator.workload import StepBatch, step_batches

_GIB = 2.0**30
_MICROBATCHES = (1, 2, 4, 8, 16)
_CHUNKS = 12  # model chunks a stage at most; more only add transfers
_MIN_CONTEXT_TOKENS = 1024  # tokens a context rank keeps at least
_SLICE = 4096  # layouts a thread takes at once
FREE = PowerModel(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)  # where no energy is asked for


class Candidates(NamedTuple):
    """Layouts as rows of `kernels.packs.Layout`, and what a step of each takes; infinite where it does not fit.

    Shapes: layouts (n, 20); times_s, energies_j (of one accelerator), memories_bytes (n,).
    """

    layouts: np.ndarray
    times_s: np.ndarray
    energies_j: np.ndarray
    memories_bytes: np.ndarray


def _divisors(number: int, limit: int) -> list[int]:
    tried = min(limit, math.isqrt(number))
    small = [n for n in range(1, tried + 1) if number % n == 0]
    return small + [n for n in (number // d for d in reversed(small)) if tried < n <= limit] if tried < limit else small


def _rows(scenario: Scenario, batch: StepBatch) -> Iterator[tuple[float, ...]]:
    """Yield the legal layouts as rows, before memory is asked."""
    model, cluster = scenario.model, scenario.cluster
    n, layers = cluster.accelerators, model.layers
    start = layout_pack(Layout(), n, layers)
    experts = model.mixture_of_experts.experts if model.mixture_of_experts else 1
    contexts = [1, *(2**i for i in range(1, 7) if batch.sequence % 2**i == 0 and batch.sequence / 2**i >= _MIN_CONTEXT_TOKENS)]
    tensors = [t for t in _divisors(model.heads, min(64, cluster.accelerator.scale_up_domain)) if n % t == 0]
    for tensor in tensors:
        for context in (c for c in contexts if n % (tensor * c) == 0):
            for pipeline in _divisors(n // (tensor * context), layers):
                data = n // (tensor * context * pipeline)
                pool = tensor * context * data
                groups = [e for e in _divisors(experts, experts) if pool % e == 0]
                sizes = start._replace(tensor=tensor, context=context, pipeline=pipeline, data=data,
                                       sequence_parallel=float(tensor > 1))
                yield from _variants(sizes, groups, batch.sequences, layers, cluster.accelerator.scale_up_domain)


def _variants(sizes: LayoutPack, experts: list[int], sequences: float, layers: int, domain: int
              ) -> Iterator[tuple[float, ...]]:
    """Yield the microbatches, chunks, expert groups and ZeRO stages of one set of sizes."""
    stage = math.ceil(layers / sizes.pipeline)
    replicas = sizes.data * sizes.context
    shards = [(1.0, 0.0)]
    if sizes.pipeline <= 1.0 and replicas > 1.0:
        node = domain / sizes.tensor
        shards += [(2.0, 0.0), (3.0, 0.0)]
        shards += [(3.0, node)] if 1.0 < node < replicas and replicas % node == 0 else []
    for microbatch in (b for b in _MICROBATCHES if sequences >= sizes.data * b):
        count = math.ceil(sequences / (sizes.data * microbatch))
        interleaved = sizes.pipeline > 1.0 and count >= sizes.pipeline
        chunks = [c for c in _divisors(stage, _CHUNKS) if c == 1 or (interleaved and sizes.pipeline * c <= layers + 2)]
        for chunk in chunks:
            for expert in experts:
                for zero, shard in shards:
                    yield tuple(sizes._replace(microbatch=microbatch, chunks=chunk, expert=expert, zero=zero, shard=shard))


def main_batch(scenario: Scenario) -> StepBatch:
    """Return the stretch of the batch schedule that trains the most tokens; layouts are chosen for it."""
    return max(step_batches(scenario.training), key=lambda b: b.steps * b.tokens_per_step)


def price_all(rows: np.ndarray, found: Packs, capacity_bytes: float, power: PowerModel = FREE) -> Candidates:
    """Return what a step of each layout takes; on all cores where there are many, with the same result."""
    n = rows.shape[0]
    times_s, energies_j, memories_bytes = np.empty(n), np.empty(n), np.empty(n)

    def part(start: int) -> None:
        own = slice(start, start + _SLICE)
        price_layouts(*found, power, rows[own], capacity_bytes, times_s[own], energies_j[own], memories_bytes[own])

    starts = range(0, n, _SLICE)
    if len(starts) > 1:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(part, starts))
    elif n:
        part(0)
    return Candidates(rows, times_s, energies_j, memories_bytes)


def search(scenario: Scenario, *, energy: bool = False) -> Candidates:
    """Return every legal layout of a scenario's model, cluster and main batch, as priced.

    `energy` asks for joules as well, for which the catalog must have the accelerator's power; UserError where it lacks a value.
    """
    batch = main_batch(scenario)
    rows = np.array(list(_rows(scenario, batch)), dtype=np.float64).reshape(-1, len(LayoutPack._fields))
    cluster = scenario.cluster
    power = power_model(cluster.accelerator, cluster.power_limit_w) if energy else FREE
    return price_all(rows, packs(scenario, batch), scenario.cluster.accelerator.memory_bytes, power)


def layout_of(row: np.ndarray) -> Layout:
    """Return a row as a scenario's layout."""
    p = LayoutPack(*(float(x) for x in row))
    chunks = int(p.chunks)
    return Layout(tensor=int(p.tensor), pipeline=int(p.pipeline), virtual_pipeline=chunks, context=int(p.context),
                  expert=int(p.expert), data=int(p.data), microbatch=int(p.microbatch),
                  zero=cast(Literal[0, 1, 2, 3], int(p.zero)), shard=int(p.shard),
                  schedule="interleaved" if chunks > 1 else "1f1b",
                  sequence_parallel=p.sequence_parallel > 0.0 or p.tensor <= 1.0)


def choose_layout(scenario: Scenario) -> Layout:
    """Return the fastest layout that fits; raise UserError where none does."""
    found = search(scenario)
    if not np.isfinite(found.times_s).any():
        hint = ""
        for recompute in ("selective", "full"):
            if np.isfinite(search(recomputing(scenario, recompute)).times_s).any():
                hint = f"; with training.recompute: {recompute} there is one"
                break
        raise UserError(f"training.layout: auto finds no layout of {scenario.model.name} on "
                        f"{scenario.cluster.accelerators} x {scenario.cluster.accelerator.name} that fits in memory{hint}")
    return layout_of(found.layouts[int(np.argmin(found.times_s))])


def recomputing(scenario: Scenario, recompute: str) -> Scenario:
    """Return the scenario with another recomputation."""
    return scenario.model_copy(update={"training": scenario.training.model_copy(update={"recompute": recompute})})


def describe(layout: Layout) -> str:
    """Return a layout in one line, as a scenario file writes it."""
    parts = [f"tensor: {layout.tensor}", f"pipeline: {layout.pipeline}", f"data: {layout.data}"]
    optional = (("context", layout.context, 1), ("expert", layout.expert, 1), ("virtual_pipeline", layout.virtual_pipeline, 1),
                ("shard", layout.shard, 0))
    parts += [f"{key}: {value}" for key, value, default in optional if value != default]
    parts += [f"microbatch: {layout.microbatch}", f"zero: {layout.zero}", f"schedule: {layout.schedule}"]
    return "{" + ", ".join(parts) + "}"


def refuse_oversize(scenario: Scenario, layout: Layout, memory: Memory) -> None:
    """Raise the error of a layout that does not fit: the terms, the overflow, the nearest layouts that do fit."""
    capacity = scenario.cluster.accelerator.memory_bytes
    terms = {k: v for k, v in memory._asdict().items() if k != "total"}
    largest = max(terms, key=lambda k: terms[k]).replace("_", " ")
    listed = ", ".join(f"{k.replace('_', ' ')} {v / _GIB:.1f}" for k, v in sorted(terms.items(), key=lambda kv: -kv[1]) if v)
    lines = [
        f"training.layout: {scenario.model.name} needs {memory.total / _GIB:.1f} GiB on the fullest accelerator; "
        f"{scenario.cluster.accelerator.name} has {capacity / _GIB:.1f} GiB: "
        f"{(memory.total - capacity) / _GIB:.1f} GiB too much",
        f"  by term (GiB): {listed}; the largest is {largest}",
    ]
    options: list[tuple[float, float, str]] = []
    for recompute in ("none", "selective", "full"):
        changed = recompute != scenario.training.recompute
        for distance, time_s, other in _nearest(recomputing(scenario, recompute), layout):
            text = describe(other) + (f" with recompute: {recompute}" if changed else "")
            options.append((distance + changed, time_s, text))
    if options:
        lines.append("  nearest layouts that fit:")
        lines += [f"    {text}  (step {time_s:.2f} s)" for _, time_s, text in sorted(options)[:3]]
    else:
        lines.append(f"  no layout fits on {scenario.cluster.accelerators} accelerators; use more, or ones with more memory")
    raise UserError("\n".join(lines))


def _nearest(scenario: Scenario, layout: Layout) -> list[tuple[float, float, Layout]]:
    """Return (sizes that differ, step time in s, layout) of the three layouts nearest to one, among those that fit."""
    found = search(scenario)
    own = np.array(layout_pack(layout, scenario.cluster.accelerators, scenario.model.layers))
    keys = [LayoutPack._fields.index(k) for k in ("tensor", "pipeline", "context", "microbatch", "expert", "zero", "shard")]
    differ = (found.layouts[:, keys] != own[keys]).sum(axis=1).astype(float)
    fits = np.flatnonzero(np.isfinite(found.times_s))
    order = fits[np.lexsort((found.times_s[fits], differ[fits]))][:3]
    return [(float(differ[i]), float(found.times_s[i]), layout_of(found.layouts[i])) for i in order]

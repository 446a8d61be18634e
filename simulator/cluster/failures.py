"""Failures: strike nodes at the summed rate of all components, and interrupt the job where they hit it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
import simpy

from kernels.hazards import superpose
from simulator.cluster.plan import RunPlan
from simulator.cluster.repair import Pool

_BLOCK = 512


class Strike(NamedTuple):
    """The cause of an interrupt: what failed, and how many of the job's nodes it took."""

    component: int
    kind: str
    nodes: int


def failures(env: simpy.Environment, plan: RunPlan, pool: Pool, job: simpy.Process,
             rng: np.random.Generator) -> Generator[simpy.Event, Any, None]:
    """Strike until the run ends.

    Each event falls on a node drawn evenly from all nodes, spares included; nodes in repair cannot fail, so what falls on
    one is dropped (thinning keeps the process exact while the number of healthy nodes changes).
    """
    nodes = plan.job_nodes + plan.spare_nodes
    kinds = [(c.kind, c.blast_radius) for c in plan.components]
    times, components = np.empty(_BLOCK), np.empty(_BLOCK, dtype=np.int64)
    now = 0.0
    while True:
        now = superpose(now, rng.standard_exponential(_BLOCK), rng.random(_BLOCK), plan.component_rates_per_s, times,
                        components)
        places = rng.random(_BLOCK) * nodes
        for at, c, place in zip(times.tolist(), components.tolist(), places.tolist(), strict=True):
            yield env.timeout(at - env.now)
            kind, radius = kinds[c]
            if place < plan.job_nodes - pool.missing:
                job.interrupt(Strike(c, kind, min(radius, plan.job_nodes - pool.missing)))
            elif kind == "hardware" and place - plan.job_nodes < pool.idle and place >= plan.job_nodes:
                pool.lose_spares(radius)

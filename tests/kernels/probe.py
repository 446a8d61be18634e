"""Print kernel results as exact hexadecimal floats; run in a process of its own, with and without compilation."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np

from kernels.bulk import price_layouts
from kernels.collectives import all_to_all_time_s
from kernels.events import FLAP, HARDWARE, SLOW
from kernels.memory import memory_bytes
from kernels.power import PowerModel
from kernels.progress import advance
from kernels.step import step_time
from kernels.stragglers import slowdown
from tests.kernels import packs_of_runs as runs
from tests.kernels.kernel_models import DEVICE, FULL, MODELS, NETWORK, NONE, SELECTIVE, layout, recipe


def results() -> dict[str, list[str]]:
    """Return results by name of kernel."""
    found: dict[str, list[float]] = {"step_time": [], "advance": [], "other": []}
    for a, again, flash, zero in itertools.product(MODELS.values(), (NONE, SELECTIVE, FULL), (0.0, 1.0), (1.0, 3.0)):
        r = recipe(flash=flash, fusion=2.0 * flash, scaling_bytes=6.0 * flash, activation_offload=0.5 * flash, **again)
        for lay in (
            layout(data=8.0, zero=zero, shard=4.0, overlap_data=0.5),
            layout(tensor=8.0, pipeline=4.0, chunks=2.0, context=2.0, expert=4.0, data=16.0, zero=zero, overlap_data=1.0),
            layout(pipeline=16.0, expert=8.0, data=8.0, zero=zero, sequence_parallel=1.0, overlap_expert=1.0),
            layout(tensor=2.0, context=4.0, data=8.0, zero=zero, sequence_parallel=1.0, context_method=1.0, overlap_tensor=1.0,
                   overlap_context=1.0),
        ):  # fmt: skip
            found["step_time"] += step_time(a, DEVICE, NETWORK, r, lay)
            found["other"] += memory_bytes(a, r, lay, 8.0)
    first, step_s, every = np.array([0.0, 1e5, 3e6]), np.array([3.3, 7.1]), np.array([40.0, 70.0])
    for horizon, lost, persist in itertools.product((0.0, 1e3, 123456.7, 1e7, math.inf), (0.0, 0.3, 0.9), (0.0, 47.0)):
        found["advance"] += advance(horizon, 0.0, 0.0, 0.0, 0.0, 0.0, first, step_s, every, 1.7, persist, lost)
        found["advance"] += advance(horizon, 99990.0, 5.0, 99900.0, 99985.0, 20.0, first, step_s, every, 1.7, 47.0, lost)
    found["other"] += [all_to_all_time_s(1e9, 5e8, n, 1.0, NETWORK._replace(domain=64.0, torus=3.0)) for n in (8.0, 64.0, 1024.0)]
    found["other"] += [slowdown(n, 0.02, 0.01) for n in (8.0, 16384.0)]
    rows = np.array([layout(data=8.0), layout(tensor=8.0, pipeline=4.0, chunks=2.0, data=16.0, zero=1.0)])
    times_s, energies_j, memories_bytes = np.empty(2), np.empty(2), np.empty(2)
    power = PowerModel(70.0, 700.0, 700.0, 1.2, 0.5, 0.4, 0.2, 2.75, 0.7)
    price_layouts(MODELS["llama"], DEVICE, NETWORK, recipe(), power, rows, math.inf, times_s, energies_j, memories_bytes)
    found["other"] += [*times_s, *energies_j, *memories_bytes]
    failing = [runs.component(HARDWARE, 1 / 700.0, shape=0.8), runs.component(FLAP, 1 / 900.0), runs.component(SLOW, 1 / 2000.0)]
    for seed in range(20):
        run = runs.Run(runs.job(day_swing=0.1, memory_every=1.0, memory_copies=1.0), runs.hazards(failing, exponential=(0, 5)),
                       runs.fleet(8, hot=1, warm=2), seed)
        assert run.to(math.inf)
        found["other"] += [*run.state, *run.seconds.ravel()]
    return {name: [float(value).hex() for value in values] for name, values in found.items()}


if __name__ == "__main__":
    print(json.dumps(results()))

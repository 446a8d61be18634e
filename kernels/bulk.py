"""Many layouts at once: the inner loop of the layout search, without the interpreter and without its lock."""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel
from kernels.memory import memory_bytes
from kernels.packs import Device, Layout, Network, Recipe
from kernels.pipeline import microbatch_count
from kernels.power import PowerModel, step_energy, step_power
from kernels.step import step_time
from kernels.transformer import Architecture


@kernel
def price_layouts(a: Architecture, d: Device, net: Network, r: Recipe, p: PowerModel, layouts: np.ndarray,
                  capacity_bytes: float, times_s: np.ndarray, energies_j: np.ndarray, memories_bytes: np.ndarray) -> None:
    """Write step time, energy and memory of each layout; the first two are infinite where it needs over `capacity_bytes`.

    Parameters
    ----------
    a, d, net, r, p
        Model, accelerator, network, recipe and power, the same for all.
    layouts : ndarray, shape (n, 20)
        One `Layout` a row, fields in order, float64 and C-contiguous.
    capacity_bytes : float
        Memory of an accelerator; `inf` prices every layout.
    times_s, energies_j, memories_bytes : ndarray, shape (n,)
        Written: seconds and joules of a step of one accelerator, bytes on the fullest.
    """
    for i in range(layouts.shape[0]):
        x = layouts[i]
        lay = Layout(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15], x[16],
                     x[17], x[18], x[19])
        microbatches = microbatch_count(r.sequences, lay.data, lay.microbatch)
        memories_bytes[i] = memory_bytes(a, r, lay, microbatches).total
        times_s[i], energies_j[i] = math.inf, math.inf
        if memories_bytes[i] <= capacity_bytes:
            step = step_time(a, d, net, r, lay)
            energy = step_energy(step_power(p, step), step)
            times_s[i], energies_j[i] = step.time_s, energy.compute_j + energy.communication_j + energy.bubble_j

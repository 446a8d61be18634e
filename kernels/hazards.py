"""Next failures of many components: one superposed Poisson process, thinned to nodes.

Superposition of independent exponential clocks is a Poisson process at the summed rate, each event falling on a component
in proportion to its rate (Kingman, "Poisson Processes", 1993). So the cost is per failure, whatever the node count.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel


@kernel
def superpose(start_s: float, gaps: np.ndarray, marks: np.ndarray, rates_per_s: np.ndarray, times_s: np.ndarray,
              components: np.ndarray) -> float:
    """Fill the times and components of the next failures; return the time of the last.

    Parameters
    ----------
    start_s : float
        Time from which to go on, s.
    gaps : ndarray, shape (n,)
        Standard exponential draws.
    marks : ndarray, shape (n,)
        Uniform draws in [0, 1).
    rates_per_s : ndarray, shape (c,)
        Failures per second of each component, over all nodes.
    times_s, components : ndarray, shape (n,)
        Written: float64 seconds, int64 index into `rates_per_s`.
    """
    total = rates_per_s.sum()
    now = start_s
    for i in range(gaps.size):
        now += gaps[i] / total
        times_s[i] = now
        left = marks[i] * total
        c = 0
        while c < rates_per_s.size - 1 and left >= rates_per_s[c]:
            left -= rates_per_s[c]
            c += 1
        components[i] = c
    return now

"""When which node fails: one power-law process a component over all nodes, and a node in proportion to its frailty.

A component's failures over n nodes that are repaired to what they were (minimal repair) come at the expected number
n ((age + t) / scale)^shape, whatever the nodes' own clocks: shape 1 is a Poisson process, below 1 infant mortality, above 1
wear (Rigdon and Basu 2000; docs/reference/formulas.md, section 8). The superposition of many such processes costs a minimum
over components, not over nodes (Kingman, "Poisson Processes", 1993).
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel


@kernel
def next_failure_s(now_s: float, age_s: float, rate: float, shape: float, gap: float) -> float:
    """Return when a component next fails anywhere, seconds.

    Parameters
    ----------
    now_s, age_s : float
        Time of the run, and what the nodes had been in service when it began.
    rate : float
        n / scale^shape; with shape 1 failures per second of all nodes.
    gap : float
        A standard exponential draw: the cumulative hazard until then.
    """
    if rate <= 0.0:
        return np.inf
    if shape == 1.0:
        return now_s + gap / rate
    return float(((age_s + now_s) ** shape + gap / rate) ** (1.0 / shape) - age_s)


@kernel
def pick(u: float, shares: np.ndarray, aliases: np.ndarray) -> int:
    """Return an index in proportion to its weight, in constant time (Walker 1977, the alias method).

    Parameters
    ----------
    u : float
        Uniform in [0, 1).
    shares, aliases : ndarray, shape (n,)
        From `alias_table`.
    """
    scaled = u * shares.size
    i = int(scaled)
    return i if scaled - i < shares[i] else int(aliases[i])


@kernel
def alias_table(weights: np.ndarray, shares: np.ndarray, aliases: np.ndarray) -> None:
    """Fill the tables of `pick` for weights, shape (n,), in time proportional to n (Vose 1991)."""
    n = weights.size
    mean = weights.sum() / n
    low, high = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    lows = highs = 0
    for i in range(n):
        shares[i], aliases[i] = weights[i] / mean, i
        if shares[i] < 1.0:
            low[lows] = i
            lows += 1
        else:
            high[highs] = i
            highs += 1
    while lows > 0 and highs > 0:
        lows -= 1
        small, large = low[lows], high[highs - 1]
        aliases[small] = large
        shares[large] -= 1.0 - shares[small]
        if shares[large] < 1.0:
            highs -= 1
            low[lows] = large
            lows += 1
    for i in range(lows):
        shares[low[i]] = 1.0
    for i in range(highs):
        shares[high[i]] = 1.0


@kernel
def push(times_s: np.ndarray, nodes: np.ndarray, size: int, time_s: float, node: int) -> int:
    """Put a time and a node on a heap of `size` entries (earliest first); return the new size."""
    i = size
    while i > 0:
        parent = (i - 1) // 2
        if times_s[parent] <= time_s:
            break
        times_s[i], nodes[i] = times_s[parent], nodes[parent]
        i = parent
    times_s[i], nodes[i] = time_s, node
    return size + 1


@kernel
def pop(times_s: np.ndarray, nodes: np.ndarray, size: int) -> int:
    """Take the earliest entry, which is at 0, off a heap; return the new size."""
    size -= 1
    time_s, node = times_s[size], nodes[size]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and times_s[child + 1] < times_s[child]:
            child += 1
        if times_s[child] >= time_s:
            break
        times_s[i], nodes[i] = times_s[child], nodes[child]
        i = child
    times_s[i], nodes[i] = time_s, node
    return size

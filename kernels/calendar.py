"""Functions of time that are constant between edges: integrals, what an interval leaves in each bin, and when one is high.

A function is `edges` (n + 1, rising) and `values` (n): `values[i]` from `edges[i]` until `edges[i + 1]`, and 0 outside.
Times are seconds. Integrals are sums of products of the given numbers, with no rule of quadrature between.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import bare, kernel


@bare
def locate(edges: np.ndarray, at_s: float) -> int:
    """Return the bin that holds a time, by bisection; the first or last bin for times outside the edges."""
    low, high = 0, edges.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= at_s:
            low = middle
        else:
            high = middle
    return low


@bare
def integrate(edges: np.ndarray, values: np.ndarray, from_s: float, to_s: float) -> float:
    """Return the integral of a piecewise-constant function from `from_s` to `to_s`, by the bins between.

    Parameters
    ----------
    edges : ndarray, shape (n + 1,)
        Rising, s.
    values : ndarray, shape (n,)
        The function between the edges.
    from_s, to_s : float
        Limits, s; the integral is 0 where `to_s` does not come after `from_s`.

    Returns
    -------
    float
        In units of `values` times s.
    """
    total, lost = 0.0, 0.0
    for i in range(locate(edges, from_s), values.size):
        if edges[i] >= to_s:
            break
        width_s = min(edges[i + 1], to_s) - max(edges[i], from_s)
        if width_s > 0.0:
            total, lost = _add(total, lost, values[i] * width_s)
    return total + lost


@kernel
def integrate_product(edges: np.ndarray, a: np.ndarray, b: np.ndarray, from_s: float, to_s: float) -> float:
    """Return the integral of the product of two functions on the same edges, such as power and price.

    Parameters
    ----------
    edges : ndarray, shape (n + 1,)
        Rising, s.
    a, b : ndarray, shape (n,)
        The two functions.
    from_s, to_s : float
        Limits, s.
    """
    return integrate(edges, a * b, from_s, to_s)


@bare
def _add(total: float, lost: float, term: float) -> tuple[float, float]:
    """Return sum and lost digits after one more term (Neumaier, ZAMM 54, 1974, p. 39-51, FROM MEMORY)."""
    new = total + term
    if abs(total) >= abs(term):
        return new, lost + ((total - new) + term)
    return new, lost + ((term - new) + total)


@kernel
def cumulative(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the integral from the first edge to each edge, shape (n + 1,)."""
    result = np.zeros(edges.size)
    total, lost = 0.0, 0.0
    for i in range(values.size):
        total, lost = _add(total, lost, values[i] * (edges[i + 1] - edges[i]))
        result[i + 1] = total + lost
    return result


@bare
def integral_until(edges: np.ndarray, values: np.ndarray, cumulated: np.ndarray, to_s: float) -> float:
    """Return the integral from the first edge to `to_s` from the result of `cumulative`: one bisection, whatever the length."""
    until_s = min(max(to_s, edges[0]), edges[-1])
    i = locate(edges, until_s)
    return cumulated[i] + values[i] * (until_s - edges[i])


@bare
def spread(edges: np.ndarray, start_index: int, from_s: float, to_s: float, amounts: np.ndarray, out: np.ndarray) -> int:
    """Add amounts that accrue evenly from `from_s` to `to_s` to the bins that they fall in; return the last of these bins.

    A sweep that hands each call the index that the one before returned costs one step a bin and one an interval in all. What lies
    before the first edge or after the last goes to the first or last bin, and an interval without length to the bin that it
    is in, so nothing is lost.

    Parameters
    ----------
    edges : ndarray, shape (n + 1,)
        Rising, s.
    start_index : int
        A bin at or before `from_s`; from a later one the walk goes back first.
    from_s, to_s : float
        The interval, s.
    amounts : ndarray, shape (k,)
        Amounts in all, such as joules by category.
    out : ndarray, shape (n, k)
        Added to.
    """
    last = out.shape[0] - 1
    i = start_index
    while i > 0 and edges[i] > from_s:
        i -= 1
    while i < last and edges[i + 1] <= from_s:
        i += 1
    length_s = to_s - from_s
    at_s = from_s
    while i < last and edges[i + 1] < to_s:
        share = (edges[i + 1] - at_s) / length_s
        for k in range(amounts.size):
            out[i, k] += amounts[k] * share
        at_s = edges[i + 1]
        i += 1
    share = (to_s - at_s) / length_s if length_s > 0.0 else 1.0
    for k in range(amounts.size):
        out[i, k] += amounts[k] * share
    return i


@kernel
def windows_above(edges: np.ndarray, values: np.ndarray, threshold: float) -> np.ndarray:
    """Return when a function is above a threshold: [start, end) of each stretch, in order and apart, shape (m, 2), s."""
    found = np.empty((values.size, 2))
    count = 0
    for i in range(values.size):
        if values[i] <= threshold or not edges[i + 1] > edges[i]:
            continue
        if count and found[count - 1, 1] == edges[i]:
            found[count - 1, 1] = edges[i + 1]
        else:
            found[count, 0], found[count, 1] = edges[i], edges[i + 1]
            count += 1
    return found[:count].copy()

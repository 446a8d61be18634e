"""Joules and seconds of a run by the hour, written as it goes.

Bins are the stretches between which no series changes (hours, and whatever else prices or weather step at). What passes between
two records is spread evenly over the time between them, so that bins sum to what the run booked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import bare

# Places in `marks`.
RUN_S, SPARE_S, SPARE_NODE_S, BEYOND = 0, 1, 2, 3


class Meter(NamedTuple):
    """What is metered, written in place; n bins, k kinds of power.

    Columns of `bins`: joules of the k kinds, seconds by state, node-seconds of idle spares.
    """

    edges_s: np.ndarray  # (n + 1,); empty: nothing is metered
    power_w: np.ndarray  # (k, states, stretches) of the job
    bins: np.ndarray  # (n, k + states + 1)
    before: np.ndarray  # (states, stretches) seconds that are metered already
    rates: np.ndarray  # (k + states + 1,) room
    marks: np.ndarray  # (4,) metered up to: run, spares; spares' node-seconds by then; 1 where the run went beyond the last edge
    places: np.ndarray  # (2,) int64: bin of the run, bin of the spares


def make_meter(edges_s: np.ndarray, power_w: np.ndarray) -> Meter:
    """Return a meter that has counted nothing; without edges it never will."""
    kinds, states, stretches = power_w.shape
    columns = kinds + states + 1
    bins = np.zeros((max(0, edges_s.size - 1), columns))
    before, room = np.zeros((states, stretches)), np.empty(columns)
    return Meter(edges_s, power_w, bins, before, room, np.zeros(4), np.zeros(2, dtype=np.int64))


@bare
def record(m: Meter, seconds: np.ndarray, now_s: float, hot_node_s: np.ndarray) -> None:
    """Book what was spent since the last record.

    Parameters
    ----------
    seconds : ndarray, shape (states, stretches)
        Seconds of this period of the run so far.
    now_s : float
    hot_node_s : ndarray, shape (2,)
        Integral of idle spare nodes, and the time up to which it was taken (`kernels.nodes`).
    """
    if m.edges_s.size == 0:
        return
    last = m.rates.size - 1
    if now_s > m.marks[RUN_S]:
        _rates(m, seconds, now_s - m.marks[RUN_S])
        m.places[0] = _spread(m, m.places[0], m.marks[RUN_S], now_s, 0, last)
        m.marks[RUN_S] = now_s
    if hot_node_s[1] > m.marks[SPARE_S]:  # the number of spares was the same all the while
        m.rates[last] = (hot_node_s[0] - m.marks[SPARE_NODE_S]) / (hot_node_s[1] - m.marks[SPARE_S])
        m.places[1] = _spread(m, m.places[1], m.marks[SPARE_S], hot_node_s[1], last, last + 1)
        m.marks[SPARE_S], m.marks[SPARE_NODE_S] = hot_node_s[1], hot_node_s[0]


@bare
def _rates(m: Meter, seconds: np.ndarray, span_s: float) -> None:
    """Write mean watts by kind and shares of states since the last record."""
    kinds, states, stretches = m.power_w.shape
    for i in range(kinds + states):
        m.rates[i] = 0.0
    for s in range(states):
        for p in range(stretches):
            spent_s = seconds[s, p] - m.before[s, p]
            if spent_s != 0.0:
                m.before[s, p] = seconds[s, p]
                m.rates[kinds + s] += spent_s / span_s
                for i in range(kinds):
                    m.rates[i] += spent_s / span_s * m.power_w[i, s, p]


@bare
def _spread(m: Meter, place: int, from_s: float, to_s: float, first: int, end: int) -> int:
    """Add rates x time to the bins of a span; return the bin it ends in. What lies beyond the last edge is marked."""
    n = m.edges_s.size - 1
    while from_s < to_s and place < n:
        until_s = min(to_s, m.edges_s[place + 1])
        for i in range(first, end):
            m.bins[place, i] += m.rates[i] * (until_s - from_s)
        if to_s < m.edges_s[place + 1]:
            break
        from_s = until_s
        place += 1
    if place >= n and from_s < to_s:
        m.marks[BEYOND] = 1.0
    return place

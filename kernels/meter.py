"""Joules of a run by the hour, written as it goes.

Bins are the stretches between which no series changes (hours, and whatever else prices or weather step at). What passes between
two records is spread evenly over the time between them, so that bins sum to what the run booked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import inlined

# Places in `marks`.
RUN_S, SPARE_S, SPARE_NODE_S, BEYOND = 0, 1, 2, 3


class Meter(NamedTuple):
    """What is metered, written in place; n bins, k kinds of power.

    Columns of `bins`: joules of the k kinds, seconds of the run, node-seconds of idle spares.
    """

    edges_s: np.ndarray  # (n + 1,); empty: nothing is metered
    power_w: np.ndarray  # (k, states, stretches) of the job
    bins: np.ndarray  # (n, k + 2)
    before: np.ndarray  # (states, stretches) seconds that are metered already
    rates: np.ndarray  # (k + 2,) room
    marks: np.ndarray  # (4,) metered up to: run, spares; spares' node-seconds by then; 1 where the run went beyond the last edge
    places: np.ndarray  # (2,) int64: bin of the run, bin of the spares


def make_meter(edges_s: np.ndarray, power_w: np.ndarray) -> Meter:
    """Return a meter that has counted nothing; without edges it never will. `power_w` is written over when the clock changes."""
    kinds, states, stretches = power_w.shape
    bins = np.zeros((max(0, edges_s.size - 1), kinds + 2))
    before, room = np.zeros((states, stretches)), np.empty(kinds + 2)
    return Meter(edges_s, power_w.copy(), bins, before, room, np.zeros(4), np.zeros(2, dtype=np.int64))


@inlined
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
    marks, rates, places = m.marks, m.rates, m.places
    last = rates.size - 1
    if now_s > marks[RUN_S]:
        span_s = now_s - marks[RUN_S]
        power_w, before = m.power_w, m.before
        kinds, states, stretches = power_w.shape
        for i in range(last):
            rates[i] = 0.0
        for s in range(states):
            for p in range(stretches):
                spent_s = seconds[s, p] - before[s, p]
                if spent_s != 0.0:
                    before[s, p] = seconds[s, p]
                    share = spent_s / span_s
                    rates[kinds] += share
                    for i in range(kinds):
                        rates[i] += share * power_w[i, s, p]
        places[0] = _spread(m.edges_s, m.bins, rates, marks, places[0], now_s, 0, last)
        marks[RUN_S] = now_s
    if hot_node_s[1] > marks[SPARE_S]:  # the number of spares was the same all the while
        rates[last] = (hot_node_s[0] - marks[SPARE_NODE_S]) / (hot_node_s[1] - marks[SPARE_S])
        places[1] = _spread(m.edges_s, m.bins, rates, marks, places[1], hot_node_s[1], last, last + 1)
        marks[SPARE_S], marks[SPARE_NODE_S] = hot_node_s[1], hot_node_s[0]


@inlined
def _spread(edges_s: np.ndarray, bins: np.ndarray, rates: np.ndarray, marks: np.ndarray, place: int, to_s: float, first: int,
            end: int) -> int:
    """Add rates x time to the bins from the mark on; return the bin it ends in. What lies beyond the last edge is marked."""
    from_s = marks[RUN_S] if first == 0 else marks[SPARE_S]
    n = edges_s.size - 1
    while place < n and to_s >= edges_s[place + 1]:
        width_s = edges_s[place + 1] - from_s
        for i in range(first, end):
            bins[place, i] += rates[i] * width_s
        place += 1
        from_s = edges_s[place]
    if place < n:
        for i in range(first, end):
            bins[place, i] += rates[i] * (to_s - from_s)
    elif from_s < to_s:
        marks[BEYOND] = 1.0
    return place

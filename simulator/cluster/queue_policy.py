"""Who runs next: pure functions of the queue, the free nodes and the running jobs.

Nodes are counted, not named: a job gets all of its nodes at once (gang scheduling) and any nodes serve. The cost of a
decision grows with the jobs that wait and run, never with the nodes of the cluster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from heapq import merge
from typing import NamedTuple


class Waiting(NamedTuple):
    """A job in the queue: its nodes, and the time it asks for, s."""

    nodes: int
    request_s: float


class Candidate(NamedTuple):
    """A running job that may be pre-empted; `key` is the caller's."""

    nodes: int
    priority: int
    since_s: float
    key: int


def reservation(nodes: int, available: int, ends: Iterable[tuple[float, int]], now_s: float) -> tuple[float, int]:
    """Return when a job of `nodes` can start at the latest, and the nodes left over then (EASY backfill).

    Parameters
    ----------
    nodes : int
        What the first job in line needs.
    available : int
        Nodes free now; below zero where spares must be filled up first.
    ends : iterable of (float, int)
        Expected end, s, and nodes of each running job, in rising order of end. An end that has passed counts as now.
    now_s : float
        The time, s.

    Returns
    -------
    tuple
        Seconds (infinity where running jobs do not hold enough, as nodes are in repair), nodes.

    Notes
    -----
    Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001 (FROM MEMORY).
    """
    if available >= nodes:
        return now_s, available - nodes
    for end_s, freed in ends:
        available += freed
        if available >= nodes:
            return max(end_s, now_s), available - nodes
    return math.inf, 0


def starts(queue: Sequence[Waiting], available: int, ends: Iterable[tuple[float, int]], now_s: float,
           backfill: bool) -> list[int]:
    """Return the places in the queue of the jobs that start now, in rising order.

    From the front as long as they fit. With `backfill`, behind the first that does not, whatever either ends before that
    one's reservation or needs only nodes it leaves over; so its reserved start is never later for it.

    Parameters
    ----------
    queue : sequence of Waiting
        In the order of the policy.
    available, ends, now_s
        As for `reservation`.
    backfill : bool
        False: strictly in order.
    """
    chosen: list[int] = []
    while len(chosen) < len(queue) and queue[len(chosen)].nodes <= available:
        available -= queue[len(chosen)].nodes
        chosen.append(len(chosen))
    first = len(chosen)
    if not backfill or first >= len(queue) - 1 or available <= 0:
        return chosen
    started = sorted((now_s + queue[k].request_s, queue[k].nodes) for k in chosen)
    shadow_s, extra = reservation(queue[first].nodes, available, merge(ends, started), now_s)
    for k in range(first + 1, len(queue)):
        nodes, request_s = queue[k]
        if nodes > available:
            continue
        if now_s + request_s > shadow_s:
            if nodes > extra:
                continue
            extra -= nodes
        available -= nodes
        chosen.append(k)
        if available == 0:
            break
    return chosen


def victims(needed: int, priority: int, running: Iterable[Candidate], now_s: float, protected_s: float) -> list[int]:
    """Return the keys of the jobs to pre-empt so that `needed` nodes come free, or none where that cannot be.

    Only jobs of a priority below `priority` that have run for `protected_s`; the lowest priority first, of equal ones the
    youngest, which loses least; and none that the others make unnecessary.
    """
    eligible = sorted((c for c in running if c.priority < priority and now_s - c.since_s >= protected_s),
                      key=lambda c: (c.priority, -c.since_s))
    taken: list[Candidate] = []
    nodes = 0
    for candidate in eligible:
        if nodes >= needed:
            break
        taken.append(candidate)
        nodes += candidate.nodes
    if nodes < needed:
        return []
    for candidate in reversed(taken):  # spare the most important first
        if nodes - candidate.nodes >= needed:
            taken.remove(candidate)
            nodes -= candidate.nodes
    return [candidate.key for candidate in taken]

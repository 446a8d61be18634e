"""The nodes of a run: which work, which stand by, which are out for repair, and when those come back.

Everything here costs the same on eight nodes as on a hundred thousand: a node is found by its place in a stack or on a heap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import bare
from kernels.hazards import pop, push

WORKING, HOT, WARM, COLD, OUT = 0, 1, 2, 3, 4
# Places in `counts`.
MISSING, RETURNS = 0, 4  # 1 to 3 are the spares of each kind


class Nodes(NamedTuple):
    """State of all nodes; the arrays are written in place.

    Shapes: n nodes; `counts` (5,): nodes the job lacks; hot, warm and cold spares; nodes out.
    """

    status: np.ndarray  # (n,) int8
    place: np.ndarray  # (n,) int64, in the stack of its kind
    stack: np.ndarray  # (4, n) int64
    counts: np.ndarray  # (5,) int64
    return_s: np.ndarray  # (n,) heap of the times at which nodes come back
    return_node: np.ndarray  # (n,) int64
    crew_free_s: np.ndarray  # (crew,) when each repairer is free; empty: no limit
    failures: np.ndarray  # (n,) int64, since the node was last sent away for good
    cured: np.ndarray  # (n,) int8: replaced, fails like any other from then on
    hot_node_s: np.ndarray  # (2,) integral of idle hot spares, and the time up to which it was taken


@bare
def tick(nodes: Nodes, now_s: float) -> None:
    """Integrate idle hot spares up to now; called before every change of their number."""
    nodes.hot_node_s[0] += nodes.counts[HOT] * (now_s - nodes.hot_node_s[1])
    nodes.hot_node_s[1] = now_s


@bare
def add_spare(nodes: Nodes, node: int, kind: int) -> None:
    """Put a node on the stack of its kind."""
    nodes.status[node] = kind
    nodes.place[node] = nodes.counts[kind]
    nodes.stack[kind, nodes.counts[kind]] = node
    nodes.counts[kind] += 1


@bare
def remove_spare(nodes: Nodes, node: int) -> None:
    """Take a node off its stack, the last one in its place."""
    kind = nodes.status[node]
    nodes.counts[kind] -= 1
    last = nodes.stack[kind, nodes.counts[kind]]
    nodes.stack[kind, nodes.place[node]] = last
    nodes.place[last] = nodes.place[node]


@bare
def send_out(nodes: Nodes, node: int, now_s: float, repair_s: float) -> None:
    """Send a node to repair; it waits for the first free repairer where their number is limited."""
    start_s = now_s
    if nodes.crew_free_s.size > 0:
        first = int(np.argmin(nodes.crew_free_s))
        start_s = max(now_s, nodes.crew_free_s[first])
        nodes.crew_free_s[first] = start_s + repair_s
    nodes.status[node] = OUT
    nodes.counts[RETURNS] = push(nodes.return_s, nodes.return_node, nodes.counts[RETURNS], start_s + repair_s, node)


@bare
def next_return_s(nodes: Nodes) -> float:
    """Return when the next node comes back."""
    return float(nodes.return_s[0]) if nodes.counts[RETURNS] > 0 else np.inf


@bare
def take_returns(nodes: Nodes, now_s: float) -> None:
    """Let all nodes come back that are due: into the job where it lacks some, else as hot spares."""
    while nodes.counts[RETURNS] > 0 and nodes.return_s[0] <= now_s:
        at_s, node = nodes.return_s[0], nodes.return_node[0]
        nodes.counts[RETURNS] = pop(nodes.return_s, nodes.return_node, nodes.counts[RETURNS])
        if nodes.counts[MISSING] > 0:
            nodes.counts[MISSING] -= 1
            nodes.status[node] = WORKING
        else:
            tick(nodes, at_s)
            add_spare(nodes, node, HOT)


@bare
def fill(nodes: Nodes, now_s: float) -> int:
    """Put spares in for missing nodes, the readiest first; return the slowest kind used (0: none)."""
    slowest = 0
    tick(nodes, now_s)
    for kind in (HOT, WARM, COLD):
        while nodes.counts[MISSING] > 0 and nodes.counts[kind] > 0:
            node = nodes.stack[kind, nodes.counts[kind] - 1]
            remove_spare(nodes, node)
            nodes.status[node] = WORKING
            nodes.counts[MISSING] -= 1
            slowest = kind
    return slowest


@bare
def lose(nodes: Nodes, node: int, now_s: float, repair_s: float) -> bool:
    """Take a node out, wherever it is; return whether it worked. A node already out stays as it is."""
    status = nodes.status[node]
    if status == OUT:
        return False
    if status != WORKING:
        tick(nodes, now_s)
        remove_spare(nodes, node)
    else:
        nodes.counts[MISSING] += 1
    send_out(nodes, node, now_s, repair_s)
    return bool(status == WORKING)

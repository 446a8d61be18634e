"""What happens to a job from outside: failures of every kind, the nodes they take, and what they ask of a restart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import bare
from kernels.draws import draw
from kernels.hazards import next_failure_s, pick, pop, push
from kernels.nodes import MISSING, OUT, WORKING, Nodes, lose, take_returns

# Kinds of component; `simulator.catalog.records.KINDS` has the same order.
HARDWARE, SOFTWARE, PLANNED, CORRUPTION, LOSS_SPIKE, SLOW, FLAP, STORAGE, PREEMPTION = range(9)
# Columns of `components`.
RATE, SHAPE, KIND, BLAST, BURST, BURST_SPREAD_S, BURST_DOMAIN, ROLLBACK, NOTICE_S = range(9)
# Columns of `laws`: rows in the table of distributions; -1: the profile's own.
DETECTION, REPAIR, DURATION, SEVERITY, LATENCY = range(5)
# Rows of the table of distributions that every run has, in this order.
(LAW_DETECTION, LAW_DIAGNOSIS, LAW_REPLACE_HOT, LAW_REPLACE_WARM, LAW_REPLACE_COLD, LAW_INITIALISATION, LAW_WARM_UP, LAW_REPAIR,
 LAW_QUARANTINE) = range(9)


class Hazards(NamedTuple):
    """Components that fail, and the clocks of what comes next; arrays are written in place where noted."""

    components: np.ndarray  # (c, 9)
    laws: np.ndarray  # (c, 5) int64
    table: np.ndarray  # (rows, 6) distributions
    choices: np.ndarray  # (v,) values of choices
    age_s: float
    shares: np.ndarray  # (n,) alias table of frailty; empty: all nodes are alike
    aliases: np.ndarray
    frailty: np.ndarray  # (n,) of nodes over the mean; empty: all 1
    quarantine_after: float  # failures of one node after which it is replaced for good; 0: never
    next_s: np.ndarray  # (c,) written: when each component fails next
    follow_s: np.ndarray  # heap, written: further failures of bursts
    follow_node: np.ndarray
    follow_count: np.ndarray  # (1,) written
    counted: np.ndarray  # (c,) written: interruptions of the job


class Luck(NamedTuple):
    """One generator a purpose, so that changing one draw moves no other."""

    when: np.random.Generator
    where: np.random.Generator
    detection: np.random.Generator
    restart: np.random.Generator
    repair: np.random.Generator
    other: np.random.Generator


class Strike(NamedTuple):
    """What struck the job; component -1 where nothing did."""

    component: int
    kind: int
    lost_nodes: int


@bare
def start_clocks(h: Hazards, rng: np.random.Generator) -> None:
    """Draw when each component fails first."""
    for c in range(h.next_s.size):
        h.next_s[c] = next_failure_s(0.0, h.age_s, h.components[c, RATE], h.components[c, SHAPE],
                                     rng.standard_exponential())


@bare
def next_event_s(h: Hazards) -> float:
    """Return when anything fails next, in the job or outside."""
    soonest = h.follow_s[0] if h.follow_count[0] > 0 else np.inf
    next_s = h.next_s  # taken out of the pack once: each look into it costs as much as a step of the loop
    for c in range(next_s.size):
        soonest = min(soonest, next_s[c])
    return float(soonest)


@bare
def _law(h: Hazards, c: int, column: int, own: int) -> int:
    """Return the row of the table to draw from: the component's, else the profile's own."""
    row = h.laws[c, column]
    return int(row) if row >= 0 else own


@bare
def draw_for(h: Hazards, c: int, column: int, own: int, rng: np.random.Generator) -> float:
    """Draw a component's time or severity, else the profile's."""
    return draw(h.table[_law(h, c, column, own)], h.choices, rng)


@bare
def _choose_node(h: Hazards, nodes: Nodes, luck: Luck) -> int:
    """Return the node an event falls on, in proportion to frailty; -1 where a cured lemon escapes it."""
    u = luck.where.random()
    if h.shares.size == 0:
        return int(u * nodes.status.size)
    node = pick(u, h.shares, h.aliases)
    if nodes.cured[node] > 0 and h.frailty[node] > 1.0 and luck.where.random() * h.frailty[node] > 1.0:
        return -1
    return node


@bare
def take_node(h: Hazards, nodes: Nodes, luck: Luck, c: int, node: int, now_s: float) -> bool:
    """Take a failed node out for repair, or for good where it failed too often; return whether it worked."""
    if nodes.status[node] == OUT:
        return False
    nodes.failures[node] += 1
    if h.quarantine_after > 0.0 and nodes.failures[node] >= h.quarantine_after:
        away_s = draw(h.table[LAW_QUARANTINE], h.choices, luck.repair)
        nodes.failures[node], nodes.cured[node] = 0, 1
    else:
        away_s = draw_for(h, c, REPAIR, LAW_REPAIR, luck.repair)
    return lose(nodes, node, now_s, away_s)


@bare
def _spread_burst(h: Hazards, luck: Luck, c: int, node: int, now_s: float, size: int) -> None:
    """Draw the further failures of a burst (geometric number) and put them on the heap, in the same domain."""
    mean = h.components[c, BURST]
    again = mean / (1.0 + mean)
    domain = int(h.components[c, BURST_DOMAIN])
    first = node // domain * domain
    while luck.where.random() < again and h.follow_count[0] < h.follow_s.size:
        other = first + int(luck.where.random() * min(domain, size - first))
        at_s = now_s + h.components[c, BURST_SPREAD_S] * luck.where.standard_exponential()
        h.follow_count[0] = push(h.follow_s, h.follow_node, h.follow_count[0], at_s, other * h.next_s.size + c)


@bare
def happen(h: Hazards, nodes: Nodes, luck: Luck, now_s: float) -> Strike:
    """Let the next event happen; return what it did to the job. Spares that fail are taken out without a word."""
    take_returns(nodes, now_s)
    next_s, components = h.next_s, h.components
    c = 0
    for other in range(1, next_s.size):
        if next_s[other] < next_s[c]:
            c = other
    first = True
    if h.follow_count[0] > 0 and h.follow_s[0] <= next_s[c]:
        code = h.follow_node[0]
        node, c = int(code // h.next_s.size), int(code % h.next_s.size)
        h.follow_count[0] = pop(h.follow_s, h.follow_node, h.follow_count[0])
        first = False
    else:
        next_s[c] = next_failure_s(now_s, h.age_s, components[c, RATE], components[c, SHAPE], luck.when.standard_exponential())
        node = _choose_node(h, nodes, luck)
    kind = int(components[c, KIND])
    if node < 0:
        return Strike(-1, kind, 0)
    if first and components[c, BURST] > 0.0:
        _spread_burst(h, luck, c, node, now_s, nodes.status.size)
    if kind == STORAGE:
        return Strike(c, kind, 0)
    if kind in (HARDWARE, PREEMPTION):
        blast = int(components[c, BLAST]) if first else 1
        low = node // blast * blast
        lost = 0
        for other in range(low, min(low + blast, nodes.status.size)):
            lost += 1 if take_node(h, nodes, luck, c, other, now_s) else 0
        return Strike(c if lost > 0 else -1, kind, lost)
    if nodes.status[node] != WORKING:
        return Strike(-1, kind, 0)
    return Strike(c, kind, 0)


@bare
def replacement_law(slowest: int) -> int:
    """Return the row of the table for the slowest kind of spare that was put in (1 hot, 2 warm, 3 cold)."""
    return LAW_REPLACE_HOT + max(0, slowest - 1)


@bare
def lacks(nodes: Nodes) -> bool:
    """Return whether the job lacks nodes."""
    return bool(nodes.counts[MISSING] > 0)

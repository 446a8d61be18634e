"""A run from one decision to the next: work, failures, recoveries and repair in one compiled loop.

What is left to SimPy is what somebody decides: maintenance, growth, the queue. In between the loop takes one event after the
other; its cost grows with the events, not with steps, nodes or time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import bare
from kernels.clock import Clock, end_period, next_order_s, obey
from kernels.draws import draw
from kernels.events import (
    CORRUPTION,
    DETECTION,
    DURATION,
    FLAP,
    LATENCY,
    LAW_DETECTION,
    LAW_DIAGNOSIS,
    LAW_INITIALISATION,
    LAW_WARM_UP,
    LOSS_SPIKE,
    NOTICE_S,
    PLANNED,
    PREEMPTION,
    ROLLBACK,
    SEVERITY,
    SLOW,
    STORAGE,
    Hazards,
    Luck,
    Strike,
    draw_for,
    happen,
    lacks,
    next_event_s,
    replacement_law,
    take_node,
)
from kernels.job import (
    CAUSE,
    DETECT,
    DETECT_END,
    DOWN,
    DURABLE,
    FROM_STORAGE,
    GONE,
    LACKING,
    MAINTENANCE,
    NETWORK,
    NOW,
    PENDING,
    PERSIST_LEFT,
    PHASE,
    READY,
    RESTART,
    RESTART_S,
    RUNNING,
    STALL,
    STEP,
    STOPPED,
    STORAGE_UNTIL,
    SWAP,
    WAIT,
    WAITS,
    Job,
    left_s,
    restore,
    run_on,
    save_now,
    stretch_of,
)
from kernels.meter import Meter, record
from kernels.nodes import MISSING, Nodes, fill, next_return_s, take_returns, tick

# Bins take the mean of what lies between two records: a metered run pauses so often, and parts of a recovery are told apart
# where they last longer than this.
METERED_S, PARTED_S = 86400.0, 3600.0


class Slow(NamedTuple):
    """Nodes that are slow at this time, corruption not yet found, and what is done about slow nodes; written in place.

    Columns of `slow`: until, severity, found at, node. Columns of `hidden`: found at, step at onset, node, component.
    """

    slow: np.ndarray  # (m, 4)
    hidden: np.ndarray  # (m, 4)
    counts: np.ndarray  # (2,) of both
    evict_after_s: float  # infinity: slow nodes stay
    per_node_s: float  # of initialisation, for each node of the job


class Lines(NamedTuple):
    """Intervals of a timeline, where one is wanted: start, end, row of `seconds`, stretch, component."""

    rows: np.ndarray  # (m, 5); m = 0: none
    used: np.ndarray  # (1,)


class Log(NamedTuple):
    """What a run writes down beside its sums: a timeline, joules by the hour; and by which clock it runs.

    The parts are handed on apart: a kernel copies a pack with all its arrays at every call.
    """

    lines: Lines
    meter: Meter
    clock: Clock


@bare
def note(lines: Lines, start_s: float, end_s: float, row: float, stretch: float, component: float) -> None:
    """Keep an interval, if this run keeps any."""
    if lines.rows.shape[0] == 0 or end_s <= start_s or lines.used[0] >= lines.rows.shape[0]:
        return
    entry = lines.rows[lines.used[0]]
    entry[0], entry[1], entry[2], entry[3], entry[4] = start_s, end_s, row, stretch, component
    lines.used[0] += 1


@bare
def _move(rows: np.ndarray, old: int, new: int) -> None:
    """Put the last row of a table in the place of one that goes."""
    for column in range(rows.shape[1]):
        rows[new, column] = rows[old, column]


@bare
def _slowest(s: Slow, now_s: float) -> float:
    """Return the factor of the slowest node on the step; slowness that has passed is forgotten."""
    worst, i = 1.0, 0
    while i < s.counts[0]:
        if s.slow[i, 0] <= now_s:
            s.counts[0] -= 1
            _move(s.slow, s.counts[0], i)
        else:
            worst = max(worst, 1.0 + s.slow[i, 1])
            i += 1
    return worst


@bare
def _next_change_s(s: Slow) -> float:
    """Return when slowness ends or is found, or hidden corruption is found, next."""
    soonest = np.inf
    for i in range(s.counts[0]):
        soonest = min(soonest, s.slow[i, 0], s.slow[i, 2])
    for i in range(s.counts[1]):
        soonest = min(soonest, s.hidden[i, 0])
    return soonest


@bare
def _lacking_replicas(job: Job, nodes: Nodes) -> float:
    """Return the replicas that lack a node, where missing nodes are gathered in as few as possible."""
    return float(math.ceil(nodes.counts[MISSING] * job.replicas / job.nodes - 1e-9))


@bare
def _may_shrink(job: Job, nodes: Nodes) -> bool:
    left = job.replicas - _lacking_replicas(job, nodes)
    return bool(job.shrinks > 0.0 and left >= 1.0 and left >= job.least_share * job.replicas)


@bare
def go_down(job: Job, h: Hazards, nodes: Nodes, luck: Luck, s: Slow, state: np.ndarray, strike: Strike, back_to: float,
            seen: bool) -> None:
    """Begin a recovery: take spares, find a state to go back to, draw the parts of the restart.

    `seen` is true where the stop was planned or known before, so that there is nothing to detect. What a recovery under way
    has lost, swapped in and not yet detected goes into the one that takes its place.
    """
    now_s = state[NOW]
    state[CAUSE] = strike.component
    take_returns(nodes, now_s)
    short = lacks(nodes)
    slowest = fill(nodes, now_s)
    state[GONE] += strike.lost_nodes
    state[WAITS] = 1.0 if lacks(nodes) else 0.0
    load_s = restore(job, state, state[GONE], back_to)
    known_s = 0.0
    if not seen:
        known_s = draw_for(h, strike.component, DETECTION, LAW_DETECTION, luck.detection)
        known_s += draw(h.table[LAW_DIAGNOSIS], h.choices, luck.detection)
    restart_s = load_s + draw(h.table[LAW_INITIALISATION], h.choices, luck.restart) + s.per_node_s * job.nodes
    restart_s += draw(h.table[LAW_WARM_UP], h.choices, luck.restart)
    if short:
        state[SWAP] = max(state[SWAP], float(slowest), 1.0)
    if state[SWAP] > 0.0:
        restart_s += draw(h.table[replacement_law(int(state[SWAP]))], h.choices, luck.restart)
    state[DETECT_END] = max(state[DETECT_END], now_s + known_s)
    state[READY] = state[DETECT_END]
    state[FROM_STORAGE] = 1.0 if load_s >= job.load_s and job.load_s > 0.0 else 0.0
    if state[FROM_STORAGE] > 0.0:
        state[READY] = max(state[READY], state[STORAGE_UNTIL])
    state[RESTART_S] = restart_s
    state[PHASE] = DOWN


@bare
def _stop(state: np.ndarray, seconds: np.ndarray, stretch: int, row: int, pause_s: float, component: float, lines: Lines) -> None:
    """Book a pause in which nothing else happens."""
    seconds[row, stretch] += pause_s
    note(lines, state[NOW], state[NOW] + pause_s, float(row), float(stretch), component)
    state[NOW] += pause_s


@bare
def _befall(h: Hazards, luck: Luck, s: Slow, state: np.ndarray, strike: Strike) -> bool:
    """Let begin what stops no job by itself: an outage of storage, a slow time, hidden corruption; return whether it was one."""
    c, kind, now_s = strike.component, strike.kind, state[NOW]
    if kind == STORAGE:
        state[STORAGE_UNTIL] = max(state[STORAGE_UNTIL], now_s + draw_for(h, c, DURATION, LAW_DETECTION, luck.other))
        state[PENDING], state[PERSIST_LEFT] = state[DURABLE], 0.0  # what was being written is lost
        return True
    if kind == SLOW:
        if s.counts[0] < s.slow.shape[0]:
            row = s.slow[s.counts[0]]
            row[0] = now_s + draw_for(h, c, DURATION, LAW_DETECTION, luck.other)
            row[1] = draw_for(h, c, SEVERITY, LAW_DETECTION, luck.other)
            row[2], row[3] = now_s + s.evict_after_s, float(c)
            s.counts[0] += 1
        return True
    if kind == CORRUPTION:
        if s.counts[1] < s.hidden.shape[0]:
            row = s.hidden[s.counts[1]]
            row[0] = now_s + draw_for(h, c, LATENCY, LAW_DETECTION, luck.other)
            row[1], row[2], row[3] = state[STEP], 0.0, float(c)
            s.counts[1] += 1
        return True
    return False


@bare
def _struck(job: Job, h: Hazards, nodes: Nodes, luck: Luck, s: Slow, state: np.ndarray, seconds: np.ndarray, strike: Strike,
            until_s: float, lines: Lines) -> None:
    """Answer a strike on a running job."""
    c, kind = strike.component, strike.kind
    stretch = stretch_of(job, state[STEP])
    if _befall(h, luck, s, state, strike):
        return
    h.counted[c] += 1.0
    if kind == FLAP:
        _stop(state, seconds, stretch, NETWORK, draw_for(h, c, DURATION, LAW_DETECTION, luck.other), float(c), lines)
        return
    back_to, seen = np.inf, kind == PLANNED
    need_s = job.stall_s + job.persist_s
    if kind == PLANNED or (kind == PREEMPTION and h.components[c, NOTICE_S] >= need_s):
        start_s = state[NOW]
        saved = save_now(job, state, seconds, until_s)
        note(lines, start_s, state[NOW], float(STALL), float(stretch), float(c))
        seen = seen or saved
    if kind == PLANNED and h.laws[c, DURATION] >= 0:
        _stop(state, seconds, stretch, MAINTENANCE, draw_for(h, c, DURATION, LAW_DETECTION, luck.other), float(c), lines)
    if kind == LOSS_SPIKE:
        back_to = max(0.0, state[STEP] - h.components[c, ROLLBACK])
    go_down(job, h, nodes, luck, s, state, strike, back_to, seen)


@bare
def _found(job: Job, h: Hazards, nodes: Nodes, luck: Luck, s: Slow, state: np.ndarray) -> bool:
    """Act on corruption or slow nodes that are found now; return whether the job went down for it."""
    now_s = state[NOW]
    for i in range(s.counts[1]):
        if s.hidden[i, 0] <= now_s:
            c, onset = int(s.hidden[i, 3]), s.hidden[i, 1]
            s.counts[1] -= 1
            _move(s.hidden, s.counts[1], i)
            h.counted[c] += 1.0
            lost = _take_a_worker(h, nodes, luck, c, now_s)
            go_down(job, h, nodes, luck, s, state, Strike(c, CORRUPTION, lost), min(onset, state[STEP]), True)
            return True
    for i in range(s.counts[0]):
        if s.slow[i, 2] <= now_s < s.slow[i, 0]:
            c = int(s.slow[i, 3])
            s.counts[0] -= 1
            _move(s.slow, s.counts[0], i)
            h.counted[c] += 1.0
            lost = _take_a_worker(h, nodes, luck, c, now_s)
            go_down(job, h, nodes, luck, s, state, Strike(c, SLOW, lost), np.inf, True)
            return True
    return False


@bare
def _take_a_worker(h: Hazards, nodes: Nodes, luck: Luck, c: int, now_s: float) -> int:
    """Take some working node out; return 1 (0 where none was met)."""
    for _ in range(64):
        node = int(luck.where.random() * nodes.status.size)
        if nodes.status[node] == 0:
            return 1 if take_node(h, nodes, luck, c, node, now_s) else 0
    return 0


@bare
def _recover(job: Job, h: Hazards, nodes: Nodes, luck: Luck, s: Slow, state: np.ndarray, seconds: np.ndarray, until_s: float,
             lines: Lines) -> None:
    """Go on with a recovery until the job runs again or the time is reached; strikes begin it anew."""
    while state[PHASE] == DOWN and state[NOW] < until_s:
        now_s, known_s = state[NOW], state[DETECT_END]
        take_returns(nodes, now_s)
        shrink_s = np.inf
        if state[WAITS] > 0.0 and _may_shrink(job, nodes):
            shrink_s = known_s if state[LACKING] > 0.0 else known_s + job.patience_s
        if state[WAITS] > 0.0 and (now_s >= shrink_s or not lacks(nodes)):
            state[WAITS], state[READY] = 0.0, max(state[READY], now_s)
        waits = state[WAITS] > 0.0
        end_s = np.inf if waits else state[READY] + state[RESTART_S]
        next_s = max(now_s, next_event_s(h))
        change_s = min(next_return_s(nodes), shrink_s) if waits else end_s
        to_s = min(next_s, max(change_s, now_s), until_s)
        _book_down(job, state, seconds, to_s, waits, lines)
        state[NOW] = to_s
        if to_s >= end_s:
            state[PHASE] = RUNNING
            state[GONE] = state[SWAP] = 0.0
            state[LACKING] = _lacking_replicas(job, nodes) if lacks(nodes) else 0.0
        elif to_s == next_s:
            strike = happen(h, nodes, luck, to_s)
            if strike.component < 0 or strike.kind in (CORRUPTION, FLAP):  # where nothing is computed they do no harm
                continue
            if _befall(h, luck, s, state, strike):
                if state[FROM_STORAGE] > 0.0:
                    state[READY] = max(state[READY], state[STORAGE_UNTIL])
                continue
            h.counted[strike.component] += 1.0
            go_down(job, h, nodes, luck, s, state, strike, np.inf, strike.kind == PLANNED)


@bare
def _book_down(job: Job, state: np.ndarray, seconds: np.ndarray, to_s: float, waits: bool, lines: Lines) -> None:
    """Book a part of a recovery: until known as detection, after that as waiting or restart."""
    stretch = stretch_of(job, state[STEP])
    now_s, known_s = state[NOW], state[DETECT_END]
    if now_s < known_s:
        part_s = min(to_s, known_s)
        seconds[DETECT, stretch] += part_s - now_s
        note(lines, now_s, part_s, float(DETECT), float(stretch), state[CAUSE])
        now_s = part_s
    if to_s > now_s:
        row = WAIT if waits else RESTART
        seconds[row, stretch] += to_s - now_s
        note(lines, now_s, to_s, float(row), float(stretch), state[CAUSE])


@bare
def run_job(job: Job, h: Hazards, nodes: Nodes, luck: Luck, s: Slow, state: np.ndarray, seconds: np.ndarray,
            scaled_s: np.ndarray, every: np.ndarray, until_s: float, log: Log) -> bool:
    """Run a job until a time, or until training is done; return whether it is: then all that was spent is booked (`end_period`).

    Parameters
    ----------
    job, h, nodes, luck, s
        Job, hazards, nodes, generators, slow and corrupt nodes.
    state, seconds : ndarray, shape (STATE,), (STATES, stretches)
        Written: where the job stands; seconds by state and stretch.
    scaled_s, every : ndarray, shape (stretches,)
        Room.
    until_s : float
        When somebody decides something next.
    log : Log
        Written, where a timeline is wanted.
    """
    lines, meter, clock = log.lines, log.meter, log.clock
    metered = meter.edges_s.size > 0
    while state[NOW] < until_s:
        if metered:
            record(meter, seconds, state[NOW], nodes.hot_node_s)
        if next_order_s(clock) <= state[NOW]:
            obey(clock, job, meter, state, seconds, nodes.hot_node_s)
        if state[PHASE] == STOPPED:
            go_down(job, h, nodes, luck, s, state, Strike(-1, PLANNED, 0), np.inf, True)
        if state[PHASE] == DOWN:
            part_s = min(until_s, state[NOW] + PARTED_S) if metered else until_s
            _recover(job, h, nodes, luck, s, state, seconds, part_s, lines)
            continue
        if _found(job, h, nodes, luck, s, state):
            continue
        factor = _slowest(s, state[NOW])
        stop_s = min(until_s, _next_change_s(s), next_order_s(clock))
        if metered:
            stop_s = min(stop_s, state[NOW] + METERED_S)
        if state[NOW] < state[STORAGE_UNTIL]:
            stop_s = min(stop_s, state[STORAGE_UNTIL])
        if state[LACKING] > 0.0:
            take_returns(nodes, state[NOW])
            if _lacking_replicas(job, nodes) < state[LACKING]:
                _grow(job, h, nodes, luck, s, state, seconds, until_s, lines)
                continue
            stop_s = min(stop_s, next_return_s(nodes))
        # Before this the job cannot be done: spares that fail after its end are none of its concern, give or take a second.
        stop_s = min(stop_s, state[NOW] + max(1.0, left_s(job, state[STEP])))
        event_s = max(state[NOW], next_event_s(h))
        strike = Strike(-1, 0, 0)
        while event_s <= stop_s:  # what does not touch the job does not stop it
            strike = happen(h, nodes, luck, event_s)
            if strike.component >= 0:
                break
            event_s = max(state[NOW], next_event_s(h))
        to_s = event_s if strike.component >= 0 else stop_s
        start_s, before = state[NOW], state[STEP]
        if run_on(job, state, seconds, scaled_s, every, factor, to_s):
            note(lines, start_s, state[NOW], 0.0, float(stretch_of(job, before)), -1.0)
            take_returns(nodes, state[NOW])
            tick(nodes, state[NOW])
            end_period(clock, job, meter, state, seconds, nodes.hot_node_s)
            return True
        state[NOW] = to_s
        note(lines, start_s, to_s, 0.0, float(stretch_of(job, before)), float(strike.component))
        if strike.component >= 0:
            _struck(job, h, nodes, luck, s, state, seconds, strike, until_s, lines)
    record(meter, seconds, state[NOW], nodes.hot_node_s)
    return False


@bare
def _grow(job: Job, h: Hazards, nodes: Nodes, luck: Luck, s: Slow, state: np.ndarray, seconds: np.ndarray, until_s: float,
          lines: Lines) -> None:
    """Take replicas back whose nodes are whole again: save, and restart with them."""
    start_s, stretch = state[NOW], stretch_of(job, state[STEP])
    save_now(job, state, seconds, until_s)
    note(lines, start_s, state[NOW], float(STALL), float(stretch), -1.0)
    go_down(job, h, nodes, luck, s, state, Strike(-1, PLANNED, 0), np.inf, True)

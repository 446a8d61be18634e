"""One synchronous training job between two events: how far it comes, what slows it, and what a restart would find.

Seconds are booked by state and stretch of the batch schedule. Work is booked as it is done; what of it was lost is known at
the end, as work done less work that is in the final model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import bare
from kernels.progress import advance, work_s

# Rows of `seconds`; `simulator.accounting.ledger.State` has the same order. WORK is productive and lost work together.
WORK, STALL, SLOWDOWN, LOST, DETECT, WAIT, RESTART, DEGRADED, REDUCED, MAINTENANCE, NETWORK, CURTAILED = range(12)
STATES = 12
# Places in `state`.
(NOW, STEP, SINCE, DURABLE, PENDING, PERSIST_LEFT, BASE, PHASE, DETECT_END, READY, RESTART_S, LACKING, STORAGE_UNTIL,
 CHECKPOINTS, WAITS, GONE, SWAP, FROM_STORAGE, CAUSE, STALL_DONE) = range(20)
STATE = 20
RUNNING, DOWN, STOPPED = 0.0, 1.0, 2.0  # stopped by somebody: it restarts as soon as it runs on
_DAY_S, _YEAR_S = 86400.0, 365.25 * 86400.0


class Job(NamedTuple):
    """What does not change during a run; arrays have shape (stretches,) unless noted."""

    first_step: np.ndarray  # (stretches + 1,)
    step_s: np.ndarray
    every: np.ndarray  # steps between durable checkpoints
    stall_s: float
    persist_s: float
    slowdown: float
    load_s: float
    memory_every: float  # steps between copies to peers' memory; 0: none
    memory_stall_s: float
    memory_load_s: float
    memory_copies: float  # nodes that may be lost at once
    local_every: float  # steps between copies to the node's own disk; 0: none
    local_stall_s: float
    local_load_s: float
    nodes: float
    replicas: float  # data-parallel replicas; one can be left out where the job may shrink
    shrinks: float  # 1: goes on without the replicas that lack a node
    microbatches: float  # of a replica in a step, which the others take over whole; 0: the batch is smaller instead
    patience_s: float  # waits so long for spares before it shrinks
    least_share: float  # of replicas with which it goes on
    day_swing: float  # of the step time over a day, from night to mid-day, share
    year_swing: float


@bare
def mean_swing(job: Job, from_s: float, to_s: float) -> float:
    """Return the mean factor on step time over a span, at least 1, from the hour and the season: sines from 1 at midnight
    and new year, when a run begins, up to 1 + swing at mid-day and mid-year.
    """
    factor = 1.0
    for swing, period_s in ((job.day_swing, _DAY_S), (job.year_swing, _YEAR_S)):
        if swing > 0.0 and to_s > from_s and to_s < np.inf:
            w = 2.0 * math.pi / period_s
            factor += swing * 0.5 * (1.0 - (math.sin(w * to_s) - math.sin(w * from_s)) / (w * (to_s - from_s)))
    return factor


@bare
def stretch_of(job: Job, step: float) -> int:
    """Return the stretch of the batch schedule a step lies in."""
    p, first_step = 0, job.first_step
    while p < first_step.size - 2 and step >= first_step[p + 1]:
        p += 1
    return p


@bare
def left_s(job: Job, step: float) -> float:
    """Return the least time that training still takes: its work, and one last checkpoint."""
    whole_s = work_s(job.first_step[job.step_s.size], job.first_step, job.step_s)
    return whole_s - work_s(step, job.first_step, job.step_s) + job.stall_s + job.persist_s


@bare
def _copy_stall_s(job: Job) -> float:
    """Return seconds a step stalls on average for copies to peers' memory and to local disk."""
    stall_s = 0.0
    if job.memory_every > 0.0:
        stall_s += job.memory_stall_s / job.memory_every
    if job.local_every > 0.0:
        stall_s += job.local_stall_s / job.local_every
    return stall_s


@bare
def _reduced(job: Job, lacking: float) -> float:
    """Return the time for the same tokens over that with all replicas."""
    share = job.replicas / (job.replicas - lacking)
    if job.microbatches <= 0.0 or lacking <= 0.0:
        return share
    return math.ceil(job.microbatches * share - 1e-9) / job.microbatches


@bare
def run_on(job: Job, state: np.ndarray, seconds: np.ndarray, scaled_s: np.ndarray, every: np.ndarray, slow: float,
           until_s: float) -> bool:
    """Run until a time, or to the end of training; return whether that was reached.

    Parameters
    ----------
    state, seconds : ndarray, shape (STATE,), (STATES, stretches)
        Written: where the job stands, seconds by state and stretch.
    scaled_s, every : ndarray, shape (stretches,)
        Room for step times as they are now, and for intervals.
    slow : float
        Step time of the slowest accelerator over the nominal one, at least 1.
    """
    now_s = state[NOW]
    slow *= mean_swing(job, now_s, until_s)
    reduced = _reduced(job, state[LACKING])
    copies_s = _copy_stall_s(job)
    step_s, own_every = job.step_s, job.every
    for p in range(step_s.size):
        scaled_s[p] = step_s[p] * slow * reduced + copies_s
        every[p] = own_every[p] if now_s >= state[STORAGE_UNTIL] else np.inf  # nothing is written while storage is down
    start = state[STEP]
    done = advance(until_s - now_s, start, state[SINCE], state[DURABLE], state[PENDING], state[PERSIST_LEFT], job.first_step,
                   scaled_s, every, job.stall_s, job.persist_s, job.slowdown, state[STALL_DONE])
    p = stretch_of(job, done.step)
    reached = done.step + done.partial_s / scaled_s[p]
    _book(job, seconds, start, reached, slow, reduced, copies_s)
    seconds[STALL, p] += done.stall_s
    seconds[SLOWDOWN, p] += done.slowdown_s
    state[STEP], state[SINCE] = reached, done.since + done.partial_s / scaled_s[p]
    state[DURABLE], state[PENDING], state[PERSIST_LEFT] = done.durable, done.pending, done.persist_left_s
    state[CHECKPOINTS] += done.checkpoints
    state[STALL_DONE] = done.stall_done_s
    state[NOW] = now_s + done.time_s
    return bool(done.done > 0.0)


@bare
def _book(job: Job, seconds: np.ndarray, start: float, end: float, slow: float, reduced: float, copies_s: float) -> None:
    """Book steps, which may span stretches: nominal work, what slowness and missing replicas added, copies."""
    first_step, step_s = job.first_step, job.step_s
    for p in range(step_s.size):
        steps = min(end, first_step[p + 1]) - max(start, first_step[p])
        if steps > 0.0:
            nominal_s = steps * step_s[p]
            seconds[WORK, p] += nominal_s
            seconds[DEGRADED, p] += nominal_s * (slow - 1.0)
            seconds[REDUCED, p] += nominal_s * slow * (reduced - 1.0)
            seconds[STALL, p] += steps * copies_s


@bare
def restore(job: Job, state: np.ndarray, lost_nodes: float, back_to: float) -> float:
    """Go back to what a restart finds; return the seconds to load it.

    Parameters
    ----------
    lost_nodes : float
        Nodes that left with their memory and disk. Peers' memory bridges as many as it has copies for, a node's own disk none.
    back_to : float
        Step before which a state must lie to be sound (silent corruption, loss spikes); infinity: any.
    """
    found, load_s = state[DURABLE], job.load_s
    if found > back_to:  # an older checkpoint, whole intervals back
        p = stretch_of(job, found)
        found = max(0.0, found - math.ceil((found - back_to) / job.every[p] - 1e-9) * job.every[p])
    copies = ((job.memory_every, job.memory_load_s, job.memory_copies), (job.local_every, job.local_load_s, 0.0))
    for every, copy_load_s, bridged in copies:
        if every > 0.0 and lost_nodes <= bridged:
            kept = max(state[BASE], math.floor(state[STEP] / every) * every)
            if kept <= min(back_to, state[STEP]) and kept >= found:
                load_s = copy_load_s if kept > found else min(load_s, copy_load_s)
                found = kept
    state[STEP] = state[BASE] = found
    state[DURABLE] = state[PENDING] = min(state[DURABLE], found)
    state[SINCE], state[PERSIST_LEFT], state[STALL_DONE] = found - state[DURABLE], 0.0, 0.0
    return load_s


@bare
def save_now(job: Job, state: np.ndarray, seconds: np.ndarray, until_s: float) -> bool:
    """Save before a planned stop, all within `until_s`; return whether the state is durable then."""
    need_s = job.stall_s + job.persist_s
    spent_s = min(need_s, until_s - state[NOW])
    seconds[STALL, stretch_of(job, state[STEP])] += spent_s
    state[NOW] += spent_s
    if spent_s < need_s or state[NOW] < state[STORAGE_UNTIL]:
        return False
    state[DURABLE] = state[PENDING] = state[STEP]
    state[SINCE], state[PERSIST_LEFT], state[STALL_DONE] = 0.0, 0.0, 0.0
    state[CHECKPOINTS] += 1.0
    return True


@bare
def close(job: Job, first: float, last: float, seconds: np.ndarray) -> None:
    """Split the work done since step `first` into what is kept, up to step `last`, and what was lost."""
    for p in range(job.step_s.size):
        kept = max(0.0, min(last, job.first_step[p + 1]) - max(first, job.first_step[p])) * job.step_s[p]
        seconds[LOST, p] += max(0.0, seconds[WORK, p] - kept)
        seconds[WORK, p] = min(seconds[WORK, p], kept)

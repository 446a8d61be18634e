"""Advance a job over many steps to a horizon in one call: steps, checkpoints and time by state.

The work of a run is a list of phases (batch schedule), each with its step time. Every `every[p]` steps the job writes a
checkpoint: it stalls for `stall_s`, and the checkpoint is durable `persist_s` later, while the job runs on at a share
1 - `slowdown` of its speed. A synchronous checkpoint has persist_s = 0. The cost of a call does not depend on the number
of steps or checkpoints, only on the number of phases passed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel


class Progress(NamedTuple):
    """State of a job at the end of an interval."""

    time_s: float  # elapsed in this call, at most the horizon
    step: float  # whole steps done since the start of training
    since: float  # of these, steps since the last checkpoint began
    durable: float  # steps a restart would find on storage
    pending: float  # steps in the checkpoint being written; durable where none is
    persist_left_s: float  # until `pending` is durable
    partial_s: float  # work done of the step not finished, without the slowdown of a write beside it
    stall_s: float  # stalled for checkpoints in this call
    slowdown_s: float  # lost to writing beside computing in this call
    checkpoints: float  # begun in this call
    done: float  # 1 when the last step is done and its checkpoint durable
    stall_done_s: float = 0.0  # of the stall under way, from which it goes on


@kernel
def work_s(step: float, first_step: np.ndarray, step_s: np.ndarray) -> float:
    """Return the time of the first `step` steps without checkpoints or failures, seconds.

    `first_step` has shape (phases + 1,): the first step of each phase, then the number of all steps.
    """
    total = 0.0
    for p in range(step_s.size):
        if step <= first_step[p]:
            break
        total += (min(step, first_step[p + 1]) - first_step[p]) * step_s[p]
    return total


@kernel
def _run_s(steps: float, step_s: float, persist_left_s: float, slowdown: float) -> float:
    """Return the wall time of some steps while a checkpoint is being written for `persist_left_s` more."""
    nominal_s = steps * step_s
    if slowdown <= 0.0 or persist_left_s <= 0.0:
        return nominal_s
    if nominal_s >= persist_left_s * (1.0 - slowdown):
        return nominal_s + slowdown * persist_left_s
    return nominal_s / (1.0 - slowdown)


@kernel
def _steps_within(time_s: float, step_s: float, persist_left_s: float, slowdown: float) -> float:
    """Return how many whole steps fit into a time, the inverse of `_run_s`."""
    beside_s = min(time_s, persist_left_s)
    nominal_s = time_s - slowdown * beside_s
    steps = float(math.floor(nominal_s / step_s + 1e-9))
    while steps > 0.0 and _run_s(steps, step_s, persist_left_s, slowdown) > time_s:
        steps -= 1.0
    return max(0.0, steps)


@kernel
def advance(horizon_s: float, step: float, since: float, durable: float, pending: float, persist_left_s: float,
            first_step: np.ndarray, step_s: np.ndarray, every: np.ndarray, stall_s: float, persist_s: float,
            slowdown: float, stall_done_s: float = 0.0) -> Progress:
    """Advance a running job until the horizon or the end of training.

    Parameters
    ----------
    horizon_s : float
        Time available, s (infinity: to the end).
    step, since, durable, pending, persist_left_s : float
        State as in `Progress`.
    first_step : ndarray, shape (phases + 1,)
        First step of each phase, then the number of all steps.
    step_s, every : ndarray, shape (phases,)
        Step time, s; steps between checkpoints.
    stall_s, persist_s, slowdown : float
        Cost of one checkpoint, as above. A new one waits for the one before to be durable.
    stall_done_s : float
        Of a stall under way when the call before ended.
    """
    left = horizon_s
    elapsed = 0.0  # beside `left`, which is infinite with the horizon
    stalled = slowed = checkpoints = 0.0
    last = first_step[step_s.size]
    p = 0
    while p < step_s.size - 1 and step >= first_step[p + 1]:
        p += 1
    while step < last or pending < last:  # all steps done, the last checkpoint may still be to come
        t = step_s[p]
        until = min(max(every[p] - since, 0.0), first_step[p + 1] - step)  # steps to a checkpoint or a new phase
        need = _run_s(until, t, persist_left_s, slowdown)
        if need > left:
            done = _steps_within(left, t, persist_left_s, slowdown)
            beside = min(left, persist_left_s)
            slowed += slowdown * beside
            persist_left_s -= beside
            if persist_left_s <= 0.0:
                durable = pending
            partial = left - slowdown * beside - done * t
            return Progress(horizon_s, step + done, since + done, durable, pending, max(0.0, persist_left_s),
                            max(0.0, partial), stalled, slowed, checkpoints, 0.0, 0.0)
        beside = min(need, persist_left_s)
        slowed += slowdown * beside
        persist_left_s -= beside
        if persist_left_s <= 0.0:
            durable = pending
        left -= need
        elapsed += need
        step += until
        since += until
        if step >= first_step[p + 1] and p < step_s.size - 1:
            p += 1
        if since < every[p] and step < last:
            stall_done_s = 0.0
            continue
        # A checkpoint: wait for the one before, stall, hand over to storage.
        stop = persist_left_s + max(0.0, stall_s - stall_done_s)
        if stop > left:
            stalled += left
            if left >= persist_left_s:
                durable = pending
                stall_done_s += left - persist_left_s
            return Progress(horizon_s, step, since, durable, pending, max(0.0, persist_left_s - left), 0.0, stalled,
                            slowed, checkpoints, 0.0, stall_done_s)
        stall_done_s = 0.0
        stalled += stop
        left -= stop
        elapsed += stop
        checkpoints += 1.0
        since = 0.0
        durable = pending
        pending = step
        persist_left_s = persist_s
        if persist_s <= 0.0:
            durable = pending
        if step >= last:
            break
        # Whole cycles of checkpoint, steps and stall within this phase, in one stride.
        cycle = _run_s(every[p], step_s[p], persist_s, slowdown) + stall_s
        room = math.floor((first_step[p + 1] - step) / every[p]) - 1.0
        if _run_s(every[p], step_s[p], 0.0, 0.0) >= persist_s * (1.0 - slowdown) and room > 0.0 and left > cycle:
            cycles = room
            if left < (room + 1.0) * cycle:
                cycles = math.floor(left / cycle) - 1.0
            if cycles > 0.0:
                step += cycles * every[p]
                left -= cycles * cycle
                elapsed += cycles * cycle
                stalled += cycles * stall_s
                slowed += cycles * slowdown * persist_s
                checkpoints += cycles
                pending = step
                durable = pending if persist_s <= 0.0 else step - every[p]
    if persist_left_s > left:
        return Progress(horizon_s, step, since, durable, pending, persist_left_s - left, 0.0, stalled + left, slowed,
                        checkpoints, 0.0, 0.0)
    return Progress(elapsed + persist_left_s, step, since, step, step, 0.0, 0.0, stalled + persist_left_s, slowed,
                    checkpoints, 1.0, 0.0)

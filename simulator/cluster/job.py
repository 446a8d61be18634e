"""The job as SimPy sees it: run to the next thing somebody decides, let that happen, run on.

Work, failures and recoveries in between are one compiled stretch (`kernels.run`); windows of maintenance, extensions of the
cluster and pauses are the events here.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
import simpy

from kernels.job import (
    CURTAILED,
    DETECT_END,
    DOWN,
    MAINTENANCE,
    NOW,
    PHASE,
    READY,
    RUNNING,
    STALL,
    STEP,
    STOPPED,
    save_now,
    stretch_of,
)
from kernels.nodes import OUT, RETURNS, WORKING
from kernels.run import note, run_job
from simulator.cluster.history import History

GROW, MAINTAIN, PAUSE = "grow", "maintain", "pause"


Decision = tuple[float, str]


def decisions(history: History) -> Iterator[Decision]:
    """Yield time and kind of what is decided, in order: a window of maintenance, growth, a pause.

    Orders to run on at another clock are known beforehand and need no event: the compiled stretch obeys them.
    """
    plan = history.base
    growth = [at_s for at_s, _ in plan.growth]
    window, now_s = 1, -1.0
    while True:
        window_s = window * plan.windows[0] if plan.windows else math.inf
        pause_s, _ = history.next_pause(now_s)
        at_s, kind = min((growth[0] if growth else math.inf, GROW), (pause_s, PAUSE), (window_s, MAINTAIN))
        if math.isinf(at_s):
            return
        yield at_s, kind
        if kind == GROW:
            growth.pop(0)
            now_s = -1.0  # the larger cluster has orders of its own: a pause that holds already is not over
        elif kind == MAINTAIN:
            window += 1
        else:
            now_s = at_s


def job(env: simpy.Environment, history: History, give_up_s: float) -> Generator[simpy.Event, None, None]:
    """Run until training is done, or until the time at which it is given up."""
    for at_s, kind in decisions(history):
        if at_s >= give_up_s:
            break
        done = run_on(history, at_s)
        yield env.timeout(max(0.0, history.state[NOW] - env.now))
        if done:
            return
        if kind == MAINTAIN:
            maintain(history)
        elif kind == GROW:
            grow(history)
        else:
            pause(history, at_s)
        yield env.timeout(max(0.0, history.state[NOW] - env.now))
    run_on(history, give_up_s)
    yield env.timeout(max(0.0, history.state[NOW] - env.now))


def run_on(history: History, until_s: float) -> bool:
    """Run to a time or the end of training; return whether that was reached."""
    done = run_job(history.job, history.hazards, history.nodes, history.luck, history.slow, history.state,
                   history.seconds, history.scaled_s, history.every, until_s, history.log)
    history.done = bool(done)
    return history.done


def _stop_and_restart(history: History, pause_s: float, row: int = MAINTENANCE) -> None:
    """Save and pause, booked to a row; the job restarts when it runs on. A recovery under way is only put off."""
    state, seconds = history.state, history.seconds
    start_s, stretch = float(state[NOW]), stretch_of(history.job, state[STEP])
    running = state[PHASE] == RUNNING
    if running:
        save_now(history.job, state, seconds, math.inf)
        note(history.log.lines, start_s, state[NOW], float(STALL), float(stretch), -1.0)
    if pause_s > 0.0:
        history.meter()
        seconds[row, stretch] += pause_s
        note(history.log.lines, state[NOW], state[NOW] + pause_s, float(row), float(stretch), -1.0)
        state[NOW] += pause_s
        history.meter()
    if running:
        state[PHASE] = STOPPED
    elif state[PHASE] == DOWN:
        state[DETECT_END] += pause_s
        state[READY] += pause_s


def maintain(history: History) -> None:
    """Stand still for a window of maintenance."""
    assert history.base.windows is not None
    history.windows += 1
    _stop_and_restart(history, history.base.windows[1])


def grow(history: History) -> None:
    """Take new nodes in: the job saves and restarts with more replicas."""
    _stop_and_restart(history, 0.0)
    before = history.base.job_nodes
    history.grow()
    fresh = np.flatnonzero(history.nodes.status == OUT)
    waiting = set(history.nodes.return_node[: history.nodes.counts[RETURNS]].tolist())
    for node in [n for n in fresh.tolist() if n not in waiting][:history.base.job_nodes - before]:
        history.nodes.status[node] = WORKING


def pause(history: History, at_s: float) -> None:
    """Stand still until the next order, which the clock then obeys."""
    _, until_s = history.next_pause(math.nextafter(at_s, -math.inf))
    if until_s > history.state[NOW]:
        _stop_and_restart(history, until_s - float(history.state[NOW]), CURTAILED)

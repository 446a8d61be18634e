"""The job as SimPy sees it: run to the next thing somebody decides, let that happen, run on.

Work, failures and recoveries in between are one compiled stretch (`kernels.run`); windows of maintenance and extensions of the
cluster are the events here.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
import simpy

from kernels.job import (
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
from simulator.cluster.plan import RunPlan


def decisions(plan: RunPlan) -> Iterator[tuple[float, RunPlan | None]]:
    """Yield when something is decided, in order: a window of maintenance (None), or growth to another plan."""
    growth = list(plan.growth)
    window = 1
    while True:
        window_s = window * plan.windows[0] if plan.windows else math.inf
        grow_s = growth[0][0] if growth else math.inf
        if grow_s <= window_s:
            if math.isinf(grow_s):
                return
            yield growth.pop(0)
        else:
            yield window_s, None
            window += 1


def job(env: simpy.Environment, history: History, give_up_s: float) -> Generator[simpy.Event, None, None]:
    """Run until training is done, or until the time at which it is given up."""
    for at_s, grown in decisions(history.plan):
        if at_s >= give_up_s:
            break
        done = run_on(history, at_s)
        yield env.timeout(max(0.0, history.state[NOW] - env.now))
        if done:
            return
        if grown is None:
            maintain(history)
        else:
            grow(history, grown)
        yield env.timeout(max(0.0, history.state[NOW] - env.now))
    run_on(history, give_up_s)
    yield env.timeout(max(0.0, history.state[NOW] - env.now))


def run_on(history: History, until_s: float) -> bool:
    """Run to a time or the end of training; return whether that was reached."""
    done = run_job(history.plan.job, history.hazards, history.nodes, history.luck, history.slow, history.state,
                   history.seconds, history.scaled_s, history.every, until_s, history.log)
    history.done = bool(done)
    return history.done


def _stop_and_restart(history: History, pause_s: float) -> None:
    """Save and pause; the job restarts when it runs on. A recovery under way is only put off."""
    plan, state, seconds = history.plan, history.state, history.seconds
    start_s, stretch = float(state[NOW]), stretch_of(plan.job, state[STEP])
    running = state[PHASE] == RUNNING
    if running:
        save_now(plan.job, state, seconds, math.inf)
        note(history.log, start_s, state[NOW], float(STALL), float(stretch), -1.0)
    if pause_s > 0.0:
        seconds[MAINTENANCE, stretch] += pause_s
        note(history.log, state[NOW], state[NOW] + pause_s, float(MAINTENANCE), float(stretch), -1.0)
        state[NOW] += pause_s
    if running:
        state[PHASE] = STOPPED
    elif state[PHASE] == DOWN:
        state[DETECT_END] += pause_s
        state[READY] += pause_s


def maintain(history: History) -> None:
    """Stand still for a window of maintenance."""
    assert history.plan.windows is not None
    history.windows += 1
    _stop_and_restart(history, history.plan.windows[1])


def grow(history: History, grown: RunPlan) -> None:
    """Take new nodes in: the job saves and restarts with more replicas."""
    _stop_and_restart(history, 0.0)
    new = grown.job_nodes - history.plan.job_nodes
    fresh = np.flatnonzero(history.nodes.status == OUT)
    waiting = set(history.nodes.return_node[: history.nodes.counts[RETURNS]].tolist())
    for node in [n for n in fresh.tolist() if n not in waiting][:new]:
        history.nodes.status[node] = WORKING
    history.begin(grown)

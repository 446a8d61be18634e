"""The clock of a run: orders, known beforehand, to run on at another limit of power, which takes no restart.

Steps, intervals and watts of each level are rows of tables; the job's and the meter's own arrays hold those of the level that
runs, and are written over when an order says so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import bare
from kernels.job import NOW, STEP, Job, close
from kernels.meter import Meter, record


class Clock(NamedTuple):
    """Levels of a run, and what was spent at each; l levels, m orders."""

    order_s: np.ndarray  # (m,) rising
    order: np.ndarray  # (m,) int64: a level, or l and more: somebody else's business
    steps_s: np.ndarray  # (l, stretches)
    every: np.ndarray  # (l, stretches)
    power_w: np.ndarray  # (l, kinds, states, stretches)
    spent_s: np.ndarray  # (l, states, stretches), written: seconds of closed periods
    marks: np.ndarray  # (2,) int64, written: next order, level that runs
    first_step: np.ndarray  # (1,) written: from which on work of this period is new


@bare
def next_order_s(c: Clock) -> float:
    """Return when the next order comes."""
    return float(c.order_s[c.marks[0]]) if c.marks[0] < c.order_s.size else np.inf


@bare
def end_period(c: Clock, job: Job, m: Meter, state: np.ndarray, seconds: np.ndarray, hot_node_s: np.ndarray) -> None:
    """Book what was spent since the last order: joules to the meter, seconds to the level, work split into kept and lost."""
    record(m, seconds, state[NOW], hot_node_s)
    close(job, c.first_step[0], state[STEP], seconds)
    c.first_step[0] = max(c.first_step[0], state[STEP])  # what was kept once is lost if it is done again
    spent_s = c.spent_s[c.marks[1]]
    for s in range(seconds.shape[0]):
        for p in range(seconds.shape[1]):
            spent_s[s, p] += seconds[s, p]
            seconds[s, p] = m.before[s, p] = 0.0


@bare
def obey(c: Clock, job: Job, m: Meter, state: np.ndarray, seconds: np.ndarray, hot_node_s: np.ndarray) -> None:
    """Carry out the orders that are due: the last of them counts."""
    level = c.marks[1]
    while c.marks[0] < c.order_s.size and c.order_s[c.marks[0]] <= state[NOW]:
        if c.order[c.marks[0]] < c.steps_s.shape[0]:
            level = c.order[c.marks[0]]
        c.marks[0] += 1
    if level != c.marks[1]:
        end_period(c, job, m, state, seconds, hot_node_s)
        set_level(c, job, m, level)


@bare
def set_level(c: Clock, job: Job, m: Meter, level: int) -> None:
    """Write steps, intervals and watts of a level over those that ran."""
    c.marks[1] = level
    for p in range(job.step_s.size):
        job.step_s[p], job.every[p] = c.steps_s[level, p], c.every[level, p]
        for i in range(m.power_w.shape[0]):
            for s in range(m.power_w.shape[1]):
                m.power_w[i, s, p] = c.power_w[level, i, s, p]

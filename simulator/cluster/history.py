"""One history of a run: the arrays that kernels write, fresh for each trial."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.events import Luck, start_clocks
from kernels.job import STATE, STATES, STEP, close
from kernels.meter import make_meter
from kernels.nodes import COLD, HOT, OUT, WARM, Nodes
from kernels.run import Log, Slow
from simulator.cluster.plan import RunPlan

_FOLLOWERS, _SLOW_AT_ONCE, _HIDDEN_AT_ONCE = 256, 32, 16
PURPOSES = ("failures", "places", "detection", "restart", "repair", "other")


class History:
    """State of one trial.

    Attributes
    ----------
    periods : list of (RunPlan, ndarray)
        Seconds by state and stretch, shape (states, stretches), for each plan the job ran under; the last is being written.
    done : bool
        Training was finished.
    """

    def __init__(self, plan: RunPlan, stream: Callable[[str], np.random.Generator], *, log_rows: int = 0) -> None:
        self.periods: list[tuple[RunPlan, np.ndarray]] = []
        self.state = np.zeros(STATE)
        self.done = False
        self.windows = 0
        self.first_step = 0.0
        self.luck = Luck(*(stream(purpose) for purpose in PURPOSES))
        self.slow = Slow(np.zeros((_SLOW_AT_ONCE, 4)), np.zeros((_HIDDEN_AT_ONCE, 4)), np.zeros(2, dtype=np.int64),
                         plan.evict_after_s, plan.per_node_s)
        self.log = Log(np.zeros((log_rows, 5)), np.zeros(1, dtype=np.int64),
                       make_meter(np.empty(0), np.zeros((1, STATES, plan.job.step_s.size))))
        self.nodes = _nodes(plan)
        count = len(plan.components)
        self.hazards = plan.hazards._replace(
            next_s=np.full(count, np.inf), follow_s=np.zeros(_FOLLOWERS), follow_node=np.zeros(_FOLLOWERS, dtype=np.int64),
            follow_count=np.zeros(1, dtype=np.int64), counted=np.zeros(count))
        start_clocks(self.hazards, self.luck.when)
        self._begin(plan)

    def _begin(self, plan: RunPlan) -> None:
        stretches = plan.job.step_s.size
        self.plan, self.seconds = plan, np.zeros((STATES, stretches))
        self.scaled_s, self.every = np.empty(stretches), np.empty(stretches)
        self.first_step = max(self.first_step, float(self.state[STEP]))  # what was kept once is lost if it is done again
        self.periods.append((plan, self.seconds))

    def begin(self, plan: RunPlan) -> None:
        """Go on under another plan, with what was done so far booked under the old one."""
        self.close()
        self._begin(plan)

    def close(self) -> None:
        """Split the work of this period into what is kept and what was lost."""
        close(self.plan.job, self.first_step, float(self.state[STEP]), self.seconds)


def _nodes(plan: RunPlan) -> Nodes:
    """Return all nodes at the start: the job's, then spares; those of a later extension are out until then."""
    n = plan.hazards.shares.size or max([plan.nodes, *(p.nodes for _, p in plan.growth)])
    nodes = Nodes(np.zeros(n, dtype=np.int8), np.zeros(n, dtype=np.int64), np.zeros((4, n), dtype=np.int64),
                  np.zeros(5, dtype=np.int64), np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(plan.repair_crew),
                  np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int8), np.zeros(2))
    node = plan.job_nodes
    for kind, count in zip((HOT, WARM, COLD), plan.spare_nodes, strict=True):
        spares = slice(node, node + count)
        nodes.status[spares], nodes.place[spares], nodes.counts[kind] = kind, np.arange(count), count
        nodes.stack[kind, :count] = np.arange(node, node + count)
        node += count
    nodes.status[node:] = OUT
    return nodes

"""One history of a run: the arrays that kernels write, fresh for each trial."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.clock import Clock, end_period
from kernels.events import Luck, start_clocks
from kernels.job import NOW, STATE, STATES, STEP
from kernels.meter import make_meter, record
from kernels.nodes import COLD, HOT, OUT, WARM, Nodes
from kernels.run import Lines, Log, Slow
from simulator.accounting.supply import Conditions
from simulator.cluster.orders import orders
from simulator.cluster.plan import RunPlan

_FOLLOWERS, _SLOW_AT_ONCE, _HIDDEN_AT_ONCE = 256, 32, 16
NEVER, NONE = np.empty(0), np.empty(0, dtype=np.int64)
PURPOSES = ("failures", "places", "detection", "restart", "repair", "other")


class History:
    """State of one trial.

    Attributes
    ----------
    base : RunPlan
        The plan that runs, at full clock; its slower forms are levels of the clock.
    job : Job
        Its pack, with arrays of its own that the clock writes.
    met : Conditions or None
        Weather, prices and limits, where the scenario has a calendar.
    done : bool
        Training was finished.
    """

    def __init__(self, plan: RunPlan, stream: Callable[[str], np.random.Generator], met: Conditions | None = None, *,
                 log_rows: int = 0, by_kind: bool = False) -> None:
        self.by_kind = by_kind
        self._closed: list[tuple[RunPlan, np.ndarray]] = []
        self.state = np.zeros(STATE)
        self.done = False
        self.windows = 0
        self.met, self.growth = met, list(plan.growth)
        self._end_s = met.grid.edges_s[-1] if met and met.grid else math.inf
        self.luck = Luck(*(stream(purpose) for purpose in PURPOSES))
        self.slow = Slow(np.zeros((_SLOW_AT_ONCE, 4)), np.zeros((_HIDDEN_AT_ONCE, 4)), np.zeros(2, dtype=np.int64),
                         plan.evict_after_s, plan.per_node_s)
        meter = make_meter(met.grid.edges_s if met and met.grid else NEVER, plan.rates.metered_w(by_kind))
        self.log = Log(Lines(np.zeros((log_rows, 5)), np.zeros(1, dtype=np.int64)), meter, self._take(plan))
        self.nodes = _nodes(plan)
        count = len(plan.components)
        self.hazards = plan.hazards._replace(
            next_s=np.full(count, np.inf), follow_s=np.zeros(_FOLLOWERS), follow_node=np.zeros(_FOLLOWERS, dtype=np.int64),
            follow_count=np.zeros(1, dtype=np.int64), counted=np.zeros(count))
        start_clocks(self.hazards, self.luck.when)

    def _take(self, plan: RunPlan) -> Clock:
        """Begin with a plan at full clock, with the orders that it gets; return its clock."""
        self.base = plan
        self.job = plan.job._replace(step_s=plan.job.step_s.copy(), every=plan.job.every.copy())
        self.seconds = np.zeros((STATES, plan.job.step_s.size))
        self.scaled_s, self.every = np.empty(plan.job.step_s.size), np.empty(plan.job.step_s.size)
        self._order_s: np.ndarray = NEVER
        self._order: np.ndarray = NONE
        if self.met is not None:
            self._order_s, self._order = orders(plan, self.met)
        steps_s, every, power_w = plan.levels_metered(by_kind=True) if self.by_kind else plan.levels
        spent_s = np.zeros((len(steps_s), *self.seconds.shape))
        return Clock(self._order_s, self._order, steps_s, every, power_w, spent_s, np.zeros(2, dtype=np.int64),
                     np.array([float(self.state[STEP])]))

    def close(self) -> None:
        """Split the work of this period into what is kept and what was lost, and book it."""
        end_period(self.log.clock, self.job, self.log.meter, self.state, self.seconds, self.nodes.hot_node_s)

    def meter(self) -> None:
        """Book joules up to now."""
        record(self.log.meter, self.seconds, self.state[NOW], self.nodes.hot_node_s)

    def grow(self) -> None:
        """Go on under the plan of the next extension."""
        self.close()
        self._closed += self._levels()
        _, plan = self.growth.pop(0)
        watts = plan.rates.metered_w(self.by_kind)
        meter = self.log.meter._replace(power_w=watts.copy(), before=np.zeros(watts.shape[1:]))
        first_step = max(float(self.log.clock.first_step[0]), float(self.state[STEP]))
        self.log = self.log._replace(meter=meter, clock=self._take(plan)._replace(first_step=np.array([first_step])))

    def _levels(self) -> list[tuple[RunPlan, np.ndarray]]:
        spent_s = self.log.clock.spent_s
        plans = (self.base, *self.base.slower)
        return [(plan, spent_s[i]) for i, plan in enumerate(plans) if i == 0 or spent_s[i].any()]

    def periods(self) -> list[tuple[RunPlan, np.ndarray]]:
        """Return seconds by state and stretch, shape (states, stretches), for each plan that the job ran under."""
        return self._closed + self._levels()

    def next_pause(self, after_s: float) -> tuple[float, float]:
        """Return when the next order to pause comes, and until when it holds; infinity: none."""
        first = int(np.searchsorted(self._order_s, after_s, side="right"))
        for i in range(first, self._order_s.size):
            if self._order[i] > len(self.base.slower):
                following = self._order_s[i + 1:i + 2]
                return float(self._order_s[i]), float(following[0] if following.size else self._end_s)
        return math.inf, math.inf


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

"""One history of a run: the arrays that kernels write, fresh for each trial."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.events import Luck, start_clocks
from kernels.job import NOW, STATE, STATES, STEP, close
from kernels.meter import make_meter, record
from kernels.nodes import COLD, HOT, OUT, WARM, Nodes
from kernels.run import Log, Slow
from simulator.accounting.supply import Conditions
from simulator.cluster.orders import orders
from simulator.cluster.plan import RunPlan

_FOLLOWERS, _SLOW_AT_ONCE, _HIDDEN_AT_ONCE = 256, 32, 16
PURPOSES = ("failures", "places", "detection", "restart", "repair", "other")


class History:
    """State of one trial.

    Attributes
    ----------
    plan, base : RunPlan
        The plan that runs, and the one at full clock that it is a slower form of.
    periods : list of (RunPlan, ndarray)
        Seconds by state and stretch, shape (states, stretches), for each plan that the job ran under.
    met : Conditions or None
        Weather, prices and limits, where the scenario has a calendar.
    done : bool
        Training was finished.
    """

    def __init__(self, plan: RunPlan, stream: Callable[[str], np.random.Generator], met: Conditions | None = None, *,
                 log_rows: int = 0) -> None:
        self.periods: list[tuple[RunPlan, np.ndarray]] = []
        self.state = np.zeros(STATE)
        self.done = False
        self.windows = 0
        self.first_step = 0.0
        self.growth = list(plan.growth)
        self.luck = Luck(*(stream(purpose) for purpose in PURPOSES))
        self.slow = Slow(np.zeros((_SLOW_AT_ONCE, 4)), np.zeros((_HIDDEN_AT_ONCE, 4)), np.zeros(2, dtype=np.int64),
                         plan.evict_after_s, plan.per_node_s)
        edges_s = np.empty(0) if met is None else met.grid.edges_s
        self.log = Log(np.zeros((log_rows, 5)), np.zeros(1, dtype=np.int64), make_meter(edges_s, plan.it_w))
        self.nodes = _nodes(plan)
        count = len(plan.components)
        self.hazards = plan.hazards._replace(
            next_s=np.full(count, np.inf), follow_s=np.zeros(_FOLLOWERS), follow_node=np.zeros(_FOLLOWERS, dtype=np.int64),
            follow_count=np.zeros(1, dtype=np.int64), counted=np.zeros(count))
        start_clocks(self.hazards, self.luck.when)
        self.base, self.met = plan, met
        self._begin(plan)
        self._take_orders()

    def _begin(self, plan: RunPlan) -> None:
        stretches = plan.job.step_s.size
        self.plan, self.seconds = plan, np.zeros((STATES, stretches))
        self.scaled_s, self.every = np.empty(stretches), np.empty(stretches)
        self.first_step = max(self.first_step, float(self.state[STEP]))  # what was kept once is lost if it is done again

    def begin(self, plan: RunPlan) -> None:
        """Go on under another plan, with what was done so far booked under the old one."""
        if plan is self.plan:
            return
        self.close()
        self._begin(plan)
        self.log = self.log._replace(meter=self.log.meter._replace(power_w=plan.it_w, before=np.zeros(plan.it_w.shape[1:])))

    def close(self) -> None:
        """Split the work of this period into what is kept and what was lost, and add it to the time under its plan."""
        self.meter()
        close(self.plan.job, self.first_step, float(self.state[STEP]), self.seconds)
        for plan, before in self.periods:
            if plan is self.plan:
                before += self.seconds  # noqa: PLW2901  (in place)
                return
        self.periods.append((self.plan, self.seconds))

    def meter(self) -> None:
        """Book joules up to now."""
        record(self.log.meter, self.seconds, self.state[NOW], self.nodes.hot_node_s)

    def grow(self) -> RunPlan:
        """Take the plan of the next extension, and the orders that it gets; return it. It runs from the next order on."""
        _, self.base = self.growth.pop(0)
        self._take_orders()
        return self.base

    def _take_orders(self) -> None:
        """Work out the orders of the plan at full clock, from the conditions."""
        self._order_s: np.ndarray = np.empty(0)
        self._order: np.ndarray = np.empty(0)
        if self.met is not None and self.base.rules.any:
            self._order_s, self._order = orders(self.base, self.met)

    def next_order_s(self, after_s: float) -> float:
        """Return when the next order comes; infinity: none."""
        i = int(np.searchsorted(self._order_s, after_s, side="right"))
        return float(self._order_s[i]) if i < self._order_s.size else math.inf

    def order(self, at_s: float) -> tuple[RunPlan | None, float]:
        """Return the plan that is to run from a time (None: none), and when the next order comes."""
        if self.met is None or not self._order_s.size:
            return self.base, math.inf
        i = int(np.searchsorted(self._order_s, at_s, side="right")) - 1
        choice = int(self._order[i])
        until_s = float(self._order_s[i + 1]) if i + 1 < self._order_s.size else float(self.met.grid.edges_s[-1])
        plans = (self.base, *self.base.slower)
        return (plans[choice] if choice < len(plans) else None), until_s


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

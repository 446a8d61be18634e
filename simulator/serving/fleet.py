"""The fleet as it is run: SimPy holds what is decided (scaling, failures, repairs), kernels advance replicas in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from enum import Enum
from typing import Any

import numpy as np
import simpy

from kernels.fleet import advance, fail, settle
from kernels.serving_packs import DONE, REJECTED, RUNNING, Requests, new_replicas, new_requests
from simulator.catalog.records import FailureComponent
from simulator.fields import Distribution
from simulator.serving.load import Traffic
from simulator.serving.plan import ServePlan, Stream

Event = Generator[simpy.Event, Any, None]
Flush = Callable[[Requests, Traffic, np.ndarray], None]


class Is(Enum):
    """What a replica is; all but OFF cost money and power."""

    OFF = 0
    STARTING = 1
    UP = 2
    DRAINING = 3  # takes no requests, ends those it has
    DOWN = 4  # failed


class Fleet:
    """Replicas and the requests that they have or that come in the present block.

    Parameters
    ----------
    flush : callable
        Called with requests that are done or refused, their traffic, and their places in both.
    """

    def __init__(self, env: simpy.Environment, plan: ServePlan, beginnings: np.ndarray, flush: Flush) -> None:
        self.env, self.plan, self.flush = env, plan, flush
        self.costs = plan.costs._replace(beginnings=beginnings)
        self.replicas = new_replicas(plan.pools, plan.tiers, int(self.costs.most.max()), max(1, beginnings.size))
        self.replicas.up[~plan.starts] = 0
        self.state = [Is.UP if up else Is.OFF for up in plan.starts]
        self.traffic = _nothing()
        self.requests = _requests(self.traffic)
        self.following = 0
        self.limit = float(plan.scenario.serving.queue_limit or math.inf)
        self.weight = self.costs.weight[plan.pools]  # accelerators of each replica
        self.on_s, self.failures, self.starts = 0.0, 0, 0
        self._booked_s = 0.0
        if plan.scenario.serving.autoscale is not None:
            env.process(self._scale())

    def reach(self) -> None:
        """Advance all replicas to the present."""
        self.following = int(advance(self.costs, self.requests, self.replicas, self.following, self.env.now, self.limit))

    def settle(self) -> None:
        """Advance to the present, and book what has ended of what runs now."""
        self.reach()
        settle(self.costs, self.requests, self.replicas, self.env.now)
        self._book()

    def inside(self) -> int:
        """Return how many requests the fleet has."""
        r = self.replicas
        return int(r.active.sum() + r.pending.sum() + r.queued.sum())

    def ready(self) -> int:
        """Return how many replicas take requests."""
        return int(self.replicas.up.sum())

    def accelerators_on(self) -> float:
        """Return the accelerators that cost money and power now."""
        return float(self.weight[[state is not Is.OFF for state in self.state]].sum())

    def used_so_far_s(self) -> np.ndarray:
        """Return accelerator-seconds that each present request has used, shape (requests,)."""
        q, r = self.requests, self.replicas
        used = q.used_s.copy()
        here = np.flatnonzero(q.state == RUNNING)
        used[here] += r.share_s[q.replica[here]] * self.costs.draft_rows[r.pool[q.replica[here]]]
        return used

    def take(self, traffic: Traffic) -> None:
        """Hand over requests that are done or refused, and take those of the next block; others get new places."""
        q, r = self.requests, self.replicas
        gone = (q.state == DONE) | (q.state == REJECTED)
        came = np.arange(q.state.size) < self.following
        self.flush(q, self.traffic, np.flatnonzero(gone & came))
        kept, later = np.flatnonzero(came & ~gone), np.flatnonzero(~came)
        place = np.full(q.state.size + 1, -1)  # the last one: that of "none"
        place[kept] = np.arange(kept.size)
        place[later] = kept.size + np.arange(later.size)
        new = _requests(traffic)
        stay = np.concatenate([kept, later])
        self.requests = Requests(*(np.concatenate([old[stay], fresh]) for old, fresh in zip(q, new, strict=True)))
        self.traffic = Traffic(*(np.concatenate([old[stay], fresh]) for old, fresh in zip(self.traffic, traffic, strict=True)))
        self.requests.follows[:] = np.concatenate([place[q.follows[stay]], new.follows])
        r.head[:], r.tail[:] = place[r.head], place[r.tail]
        for k in range(r.up.size):
            for table, count in ((r.running, r.active[k]), (r.prompts, r.pending[k])):
                table[k, :count] = place[table[k, :count]]
        self.following = kept.size

    def _book(self) -> None:
        """Book the time that replicas have been on."""
        self.on_s += self.accelerators_on() * (self.env.now - self._booked_s)
        self._booked_s = self.env.now

    def _become(self, k: int, state: Is) -> None:
        self._book()
        self.state[k] = state
        self.replicas.up[k] = state is Is.UP

    def _load(self, k: int) -> int:
        return int(self.replicas.active[k] + self.replicas.pending[k] + self.replicas.queued[k])

    def _scale(self) -> Event:
        """Look at the load again and again; start replicas at once, give them up one by one after a calm."""
        auto, cold_s = self.plan.scenario.serving.autoscale, self.plan.scenario.serving.cold_start_s
        assert auto is not None
        calm_since_s = math.inf
        mine = [k for k in range(self.plan.pools.size) if self.plan.pools[k] == 0 and not self.plan.own[k]]
        own = int(self.plan.own.sum())
        while True:
            yield self.env.timeout(auto.every_s)
            self.reach()
            for k in mine:
                if self.state[k] is Is.DRAINING and self._load(k) == 0:
                    self._become(k, Is.OFF)
            ready = sum(self.state[k] in (Is.UP, Is.STARTING, Is.DOWN) for k in mine)
            asked = math.ceil(sum(self._load(k) for k in mine) / auto.target)
            wanted = min(max(asked, auto.least - own, 1), auto.most - own)
            calm_since_s = min(calm_since_s, self.env.now) if wanted < ready else math.inf
            if wanted > ready:
                self._more(mine, wanted - ready, cold_s)
            elif self.env.now - calm_since_s >= auto.calm_s:
                idle = min((k for k in mine if self.state[k] is Is.UP), key=self._load, default=None)
                if idle is not None:
                    self._become(idle, Is.DRAINING)

    def _more(self, mine: list[int], count: int, cold_s: float) -> None:
        """Take replicas back that drain, then start others."""
        for k in [k for k in mine if self.state[k] is Is.DRAINING][:count]:
            self._become(k, Is.UP)
            count -= 1
        for k in [k for k in mine if self.state[k] is Is.OFF][:count]:
            self._become(k, Is.STARTING)
            self.starts += 1
            self.env.process(self._start(k, cold_s))

    def _start(self, k: int, cold_s: float) -> Event:
        yield self.env.timeout(cold_s)
        self.reach()
        self._become(k, Is.UP)

    def strikes(self, stream: Stream) -> None:
        """Let replicas fail: each has its own luck, whatever the others do."""
        for k, pool in enumerate(self.plan.pools):
            rates = self.plan.failures_per_s[:, pool]
            if rates.sum() > 0.0:
                self.env.process(self._wear(k, rates, stream(f"failures of replica {k}")))

    def _wear(self, k: int, rates: np.ndarray, rng: np.random.Generator) -> Event:
        """Fail at the rate of the components while up; come back when it is replaced or restarted, and warm."""
        recovery, cold_s = self.plan.recovery, self.plan.scenario.serving.cold_start_s
        steps = np.cumsum(rates) / rates.sum()
        while True:
            yield self.env.timeout(rng.standard_exponential() / rates.sum())
            before = self.state[k]
            if before not in (Is.UP, Is.DRAINING):
                continue
            component = self.plan.components[int(np.searchsorted(steps, rng.random(), side="right"))]
            self.reach()
            fail(self.costs, self.requests, self.replicas, k, self.env.now)
            self.failures += 1
            self._become(k, Is.DOWN)
            yield self.env.timeout(_down_s(component, recovery, rng) + cold_s)
            self.reach()
            self._become(k, Is.UP if before is Is.UP else Is.OFF)


def _down_s(component: FailureComponent, recovery: Any, rng: np.random.Generator) -> float:
    """Return the time until a failed replica may start again: found out, and its nodes replaced where they are broken."""
    parts = [recovery.detection_s if component.detection_s is None else component.detection_s]
    if component.kind == "planned":
        parts = [component.duration_s or 0.0]
    elif component.kind in ("hardware", "preemption"):
        parts.append(recovery.replacement_s)
    return sum(float(part.draw(rng, 1)[0]) if isinstance(part, Distribution) else float(part) for part in parts)


def _requests(traffic: Traffic) -> Requests:
    return new_requests(traffic.arrival_s, traffic.prompt, traffic.output, traffic.tier, traffic.group)


def _nothing() -> Traffic:
    numbers, whole, mask = np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool)
    return Traffic(numbers, numbers, numbers, whole, whole, mask, whole, mask, mask)

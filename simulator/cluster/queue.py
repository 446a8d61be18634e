"""The queue: jobs come, wait, are started all nodes at once, pre-empt others; failures strike nodes wherever they are.

One SimPy process a running job and one event a failure; nodes are counted, so the cost of an event does not grow with the
cluster.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import numpy as np
import simpy

from simulator.cluster.queue_job import Cause, Job, Stop
from simulator.cluster.queue_nodes import Nodes
from simulator.cluster.queue_plan import QueuePlan, Spec
from simulator.cluster.queue_policy import Candidate, Waiting, starts, victims

_BLOCK = 512
_EVICTED = Stop("evicted")


class Queue:
    """Waiting jobs in the order of the policy, and the running ones in the order of their expected end."""

    def __init__(self, env: simpy.Environment, plan: QueuePlan) -> None:
        self.env, self.scheduler, self.spares = env, plan.scheduler, plan.spare_nodes
        self.nodes = Nodes(env, plan.nodes, plan.repair_crew, plan.warm_up_s, self.wake)
        self.running: dict[int, Job] = {}
        self.failures = 0  # of any healthy node
        self._keys: list[tuple[float, float, int]] = []  # of the waiting jobs, in order; the next two lists beside it
        self._line: list[Waiting] = []
        self._jobs: list[Job] = []
        self._ends: list[tuple[float, int, int]] = []  # expected end, s; job; nodes
        self._end_of: dict[int, tuple[float, int, int]] = {}
        self._nodes_by_priority: Counter[int] = Counter()
        self._awake = False
        self._alarm_s = -1.0

    def submit(self, job: Job) -> None:
        """Put a job in its place: one that comes back keeps the place of its first submission."""
        rank = 0 if self.scheduler.policy == "fifo" else -job.spec.priority
        key = (rank, job.spec.submit_s, job.number)
        place = bisect_left(self._keys, key)
        self._keys.insert(place, key)
        self._line.insert(place, Waiting(job.spec.nodes, job.request_s))
        self._jobs.insert(place, job)
        self.wake()

    def wake(self) -> None:
        """Decide anew, once, after all that happens at this moment."""
        if not self._awake:
            self._awake = True
            self.env.timeout(0.0).callbacks.append(self._decide)

    def expect(self, job: Job, end_s: float) -> None:
        """Note when a running job is expected to end."""
        self._forget(job)
        entry = self._end_of[job.number] = (end_s, job.number, job.spec.nodes)
        insort(self._ends, entry)

    def left(self, job: Job) -> None:
        """Note that a job no longer runs."""
        self._forget(job)
        del self.running[job.number]
        self._nodes_by_priority[job.spec.priority] -= job.spec.nodes

    def _forget(self, job: Job) -> None:
        old = self._end_of.pop(job.number, None)
        if old is not None:
            del self._ends[bisect_left(self._ends, old)]

    def _decide(self, _: Any) -> None:
        """Start what may start; then pre-empt for the first in line, where that helps."""
        self._awake = False
        available = self.nodes.free - self.spares
        if self._line and available > 0:
            backfill = self.scheduler.policy == "backfill"
            ends = ((end_s, nodes) for end_s, _, nodes in self._ends)
            chosen = starts(self._line, available, ends, self.env.now, backfill)
            started = [self._jobs[place] for place in chosen]
            for place in reversed(chosen):
                del self._keys[place], self._line[place], self._jobs[place]
            for job in started:
                self._start(job)
        if self.scheduler.preemption and self._jobs:
            self._preempt(self._jobs[0], self.nodes.free - self.spares)

    def _start(self, job: Job) -> None:
        self.running[job.number] = job
        self._nodes_by_priority[job.spec.priority] += job.spec.nodes
        self.expect(job, self.env.now + job.request_s)
        job.start()

    def _preempt(self, first: Job, available: int) -> None:
        priority = first.spec.priority
        lower = sum(nodes for p, nodes in self._nodes_by_priority.items() if p < priority)
        if available + lower < first.spec.nodes:
            return
        promised = sum(job.held for job in self.running.values() if job.evicting)
        needed = first.spec.nodes - available - promised
        if needed <= 0:
            return
        now, protected_s = self.env.now, self.scheduler.protected_s
        candidates = [Candidate(job.held, job.spec.priority, job.started_s, number)
                      for number, job in self.running.items() if not job.evicting]
        taken = victims(needed, priority, candidates, now, protected_s)
        for number in taken:
            self._evict(self.running[number])
        if not taken:
            self._wake_at(c.since_s + protected_s for c in candidates if c.priority < priority)

    def _evict(self, job: Job) -> None:
        job.evicting = True
        saving_s = job.kind.rhythm.stall_s if self.scheduler.preempted == "checkpoint" else 0.0
        self.expect(job, self.env.now + saving_s)
        job.stop(_EVICTED)

    def _wake_at(self, times: Iterable[float]) -> None:
        """Decide anew when the first protection still to come runs out."""
        now = self.env.now
        at_s = min((t for t in times if t > now), default=None)
        if at_s is not None and not now < self._alarm_s <= at_s:
            self._alarm_s = at_s
            self.env.timeout(at_s - now).callbacks.append(lambda _: self.wake())

    def strike(self, place: float, cause: Cause) -> None:
        """Let a failure fall on a place among all nodes: those that jobs hold first, then free ones, then those in repair."""
        if place >= self.nodes.total - self.nodes.down:
            return
        self.failures += 1
        if place >= self.nodes.held:
            if cause.kind == "hardware":
                self.nodes.fail(min(cause.nodes, self.nodes.free), cause.repair, idle=True)
            return
        for job in self.running.values():
            if place < job.held:
                job.stop(Stop(cause.kind, cause))
                return
            place -= job.held


def arrivals(env: simpy.Environment, specs: Iterable[Spec],
             submit: Callable[[Spec], None]) -> Generator[simpy.Event, Any, None]:
    """Submit each job at its time; `specs` are in order of submission."""
    for spec in specs:
        if spec.submit_s > env.now:
            yield env.timeout(spec.submit_s - env.now)
        submit(spec)


def strikes(env: simpy.Environment, plan: QueuePlan, queue: Queue, causes: Sequence[Cause],
            rng: np.random.Generator) -> Generator[simpy.Event, Any, None]:
    """Strike until the horizon: one Poisson process at the summed rate of all nodes, thinned by those in repair."""
    total, nodes = float(plan.rates_per_s.sum()), plan.nodes
    bounds = np.cumsum(plan.rates_per_s)[:-1] / total
    while True:
        gaps = (rng.standard_exponential(_BLOCK) / total).tolist()
        components = np.searchsorted(bounds, rng.random(_BLOCK), side="right").tolist()
        places = (rng.random(_BLOCK) * nodes).tolist()
        for gap_s, component, place in zip(gaps, components, places, strict=True):
            yield env.timeout(gap_s)
            queue.strike(place, causes[component])

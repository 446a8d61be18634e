"""A job among others: compute, be struck or pre-empted, recover in place or queue again, until its work is done."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

import simpy

from simulator.cluster.draws import Draws
from simulator.cluster.queue_plan import Kind, Spec
from simulator.cluster.queue_work import CATEGORIES, Split, split

if TYPE_CHECKING:
    from simulator.cluster.queue import Queue


class Cause(NamedTuple):
    """What a component that fails does: its kind, the nodes of one event, and how long detection and repair take."""

    kind: str
    nodes: int
    detection: Draws
    repair: Draws


class Stop(NamedTuple):
    """The reason of an interrupt: "evicted", "closed", or the kind of the `cause` that struck."""

    kind: str
    cause: Cause | None = None


class Setting(NamedTuple):
    """What all jobs of a trial share: random times, and node-seconds by category from `count_from_s` on.

    `restarts` are by class; a class without one restarts as the failure profile says.
    """

    times: dict[str, Draws]
    restarts: tuple[Draws | None, ...]
    initialisation_per_node_s: float
    count_from_s: float
    node_s: list[float]
    save_when_evicted: bool


class Job:
    """State of one job; `run` is its SimPy process while it holds nodes."""

    def __init__(self, number: int, spec: Spec, kind: Kind, queue: Queue, setting: Setting) -> None:
        self.number, self.spec, self.kind, self.queue, self.setting = number, spec, kind, queue, setting
        self.env, self.nodes = queue.env, queue.nodes
        self.outcome = "queued"
        self.left_s = spec.duration_s  # work that a restart would have to do
        self.seconds, self.node_s = [0.0] * len(CATEGORIES), [0.0] * len(CATEGORIES)
        self.held = self.starts = self.restarts = self.interruptions = self.preemptions = 0
        self.held_node_s = self.requeue_s = 0.0
        self.waiting_since_s = self.env.now
        self.started_s = self.first_start_s = self.end_s = math.nan
        self.evicting = False
        self.process: simpy.Process | None = None

    @property
    def request_s(self) -> float:
        """Time that the scheduler expects it to need from now, s."""
        work_s = self.spec.duration_s
        return self.spec.request_s * (self.left_s / work_s if work_s > 0.0 else 0.0)

    def start(self) -> None:
        """Hold all nodes, and run."""
        now = self.env.now
        self.nodes.take(self.spec.nodes)
        self.held, self.evicting, self.started_s = self.spec.nodes, False, now
        if self.starts == 0:
            self.first_start_s = now
        else:
            self.requeue_s += now - self.waiting_since_s
        self.starts += 1
        self.outcome = "running"
        self.process = self.env.process(self.run())

    def stop(self, cause: Stop) -> None:
        """Interrupt it."""
        assert self.process is not None
        self.process.interrupt(cause)

    def run(self) -> Generator[simpy.Event, Any, None]:
        """Restart if it ran before, compute; where struck detect, replace, restart; where that cannot be, queue again."""
        overhead_s = self._restart_s() if self.starts > 1 else 0.0
        while True:
            stop = yield from self._compute(overhead_s)
            if stop is None:
                self._leave()
                return
            if stop.kind not in ("evicted", "closed") and not self.evicting:
                stop = yield from self._detect(stop)
            if stop.kind == "closed":
                return
            if self.evicting or not self._replace():
                self._requeue()
                return
            overhead_s = self._restart_s() + (self.setting.times["replacement"].next() if stop.kind == "hardware" else 0.0)

    def _restart_s(self) -> float:
        """Count a restart; return the time from nodes to computing again, s."""
        self.restarts += 1
        own, times = self.setting.restarts[self.spec.kind], self.setting.times
        if own is not None:
            return own.next()
        return (times["initialisation"].next() + times["warm_up"].next()
                + self.setting.initialisation_per_node_s * self.spec.nodes)

    def _compute(self, overhead_s: float) -> Generator[simpy.Event, Any, Stop | None]:
        """Recover for `overhead_s`, then compute to the end; return what stopped it, if anything did."""
        env, rhythm = self.env, self.kind.rhythm
        start_s, span_s = env.now, overhead_s + rhythm.span_s(self.left_s)
        due_s = start_s + span_s
        self.queue.expect(self, start_s + overhead_s + self.request_s)
        try:
            yield env.timeout(span_s)
        except simpy.Interrupt as interrupt:
            stop: Stop = interrupt.cause  # type: ignore[assignment]
        else:
            self._close(start_s, env.now, overhead_s, whole=True)
            self.left_s = 0.0
            return None
        if env.now >= due_s:  # stopped at the very moment it ended
            self._close(start_s, env.now, overhead_s, whole=True)
            self.left_s = 0.0
            return None
        stopped_s, saved = env.now, stop.kind == "closed"
        if self._saves(stop) and stopped_s > start_s + overhead_s:
            try:
                yield env.timeout(rhythm.stall_s)
            except simpy.Interrupt as interrupt:
                stop = interrupt.cause  # type: ignore[assignment]
                saved = stop.kind == "closed"
            else:
                saved = True
        self._close(start_s, stopped_s, overhead_s, whole=saved)
        self._book(Split(0.0, 0.0, env.now - stopped_s, 0.0), stopped_s)
        self._lose(stop)
        return stop

    def _saves(self, stop: Stop) -> bool:
        """Whether a stop leaves time for a checkpoint."""
        if math.isinf(self.kind.rhythm.interval_s):
            return False
        return stop.kind == "planned" or (stop.kind == "evicted" and self.setting.save_when_evicted)

    def _detect(self, stop: Stop) -> Generator[simpy.Event, Any, Stop]:
        """Wait until what struck is known; return the last thing that struck, was it while waiting."""
        while True:
            start_s = self.env.now
            try:
                yield self.env.timeout(self._detection_s(stop))
            except simpy.Interrupt as interrupt:
                stop = interrupt.cause  # type: ignore[assignment]
            else:
                self._book(Split(0.0, 0.0, 0.0, self.env.now - start_s), start_s)
                return stop
            self._book(Split(0.0, 0.0, 0.0, self.env.now - start_s), start_s)
            self._lose(stop)
            if stop.kind in ("evicted", "closed"):
                return stop

    def _detection_s(self, stop: Stop) -> float:
        assert stop.cause is not None
        if stop.kind == "planned":
            return 0.0
        return stop.cause.detection.next() + (self.setting.times["diagnosis"].next() if stop.kind == "hardware" else 0.0)

    def _lose(self, stop: Stop) -> None:
        """Count a stop, and send the nodes it took to repair."""
        if stop.kind == "evicted":
            self.preemptions += 1
        elif stop.cause is not None:
            self.interruptions += 1
            if stop.kind == "hardware":
                nodes = min(stop.cause.nodes, self.held)
                self.held -= nodes
                self.nodes.fail(nodes, stop.cause.repair, idle=False)

    def _replace(self) -> bool:
        """Take free nodes, spares too, for those that failed; return False where there are too few."""
        missing = self.spec.nodes - self.held
        if missing > self.nodes.free:
            return False
        self.nodes.take(missing)
        self.held += missing
        return True

    def _leave(self) -> None:
        self.end_s, self.outcome = self.env.now, "completed"
        self._give_back()

    def _requeue(self) -> None:
        self.waiting_since_s, self.outcome = self.env.now, "queued"
        self._give_back()
        self.queue.submit(self)

    def _give_back(self) -> None:
        self.queue.left(self)
        nodes, self.held = self.held, 0
        self.nodes.give_back(nodes)

    def _close(self, start_s: float, end_s: float, overhead_s: float, *, whole: bool) -> None:
        """Book a segment that began with `overhead_s`; `whole`: all its work is kept, not only up to a checkpoint."""
        rhythm, elapsed_s = self.kind.rhythm, end_s - start_s
        computing_s = max(0.0, elapsed_s - overhead_s)
        kept_s = min(rhythm.worked_s(computing_s) if whole else rhythm.durable_s(computing_s), self.left_s)
        before_s = min(max(self.setting.count_from_s - start_s, 0.0), elapsed_s)
        early = split(before_s, overhead_s, kept_s, self.left_s, rhythm) if before_s > 0.0 else None
        self._add(split(elapsed_s, overhead_s, kept_s, self.left_s, rhythm), early)
        self.left_s -= kept_s

    def _book(self, seconds: Split, start_s: float) -> None:
        """Book an interval of a single category that began at `start_s`."""
        elapsed_s = sum(seconds)
        before_s = min(max(self.setting.count_from_s - start_s, 0.0), elapsed_s)
        early = Split(*(s * before_s / elapsed_s for s in seconds)) if before_s > 0.0 else None
        self._add(seconds, early)

    def _add(self, seconds: Split, early: Split | None) -> None:
        """Add to the job's seconds, and to the cluster's node-seconds what came after `early`."""
        for i, s in enumerate(seconds):
            self.seconds[i] += s
            self.node_s[i] += self.held * s
            self.setting.node_s[i] += self.held * (s - early[i] if early else s)
        self.held_node_s += self.held * sum(seconds)

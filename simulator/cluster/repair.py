"""Nodes outside the job: hot spares, nodes in repair, and the crew that repairs them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from simulator.cluster.draws import Draws


class Pool:
    """Hot spare nodes and the nodes the job lacks.

    `missing` counts nodes taken out of the job for which there is no spare yet.
    """

    def __init__(self, env: simpy.Environment, spares: int, crew: int, repair_times: Draws) -> None:
        self.env, self.idle, self.missing = env, spares, 0
        self.repair_times = repair_times
        self.crew = simpy.Resource(env, crew) if crew > 0 else None
        self.refilled: simpy.Event | None = None
        self.spare_node_s = 0.0
        self._since_s = 0.0

    def _count(self) -> None:
        """Integrate idle spares up to now; called before every change."""
        self.spare_node_s += self.idle * (self.env.now - self._since_s)
        self._since_s = self.env.now

    def lose_from_job(self, nodes: int) -> None:
        """Take failed nodes out of the job, put spares in, send the failed ones to repair."""
        self._count()
        taken = min(nodes, self.idle)
        self.idle -= taken
        self.missing += nodes - taken
        self._send(nodes)

    def lose_spares(self, nodes: int) -> None:
        """Send failed spares to repair."""
        self._count()
        nodes = min(nodes, self.idle)
        self.idle -= nodes
        self._send(nodes)

    def _send(self, nodes: int) -> None:
        for _ in range(nodes):
            seconds = self.repair_times.next()
            if self.crew is None:  # nothing to wait for: a bare event costs a third of a process
                self.env.timeout(seconds).callbacks.append(self._come_back)
            else:
                self.env.process(self._repair(self.crew, seconds))

    def _repair(self, crew: simpy.Resource, seconds: float) -> Generator[simpy.Event, Any, None]:
        """One node: wait for a crew, be repaired, come back."""
        with crew.request() as turn:
            yield turn
            done = self.env.timeout(seconds)
            yield done
        self._come_back(done)

    def _come_back(self, _: simpy.Event) -> None:
        self._count()
        if self.missing > 0:
            self.missing -= 1
            if self.missing == 0 and self.refilled is not None:
                self.refilled.succeed()
                self.refilled = None
        else:
            self.idle += 1

    def whole(self) -> simpy.Event:
        """Return an event that happens when the job has all its nodes again."""
        if self.refilled is None:
            self.refilled = self.env.event()
        return self.refilled

    def close(self) -> float:
        """Return the integral of idle spares over the run, node-seconds."""
        self._count()
        return self.spare_node_s

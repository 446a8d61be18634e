"""Nodes that jobs share: free, held by jobs, in repair; and the node-seconds of those that no job holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import simpy

from simulator.cluster.draws import Draws


class Nodes:
    """Counts of nodes; `changed` is called when some come free.

    Attributes
    ----------
    free, down : int
        Healthy nodes without a job; nodes in repair or waiting for a crew.
    idle_node_s, repair_node_s : float
        Their integrals from `count_from_s` on, up to the last call of `count`.
    """

    def __init__(self, env: simpy.Environment, total: int, crew: int, count_from_s: float,
                 changed: Callable[[], None]) -> None:
        self.env, self.total, self.free, self.down = env, total, total, 0
        self.idle_node_s = self.repair_node_s = 0.0
        self._crew, self._repairing = crew, 0
        self._broken: deque[Draws] = deque()  # the repair time of each node that waits for a crew
        self._changed = changed
        self._since_s = self._count_from_s = count_from_s

    @property
    def held(self) -> int:
        """Nodes that jobs hold."""
        return self.total - self.free - self.down

    def count(self) -> None:
        """Integrate up to now; called before every change."""
        now = self.env.now
        if now > self._since_s:
            self.idle_node_s += self.free * (now - self._since_s)
            self.repair_node_s += self.down * (now - self._since_s)
            self._since_s = now

    def take(self, nodes: int) -> None:
        """Give free nodes to a job."""
        self.count()
        self.free -= nodes

    def give_back(self, nodes: int) -> None:
        """Take nodes back from a job."""
        self.count()
        self.free += nodes
        self._changed()

    def fail(self, nodes: int, repair_times: Draws, *, idle: bool) -> None:
        """Send nodes to repair, idle ones or ones that a job holds."""
        self.count()
        if idle:
            self.free -= nodes
        self.down += nodes
        self._broken.extend([repair_times] * nodes)
        self._send_crews()

    def _send_crews(self) -> None:
        while self._broken and (self._crew == 0 or self._repairing < self._crew):
            self._repairing += 1
            self.env.timeout(self._broken.popleft().next()).callbacks.append(self._come_back)

    def _come_back(self, _: Any) -> None:
        self.count()
        self._repairing -= 1
        self.down -= 1
        self.free += 1
        self._send_crews()
        self._changed()

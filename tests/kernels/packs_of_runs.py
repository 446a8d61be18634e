"""Packs of the run kernels, for tests: jobs, nodes and hazards by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.clock import Clock
from kernels.draws import CONSTANT, EXPONENTIAL
from kernels.events import Hazards, Luck, start_clocks
from kernels.job import LOST, STATE, STATES, WORK, Job
from kernels.meter import make_meter
from kernels.nodes import COLD, HOT, WARM, Nodes, add_spare
from kernels.run import Lines, Log, Slow, run_job

Level = tuple[float, float, float]  # step time, steps between checkpoints, factor on watts
# The table's first rows: detection, diagnosis, hot, warm, cold, initialisation, warm-up, repair, quarantine.
RECOVERY = (5.0, 1.0, 10.0, 20.0, 40.0, 30.0, 2.0, 5000.0, 9000.0)


def job(**changes: Any) -> Job:
    """A job of 1,000 steps of 10 s, a checkpoint of 8 s every 20 steps, on 8 nodes in 4 replicas."""
    plain = Job(np.array([0.0, 1000.0]), np.array([10.0]), np.array([20.0]), stall_s=8.0, persist_s=0.0, slowdown=0.0,
                load_s=50.0, memory_every=0.0, memory_stall_s=0.0, memory_load_s=0.0, memory_copies=0.0, local_every=0.0,
                local_stall_s=0.0, local_load_s=0.0, nodes=8.0, replicas=4.0, shrinks=0.0, microbatches=0.0, patience_s=0.0,
                least_share=0.5, day_swing=0.0, year_swing=0.0)
    return plain._replace(**changes)


def fleet(working: int, hot: int = 0, warm: int = 0, cold: int = 0, crew: int = 0) -> Nodes:
    """Nodes of a job, then spares of each kind."""
    n = working + hot + warm + cold
    nodes = Nodes(np.zeros(n, dtype=np.int8), np.zeros(n, dtype=np.int64), np.zeros((4, n), dtype=np.int64),
                  np.zeros(5, dtype=np.int64), np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(crew),
                  np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int8), np.zeros(2))
    node = working
    for kind, count in ((HOT, hot), (WARM, warm), (COLD, cold)):
        for _ in range(count):
            add_spare(nodes, node, kind)
            node += 1
    return nodes


def component(kind: int, rate: float, **more: float) -> list[float]:
    """A row of components; `rate` is of all nodes together."""
    given = {"shape": 1.0, "blast": 1.0, "burst": 0.0, "spread_s": 0.0, "domain": 8.0, "rollback": 0.0, "notice_s": 0.0} | more
    return [rate, given["shape"], float(kind), given["blast"], given["burst"], given["spread_s"], given["domain"],
            given["rollback"], given["notice_s"]]


def hazards(components: list[list[float]], recovery: tuple[float, ...] = RECOVERY,
            own: dict[tuple[int, int], float] | None = None, exponential: tuple[int, ...] = (),
            frailty: np.ndarray | None = None, **changes: Any) -> Hazards:
    """Hazards whose recovery is constant, but for the rows named `exponential`; `own[c, column]` is a component's own law."""
    rows = [[EXPONENTIAL if i in exponential else CONSTANT, value, 0.0, 0.0, 0.0, np.inf] for i, value in enumerate(recovery)]
    laws = np.full((len(components), 5), -1, dtype=np.int64)
    for (c, column), value in (own or {}).items():
        laws[c, column] = len(rows)
        rows.append([CONSTANT, value, 0.0, 0.0, 0.0, np.inf])
    shares, aliases, weights = np.empty(0), np.empty(0), np.empty(0)
    if frailty is not None:
        from kernels.hazards import alias_table

        weights = frailty / frailty.mean()
        shares, aliases = np.empty(weights.size), np.empty(weights.size)
        alias_table(weights, shares, aliases)
    count = len(components)
    plain = Hazards(np.array(components).reshape(-1, 9), laws, np.array(rows), np.zeros(1), 0.0, shares, aliases, weights, 0.0,
                    np.full(count, np.inf), np.zeros(256), np.zeros(256, dtype=np.int64), np.zeros(1, dtype=np.int64),
                    np.zeros(count))
    return plain._replace(**changes)


def luck(seed: int) -> Luck:
    """Six generators, one a purpose."""
    return Luck(*(np.random.Generator(np.random.Philox(key=np.array([seed, i], dtype=np.uint64))) for i in range(6)))


def clock(work: Job, levels: tuple[Level, ...] = (), orders: tuple[tuple[float, int], ...] = ()) -> Clock:
    """A clock of some levels; watts are 1, 2, 3 ... by state (lost work as work), tenfold in a second kind, times a factor."""
    stretches = work.step_s.size
    steps_s = np.array([np.full(stretches, step_s) for step_s, _, _ in levels] or [work.step_s])
    every = np.array([np.full(stretches, steps) for _, steps, _ in levels] or [work.every])
    by_state = np.array([[1.0], [10.0]]) * np.arange(1.0, STATES + 1.0)
    by_state[:, LOST] = by_state[:, WORK]
    watts = np.array([factor for _, _, factor in levels] or [0.0])
    power_w = watts[:, None, None, None] * by_state[None, :, :, None] * np.ones(stretches)
    return Clock(np.array([at_s for at_s, _ in orders]), np.array([level for _, level in orders], dtype=np.int64), steps_s, every,
                 power_w, np.zeros((len(watts), STATES, stretches)), np.zeros(2, dtype=np.int64), np.zeros(1))


class Run:
    """A job with all its arrays; `to` runs it on.

    `levels` are those of its clock, all stretches alike, absent: the job as it is at no power; `orders` say when which of them
    runs; `edges_s` are the bins of its meter.
    """

    def __init__(self, work: Job, h: Hazards, nodes: Nodes, seed: int, *, evict_after_s: float = np.inf, log: int = 0,
                 levels: tuple[Level, ...] = (), orders: tuple[tuple[float, int], ...] = (), edges_s: Any = ()) -> None:
        stretches = work.step_s.size
        self.job, self.hazards, self.nodes, self.luck = work, h, nodes, luck(seed)
        self.slow = Slow(np.zeros((32, 4)), np.zeros((16, 4)), np.zeros(2, dtype=np.int64), evict_after_s, 0.0)
        self.state, self.seconds = np.zeros(STATE), np.zeros((STATES, stretches))
        self.scaled_s, self.every = np.empty(stretches), np.empty(stretches)
        self.clock = clock(work, levels, orders)
        self.log = Log(Lines(np.zeros((log, 5)), np.zeros(1, dtype=np.int64)),
                       make_meter(np.array(edges_s, dtype=float), self.clock.power_w[0]), self.clock)
        start_clocks(h, self.luck.when)

    def finish(self) -> np.ndarray:
        """Run to the end; return seconds by level of the clock, state and stretch."""
        assert self.to(np.inf)
        return self.clock.spent_s

    def to(self, until_s: float) -> bool:
        """Run until a time; return whether training is done. `seconds` are of all that was spent, at the end too."""
        done = bool(run_job(self.job, self.hazards, self.nodes, self.luck, self.slow, self.state, self.seconds, self.scaled_s,
                            self.every, until_s, self.log))
        if done:
            self.seconds += self.clock.spent_s.sum(axis=0)
        return done

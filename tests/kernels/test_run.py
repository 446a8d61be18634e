"""Whole runs: an independent simulator, event by event in plain Python, has the same history from the same draws."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.events import DURATION, FLAP, HARDWARE, LATENCY, LOSS_SPIKE, PLANNED, PREEMPTION, SEVERITY, SLOW, SOFTWARE, STORAGE
from kernels.job import (
    CHECKPOINTS,
    DEGRADED,
    DETECT,
    DURABLE,
    LOST,
    MAINTENANCE,
    NETWORK,
    NOW,
    REDUCED,
    RESTART,
    STALL,
    STEP,
    WAIT,
    WORK,
    Job,
    close,
)
from kernels.nodes import take_returns, tick
from tests.kernels.packs_of_runs import RECOVERY, Run, component, fleet, hazards, job, luck

DETECTION, DIAGNOSIS, SWAP, _, _, INITIALISATION, WARM_UP, REPAIR, _ = RECOVERY


@dataclass
class SlowRun:
    """Hardware failures of one rate, hot spares, constant recovery and repair, synchronous checkpoints: step by step."""

    work: Job
    rate: float
    working: int
    spares: list[int]
    crew: int
    repair_s: float
    seed: int
    now_s: float = 0.0
    durable: int = 0
    checkpoints: int = 0
    failures: int = 0
    idle_node_s: float = 0.0
    booked: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("work", "stall", "detect", "wait", "restart"), 0.0))

    def __post_init__(self) -> None:
        self.chance = luck(self.seed)
        self.nodes = self.working + len(self.spares)
        self.at = dict.fromkeys(range(self.working), "job") | dict.fromkeys(self.spares, "spare")
        self.missing = 0
        self.back: dict[int, float] = {}
        self.free_s = [0.0] * self.crew
        self.next_s = float(self.chance.when.standard_exponential()) / self.rate

    def pass_to(self, to_s: float, state: str) -> None:
        """Let time pass in a state; nodes come back when they are due."""
        self.booked[state] += to_s - self.now_s
        for node in sorted(self.back, key=self.back.__getitem__):
            if self.back[node] <= to_s:
                self.count_idle(max(self.now_s, self.back[node]))
                del self.back[node]
                if self.missing:
                    self.at[node], self.missing = "job", self.missing - 1
                else:
                    self.at[node] = "spare"
                    self.spares.append(node)
        self.count_idle(to_s)

    def count_idle(self, to_s: float) -> None:
        self.idle_node_s += len(self.spares) * (to_s - self.now_s)
        self.now_s = to_s

    def fail(self) -> bool:
        """Let the failure that is due happen; return whether it took a node from the job."""
        node = int(self.chance.where.random() * self.nodes)
        self.next_s = self.now_s + float(self.chance.when.standard_exponential()) / self.rate
        was = self.at[node]
        if was == "out":
            return False
        if was == "spare":
            self.spares[self.spares.index(node)] = self.spares[-1]
            self.spares.pop()
        start_s = self.now_s
        if self.crew:
            who = self.free_s.index(min(self.free_s))
            start_s = max(start_s, self.free_s[who])
            self.free_s[who] = start_s + self.repair_s
        self.at[node], self.back[node] = "out", start_s + self.repair_s
        if was == "job":
            self.missing, self.failures = self.missing + 1, self.failures + 1
            if self.spares:
                self.at[self.spares.pop()] = "job"
                self.missing -= 1
        return was == "job"

    def until(self, to_s: float, state: str) -> bool:
        """Stay in a state until a time; return whether the job was struck before it."""
        while self.next_s <= to_s:
            self.pass_to(self.next_s, state)
            if self.fail():
                return True
        self.pass_to(to_s, state)
        return False

    def recovered(self) -> bool:
        """Detect, wait for nodes, restart; return whether that went through without another strike."""
        known_s = max(self.known_s, self.now_s + DETECTION + DIAGNOSIS)
        self.known_s = known_s
        if self.until(known_s, "detect"):
            return False
        while self.missing:
            if self.until(min(self.back.values()), "wait"):
                return False
        return not self.until(self.now_s + SWAP + self.work.load_s + INITIALISATION + WARM_UP, "restart")

    def run(self) -> None:
        step, last = 0, int(self.work.first_step[-1])
        self.known_s = 0.0
        while step < last:
            stop = step + 1
            struck = self.until(self.now_s + float(self.work.step_s[0]), "work")
            if not struck and stop - self.durable == self.work.every[0]:
                struck = self.until(self.now_s + self.work.stall_s, "stall")
                if not struck:
                    self.durable, self.checkpoints = stop, self.checkpoints + 1
            if struck:
                while not self.recovered():
                    pass
                stop = self.durable
            step = stop


@given(st.floats(700.0, 20_000.0), st.integers(1, 12), st.integers(0, 5), st.integers(0, 2), st.floats(10.0, 400.0),
       st.integers(0, 10_000))
@settings(max_examples=40)
def test_a_slow_simulator_has_the_same_history(mtbf_s, working, hot, crew, repair_s, seed) -> None:
    rate = (working + hot) / working / mtbf_s
    slow = SlowRun(job(nodes=float(working)), rate, working, list(range(working, working + hot)), crew, repair_s,
                   seed)
    slow.run()
    recovery = (*RECOVERY[:7], repair_s, repair_s)
    run = Run(job(nodes=float(working)), hazards([component(HARDWARE, rate)], recovery), fleet(working, hot, crew=crew), seed)
    assert run.to(np.inf)
    close(run.job, 0.0, float(run.state[STEP]), run.seconds)
    take_returns(run.nodes, run.state[NOW])
    tick(run.nodes, run.state[NOW])
    found = run.seconds[:, 0]
    assert run.state[NOW] == pytest.approx(slow.now_s, rel=1e-9)
    assert run.hazards.counted[0] == slow.failures
    assert run.state[CHECKPOINTS] == slow.checkpoints
    assert found[LOST] == pytest.approx(slow.booked["work"] - 10_000.0, abs=1e-5)
    assert found[[STALL, DETECT, WAIT, RESTART]] == pytest.approx(
        [slow.booked[name] for name in ("stall", "detect", "wait", "restart")], abs=1e-5)
    assert run.nodes.hot_node_s[0] == pytest.approx(slow.idle_node_s, rel=1e-9, abs=1e-5)


def test_stopping_on_the_way_changes_nothing() -> None:
    """Somebody who looks every 997 s sees the same history as one who looks at the end."""
    def start() -> Run:
        return Run(job(), hazards([component(HARDWARE, 1 / 900.0)], (*RECOVERY[:7], 300.0, 300.0)), fleet(8, 1, crew=1), 4)

    once, often = start(), start()
    assert once.to(np.inf)
    until_s = 0.0
    while not often.to(until_s):
        until_s += 997.0
    assert often.state[NOW] == pytest.approx(once.state[NOW], rel=1e-9)
    assert often.hazards.counted[0] == once.hazards.counted[0]
    assert often.seconds[[WORK, DETECT, WAIT, RESTART]] == pytest.approx(once.seconds[[WORK, DETECT, WAIT, RESTART]])


def test_the_cost_of_an_event_does_not_depend_on_the_size_of_job_or_cluster() -> None:
    """As many draws, and the same times, on ten thousand times the nodes at the same rate of failures, and of finer steps."""
    small = Run(job(), hazards([component(SOFTWARE, 1 / 900.0)]), fleet(8), 4)
    fine = job(first_step=np.array([0.0, 1e6]), step_s=np.array([0.01]), every=np.array([20_000.0]), nodes=80_000.0)
    large = Run(fine, hazards([component(SOFTWARE, 1 / 900.0)]), fleet(80_000), 4)
    assert small.to(np.inf)
    assert large.to(np.inf)
    assert small.hazards.counted[0] == large.hazards.counted[0] > 5
    for one, other in zip(small.luck, large.luck, strict=True):
        assert str(one.bit_generator.state) == str(other.bit_generator.state)
    assert large.seconds == pytest.approx(small.seconds, rel=1e-9)


# What each kind does, by hand: one event, then never again.


def struck_at(at_s: float, kind: int, work: Job | None = None, own: dict[int, float] | None = None, working: int = 8,
              hot: int = 1, evict_after_s: float = np.inf, until_s: float = np.inf, **more: float) -> Run:
    """A run that one event strikes, at a time."""
    laws = {(0, column): value for column, value in (own or {}).items()}
    h = hazards([component(kind, 0.0, **more)], own=laws)
    run = Run(work or job(), h, fleet(working, hot), 1, evict_after_s=evict_after_s)
    run.hazards.next_s[0] = at_s
    run.to(until_s)
    close(run.job, 0.0, float(run.state[STEP]), run.seconds)
    return run


# Of 200 s of work and a stall of 8 s; the 30th step begins at 298 s + 10 s.


def test_hardware() -> None:
    found = struck_at(308.0, HARDWARE, hot=0).seconds[:, 0]
    assert found[[LOST, DETECT, RESTART]] == pytest.approx([100.0, 6.0, 10.0 + 50.0 + 30.0 + 2.0])
    assert found[WAIT] == pytest.approx(REPAIR - 6.0)


def test_software_swaps_nothing() -> None:
    found = struck_at(308.0, SOFTWARE, hot=0).seconds[:, 0]
    assert found[[LOST, DETECT, RESTART, WAIT]] == pytest.approx([100.0, 6.0, 50.0 + 30.0 + 2.0, 0.0])


def test_a_planned_stop_saves_pauses_and_restarts() -> None:
    found = struck_at(308.0, PLANNED, own={DURATION: 600.0}, hot=0).seconds[:, 0]
    assert found[[LOST, DETECT, RESTART, MAINTENANCE]] == pytest.approx([0.0, 0.0, 82.0, 600.0])
    assert found[STALL] == pytest.approx(50 * 8.0 + 8.0)


@pytest.mark.parametrize(("notice_s", "lost_s"), [(8.0, 0.0), (7.9, 100.0)])
def test_a_preemption_with_enough_notice_loses_no_work(notice_s, lost_s) -> None:
    found = struck_at(308.0, PREEMPTION, hot=0, notice_s=notice_s).seconds[:, 0]
    assert found[LOST] == pytest.approx(lost_s)
    assert found[WAIT] > 0.0


def test_a_loss_spike_goes_back_beyond_its_steps() -> None:
    """Struck at step 30: 12 steps back is step 18, so to the start, though a checkpoint at 20 is durable."""
    found = struck_at(308.0, LOSS_SPIKE, rollback=12.0, hot=0).seconds[:, 0]
    assert found[LOST] == pytest.approx(300.0)
    assert struck_at(308.0, LOSS_SPIKE, rollback=10.0, hot=0).seconds[LOST, 0] == pytest.approx(100.0)


def test_corruption_is_found_late_and_goes_back_before_its_onset() -> None:
    """Onset at step 30, found 400 s later at step 69.2: the durable checkpoints at 60 and 40 are bad."""
    from kernels.events import CORRUPTION

    found = struck_at(308.0, CORRUPTION, own={LATENCY: 400.0}, hot=0).seconds[:, 0]
    assert found[LOST] == pytest.approx(708.0 - 3 * 8.0 - 200.0)


def test_a_slow_node_degrades_and_eviction_ends_it() -> None:
    slow = {DURATION: 1500.0, SEVERITY: 0.5}
    found = struck_at(308.0, SLOW, own=slow, hot=0).seconds[:, 0]
    stalls = found[STALL] - 400.0
    assert found[DEGRADED] == pytest.approx(500.0, abs=3 * 8.0)  # a third of 1,500 s, less the stalls in it
    assert stalls == pytest.approx(0.0)
    evicted = struck_at(308.0, SLOW, own=slow, hot=0, evict_after_s=150.0).seconds[:, 0]
    assert evicted[DEGRADED] == pytest.approx(50.0, abs=8.0)
    assert evicted[WAIT] > 0.0


def test_a_flap_stalls_the_network_and_nothing_else() -> None:
    run = struck_at(308.0, FLAP, own={DURATION: 33.0}, hot=0)
    found = run.seconds[:, 0]
    assert found[NETWORK] == 33.0
    assert found.sum() == pytest.approx(10_400.0 + 33.0)
    assert found[[LOST, DETECT, RESTART]].sum() == 0.0


def test_while_storage_is_down_nothing_becomes_durable() -> None:
    run = struck_at(308.0, STORAGE, own={DURATION: 500.0}, until_s=800.0)
    assert run.state[DURABLE] == 20.0
    assert run.state[STEP] == pytest.approx(20 + (800.0 - 208.0) / 10.0)


@pytest.mark.parametrize("outage_first", [True, False])
def test_a_restart_waits_for_storage_also_when_the_outage_begins_on_the_way(outage_first) -> None:
    run = Run(job(), hazards([component(SOFTWARE, 0.0), component(STORAGE, 0.0)], own={(1, DURATION): 1000.0}), fleet(8), 1)
    run.hazards.next_s[:] = (308.0, 300.0 if outage_first else 320.0)
    run.to(np.inf)
    close(run.job, 0.0, float(run.state[STEP]), run.seconds)
    back_s = 1300.0 if outage_first else 1320.0
    assert run.seconds[[DETECT, RESTART], 0] == pytest.approx([6.0, back_s + 82.0 - 314.0])


# Recoveries that are struck.


def test_a_second_strike_forgets_neither_the_lost_nodes_nor_the_swap() -> None:
    """One copy in memory bridges one node: a second lost before the job runs again sends it to storage."""
    copies = job(memory_every=7.0, memory_load_s=5.0, memory_copies=1.0)
    run = Run(copies, hazards([component(HARDWARE, 0.0)]), fleet(8), 1)
    steps = []
    for at_s in (308.0, 330.0):
        while run.hazards.counted[0] <= len(steps):  # until it falls on a node that still works
            run.hazards.next_s[0] = at_s
            run.to(at_s + 1e-6)
        steps.append(float(run.state[STEP]))
    assert steps == [28.0, 20.0]
    software = Run(job(), hazards([component(HARDWARE, 0.0), component(SOFTWARE, 0.0)]), fleet(8, 0, 0, 1), 1)
    software.hazards.next_s[:] = (308.0, 330.0)
    software.to(np.inf)
    assert software.hazards.counted.tolist() == [1.0, 1.0]
    assert software.seconds[RESTART, 0] == pytest.approx((330.0 - 314.0) + 40.0 + 82.0)  # the cold spare still has to come
    assert software.seconds[DETECT, 0] == pytest.approx(12.0)


def test_a_job_that_shrinks_waits_its_patience_runs_reduced_and_grows_back() -> None:
    """Six of eight nodes... one of four replicas is out: four thirds of the time, until the repair of 5,000 s is done."""
    run = struck_at(308.0, HARDWARE, hot=0, work=job(shrinks=1.0, patience_s=60.0))
    found = run.seconds[:, 0]
    assert found[WAIT] == pytest.approx(60.0)
    reduced_s = 308.0 + REPAIR - (308.0 + 6.0 + 60.0 + 92.0)
    assert found[REDUCED] == pytest.approx(reduced_s / 4, rel=0.05)
    assert found[LOST] == pytest.approx(100.0)  # growing back saves first
    assert found[RESTART] == pytest.approx(92.0 + 82.0)


def test_events_elsewhere_do_not_begin_a_shrunken_restart_anew() -> None:
    h = hazards([component(HARDWARE, 0.0), component(FLAP, 1 / 20.0)], own={(1, DURATION): 0.0})
    run = Run(job(shrinks=1.0), h, fleet(8), 1)
    run.hazards.next_s[0] = 308.0
    run.to(1000.0)
    assert run.seconds[RESTART, 0] == pytest.approx(92.0)

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kernels.progress import Progress, advance, work_s


@dataclass(frozen=True)
class Job:
    steps: tuple[int, ...]  # of each phase
    step_s: tuple[float, ...]
    every: tuple[int, ...]
    stall_s: float
    persist_s: float
    slowdown: float

    @property
    def bounds(self) -> list[int]:
        return [sum(self.steps[:p]) for p in range(len(self.steps) + 1)]


@dataclass(frozen=True)
class State:
    step: int = 0
    since: int = 0
    durable: int = 0
    pending: int = 0
    persist_left_s: float = 0.0


def advanced(job: Job, horizon_s: float, state: State) -> Progress:
    return advance(
        horizon_s, float(state.step), float(state.since), float(state.durable), float(state.pending),
        state.persist_left_s, np.array(job.bounds, float), np.array(job.step_s), np.array(job.every, float),
        job.stall_s, job.persist_s, job.slowdown,
    )  # fmt: skip


class OutOfTime(Exception):
    pass


class Naive:
    """The job as it is described: one step, one wait, one stall at a time, in exact fractions."""

    def __init__(self, job: Job, horizon_s: float, state: State) -> None:
        self.job, self.state = job, state
        self.horizon = None if math.isinf(horizon_s) else Fraction(horizon_s)
        self.now = Fraction(0)
        self.step, self.since = state.step, state.since
        self.durable, self.pending = state.durable, state.pending
        self.persist_left = Fraction(state.persist_left_s)
        self.partial = self.stalled = self.slowed = Fraction(0)
        self.stall_from: Fraction | None = None  # begin of a stall under way
        self.checkpoints = 0
        self.done = False
        self.events: list[Fraction] = []

    def phase(self) -> int:
        return max(p for p, bound in enumerate(self.job.bounds[:-1]) if self.step >= bound or p == 0)

    def pass_time(self, seconds: Fraction) -> Fraction:
        """Let time pass, as much as there is; return how much did."""
        here = seconds if self.horizon is None else min(seconds, self.horizon - self.now)
        self.now += here
        writing = self.persist_left > 0
        self.persist_left -= min(here, self.persist_left)
        if self.persist_left == 0:
            if writing:
                self.events.append(self.now)
            self.durable = self.pending
        return here

    def compute_one_step(self) -> None:
        left = Fraction(self.job.step_s[self.phase()])
        slowdown = Fraction(self.job.slowdown)
        while left > 0:
            speed = 1 - slowdown if self.persist_left > 0 else Fraction(1)
            wanted = left / speed
            if self.persist_left > 0:
                wanted = min(wanted, self.persist_left)
            here = self.pass_time(wanted)
            left -= here * speed
            self.slowed += here * (1 - speed)
            if here < wanted:
                self.partial = Fraction(self.job.step_s[self.phase()]) - left
                raise OutOfTime
        self.step += 1
        self.since += 1
        self.events.append(self.now)

    def halt(self, seconds: Fraction) -> None:
        here = self.pass_time(seconds)
        self.stalled += here
        self.events.append(self.now)
        if here < seconds:
            self.events.pop()
            raise OutOfTime

    def run(self) -> Naive:
        last = self.job.bounds[-1]
        saved_last = self.step >= last
        try:
            while not saved_last:
                if self.step < last and self.since < self.job.every[self.phase()]:
                    self.compute_one_step()
                    continue
                self.halt(self.persist_left)
                self.stall_from = self.now
                self.halt(Fraction(self.job.stall_s))
                self.stall_from = None
                self.checkpoints += 1
                self.since = 0
                self.durable, self.pending = self.pending, self.step
                self.persist_left = Fraction(self.job.persist_s)
                if self.persist_left == 0:
                    self.durable = self.pending
                saved_last = self.step >= last
            self.halt(self.persist_left)
            self.durable, self.done = self.step, True
        except OutOfTime:
            pass
        return self

    def productive(self) -> Fraction:
        """Return the work of the whole steps done here."""
        job, total = self.job, Fraction(0)
        for step in range(self.state.step, self.step):
            p = max(p for p in range(len(job.steps)) if step >= job.bounds[p])
            total += Fraction(job.step_s[p])
        return total

    def as_progress(self) -> Progress:
        numbers = (
            self.now, self.step, self.since, self.durable, self.pending, self.persist_left, self.partial, self.stalled,
            self.slowed, self.checkpoints, self.done, 0 if self.stall_from is None else self.now - self.stall_from,
        )  # fmt: skip
        return Progress(*map(float, numbers))


def eighths(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda n: n / 8.0)


@st.composite
def jobs(draw: st.DrawFn, exact: bool, patient: bool = True) -> Job:
    """Draw a job; `exact`: in numbers whose arithmetic has no rounding; `patient`: a write fits between checkpoints."""
    phases = draw(st.integers(1, 3))

    def some(strategy: st.SearchStrategy) -> tuple:
        return tuple(draw(st.lists(strategy, min_size=phases, max_size=phases)))

    steps, every = some(st.integers(1, 40)), some(st.integers(1, 12))
    seconds = eighths(1, 80) if exact else st.floats(0.1, 10.0)
    waits = eighths(0, 40) if exact else st.floats(0.0, 5.0)
    step_s, stall_s = some(seconds), draw(waits)
    slowdown = draw(st.sampled_from([0.0, 0.5, 0.75, 0.875]) if exact else st.floats(0.0, 0.9))
    fits = min(e * s for e, s in zip(every, step_s, strict=True)) / (1.0 - slowdown)
    share = draw(st.sampled_from([0.0, 0.125, 0.5, 1.0]) if exact else st.floats(0.0, 1.0))
    if not patient:
        share *= 4.0
    return Job(steps, step_s, every, stall_s, fits * share, slowdown)


@st.composite
def states(draw: st.DrawFn, job: Job, exact: bool) -> State:
    """Draw a restart from storage, or any moment between: with steps since a checkpoint, maybe still being written."""
    step = draw(st.integers(0, job.bounds[-1] - 1))
    if draw(st.booleans()):
        return State(step, 0, step, step, 0.0)
    since = draw(st.integers(0, min(step, 15)))
    pending = step - since
    if job.persist_s == 0.0 or draw(st.booleans()):
        return State(step, since, pending, pending, 0.0)
    share = draw(st.sampled_from([0.125, 0.5, 1.0]) if exact else st.floats(0.01, 1.0))
    return State(step, since, draw(st.integers(0, pending)), pending, job.persist_s * share)


def horizons(exact: bool) -> st.SearchStrategy[float]:
    finite = eighths(0, 8 * 600) if exact else st.floats(0.0, 2000.0)
    return st.one_of(finite, finite, st.just(math.inf))


def compare(result: Progress, naive: Naive, tolerance: float) -> None:
    expected = naive.as_progress()
    scale = max(1.0, expected.time_s)
    for name, value, wanted in zip(Progress._fields, result, expected, strict=True):
        if name.endswith("_s"):
            assert value == pytest.approx(wanted, rel=0.0, abs=tolerance * scale), (name, result, expected)
        else:
            assert value == wanted, (name, result, expected)


@settings(max_examples=300)
@given(st.data(), st.booleans())
def test_naive_simulator_exactly(data: st.DataObject, patient: bool) -> None:
    """In dyadic numbers nothing is rounded, so ties, at the horizon too, must come out the same."""
    job = data.draw(jobs(exact=True, patient=patient))
    state = data.draw(states(job, exact=True))
    horizon_s = data.draw(horizons(exact=True))
    compare(advanced(job, horizon_s, state), Naive(job, horizon_s, state).run(), 1e-13)


@settings(max_examples=300)
@given(st.data(), st.booleans())
def test_naive_simulator(data: st.DataObject, patient: bool) -> None:
    job = data.draw(jobs(exact=False, patient=patient))
    state = data.draw(states(job, exact=False))
    horizon_s = data.draw(horizons(exact=False))
    naive = Naive(job, horizon_s, state).run()
    if math.isfinite(horizon_s):  # not within rounding of an event
        near = Naive(job, horizon_s + 1.0, state).run().events
        assume(all(abs(event - Fraction(horizon_s)) > 1e-8 for event in near))
    compare(advanced(job, horizon_s, state), naive, 1e-10)


@settings(max_examples=200)
@given(st.data(), st.booleans())
def test_time_splits_into_states(data: st.DataObject, patient: bool) -> None:
    """Steps done, the one begun, stalls and slowdown are all there is."""
    job = data.draw(jobs(exact=False, patient=patient))
    state = data.draw(states(job, exact=False))
    horizon_s = data.draw(horizons(exact=False))
    r = advanced(job, horizon_s, state)
    bounds, step_s = np.array(job.bounds, float), np.array(job.step_s)
    productive = work_s(r.step, bounds, step_s) - work_s(float(state.step), bounds, step_s)
    assert productive + r.partial_s + r.stall_s + r.slowdown_s == pytest.approx(r.time_s, rel=1e-9, abs=1e-9)
    assert min(r) >= 0.0
    assert r.time_s <= horizon_s
    assert r.durable <= r.pending <= r.step <= job.bounds[-1]
    assert r.done == 1.0 or r.time_s == horizon_s
    if r.done:
        assert r.durable == r.step == job.bounds[-1]
        assert r.partial_s == r.persist_left_s == 0.0


@given(st.data())
def test_infinite_horizon_finishes(data: st.DataObject) -> None:
    job = data.draw(jobs(exact=False))
    whole = advanced(job, math.inf, State())
    assert whole.done == 1.0
    assert math.isfinite(whole.time_s)
    assert advanced(job, whole.time_s * (1.0 + 1e-9) + 1e-9, State()).done == 1.0
    short = advanced(job, whole.time_s * (1.0 - 1e-9) - 1e-6, State()) if whole.time_s > 1e-3 else None
    assert short is None or short.done == 0.0


@given(st.data(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_more_time_is_never_less_progress(data: st.DataObject, one: float, other: float) -> None:
    job = data.draw(jobs(exact=False))
    total = advanced(job, math.inf, State()).time_s
    early, late = (advanced(job, share * total, State()) for share in sorted((one, other)))
    assert early.step <= late.step
    assert early.durable <= late.durable
    assert early.checkpoints <= late.checkpoints
    assert early.stall_s <= late.stall_s + 1e-9


@pytest.mark.parametrize("horizon_s", [math.inf, 1e11, 3.3e12])
def test_cost_does_not_depend_on_steps(horizon_s: float) -> None:
    """A trillion steps and ten billion checkpoints: a loop over either would not return."""
    job = Job((10**12, 10**12), (2.0, 3.0), (100, 64), 1.5, 60.0, 0.25)
    r = advanced(job, horizon_s, State())
    bounds, step_s = np.array(job.bounds, float), np.array(job.step_s)
    assert work_s(r.step, bounds, step_s) + r.partial_s + r.stall_s + r.slowdown_s == pytest.approx(r.time_s, rel=1e-9)
    if math.isinf(horizon_s):
        checkpoints = 10**10 + 10**12 / 64
        assert r.checkpoints == checkpoints
        assert r.stall_s == pytest.approx(1.5 * checkpoints + 60.0, rel=1e-9)
        assert r.slowdown_s == pytest.approx(0.25 * 60.0 * (checkpoints - 1), rel=1e-9)
    else:
        assert r.done == 0.0
        assert 0.0 <= r.step - r.durable <= 200.0


def test_by_hand() -> None:
    """Ten steps of 10 s, a checkpoint every 3: stall 1 s, then 20 s of writing at half speed."""
    job = Job((10,), (10.0,), (3,), 1.0, 20.0, 0.5)
    # 30, stall 1, 40 (10 of it slowdown), 1, 40, 1, 20 (one step beside the write), 1, and 20 of waiting.
    assert advanced(job, math.inf, State()) == Progress(154.0, 10, 0, 10, 10, 0.0, 0.0, 24.0, 30.0, 4, 1)
    # At 41 s the first write is half done and so is half of the first step beside it.
    assert advanced(job, 41.0, State()) == Progress(41.0, 3, 0, 0, 3, 10.0, 5.0, 1.0, 5.0, 1, 0)
    assert advanced(job, 51.0, State()).durable == 3.0
    assert advanced(job, 50.9, State()).durable == 0.0


def test_synchronous_checkpoints_are_durable_at_once() -> None:
    job = Job((6,), (10.0,), (2,), 4.0, 0.0, 0.0)
    assert advanced(job, 23.9, State()).durable == 0.0
    assert advanced(job, 24.0, State()) == Progress(24.0, 2, 0, 2, 2, 0.0, 0.0, 4.0, 0.0, 1, 0)
    assert advanced(job, math.inf, State()).time_s == 72.0


def test_no_time_no_change() -> None:
    job = Job((6,), (10.0,), (2,), 4.0, 0.0, 0.0)
    assert advanced(job, 0.0, State(3, 1, 2, 2)) == Progress(0.0, 3, 1, 2, 2, 0.0, 0.0, 0.0, 0.0, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.1, 9.0)), min_size=1, max_size=5), st.integers(0, 120))
def test_work(phases: list[tuple[int, float]], step: int) -> None:
    lengths = [n for n, _ in phases]
    each = [s for n, s in phases for _ in range(n)]
    bounds = np.concatenate([[0.0], np.cumsum(lengths)])
    assert work_s(float(step), bounds, np.array([s for _, s in phases])) == pytest.approx(sum(each[:step]))

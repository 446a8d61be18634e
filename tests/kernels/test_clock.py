"""Orders to run on at another limit of power: no restart, and every second, step and joule belongs to the level that ran."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.clock import end_period, next_order_s, obey, set_level
from kernels.events import HARDWARE, LOSS_SPIKE
from kernels.job import CHECKPOINTS, DEGRADED, LOST, NOW, RESTART, STALL, STATE, STATES, STEP, WAIT, WORK, Job
from kernels.meter import BEYOND, make_meter
from kernels.run import METERED_S
from tests.kernels.packs_of_runs import RECOVERY, Level, Run, clock, component, fleet, hazards, job

SAME: tuple[Level, ...] = ((10.0, 20.0, 3.0), (10.0, 20.0, 3.0))
USUAL, SLOW, SLOWER = (10.0, 20.0, 3.0), (20.0, 10.0, 2.0), (40.0, 5.0, 1.0)
HOURS = np.arange(0.0, 4e5, 3600.0)
orders_of = st.lists(st.tuples(st.floats(0.0, 30_000.0), st.integers(0, 3)), max_size=12).map(lambda found: tuple(sorted(found)))


def run(levels: tuple[Level, ...], orders: tuple[tuple[float, int], ...], mtbf_s: float = np.inf, seed: int = 3, hot: int = 1,
        work: Job | None = None, edges_s: np.ndarray = HOURS) -> Run:
    """A run, with failures where they have a rate, and loss spikes that go back beyond a checkpoint."""
    rates = [component(HARDWARE, 1.0 / mtbf_s), component(LOSS_SPIKE, 0.3 / mtbf_s, rollback=25.0)]
    return Run(work or job(), hazards(rates, (*RECOVERY[:7], 300.0, 300.0)), fleet(8, hot), seed, levels=levels, orders=orders,
               edges_s=edges_s)


# What an order does, by hand.


def test_the_last_of_the_orders_that_are_due_counts() -> None:
    work = job()
    c = clock(work, (USUAL, SLOW, SLOWER), ((1.0, 1), (2.0, 2), (3.0, 1)))
    m, state, seconds = make_meter(np.empty(0), c.power_w[0]), np.zeros(STATE), np.zeros((STATES, 1))
    assert next_order_s(c) == 1.0
    state[NOW] = 2.0
    obey(c, work, m, state, seconds, np.zeros(2))
    assert (work.step_s[0], work.every[0]) == (40.0, 5.0)
    assert m.power_w.tolist() == c.power_w[2].tolist()
    assert next_order_s(c) == 3.0
    state[NOW] = 99.0
    obey(c, work, m, state, seconds, np.zeros(2))
    assert work.step_s[0] == 20.0
    assert next_order_s(c) == np.inf


def test_an_order_beyond_the_levels_changes_nothing() -> None:
    """A pause is another's business: the level before it stays."""
    work = job()
    c = clock(work, (USUAL, SLOW), ((1.0, 1), (2.0, 2)))
    m, state, seconds = make_meter(np.empty(0), c.power_w[0]), np.zeros(STATE), np.zeros((STATES, 1))
    state[NOW] = 5.0
    obey(c, work, m, state, seconds, np.zeros(2))
    assert work.step_s[0] == 20.0
    assert c.marks.tolist() == [2, 1]


def test_a_period_that_ends_books_to_its_level_and_starts_anew() -> None:
    work = job()
    c = clock(work, (USUAL, SLOW))
    m = make_meter(np.array([0.0, 1e4]), c.power_w[0])
    state, seconds = np.zeros(STATE), np.zeros((STATES, 1))
    seconds[WORK], seconds[STALL] = 300.0, 8.0
    state[NOW], state[STEP] = 308.0, 25.0  # five of thirty steps were lost
    end_period(c, work, m, state, seconds, np.zeros(2))
    assert c.spent_s[0, [WORK, LOST, STALL], 0].tolist() == [250.0, 50.0, 8.0]
    assert not seconds.any()
    assert m.bins[0].tolist() == pytest.approx([3.0 * (300.0 + 2 * 8.0), 30.0 * (300.0 + 2 * 8.0), 308.0, 0.0])
    set_level(c, work, m, 1)
    seconds[WORK], state[NOW], state[STEP] = 200.0, 508.0, 35.0
    end_period(c, work, m, state, seconds, np.zeros(2))
    assert c.spent_s[1, [WORK, LOST], 0].tolist() == [200.0, 0.0]
    assert m.bins[0, 0] == pytest.approx(3.0 * 316.0 + 2.0 * 200.0)


def test_what_was_kept_once_is_lost_where_another_level_does_it_again() -> None:
    work = job()
    c = clock(work, (USUAL, SLOW))
    m, state, seconds = make_meter(np.empty(0), c.power_w[0]), np.zeros(STATE), np.zeros((STATES, 1))
    seconds[WORK], state[STEP] = 300.0, 30.0
    end_period(c, work, m, state, seconds, np.zeros(2))
    set_level(c, work, m, 1)
    seconds[WORK], state[STEP] = 400.0, 40.0  # from step 20 on, twice as slow
    end_period(c, work, m, state, seconds, np.zeros(2))
    assert c.spent_s[:, WORK, 0].tolist() == [300.0, 200.0]
    assert c.spent_s[:, LOST, 0].tolist() == [0.0, 200.0]


def test_a_period_that_ends_before_the_last_one_did_keeps_nothing_and_forgets_nothing() -> None:
    """Steps 20 to 25 are done again under one level and 25 to 30 under the next: 40 steps are kept, not 45."""
    work = job()
    c = clock(work, (USUAL, SLOW))
    m, state, seconds = make_meter(np.empty(0), c.power_w[0]), np.zeros(STATE), np.zeros((STATES, 1))
    for level, work_s, step in ((0, 300.0, 30.0), (1, 100.0, 25.0), (0, 150.0, 40.0)):
        set_level(c, work, m, level)
        seconds[WORK], state[STEP] = work_s, step
        end_period(c, work, m, state, seconds, np.zeros(2))
    assert c.spent_s[:, WORK, 0].tolist() == [400.0, 0.0]
    assert c.spent_s[:, LOST, 0].tolist() == [50.0, 100.0]


# Whole runs.


@given(orders_of, st.integers(0, 1000), st.floats(1500.0, 50_000.0))
@settings(max_examples=25)
def test_orders_between_equal_levels_change_nothing(orders, seed, mtbf_s) -> None:
    plain, ordered = (run(SAME, given_orders, mtbf_s, seed) for given_orders in ((), orders))
    before, after = plain.finish().sum(axis=0), ordered.finish().sum(axis=0)
    assert ordered.state[NOW] == pytest.approx(plain.state[NOW], rel=1e-11)
    assert after == pytest.approx(before, rel=1e-9, abs=1e-6)
    assert ordered.hazards.counted.tolist() == plain.hazards.counted.tolist()
    assert ordered.state[CHECKPOINTS] == plain.state[CHECKPOINTS]
    assert ordered.log.meter.bins.sum(axis=0) == pytest.approx(plain.log.meter.bins.sum(axis=0), rel=1e-9)


@given(orders_of, st.integers(0, 1000), st.floats(3000.0, 50_000.0))
@settings(max_examples=40)
def test_steps_seconds_and_joules_of_all_levels_are_those_of_the_run(orders, seed, mtbf_s) -> None:
    """Also where levels differ in everything, orders come during recoveries, and failures go back to before an order."""
    r = run((USUAL, SLOW, SLOWER), orders, mtbf_s, seed)
    spent_s = r.finish()
    now_s, meter = r.state[NOW], r.log.meter
    assert spent_s.sum() == pytest.approx(now_s, rel=1e-9)
    assert (spent_s >= 0.0).all()
    assert (spent_s[:, WORK, 0] / r.clock.steps_s[:, 0]).sum() == pytest.approx(1000.0, rel=1e-9)
    joules = (r.clock.power_w * spent_s[:, None]).sum(axis=(0, 2, 3))
    assert meter.bins[:, :2].sum(axis=0) == pytest.approx(joules, rel=1e-9)
    assert meter.bins[:, 2].sum() == pytest.approx(now_s, rel=1e-9)
    assert meter.bins[:, 3].sum() == pytest.approx(r.nodes.hot_node_s[0], rel=1e-9, abs=1e-6)
    widths = np.clip(now_s - HOURS[:-1], 0.0, np.diff(HOURS))
    assert meter.bins[:, 2] == pytest.approx(widths, rel=1e-9, abs=1e-6)
    assert meter.marks[BEYOND] == 0.0


@given(orders_of.filter(bool), st.integers(0, 1000))
@settings(max_examples=25)
def test_slower_levels_never_end_sooner_without_failures(orders, seed) -> None:
    slowed = run((USUAL, (20.0, 20.0, 2.0)), orders, seed=seed)
    slowed.finish()
    plain = run((USUAL, (20.0, 20.0, 2.0)), (), seed=seed)
    plain.finish()
    assert slowed.state[NOW] >= plain.state[NOW] * (1 - 1e-12)
    slow_steps = slowed.clock.spent_s[1, WORK, 0] / 20.0
    assert slowed.state[NOW] - plain.state[NOW] == pytest.approx(slow_steps * 10.0, rel=1e-9, abs=1e-6)


def test_a_level_all_the_time_is_a_job_of_that_level() -> None:
    """Also its failures, checkpoints and joules."""
    ordered = run((USUAL, SLOW), ((0.0, 1),), 2000.0)
    slow = job(step_s=np.array([20.0]), every=np.array([10.0]))
    plain = run((SLOW,), (), 2000.0, work=slow)
    assert not ordered.finish()[0].any()
    plain.finish()
    assert ordered.state[NOW] == pytest.approx(plain.state[NOW], rel=1e-12)
    assert ordered.clock.spent_s[1] == pytest.approx(plain.clock.spent_s[0], rel=1e-12)
    assert ordered.state[CHECKPOINTS] == plain.state[CHECKPOINTS]
    assert ordered.hazards.counted.tolist() == plain.hazards.counted.tolist()
    assert ordered.log.meter.bins == pytest.approx(plain.log.meter.bins, rel=1e-12)


def test_an_hour_at_another_level_draws_its_watts() -> None:
    """The second hour is slow, in the middle of a step: half the steps, and not a second of restart."""
    r = run((USUAL, SLOW), ((3600.0, 1), (7200.0, 0)), work=job(stall_s=0.0, every=np.array([1e9])))
    r.finish()
    assert r.clock.spent_s[:, WORK, 0] == pytest.approx([8200.0, 3600.0])
    assert r.state[NOW] == pytest.approx(10_000.0 + 1800.0)
    assert r.log.meter.bins[:4, 0] == pytest.approx([3 * 3600.0, 2 * 3600.0, 3 * 3600.0, 3 * 1000.0])
    assert r.clock.spent_s[:, RESTART].sum() == 0.0


def test_a_level_that_saves_more_often_saves_at_once_where_it_is_due() -> None:
    """15 steps since the last checkpoint when the level that saves every 10 comes: one stall now, not a negative wait."""
    r = run((USUAL, (10.0, 10.0, 3.0)), ((150.0, 1),))
    r.to(150.0 + 8.0 + 1e-6)
    assert r.state[CHECKPOINTS] == 1.0
    assert r.finish().sum() == pytest.approx(10_000.0 + 100 * 8.0)  # after step 15, 25, ... 995, and the last


def test_an_order_during_a_recovery_waits_for_its_end() -> None:
    r = run((USUAL, SLOW), ((350.0, 1),), hot=1)
    r.hazards.next_s[0] = 308.0
    r.finish()
    spent_s = r.clock.spent_s[:, :, 0]
    assert spent_s[0, RESTART] == pytest.approx(10.0 + 82.0)
    assert spent_s[1, RESTART] == 0.0
    assert spent_s[0, WORK] == pytest.approx(200.0)
    assert spent_s[0, LOST] == pytest.approx(100.0)


def test_a_long_calm_run_is_booked_day_by_day() -> None:
    """Without any event it still stops to book, so that what slows over the season draws more on later days."""
    edges = np.arange(0.0, 40 * METERED_S, 3600.0)
    work = job(first_step=np.array([0.0, 90_000.0]), stall_s=0.0, every=np.array([1e9]), year_swing=20.0)
    r = run((USUAL,), (), work=work, edges_s=edges)
    spent_s = r.finish()[0, :, 0]
    joules = r.log.meter.bins[:, 0]
    assert spent_s[DEGRADED] > 0.0
    assert joules.sum() == pytest.approx(r.clock.power_w[0, 0, :, 0] @ spent_s, rel=1e-9)
    by_day = joules[:240].reshape(10, 24)
    assert by_day == pytest.approx(np.repeat(by_day[:, :1], 24, axis=1))
    assert (np.diff(by_day[:, 0]) > 0.0).all()


def test_a_long_wait_and_the_restart_after_it_are_told_apart() -> None:
    """Hours of waiting for a repair draw what waiting draws, however long the restart behind them."""
    r = Run(job(load_s=7200.0), hazards([component(HARDWARE, 0.0)], (*RECOVERY[:7], 14_400.0, 14_400.0)), fleet(8), 1,
            levels=(USUAL,), edges_s=HOURS)
    r.hazards.next_s[0] = 308.0
    r.finish()
    watts = r.clock.power_w[0, 0, :, 0]
    assert r.log.meter.bins[[1, 2, 3], 0] / 3600.0 == pytest.approx(watts[WAIT], rel=1e-3)
    assert r.log.meter.bins[5, 0] / 3600.0 == pytest.approx(watts[RESTART], rel=1e-9)

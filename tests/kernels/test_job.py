"""One job between two events, by hand: where it stands, what a restart finds, what is saved, how work is split at the end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels.job
from kernels.job import (
    BASE,
    CHECKPOINTS,
    DEGRADED,
    DURABLE,
    LOST,
    NOW,
    PENDING,
    PERSIST_LEFT,
    REDUCED,
    SINCE,
    STALL,
    STATE,
    STATES,
    STEP,
    WORK,
    Job,
    close,
    left_s,
    mean_swing,
    restore,
    run_on,
    save_now,
    stretch_of,
)
from tests.kernels.packs_of_runs import job

DAY = 86400.0


def at(**places: float) -> np.ndarray:
    state = np.zeros(STATE)
    for name, value in places.items():
        state[getattr(kernels.job, name)] = value
    return state


def ran(work: Job, state: np.ndarray, until_s: float, slow: float = 1.0) -> tuple[bool, np.ndarray]:
    """Run to a time; return whether done, and the seconds by state."""
    n = work.step_s.size
    seconds = np.zeros((STATES, n))
    done = run_on(work, state, seconds, np.empty(n), np.empty(n), slow, until_s)
    assert seconds.sum() == pytest.approx(state[NOW], rel=1e-12)  # every second is booked
    return done, seconds.sum(axis=1)


def test_steps_and_checkpoints_by_hand() -> None:
    """20 steps of 10 s, a stall of 8 s, 10 s of the next step: 218 s."""
    state = at()
    done, seconds = ran(job(), state, 215.0)
    assert not done
    assert state[[STEP, SINCE, DURABLE, CHECKPOINTS]] == pytest.approx([20.7, 0.7, 20.0, 1.0])
    assert seconds[[WORK, STALL]] == pytest.approx([207.0, 8.0])


def test_to_the_end_of_training() -> None:
    state = at()
    done, seconds = ran(job(), state, 1e9)
    assert done
    assert state[NOW] == pytest.approx(1000 * 10.0 + 50 * 8.0)
    assert seconds[[WORK, STALL]] == pytest.approx([10_000.0, 400.0])


def test_an_asynchronous_checkpoint_is_durable_when_it_is_written() -> None:
    work = job(stall_s=1.0, persist_s=60.0)
    state = at()
    ran(work, state, 201.0 + 59.0)
    assert state[[DURABLE, PENDING, PERSIST_LEFT]] == pytest.approx([0.0, 20.0, 1.0])
    state = at()
    ran(work, state, 201.0 + 61.0)
    assert state[[DURABLE, PENDING, PERSIST_LEFT]] == pytest.approx([20.0, 20.0, 0.0])


def test_slowness_missing_replicas_and_copies_are_booked_apart() -> None:
    """A step of 10 s at 1.5 of its time, with three replicas of four, and a copy of 4 s every 8 steps: 20.5 s."""
    work = job(memory_every=8.0, memory_stall_s=4.0)
    state = at(LACKING=1.0)
    _, seconds = ran(work, state, 10 * 20.5, slow=1.5)
    assert state[STEP] == pytest.approx(10.0)
    assert seconds[[WORK, DEGRADED, REDUCED, STALL]] == pytest.approx([100.0, 50.0, 50.0, 5.0])


def test_the_others_take_over_whole_microbatches() -> None:
    """8 microbatches of each of four replicas are 32: eleven for the busiest of three."""
    state = at(LACKING=1.0)
    _, seconds = ran(job(microbatches=8.0), state, 10 * 10.0 * 11 / 8)
    assert state[STEP] == pytest.approx(10.0)
    assert seconds[[WORK, REDUCED]] == pytest.approx([100.0, 37.5])


def test_nothing_is_written_while_storage_is_down_and_at_once_after() -> None:
    state = at(STORAGE_UNTIL=500.0)
    ran(job(), state, 500.0)
    assert state[[STEP, CHECKPOINTS, DURABLE]] == pytest.approx([50.0, 0.0, 0.0])
    run_on(job(), state, np.zeros((STATES, 1)), np.empty(1), np.empty(1), 1.0, 508.0)
    assert state[[STEP, CHECKPOINTS, DURABLE]] == pytest.approx([50.0, 1.0, 50.0])


@given(st.floats(0.0, 0.3), st.floats(0.0, 0.3), st.floats(0.0, 400.0), st.floats(0.001, 400.0))
def test_the_mean_swing_is_that_of_its_hours_and_seasons(day, year, from_days, days) -> None:
    """Against the mean of 1 + a (1 - cos(2 pi t)) / 2, midpoints of small slices; fastest at midnight and new year."""
    from_s, to_s = from_days * DAY, (from_days + days) * DAY
    t = from_s + (np.arange(200_000) + 0.5) / 200_000 * (to_s - from_s)
    of_day, of_year = np.cos(2 * math.pi * t / DAY), np.cos(2 * math.pi * t / (365.25 * DAY))
    exact = np.mean(1 + day * (1 - of_day) / 2 + year * (1 - of_year) / 2)
    assert mean_swing(job(day_swing=day, year_swing=year), from_s, to_s) == pytest.approx(exact, abs=1e-5)


def test_the_swing_of_a_whole_day_is_half() -> None:
    swinging = job(day_swing=0.1)
    assert mean_swing(swinging, 0.0, DAY) == pytest.approx(1.05)
    assert mean_swing(swinging, 0.49 * DAY, 0.51 * DAY) == pytest.approx(1.1, rel=1e-3)


# What a restart finds. Job at step 57.4, checkpoints every 20 steps, the last durable one at 40.


@pytest.mark.parametrize(("lost", "step", "load_s"), [(0.0, 56.0, 5.0), (1.0, 56.0, 5.0), (2.0, 40.0, 50.0)])
def test_peers_memory_bridges_as_many_nodes_as_it_has_copies_for(lost, step, load_s) -> None:
    state = at(STEP=57.4, SINCE=17.4, DURABLE=40.0, PENDING=40.0)
    assert restore(job(memory_every=7.0, memory_load_s=5.0, memory_copies=1.0), state, lost, math.inf) == load_s
    assert state[[STEP, BASE, DURABLE]] == pytest.approx([step, step, 40.0])
    assert state[SINCE] == pytest.approx(step - 40.0)  # the next checkpoint comes when it would have


@pytest.mark.parametrize(("lost", "step", "load_s"), [(0.0, 50.0, 6.0), (1.0, 40.0, 50.0)])
def test_a_lost_node_takes_its_disk_with_it(lost, step, load_s) -> None:
    state = at(STEP=57.4, DURABLE=40.0, PENDING=40.0)
    assert restore(job(local_every=10.0, local_load_s=6.0), state, lost, math.inf) == load_s
    assert state[STEP] == step


def test_the_newest_copy_goes_first_and_of_equals_the_quickest() -> None:
    both = job(memory_every=7.0, memory_load_s=5.0, memory_copies=1.0, local_every=10.0, local_load_s=1.0)
    state = at(STEP=57.4, DURABLE=40.0)
    assert restore(both, state, 0.0, math.inf) == 5.0
    assert state[STEP] == 56.0
    state = at(STEP=41.0, DURABLE=40.0)
    assert restore(both._replace(memory_every=20.0), state, 0.0, math.inf) == 1.0
    assert state[STEP] == 40.0


@pytest.mark.parametrize(("back_to", "step"), [(math.inf, 60.0), (60.0, 60.0), (59.9, 40.0), (40.0, 40.0), (25.0, 20.0),
                                               (3.0, 0.0)])
def test_a_sound_state_lies_whole_intervals_back(back_to, step) -> None:
    state = at(STEP=70.0, DURABLE=60.0, PENDING=60.0)
    restore(job(), state, 0.0, back_to)
    assert state[[STEP, DURABLE, PENDING]] == pytest.approx([step] * 3)


def test_copies_newer_than_the_corruption_are_no_use() -> None:
    state = at(STEP=57.4, DURABLE=40.0, PENDING=40.0)
    copies = job(memory_every=7.0, memory_load_s=5.0, memory_copies=1.0)
    assert restore(copies, state, 0.0, 45.0) == 50.0
    assert state[STEP] == 40.0


def test_a_write_under_way_is_lost_with_the_job() -> None:
    state = at(STEP=57.4, DURABLE=20.0, PENDING=40.0, PERSIST_LEFT=30.0)
    restore(job(persist_s=60.0), state, 1.0, math.inf)
    assert state[[STEP, DURABLE, PENDING, PERSIST_LEFT, SINCE]].tolist() == [20.0, 20.0, 20.0, 0.0, 0.0]


@given(st.floats(0.0, 900.0), st.integers(0, 45), st.integers(0, 9), st.floats(0.0, 900.0) | st.just(math.inf),
       st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
def test_no_restart_goes_forward_or_beyond_what_is_sound(step, checkpoints, lost, back_to, memory, local, bridged) -> None:
    durable = min(checkpoints * 20.0, math.floor(step))
    work = job(memory_every=float(memory), memory_load_s=5.0, memory_copies=float(bridged),
               local_every=float(local), local_load_s=6.0)
    state = at(STEP=step, DURABLE=durable, PENDING=durable)
    load_s = restore(work, state, float(lost), back_to)
    assert 0.0 <= state[STEP] <= step
    assert state[STEP] <= max(back_to, 0.0) + 1e-6
    assert state[DURABLE] <= state[STEP]
    assert load_s in (50.0, 5.0, 6.0)
    assert load_s == 50.0 or lost <= bridged or (load_s == 6.0 and lost == 0)
    if lost > bridged and lost > 0 and back_to >= durable:
        assert state[STEP] == durable


# Saving before a planned stop.


def test_saving_takes_stall_and_write_and_keeps_everything() -> None:
    state, seconds = at(NOW=100.0, STEP=9.5, SINCE=9.5), np.zeros((STATES, 1))
    assert save_now(job(persist_s=30.0), state, seconds, 1e9)
    assert state[[NOW, DURABLE, SINCE, CHECKPOINTS]].tolist() == [138.0, 9.5, 0.0, 1.0]
    assert seconds[STALL, 0] == 38.0


def test_a_save_that_is_cut_short_keeps_nothing() -> None:
    state, seconds = at(NOW=100.0, STEP=9.5), np.zeros((STATES, 1))
    assert not save_now(job(), state, seconds, 105.0)
    assert state[[NOW, DURABLE, CHECKPOINTS]].tolist() == [105.0, 0.0, 0.0]
    assert seconds[STALL, 0] == 5.0


def test_a_save_to_storage_that_is_down_keeps_nothing() -> None:
    state = at(STEP=9.5, STORAGE_UNTIL=1000.0)
    assert not save_now(job(), state, np.zeros((STATES, 1)), 1e9)
    assert state[DURABLE] == 0.0


# Stretches and the end.

TWO = job(first_step=np.array([0.0, 100.0, 300.0]), step_s=np.array([10.0, 20.0]), every=np.array([20.0, 20.0]))


def test_stretches_by_step() -> None:
    assert [stretch_of(TWO, step) for step in (0.0, 99.9, 100.0, 300.0)] == [0, 0, 1, 1]


def test_what_is_left_is_work_and_one_checkpoint() -> None:
    assert left_s(TWO, 90.0) == pytest.approx(10 * 10.0 + 200 * 20.0 + 8.0)


def test_work_beyond_what_is_kept_was_lost() -> None:
    """Steps 40 to 150 are kept of this period: 600 s of the first stretch, 1,000 s of the second."""
    seconds = np.zeros((STATES, 2))
    seconds[WORK] = [700.0, 1500.0]
    close(TWO, 40.0, 150.0, seconds)
    assert seconds[WORK].tolist() == [600.0, 1000.0]
    assert seconds[LOST].tolist() == [100.0, 500.0]

"""Who runs next: order, reservations, victims; and the closed forms of work between checkpoints."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster.queue_policy import Candidate, Waiting, reservation, starts, victims
from simulator.cluster.queue_work import Rhythm, split

jobs = st.builds(Waiting, st.integers(1, 12), st.floats(1.0, 100.0))
queues = st.lists(jobs, max_size=12)
running = st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(1, 8)), max_size=10).map(sorted)
spans = st.floats(1.0, 1e6)


@given(queues, st.integers(-2, 20))
def test_fifo_starts_a_prefix_that_fits_and_stops_at_the_first_that_does_not(queue, available) -> None:
    chosen = starts(queue, available, [], 0.0, backfill=False)
    assert chosen == list(range(len(chosen)))
    used = sum(queue[k].nodes for k in chosen)
    assert used <= max(available, 0)
    assert len(chosen) == len(queue) or used + queue[len(chosen)].nodes > available


@given(queues, st.integers(0, 20), running)
def test_backfill_never_delays_the_reserved_start_of_the_first_in_line(queue, available, ends) -> None:
    strict = starts(queue, available, ends, 0.0, backfill=False)
    chosen = starts(queue, available, ends, 0.0, backfill=True)
    assert chosen[:len(strict)] == strict
    assert sum(queue[k].nodes for k in chosen) <= available
    if len(strict) == len(queue):
        return

    def reserved(started: list[int]) -> float:
        free = available - sum(queue[k].nodes for k in started)
        later = sorted([*ends, *((queue[k].request_s, queue[k].nodes) for k in started)])
        return reservation(queue[len(strict)].nodes, free, later, 0.0)[0]

    assert reserved(chosen) <= reserved(strict) or math.isinf(reserved(strict))


def test_backfill_runs_what_ends_before_the_reservation_and_what_needs_only_the_rest() -> None:
    ends = [(10.0, 6)]  # ten nodes, six held until 10 s, four free
    queue = [Waiting(8, 5.0), Waiting(4, 11.0), Waiting(3, 9.0), Waiting(1, 50.0), Waiting(1, 60.0)]
    assert reservation(8, 4, ends, 0.0) == (10.0, 2)
    assert starts(queue, 4, ends, 0.0, backfill=True) == [2, 3]  # 1 would delay it; 4 finds no node
    assert starts(queue, 4, ends, 0.0, backfill=False) == []


def test_a_job_past_its_asked_time_is_expected_to_end_now() -> None:
    assert reservation(2, 0, [(5.0, 2)], 20.0) == (20.0, 0)


def test_without_enough_running_nodes_there_is_no_reservation() -> None:
    assert reservation(8, 2, [(5.0, 2)], 0.0) == (math.inf, 0)


candidates = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4), st.floats(0.0, 100.0)), max_size=12).map(
    lambda found: [Candidate(*c, key=i) for i, c in enumerate(found)])


@given(st.integers(1, 20), st.integers(0, 5), candidates, st.floats(0.0, 50.0))
def test_victims_are_of_lower_priority_unprotected_enough_and_all_needed(needed, priority, found, protected) -> None:
    chosen = [found[key] for key in victims(needed, priority, found, 100.0, protected)]
    allowed = [c for c in found if c.priority < priority and c.since_s + protected <= 100.0]
    assert set(chosen) <= set(allowed)
    nodes = sum(c.nodes for c in chosen)
    if not chosen:
        assert sum(c.nodes for c in allowed) < needed
    else:
        assert nodes >= needed
        assert all(nodes - c.nodes < needed for c in chosen)


def test_of_equal_priority_the_youngest_goes_and_of_unequal_the_lowest() -> None:
    found = [Candidate(2, 1, 50.0, 0), Candidate(2, 0, 10.0, 1), Candidate(2, 0, 20.0, 2)]
    assert victims(2, 2, found, 100.0, 0.0) == [2]
    assert victims(4, 2, found, 100.0, 0.0) == [2, 1]
    assert victims(2, 2, [*found, Candidate(2, 0, 99.0, 3)], 100.0, 30.0) == [2]


@given(st.floats(0.0, 1e6), spans, st.floats(0.0, 1e3))
def test_all_work_is_done_after_its_span(work, interval, stall) -> None:
    rhythm = Rhythm(interval, stall)
    assert rhythm.span_s(work) >= work
    assert min(rhythm.worked_s(rhythm.span_s(work)), work) == pytest.approx(work, rel=1e-9, abs=1e-6)


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e4), spans, st.floats(0.0, 1e3), st.booleans())
def test_a_split_sums_to_its_time_and_keeps_no_more_than_was_done(elapsed, overhead, interval, stall, whole) -> None:
    rhythm = Rhythm(interval, stall)
    computing = max(0.0, elapsed - overhead)
    kept = rhythm.worked_s(computing) if whole else rhythm.durable_s(computing)
    assert kept <= rhythm.worked_s(computing) <= computing
    parts = split(elapsed, overhead, kept, 1e9, rhythm)
    assert sum(parts) == pytest.approx(elapsed, rel=1e-12)
    assert min(parts) >= -1e-9
    assert parts.lost == 0.0 if whole else parts.lost <= interval * (1 + 1e-9)


def test_checkpoints_stall_and_bound_what_is_lost() -> None:
    rhythm = Rhythm(3600.0, 60.0)
    assert rhythm.span_s(3600.0) == 3600.0  # none at the end
    assert rhythm.span_s(2.5 * 3600.0) == 2.5 * 3600.0 + 120.0
    assert rhythm.durable_s(3659.0) == 0.0
    assert rhythm.durable_s(3660.0) == 3600.0
    assert split(5000.0, 100.0, 3600.0, 1e6, rhythm) == (3600.0, 1240.0, 60.0, 100.0)
    assert Rhythm().durable_s(1e9) == 0.0

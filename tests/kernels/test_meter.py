"""Joules by the hour: what is booked lies in the bins in which it was spent, and is all there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.meter import BEYOND, RUN_S, Meter, make_meter, record

STATES, KINDS = 3, 2


@dataclass
class Booking:
    """What passes between two records: time, how it is shared among states and stretches, spares, watts from then on."""

    span_s: float
    weights: list[float]
    spares: int
    counts_spares: bool
    watts: float


def naive(edges: np.ndarray, stretches: int, bookings: list[Booking]) -> np.ndarray:
    """The same bins: each booking, bin by bin, by the part of its span that lies in the bin."""
    bins = np.zeros((edges.size - 1, KINDS + 2))
    power, now_s, spares_from_s, spare_node_s = watts(stretches, 1.0), 0.0, 0.0, 0.0
    for b in bookings:
        end_s = now_s + b.span_s
        spent = shares(b, stretches) * b.span_s
        spare_node_s += b.spares * b.span_s
        for i in range(edges.size - 1):
            if b.span_s > 0.0:
                part = max(0.0, min(end_s, edges[i + 1]) - max(now_s, edges[i])) / b.span_s
                for kind in range(KINDS):
                    bins[i, kind] += part * float((power[kind] * spent).sum())
                bins[i, KINDS] += part * float(spent.sum())
            if b.counts_spares and end_s > spares_from_s:
                part = max(0.0, min(end_s, edges[i + 1]) - max(spares_from_s, edges[i])) / (end_s - spares_from_s)
                bins[i, KINDS + 1] += part * spare_node_s
        if b.counts_spares and end_s > spares_from_s:
            spares_from_s, spare_node_s = end_s, 0.0
        now_s, power = end_s, watts(stretches, b.watts)
    return bins


def watts(stretches: int, factor: float) -> np.ndarray:
    return factor * (1.0 + np.arange(KINDS * STATES * stretches, dtype=float)).reshape(KINDS, STATES, stretches)


def shares(b: Booking, stretches: int) -> np.ndarray:
    weights = np.resize(np.array(b.weights), STATES * stretches)
    return (weights / weights.sum()).reshape(STATES, stretches)


def metered(edges: np.ndarray, stretches: int, bookings: list[Booking]) -> tuple[Meter, np.ndarray]:
    """Meter bookings one by one; return the meter, and the seconds of the run."""
    m = make_meter(edges, watts(stretches, 1.0))
    seconds, hot, now_s, spare_node_s = np.zeros((STATES, stretches)), np.zeros(2), 0.0, 0.0
    for b in bookings:
        seconds += shares(b, stretches) * b.span_s
        now_s, spare_node_s = now_s + b.span_s, spare_node_s + b.spares * b.span_s
        if b.counts_spares:
            hot[:] = spare_node_s, now_s
        record(m, seconds, now_s, hot)
        m.power_w[:] = watts(stretches, b.watts)
    return m, seconds


edges_of = st.lists(st.floats(0.1, 30.0), min_size=1, max_size=12).map(lambda widths: np.concatenate([[0.0], np.cumsum(widths)]))
bookings_of = st.lists(st.builds(
    Booking, st.one_of(st.just(0.0), st.floats(1e-3, 80.0)), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6),
    st.integers(0, 5), st.booleans(), st.floats(0.0, 3.0)), min_size=1, max_size=10)


@given(edges_of, st.integers(1, 3), bookings_of)
def test_bins_are_those_of_a_naive_meter(edges, stretches, bookings) -> None:
    m, _ = metered(edges, stretches, bookings)
    assert m.bins == pytest.approx(naive(edges, stretches, bookings), rel=1e-9, abs=1e-9)
    assert m.marks[BEYOND] == float(sum(b.span_s for b in bookings) > edges[-1])


@given(st.lists(st.floats(0.1, 30.0), min_size=1, max_size=12), st.integers(1, 3), bookings_of)
def test_bins_sum_to_what_was_booked(widths, stretches, bookings) -> None:
    for b in bookings:
        b.counts_spares, b.watts = True, 1.0
    span_s = sum(b.span_s for b in bookings)
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    edges = np.append(edges, max(edges[-1], span_s) + 1.0)
    m, seconds = metered(edges, stretches, bookings)
    sums = m.bins.sum(axis=0)
    assert sums[:KINDS] == pytest.approx((watts(stretches, 1.0) * seconds).sum(axis=(1, 2)), rel=1e-12)
    assert sums[KINDS] == pytest.approx(span_s, rel=1e-12)
    assert sums[KINDS + 1] == pytest.approx(sum(b.spares * b.span_s for b in bookings), rel=1e-12)
    assert m.marks[BEYOND] == 0.0


def test_a_booking_over_three_hours_is_spread_evenly() -> None:
    edges = np.array([0.0, 3600.0, 7200.0, 10800.0])
    m = make_meter(edges, np.full((1, 1, 1), 50.0))
    record(m, np.array([[1800.0]]), 1800.0, np.zeros(2))
    record(m, np.array([[9000.0]]), 9000.0, np.zeros(2))
    assert m.bins[:, 0] == pytest.approx([180e3, 180e3, 90e3])
    assert m.bins[:, 1] == pytest.approx([3600.0, 3600.0, 1800.0])


def test_recording_twice_at_a_time_counts_once() -> None:
    m = make_meter(np.array([0.0, 10.0]), np.full((1, 1, 1), 2.0))
    for _ in range(3):
        record(m, np.array([[5.0]]), 5.0, np.array([15.0, 5.0]))
    assert m.bins.tolist() == [[10.0, 5.0, 15.0]]


def test_an_end_on_the_last_edge_is_not_beyond_it() -> None:
    edges, power = np.array([0.0, 10.0, 20.0]), np.ones((1, 1, 1))
    m = make_meter(edges, power)
    record(m, np.array([[20.0]]), 20.0, np.zeros(2))
    assert m.marks[BEYOND] == 0.0
    assert m.bins[:, 0].tolist() == [10.0, 10.0]
    record(m, np.array([[20.5]]), 20.5, np.zeros(2))
    assert m.marks[BEYOND] == 1.0
    assert m.bins[:, 0].tolist() == [10.0, 10.0]


def test_spares_beyond_the_last_edge_are_marked_too() -> None:
    m = make_meter(np.array([0.0, 10.0]), np.ones((1, 1, 1)))
    record(m, np.zeros((1, 1)), 0.0, np.array([24.0, 12.0]))
    assert m.marks[BEYOND] == 1.0
    assert m.bins[0, 2] == pytest.approx(20.0)


def test_without_edges_nothing_is_metered() -> None:
    m = make_meter(np.empty(0), np.ones((2, 3, 1)))
    record(m, np.ones((3, 1)), 3.0, np.array([3.0, 3.0]))
    assert m.bins.shape == (0, 4)
    assert m.marks[RUN_S] == m.marks[BEYOND] == 0.0
    assert not m.before.any()


def test_the_meter_owns_its_watts() -> None:
    """A clock writes over the meter's watts; those of the plan, which all trials share, stay."""
    power = np.ones((1, 1, 1))
    m = make_meter(np.array([0.0, 1.0]), power)
    m.power_w[:] = 7.0
    assert power.item() == 1.0

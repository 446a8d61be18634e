"""Waveforms: closed forms, and slow twins that sample or sum what the kernels compute exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.waveform import (
    amplitudes,
    energy_above_j,
    energy_j,
    moving_average,
    steepest,
    storage_need,
    superpose,
    variance_w2,
)

PERIOD = 4.0


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rectangles with edges on a coarse grid, so that many are equal, or anywhere."""
    place = st.integers(0, 16).map(lambda n: n * PERIOD / 16) | st.floats(0.0, PERIOD)
    pairs = draw(st.lists(st.tuples(place, place), min_size=1, max_size=12))
    power = draw(st.lists(st.floats(0.0, 1000.0), min_size=len(pairs), max_size=len(pairs)))
    return np.array([min(p) for p in pairs]), np.array([max(p) for p in pairs]), np.array(power)


@st.composite
def waveforms(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A waveform whose pieces are all longer than a thousandth of its period."""
    lengths = np.array(draw(st.lists(st.integers(1, 40), min_size=1, max_size=12)), dtype=float)
    power = draw(st.lists(st.floats(0.0, 1000.0), min_size=lengths.size, max_size=lengths.size))
    edges = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum() * PERIOD])
    edges[-1] = PERIOD
    return edges, np.array(power)


def at(edges: np.ndarray, power: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the power at times, the waveform going on for ever."""
    return np.asarray(power[np.clip(np.searchsorted(edges, times % edges[-1], side="right") - 1, 0, power.size - 1)])


def window_mean(edges: np.ndarray, power: np.ndarray, end: float, window: float) -> float:
    """Return the mean over a window, piece by piece of as many periods as it needs."""
    total, periods = 0.0, int(np.ceil(window / edges[-1])) + 1
    for shift in range(-periods, 1):
        for left, right, watts in zip(edges[:-1] + shift * edges[-1], edges[1:] + shift * edges[-1], power, strict=True):
            total += watts * max(0.0, min(right, end) - max(left, end - window))
    return total / window


@given(rectangles())
def test_a_sum_is_the_sum_at_every_time(found) -> None:
    start, end, power = found
    edges, total = superpose(start, end, power, PERIOD)
    assert edges[0] == 0.0
    assert edges[-1] == PERIOD
    assert (np.diff(edges) > 0.9e-9 * PERIOD).all()
    for left, right, watts in zip(edges[:-1], edges[1:], total, strict=True):
        middle = 0.5 * (left + right)
        if right - left > 1e-6 and not ((np.abs(start - left) < 1e-8) & (start != left)).any():
            assert watts == pytest.approx(power[(start <= middle) & (middle < end)].sum(), rel=1e-5, abs=1e-2)
    assert energy_j(edges, total) == pytest.approx((power * (end - start)).sum(), rel=1e-12, abs=1e-9)


def test_slivers_of_rounding_leave_no_trace_in_peak_and_trough() -> None:
    first = 0.1 + 0.2  # not 0.3
    start, end = np.array([0.0, 0.3, 0.0, first]), np.array([0.3, 1.0, first, 1.0])
    edges, power = superpose(start, end, np.array([5.0, 7.0, 7.0, 5.0]), 1.0)
    assert power == pytest.approx([12.0, 12.0])
    assert edges[1] == pytest.approx(0.3)


@given(waveforms(), st.floats(0.01, 11.0))
def test_moving_averages_are_those_of_the_pieces(found, window) -> None:
    edges, power = found
    times, average = moving_average(edges, power, window)
    assert times[0] == 0.0
    assert times[-1] == PERIOD
    tolerance = {"rel": 1e-9, "abs": 1e-9 * PERIOD * 1000.0 / window}
    assert average == pytest.approx([window_mean(edges, power, t, window) for t in times], **tolerance)
    middle = 0.5 * (times[1:] + times[:-1])  # and linear between
    assert np.interp(middle, times, average) == pytest.approx([window_mean(edges, power, t, window) for t in middle], **tolerance)


@given(waveforms(), st.floats(0.02, 9.0), st.floats(0.02, 9.0))
def test_ramps_are_the_largest_changes_of_the_average(found, averaged, window) -> None:
    edges, power = found
    rise, fall = steepest(edges, power, averaged, window)
    times = np.linspace(0.0, PERIOD, 401)  # an average moves by at most swing / averaged a second: 0.01 s of it between samples
    means = np.array([window_mean(edges, power, t, averaged) - window_mean(edges, power, (t - window) % PERIOD, averaged)
                      for t in times])
    swing = power.max() - power.min()
    near = 2.0 * swing / averaged * (times[1] - times[0]) / window + 1e-6 * max(1.0, power.max()) / window / averaged
    assert means.max() / window <= rise + near * 1e-3
    assert -means.min() / window <= fall + near * 1e-3
    assert rise == pytest.approx(max(0.0, means.max()) / window, abs=near)
    assert fall == pytest.approx(max(0.0, -means.min()) / window, abs=near)
    assert max(rise, fall) <= swing / window * (1.0 + 1e-9) + 1e-6


def test_a_step_that_lasts_counts_in_full_and_a_spike_by_its_energy() -> None:
    edges, power = np.array([0.0, 1.0, 1.5, PERIOD]), np.array([3.0, 9.0, 1.0])
    assert steepest(edges, power, PERIOD, PERIOD) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert steepest(edges, power, 0.1, 0.1) == pytest.approx((60.0, 80.0))
    spike = np.array([0.0, 1.0, 1.001, PERIOD]), np.array([3.0, 9.0, 3.0])
    assert steepest(*spike, 0.1, 0.1) == pytest.approx((0.6, 0.6))


@pytest.mark.parametrize("duty", [0.5, 0.2, 0.75])
def test_a_square_wave_has_its_fourier_series(duty) -> None:
    edges, power = np.array([0.0, duty * PERIOD, PERIOD]), np.array([7.0, 3.0])
    k = np.arange(1, 201)
    assert amplitudes(edges, power, 200) == pytest.approx(2.0 * 4.0 / (np.pi * k) * np.abs(np.sin(np.pi * k * duty)), abs=1e-12)


@given(waveforms())
def test_the_spectrum_holds_the_variance_and_agrees_with_an_integral(found) -> None:
    edges, power = found
    amplitude = amplitudes(edges, power, 300)
    variance = variance_w2(edges, power)
    assert np.sum(amplitude**2) / 2.0 <= variance * (1.0 + 1e-9) + 1e-12
    swing = power.max() - power.min()
    # Bessel: what is missing lies beyond, at most (2 n swing / (2 pi k))^2 summed over k.
    assert np.sum(amplitude**2) / 2.0 >= variance - 2.0 * (power.size * swing / np.pi) ** 2 / 300.0 - 1e-9
    for k in (1, 2, 65, 300):
        turn = 2j * np.pi * k / PERIOD
        pieces = [watts * (np.exp(-turn * right) - np.exp(-turn * left)) / -turn
                  for left, right, watts in zip(edges[:-1], edges[1:], power, strict=True)]
        assert amplitude[k - 1] == pytest.approx(2.0 * abs(sum(pieces)) / PERIOD, rel=1e-9, abs=1e-9)


@given(waveforms(), st.floats(0.0, 1000.0))
def test_energy_above_less_energy_below_a_level_is_that_over_it(found, level) -> None:
    edges, power = found
    above, below = energy_above_j(edges, power, level), energy_above_j(edges, -power, -level)
    assert above - below == pytest.approx(energy_j(edges, power) - level * PERIOD, rel=1e-9, abs=1e-9)
    assert above == pytest.approx(np.sum(np.maximum(0.0, power - level) * np.diff(edges)))


def slow_storage(edges: np.ndarray, power: np.ndarray, window: float, lost: float, efficiency: float, samples: int = 40001
                 ) -> tuple[float, float, float]:
    """Return capacity, largest flow, and what a period leaves in the store, by sampling."""
    times = (np.arange(samples) + 0.5) * PERIOD / samples
    at_s, average = moving_average(edges, power, window)
    flow = np.interp(times, at_s, average) + lost - at(edges, power, times)
    stored = np.cumsum(np.where(flow > 0.0, efficiency * flow, flow)) * PERIOD / samples
    return max(0.0, stored.max()) - min(0.0, stored.min()), np.abs(flow).max(), stored[-1]


@given(waveforms(), st.sampled_from([0.1, 0.7, PERIOD, 5.5]), st.sampled_from([1.0, 0.9, 0.6]))
def test_a_store_ends_a_period_as_it_began(found, window, efficiency) -> None:
    edges, power = found
    need = storage_need(edges, power, window, efficiency)
    swing = power.max() - power.min()
    capacity, flow, left = slow_storage(edges, power, window, need.lost_w, efficiency)
    near = 1e-3 * swing * PERIOD + 1e-9
    assert left == pytest.approx(0.0, abs=near)
    assert need.capacity_j == pytest.approx(capacity, abs=near)
    assert need.power_w == pytest.approx(flow, abs=4e-3 * swing * max(1.0, 1.0 / window) + 1e-9)
    assert need.lost_w >= -1e-9
    if efficiency == 1.0:
        assert need.lost_w == pytest.approx(0.0, abs=1e-9)


def test_flattening_a_square_wave_takes_a_quarter_of_its_swing_times_its_period() -> None:
    edges, power = np.array([0.0, 2.0, PERIOD]), np.array([10.0, 2.0])
    lossless = storage_need(edges, power, PERIOD, 1.0)
    assert lossless == pytest.approx((8.0, 4.0, 0.0), abs=1e-12)
    # Half of the time is charging: 0.8 (level - 2) = 10 - level.
    level = (10.0 + 0.8 * 2.0) / 1.8
    assert storage_need(edges, power, PERIOD, 0.8) == pytest.approx((2.0 * (10.0 - level), level - 2.0, level - 6.0))


def test_constant_power_needs_no_store_and_has_no_spectrum() -> None:
    edges, power = np.array([0.0, 1.0, PERIOD]), np.array([5.0, 5.0])
    assert storage_need(edges, power, 0.5, 0.9) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    assert amplitudes(edges, power, 50) == pytest.approx(np.zeros(50), abs=1e-15)
    assert steepest(edges, power, 0.1, 0.1) == pytest.approx((0.0, 0.0), abs=1e-9)


@given(waveforms(), st.floats(1e-3, 1e6), st.floats(1e-3, 1e3))
def test_units_do_not_matter(found, watts, seconds) -> None:
    edges, power = found
    other, scaled = edges * seconds, power * watts
    assert amplitudes(other, scaled, 30) == pytest.approx(watts * amplitudes(edges, power, 30), rel=1e-6, abs=1e-9 * watts)
    expected = np.array(steepest(edges, power, 0.3, 0.75 * PERIOD)) * watts / seconds
    assert steepest(other, scaled, 0.3 * seconds, 0.75 * PERIOD * seconds) == pytest.approx(
        expected, rel=1e-6, abs=1e-9 * power.max() * watts / seconds)

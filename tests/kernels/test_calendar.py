"""Functions constant between edges: integrals against exact fractions, spreading that loses nothing, windows that cover."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.calendar import cumulative, integral_until, integrate, integrate_product, locate, spread, windows_above

NUMBERS = st.floats(-1e3, 1e3).map(lambda x: x if abs(x) > 1e-6 else 0.0)
TIMES = st.floats(-10.0, 1e4)


@st.composite
def functions(draw, values: int = 1):
    """Rising edges (some less than a second apart) and as many lists of values as asked for."""
    widths = draw(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
    edges = np.concatenate(([0.0], np.cumsum(widths)))
    n = len(widths)
    return (edges, *(np.array(draw(st.lists(NUMBERS, min_size=n, max_size=n))) for _ in range(values)))


def exact(edges, from_s: float, to_s: float, *factors) -> Fraction:
    """The integral of a product in fractions, bin by bin."""
    total = Fraction(0)
    for i in range(len(edges) - 1):
        low, high = max(Fraction(edges[i]), Fraction(from_s)), min(Fraction(edges[i + 1]), Fraction(to_s))
        if low < high:
            term = high - low
            for factor in factors:
                term *= Fraction(factor[i])
            total += term
    return total


def size(edges, *factors) -> float:
    """What rounding is measured by: the integral of the product's absolute value."""
    return float(exact(edges, edges[0], edges[-1], *(np.abs(f) for f in factors))) + 1e-300


@given(functions(), TIMES, TIMES)
def test_the_integral_is_that_of_fractions(function, a, b) -> None:
    edges, values = function
    assert abs(integrate(edges, values, a, b) - float(exact(edges, a, b, values))) <= 1e-14 * size(edges, values)


@given(functions(values=2), TIMES, TIMES)
def test_the_integral_of_a_product_is_that_of_fractions(function, a, b) -> None:
    edges, power, price = function
    found = integrate_product(edges, power, price, a, b)
    assert abs(found - float(exact(edges, a, b, power, price))) <= 1e-14 * size(edges, power, price)


@given(functions(), st.lists(TIMES, min_size=2, max_size=8))
def test_integrals_of_parts_add_up(function, times) -> None:
    edges, values = function
    times = sorted(times)
    parts = sum(integrate(edges, values, a, b) for a, b in pairwise(times))
    assert parts == pytest.approx(integrate(edges, values, times[0], times[-1]), abs=1e-13 * size(edges, values))


@given(functions(), TIMES)
def test_the_cumulated_integral_is_the_integral_so_far(function, to_s) -> None:
    edges, values = function
    cumulated = cumulative(edges, values)
    assert cumulated[0] == 0.0
    assert abs(integral_until(edges, values, cumulated, to_s)
               - float(exact(edges, edges[0], to_s, values))) <= 1e-13 * size(edges, values)


def test_small_terms_are_not_lost_beside_large_ones() -> None:
    edges = np.arange(10_002.0)
    values = np.full(10_001, 1e-12)
    values[0], values[-1] = 1e6, -1e6
    assert integrate(edges, values, 0.0, 10_001.0) == pytest.approx(9_999e-12, rel=1e-9)
    assert cumulative(edges, values)[-1] == pytest.approx(9_999e-12, rel=1e-9)


@given(functions(), TIMES)
def test_a_time_is_in_the_bin_that_is_found(function, at_s) -> None:
    edges, values = function
    i = locate(edges, at_s)
    assert 0 <= i < values.size
    assert i == 0 or edges[i] <= at_s
    assert i == values.size - 1 or at_s < edges[i + 1]


def spread_slowly(edges, from_s: float, to_s: float, amounts, shape) -> np.ndarray:
    """Every bin by itself, in fractions; what lies outside goes to the first or last bin."""
    result = np.zeros(shape)
    n = shape[0]
    for i in range(n):
        low = Fraction(edges[i]) if i else min(Fraction(edges[0]), Fraction(from_s))
        high = Fraction(edges[i + 1]) if i < n - 1 else max(Fraction(edges[-1]), Fraction(to_s))
        if to_s > from_s:
            inside = min(high, Fraction(to_s)) - max(low, Fraction(from_s))
            result[i] = [float(Fraction(a) * max(inside, 0) / (Fraction(to_s) - Fraction(from_s))) for a in amounts]
        elif low <= Fraction(from_s) and (Fraction(from_s) < high or i == n - 1):
            result[i] = amounts
            break
    return result


@given(functions(), TIMES, st.floats(0.0, 5e3) | st.just(0.0), st.lists(NUMBERS, min_size=1, max_size=4), st.integers(0, 30))
def test_spreading_gives_each_bin_its_share_and_loses_nothing(function, from_s, length_s, amounts, index) -> None:
    edges, values = function
    amounts = np.array(amounts)
    to_s = from_s + length_s
    out = np.zeros((values.size, amounts.size))
    last = spread(edges, min(index, values.size - 1), from_s, to_s, amounts, out)
    np.testing.assert_allclose(out, spread_slowly(edges, from_s, to_s, amounts, out.shape), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(out.sum(axis=0), amounts, rtol=1e-12, atol=1e-12)
    assert last == values.size - 1 or to_s <= edges[last + 1]


@given(functions(), st.lists(st.floats(0.0, 2e3), min_size=1, max_size=30))
def test_a_sweep_with_the_last_index_is_the_same_as_from_the_first(function, lengths) -> None:
    edges, values = function
    swept, anew = np.zeros((values.size, 1)), np.zeros((values.size, 1))
    amount, at_s, index = np.array([3.0]), 0.0, 0
    for length_s in lengths:
        index = spread(edges, index, at_s, at_s + length_s, amount, swept)
        spread(edges, 0, at_s, at_s + length_s, amount, anew)
        at_s += length_s
    np.testing.assert_array_equal(swept, anew)
    assert swept.sum() == pytest.approx(3.0 * len(lengths), rel=1e-12)


@given(functions(), NUMBERS)
def test_windows_cover_just_the_bins_above_the_threshold(function, threshold) -> None:
    edges, values = function
    windows = windows_above(edges, values, threshold)
    assert windows.shape[1] == 2
    assert (windows[:, 0] < windows[:, 1]).all()
    assert (windows[1:, 0] > windows[:-1, 1]).all()  # apart: touching ones are merged
    for i, middle in enumerate((edges[:-1] + edges[1:]) / 2):
        inside = any(start <= middle < end for start, end in windows)
        assert inside == (values[i] > threshold)


def test_windows_of_a_function_never_above() -> None:
    assert windows_above(np.array([0.0, 1.0]), np.array([2.0]), 2.0).shape == (0, 2)

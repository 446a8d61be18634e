from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.hazards import superpose

Draw = tuple[float, np.ndarray, np.ndarray]


def run(start: float, gaps: np.ndarray, marks: np.ndarray, rates: np.ndarray) -> Draw:
    times, components = np.empty(gaps.size), np.empty(gaps.size, np.int64)
    return superpose(start, gaps, marks, rates, times, components), times, components


@given(
    st.floats(0.0, 1e8),
    st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 1.0, exclude_max=True)), min_size=1, max_size=30),
    st.lists(st.floats(1e-9, 1e-3), min_size=1, max_size=8),
)
def test_naive_loop(start: float, draws: list[tuple[float, float]], rates: list[float]) -> None:
    gaps, marks = (np.array(column) for column in zip(*draws, strict=True))
    last, times, components = run(start, gaps, marks, np.array(rates))
    now, total = start, sum(rates)
    edges = np.cumsum(rates)
    for i, (gap, mark) in enumerate(draws):
        now += gap / total
        assert times[i] == pytest.approx(now, rel=1e-12)
        nearest = np.abs(edges - mark * total).min()
        if nearest > 1e-12 * total:  # not on an edge, where rounding decides
            assert components[i] == min(int((edges <= mark * total).sum()), len(rates) - 1)
    assert last == times[-1]


def test_gaps_are_exponential_at_the_summed_rate() -> None:
    from scipy.stats import kstest

    rng, n = np.random.default_rng(3), 200_000
    rates = np.array([1e-5, 3e-5, 6e-5])
    last, times, _ = run(100.0, rng.exponential(size=n), rng.random(n), rates)
    gaps = np.diff(times, prepend=100.0)
    assert gaps.mean() == pytest.approx(1e4, rel=4.0 / np.sqrt(n))
    assert gaps.std() == pytest.approx(1e4, rel=0.02)
    assert kstest(gaps, "expon", args=(0.0, 1e4)).pvalue > 0.01
    assert last == times[-1]


def test_components_fail_in_proportion_to_their_rates() -> None:
    from scipy.stats import chisquare

    rng, n = np.random.default_rng(7), 100_000
    rates = np.array([5e-6, 0.0, 1e-6, 2e-6, 1e-8, 2e-6])
    _, times, components = run(0.0, rng.exponential(size=n), rng.random(n), rates)
    counts = np.bincount(components, minlength=rates.size)
    assert counts[1] == 0
    some = rates > 0.0
    assert chisquare(counts[some], n * rates[some] / rates.sum()).pvalue > 0.01
    # Thinned: the failures of one component are again a Poisson process, of its own rate.
    own = np.diff(times[components == 2])
    assert own.mean() == pytest.approx(1.0 / rates[2], rel=4.0 / np.sqrt(own.size))


def test_superposition_is_that_of_separate_clocks() -> None:
    """Failures in a year from separate exponential clocks, and from the superposed one: same mean, Poisson spread."""
    rng = np.random.default_rng(13)
    rates, year = np.array([2e-7, 5e-7, 1e-6]), 3.15e7
    separate, together = [], []
    for _ in range(2000):
        separate.append(sum((rng.exponential(1.0 / r, 200).cumsum() < year).sum() for r in rates))
        together.append((run(0.0, rng.exponential(size=200), rng.random(200), rates)[1] < year).sum())
    expected = rates.sum() * year
    for counts in (separate, together):
        assert np.mean(counts) == pytest.approx(expected, abs=4.0 * np.sqrt(expected / 2000))
        assert np.var(counts) == pytest.approx(expected, rel=0.15)


def test_goes_on_where_it_stopped() -> None:
    rng = np.random.default_rng(1)
    gaps, marks, rates = rng.exponential(size=40), rng.random(40), np.array([1e-4, 2e-4])
    _, times, components = run(5.0, gaps, marks, rates)
    middle, first, _ = run(5.0, gaps[:17], marks[:17], rates)
    _, second, later = run(middle, gaps[17:], marks[17:], rates)
    assert np.array_equal(np.concatenate([first, second]), times)
    assert np.array_equal(later, components[17:])


def test_nothing_asked_nothing_done() -> None:
    assert run(7.0, np.empty(0), np.empty(0), np.array([1.0]))[0] == 7.0

"""When and where failures fall: power law, Poisson, alias table, heap."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kernels.hazards import alias_table, next_failure_s, pick, pop, push

DAY = 86400.0
NODES, MEAN_LIFE_S = 2048, 263.9 * DAY


def fleet_rate(shape: float, nodes: int = NODES) -> float:
    """n / scale^shape of nodes of the same mean life (docs/reference/formulas.md, section 8)."""
    return nodes / (MEAN_LIFE_S / math.gamma(1.0 + 1.0 / shape)) ** shape


def failures(rate: float, shape: float, age_s: float, until_s: float, rng: np.random.Generator) -> list[float]:
    """Times of failures of one history, s."""
    times, now_s = [], 0.0
    while True:
        now_s = next_failure_s(now_s, age_s, rate, shape, rng.standard_exponential())
        if now_s > until_s:
            return times
        times.append(now_s)


# Section 8: 2,048 fresh nodes of the same mean life.


@pytest.mark.parametrize(("shape", "expected"), [(0.7, 190.0), (0.78, 135.0), (1.0, 54.3), (1.5, 7.6)])
def test_failures_of_the_first_week_are_those_of_the_table(shape: float, expected: float) -> None:
    rng = np.random.default_rng(11)
    histories = 200
    total = sum(len(failures(fleet_rate(shape), shape, 0.0, 7 * DAY, rng)) for _ in range(histories))
    assert total / histories == pytest.approx(expected, abs=4 * math.sqrt(expected / histories) + 0.005 * expected)


@pytest.mark.parametrize(("shape", "hours"), [(0.7, 0.118), (0.78, 0.360), (1.0, 3.092), (1.5, 39.3)])
def test_the_first_failure_comes_when_the_table_says(shape: float, hours: float) -> None:
    rng = np.random.default_rng(12)
    rate = fleet_rate(shape)
    first_h = np.array([next_failure_s(0.0, 0.0, rate, shape, rng.standard_exponential()) for _ in range(20_000)]) / 3600
    assert first_h.mean() == pytest.approx(hours, abs=4 * first_h.std() / math.sqrt(first_h.size) + 0.002 * hours)


@pytest.mark.parametrize("shape", [0.7, 1.5])
def test_the_first_failure_of_many_is_weibull(shape: float) -> None:
    """The first of n has the scale of one over n^(1/k)."""
    rng = np.random.default_rng(13)
    found = [next_failure_s(0.0, 0.0, fleet_rate(shape), shape, rng.standard_exponential()) for _ in range(5000)]
    scale_s = MEAN_LIFE_S / math.gamma(1.0 + 1.0 / shape) * NODES ** (-1.0 / shape)
    assert stats.kstest(found, stats.weibull_min(shape, scale=scale_s).cdf).pvalue > 1e-3


def test_shape_one_is_a_poisson_process_whatever_the_age() -> None:
    rng = np.random.default_rng(14)
    times = failures(1.0 / 3600.0, 1.0, 5e7, 5000 * 3600.0, rng)
    assert stats.kstest(np.diff(times), stats.expon(scale=3600.0).cdf).pvalue > 1e-3
    gaps = np.diff(times)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / math.sqrt(gaps.size)


@given(st.floats(0.0, 1e8), st.floats(0.0, 1e8), st.floats(1e-9, 1e-2), st.floats(1e-3, 20.0))
def test_shape_one_agrees_with_its_limit(now_s, age_s, rate, gap) -> None:
    near = next_failure_s(now_s, age_s, rate, 1.0 + 1e-12, gap)
    assert next_failure_s(now_s, age_s, rate, 1.0, gap) == pytest.approx(near, rel=1e-6, abs=1.0)


@given(st.floats(0.0, 1e8), st.floats(0.0, 1e8), st.floats(0.3, 4.0), st.integers(1, 100_000), st.floats(1e-3, 20.0))
def test_the_cumulative_hazard_between_two_failures_is_the_gap(now_s, age_s, shape, nodes, gap) -> None:
    rate = fleet_rate(shape, nodes)
    then_s = next_failure_s(now_s, age_s, rate, shape, gap)
    assert then_s >= now_s or then_s == pytest.approx(now_s, rel=1e-9)
    expected = rate * (age_s + now_s) ** shape
    assert rate * (age_s + then_s) ** shape - expected == pytest.approx(gap, rel=1e-6, abs=1e-6 * expected)


def test_what_has_no_rate_never_fails() -> None:
    assert next_failure_s(5.0, 1.0, 0.0, 0.7, 1.0) == math.inf


# The alias table.

weights = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60).filter(lambda w: sum(w) > 1e-3)


@given(weights)
def test_an_alias_table_holds_its_weights_exactly(w: list[float]) -> None:
    """Index i is picked by its own share of its place, and by the rest of every place that names it."""
    n = len(w)
    shares, aliases = np.empty(n), np.empty(n)
    alias_table(np.array(w), shares, aliases)
    assert ((shares >= -1e-9) & (shares <= 1.0 + 1e-9)).all()
    held = shares.copy()
    for i in range(n):
        held[int(aliases[i])] += 1.0 - shares[i]
    assert held / n == pytest.approx(np.array(w) / sum(w), abs=1e-9)


@given(weights, st.floats(0.0, 1.0, exclude_max=True))
def test_a_pick_looks_at_one_place_only(w: list[float], u: float) -> None:
    """Constant time: the answer is the place that the number falls in, or that place's alias."""
    n = len(w)
    shares, aliases = np.empty(n), np.empty(n)
    alias_table(np.array(w), shares, aliases)
    place = int(u * n)
    assert pick(u, shares, aliases) in (place, int(aliases[place]))


def test_picks_come_in_proportion_to_weight() -> None:
    w = np.array([0.0, 1.0, 5.0, 0.5, 3.5])
    shares, aliases = np.empty(5), np.empty(5)
    alias_table(w, shares, aliases)
    rng = np.random.default_rng(15)
    found = np.bincount([pick(rng.random(), shares, aliases) for _ in range(50_000)], minlength=5)
    assert found[0] == 0
    assert stats.chisquare(found[1:], w[1:] / w.sum() * found.sum()).pvalue > 1e-3


# The heap.


@given(st.lists(st.one_of(st.floats(0.0, 1e9), st.none()), max_size=120))
def test_the_heap_gives_what_heapq_gives(actions: list[float | None]) -> None:
    """A number is pushed, None pops."""
    times_s, nodes = np.empty(120), np.empty(120, dtype=np.int64)
    size, reference = 0, []
    for node, time_s in enumerate(actions):
        if time_s is not None:
            size = push(times_s, nodes, size, time_s, node)
            heapq.heappush(reference, (time_s, node))
        elif size:
            earliest_s, who = times_s[0], nodes[0]
            size = pop(times_s, nodes, size)
            assert earliest_s == reference[0][0]
            reference.remove((earliest_s, who))  # of equal times either may come first
            heapq.heapify(reference)
        assert size == len(reference)
        assert sorted(zip(times_s[:size], nodes[:size], strict=True)) == sorted(reference)

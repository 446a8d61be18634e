"""Draws inside kernels against the distributions' own quantiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kernels.draws import CHOICE, CONSTANT, EXPONENTIAL, LOGNORMAL, NORMAL, TRIANGULAR, UNIFORM, draw

NO_CHOICES = np.zeros(1)
DRAWS = 20_000


def row(kind: float, *parameters: float, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    return np.array([kind, *parameters, *[0.0] * (3 - len(parameters)), low, high])


def sample(law: np.ndarray, size: int = DRAWS, choices: np.ndarray = NO_CHOICES, seed: int = 5) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(seed))
    return np.array([draw(law, choices, rng) for _ in range(size)])


LAWS = {
    "uniform": (row(UNIFORM, 2.0, 5.0), stats.uniform(2.0, 3.0)),
    "triangular": (row(TRIANGULAR, 1.0, 2.0, 6.0), stats.triang(0.2, 1.0, 5.0)),
    "triangular with its mode at the low end": (row(TRIANGULAR, 1.0, 1.0, 6.0), stats.triang(0.0, 1.0, 5.0)),
    "triangular with its mode at the high end": (row(TRIANGULAR, 1.0, 6.0, 6.0), stats.triang(1.0, 1.0, 5.0)),
    "normal": (row(NORMAL, 10.0, 2.0), stats.norm(10.0, 2.0)),
    "lognormal": (row(LOGNORMAL, 3.0, 1.5), stats.lognorm(1.5, scale=3.0)),
    "exponential": (row(EXPONENTIAL, 7.0), stats.expon(scale=7.0)),
    "normal cut at zero": (row(NORMAL, 1.0, 2.0, low=0.0), stats.truncnorm(-0.5, math.inf, 1.0, 2.0)),
    "normal cut on both sides": (row(NORMAL, 1.0, 2.0, low=0.0, high=2.0), stats.truncnorm(-0.5, 0.5, 1.0, 2.0)),
}


@pytest.mark.parametrize("name", LAWS)
def test_draws_follow_the_distribution(name: str) -> None:
    law, exact = LAWS[name]
    assert stats.kstest(sample(law), exact.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", LAWS)
def test_tails_are_as_heavy_as_they_should_be(name: str) -> None:
    """The share of draws below a quantile is the quantile's, also at 1 and 99 %, where a KS test sees little."""
    law, exact = LAWS[name]
    found = sample(law, seed=6)
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        assert np.mean(found < exact.ppf(share)) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / DRAWS))


def test_a_choice_draws_each_of_its_own_values_alike() -> None:
    choices = np.array([99.0, 1.0, 2.0, 2.0, 4.0, 99.0])  # the row's own are the four in the middle
    found = sample(row(CHOICE, 1.0, 4.0), choices=choices)
    for value, share in ((1.0, 0.25), (2.0, 0.5), (4.0, 0.25), (99.0, 0.0)):
        assert np.mean(found == value) == pytest.approx(share, abs=4 * math.sqrt(0.25 / DRAWS))


def test_a_constant_takes_nothing_from_its_generator() -> None:
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    assert draw(row(CONSTANT, 42.0), NO_CHOICES, one) == 42.0
    assert one.random() == other.random()


def test_a_range_of_no_width_is_its_value() -> None:
    assert sample(row(TRIANGULAR, 3.0, 3.0, 3.0), 3).tolist() == [3.0, 3.0, 3.0]
    assert sample(row(UNIFORM, 3.0, 3.0), 3).tolist() == [3.0, 3.0, 3.0]


@given(st.sampled_from([UNIFORM, TRIANGULAR, NORMAL, LOGNORMAL, EXPONENTIAL]), st.floats(0.1, 1e6), st.floats(0.0, 3.0),
       st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.integers(0, 1000))
def test_no_draw_lies_outside_its_bounds(kind, a, b, low, width, seed) -> None:
    third = a + b + 1.0 if kind == TRIANGULAR else 0.0
    second = a + b if kind in (UNIFORM, TRIANGULAR) else b
    law = row(kind, a, second, third, low=low, high=low + width)
    assert ((found := sample(law, 5, seed=seed)) >= low).all()
    assert (found <= low + width).all()


def test_the_same_stream_gives_the_same_draws() -> None:
    law = LAWS["lognormal"][0]
    assert sample(law, 100, seed=3).tolist() == sample(law, 100, seed=3).tolist()
    assert sample(law, 100, seed=3).tolist() != sample(law, 100, seed=4).tolist()

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.stragglers import expected_maximum, slowdown

# Column `exact` of docs/reference/formulas.md, section 6. All of it lies 2.0e-4 to 2.5e-4 below the true values (8: 1.42360 in
# tables of normal order statistics; test_adaptive_quadrature_agrees has the others), hence the width of the comparison.
TABLE = {8: 1.4234, 64: 2.3435, 1024: 3.2480, 16384: 3.9711, 131072: 4.4428}


@pytest.mark.parametrize(("n", "exact"), TABLE.items())
def test_table_of_formulas(n: int, exact: float) -> None:
    assert expected_maximum(float(n)) == pytest.approx(exact, abs=3e-4)


@pytest.mark.parametrize(("n", "exact"), [(5, 1.16296), (8, 1.42360), (10, 1.53875), (20, 1.86748)])
def test_tables_of_normal_order_statistics(n: int, exact: float) -> None:
    """Five digits of the usual tables (Harter, Biometrika 48, 1961; FROM MEMORY)."""
    assert expected_maximum(float(n)) == pytest.approx(exact, abs=6e-6)


@pytest.mark.parametrize(
    ("n", "closed"),
    [(2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi)), (4, 6 / math.pi**1.5 * math.atan(math.sqrt(2)))],
)
def test_closed_forms_of_small_samples(n: int, closed: float) -> None:
    assert expected_maximum(float(n)) == pytest.approx(closed, abs=1e-6)


@pytest.mark.parametrize("n", [2, *TABLE, 10**6, 10**9])
def test_adaptive_quadrature_agrees(n: int) -> None:
    from scipy.integrate import quad
    from scipy.stats import norm

    def density(x: float) -> float:
        return float(x * n * norm.pdf(x) * np.exp((n - 1) * norm.logcdf(x)))

    exact = quad(density, -8.0, 3.0, limit=500)[0] + quad(density, 3.0, 9.0, limit=500)[0]
    assert expected_maximum(float(n)) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("n", [2, 8, 64, 1024])
def test_monte_carlo(n: int) -> None:
    maxima = np.random.default_rng(11).standard_normal((8000, n)).max(axis=1)
    assert expected_maximum(float(n)) == pytest.approx(maxima.mean(), abs=4.0 * maxima.std() / math.sqrt(maxima.size))


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_grows_with_n_and_stays_below_the_bound(n: int, more: int) -> None:
    e = expected_maximum(float(n))
    assert 0.0 <= e <= math.sqrt(2.0 * math.log(n)) + 1e-6
    assert expected_maximum(float(n + more)) >= e - 1e-12


def test_one_accelerator_waits_for_nobody() -> None:
    assert expected_maximum(1.0) == 0.0
    assert expected_maximum(0.0) == 0.0
    assert slowdown(1.0, 0.5, 0.5) == 1.0


@given(st.integers(1, 10**6), st.floats(0.0, 0.2), st.floats(0.0, 0.2))
def test_slowdown_limits(n: int, spread: float, jitter: float) -> None:
    factor = slowdown(float(n), spread, jitter)
    assert slowdown(float(n), 0.0, 0.0) == 1.0
    assert factor >= 1.0
    assert factor == slowdown(float(n), jitter, spread)
    assert factor == pytest.approx(1.0 + math.hypot(spread, jitter) * expected_maximum(float(n)))
    assert slowdown(float(n), spread, 0.0) <= factor * (1.0 + 1e-12)


def test_slowdown_of_a_simulated_barrier() -> None:
    rng = np.random.default_rng(5)
    times = 1.0 + 0.02 * rng.standard_normal((4000, 512)) + 0.01 * rng.standard_normal((4000, 512))
    assert slowdown(512.0, 0.02, 0.01) == pytest.approx(times.max(axis=1).mean(), abs=5e-4)

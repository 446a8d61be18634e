"""Quantiles with intervals from order statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

QUANTILES = (0.05, 0.5, 0.8, 0.95)
Z95 = 1.959963984540054


def interval_ranks(n: int, q: float) -> tuple[int, int]:
    """Return the ranks (1 to n) between which the quantile lies with 95 %; 0 or n + 1 where the trials do not reach that far.

    The number of values below the quantile is binomial(n, q); both tails have 2.5 % at most (Conover, "Practical Nonparametric
    Statistics", section 3.2). Exact: the normal approximation widens P95 of 200 trials to 98.6 %.
    """
    from scipy.special import bdtr

    reach = 6.0 * math.sqrt(n * q * (1.0 - q)) + 6.0
    k = np.arange(max(0, math.floor(n * q - reach)), min(n, math.ceil(n * q + reach)) + 1)
    chance = bdtr(k, n, q)
    low, high = int(k[np.searchsorted(chance, 0.025)]), int(k[min(k.size - 1, int(np.searchsorted(chance, 0.975)))])
    return low, high + 1


def quantile_interval(values: np.ndarray, q: float, *, reaching: bool = False) -> tuple[float, float]:
    """Return the 95 % interval of a quantile by order statistics, without a distribution assumed.

    `values` has shape (n,). Where there are too few, the interval ends at the least or largest of them, or, with `reaching`,
    at infinity.
    """
    ordered = np.sort(values)
    n = ordered.size
    low, high = interval_ranks(n, q)
    if reaching and (low < 1 or high > n):
        return -math.inf, math.inf
    return float(ordered[max(low, 1) - 1]), float(ordered[min(high, n) - 1])


def estimate_with_interval(values: np.ndarray, q: float | None) -> tuple[float, float, float]:
    """Return a quantile, or the mean (q None), and its 95 % interval; infinite where there are too few values."""
    if q is not None:
        return float(np.quantile(values, q)), *quantile_interval(values, q, reaching=True)
    mean = float(values.mean())
    half = Z95 * float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else math.inf
    return mean, mean - half, mean + half


def describe(values: np.ndarray) -> dict[str, Any]:
    """Return mean and quantiles of one result, each with its 95 % interval; empty where it is unknown."""
    values = np.asarray(values, dtype=float)
    if values.size == 0 or np.isnan(values).any():
        return {}
    error = float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else 0.0
    mean = float(values.mean())
    summary: dict[str, Any] = {"mean": mean, "mean_interval": [mean - Z95 * error, mean + Z95 * error]}
    for q in QUANTILES:
        name = f"p{round(100 * q)}"
        summary[name] = float(np.quantile(values, q))
        summary[f"{name}_interval"] = list(quantile_interval(values, q))
    return summary


def share_with_interval(hits: int, n: int) -> dict[str, float]:
    """Return a probability and its 95 % Wilson interval (Wilson, JASA 22, 1927)."""
    p, z2 = hits / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return {"probability": p, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}

"""Quantiles with intervals from order statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

QUANTILES = (0.05, 0.5, 0.8, 0.95)
_Z95 = 1.959963984540054


def quantile_interval(values: np.ndarray, q: float) -> tuple[float, float]:
    """Return the 95 % interval of a quantile by order statistics, without a distribution assumed.

    The rank of the quantile is binomial(n, q), here in its normal approximation (Conover, "Practical Nonparametric
    Statistics", section 3.2). `values` has shape (n,).
    """
    ordered = np.sort(values)
    n = ordered.size
    half = _Z95 * math.sqrt(n * q * (1.0 - q))
    low = max(0, math.floor(n * q - half) - 1)
    high = min(n - 1, math.ceil(n * q + half))
    return float(ordered[low]), float(ordered[high])


def describe(values: np.ndarray) -> dict[str, Any]:
    """Return mean and quantiles of one result, each with its 95 % interval; empty where it is unknown."""
    values = np.asarray(values, dtype=float)
    if values.size == 0 or np.isnan(values).any():
        return {}
    error = float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else 0.0
    mean = float(values.mean())
    summary: dict[str, Any] = {"mean": mean, "mean_interval": [mean - _Z95 * error, mean + _Z95 * error]}
    for q in QUANTILES:
        name = f"p{round(100 * q)}"
        summary[name] = float(np.quantile(values, q))
        summary[f"{name}_interval"] = list(quantile_interval(values, q))
    return summary


def share_with_interval(hits: int, n: int) -> dict[str, float]:
    """Return a probability and its 95 % Wilson interval (Wilson, JASA 22, 1927)."""
    p, z2 = hits / n, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return {"probability": p, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}

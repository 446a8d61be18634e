"""Differences of two results with 95 % intervals: trial by trial where both had the same luck, else of their means.

Common random numbers: Var(A - B) = Var A + Var B - 2 Cov(A, B), and what happens to one happens to the other (Law, "Simulation
Modeling and Analysis", 5th ed., sections 10.2 and 11.2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from simulator.montecarlo.statistics import share_with_interval


class Difference(NamedTuple):
    """A result less the same result of the base.

    Attributes
    ----------
    mean, low, high : float
        Mean difference and its 95 % interval; infinite with one trial, NaN where a result is unknown.
    lower, lower_low, lower_high : float
        Share of trials in which the result is below the base's, and its 95 % interval; NaN where unpaired.
    narrowing : float
        Variance of the unpaired difference over that of this one: so many times the trials would be needed without pairing.
        NaN where it has no meaning (no spread at all, or unpaired).
    """

    mean: float
    low: float
    high: float
    lower: float = math.nan
    lower_low: float = math.nan
    lower_high: float = math.nan
    narrowing: float = math.nan

    @property
    def half(self) -> float:
        """Half of the width of the interval."""
        return (self.high - self.low) / 2.0

    @property
    def distinct(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0.0 or self.high < 0.0


_ROUNDING = 1e-12  # of a mean, relative: means of the same numbers in another order
_UNKNOWN = Difference(math.nan, math.nan, math.nan)


def paired_difference(values: np.ndarray, base: np.ndarray) -> Difference:
    """Return the difference of two results of the same trials, each of shape (trials,).

    The interval is Student's, of the differences. Of trials that are not independent (Latin hypercube, mirrored pairs) it is
    too wide.
    """
    if values.size == 0 or np.isnan(values).any() or np.isnan(base).any():
        return _UNKNOWN
    change = values - base
    mean, below = float(change.mean()), share_with_interval(int((change < 0.0).sum()), change.size)
    share = below["probability"], below["low"], below["high"]
    if change.size < 2:
        return Difference(mean, -math.inf, math.inf, *share)
    spread = float(change.var(ddof=1))
    half = student(change.size - 1) * math.sqrt(spread / change.size)
    apart = float(values.var(ddof=1) + base.var(ddof=1))
    narrowing = apart / spread if spread > 0.0 else math.inf if apart > 0.0 else math.nan
    return Difference(mean, mean - half, mean + half, *share, narrowing)


def unpaired_difference(values: np.ndarray, base: np.ndarray) -> Difference:
    """Return the difference of results of trials that have nothing to do with each other, shapes (trials,), (other trials,).

    Welch's interval, which lets variances differ (Biometrika 34, 1947).
    """
    if not (values.size and base.size) or np.isnan(values).any() or np.isnan(base).any():
        return _UNKNOWN
    noise = _ROUNDING * max(abs(float(values.mean())), abs(float(base.mean())))
    mean = float(values.mean() - base.mean())
    mean = mean if abs(mean) > noise else 0.0
    if min(values.size, base.size) < 2:
        return Difference(mean, -math.inf, math.inf)
    parts = [float(v.var(ddof=1)) / v.size for v in (values, base)]
    if math.sqrt(sum(parts)) <= noise:
        return Difference(mean, mean, mean)
    freedom = sum(parts) ** 2 / sum(part**2 / (v.size - 1) for part, v in zip(parts, (values, base), strict=True))
    half = student(freedom) * math.sqrt(sum(parts))
    return Difference(mean, mean - half, mean + half)


def student(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))

"""Many times in little memory: counts in bins that are 0.5 % wide, so that a quantile is right within that."""

from __future__ import annotations

import math

import numpy as np

_LEAST_S, _WIDTH, _BINS = 1e-5, 0.005, 5600  # up to 1.4e7 s
INFINITE = _BINS + 1  # bin of what never came
SIZE = _BINS + 2


def bins(times_s: np.ndarray) -> np.ndarray:
    """Return the bin of each time; that of NaN and infinity is `INFINITE`, of what is shorter than 10 us 0."""
    found = np.full(times_s.shape, INFINITE)
    known = np.isfinite(times_s)
    place = np.ceil(np.log(np.maximum(times_s[known], _LEAST_S) / _LEAST_S) / _WIDTH)
    found[known] = np.minimum(place, _BINS).astype(int)
    return found


def upper_s(bin_: np.ndarray) -> np.ndarray:
    """Return the upper ends of bins."""
    return np.where(bin_ == INFINITE, np.inf, _LEAST_S * np.exp(_WIDTH * bin_))


def quantile_s(counts: np.ndarray, q: float) -> float:
    """Return a quantile of counts by bin, shape (SIZE,), the middle of its bin; NaN of nothing, infinite where it never came."""
    total = counts.sum()
    if total <= 0:
        return math.nan
    place = int(np.searchsorted(np.cumsum(counts), q * total))
    return float(upper_s(np.array(place))) * math.exp(-0.5 * _WIDTH)

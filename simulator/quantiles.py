"""Families of distributions as functions: quantiles, shares and moments, each between two bounds.

A family is a name and a tuple of parameters; bounds cut it off, and infinite ones cut nothing. A draw is by inversion, so
that it takes one uniform number whatever the method of sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

PERT_SHAPE = 4.0  # Vose, "Risk Analysis", 3rd edition (2008), PERT distribution: FROM MEMORY
Parameters = tuple[float, ...]


def quantile(name: str, p: Parameters, u: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the quantiles of a family cut off at bounds.

    Parameters
    ----------
    name : str
        "triangular", "uniform", "normal", "lognormal", "exponential", "beta" or "beta_pert".
    p : tuple of float
        Its parameters, as a file orders them.
    u : ndarray
        Probabilities, from 0 to 1, any shape; the result has it too.
    low, high : float
        Bounds; -inf and inf for none.
    """
    if _constant(name, p):
        return np.full(u.shape, _place(name, p))
    match name:
        case "normal":
            return p[0] + p[1] * _normal_quantile(u, (low - p[0]) / p[1], (high - p[0]) / p[1])
        case "lognormal":
            return p[0] * np.exp(p[1] * _normal_quantile(u, *_log_bounds(p, low, high)))
        case "exponential":
            first = max(low, 0.0)
            return first - p[0] * np.log1p(u * np.expm1(-(high - first) / p[0]))
        case _:
            first, last = _cdf(name, p, low), _cdf(name, p, high)
            return _bounded_quantile(name, p, first + (last - first) * u)


def share(name: str, p: Parameters, low: float, high: float) -> float:
    """Return the probability between two bounds."""
    if _constant(name, p):
        return float(low <= _place(name, p) <= high)
    match name:
        case "normal":
            return _normal_share((low - p[0]) / p[1], (high - p[0]) / p[1])
        case "lognormal":
            return _normal_share(*_log_bounds(p, low, high))
        case "exponential":
            first = max(low, 0.0)
            return math.exp(-first / p[0]) * -math.expm1(-(high - first) / p[0]) if high > first else 0.0
        case _:
            return _cdf(name, p, high) - _cdf(name, p, low)


def moments(name: str, p: Parameters, low: float, high: float) -> tuple[float, float]:
    """Return mean and standard deviation of a family cut off at bounds."""
    if _constant(name, p):
        return _place(name, p), 0.0
    match name:
        case "normal":
            a, b = (low - p[0]) / p[1], (high - p[0]) / p[1]
            inside, at_a, at_b = _normal_share(a, b), _density(a), _density(b)
            mean = (at_a - at_b) / inside
            spread = 1.0 + ((a * at_a if at_a else 0.0) - (b * at_b if at_b else 0.0)) / inside - mean**2
            return p[0] + p[1] * mean, p[1] * math.sqrt(max(spread, 0.0))
        case "lognormal":
            a, b = _log_bounds(p, low, high)
            first, second = (p[0] ** k * math.exp(0.5 * (k * p[1]) ** 2) * _normal_share(a - k * p[1], b - k * p[1])
                             / _normal_share(a, b) for k in (1, 2))
        case "exponential":
            start = max(low, 0.0)
            width = (high - start) / p[0]
            rest = width / math.expm1(width) if width < 700.0 else 0.0
            once = 1.0 - rest
            return start + p[0] * once, p[0] * math.sqrt(max(2.0 * once - (width * rest if rest else 0.0) - once**2, 0.0))
        case "uniform":
            a, b = max(p[0], low), min(p[1], high)
            return (a + b) / 2.0, (b - a) / math.sqrt(12.0)
        case _:
            def x(u: float) -> float:
                return float(quantile(name, p, np.array([u]), low, high)[0])

            mean = _integral(x)
            return mean, math.sqrt(_integral(lambda u: (x(u) - mean) ** 2))
    return first, math.sqrt(max(second - first**2, 0.0))


def _constant(name: str, p: Parameters) -> bool:
    """Whether all probability is at one value."""
    if name in ("normal", "lognormal"):
        return p[1] == 0.0
    ends = {"beta": (2, 3), "uniform": (0, 1)}.get(name, (0, 2))
    return name != "exponential" and p[ends[0]] == p[ends[1]]


def _place(name: str, p: Parameters) -> float:
    return p[2] if name == "beta" else p[0]


def _log_bounds(p: Parameters, low: float, high: float) -> tuple[float, float]:
    """Return bounds of a lognormal in standard deviations of its logarithm."""
    a, b = (math.log(x / p[0]) / p[1] if 0.0 < x < math.inf else x if x > 0.0 else -math.inf for x in (low, high))
    return a, b


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _normal_share(a: float, b: float) -> float:
    """Return the probability of a standard normal between a and b; from the side where it is not 1 minus little."""
    from scipy.special import ndtr

    return float(ndtr(b) - ndtr(a)) if a <= 0.0 else float(ndtr(-a) - ndtr(-b))


def _normal_quantile(u: np.ndarray, a: float, b: float) -> np.ndarray:
    from scipy.special import ndtr, ndtri

    if a > 0.0:  # the upper tail is the lower one mirrored, where probabilities keep their digits
        return -_normal_quantile(1.0 - u, -b, -a)
    first, last = ndtr(a), ndtr(b)
    found: np.ndarray = ndtri(first + (last - first) * u)
    return found


def _shapes(name: str, p: Parameters) -> tuple[float, float, float, float]:
    """Return alpha, beta, low and high of a beta distribution."""
    if name == "beta":
        return p[0], p[1], p[2], p[3]
    low, mode, high = p[:3]
    shape = p[3] if len(p) > 3 else PERT_SHAPE
    return 1.0 + shape * (mode - low) / (high - low), 1.0 + shape * (high - mode) / (high - low), low, high


def _bounded_quantile(name: str, p: Parameters, u: np.ndarray) -> np.ndarray:
    if name == "uniform":
        return p[0] + (p[1] - p[0]) * u
    if name == "triangular":
        low, mode, high = p
        rising = low + np.sqrt(u * (high - low) * (mode - low))
        return np.where(u * (high - low) < mode - low, rising, high - np.sqrt((1.0 - u) * (high - low) * (high - mode)))
    from scipy.special import betaincinv

    alpha, beta, low, high = _shapes(name, p)
    found: np.ndarray = low + (high - low) * betaincinv(alpha, beta, u)
    return found


def _cdf(name: str, p: Parameters, x: float) -> float:
    """Return the probability below x, of a family between bounds of its own."""
    if name == "triangular":
        low, mode, high = p
        if x <= low or x >= high:
            return float(x >= high)
        width = high - low
        if x < mode:  # ratios, because a square may be beyond all numbers
            return (x - low) / width * ((x - low) / (mode - low))
        return 1.0 - (high - x) / width * ((high - x) / (high - mode))
    low, high = p if name == "uniform" else _shapes(name, p)[2:]
    part = min(max((x - low) / (high - low), 0.0), 1.0)
    if name == "uniform":
        return part
    from scipy.special import betainc

    return float(betainc(*_shapes(name, p)[:2], part))


def _integral(of: Callable[[float], float]) -> float:
    from scipy.integrate import quad

    value: float = quad(of, 0.0, 1.0, epsabs=0.0, epsrel=1e-9, limit=500)[0]
    return value


def table_quantile(values: np.ndarray, u: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return quantiles of rising values, evenly likely and joined by straight lines, cut off at bounds.

    The value of rank i of n (from 0) is the quantile of i / (n - 1): definition 7 of Hyndman and Fan, American Statistician 50
    (1996), FROM MEMORY.
    """
    first, last = _table_bounds(values, low, high)
    ranks = (first + (last - first) * u) * (values.size - 1)
    found: np.ndarray = np.interp(ranks, np.arange(values.size), values)
    return found


def table_share(values: np.ndarray, low: float, high: float) -> float:
    """Return the probability between two bounds of rising values joined by straight lines."""
    first, last = _table_bounds(values, low, high)
    return last - first


def table_moments(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return mean and standard deviation of rising values joined by straight lines, cut off at bounds; exact."""
    first, last = _table_bounds(values, low, high)
    inner = np.arange(values.size) / (values.size - 1)
    u = np.concatenate([[first], inner[(inner > first) & (inner < last)], [last]])
    x = np.interp(u * (values.size - 1), np.arange(values.size), values)
    if last == first:
        return float(x[0]), 0.0
    weight, a, b = np.diff(u) / (last - first), x[:-1], x[1:]
    mean = float(weight @ (a + b) / 2.0)
    a, b = a - mean, b - mean
    return mean, math.sqrt(float(weight @ (a * a + a * b + b * b)) / 3.0)


def _table_bounds(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the first and the last probability whose quantiles lie within bounds; the same twice where none does."""
    def probability(x: float, side: str) -> float:
        i = int(np.searchsorted(values, x, side="left" if side == "left" else "right"))
        if i in (0, values.size):
            return float(i > 0)
        return (i - 1 + (x - values[i - 1]) / (values[i] - values[i - 1])) / (values.size - 1)

    if low > values[-1] or high < values[0]:
        return 0.0, 0.0
    return probability(low, "left"), probability(high, "right")

"""Sobol indices of any function of numbers that know nothing of each other: sample, evaluate, analyse, through SALib.

I. M. Sobol', Mathematics and Computers in Simulation 55 (2001), 271-280; estimators of Saltelli et al., Computer Physics
Communications 181 (2010), 259-270, table 2, (b) and (f), as SALib's `analyze.sobol` has and cites them (table FROM MEMORY).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.errors import UserError

# Points of the unit cube, shape (rows, dimensions) -> results, shape (rows, columns).
Evaluate = Callable[[np.ndarray], np.ndarray]
LEAST_SAMPLES, MOST_SAMPLES = 16, 2**16
_RESAMPLES = 200  # of the bootstrap behind an interval
_ROUNDING = 1e-12  # of a result, below which its differences are rounding


@dataclass(frozen=True)
class Indices:
    """Sobol indices of one result.

    Attributes
    ----------
    names : tuple of str
        Of the inputs, or of groups of them.
    mean, std : float
        Of the result, in its unit; NaN where it is not known.
    first : ndarray, shape (names,)
        Share of the variance that goes, in the mean, when this one is known. NaN where the result does not vary.
    total : ndarray, shape (names,)
        Share that is left, in the mean, when all others are known. Estimates: slightly below 0 or above 1 is noise.
    first_half, total_half : ndarray, shape (names,)
        Half of the 95 % interval of each (bootstrap over the base points, which takes them as random: too wide for even ones).
    """

    names: tuple[str, ...]
    mean: float
    std: float
    first: np.ndarray
    total: np.ndarray
    first_half: np.ndarray
    total_half: np.ndarray

    @property
    def varies(self) -> bool:
        """There is a variance to share."""
        return not np.isnan(self.first).any()


def check_samples(samples: int) -> None:
    """Raise UserError for a number of base points that is no power of two, too small or too large."""
    if LEAST_SAMPLES <= samples <= MOST_SAMPLES and samples & (samples - 1) == 0:
        return
    below = 1 << max(0, samples.bit_length() - 1)
    near = " or ".join(f"{n:,}" for n in (below, 2 * below) if LEAST_SAMPLES <= n <= MOST_SAMPLES)
    raise UserError(f"--samples: found {samples:,}; allowed: a power of two from {LEAST_SAMPLES} to {MOST_SAMPLES:,}"
                    + (f", such as {near}" if near else ""))


def sobol_indices(evaluate: Evaluate, names: Sequence[str], samples: int, seed: int,
                  groups: Sequence[str] | None = None) -> list[Indices]:
    """Return the first-order and total indices of all results of a function.

    Parameters
    ----------
    evaluate : callable
        Called once with all points, shape (samples (groups + 2), dimensions); NaN where a point has no result.
    names : sequence of str
        A name a dimension; each is uniform between 0 and 1, and independent of all others.
    samples : int
        Base points: a power of two.
    seed : int
        At least 1.
    groups : sequence of str, optional
        The group of each dimension: dimensions of one group share an index. There are two groups at least.

    Returns
    -------
    list of Indices
        A result each, in the order of columns.
    """
    from SALib.sample.sobol import sample

    labels = tuple(dict.fromkeys(groups or names))
    check_samples(samples)
    problem: dict[str, Any] = {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}
    if groups is not None and len(labels) < len(names):
        problem["groups"] = list(groups)
    points = sample(problem, samples, calc_second_order=False, seed=seed)
    results = evaluate(points)
    return [_analysed(problem, labels, results[:, column], seed) for column in range(results.shape[1])]


def _analysed(problem: dict[str, Any], labels: tuple[str, ...], result: np.ndarray, seed: int) -> Indices:
    """Return the indices of one result, whose rows are in the order of SALib's sampler.

    Base points with a row that is NaN are left out.
    """
    from SALib.analyze.sobol import analyze

    step = len(labels) + 2
    whole = ~np.isnan(result.reshape(-1, step)).any(axis=1)
    if whole.any():
        result = result[np.repeat(whole, step)]
    base = np.concatenate([result[::step], result[step - 1::step]])  # rows between mix these two
    mean, std = float(base.mean()), float(base.std())
    if not std > _ROUNDING * float(np.abs(base).max()):
        nothing = np.full(len(labels), np.nan)
        return Indices(labels, mean, std, nothing, nothing, nothing, nothing)
    found = analyze(problem, result, calc_second_order=False, num_resamples=_RESAMPLES, seed=seed)
    return Indices(labels, mean, std, *(np.asarray(found[key]) for key in ("S1", "ST", "S1_conf", "ST_conf")))

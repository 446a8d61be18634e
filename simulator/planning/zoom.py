"""The best value of a range by its response surface: a parabola in the logarithm, fitted to trials with the same luck.

Near its best value an objective is flat: 5 % beside Daly's interval costs a thousandth of what checkpoints cost. No comparison
of two values could tell them apart. A parabola over a factor of `_SPAN` each way can: its vertex rests on how fast the
objective rises on both sides, and in each trial all values meet the same failures, so that what the values do not change drops
out. The window moves until the vertex is near its middle, where the parabola's own error is of higher order: to first order
Young's loss d / tau + tau / 2M is even in the logarithm. Response surfaces: Box and Wilson, J. Royal Statistical Society B 13
(1951); in simulation Kleijnen, "Design and Analysis of Simulation Experiments" (2015). Both FROM MEMORY.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

POINTS = 7
PRECISION = 0.01  # standard error of the logarithm at which trials are enough
_SPAN = 2.0  # from the middle of the window to its ends
_NEAR = 0.2  # of half the window: the vertex is in the middle
_MOVES = 8
_FIRST = 32  # trials of each value
_SURE = 3.0  # standard errors by which the curvature must be above zero

# Values and trials -> results, shape (values, trials); None where one of them cannot run.
Evaluate = Callable[[np.ndarray, int], np.ndarray | None]


class Vertex(NamedTuple):
    """Where a parabola in the logarithm is least.

    Attributes
    ----------
    value : float
        SI.
    error : float
        Standard error of its logarithm: about its relative error.
    trials : int
        Of each value in the last fit.
    """

    value: float
    error: float
    trials: int


def parabola(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return constant, slope and curvature of a least-squares parabola, and the covariance of the three.

    Parameters
    ----------
    x : ndarray, shape (values,)
    y : ndarray, shape (values, trials)
        Columns have the same luck. Each is fitted; the covariance is that of the mean over trials, whatever ties values together.
    """
    fitted = np.linalg.pinv(np.stack([np.ones_like(x), x, x**2], axis=1)) @ y
    return fitted.mean(axis=1), np.atleast_2d(np.cov(fitted)) / y.shape[1]


def vertex(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Return where the parabola is least and its standard error (delta method); None where it does not surely open upwards."""
    (_, b, c), covariance = parabola(x, y)
    if not c > _SURE * math.sqrt(covariance[2, 2]):
        return None
    gradient = np.array([0.0, -0.5 / c, 0.5 * b / c**2])
    return -0.5 * b / c, math.sqrt(gradient @ covariance @ gradient)


def best_of_range(evaluate: Evaluate, start: float, low: float, high: float, most: int) -> Vertex | None:
    """Return the best value of a range; None where the objective has no minimum that trials can tell, within the range.

    Parameters
    ----------
    evaluate : callable
        The same trials for all values; asked for more trials of the same values, it may run the new ones only.
    start : float
        The middle of the first window, such as the best of a grid.
    low, high : float
        Ends of the range, above zero.
    most : int
        Trials of each value, at most.
    """
    middle, trials = math.log(start), min(_FIRST, most)
    half = math.log(_SPAN)
    for _ in range(_MOVES):
        x = np.linspace(max(middle - half, math.log(low)), min(middle + half, math.log(high)), POINTS)
        centre, width = 0.5 * (x[0] + x[-1]), 0.5 * (x[-1] - x[0])
        found = None
        while True:
            y = evaluate(np.exp(x), trials)
            if y is None or width <= 0.0:
                return None
            found = vertex(x - centre, y)
            if trials >= most or (found and (found[1] <= PRECISION or abs(found[0]) > _NEAR * width + 4.0 * found[1])):
                break
            trials = min(2 * trials, most)
        if found is None:
            return None
        place, error = found
        moved = min(max(centre + min(max(place, -width), width), math.log(low)), math.log(high))
        ends = (place < 0.0 and x[0] <= math.log(low) + 1e-12) or (place > 0.0 and x[-1] >= math.log(high) - 1e-12)
        if abs(place) <= _NEAR * width + 2.0 * error * (trials >= most) or (ends and abs(place) <= width):
            return Vertex(math.exp(moved), error, trials)
        if abs(moved - middle) < 1e-9:  # it lies beyond an end of the range
            return None
        middle = moved
    return None

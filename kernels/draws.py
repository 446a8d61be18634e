"""Random numbers inside kernels: a row of a table is a distribution, a generator of its own is a purpose."""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel

CONSTANT, UNIFORM, TRIANGULAR, NORMAL, LOGNORMAL, EXPONENTIAL, CHOICE = 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0
STEPS, TABLE = 7.0, 8.0
COLUMNS = 6  # kind, three parameters, low, high
_REDRAWS = 1000


@kernel
def _once(row: np.ndarray, choices: np.ndarray, rng: np.random.Generator) -> float:
    kind, a, b, c = row[0], row[1], row[2], row[3]
    if kind == UNIFORM:
        return a + (b - a) * rng.random()
    if kind == TRIANGULAR:
        u, width = rng.random(), c - a
        if width <= 0.0:
            return a
        if u < (b - a) / width:
            return a + math.sqrt(u * width * (b - a))
        return c - math.sqrt((1.0 - u) * width * (c - b))
    if kind == NORMAL:
        return a + b * rng.standard_normal()
    if kind == LOGNORMAL:
        return a * math.exp(b * rng.standard_normal())
    if kind == EXPONENTIAL:
        return a * rng.standard_exponential()
    if kind == CHOICE:
        return choices[int(a) + int(rng.random() * b)]
    first, count = int(a), int(b)
    if kind == STEPS:
        i = np.searchsorted(choices[first : first + count - 1], rng.random(), side="right")
        return choices[first + count + i]
    rank = rng.random() * (count - 1)
    below = min(int(rank), count - 2)
    low = choices[first + below]
    return low + (rank - below) * (choices[first + below + 1] - low)


@kernel
def draw(row: np.ndarray, choices: np.ndarray, rng: np.random.Generator) -> float:
    """Return one draw, again where it lies outside the row's bounds; a constant draws nothing.

    Parameters
    ----------
    row : ndarray, shape (6,)
        Kind, three parameters, low, high (see `COLUMNS`). A choice has the offset and number of its values in `choices`; so have
        steps (the probability up to each value, then the values) and a table (quantiles of even probabilities from 0 to 1,
        joined by straight lines).
    choices : ndarray, shape (n,)
        What all of those have, one after the other.
    """
    if row[0] == CONSTANT:
        return row[1]
    value = _once(row, choices, rng)
    tries = 0
    while (value < row[4] or value > row[5]) and tries < _REDRAWS:
        value = _once(row, choices, rng)
        tries += 1
    return min(max(value, row[4]), row[5])

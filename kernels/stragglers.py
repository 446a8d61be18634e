"""Slowest of N: what a synchronous step waits for."""

from __future__ import annotations

import math

from kernels._jit import kernel

_STEPS = 4000
_REACH = 9.0


@kernel
def expected_maximum(n: float) -> float:
    """Return the expected maximum of n standard normal draws, exact to 1e-6 for n from 1 to 1e9.

    E[max] = integral of (1 - Phi(x)^n) over x > 0 minus the integral of Phi(x)^n over x < 0, by the trapezoidal rule
    (Arnold, Balakrishnan, Nagaraja, "A First Course in Order Statistics", 1992).
    """
    if n <= 1.0:
        return 0.0
    width = 2.0 * _REACH / _STEPS
    total = 0.0
    for i in range(_STEPS + 1):
        x = -_REACH + i * width
        below = (0.5 * math.erfc(-x / math.sqrt(2.0))) ** n
        weight = 0.5 if i in (0, _STEPS) else 1.0
        total += weight * ((1.0 - below) if x > 0.0 else -below)
    # At x = 0 the integrand jumps from -below to 1 - below: the grid point there counts half of the jump.
    return (total + 0.5) * width


@kernel
def slowdown(n: float, persistent_spread: float, jitter: float) -> float:
    """Return the factor by which the slowest of n accelerators stretches a step, at least 1.

    Both spreads are standard deviations as a share of the mean; they add in quadrature for the one accelerator that
    is slowest.
    """
    return 1.0 + expected_maximum(n) * math.sqrt(persistent_spread**2 + jitter**2)

"""Power against time, piecewise constant and periodic: sums, averages, slopes, spectrum, and the storage that smooths it.

A waveform is `edges_s`, shape (n + 1,), from 0 to its period, and `power_w`, shape (n,), the power between two edges. Nothing is
sampled: every result is exact for the pieces given, up to rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel

SLIVER = 1e-9  # of a period: what is shorter comes from rounding of edges that are meant to be equal
_ITERATIONS = 20  # of Newton's method, which needs five
Floats = NDArray[np.float64]


class Storage(NamedTuple):
    """What turns a power into its moving average."""

    capacity_j: float  # from emptiest to fullest
    power_w: float  # largest flow in or out
    lost_w: float  # mean; by so much what is drawn lies above the average


@kernel
def superpose(start_s: Floats, end_s: Floats, power_w: Floats, period_s: float) -> tuple[Floats, Floats]:
    """Return edges and power of the sum of rectangles that may overlap; energy is kept.

    Parameters
    ----------
    start_s, end_s, power_w : ndarray, shape (rectangles,)
        Within the period; a rectangle of no length counts for nothing.
    period_s : float
        End of the sum.

    Returns
    -------
    edges_s : ndarray, shape (n + 1,)
        From 0 to the period; a piece shorter than `SLIVER` of the period is joined to the next one.
    power_w : ndarray, shape (n,)
    """
    n = start_s.size
    times = np.concatenate((start_s, end_s))
    order = np.argsort(times, kind="mergesort")
    edges, power = np.zeros(2 * n + 2), np.zeros(2 * n + 1)
    pieces, at, level, held_j, held_s = 0, 0.0, 0.0, 0.0, 0.0
    for place in range(2 * n + 1):
        to = min(times[order[place]], period_s) if place < 2 * n else period_s
        if to > at:
            held_j += level * (to - at)
            held_s += to - at
            at = to
            if held_s >= SLIVER * period_s:
                power[pieces] = held_j / held_s
                pieces += 1
                edges[pieces] = to
                held_j, held_s = 0.0, 0.0
        if place < 2 * n:
            i = order[place]
            level += power_w[i] if i < n else -power_w[i - n]
    if held_s > 0.0:  # a last sliver joins the piece before it
        length_s = edges[pieces] - edges[pieces - 1]
        power[pieces - 1] = (power[pieces - 1] * length_s + held_j) / (length_s + held_s)
    edges[pieces] = period_s
    return edges[:pieces + 1].copy(), power[:pieces].copy()


@kernel
def energy_j(edges_s: Floats, power_w: Floats) -> float:
    """Return the energy of a period, joules."""
    total = 0.0
    for i in range(power_w.size):
        total += power_w[i] * (edges_s[i + 1] - edges_s[i])
    return total


@kernel
def energy_above_j(edges_s: Floats, power_w: Floats, level_w: float) -> float:
    """Return the energy of a period above a level, joules; with power and level negated, the energy missing below it."""
    total = 0.0
    for i in range(power_w.size):
        total += max(0.0, power_w[i] - level_w) * (edges_s[i + 1] - edges_s[i])
    return total


@kernel
def variance_w2(edges_s: Floats, power_w: Floats) -> float:
    """Return the mean square of power less its mean over a period, W^2."""
    mean = energy_j(edges_s, power_w) / edges_s[-1]
    total = 0.0
    for i in range(power_w.size):
        total += (power_w[i] - mean) ** 2 * (edges_s[i + 1] - edges_s[i])
    return total / edges_s[-1]


@kernel
def _breaks(edges_s: Floats, window_s: float) -> Floats:
    """Return the times at which the power or the power one window before changes, from 0 to the period."""
    period_s, n = edges_s[-1], edges_s.size - 1
    found = np.empty(2 * n + 1)
    for i in range(n):
        found[i] = edges_s[i]
        late = (edges_s[i] + window_s) % period_s
        found[n + i] = late if late < period_s else 0.0
    found[2 * n] = period_s
    return np.sort(found)


@kernel
def _powers_at(edges_s: Floats, power_w: Floats, times_s: Floats, before_s: float) -> Floats:
    """Return the power `before_s` before each time, the waveform going on for ever."""
    period_s = edges_s[-1]
    found = np.empty(times_s.size)
    for i in range(times_s.size):
        place = np.searchsorted(edges_s, (times_s[i] - before_s) % period_s, side="right") - 1
        found[i] = power_w[min(place, power_w.size - 1)]
    return found


@kernel
def _energy_until(edges_s: Floats, cumulated_j: Floats, time_s: float) -> float:
    period_s = edges_s[-1]
    periods = math.floor(time_s / period_s)
    return periods * cumulated_j[-1] + np.interp(time_s - periods * period_s, edges_s, cumulated_j)


@kernel
def moving_average(edges_s: Floats, power_w: Floats, window_s: float) -> tuple[Floats, Floats]:
    """Return the mean over the window before each time; it is linear between the times returned.

    Parameters
    ----------
    edges_s, power_w : ndarray
        A waveform that goes on for ever.
    window_s : float
        Above 0; may be longer than the period.

    Returns
    -------
    times_s, average_w : ndarray, shape (2 n + 1,)
        From 0 to the period.
    """
    cumulated = np.zeros(edges_s.size)
    for i in range(power_w.size):
        cumulated[i + 1] = cumulated[i] + power_w[i] * (edges_s[i + 1] - edges_s[i])
    times = _breaks(edges_s, window_s)
    average = np.empty(times.size)
    for i in range(times.size):
        average[i] = (_energy_until(edges_s, cumulated, times[i]) - _energy_until(edges_s, cumulated, times[i] - window_s)
                      ) / window_s
    return times, average


@kernel
def steepest(edges_s: Floats, power_w: Floats, averaged_s: float, window_s: float) -> tuple[float, float]:
    """Return the largest rise and the largest fall of an average over a window, W/s, neither below 0.

    With both equal, it is the largest change from one reading to the next of a meter that shows the mean of each window, in
    whatever phase to the step. The average is linear between its times, so its largest change begins or ends at one of them.

    Parameters
    ----------
    edges_s, power_w : ndarray
        A waveform that goes on for ever.
    averaged_s, window_s : float
        Of the moving average, and between the two times that are compared; above 0.
    """
    times, average = moving_average(edges_s, power_w, averaged_s)
    rise, fall = 0.0, 0.0
    for shift_s in (0.0, window_s):
        after = np.interp((times + shift_s) % edges_s[-1], times, average)
        before = np.interp((times + (shift_s - window_s)) % edges_s[-1], times, average)
        rise, fall = max(rise, np.max(after - before)), max(fall, np.max(before - after))
    return rise / window_s, fall / window_s


@kernel
def amplitudes(edges_s: Floats, power_w: Floats, harmonics: int) -> Floats:
    """Return the amplitudes of the harmonics 1 to `harmonics` of a periodic waveform, W: twice its Fourier coefficients' moduli.

    With jumps J_j at times t_j, c_k = sum_j J_j exp(-2 pi i k t_j / T) / (2 pi i k) (integration by parts).
    """
    n, period_s = power_w.size, edges_s[-1]
    angle = -2.0 * math.pi * edges_s[:-1] / period_s
    turn_real, turn_imaginary = np.cos(angle), np.sin(angle)
    jump = np.empty(n)
    for i in range(n):
        jump[i] = power_w[i] - power_w[i - 1]  # before the first piece comes the last
    real, imaginary = np.ones(n), np.zeros(n)
    found = np.empty(harmonics)
    for k in range(1, harmonics + 1):
        if k % 64 == 0:  # products of turns drift by rounding
            real, imaginary = np.cos(k * angle), np.sin(k * angle)
        else:
            real, imaginary = (real * turn_real - imaginary * turn_imaginary, real * turn_imaginary + imaginary * turn_real)
        found[k - 1] = math.hypot(np.sum(jump * real), np.sum(jump * imaginary)) / (math.pi * k)
    return found


@kernel
def _part(above: float, below: float, length_s: float) -> float:
    """Return the integral of the positive part of what goes straight from `above` to `below`."""
    if above <= 0.0 and below <= 0.0:
        return 0.0
    if above >= 0.0 and below >= 0.0:
        return 0.5 * (above + below) * length_s
    high = max(above, below)
    return 0.5 * high * length_s * high / (high - min(above, below))


@kernel
def _offset_w(first: Floats, last: Floats, length_s: Floats, efficiency: float) -> float:
    """Return what to add to flows into a store, linear from first to last, so that what is left of them is what flows out."""
    offset = 0.0
    for _ in range(_ITERATIONS):
        charged, discharged, charging_s = 0.0, 0.0, 0.0
        for i in range(length_s.size):
            a, b = first[i] + offset, last[i] + offset
            charged += _part(a, b, length_s[i])
            discharged += _part(-a, -b, length_s[i])
            charging_s += length_s[i] * (max(a, b, 0.0) - max(min(a, b), 0.0)) / (abs(a - b)) if a != b else (
                length_s[i] if a > 0.0 else 0.0)
        missing = discharged - efficiency * charged
        slope = np.sum(length_s) - (1.0 - efficiency) * charging_s
        offset += missing / slope
        if abs(missing) <= 1e-13 * (charged + discharged):
            break
    return offset


@kernel
def storage_need(edges_s: Floats, power_w: Floats, window_s: float, efficiency: float) -> Storage:
    """Return the store with which the source gives the moving average over a window, and what is lost, instead of the power.

    A window as long as the period flattens the power to its mean.

    Parameters
    ----------
    edges_s, power_w : ndarray
        A waveform that goes on for ever.
    window_s : float
        Above 0.
    efficiency : float
        Share of what flows in that comes out again, above 0, at most 1; losses occur on the way in.
    """
    times, average = moving_average(edges_s, power_w, window_s)
    middles, length_s = 0.5 * (times[1:] + times[:-1]), times[1:] - times[:-1]
    power = _powers_at(edges_s, power_w, middles, 0.0)
    first, last = average[:-1] - power, average[1:] - power
    offset = _offset_w(first, last, length_s, efficiency)
    stored, emptiest, fullest, largest = 0.0, 0.0, 0.0, 0.0
    for i in range(length_s.size):
        a, b = first[i] + offset, last[i] + offset
        gain, loss = efficiency * _part(a, b, length_s[i]), _part(-a, -b, length_s[i])
        between = stored + gain if a > 0.0 else stored - loss  # where the flow turns within a piece
        stored += gain - loss
        emptiest, fullest = min(emptiest, between, stored), max(fullest, between, stored)
        if length_s[i] > SLIVER * edges_s[-1]:
            largest = max(largest, abs(a), abs(b))
    return Storage(fullest - emptiest, largest, offset)

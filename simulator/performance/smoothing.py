"""What it costs to smooth the power of a step: a floor under every accelerator, or a store of energy in every rack.

A floor (filler work, or the power smoothing of GB200, which burns power while there is no work) costs energy only: it fills time
in which the accelerator waits, so the step takes as long. A store costs what is lost in it, and its purchase, which is not priced
here. Sources: Choukse et al. 2025, arXiv:2508.14318, which compares the three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kernels.waveform import energy_above_j, moving_average, steepest, storage_need
from simulator.errors import UserError
from simulator.performance.waveform import RAMP_WINDOWS_S, Power, Ramp, Waveform, cluster_power

FLOORS = (0.5, 0.7, 0.8, 0.9)
# Batteries with their converters, there and back: 0.85 to 0.92, FROM MEMORY. Capacitors lose less.
EFFICIENCY = 0.9


class Smoothing(NamedTuple):
    """One way to smooth, for the whole cluster.

    Attributes
    ----------
    method : str
        floor or storage.
    setting : float
        Floor: share of the accelerators' peak below which none of them falls. Storage: seconds over which the racks draw the mean
        of their power.
    extra_w, extra_share : float
        Mean power that is drawn more, W, and over the mean without smoothing.
    extra_j : float
        The same for a step, joules.
    mean_w, peak_w, trough_w : float
        What the cluster then draws, W.
    ramps : tuple of Ramp
        What is left of them; with storage, at most so much.
    capacity_j, flow_w : float
        Storage: what it holds from emptiest to fullest, in all racks, and the sum of the racks' largest flows; floor: 0.
    usd_per_h : float or None
        Of the extra energy, where a price is given.
    """

    method: str
    setting: float
    extra_w: float
    extra_share: float
    extra_j: float
    mean_w: float
    peak_w: float
    trough_w: float
    ramps: tuple[Ramp, ...]
    capacity_j: float
    flow_w: float
    usd_per_h: float | None

    @property
    def swing_w(self) -> float:
        """Peak less trough that is left, W."""
        return self.peak_w - self.trough_w


def floor_stages(waveform: Waveform, floor: float) -> tuple[Power, ...]:
    """Return the stages' accelerators, none of which falls below a share of the largest power of all of them."""
    level = floor * max(float(s.power_w.max()) for s in waveform.stages)
    return tuple(Power(s.edges_s, np.maximum(s.power_w, level)) for s in waveform.stages)


def smoothing(waveform: Waveform, floors: Sequence[float] = FLOORS, windows_s: Sequence[float] = (), *,
              efficiency: float = EFFICIENCY, price_usd_per_j: float | None = None) -> tuple[Smoothing, ...]:
    """Return what each floor, and each store, leaves of the cluster's swings and costs.

    Parameters
    ----------
    waveform : Waveform
        A step.
    floors : sequence of float
        Shares of the accelerators' peak, 0 to 1.
    windows_s : sequence of float
        Seconds over which stores average, above 0; the whole step, which leaves no swing, always comes last. No slope of
        the average over a window is steeper than swing / window, which gives the window for a limit of the ramp.
    efficiency : float
        Share of what goes into a store that comes out again, above 0, at most 1.
    price_usd_per_j : float or None
        Of electricity at the racks.

    Raises
    ------
    UserError
        An argument lies outside of its bounds.
    """
    for what, values, most in (("floor", floors, 1.0), ("window", windows_s, np.inf), ("efficiency", (efficiency,), 1.0)):
        for value in values:
            least_is_allowed = what == "floor"
            if not (0.0 <= value <= most and (value > 0.0 or least_is_allowed)):
                bounds = "0 to 1" if what == "floor" else "above 0" + (", at most 1" if most == 1.0 else " s")
                raise UserError(f"smoothing: {what} found {value:g}; allowed: {bounds}")
    found = [_floor(waveform, floor) for floor in floors]
    found += [_storage(waveform, window, efficiency) for window in (*windows_s, waveform.period_s)]
    if price_usd_per_j is None:
        return tuple(found)
    return tuple(way._replace(usd_per_h=way.extra_w * 3600.0 * price_usd_per_j) for way in found)


def _floor(waveform: Waveform, floor: float) -> Smoothing:
    cluster = cluster_power(floor_stages(waveform, floor), waveform.accelerators, waveform.beside)
    level = floor * max(float(s.power_w.max()) for s in waveform.stages)
    missing_j = np.mean([energy_above_j(s.edges_s, -s.power_w, -level) for s in waveform.stages])
    extra_j = float(missing_j) * waveform.accelerators * (1.0 + waveform.beside.share)
    ramps = tuple(Ramp(window, *steepest(*cluster, window, window)) for window in RAMP_WINDOWS_S)
    return _way("floor", floor, waveform, extra_j, (float(cluster.power_w.min()), float(cluster.power_w.max())), ramps)


def _storage(waveform: Waveform, window_s: float, efficiency: float) -> Smoothing:
    """Average every stage's racks by themselves: neighbours in a rack are of one stage."""
    each = waveform.accelerators * (1.0 + waveform.beside.share) / len(waveform.stages)
    needs = [storage_need(s.edges_s, s.power_w, window_s, efficiency) for s in waveform.stages]
    lost_w = each * sum(need.lost_w for need in needs)
    _, average = moving_average(*waveform.cluster, window_s)
    ramps = tuple(Ramp(window, *steepest(*waveform.cluster, max(window, window_s), window)) for window in RAMP_WINDOWS_S)
    extremes = (float(average.min()) + lost_w, float(average.max()) + lost_w)
    way = _way("storage", window_s, waveform, lost_w * waveform.period_s, extremes, ramps)
    return way._replace(capacity_j=each * sum(need.capacity_j for need in needs),
                        flow_w=each * sum(need.power_w for need in needs))


def _way(method: str, setting: float, waveform: Waveform, extra_j: float, extremes: tuple[float, float], ramps: tuple[Ramp, ...]
         ) -> Smoothing:
    before_j, period_s = waveform.cluster.energy_j, waveform.period_s
    return Smoothing(method, setting, extra_j / period_s, extra_j / before_j, extra_j, (before_j + extra_j) / period_s,
                     extremes[1], extremes[0], ramps, 0.0, 0.0, None)

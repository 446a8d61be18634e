"""From IT energy to the meter, bin by bin: cooling, distribution, what is made on site, battery, generator, grid; their dollars,
carbon and water.

One bin is a stretch of time in which no series changes. In each, IT + cooling + distribution + battery = grid + solar + wind +
generator. Battery is what is charged less what comes back; solar and wind are what is used here, what is sent out is apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import bare, kernel

# Columns of `series`.
(PRICE, EXPORT_PRICE, CARBON, RESIDUAL, TEMPERATURE, SOLAR_W, WIND_W, CONTRACT_W) = range(8)
SERIES = 8
# Columns of `out`.
(SECONDS, IT, COOLING, DISTRIBUTION, BATTERY, GRID, SOLAR, WIND, GENERATOR, EXPORT, UNMET, CONTRACTED, MATCHED, ENERGY_USD,
 CONTRACT_USD, EXPORT_USD, GENERATOR_USD, RESPONSE_USD, LOCATION_KG, RESIDUAL_KG, UNMATCHED_KG, SITE_L, GRID_L) = range(23)
OUT = 23


class Limits(NamedTuple):
    """What the grid delivers, bin by bin, and what it pays for energy not taken."""

    grid_w: np.ndarray  # (n,)
    payment_usd_per_j: np.ndarray  # (n,), or (0,): none
    asked_w: np.ndarray  # (n,), or (0,): the facility's power without its asking


class Overhead(NamedTuple):
    """What a facility adds to its IT power P: fixed + share P + per_w P^2, and more cooling on warm days.

    At a load L of the IT power D it is made for, PUE(L) = 1 + (a + b L + c L^2) / L with a D fixed, b the share, c / D per watt.
    """

    cooling_fixed_w: float
    cooling_share: float
    cooling_per_degree: float  # of the IT power, for each degree above `free_degc`
    free_degc: float
    distribution_fixed_w: float
    distribution_share: float
    distribution_per_w: float


class Plant(NamedTuple):
    """What stands on site, and what contracts say."""

    battery_j: float
    battery_w: float
    efficiency: float  # of a way in and out
    generator_w: float
    generator_usd_per_j: float
    generator_kg_per_j: float
    contract_share: float  # of the energy from the grid, beside the contract's profile
    contract_usd_per_j: float
    site_l_per_j: float
    grid_l_per_j: float


@bare
def overheads_w(o: Overhead, it_w: float, degc: float) -> tuple[float, float]:
    """Return the power of cooling and the losses of distribution at an IT power and an outdoor temperature, watts."""
    cooling_w = o.cooling_fixed_w + it_w * (o.cooling_share + o.cooling_per_degree * max(0.0, degc - o.free_degc))
    return cooling_w, o.distribution_fixed_w + it_w * (o.distribution_share + o.distribution_per_w * it_w)


@kernel
def it_power_w(o: Overhead, facility_w: float, degc: float) -> float:
    """Return the IT power at which a facility draws a power: the inverse of `overheads_w`; at least zero."""
    fixed_w = o.cooling_fixed_w + o.distribution_fixed_w - facility_w
    if fixed_w >= 0.0:
        return 0.0
    if not np.isfinite(facility_w):
        return facility_w
    slope = 1.0 + o.cooling_share + o.distribution_share + o.cooling_per_degree * max(0.0, degc - o.free_degc)
    # The root of per_w p^2 + slope p + fixed = 0 in a form that holds for per_w = 0 too.
    return -2.0 * fixed_w / (slope + np.sqrt(slope * slope - 4.0 * o.distribution_per_w * fixed_w))


@kernel
def it_powers_w(o: Overhead, facility_w: np.ndarray, degc: np.ndarray, out_w: np.ndarray) -> None:
    """Write `it_power_w` bin by bin; arrays of shape (n,)."""
    for i in range(out_w.size):
        out_w[i] = it_power_w(o, facility_w[i], degc[i])


@kernel
def facility_powers_w(o: Overhead, it_w: float, degc: np.ndarray, out_w: np.ndarray) -> None:
    """Write what a facility draws at an IT power and the temperature of each bin; arrays of shape (n,)."""
    for i in range(out_w.size):
        cooling_w, lost_w = overheads_w(o, it_w, degc[i])
        out_w[i] = it_w + cooling_w + lost_w


@bare
def dispatch(o: Overhead, p: Plant, limits: Limits, bins: np.ndarray, spare_node_w: float, series: np.ndarray, month: np.ndarray,
             room: np.ndarray, totals: np.ndarray, months: np.ndarray, out: np.ndarray) -> None:
    """Supply the facility bin by bin; write joules, dollars, kilograms and litres.

    Solar and wind serve the load first, then charge the battery, then leave. The battery serves what load they leave open, the
    generator what is then above the limit of the grid. UNMET is load above the limit that nothing serves; it is taken from the
    grid all the same, since the run has happened.

    Parameters
    ----------
    o, p, limits
        Overheads; plant and contracts; limits of the grid.
    bins : ndarray, shape (n, k + 2)
        Joules of k kinds, seconds of the run, node-seconds of idle spares (`kernels.meter`).
    spare_node_w : float
        Power of an idle spare node.
    series : ndarray, shape (n, 8)
        USD/J, USD/J, kg/J, kg/J, degC, W, W, W; unknown ones are NaN, and so is what comes of them.
    month : ndarray, shape (n,)
        Of each bin.
    room : ndarray, shape (23,)
    totals : ndarray, shape (23,)
        Written: sums over bins.
    months : ndarray, shape (months, 2)
        Written: highest mean power from the grid in a bin of each month, and the time of the run in it.
    out : ndarray, shape (n, 23) or (0, 23)
        Written, where it has rows: the same by bin.
    """
    stored_j = 0.0
    totals[:] = 0.0
    months[:] = 0.0
    kept, kinds, room[RESPONSE_USD] = out.shape[0] > 0, bins.shape[1] - 2, 0.0
    for i in range(bins.shape[0]):
        row, dt = out[i] if kept else room, bins[i, kinds]
        if kept:
            row[:] = 0.0
        if dt > 0.0:
            it_j = spare_node_w * bins[i, kinds + 1]
            for k in range(kinds):
                it_j += bins[i, k]
            stored_j = _supply(o, p, row, series[i], limits.grid_w[i], dt, it_j, stored_j)
            _settle(p, row, series[i], dt)
            if limits.payment_usd_per_j.size > 0:
                taken_j = row[GRID] + row[SOLAR] + row[WIND]  # what generator and battery serve is not taken either
                row[RESPONSE_USD] = -limits.payment_usd_per_j[i] * max(0.0, limits.asked_w[i] * dt - taken_j)
            months[month[i], 0] = max(months[month[i], 0], row[GRID] / dt)
            months[month[i], 1] += dt
            for k in range(totals.size):
                totals[k] += row[k]


@bare
def _supply(o: Overhead, p: Plant, row: np.ndarray, x: np.ndarray, limit_w: float, dt: float, it_j: float, stored_j: float
            ) -> float:
    """Write energy by use and by source of a bin; return what the battery holds after it."""
    cooling_w, lost_w = overheads_w(o, it_j / dt, x[TEMPERATURE])
    row[SECONDS], row[IT], row[COOLING], row[DISTRIBUTION] = dt, it_j, cooling_w * dt, lost_w * dt
    load_j = it_j + row[COOLING] + row[DISTRIBUTION]
    own_j = (x[SOLAR_W] + x[WIND_W]) * dt
    used_j = min(own_j, load_j)
    charge_j, discharge_j = 0.0, 0.0
    if own_j > used_j and p.battery_j > 0.0:
        charge_j = min(own_j - used_j, p.battery_w * dt, (p.battery_j - stored_j) / p.efficiency)
        stored_j += charge_j * p.efficiency
    elif stored_j > 0.0:
        discharge_j = min(load_j - used_j, p.battery_w * dt, stored_j * p.efficiency)
        stored_j -= discharge_j / p.efficiency
    open_j = load_j - used_j - discharge_j
    over_j = max(0.0, open_j - limit_w * dt)
    made_j = min(over_j, p.generator_w * dt)
    row[GENERATOR], row[UNMET], row[GRID] = made_j, over_j - made_j, open_j - made_j
    taken = (used_j + charge_j) / own_j if own_j > 0.0 else 0.0
    row[SOLAR], row[WIND] = x[SOLAR_W] * dt * taken, x[WIND_W] * dt * taken
    row[EXPORT], row[BATTERY] = own_j - used_j - charge_j, charge_j - discharge_j
    row[SITE_L], row[GRID_L] = p.site_l_per_j * it_j, p.grid_l_per_j * row[GRID]
    return stored_j


@bare
def _settle(p: Plant, row: np.ndarray, x: np.ndarray, dt: float) -> None:
    """Write dollars and carbon of a bin; energy under contract beyond what is used is sold at the market's price."""
    by_share_j, profile_j = p.contract_share * row[GRID], x[CONTRACT_W] * dt
    row[CONTRACTED] = by_share_j + profile_j
    row[MATCHED] = min(row[CONTRACTED], row[GRID])
    row[CONTRACT_USD] = p.contract_usd_per_j * row[CONTRACTED] if row[CONTRACTED] > 0.0 else 0.0
    row[ENERGY_USD] = x[PRICE] * (row[GRID] - row[CONTRACTED])
    row[EXPORT_USD] = -x[EXPORT_PRICE] * row[EXPORT] if row[EXPORT] > 0.0 else 0.0
    row[GENERATOR_USD] = p.generator_usd_per_j * row[GENERATOR]
    made_kg = p.generator_kg_per_j * row[GENERATOR]
    row[LOCATION_KG] = x[CARBON] * row[GRID] + made_kg
    row[RESIDUAL_KG] = x[RESIDUAL] * row[GRID]
    row[UNMATCHED_KG] = x[RESIDUAL] * (row[GRID] - row[MATCHED])

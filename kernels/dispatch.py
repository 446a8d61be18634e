"""From IT energy to the meter, bin by bin: cooling, distribution, what is made on site, battery, generator, grid; their dollars,
carbon and water.

One bin is a stretch of time in which no series changes. In each, IT + cooling + distribution + battery = grid + solar + wind +
generator. Battery is what is charged less what comes back; solar and wind are what is used here, what is sent out is apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel

# Columns of `series`.
(PRICE, EXPORT_PRICE, CARBON, RESIDUAL, TEMPERATURE, SOLAR_W, WIND_W, CONTRACT_W, LIMIT_W) = range(9)
SERIES = 9
# Columns of `out`.
(COOLING, DISTRIBUTION, BATTERY, GRID, SOLAR, WIND, GENERATOR, EXPORT, UNMET, CONTRACTED, MATCHED, ENERGY_USD, CONTRACT_USD,
 EXPORT_USD, GENERATOR_USD, LOCATION_KG, RESIDUAL_KG, UNMATCHED_KG, SITE_L, GRID_L) = range(20)
OUT = 20


class Overhead(NamedTuple):
    """What a facility adds to its IT power, as shares of the IT power it is built for (fixed) or that it carries.

    PUE(L) = 1 + (fixed + proportional L + quadratic L^2) / L at a load L of the power it is built for.
    """

    design_w: float
    cooling_fixed: float
    cooling_proportional: float
    cooling_per_degree: float  # of the IT power, for each degree above `free_degc`
    free_degc: float
    distribution_fixed: float
    distribution_proportional: float
    distribution_quadratic: float


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


@kernel
def overheads_w(o: Overhead, it_w: float, degc: float) -> tuple[float, float]:
    """Return the power of cooling and the losses of distribution at an IT power and an outdoor temperature, watts."""
    warm = max(0.0, degc - o.free_degc)
    cooling_w = o.cooling_fixed * o.design_w + it_w * (o.cooling_proportional + o.cooling_per_degree * warm)
    lost_w = o.distribution_fixed * o.design_w + it_w * o.distribution_proportional
    return cooling_w, lost_w + o.distribution_quadratic * it_w * it_w / o.design_w


@kernel
def it_power_w(o: Overhead, facility_w: float, degc: float) -> float:
    """Return the IT power at which a facility draws a power: the inverse of `overheads_w`; at least zero."""
    fixed_w = (o.cooling_fixed + o.distribution_fixed) * o.design_w - facility_w
    slope = 1.0 + o.cooling_proportional + o.distribution_proportional + o.cooling_per_degree * max(0.0, degc - o.free_degc)
    if fixed_w >= 0.0:
        return 0.0
    if not np.isfinite(facility_w):
        return facility_w
    a = o.distribution_quadratic / o.design_w
    # The root of a p^2 + slope p + fixed = 0 in a form that holds for a = 0 too.
    return -2.0 * fixed_w / (slope + np.sqrt(slope * slope - 4.0 * a * fixed_w))


@kernel
def it_powers_w(o: Overhead, facility_w: np.ndarray, degc: np.ndarray, out_w: np.ndarray) -> None:
    """Write `it_power_w` bin by bin; arrays of shape (n,)."""
    for i in range(out_w.size):
        out_w[i] = it_power_w(o, facility_w[i], degc[i])


@kernel
def dispatch(o: Overhead, p: Plant, seconds: np.ndarray, it_j: np.ndarray, series: np.ndarray, out: np.ndarray) -> None:
    """Supply the facility bin by bin; write joules, dollars, kilograms and litres of each.

    Solar and wind serve the load first, then charge the battery, then leave. The battery serves what load they leave open, the
    generator what is then above the limit of the grid. UNMET is load above the limit that nothing serves; it is taken from the
    grid all the same, since the run has happened.

    Parameters
    ----------
    o, p
        Overheads; plant and contracts.
    seconds, it_j : ndarray, shape (n,)
        Length of each bin in which the run went on, and its IT energy.
    series : ndarray, shape (n, 9)
        USD/J, USD/J, kg/J, kg/J, degC, W, W, W, W; unknown ones are NaN, and so is what comes of them.
    out : ndarray, shape (n, 20)
        Written.
    """
    stored_j = 0.0
    for i in range(seconds.size):
        row, x, dt = out[i], series[i], seconds[i]
        if dt <= 0.0:
            row[:] = 0.0
            continue
        cooling_w, lost_w = overheads_w(o, it_j[i] / dt, x[TEMPERATURE])
        row[COOLING], row[DISTRIBUTION] = cooling_w * dt, lost_w * dt
        load_j = it_j[i] + row[COOLING] + row[DISTRIBUTION]
        own_j = (x[SOLAR_W] + x[WIND_W]) * dt
        used_j = min(own_j, load_j)
        charge_j = min(own_j - used_j, p.battery_w * dt, (p.battery_j - stored_j) / p.efficiency if p.battery_j > 0.0 else 0.0)
        stored_j += charge_j * p.efficiency
        open_j = load_j - used_j
        discharge_j = min(open_j, p.battery_w * dt, stored_j * p.efficiency)
        stored_j -= discharge_j / p.efficiency
        open_j -= discharge_j
        over_j = max(0.0, open_j - x[LIMIT_W] * dt)
        made_j = min(over_j, p.generator_w * dt)
        row[GENERATOR], row[UNMET] = made_j, over_j - made_j
        row[GRID] = open_j - made_j
        taken = (used_j + charge_j) / own_j if own_j > 0.0 else 0.0
        row[SOLAR], row[WIND] = x[SOLAR_W] * dt * taken, x[WIND_W] * dt * taken
        row[EXPORT] = own_j - used_j - charge_j
        row[BATTERY] = charge_j - discharge_j
        _settle(p, row, x, dt)
        row[SITE_L], row[GRID_L] = p.site_l_per_j * it_j[i], p.grid_l_per_j * row[GRID]


@kernel
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

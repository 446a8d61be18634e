"""The bill of a run: from IT joules by bin to the meter, contracts, dollars, carbon and water, whose bins sum to the totals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernels.dispatch import (
    BATTERY,
    CONTRACT_USD,
    CONTRACTED,
    COOLING,
    DISTRIBUTION,
    ENERGY_USD,
    EXPORT,
    EXPORT_USD,
    GENERATOR,
    GENERATOR_USD,
    GRID,
    GRID_L,
    LOCATION_KG,
    MATCHED,
    OUT,
    RESIDUAL_KG,
    SITE_L,
    SOLAR,
    UNMATCHED_KG,
    UNMET,
    WIND,
    dispatch,
)
from simulator.accounting.supply import Conditions, Supply


@dataclass(frozen=True)
class Bill:
    """What was drawn and paid, by bin.

    Attributes
    ----------
    met : Conditions or None
        The bins and what holds in them; None: one bin, of the whole run.
    seconds, it_j : ndarray, shape (n,)
        Time of the run in each bin, and IT energy.
    out : ndarray, shape (n, 20)
        Columns of `kernels.dispatch`.
    """

    supply: Supply
    met: Conditions | None
    seconds: np.ndarray
    it_j: np.ndarray
    out: np.ndarray

    @property
    def load_j(self) -> np.ndarray:
        """Energy of the facility by bin, wherever it comes from, shape (n,)."""
        return np.asarray(self.it_j + self.out[:, COOLING] + self.out[:, DISTRIBUTION])

    @property
    def months(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """The month of each bin and the months' names; one without a name where there is no calendar."""
        if self.met is None:
            return np.zeros(self.seconds.size, dtype=np.int64), ("",)
        return self.met.grid.month, self.met.grid.months


def make_bill(supply: Supply, seconds: np.ndarray, it_j: np.ndarray, met: Conditions | None = None) -> Bill:
    """Return the bill of a run, from its time and IT energy by bin, shape (n,) each; one bin where nothing changes with time."""
    out = np.empty((seconds.size, OUT))
    dispatch(supply.overhead, supply.plant, seconds, it_j, supply.table(None) if met is None else met.table, out)
    return Bill(supply, met, seconds, it_j, out)


def demand_usd(bill: Bill) -> np.ndarray:
    """Return demand charges by bin, shape (n,): a month's is on its highest bin, for the share of the month that the run takes.

    It is spread over the bins of the month by their time, so that bins sum to it.
    """
    charge = bill.supply.demand_usd_per_w_s
    if charge == 0.0:
        return np.zeros(bill.seconds.size)
    month, names = bill.months
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_w = np.where(bill.seconds > 0.0, bill.out[:, GRID] / bill.seconds, 0.0)
    peak_w = np.zeros(len(names))
    np.maximum.at(peak_w, month, mean_w)
    return np.asarray(charge * peak_w[month] * bill.seconds)


def dollars(bill: Bill) -> dict[str, np.ndarray]:
    """Return what energy costs by bin and kind, USD, arrays of shape (n,); kinds that a scenario does not have are left out."""
    s, out = bill.supply, bill.out
    found = {"electricity": out[:, ENERGY_USD]}
    if s.demand_usd_per_w_s:
        found["demand_charge"] = demand_usd(bill)
    if s.contracted:
        found["power_purchase"] = out[:, CONTRACT_USD]
    if s.produces:
        found["export"] = out[:, EXPORT_USD]
    if s.fixed_usd_per_s:
        found["onsite"] = s.fixed_usd_per_s * bill.seconds
    if bill.met is not None and bill.met.payment_usd_per_j is not None and bill.met.asked_w is not None:
        shed_j = np.maximum(0.0, bill.met.asked_w * bill.seconds - bill.load_j)
        found["demand_response"] = -bill.met.payment_usd_per_j * shed_j
    if s.plant.generator_w:
        found["generator"] = out[:, GENERATOR_USD]
    if s.offset_share:
        found["offsets"] = s.offset_share * s.offset_usd_per_kg * out[:, LOCATION_KG]
    return found


def totals(bill: Bill) -> dict[str, float]:
    """Return energy at the meter, its sources, carbon, water and dollars; categories sum to totals.

    `energy_j` is IT + cooling and distribution + what the battery keeps or loses = grid + solar + wind + generator.
    """
    s = bill.supply
    sums = bill.out.sum(axis=0).tolist()
    it_j = float(bill.it_j.sum())
    row = {"energy_cooling_distribution_j": sums[COOLING] + sums[DISTRIBUTION]}
    if s.plant.battery_j:
        row["energy_battery_j"] = sums[BATTERY]
    row["energy_j"] = it_j + sum(row.values())
    row["supply_grid_j"] = sums[GRID]
    if s.produces:
        row |= {"supply_solar_j": sums[SOLAR], "supply_wind_j": sums[WIND], "exported_j": sums[EXPORT]}
    if s.plant.generator_w:
        row["supply_generator_j"] = sums[GENERATOR]
    if s.limited:
        row["above_cap_j"] = sums[UNMET]
    row |= _carbon(s, sums)
    row |= {"water_site_l": sums[SITE_L], "water_grid_l": sums[GRID_L]}
    known = [litres for litres in (sums[SITE_L], sums[GRID_L]) if not math.isnan(litres)]
    row["water_l"] = sum(known) if known else np.nan
    for name, usd in dollars(bill).items():
        row[f"cost_{name}_usd"] = float(usd.sum())
    # The one NaN, so that rows compare equal.
    return {name: np.nan if math.isnan(value) else value for name, value in row.items()}


def _carbon(s: Supply, sums: list[float]) -> dict[str, float]:
    """Return operational carbon by place and by contract, kg; the matched share is hour by hour in any case."""
    made_kg = s.plant.generator_kg_per_j * sums[GENERATOR]
    found = {"carbon_operational_kg": sums[LOCATION_KG]}
    if not s.contracted:
        found["carbon_market_kg"] = sums[RESIDUAL_KG] + made_kg
    else:
        grid_j = sums[GRID]
        matched = min(1.0, sums[CONTRACTED] / grid_j) if grid_j > 0.0 else 0.0
        by_year_kg = sums[RESIDUAL_KG] * (1.0 - matched)
        found["carbon_market_kg"] = made_kg + (by_year_kg if s.annual else sums[UNMATCHED_KG])
        found["carbon_free_share_hourly"] = sums[MATCHED] / grid_j if grid_j > 0.0 else 0.0
    if s.offset_share:
        found["carbon_offsets_kg"] = s.offset_share * sums[LOCATION_KG]  # apart, never netted
    return found

"""The bill of a run: from IT joules by bin to the meter, contracts, dollars, carbon and water, whose bins sum to the totals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

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
    IT,
    LOCATION_KG,
    MATCHED,
    OUT,
    RESIDUAL_KG,
    RESPONSE_USD,
    SECONDS,
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
    """What was drawn and paid.

    Attributes
    ----------
    met : Conditions
        The bins and what holds in them; one bin where nothing changes with time.
    bins : ndarray, shape (n, kinds + 2)
        Of the run's meter (`kernels.meter`).
    spare_node_w : float
    totals : ndarray, shape (23,)
        Sums over bins of the columns of `kernels.dispatch`.
    months : ndarray, shape (months, 2)
        Highest mean power from the grid in a bin of each month, W, and the time of the run in it, s.
    """

    supply: Supply
    met: Conditions
    bins: np.ndarray
    spare_node_w: float
    totals: np.ndarray
    months: np.ndarray

    @cached_property
    def out(self) -> np.ndarray:
        """Columns of `kernels.dispatch` by bin, shape (n, 23): worked out again, for those who look at hours."""
        out = np.empty((len(self.bins), OUT))
        _dispatch(self.supply, self.met, self.bins, self.spare_node_w, np.empty(OUT), np.empty_like(self.months), out)
        return out

    @property
    def seconds(self) -> np.ndarray:
        """Time of the run in each bin, shape (n,), s."""
        return np.asarray(self.out[:, SECONDS])

    @property
    def load_j(self) -> np.ndarray:
        """Energy of the facility by bin, wherever it comes from, shape (n,)."""
        return np.asarray(self.out[:, IT] + self.out[:, COOLING] + self.out[:, DISTRIBUTION])


def make_bill(supply: Supply, met: Conditions, bins: np.ndarray, spare_node_w: float) -> Bill:
    """Return the bill of a run from its meter."""
    totals, months = np.empty(OUT), np.empty((len(met.months), 2))
    _dispatch(supply, met, bins, spare_node_w, totals, months, np.empty((0, OUT)))
    return Bill(supply, met, bins, spare_node_w, totals, months)


def _dispatch(supply: Supply, met: Conditions, bins: np.ndarray, spare_node_w: float, totals: np.ndarray, months: np.ndarray,
              out: np.ndarray) -> None:
    dispatch(supply.overhead, supply.plant, met.limits, bins, spare_node_w, met.table, met.month, np.empty(OUT), totals, months,
             out)


def _columns(s: Supply, paid: bool) -> dict[str, tuple[int, float]]:
    """Return the kinds of dollars that are a column of dispatch times a factor; kinds that a scenario lacks are left out."""
    found = {"electricity": (ENERGY_USD, 1.0)}
    if s.contracted:
        found["power_purchase"] = (CONTRACT_USD, 1.0)
    if s.produces:
        found["export"] = (EXPORT_USD, 1.0)
    if s.fixed_usd_per_s:
        found["onsite"] = (SECONDS, s.fixed_usd_per_s)
    if s.plant.generator_w:
        found["generator"] = (GENERATOR_USD, 1.0)
    if paid:
        found["demand_response"] = (RESPONSE_USD, 1.0)
    if s.offset_share:
        found["offsets"] = (LOCATION_KG, s.offset_share * s.offset_usd_per_kg)
    return found


def dollars(bill: Bill) -> dict[str, np.ndarray]:
    """Return what energy costs by bin and kind, USD, arrays of shape (n,).

    A month's demand charge is on its highest bin, for the share of the month that the run takes, and is spread over its time.
    """
    found = {name: factor * bill.out[:, column] for name, (column, factor) in _columns(bill.supply, bill.met.pays).items()}
    if bill.supply.demand_usd_per_w_s:
        found["demand_charge"] = bill.supply.demand_usd_per_w_s * bill.months[bill.met.month, 0] * bill.seconds
    return found


def totals(bill: Bill) -> dict[str, float]:
    """Return energy at the meter, its sources, carbon, water and dollars; categories sum to totals.

    `energy_j` is IT + cooling and distribution + what the battery keeps or loses = grid + solar + wind + generator.
    """
    s, sums = bill.supply, bill.totals.tolist()
    row = {"energy_cooling_distribution_j": sums[COOLING] + sums[DISTRIBUTION]}
    if s.plant.battery_j:
        row["energy_battery_j"] = sums[BATTERY]
    row["energy_j"] = sums[IT] + sum(row.values())
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
    for name, (column, factor) in _columns(s, bill.met.pays).items():
        row[f"cost_{name}_usd"] = factor * sums[column]
    if s.demand_usd_per_w_s:
        row["cost_demand_charge_usd"] = s.demand_usd_per_w_s * float(bill.months[:, 0] @ bill.months[:, 1])
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
        found["contract_share_hourly"] = sums[MATCHED] / grid_j if grid_j > 0.0 else 0.0
    if s.offset_share:
        found["carbon_offsets_kg"] = s.offset_share * sums[LOCATION_KG]  # apart, never netted
    return found

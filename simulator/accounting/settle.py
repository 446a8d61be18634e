"""From seconds by state to a row of results: time, energy, carbon, water and dollars by category."""

from __future__ import annotations

import math

import numpy as np

from simulator.accounting.capital import Held, holding_costs, total
from simulator.accounting.ledger import STATES, State
from simulator.accounting.rates import ACCELERATOR_POWER, Rates

Period = tuple[np.ndarray, Rates]


def time_by_category(seconds: np.ndarray, rates: Rates) -> dict[str, float]:
    """Return seconds by category; productive time is split into nominal work and waiting for stragglers."""
    totals = {f"time_{name}_s": float(seconds[i].sum()) for i, name in enumerate(STATES)}
    nominal = float((seconds[State.PRODUCTIVE] / rates.straggler_factors).sum())
    totals["time_straggler_s"] = totals["time_productive_s"] - nominal
    totals["time_productive_s"] = nominal
    return totals


def settle(periods: list[Period], spare_node_s: float) -> dict[str, float]:
    """Return one row of results; categories sum to totals.

    Parameters
    ----------
    periods : list of (ndarray, Rates)
        Seconds by state and stretch, shape (states, stretches), and the rates under which they were spent: one for each size
        that the cluster had.
    spare_node_s : float
        Integral of powered idle spare nodes over time, node-seconds; at the rate of the last period.
    """
    rows = [_additive(seconds, rates) for seconds, rates in periods]
    row = {name: _sum([other[name] for other in rows]) for name in rows[0]}
    last = periods[-1][1]
    spares_j = last.spare_node_w * spare_node_s
    row["energy_spares_j"] = spares_j
    row["energy_cooling_distribution_j"] += (last.pue - 1.0) * spares_j
    row["energy_j"] += last.pue * spares_j
    if last.carbon_kg_per_j is not None:
        row["carbon_operational_kg"] += last.carbon_kg_per_j * last.pue * spares_j
    if last.water_l_per_j is not None:
        row["water_l"] += last.water_l_per_j * spares_j
    row["cost_electricity_usd"] += last.energy_usd_per_j * last.pue * spares_j

    wall_s = row["time_s"]
    row["ettr"] = (row["time_productive_s"] + row["time_straggler_s"]) / wall_s
    row["mfu"] = row.pop("model_flops") / (row["accelerator_s"] * last.peak_flops_per_s)
    row["power_mean_w"] = row["energy_j"] / wall_s
    known = [row[k] for k in ("carbon_operational_kg", "carbon_embodied_kg") if row[k] == row[k]]
    row["carbon_kg"] = sum(known) if known else np.nan
    row |= holding_costs([Held(time_by_category(seconds, r), r.accelerators, r.spare_accelerators, r.holding)
                          for seconds, r in periods])
    total(row, last.terms)
    return row


def _sum(values: list[float]) -> float:
    """Return a sum; the one NaN where it is unknown, so that rows compare equal."""
    total = sum(values)
    return np.nan if math.isnan(total) else total


def _additive(seconds: np.ndarray, rates: Rates) -> dict[str, float]:
    """Return what adds up over periods, spares' energy apart."""
    wall_s = float(seconds.sum())
    times = time_by_category(seconds, rates)
    row = {"time_s": wall_s, "accelerator_s": wall_s * rates.accelerators, **times}
    row["model_flops"] = float((seconds[State.PRODUCTIVE] / rates.step_s * rates.model_flops_per_step).sum())

    it = {f"energy_{name}_j": float((rates.power_w[i] * seconds).sum()) for i, name in enumerate(ACCELERATOR_POWER)}
    it["energy_host_j"] = float((rates.host_w * seconds).sum())
    it["energy_network_j"] = rates.network_w * wall_s
    it["energy_storage_j"] = rates.storage_w * wall_s
    it_j = sum(it.values())
    row |= it
    row["energy_spares_j"] = 0.0
    row["energy_cooling_distribution_j"] = (rates.pue - 1.0) * it_j
    row["energy_j"] = rates.pue * it_j

    row["carbon_operational_kg"] = np.nan if rates.carbon_kg_per_j is None else rates.carbon_kg_per_j * row["energy_j"]
    held_s = wall_s * (rates.accelerators + rates.spare_accelerators)
    row["carbon_embodied_kg"] = np.nan if rates.embodied_kg_per_s is None else rates.embodied_kg_per_s * held_s
    row["water_l"] = np.nan if rates.water_l_per_j is None else rates.water_l_per_j * it_j

    row["cost_electricity_usd"] = rates.energy_usd_per_j * row["energy_j"]
    row["cost_storage_usd"] = rates.storage_usd_per_s * wall_s
    return row

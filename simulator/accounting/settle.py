"""From seconds by state to a row of results: time, energy, carbon, water and dollars by category."""

from __future__ import annotations

import numpy as np

from simulator.accounting.ledger import STATES, State
from simulator.accounting.rates import ACCELERATOR_POWER, Rates


def time_by_category(seconds: np.ndarray, rates: Rates) -> dict[str, float]:
    """Return seconds by category; productive time is split into nominal work and waiting for stragglers."""
    totals = {f"time_{name}_s": float(seconds[i].sum()) for i, name in enumerate(STATES)}
    nominal = float((seconds[State.PRODUCTIVE] / rates.straggler_factors).sum())
    totals["time_straggler_s"] = totals["time_productive_s"] - nominal
    totals["time_productive_s"] = nominal
    return totals


def settle(seconds: np.ndarray, spare_node_s: float, rates: Rates) -> dict[str, float]:
    """Return one row of results; categories sum to totals.

    Parameters
    ----------
    seconds : ndarray, shape (states, stretches)
        The ledger's sums.
    spare_node_s : float
        Integral of powered idle spare nodes over time, node-seconds.
    rates : Rates
        Of this scenario.
    """
    wall_s = float(seconds.sum())
    row = {"time_s": wall_s, "accelerator_s": wall_s * rates.accelerators, **time_by_category(seconds, rates)}
    ettr_s = row["time_productive_s"] + row["time_straggler_s"]
    row["ettr"] = ettr_s / wall_s
    row["mfu"] = rates.model_flops / (wall_s * rates.accelerators * rates.peak_flops_per_s)

    it = {f"energy_{name}_j": float((rates.power_w[i] * seconds).sum()) for i, name in enumerate(ACCELERATOR_POWER)}
    it["energy_host_j"] = rates.host_w * wall_s
    it["energy_network_j"] = rates.network_w * wall_s
    it["energy_spares_j"] = rates.spare_node_w * spare_node_s
    it_j = sum(it.values())
    row.update(it)
    row["energy_cooling_distribution_j"] = (rates.pue - 1.0) * it_j
    row["energy_j"] = it_j + row["energy_cooling_distribution_j"]
    row["power_mean_w"] = row["energy_j"] / wall_s

    row["carbon_operational_kg"] = np.nan if rates.carbon_kg_per_j is None else rates.carbon_kg_per_j * row["energy_j"]
    held_s = wall_s * (rates.accelerators + rates.spare_accelerators)
    row["carbon_embodied_kg"] = np.nan if rates.embodied_kg_per_s is None else rates.embodied_kg_per_s * held_s
    known = [row[k] for k in ("carbon_operational_kg", "carbon_embodied_kg") if row[k] == row[k]]
    row["carbon_kg"] = sum(known) if known else np.nan
    row["water_l"] = np.nan if rates.water_l_per_j is None else rates.water_l_per_j * it_j

    usd_per_s = rates.capital_usd_per_accelerator_s * rates.accelerators
    cost = {f"cost_{name.removeprefix('time_').removesuffix('_s')}_usd": usd_per_s * value
            for name, value in row.items() if name.startswith("time_") and name != "time_s"}
    cost["cost_spares_usd"] = rates.capital_usd_per_accelerator_s * rates.spare_accelerators * wall_s
    cost["cost_electricity_usd"] = rates.energy_usd_per_j * row["energy_j"]
    cost["cost_storage_usd"] = rates.storage_usd_per_s * wall_s
    row.update(cost)
    row["cost_usd"] = sum(cost.values())
    return row

"""From seconds by state, and the bill of its energy, to a row of results: time, energy, carbon, water and dollars by category."""

from __future__ import annotations

import math

import numpy as np

from simulator.accounting.bill import Bill, totals
from simulator.accounting.capital import Held, holding_costs, total
from simulator.accounting.ledger import STATES, State
from simulator.accounting.rates import IT_POWER, Rates

Period = tuple[np.ndarray, Rates]
_TIMES = tuple(f"time_{name}_s" for name in STATES)
_ENERGIES = tuple(f"energy_{name}_j" for name in IT_POWER)


def time_by_category(seconds: np.ndarray, rates: Rates) -> dict[str, float]:
    """Return seconds by category; productive time is split into nominal work, lower clocks, and waiting for stragglers."""
    totals = dict(zip(_TIMES, seconds.sum(axis=1).tolist(), strict=True))
    nominal = seconds[State.PRODUCTIVE] / rates.straggler_factors
    nominal_s = float(nominal.sum())
    usual_s = float(nominal @ (rates.usual_step_s / rates.step_s))
    totals["time_straggler_s"] = totals["time_productive_s"] - nominal_s
    totals["time_throttled_s"] = nominal_s - usual_s
    totals["time_productive_s"] = usual_s
    return totals


def settle(periods: list[Period], spare_node_s: float, bill: Bill) -> dict[str, float]:
    """Return one row of results; categories sum to totals.

    Parameters
    ----------
    periods : list of (ndarray, Rates)
        Seconds by state and stretch, shape (states, stretches), and the rates under which they were spent: one for each size
        that the cluster had, and each clock it ran at.
    spare_node_s : float
        Integral of powered idle spare nodes over time, node-seconds; at the rate of the last period.
    bill : Bill
        Of the same run.
    """
    times = [time_by_category(seconds, rates) for seconds, rates in periods]
    rows = [_additive(seconds, rates, spent) for (seconds, rates), spent in zip(periods, times, strict=True)]
    row = {name: _sum([other[name] for other in rows]) for name in rows[0]} if len(rows) > 1 else rows[0]
    last = periods[-1][1]
    row["energy_spares_j"] = last.spare_node_w * spare_node_s
    row |= totals(bill)
    wall_s = row["time_s"]
    row["ettr"] = (row["time_productive_s"] + row["time_straggler_s"] + row["time_throttled_s"]) / wall_s
    row["mfu"] = row.pop("model_flops") / (row["accelerator_s"] * last.peak_flops_per_s)
    row["power_mean_w"] = row["energy_j"] / wall_s
    known = [row[k] for k in ("carbon_operational_kg", "carbon_embodied_kg") if row[k] == row[k]]
    row["carbon_kg"] = sum(known) if known else np.nan
    row |= holding_costs(held_of(periods, times))
    total(row, last.terms)
    return row


def held_of(periods: list[Period], times: list[dict[str, float]] | None = None) -> list[Held]:
    """Return what was held, one entry for each size of the cluster: clocks change in between and back, sizes only grow.

    `times` are the seconds by category of each period, where they are at hand.
    """
    found: dict[int, Held] = {}
    times = times or [time_by_category(seconds, rates) for seconds, rates in periods]
    for (_, rates), spent in zip(periods, times, strict=True):
        before = found.get(rates.accelerators)
        all_of_it = spent if before is None else {name: value + before.times[name] for name, value in spent.items()}
        found[rates.accelerators] = Held(all_of_it, rates.accelerators, rates.spare_accelerators, rates.holding)
    return list(found.values())


def _sum(values: list[float]) -> float:
    """Return a sum; the one NaN where it is unknown, so that rows compare equal."""
    total = sum(values)
    return np.nan if math.isnan(total) else total


def _additive(seconds: np.ndarray, rates: Rates, times: dict[str, float]) -> dict[str, float]:
    """Return what adds up over periods, spares' energy apart."""
    wall_s = float(seconds.sum())
    row = {"time_s": wall_s, "accelerator_s": wall_s * rates.accelerators, **times}
    row["model_flops"] = float(seconds[State.PRODUCTIVE] @ (rates.model_flops_per_step / rates.step_s))
    joules = rates.it_w.reshape(len(IT_POWER), -1) @ seconds.ravel()
    row |= dict(zip(_ENERGIES, joules.tolist(), strict=True))
    held_s = wall_s * (rates.accelerators + rates.spare_accelerators)
    row["carbon_embodied_kg"] = np.nan if rates.embodied_kg_per_s is None else rates.embodied_kg_per_s * held_s
    row["cost_storage_usd"] = rates.storage_usd_per_s * wall_s
    return row

"""Bills of many trials: by month, and by hour of the day."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from kernels.dispatch import CARBON, GRID, LOCATION_KG, PRICE
from simulator.accounting.bill import Bill
from simulator.accounting.hourly import hourly_usd
from simulator.accounting.settle import held_of
from simulator.cluster import TrialResult
from simulator.montecarlo.trials import Trials

HOURS = 24


@dataclass(frozen=True)
class Bills:
    """What trials drew and paid.

    Attributes
    ----------
    months : tuple of str
        Such as "2024-06".
    by_month : dict of ndarray, shape (months, trials)
        `hours_h`, `energy_j`, `grid_j`, `carbon_kg` (by place) and `peak_w` (highest hour from the grid); USD by kind as
        `cost_KIND_usd`, `cost_holding_usd` for the machine.
    power_w : ndarray, shape (24, trials)
        Mean power of the facility by local hour of the day; NaN where no time of the run fell into it.
    price_usd_per_j, carbon_kg_per_j : ndarray, shape (24,)
        Means over the time of the runs.
    rows : list of dict
        The trials' results.
    """

    months: tuple[str, ...]
    by_month: dict[str, np.ndarray]
    power_w: np.ndarray
    price_usd_per_j: np.ndarray
    carbon_kg_per_j: np.ndarray
    rows: list[dict[str, float]]


def run_bills(trials: Trials, count: int) -> Bills:
    """Run trials of a scenario with a calendar, here, one after the other, and keep their bills."""
    names: tuple[str, ...] = ()
    monthly: list[dict[str, np.ndarray]] = []
    daily, rows = [], []
    for trial in range(count):
        result = trials.run(trial)
        names = max(names, result.bill.met.months, key=len)  # a longer run has the months of a shorter one, and more
        monthly.append(monthly_bill(result))
        daily.append(_mean_day(result.bill))
        rows.append(result.row)
    used = max(int(np.flatnonzero(bill["hours_h"])[-1]) + 1 for bill in monthly)
    by_month = {name: np.stack([_sized(bill[name], used) for bill in monthly], axis=1) for name in monthly[0]}
    power_w, price, carbon = (np.stack([day[i] for day in daily], axis=1) for i in range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an hour that no trial had
        return Bills(names[:used], by_month, power_w, np.nanmean(price, axis=1), np.nanmean(carbon, axis=1), rows)


def _sized(values: np.ndarray, months: int) -> np.ndarray:
    return np.pad(values[:months], (0, max(0, months - values.size)))


def monthly_bill(result: TrialResult) -> dict[str, np.ndarray]:
    """Return sums by month of one trial's bill, arrays of shape (months,); dollars sum to `cost_usd` of its row."""
    bill = result.bill
    month, names = bill.met.month, bill.met.months

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(month, values, len(names))

    found = {"hours_h": sums(bill.seconds / 3600.0), "energy_j": sums(bill.load_j), "grid_j": sums(bill.out[:, GRID]),
             "peak_w": bill.months[:, 0], "carbon_kg": sums(bill.out[:, LOCATION_KG])}
    usd = hourly_usd(bill, held_of(result.periods), result.periods[-1][1])
    return found | {f"cost_{name}_usd": sums(values) for name, values in usd.items()}


def _mean_day(bill: Bill) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean power (W), price (USD/J) and carbon intensity (kg/J) by local hour of the day, shape (24,) each."""
    assert bill.met.grid is not None
    hour, table = bill.met.grid.hour_of_day, bill.met.table
    with np.errstate(invalid="ignore", divide="ignore"):
        time_s = np.bincount(hour, bill.seconds, HOURS)
        sums = (bill.load_j, table[:, PRICE] * bill.seconds, table[:, CARBON] * bill.seconds)
        power_w, price, carbon = (np.bincount(hour, values, HOURS) / time_s for values in sums)
    return power_w, price, carbon

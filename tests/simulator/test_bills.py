"""Joules and dollars by hour, by month, by category and by source: the same totals however they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.dispatch import COOLING, DISTRIBUTION, GENERATOR, GRID, IT, SOLAR, WIND
from simulator.accounting.hourly import hourly_energy_j, hourly_usd
from simulator.accounting.settle import held_of
from simulator.api import load
from simulator.cluster import TrialResult
from simulator.montecarlo.bills import monthly_bill, run_bills
from simulator.montecarlo.trials import Trials
from simulator.scenario import Scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
CONTRACTS = {
    "tariff": {"price": {"tariff": {"base": "0.05 USD/kWh", "periods": [{"hours": "14-20", "price": "0.2 USD/kWh"}]}}},
    "demand": {"price": "0.05 USD/kWh", "demand_charge": "10 USD/kW/month"},
    "share": {"price": "0.05 USD/kWh", "contract": {"share": 0.6, "price": "0.03 USD/kWh"}},
    "plant": {"price": "0.05 USD/kWh", "export_price": "0.02 USD/kWh", "demand_charge": "10 USD/kW/month",
              "contract": {"profile": {"wind": {"capacity": "100 kW", "capacity_factor": 0.4, "seed": 1}},
                           "price": "0.03 USD/kWh", "matching": "hourly"}},
}
SITES = {
    "one PUE": {"pue": 1.2},
    "weather": {"overheads": {}, "temperature": {"synthetic": {"mean": "18 degC", "day_swing": "6 degC"}}},
    "plant": {"pue": 1.2, "solar": {"solar": {"capacity": "80 kW", "capacity_factor": 0.25, "latitude": 30}},
              "battery": {"energy": "100 kWh", "power": "40 kW", "cost": "10 USD/h"}, "onsite_cost": "1 USD/h",
              "generator": {"power": "20 kW", "fuel": "0.3 USD/kWh", "carbon_intensity": "700 gCO2e/kWh"}, "power_cap": "30 kW"},
    "events": {"pue": 1.2, "curtailment": [{"rate": "100 per 365 days", "duration": "3 h", "to": 0.5, "payment": "0.3 USD/kWh"},
                                           {"at": "5 h", "duration": "2 h"}]},
}
HOLDING = {
    "owned": {"owned": {"depreciation": "learning-curve", "cost_of_capital": "8 %/year", "staff": "100 k USD/year"}},
    "rented": {"rental": {"parts": [{"share": 0.5, "price": "2 USD/h", "term": "10 days"},
                                    {"share": 0.5, "price": {"synthetic": {"mean": "1.5 USD/h", "day_swing": 0.4}}}]},
               "research_overhead": 1.5, "storage": "0.02 USD/GB/month", "egress": {"bytes": "1 TB", "price": "0.09 USD/GB"}},
}


def scenario(site: str, contract: str, holding: str, **more) -> Scenario:
    """Return some days of a small cluster, with failures, across the change to summer time."""
    return load({
        "name": "hourly", "year": 2024, "model": "llama-3-8b",
        "calendar": {"start": "2024-03-09", "time_zone": "America/Chicago"},
        "training": {"tokens": "45 B", "batch": 4194304, "sequence": 8192, "recompute": "selective", "attention": "flash",
                     "layout": {"tensor": 8, "data": 4}},
        "cluster": {"accelerator": "h100-sxm-80gb", "accelerators": 32, "spares": 2},
        "failures": {"components": [{"name": "gpu", "kind": "hardware", "rate": "0.05 per day"}],
                     "recovery": {"detection": "10 min", "initialisation": "5 min", "repair": "1 day"}},
        "checkpoint": {"storage_bandwidth": "5 GB/s"},
        "facility": {"site": {"preset": "usa", "carbon_intensity": "400 gCO2e/kWh"}, **SITES[site]},
        "pricing": {**HOLDING[holding], "electricity": CONTRACTS[contract]},
        "carbon": {"offsets": {"share": 0.3, "price": "20 USD/tCO2e"}},
        "monte_carlo": {"trials": 3, "seed": 7}, **more})


@pytest.mark.parametrize("holding", HOLDING)
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("site", SITES)
def test_hours_categories_and_sources_sum_to_the_totals(site: str, contract: str, holding: str) -> None:
    trials = Trials(scenario(site, contract, holding))
    for trial in range(3):
        check_sums(trials.run(trial, by_kind=True))


def check_sums(result: TrialResult) -> None:
    row, bill, rates = result.row, result.bill, result.periods[-1][1]
    # time
    assert bill.seconds.sum() == pytest.approx(row["time_s"], rel=1e-9)
    assert sum(seconds.sum() for seconds, _ in result.periods) == pytest.approx(row["time_s"], rel=1e-9)
    # joules by category, by hour, by source
    by_hour = hourly_energy_j(bill)
    for name, joules in by_hour.items():
        assert joules.sum() == pytest.approx(row[f"energy_{name}_j"], rel=1e-9, abs=1e-3)
    categories = sum(v for k, v in row.items() if k.startswith("energy_") and k != "energy_j")
    assert categories == pytest.approx(row["energy_j"], rel=1e-9)
    assert sum(v for k, v in row.items() if k.startswith("supply_")) == pytest.approx(row["energy_j"], rel=1e-9)
    out = bill.out
    supplied = out[:, GRID] + out[:, SOLAR] + out[:, WIND] + out[:, GENERATOR]
    assert supplied == pytest.approx(sum(by_hour.values()), rel=1e-9, abs=1e-3)
    # dollars by category, by hour, by month, by part
    usd = hourly_usd(bill, held_of(result.periods), rates)
    assert sum(values.sum() for values in usd.values()) == pytest.approx(row["cost_usd"], rel=1e-9)
    for name in ("electricity", "storage", "offsets", "egress", "research_overhead"):
        assert usd[name].sum() == pytest.approx(row[f"cost_{name}_usd"], rel=1e-9, abs=1e-9)
    assert usd["holding"].sum() + usd["unused_commitment"].sum() == pytest.approx(
        sum(v for k, v in row.items() if k.startswith("holding_")), rel=1e-9)
    categories = sum(v for k, v in row.items() if k.startswith("cost_") and k != "cost_usd")
    assert categories == pytest.approx(row["cost_usd"], rel=1e-9)
    months = monthly_bill(result)
    assert sum(v.sum() for k, v in months.items() if k.startswith("cost_")) == pytest.approx(row["cost_usd"], rel=1e-9)
    assert months["energy_j"].sum() == pytest.approx((out[:, IT] + out[:, COOLING] + out[:, DISTRIBUTION]).sum(), rel=1e-12)


def test_a_calendar_without_anything_hourly_changes_nothing() -> None:
    flat = scenario("one PUE", "share", "owned")
    with_calendar = Trials(flat).run(0).row
    without = Trials(flat.model_copy(update={"calendar": None})).run(0).row
    assert with_calendar.keys() == without.keys()
    for name, value in without.items():
        assert with_calendar[name] == pytest.approx(value, rel=1e-9, abs=1e-6, nan_ok=True), name


def test_months_of_many_trials_have_all_their_time() -> None:
    bills = run_bills(Trials(scenario("weather", "plant", "owned", calendar={"start": "2024-02-28", "time_zone": "UTC"})), 3)
    assert bills.months == ("2024-02", "2024-03")
    time_h = [row["time_s"] / 3600.0 for row in bills.rows]
    assert bills.by_month["hours_h"].sum(axis=0) == pytest.approx(time_h)
    assert bills.by_month["hours_h"][0] == pytest.approx(48.0)  # 28 and 29 February
    assert not np.isnan(bills.power_w).any()

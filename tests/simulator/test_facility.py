"""Buildings, tariffs, contracts, carbon and water: what a file may say of them, and closed forms of what comes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator.api import load
from simulator.cluster import TrialResult
from simulator.errors import UserError
from simulator.montecarlo.trials import Trials
from simulator.scenario import Scenario
from tests.simulator.test_orders import HOUR, by_hour
from tests.simulator.test_orders import scenario as thirty_hours

KWH_J, YEAR_S = 3.6e6, 365.25 * 86400.0
MONTH_S = YEAR_S / 12.0
PRICED = {"price": "0.05 USD/kWh"}


def scenario(**changes: Any) -> Scenario:
    """Return thirty hours that draw the same power all the time: no failure, and no checkpoint but the last."""
    return thirty_hours(**{"checkpoint": {"interval": "60 days"}, **changes})


def run(**changes: Any) -> TrialResult:
    return Trials(scenario(**changes)).run(0)


def row_of(**changes: Any) -> dict[str, float]:
    return run(**changes).row


def steady_w(result: TrialResult) -> float:
    """Power of the facility in every hour but the last."""
    bill = result.bill
    power = bill.load_j[:24] / HOUR
    assert power == pytest.approx(power[0], rel=1e-9)
    return float(power[0])


# What a file may say.

CALENDAR = "calendar: found none, but {} changes with the hour; allowed: a section such as calendar: {{start: 2024-06-01"
BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "overheads and pue": ({"facility": {"overheads": {}}}, ["facility.overheads: found both 'overheads' and 'pue'"]),
    "a rule of two thresholds": (
        {"policies": [{"price_above": "0.1 USD/kWh", "carbon_above": "1 gCO2e/kWh", "action": "pause"}]},
        ["policies.0.action: found 2 of 'price_above', 'carbon_above', 'temperature_above'", "one of the three"]),
    "a rule without a threshold": ({"policies": [{"action": "pause"}]}, ["policies.0.action: found 0 of"]),
    "a rule that does something else": (
        {"policies": [{"price_above": "1 USD/kWh", "action": "paus"}]},
        ["policies.0.action: found 'paus'", "did you mean 'pause'"]),
    "a rule that slows to nothing": (
        {"policies": [{"price_above": "1 USD/kWh", "action": "slow", "to": 0}]}, ["policies.0.to: found 0", "more than 0"]),
    "a rule on a price that rent includes": (
        {"pricing": {"electricity": None}, "policies": [{"price_above": "0.1 USD/kWh", "action": "pause"}]},
        ["policies.0.price_above: found a rule on the price of electricity, which rent includes", "pricing.electricity"]),
    "rules without a date": (
        {"calendar": None, "policies": [{"carbon_above": "1 gCO2e/kWh", "action": "pause"}]}, [CALENDAR.format("policies")]),
    "a cap without a date": (
        {"calendar": None, "facility": {"power_cap": "1 MW"}}, [CALENDAR.format("facility.power_cap")]),
    "a demand charge without a date": (
        {"calendar": None, "pricing": {"electricity": {**PRICED, "demand_charge": "9 USD/kW/month"}}},
        [CALENDAR.format("pricing.electricity.demand_charge")]),
    "events without a date": (
        {"calendar": None, "facility": {"curtailment": [{"at": "1 h", "duration": "1 h"}]}},
        [CALENDAR.format("facility.curtailment")]),
    "oversubscription without a date": (
        {"calendar": None, "facility": {"oversubscription": 1.2}}, [CALENDAR.format("facility.oversubscription")]),
    "a series without a date": (
        {"calendar": None, "facility": {"solar": {"synthetic": {"mean": "1 kW"}}}}, ["calendar: ", "facility.solar changes"]),
    "a series of a contract without a date": (
        {"calendar": None, "pricing": {"electricity": {**PRICED, "contract": {
            "price": "0.1 USD/kWh", "profile": {"synthetic": {"mean": "1 kW"}}}}}},
        ["calendar: ", "pricing.electricity.contract.profile changes"]),
    "typo in facility": ({"facility": {"batery": {}}}, ["facility: unknown key 'batery'", "did you mean 'battery'"]),
    "typo in overheads": ({"facility": {"pue": None, "overheads": {"cooling_fix": 0.1}}},
                          ["facility.overheads: unknown key 'cooling_fix'", "did you mean 'cooling_fixed'"]),
    "typo in electricity": ({"pricing": {"electricity": {"prise": "1 USD/kWh"}}},
                            ["pricing.electricity: unknown key 'prise'", "did you mean 'price'"]),
    "typo in carbon": ({"carbon": {"ofsets": {}}}, ["carbon: unknown key 'ofsets'", "did you mean 'offsets'"]),
    "typo in policies": ({"policies": [{"price_over": "1 USD/kWh", "action": "pause"}]},
                         ["policies.0: unknown key 'price_over'", "did you mean 'price_above'"]),
    "typo in matching": ({"pricing": {"electricity": {**PRICED, "contract": {"price": "0.1 USD/kWh", "matching": "hourley"}}}},
                         ["contract.matching: found 'hourley'", "annual, hourly", "did you mean 'hourly'"]),
    "a contract for nothing": ({"pricing": {"electricity": {"price": "0.05 USD/kWh", "contract": {"price": "0.03 USD/kWh"}}}},
                               ["pricing.electricity.contract.share: found neither", "at least one of the two"]),
    "a battery that loses all": ({"facility": {"battery": {"energy": "1 kWh", "power": "1 kW", "efficiency": 0}}},
                                 ["facility.battery.efficiency: found 0", "at least 0.01 and at most 1"]),
    "an event set and at random": ({"facility": {"curtailment": [{"at": "1 h", "rate": "1 per day", "duration": "1 h"}]}},
                                   ["facility.curtailment.0.at: found both or none of 'at' and 'rate'"]),
    "an event at no time": ({"facility": {"curtailment": [{"duration": "1 h"}]}}, ["curtailment.0.at: found both or none"]),
    "a cap in energy": ({"facility": {"power_cap": "1 MWh"}}, ["facility.power_cap: found '1 MWh'", "'700 W'"]),
    "more than all under contract": (
        {"pricing": {"electricity": {**PRICED, "contract": {"price": "0.1 USD/kWh", "share": 1.5}}}},
        ["contract.share: found 1.5", "at most 1"]),
    "more than all offset": ({"carbon": {"offsets": {"share": 1.2, "price": "1 USD/tCO2e"}}}, ["offsets.share: found 1.2"]),
    "a boiling day": ({"facility": {"temperature": "200 degC"}}, ["facility.temperature: found '200 degC'", "at most 80"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_section_says_where_what_and_what_is_allowed(case: str) -> None:
    changes, words = BAD[case]
    with pytest.raises(UserError) as caught:
        scenario(**changes)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tariff_without_any_price_says_so_when_it_runs() -> None:
    with pytest.raises(UserError, match=r"pricing.electricity.price: a scenario without a site has no price"):
        Trials(scenario(facility={"site": None}, pricing={"electricity": {}}))


def test_all_of_it_reads_back_from_what_it_writes() -> None:
    from tests.simulator.test_orders import ALL

    made = thirty_hours(**ALL)
    assert load(made.to_file()) == made


# Money.


def test_rent_includes_electricity_and_a_tariff_is_paid_on_top() -> None:
    rented, metered = row_of(pricing={"electricity": None}), row_of()
    assert rented["cost_electricity_usd"] == 0.0
    assert metered["cost_electricity_usd"] == pytest.approx(metered["energy_j"] / KWH_J * 0.05)
    assert metered["cost_usd"] - rented["cost_usd"] == pytest.approx(metered["cost_electricity_usd"])


def test_a_tariff_by_the_hour_by_hand() -> None:
    """Six of thirty hours are dear."""
    result = run(pricing={"electricity": {"price": by_hour("0.05 USD/kWh", "14-20", "0.2 USD/kWh")}})
    usd = (0.05 * result.row["energy_j"] + 0.15 * 6 * HOUR * steady_w(result)) / KWH_J
    assert result.row["cost_electricity_usd"] == pytest.approx(usd, rel=1e-9)


def test_a_negative_price_is_earned() -> None:
    row = row_of(pricing={"electricity": {"price": "-0.01 USD/kWh"}})
    assert row["cost_electricity_usd"] == pytest.approx(-0.01 * row["energy_j"] / KWH_J)


def test_a_demand_charge_on_a_constant_load_is_charge_times_watts_times_time() -> None:
    result = run(pricing={"electricity": {**PRICED, "demand_charge": "10 USD/kW/month"}})
    months = result.row["time_s"] / MONTH_S
    assert result.row["cost_demand_charge_usd"] == pytest.approx(10.0 * steady_w(result) / 1e3 * months, rel=1e-3)


def test_each_month_has_a_peak_of_its_own() -> None:
    """A rule slows the run from midnight on, with which the second month begins."""
    policy = [{"price_above": "0.1 USD/kWh", "action": "slow", "to": 0.6}]
    result = run(calendar={"start": "2024-06-30T12:00"}, policies=policy, pricing={"electricity": {
        "price": {"tariff": {"base": "0.2 USD/kWh", "periods": [{"months": "6-6", "price": "0.05 USD/kWh"}]}},
        "demand_charge": "10 USD/kW/month"}})
    power_w = result.bill.load_j / np.maximum(result.bill.seconds, 1.0)
    assert power_w[15] < 0.61 * power_w[5]
    usd = 10.0 / 1e3 / MONTH_S * (power_w[5] * 12 * HOUR + power_w[15] * (result.row["time_s"] - 12 * HOUR))
    assert result.row["cost_demand_charge_usd"] == pytest.approx(usd, rel=1e-6)


def test_a_contract_on_a_share_by_hand() -> None:
    row = row_of(pricing={"electricity": {**PRICED, "contract": {"share": 0.6, "price": "0.03 USD/kWh"}}})
    kwh = row["supply_grid_j"] / KWH_J
    assert row["cost_power_purchase_usd"] == pytest.approx(0.6 * 0.03 * kwh)
    assert row["cost_electricity_usd"] == pytest.approx(0.4 * 0.05 * kwh)


def test_what_a_plant_makes_beyond_the_load_is_sold_at_the_market() -> None:
    """100 kW paid as produced, of which less than half is used: the market pays for the rest."""
    row = row_of(pricing={"electricity": {**PRICED, "contract": {"profile": "100 kW", "price": "0.03 USD/kWh"}}})
    made_kwh, used_kwh = 100.0 * row["time_s"] / HOUR, row["supply_grid_j"] / KWH_J
    assert row["cost_power_purchase_usd"] == pytest.approx(0.03 * made_kwh)
    assert row["cost_electricity_usd"] == pytest.approx(0.05 * (used_kwh - made_kwh))
    assert row["cost_electricity_usd"] < 0.0


def test_solar_on_site_beyond_the_load_is_sent_out() -> None:
    row = row_of(facility={"solar": "80 kW", "wind": "20 kW", "onsite_cost": "2 USD/h"},
                 pricing={"electricity": {**PRICED, "export_price": "0.02 USD/kWh"}})
    out_kwh = 100.0 * row["time_s"] / HOUR - row["energy_j"] / KWH_J
    assert row["supply_grid_j"] == row["cost_electricity_usd"] == row["carbon_operational_kg"] == 0.0
    assert row["exported_j"] / KWH_J == pytest.approx(out_kwh)
    assert row["cost_export_usd"] == pytest.approx(-0.02 * out_kwh)
    assert row["cost_onsite_usd"] == pytest.approx(2.0 * row["time_s"] / HOUR)
    assert row["supply_solar_j"] == pytest.approx(4 * row["supply_wind_j"])


def test_a_generator_by_hand() -> None:
    result = run(facility={"power_cap": "40 kW", "generator": {
        "power": "20 kW", "fuel": "0.3 USD/kWh", "carbon_intensity": "700 gCO2e/kWh"}})
    row, made_j = result.row, np.maximum(result.bill.load_j - 40e3 * result.bill.seconds, 0.0).sum()
    assert made_j > 0.1 * row["energy_j"]
    assert row["supply_generator_j"] == pytest.approx(made_j, rel=1e-9)
    assert row["cost_generator_usd"] == pytest.approx(0.3 * made_j / KWH_J)
    assert row["carbon_operational_kg"] == pytest.approx((0.7 * made_j + 0.4 * row["supply_grid_j"]) / KWH_J)
    assert row["carbon_market_kg"] == pytest.approx(row["carbon_operational_kg"])


def test_a_battery_moves_sun_into_the_night_at_a_loss() -> None:
    solar = by_hour("0 kW", "8-12", "80 kW")
    without = row_of(facility={"solar": solar})
    battery = {"energy": "50 kWh", "power": "30 kW", "efficiency": 0.9, "cost": "1 USD/h"}
    row = row_of(facility={"solar": solar, "battery": battery})
    assert row["energy_battery_j"] == pytest.approx((1 - 0.9**2) * 50 / 0.9 * KWH_J)  # filled once, and emptied
    assert without["supply_grid_j"] - row["supply_grid_j"] == pytest.approx(0.9 * 50 * KWH_J)
    assert without["exported_j"] - row["exported_j"] == pytest.approx(50 / 0.9 * KWH_J)
    assert row["cost_onsite_usd"] == pytest.approx(row["time_s"] / HOUR)


# Carbon.


@pytest.mark.parametrize("matching", ["annual", "hourly"])
def test_a_share_of_60_percent_leaves_40_percent_of_carbon_by_contract(matching: str) -> None:
    contract = {"share": 0.6, "price": "0.03 USD/kWh", "matching": matching}
    row = row_of(pricing={"electricity": {**PRICED, "contract": contract}})
    assert row["carbon_operational_kg"] == pytest.approx(0.4 * row["supply_grid_j"] / KWH_J)
    assert row["carbon_market_kg"] == pytest.approx(0.4 * row["carbon_operational_kg"])
    assert row["contract_share_hourly"] == pytest.approx(0.6)
    dirtier = row_of(pricing={"electricity": {**PRICED, "contract": contract}}, carbon={"residual": "500 gCO2e/kWh"})
    assert dirtier["carbon_operational_kg"] == pytest.approx(row["carbon_operational_kg"])
    assert dirtier["carbon_market_kg"] == pytest.approx(0.4 * 0.5 * row["supply_grid_j"] / KWH_J)


def test_a_plant_of_the_night_matches_a_year_but_not_its_hours() -> None:
    """Twice the load from 0 to 12 h: over the whole run it is more than all of it, by the hour 12 hours stay open."""
    made = {"profile": by_hour("0 kW", "0-12", "100 kW"), "price": "0.03 USD/kWh"}
    annual, hourly = (run(pricing={"electricity": {**PRICED, "contract": {**made, "matching": matching}}})
                      for matching in ("annual", "hourly"))
    assert annual.row["carbon_market_kg"] == pytest.approx(0.0, abs=1e-9)
    open_j = 12 * HOUR * steady_w(hourly)
    assert hourly.row["carbon_market_kg"] == pytest.approx(0.4 * open_j / KWH_J)
    for row in (annual.row, hourly.row):
        assert row["contract_share_hourly"] == pytest.approx(1.0 - open_j / row["supply_grid_j"])
        assert row["cost_usd"] == annual.row["cost_usd"]


@pytest.mark.parametrize("profile", ["20 kW", "80 kW", by_hour("0 kW", "6-18", "60 kW"), by_hour("30 kW", "6-18", "60 kW"),
                                     {"wind": {"capacity": "90 kW", "capacity_factor": 0.4, "seed": 2}}])
def test_by_the_hour_never_more_is_matched_than_over_the_run(profile: Any) -> None:
    annual, hourly = (row_of(pricing={"electricity": {**PRICED, "contract": {
        "profile": profile, "price": "0.03 USD/kWh", "matching": matching}}}) for matching in ("annual", "hourly"))
    assert hourly["carbon_market_kg"] >= annual["carbon_market_kg"] - 1e-9
    assert hourly["carbon_market_kg"] <= hourly["carbon_operational_kg"] + 1e-9
    if profile == "20 kW":  # never more than is used: both match the same
        assert hourly["carbon_market_kg"] == pytest.approx(annual["carbon_market_kg"])


def test_offsets_are_bought_and_never_netted() -> None:
    plain = row_of()
    row = row_of(carbon={"offsets": {"share": 0.5, "price": "20 USD/tCO2e"}})
    for name in ("carbon_kg", "carbon_operational_kg", "carbon_market_kg", "carbon_embodied_kg"):
        assert row[name] == plain[name]
    assert row["carbon_offsets_kg"] == pytest.approx(0.5 * row["carbon_operational_kg"])
    assert row["cost_usd"] - plain["cost_usd"] == pytest.approx(0.02 * row["carbon_offsets_kg"])


def test_embodied_carbon_is_spread_over_a_life_with_the_node() -> None:
    """Five nodes, spare included, for as long as the run takes."""
    bare, row = row_of(), row_of(carbon={"embodied_node": "1200 kgCO2e", "embodied_life": "4 years"})
    chip_kg = scenario().cluster.accelerator.embodied_kgco2e
    assert chip_kg is not None
    assert bare["carbon_embodied_kg"] == pytest.approx(40 * chip_kg * bare["time_s"] / (5 * YEAR_S))
    assert row["carbon_embodied_kg"] == pytest.approx((40 * chip_kg + 5 * 1200.0) * row["time_s"] / (4 * YEAR_S))
    assert row["carbon_kg"] == pytest.approx(row["carbon_operational_kg"] + row["carbon_embodied_kg"])


def test_unknown_carbon_leaves_energy_and_money_known() -> None:
    row = row_of(facility={"site": None})
    assert np.isnan(row["carbon_operational_kg"])
    assert np.isnan(row["carbon_market_kg"])
    assert row["carbon_kg"] == row["carbon_embodied_kg"] > 0.0  # what is known of it
    assert row["cost_usd"] == pytest.approx(row_of()["cost_usd"])


# Water and heat.


def test_water_on_site_is_of_it_energy_and_that_of_the_grid_of_what_comes_from_it() -> None:
    site = {"preset": "usa", "water": "0.4 L/kWh", "grid_water": "3 L/kWh"}
    row = row_of(facility={"site": site, "solar": "10 kW"})
    it_j = row["energy_j"] - row["energy_cooling_distribution_j"]
    assert row["water_site_l"] == pytest.approx(0.4 * it_j / KWH_J)
    assert row["water_grid_l"] == pytest.approx(3.0 * row["supply_grid_j"] / KWH_J)
    assert row["supply_grid_j"] < 0.85 * row["energy_j"]
    assert row["water_l"] == pytest.approx(row["water_site_l"] + row["water_grid_l"])


def test_overheads_of_a_building_at_half_its_load_by_hand() -> None:
    """Made for twice the IT power: 0.02 / L + 0.06 + 0.02 L at L = 1/2, and 0.4 % for each of ten warm degrees."""
    it_w = steady_w(run()) / 1.2
    for degrees, pue in ((15.0, 1.0 + 0.04 + 0.06 + 0.01), (30.0, 1.0 + 0.04 + 0.06 + 0.01 + 0.04)):
        result = run(facility={"pue": None, "overheads": {"it_capacity": f"{2 * it_w!r} W"}, "temperature": f"{degrees} degC"})
        assert steady_w(result) / it_w == pytest.approx(pue, rel=1e-9)


def test_a_building_is_made_for_what_its_nodes_are_rated_at() -> None:
    """At less than full load its PUE is above the 1.10 of full load, and below that of a quarter."""
    result = run(facility={"pue": None, "overheads": {}})
    row = result.row
    assert scenario(facility={"pue": None, "overheads": {}}).facility.effective_pue == pytest.approx(1.10)
    pue = row["energy_j"] / (row["energy_j"] - row["energy_cooling_distribution_j"])
    assert 1.10 < pue < 1.145

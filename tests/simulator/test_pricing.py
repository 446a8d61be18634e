"""The section `pricing`: rent in parts, presets, the year of dollars, and errors that say what is allowed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from simulator.accounting.capital import holding_of, terms_of
from simulator.accounting.dollars import CPI_U, dollar_factor, stated_in
from simulator.accounting.rates import prices
from simulator.catalog.pricing import YEAR_S
from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.scenario import Scenario, load_scenario, scenario_from_mapping
from tests.simulator.runs import BASE, rows


def build(pricing: Any, **top: Any) -> Scenario:
    return scenario_from_mapping({**BASE, **top, "pricing": pricing})


PARTS = {"parts": [{"share": 0.7, "price": "reserved_1y", "term": "1 year"}, {"share": 0.3, "price": "1 USD/h"}]}
FULL = {"owned": {"depreciation": "learning-curve", "age": "1 year", "cost_of_capital": "8 %/year", "staff": "3 M USD/year",
                  "space": "150 USD/kW/month", "maintenance": "5 %/year", "storage_capital": "2 M USD",
                  "electricity": "0.08 USD/kWh"},
        "storage": "0.02 USD/GB/month", "dataset": "20 TB", "egress": {"bytes": "10 TB", "price": "0.09 USD/GB"},
        "research_overhead": 1.5}


def test_parts_are_priced_by_share() -> None:
    s = build({"rental": PARTS})
    assert s.pricing.rental is not None
    assert s.pricing.rental.price_for(s.cluster.accelerator) * 3600.0 == pytest.approx(0.7 * 7.67 + 0.3 * 1.0)
    assert [r.term_s for r in holding_of(s).rents] == [YEAR_S, 0.0]


@pytest.mark.parametrize(("pricing", "words"), [
    ({"rental": {"parts": [{"share": 0.7}, {"share": 0.2}]}}, ["pricing.rental.parts", "0.7 + 0.2 = 0.9", "sum to 1"]),
    ({"rental": {"parts": [{"share": {"uniform": [0.1, 0.2]}}]}}, ["parts.0.share", "one number"]),
    ({"rental": {"price": "2 USD/h", "parts": [{"share": 1}]}}, ["pricing.rental.price", "'price' and 'parts'"]),
    ({"preset": "epoch-2042"}, ["pricing.preset", "did you mean 'epoch-2024'"]),
    ({"preset": "epoch-2024", "rental": {}}, ["'rental' and 'owned'"]),
    ({"owned": {"depreciation": "learning curve"}}, ["pricing.owned.depreciation", "did you mean 'learning-curve'"]),
    ({"owned": {"server_multiplier": {"amper": 1.6, "default": 1.5}}}, ["server_multiplier.amper", "did you mean 'ampere'"]),
    ({"owned": {"server_multiplier": {"ampere": 1.6}}}, ["server_multiplier", "entry 'default'"]),
    ({"owned": {"age": "since_release"}}, ["pricing.owned.age", "did you mean 'since-release'"]),
    ({"owned": {"staff": "3 M USD"}}, ["pricing.owned.staff", "'3 M USD/year'"]),
    ({"owned": {"residual_value": 1.2}}, ["pricing.owned.residual_value", "at most 1"]),
    ({"dataset": "1 TB"}, ["pricing.dataset", "0.02 USD/GB/month"]),
    ({"egress": {"bytes": "1 TB"}}, ["pricing.egress", "missing key 'price'", "0.09 USD/GB"]),
    ({"research_overhead": 0.5}, ["pricing.research_overhead", "at least 1"]),
])
def test_a_bad_price_says_what_is_allowed(pricing: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build(pricing)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(("pricing", "year", "words"), [
    ({"price_year": 2014, "dollars": 2023}, None, ["pricing.price_year", "2014", "2015 to 2025"]),
    ({"dollars": 2040}, 2024, ["pricing.dollars", "2040", "2015 to 2025"]),
    ({"dollars": 2023}, None, ["pricing.dollars", "pricing.price_year"]),
])
def test_an_unknown_year_of_dollars_is_refused(pricing: Any, year: int | None, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        terms_of(build(pricing, year=year))
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_dollars_of_the_same_year_are_the_same() -> None:
    assert dollar_factor(1950, 1950) == 1.0
    assert terms_of(build({"price_year": 2031, "dollars": 2031})).dollars == 1.0
    assert terms_of(build({}, year=2026)).dollars == 1.0


def test_dollars_go_there_and_back_and_inflate() -> None:
    for year in CPI_U:
        assert dollar_factor(year, 2023) * dollar_factor(2023, year) == pytest.approx(1.0, rel=1e-15)
    assert list(CPI_U.values()) == sorted(CPI_U.values())
    assert dollar_factor(2020, 2023) == pytest.approx(1.177, abs=1e-3)  # BLS inflation calculator, FROM MEMORY: 18 %


def test_results_state_the_year_of_their_dollars() -> None:
    asked = {"monte_carlo": {"trials": 2, "seed": 1}}
    assert run_study(build({"dollars": 2020}, year=2024, **asked)).summary()["dollars"] == 2020
    assert run_study(build({}, year=2024, **asked)).summary()["dollars"] == 2024
    assert run_study(build({}, **asked)).summary()["dollars"] is None
    assert stated_in(build({}, calendar=CALENDAR)) == 2024


def test_a_stated_year_scales_every_cost() -> None:
    (plain,), (scaled,) = rows(build(FULL, year=2024), 1), rows(build({**FULL, "dollars": 2020}, year=2024), 1)
    factor = dollar_factor(2024, 2020)
    money = [name for name in plain if name.endswith("_usd")]
    assert {"cost_usd", "cost_egress_usd", "cost_electricity_usd", "holding_staff_usd"} <= set(money)
    for name in plain:
        assert scaled[name] == pytest.approx(plain[name] * (factor if name in money else 1.0), rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("pricing", [{"rental": {"price": "2 USD/h"}}, {"rental": PARTS}, {"preset": "epoch-2024"}, FULL])
def test_rows_read_the_same_dollars_twice(pricing: Any) -> None:
    for row in rows(build(pricing, year=2024), 2):
        held = math.fsum(value for name, value in row.items() if name.startswith("holding_"))
        beside = [f"cost_{name}_usd" for name in ("electricity", "storage", "egress", "research_overhead")]
        categories = [v for name, v in row.items() if name.startswith("cost_") and name not in ("cost_usd", *beside)]
        assert math.fsum(categories) == pytest.approx(held, rel=1e-12)
        assert row["cost_usd"] == pytest.approx(held + math.fsum(row[name] for name in beside), rel=1e-12)
        assert held > 0.0


def test_a_term_of_a_year_is_paid_by_a_run_of_days() -> None:
    (row,) = rows(build({"rental": PARTS}), 1)
    s = build({"rental": PARTS})
    held = s.cluster.accelerators + s.cluster.spares * 8
    reserved_usd_per_s = 0.7 * 7.67 / 3600.0
    assert row["cost_unused_commitment_usd"] == pytest.approx(held * reserved_usd_per_s * (YEAR_S - row["time_s"]), rel=1e-9)


def test_egress_overhead_and_dataset() -> None:
    (row,) = rows(build(FULL, year=2024), 1)
    (bare,) = rows(build({**FULL, "dataset": None, "research_overhead": 1}, year=2024), 1)
    assert row["cost_egress_usd"] == pytest.approx(900.0)
    month_s = YEAR_S / 12.0
    assert row["cost_storage_usd"] - bare["cost_storage_usd"] == pytest.approx(20e3 * 0.02 * row["time_s"] / month_s, rel=1e-9)
    assert bare["cost_research_overhead_usd"] == 0.0
    compute = bare["cost_usd"] - bare["cost_storage_usd"] - bare["cost_egress_usd"]
    assert row["cost_research_overhead_usd"] == pytest.approx(0.5 * compute, rel=1e-12)


def test_the_preset_is_epochs_and_takes_changes() -> None:
    s = build({"preset": "epoch-2024", "owned": {"server_multiplier": 2.0, "age": "0 s"}}, year=2023)
    holding = holding_of(s)
    assert holding.learning
    assert holding.hardware_usd == pytest.approx(60000.0)
    assert holding.age_s == 0.0
    usual = holding_of(build("epoch-2024", year=2023))
    assert usual.hardware_usd == pytest.approx(30000.0 * 1.64)
    assert usual.age_s / YEAR_S == pytest.approx(2023.5 - (2022.0 + 262 / 365))
    assert prices(build("epoch-2024", year=2022))[1] * 3.6e6 == pytest.approx(0.0832)
    assert prices(build("epoch-2024", year=2035))[1] * 3.6e6 == pytest.approx(0.0826)  # the nearest year that is known
    a100 = {**BASE["cluster"], "accelerator": "a100-sxm-80gb"}
    assert holding_of(build("epoch-2024", cluster=a100)).hardware_usd == pytest.approx(17400.0 * 1.66)


def test_prices_of_a_search_are_the_rates_at_the_start() -> None:
    s = build(FULL, year=2024)
    assert prices(s)[0] == pytest.approx(sum(holding_of(s).usd_per_s().values()))
    assert prices(build({"rental": {"price": "2 USD/h"}})) == (pytest.approx(2.0 / 3600.0), 0.0)


def test_a_child_that_rents_drops_the_preset(tmp_path: Any) -> None:
    import yaml

    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**BASE, "pricing": {"preset": "epoch-2024"}}))
    (tmp_path / "child.yaml").write_text("extends: base.yaml\npricing: {rental: {price: 2 USD/h}}\n")
    child = load_scenario(tmp_path / "child.yaml")
    assert child.pricing.owned is None
    (tmp_path / "parts.yaml").write_text("extends: child.yaml\npricing: {rental: {parts: [{share: 1, price: spot}]}}\n")
    assert load_scenario(tmp_path / "parts.yaml").pricing.rental is not None


@pytest.mark.parametrize("pricing", [{"rental": PARTS}, "epoch-2024", FULL])
def test_a_resolved_file_reads_back(pricing: Any) -> None:
    s = build(pricing, year=2024)
    assert scenario_from_mapping(s.to_file()).pricing == s.pricing


HOURS = {"rows": "2024-03-30T00:00 1 2 3 4 5 6 7 8 9 10 11 12", "spacing": "6 h", "unit": "USD/h", "repeat": False}
CALENDAR = {"start": "2024-03-30T03:00", "time_zone": "Europe/Berlin"}


def spot(**changes: Any) -> Scenario:
    return build({"rental": {"parts": [{"share": 0.5, "price": HOURS}, {"share": 0.5, "price": "4 USD/h"}]}}, calendar=CALENDAR,
                 **changes)


def test_a_spot_series_is_integrated_over_the_calendar() -> None:
    # From 03:00 in steps of 6 h of the wall clock; the night of 30 March 2024 to 31 March loses an hour in Berlin.
    holding = holding_of(spot())
    hours = [3, 6, 6, 6, 5, 6]
    usd = sum(0.5 * price * h for price, h in zip(range(1, 7), hours, strict=True))
    assert holding.between(0.0, sum(hours) * 3600.0)["rent"] == pytest.approx(usd + 0.5 * 4.0 * sum(hours), rel=1e-12)
    assert holding.usd_per_s(3600.0)["rent"] * 3600.0 == pytest.approx(0.5 * 1.0 + 0.5 * 4.0)
    assert holding.usd_per_s(4 * 3600.0)["rent"] * 3600.0 == pytest.approx(0.5 * 2.0 + 0.5 * 4.0)


def test_a_constant_series_is_the_constant() -> None:
    flat = {"synthetic": {"mean": "2 USD/h"}}
    by_hour = build({"rental": {"price": flat}}, calendar=CALENDAR)
    (a,), (b,) = rows(by_hour, 1), rows(build({"rental": {"price": "2 USD/h"}}), 1)
    assert a["cost_usd"] == pytest.approx(b["cost_usd"], rel=1e-9)


def test_times_of_a_spot_series_add_up() -> None:
    holding = holding_of(spot())
    edges = [0.0, 1000.0, 3 * 3600.0, 50_000.0, 1e5, 2e5]
    parts = sum(holding.between(a, b)["rent"] for a, b in itertools.pairwise(edges))
    assert parts == pytest.approx(holding.between(0.0, 2e5)["rent"], rel=1e-12)


def test_a_series_needs_a_calendar_and_has_no_term() -> None:
    with pytest.raises(UserError, match="calendar"):
        build({"rental": {"price": HOURS}})
    with pytest.raises(UserError, match=r"pricing\.rental\.term.*one price"):
        build({"rental": {"price": HOURS, "term": "1 year"}}, calendar=CALENDAR)
    with pytest.raises(UserError, match=r"did you mean 'on_demand'"):
        build({"rental": {"price": "on-demand"}})


def test_the_calendar_dates_the_age_of_hardware() -> None:
    s = build("epoch-2024", calendar={"start": "2023-09-20"}, year=2030)
    assert holding_of(s).age_s / YEAR_S == pytest.approx(1.0)


def test_a_cluster_that_grows_pays_for_what_it_adds() -> None:
    cluster = {**BASE["cluster"], "growth": [{"at": "12 h", "accelerators": 64}]}
    for pricing in ({"rental": PARTS}, {"preset": "epoch-2024"}, {"rental": {"price": HOURS}}):
        s = build(pricing, year=2024, calendar=CALENDAR, cluster=cluster)
        (row,) = rows(s, 1)
        assert row["time_s"] > 12 * 3600.0
        held = math.fsum(value for name, value in row.items() if name.startswith("holding_"))
        beside = [f"cost_{name}_usd" for name in ("electricity", "storage", "egress", "research_overhead")]
        assert row["cost_usd"] == pytest.approx(held + math.fsum(row[name] for name in beside), rel=1e-12)
        small, large = holding_of(s), holding_of(build(pricing, year=2024, calendar=CALENDAR,
                                                       cluster={**BASE["cluster"], "accelerators": 64}))
        edge_s, end_s = 12 * 3600.0, row["time_s"]
        by_hand = 64 * sum(small.between(0.0, edge_s).values()) + 96 * sum(large.between(edge_s, end_s).values())
        by_hand += 64 * small.unused_usd(end_s) + 32 * large.unused_usd(end_s - edge_s)
        assert held == pytest.approx(by_hand, rel=1e-3)  # nodes join at the end of a step, not at the hour

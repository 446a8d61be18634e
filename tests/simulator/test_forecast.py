"""The forecast of frontier training: laws multiply, hold-outs see nothing later, ranges are honest, errors are clear."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from simulator import catalog
from simulator.accounting.capital import owned_holding
from simulator.catalog.growth import QUANTITIES, GrowthLaw
from simulator.cli import app
from simulator.errors import UserError
from simulator.fields import Distribution
from simulator.planning.backtest import QUESTIONS, backtest, error_summary
from simulator.planning.forecast import check_years, cluster_over_accelerators, forecast, run_at, year_below
from simulator.planning.frontier import FrontierRun, at_frontier, published_runs, run_named
from simulator.planning.growth import Anchors, Trends, accelerator_anchors, catalog_growth, known_before, read_laws
from simulator.scenario import Owned

# Laws without spread: every number of a forecast then follows by hand.
FIXED = """
compute: {quantity: compute, published: 2020, growth: 4, reference: 1e26 FLOP, year: 2025.5}
days: {quantity: duration, published: 2020, reference: 100 days}
money: {quantity: price_performance, published: 2020, growth: 1.4, reference: 50 GFLOP/s/USD, year: 2025.5}
watts: {quantity: efficiency, published: 2020, growth: 1.3, reference: 2 TFLOP/s/W, year: 2023.5}
chips: {quantity: peak, published: 2020, growth: 1.5, reference: 1000 TFLOP/s, year: 2023.5}
algorithms: {quantity: algorithms, published: 2020, growth: 2}
utilisation: {quantity: utilisation, published: 2020, reference: 0.4}
age: {quantity: age, published: 2020, reference: 2 years}
server: {quantity: server, published: 2020, reference: 1.8}
load: {quantity: load, published: 2020, reference: 0.7}
pue: {quantity: pue, published: 2020, reference: 1.1}
power: {quantity: electricity, published: 2020, growth: 1.02, reference: 0.08 USD/kWh, year: 2025.5}
carbon: {quantity: carbon, published: 2020, growth: 0.97, reference: 400 gCO2e/kWh, year: 2025.5}
rent: {quantity: rent, published: 2020, reference: 2}
"""


@pytest.fixture
def fixed(tmp_path: Path) -> dict[str, GrowthLaw]:
    file = tmp_path / "laws.yaml"
    file.write_text(FIXED)
    return read_laws(str(file))


def test_laws_without_spread_multiply(fixed: dict[str, GrowthLaw]) -> None:
    found = forecast(2025, 2027, trials=3, own=fixed)
    for year in found.years:
        n = year.year - 2025
        flop, seconds = 1e26 * 4.0**n, 100 * 86400.0
        rate = flop / 0.4 / seconds
        rated_w = rate / (2e12 * 1.3**n) * 1.8 * 1.1
        energy_j = rated_w * 0.7 * seconds
        decay = math.log(1.4) / (365.25 * 86400)
        value_usd = rate / (50e9 * 1.4**n) * 1.64 / 0.81
        hardware_usd = value_usd * (1.0 - math.exp(-decay * seconds))
        electricity_usd = energy_j / 3.6e6 * 0.08 * 1.02**n
        hand = {"flop": flop, "duration_s": seconds, "accelerators": rate / (1e15 * 1.5**n), "rated_w": rated_w,
                "power_w": 0.7 * rated_w, "energy_j": energy_j, "carbon_kg": energy_j / 3.6e6 * 0.4 * 0.97**n,
                "hardware_usd": hardware_usd, "electricity_usd": electricity_usd, "cost_usd": hardware_usd + electricity_usd,
                "rent_usd": 2.0 * value_usd * decay * seconds}
        assert set(hand) == set(year.results)
        for name, value in hand.items():
            assert year.results[name] == pytest.approx(np.full(3, value), rel=1e-9), name
        assert year.same["flop"] == pytest.approx(1e26 / 2.0**n)


def test_capital_is_that_of_an_owned_cluster_where_it_falls_as_new_hardware_gets_cheaper(fixed: dict[str, GrowthLaw]) -> None:
    """The `Holding` of a scenario, with the preset's decline: H100s bought at any age cost what the law says."""
    h100 = catalog.load("accelerators", "h100-sxm-80gb")
    owned = Owned.model_validate(catalog.raw("pricing", "epoch-2024")["owned"])
    age_years, wall_s, count = 1.5, 90 * 86400.0, 1000
    holding = owned_holding(owned.model_copy(update={"age_s": age_years * 365.25 * 86400}), h100, count, 0.0, None)
    usd = sum(holding.between(0.0, wall_s).values()) * count
    assert h100.price_usd is not None
    growth = 10.0**0.14
    new = h100.peak_flops["bf16"] / h100.price_usd * growth**age_years  # what new hardware offers by then
    law = GrowthLaw(quantity="price_performance", published=2020, growth=growth, reference=f"{new} FLOP/s/USD", year=2024.0)
    trends = Trends(known_before(2025.0, {**fixed, "price_performance": law}), 1, 1)
    flop = np.array([0.4 * h100.peak_flops["bf16"] * count * wall_s])
    assert run_at(trends, 2024.0, flop, np.array([wall_s]))["hardware_usd"][0] == pytest.approx(usd, rel=1e-9)
    assert cluster_over_accelerators() == pytest.approx(1.64 / 0.81)


@pytest.mark.parametrize("origin", [2022, 2025])
def test_frontier_grows_and_ranges_widen_with_the_horizon(origin: int) -> None:
    years = forecast(origin, origin + 6, trials=2000).years
    for name in ("flop", "cost_usd", "rated_w", "energy_j", "carbon_kg"):
        p5, p50, p95 = np.quantile([year.results[name] for year in years], (0.05, 0.5, 0.95), axis=1)
        assert (np.diff(p50) > 0).all()
        assert (np.diff(np.log(p95 / p5)[1:]) > 0).all(), name
    same = np.array([np.median(year.same["cost_usd"]) for year in years])
    assert (np.diff(same) < 0).all()


def test_same_seed_same_numbers_and_more_trials_go_on() -> None:
    first, again, more, other = (forecast(2025, 2026, trials=n, seed=s) for n, s in ((200, 7), (200, 7), (300, 7), (200, 8)))
    for name, values in first.years[1].results.items():
        assert np.array_equal(values, again.years[1].results[name])
        assert np.array_equal(values, more.years[1].results[name][:200])
        assert not np.array_equal(values, other.years[1].results[name])


def _moved(runs: tuple[FrontierRun, ...], after: float) -> list[FrontierRun]:
    return [run if run.year < after else run._replace(flop=100 * run.flop, duration_s=1e6, cost_usd=1.0) for run in runs]


def test_a_forecast_does_not_see_later_runs_laws_or_accelerators() -> None:
    runs = published_runs()
    known = forecast(2022, 2026, trials=200)
    moved = forecast(2022, 2026, trials=200, runs=_moved(runs, 2023.0))
    earlier = forecast(2022, 2026, trials=200, runs=_moved(runs, 2022.0))
    for a, b, c in zip(known.years, moved.years, earlier.years, strict=True):
        assert all(np.array_equal(a.results[name], b.results[name]) for name in a.results)
        assert not np.array_equal(a.results["flop"], c.results["flop"])
    k = known.knowledge
    assert all(law.published <= 2022 for quantity, law in k.laws.items() if quantity not in k.hindsight)
    assert all(k.laws[quantity].published > 2022 for quantity in k.hindsight)
    assert all(anchors.years.max() < 2023.0 for anchors in k.anchors.values())
    assert "GPT-4" not in k.anchors["compute"].names and "B200" not in str(k.anchors["peak"].names).upper()


def test_no_run_is_an_anchor_of_its_own_prediction() -> None:
    """Rolling backtest: the row itself and all after it may change, its prediction does not."""
    runs = published_runs()
    gpt4 = run_named("gpt-4", runs)
    plain, moved = (backtest(trials=200, runs=these) for these in (runs, _moved(runs, gpt4.year)))

    def mine(rows: list, question: str) -> dict[str, float]:
        return {p.quantity: p.p50 for p in rows if p.run == "GPT-4" and p.question == question}

    assert mine(plain, "frontier") == mine(moved, "frontier") != {}
    assert mine(plain, "its FLOP")["cost_usd"] != mine(moved, "its FLOP")["cost_usd"]  # there its FLOP are an input


def test_backtest_counts_rows_and_their_errors() -> None:
    rows = backtest(2022, trials=2000)
    assert {p.run for p in rows} >= {"GPT-4", "Gemini 1.0 Ultra", "Llama 3.1-405B", "Grok-3"}
    assert all(p.year >= 2023.0 and p.p5 < p.p50 < p.p95 for p in rows)
    for line in error_summary(rows):
        group = [p for p in rows if p.question == line["question"] and line["quantity"] in (p.quantity, "all")]
        assert line["rows"] == len(group)
        assert line["within"]["probability"] == sum(p.p5 <= p.published <= p.p95 for p in group) / len(group)
        assert line["factor"] == pytest.approx(math.exp(np.median([abs(math.log(p.p50 / p.published)) for p in group])))
    hardware = next(line for line in error_summary(rows) if line["question"] == QUESTIONS[1] and line["quantity"] == "all")
    assert hardware["factor"] < 2.0  # given its FLOP, a typical row is predicted to a factor of two


def test_frontier_is_judged_by_what_came_before() -> None:
    names = [run.name for run in at_frontier(published_runs())]
    assert {"GPT-3 175B", "PaLM 540B", "GPT-4", "Llama 3.1-405B", "Grok-3"} <= set(names)
    assert not {"OPT-175B", "BLOOM-176B", "Llama 2-70B", "DeepSeek-V3"} & set(names)
    earlier = [run for run in published_runs() if run.year < 2023.0]
    assert [run.name for run in at_frontier(earlier)] == names[: len(at_frontier(earlier))]


def test_scatter_is_that_of_a_new_value_of_a_normal_sample() -> None:
    """With the growth known, 90 % ranges of Student's t hold 90 % of new values."""
    rng, years, hits = np.random.default_rng(3), np.arange(2015.0, 2023.0), 0
    law = GrowthLaw(quantity="compute", published=2020, growth=3.0)
    for _ in range(400):
        values = np.exp(math.log(3.0) * (np.append(years, 2026.0) - 2000.0) + 0.8 * rng.standard_normal(9))
        known = known_before(2023.0, {"compute": law})
        known.anchors["compute"] = Anchors(("x",) * 8, years, values[:8])
        low, high = np.quantile(Trends(known, 500, 1).value("compute", 2026.0), (0.05, 0.95))
        hits += low <= values[8] <= high
    assert 0.86 < hits / 400 < 0.94


def test_growth_of_the_catalog_is_a_robust_slope() -> None:
    years = np.arange(2015.0, 2024.0)
    values = 1e10 * 1.3 ** (years - 2015.0)
    assert catalog_growth(Anchors(("x",) * 9, years, values)) == pytest.approx((1.3, 1.3, 1.3))
    values[4] *= 50.0  # one odd price
    assert catalog_growth(Anchors(("x",) * 9, years, values))[0] == pytest.approx(1.3, rel=0.02)
    for anchors in accelerator_anchors().values():
        growth, low, high = catalog_growth(anchors)
        assert 1.0 < low < growth < high < 2.0


def test_every_quantity_has_laws_with_growth_that_can_be() -> None:
    laws = [catalog.load("growth", name) for name in catalog.names("growth")]
    assert {law.quantity for law in laws} == set(QUANTITIES)
    for law in laws:
        if law.quantity == "price_performance":
            assert not isinstance(law.growth, Distribution) or law.growth.support()[0] >= 1.0


def test_rent_over_capital_of_the_law_is_that_of_the_catalog() -> None:
    ratios = []
    for name in ("v100-sxm2-32gb", "a100-sxm-40gb", "h100-sxm-80gb"):
        a = catalog.load("accelerators", name)
        assert a.price_usd is not None and a.reserved_3y_usd_per_accelerator_s is not None
        capital = a.price_usd * cluster_over_accelerators() * 0.14 * math.log(10.0) / (365.25 * 86400)
        ratios.append(a.reserved_3y_usd_per_accelerator_s / capital)
    low, high = catalog.load("growth", "rent-2024").reference.support()
    assert low == pytest.approx(min(ratios), abs=0.05) and high == pytest.approx(max(ratios), abs=0.05)


def test_costs_of_published_runs_are_those_of_the_validation() -> None:
    from simulator.validation.cost import cost_runs

    theirs = {run.run: run.published_usd or run.updated_usd for run in cost_runs()}
    mine = {run.name: run.cost_usd for run in published_runs() if run.cost_usd is not None and run.name != "DeepSeek-V3"}
    assert mine == pytest.approx({name: theirs[name] for name in mine})


def test_a_class_of_run_gets_cheap_when_cost_crosses_the_budget(fixed: dict[str, GrowthLaw]) -> None:
    trends = Trends(known_before(2026.0, fixed), 2, 1)
    run = run_named("GPT-3 175B", published_runs())
    seconds = np.full(2, run.duration_s)
    year = float(year_below(trends, run, 1000.0)[0])
    assert year > 2026.0
    at = {when: run_at(trends, when, run.flop * trends.growth("algorithms") ** (run.year - when), seconds)["cost_usd"][0]
          for when in (year, year - 0.25)}
    assert at[year] < 1000.0 <= at[year - 0.25]
    assert np.isinf(year_below(trends, run, 1e-30)).all()


@pytest.mark.parametrize(("text", "words"), [
    ("x: {quantity: compte, published: 2024}", ["laws.yaml:1", "compte", "did you mean 'compute'"]),
    ("x: {quantity: compute, published: 2024, growht: 3}", ["laws.yaml:1", "growht", "did you mean 'growth'"]),
    ("x: {quantity: compute, published: 2024, growth: -3}", ["growth", "found -3", "more than 0 and at most 100"]),
    ("x: {quantity: price_performance, published: 2024, growth: 0.9}", ["growth", "found 0.9", "more than 1"]),
    ("x: {quantity: compute, published: 1800}", ["published", "1800", "1950 to 2100"]),
    ("x: {quantity: compute}", ["missing key 'published'"]),
    ("x: {quantity: carbon, published: 2024}", ["missing key 'reference'"]),
    ("x: {quantity: compute, published: 2024, growth: 3, reference: 1e26 FLOP}", ["missing key 'year'"]),
    ("x: {quantity: compute, published: 2024, reference: 100 MWh, year: 2024}", ["reference", "100 MWh", "3.8e25 FLOP"]),
    ("x: {quantity: algorithms, published: 2024, reference: 3, year: 2024}", ["reference", "growth alone"]),
    ("x: {quantity: pue, published: 2024, reference: {uniform: [0.8, 1.2]}}", ["reference", "0.8"]),
    ("x: {quantity: rent, published: 2024, reference: 2}\ny: {quantity: rent, published: 2024, reference: 3}", ["second law"]),
    ("x: 3", ["laws.yaml:1", "found 3"]),
])
def test_a_wrong_law_is_refused_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "laws.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_laws(str(file))
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_a_law_of_the_catalog_form_reads_back() -> None:
    with pytest.raises(ValidationError):
        GrowthLaw(quantity="compute", published=2024, growth="fast")
    law = catalog.load("growth", "electricity-2025")
    assert GrowthLaw.model_validate(law.to_file()) == law


@pytest.mark.parametrize(("origin", "until", "word"), [(2010, 2030, "2020 to 2025"), (2031, 2040, "2020 to 2025"),
                                                       (2024, 2024, "2025 to 2050"), (2025, 2300, "2026 to 2050")])
def test_bad_years_are_refused(origin: int, until: int, word: str) -> None:
    with pytest.raises(UserError, match=word):
        check_years(origin, until)


def test_too_few_runs_known_is_an_error_and_no_prediction() -> None:
    runs = [run for run in published_runs() if run.year > 2020.0][:2]
    with pytest.raises(UserError, match="compute is known of 2 runs"):
        forecast(2020, 2022, trials=100, runs=runs)
    assert not [p for p in backtest(trials=100, runs=runs) if p.question == "frontier"]


def test_command_prints_tables_json_and_a_picture(tmp_path: Path, fixed: dict[str, GrowthLaw]) -> None:
    picture = tmp_path / "forecast.png"
    shown = CliRunner().invoke(app, ["forecast", "--from", "2022", "--until", "2024", "--trials", "200", "--backtest",
                                     "--budget", "10 k USD", "--plot", str(picture)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "Grok-3, USD" in shown.output and "GPT-3 175B could do costs less than 10 k USD" in shown.output
    assert picture.stat().st_size > 10_000
    laws = tmp_path / "laws.yaml"
    found = CliRunner().invoke(app, ["forecast", "--until", "2026", "--law", str(laws), "--trials", "100", "--json"])
    data = json.loads(found.stdout)
    assert [year["year"] for year in data["years"]] == [2025, 2026]
    assert data["years"][1]["flop"] == pytest.approx({"p5": 4e26, "p50": 4e26, "p95": 4e26})
    assert data["laws"]["compute"]["reference"].endswith("FLOP")


@pytest.mark.parametrize(("arguments", "word"), [
    (["--from", "1999"], "allowed: 2020 to 2025"), (["--budget", "cheap"], "--budget"),
    (["--budget", "-5 USD"], "more than 0 USD"), (["--law", "none.yaml"], "no such file"),
    (["--run", "GPT-33"], "did you mean"), (["--plot", "x.doc"], ".png")])
def test_command_refuses_what_makes_no_sense(arguments: list[str], word: str) -> None:
    found = CliRunner().invoke(app, ["forecast", *arguments])
    assert isinstance(found.exception, UserError) and word in str(found.exception)

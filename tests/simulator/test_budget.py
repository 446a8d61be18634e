"""Money to a model: what is chosen costs the budget, more money is never worse, serving makes models smaller."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator as cc
from simulator.cli.afford import plan_budget, plan_deadline, read_money
from simulator.errors import UserError
from simulator.planning.budget import Choice, afford, choose, spread_of
from simulator.planning.costs import Costs
from simulator.planning.deadline import plan_for_deadline, sizes
from simulator.planning.scaling import compute_optimal, loss, read_law
from simulator.planning.served import Serving, served, serving_price
from simulator.scenario import Scenario
from tests.simulator.runs import scenario

LAW = read_law("chinchilla-refit-2024")


def _cheap(**sections: Any) -> Scenario:
    return scenario(training={"layout": "auto", "tokens": "20 B"}, monte_carlo={"trials": 50}, **sections)


@lru_cache(maxsize=1)
def _costs() -> Costs:
    return Costs(_cheap())


@lru_cache(maxsize=16)
def _choice(usd: float) -> Choice:
    return choose(_costs(), LAW, usd, trials=30)


def test_the_chosen_run_costs_the_budget_and_its_file_runs_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _cheap(pricing={"rental": {"price": {"triangular": ["2 USD/h", "2.5 USD/h", "4 USD/h"]}}})
    plan_budget(found, "5k USD", output=tmp_path / "chosen.yaml", as_json=True)
    answer = json.loads(capsys.readouterr().out)
    study = cc.run(tmp_path / "chosen.yaml", trials=200)
    assert study.column("cost_usd").mean() == pytest.approx(5000.0, rel=0.01)
    best = answer["choices"][0]
    assert study.scenario.training.tokens == best["tokens"]
    assert best["training_usd"] == pytest.approx(5000.0, rel=0.005)
    low, middle, high = answer["chosen"]["cost_usd_p5_p50_p95"]
    assert low < 5000.0 * 0.9 < middle < 5000.0 * 1.1 < high
    tokens = answer["range_p5_p50_p95"]["tokens"]
    assert tokens[0] < 0.95 * tokens[2]  # a dear year buys less


def test_more_money_never_buys_a_smaller_model_or_a_higher_loss() -> None:
    found = [_choice(usd) for usd in (1000.0, 2000.0, 4000.0, 8000.0, 64000.0)]
    for less, more in pairwise(found):
        assert more.parameters >= less.parameters
        assert more.loss < less.loss
        assert more.training_usd > less.training_usd


def test_no_neighbour_is_better_for_the_same_money() -> None:
    choice = _choice(4000.0)
    for i in (choice.index - 1, choice.index + 1):
        tokens = choice.tokens  # brought to the budget by bisection over simulated runs, apart from how `choose` does it
        low, high = tokens / 10.0, tokens * 10.0
        for _ in range(30):
            tokens = (low * high) ** 0.5
            low, high = (tokens, high) if _costs().mean_usd(i, tokens) < choice.training_usd else (low, tokens)
        assert float(loss(LAW, _costs().parameters[i], tokens)) > choice.loss - 1e-3


def test_the_choice_is_near_the_closed_form_at_the_cost_of_a_flop_that_it_reached() -> None:
    choice = _choice(8000.0)
    n, d = compute_optimal(LAW, 6.0 * choice.parameters * choice.tokens)
    assert choice.parameters == pytest.approx(n, rel=0.6)  # sizes on which the cluster is efficient win; the loss is flat
    assert choice.loss == pytest.approx(float(loss(LAW, n, d)), rel=0.01)


def test_doubling_prices_and_money_changes_nothing() -> None:
    double = Costs(_cheap(pricing={"rental": {"price": "4 USD/h"}}))
    once, twice = _choice(4000.0), choose(double, LAW, 8000.0, trials=30)
    assert twice.parameters == once.parameters
    assert twice.tokens == pytest.approx(once.tokens, rel=0.01)


def test_failures_leave_less_for_tokens() -> None:
    calm = choose(Costs(_cheap(failures={"components": []})), LAW, 4000.0, trials=30)
    assert calm.loss < _choice(4000.0).loss


def test_too_little_money_says_what_would_do() -> None:
    with pytest.raises(UserError, match=r"--budget: found 0\.05 USD; allowed: about [\d.]+ USD or more") as error:
        _choice(0.05)
    least = float(str(error.value).split("about ")[1].split(" USD")[0].replace(",", ""))
    assert choose(_costs(), LAW, 1.05 * least, trials=10).parameters < 3.0 * _costs().parameters[0]
    with pytest.raises(UserError, match="allowed: about"):
        _choice(0.9 * least)


def test_a_served_model_is_smaller_and_costs_less_in_all() -> None:
    choice = _choice(4000.0)
    price = serving_price(_costs().central)
    assert price == pytest.approx(2.0 / (0.2 * 989.5e12) * 2.0 / 3600.0)
    few, many = (served(_costs(), LAW, choice, 4000.0, Serving(tokens, price, True), trials=30) for tokens in (1e9, 1e12))
    assert few.same_loss.total_usd <= few.optimal.total_usd * 1.01
    assert many.same_loss.parameters < few.same_loss.parameters
    assert many.same_loss.loss == pytest.approx(choice.loss, abs=1e-3)
    assert many.same_loss.total_usd < 0.9 * many.optimal.total_usd
    assert few.within_budget is not None
    assert few.within_budget.total_usd == pytest.approx(4000.0, rel=0.01)
    assert few.within_budget.loss >= choice.loss - 1e-3


def test_shares_of_a_years_money() -> None:
    choice = _choice(4000.0)
    found = afford(_costs(), LAW, choice, 40000.0)
    assert found.share == pytest.approx(0.1, rel=0.01)
    assert found.runs_by_money == pytest.approx(10.0, rel=0.01)
    assert found.runs_by_time == pytest.approx(365.25 * 86400.0 / choice.mean("time_s"))
    models = dict(found.models)
    assert models[0.1] is not None
    assert models[1.0] is not None
    assert models[0.1].parameters == choice.parameters
    assert models[1.0].loss < choice.loss
    assert afford(_costs(), LAW, choice, 5.0, (0.01,)).models == ((0.01, None),)


def test_an_uncertain_law_widens_the_range_of_sizes() -> None:
    wide = LAW.model_copy(update={"alpha": type(LAW).model_validate(
        {"E": 1.8, "A": 480, "B": 2085, "beta": 0.36, "alpha": {"uniform": [0.30, 0.40]}}).alpha})
    choice = _choice(4000.0)
    sure, unsure = (spread_of(_costs(), law, choice, 4000.0) for law in (LAW, wide))
    assert unsure.parameters[2] / unsure.parameters[0] > 2.0 * sure.parameters[2] / sure.parameters[0]


@pytest.mark.parametrize(("text", "usd"), [("5M", 5e6), ("5 M USD", 5e6), ("5M USD", 5e6), ("$250k", 2.5e5), ("1200", 1200.0),
                                           ("20M USD/year", 2e7), ("1.5B", 1.5e9)])
def test_money_is_read_with_and_without_its_unit(text: str, usd: float) -> None:
    assert read_money(text, "--budget") == usd


@pytest.mark.parametrize("text", ["", "0", "-5M", "5 EUR", "5M tokens", "five", "nan", "inf", "1e999"])
def test_money_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--budget: found .*; allowed: an amount of US dollars"):
        read_money(text, "--budget")


def test_serving_needs_tokens_and_files_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--serving-price: found no --tokens-served"):
        plan_budget(_cheap(), "5k", serving_price="0.01")
    with pytest.raises(UserError, match="there is no folder"):
        plan_budget(_cheap(), "5k", output=tmp_path / "none" / "chosen.yaml")


# ---- deadline


def test_the_smallest_that_meets_a_deadline_is_found_as_by_trying_all() -> None:
    found = _cheap()
    choice = plan_for_deadline(found, 4.0 * 3600.0, trials=40)
    n = choice.smallest.fit.accelerators
    assert choice.smallest.chance["probability"] >= 0.9
    assert n % 8 == 0
    assert found.training.batch_schedule[0].batch // 2048 % choice.smallest.fit.layout.data == 0
    from simulator.planning.deadline import _run, fit

    for fewer in range(8, n, 8):
        one = fit(found.central(), fewer)
        assert one is None or _run(found, one, 4.0 * 3600.0, 0.9, 40, 1).chance["probability"] < 0.9, fewer
    assert choice.cheapest.mean("cost_usd") <= choice.smallest.mean("cost_usd")


def test_a_later_deadline_needs_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needed = []
    for hours in (3, 6, 12):
        plan_deadline(_cheap(), f"{hours} h", trials=20, output=tmp_path / "d.yaml", as_json=True)
        answer = json.loads(capsys.readouterr().out)
        needed.append(answer["smallest"])
        study = cc.run(tmp_path / "d.yaml", trials=20)
        assert study.scenario.cluster.accelerators == answer["smallest"]
        assert float((study.column("time_s") <= hours * 3600.0).mean()) >= 0.9
    assert needed == sorted(needed, reverse=True)


def test_a_deadline_that_none_meets_says_what_could_be_met() -> None:
    with pytest.raises(UserError, match=r"--deadline: found .* days; allowed: about .* days or more"):
        plan_for_deadline(_cheap(failures={"components": []}), 60.0, trials=5)
    with pytest.raises(UserError, match="--chance: found 1; allowed"):
        plan_deadline(_cheap(), "1 day", chance=1.0)
    with pytest.raises(UserError, match="--deadline: found '5 USD'"):
        plan_deadline(_cheap(), "5 USD")


def test_sizes_are_whole_nodes_about_two_percent_apart() -> None:
    found = np.array(sizes(8, 8.0, 100_000.0))
    assert (found % 8 == 0).all()
    assert found[:40].tolist() == list(range(8, 328, 8))
    assert (found[1:] / found[:-1])[50:].max() < 1.045
    assert {8, 1024, 4096, 16384, 65536} <= set(found.tolist())


def test_a_cluster_that_grows_has_no_one_size() -> None:
    grows = _cheap(cluster={"growth": [{"at": "1 h", "accelerators": 64}]})
    with pytest.raises(UserError, match=r"--budget: found cluster\.growth"):
        Costs(grows)
    with pytest.raises(UserError, match=r"--deadline: found cluster\.growth"):
        plan_for_deadline(grows, 3600.0)

"""Sensitivity: Sobol indices of known functions, tornados in closed form, and what is said of them."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.cluster.trial import RunDoesNotFinish
from simulator.errors import UserError
from simulator.montecarlo.trials import Trials
from simulator.montecarlo.variance import variance_shares
from simulator.planning.sensitivity import LUCK, Sensitivity, advice, runs_of, sensitivity
from simulator.planning.sobol import Indices, sobol_indices
from simulator.report.plots.drivers import quantity
from simulator.report.sensitivity import sensitivity_json, sensitivity_view, tornado_figure
from tests.simulator.runs import scenario

LLAMA = str(Path(__file__).parents[2] / "scenarios/llama3-405b.yaml")
PRICE, PUE = "pricing.rental.price", "facility.pue"
PRICES: dict[str, Any] = {"rental": {"price": {"uniform": ["2 USD/h", "4 USD/h"]}}}
PUES: dict[str, Any] = {"pue": {"triangular": [1.05, 1.1, 1.4]}}
FAILS: dict[str, Any] = {"components": [{"name": "node", "rate": "4000 per 1000 days", "kind": "hardware"}],
                         "recovery": {"detection": "5 min", "replacement": "1 min", "initialisation": "2 min", "repair": "6 h"}}
SPARES = {"spares": 16}  # enough not to wait for repair
BOTH = scenario(pricing=PRICES, facility=PUES, failures=FAILS, cluster=SPARES)


def ishigami(points: np.ndarray) -> np.ndarray:
    """Return sin x1 + 7 sin^2 x2 + 0.1 x3^4 sin x1 with x uniform in (-pi, pi), shape (rows, 1)."""
    x1, x2, x3 = (np.pi * (2.0 * points - 1.0)).T
    return (np.sin(x1) + 7.0 * np.sin(x2) ** 2 + 0.1 * x3**4 * np.sin(x1))[:, None]


def linear(points: np.ndarray) -> np.ndarray:
    return (points @ np.array([3.0, 1.0, 2.0]) + 100.0)[:, None]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_indices_of_the_ishigami_function_are_within_two_hundredths(seed: int) -> None:
    """Closed form: Ishigami and Homma (1990), with a = 7, b = 0.1."""
    a, b = 7.0, 0.1
    one, two, cross = (1.0 + b * math.pi**4 / 5.0) ** 2 / 2.0, a**2 / 8.0, b**2 * math.pi**8 * (1.0 / 18.0 - 1.0 / 50.0)
    variance = one + two + cross
    (found,) = sobol_indices(ishigami, ("x1", "x2", "x3"), 4096, seed)
    np.testing.assert_allclose(found.first, [one / variance, two / variance, 0.0], atol=0.02)
    np.testing.assert_allclose(found.total, [(one + cross) / variance, two / variance, cross / variance], atol=0.02)
    assert found.mean == pytest.approx(a / 2.0, abs=0.02)
    assert found.std == pytest.approx(math.sqrt(variance), rel=0.01)
    assert (found.first_half > 0.0).all() and (found.first_half < 0.05).all()


def test_shares_of_a_sum_add_up_and_a_group_has_those_of_its_members() -> None:
    (apart,) = sobol_indices(linear, ("a", "b", "c"), 1024, 1)
    np.testing.assert_allclose(apart.first, np.array([9.0, 1.0, 4.0]) / 14.0, atol=0.01)
    np.testing.assert_allclose(apart.total, apart.first, atol=0.02)
    assert apart.first.sum() == pytest.approx(1.0, abs=0.01)
    (together,) = sobol_indices(linear, ("a", "b", "c"), 1024, 1, groups=("a + c", "b", "a + c"))
    assert together.names == ("a + c", "b")
    np.testing.assert_allclose(together.first, np.array([13.0, 1.0]) / 14.0, atol=0.01)


def test_what_does_not_vary_or_is_not_known_has_no_indices() -> None:
    flat, unknown = sobol_indices(lambda points: np.column_stack([np.full(len(points), 1e9 / 3.0), np.full(len(points), np.nan)]),
                                  ("a", "b"), 16, 1)
    assert not flat.varies and not unknown.varies
    assert "does not vary" in advice("x", flat)
    assert "not known" in advice("x", unknown)


@pytest.mark.parametrize(("samples", "message"), [
    (100, "64 or 128"), (0, "from 16 to 65,536"), (8, "from 16"), (-5, "from 16"), (2**17, "65,536")])
def test_base_points_are_a_power_of_two(samples: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sensitivity(BOTH, samples=samples)


def found_of(s: Any = BOTH, columns: tuple[str, ...] = ("cost_usd", "time_s", "energy_j"), **how: Any) -> Sensitivity:
    return sensitivity(s, columns, **{"trials": 20, "samples": 64, **how})


def test_the_swing_of_a_price_is_its_spread_times_what_is_rented() -> None:
    found = found_of()
    cost = found.tornados["cost_usd"]
    swing = cost.swings[0]
    assert (swing.path, cost.swings[1].change) == (PRICE, 0.0)
    low, central, high = swing.values
    per_hour = np.array([low, central, high]) * 3600.0
    np.testing.assert_allclose(per_hour, [2.2, 3.0, 3.8], rtol=1e-12)
    rented_s = Trials(scenario(failures=FAILS, facility={"pue": 1.1}, cluster=SPARES))
    seconds = np.mean([rented_s.run(trial).row["cost_usd"] for trial in range(20)]) / (2.0 / 3600.0)
    assert cost.central == pytest.approx(central * seconds, rel=1e-9)
    assert swing.low == pytest.approx(low * seconds, rel=1e-9)
    assert swing.change == pytest.approx((high - low) * seconds, rel=1e-9)
    spread = np.std([rented_s.run(trial).row["cost_usd"] for trial in range(20)], ddof=1) / 2.0 * 3600.0
    assert swing.half == pytest.approx(2.0930 * (high - low) * spread / math.sqrt(20), rel=1e-4)  # the same luck at both ends


def test_luck_is_the_spread_of_the_trials_at_central_values() -> None:
    found = found_of()
    runs = Trials(BOTH.central())
    days = [runs.run(trial).row["time_s"] for trial in range(20)]
    assert found.tornados["time_s"].luck == pytest.approx(tuple(np.quantile(days, [0.1, 0.9])), rel=1e-12)
    assert [swing.change for swing in found.tornados["time_s"].swings] == [0.0, 0.0]
    energy = found.tornados["energy_j"]
    assert energy.swings[0].path == PUE
    assert energy.swings[0].low < energy.central < energy.swings[0].high


def test_indices_agree_with_variance_components_and_sum_to_one() -> None:
    found = sensitivity(BOTH, ("cost_usd", "time_s"), trials=2, samples=512)
    cost, time = found.indices["cost_usd"], found.indices["time_s"]
    assert cost.names == (LUCK, PUE, PRICE)
    (shares,) = variance_shares(BOTH, ("cost_usd",), outer=400, inner=2)
    assert cost.first[2] == pytest.approx(shares.unknown, abs=0.05)
    assert cost.first.sum() == pytest.approx(1.0, abs=0.05)  # a price times a time that varies little is nearly a sum
    assert cost.std / cost.mean == pytest.approx(shares.std / shares.mean, rel=0.1)
    assert time.total[0] == pytest.approx(1.0, abs=0.15)
    assert time.total[1:].tolist() == [0.0, 0.0]
    assert "luck rules" in advice("time_s", time)
    assert advice("cost_usd", cost).startswith(f"cost_usd: measure {PRICE}: knowing it takes ")
    assert f"does not matter: {PUE}" in advice("cost_usd", cost)


def test_workers_change_nothing() -> None:
    assert runs_of(BOTH, 100, 64) == 820  # enough for others to start
    here, there = (found_of(trials=100, workers=workers) for workers in (1, 2))
    assert sensitivity_json(here) == sensitivity_json(there)
    assert here.runs == 820
    other = found_of(trials=100, seed=8)
    assert other.tornados["time_s"].central != here.tornados["time_s"].central


def test_correlated_inputs_are_one_input_for_the_indices() -> None:
    tied = scenario(pricing=PRICES, facility=PUES, failures="none", monte_carlo={
        "correlations": [{"between": [PRICE, PUE], "rank": 0.8}]})
    found = found_of(tied)
    assert found.together == (f"{PUE} + {PRICE}",)
    assert found.indices["cost_usd"].names == (LUCK, f"{PUE} + {PRICE}")
    assert found.indices["cost_usd"].first[1] == pytest.approx(1.0, abs=0.1)
    assert {swing.path for swing in found.tornados["cost_usd"].swings} == {PRICE, PUE}
    assert runs_of(tied, 20, 64) == found.runs
    assert [text.get_text()[-1] for text in tornado_figure(found).axes[0].texts if "%" in text.get_text()] == ["*", "%"]
    assert sensitivity_json(found)["results"]["cost_usd"]["indices"][1]["input"] == f"{PUE} + {PRICE}"


def test_choices_and_steps_that_change_are_sampled_too() -> None:
    s = scenario(training={"tokens": {"choice": {"values": ["100 B", "200 B", "300 B"], "weights": [1, 2, 1]}}}, failures="none")
    found = found_of(s, ("time_s",))
    (swing,) = found.tornados["time_s"].swings
    assert swing.values == (1e11, 2e11, 3e11)
    assert swing.high / swing.low == pytest.approx(3.0, rel=0.01)
    assert found.indices["time_s"].std / found.indices["time_s"].mean == pytest.approx(math.sqrt(0.5) / 2.0, rel=0.1)


def test_without_anything_uncertain_the_way_to_write_it_is_shown() -> None:
    with pytest.raises(UserError, match=r"nothing is uncertain.*triangular"):
        sensitivity(scenario())


def test_a_run_that_does_not_finish_tells_its_values() -> None:
    s = scenario(failures={**FAILS, "components": [{"name": "node", "kind": "hardware", "rate": {
        "uniform": ["4000 per 1000 days", "4000000 per 1000 days"]}}]})
    with pytest.raises(UserError, match=r"with failures\.components\.0\.rate = .*does not finish.*too many to leave out"):
        found_of(s)


def test_a_rare_run_that_does_not_finish_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run, unlucky = Trials.run_with, 7

    def rarely(self: Trials, values: dict[str, float], trial: int, **how: Any) -> Any:
        if trial == unlucky and values[PRICE] * 3600.0 > 3.5:
            raise RunDoesNotFinish("the run does not finish")
        return run(self, values, trial, **how)

    whole = found_of(trials=50)
    monkeypatch.setattr(Trials, "run_with", rarely)
    found = found_of(trials=50)
    assert len(found.unfinished) == 1 and PRICE in found.unfinished[0]
    assert found.indices["cost_usd"].first.tolist() == whole.indices["cost_usd"].first.tolist()
    kept = [Trials(BOTH.central()).run(trial).row["time_s"] for trial in range(50) if trial != unlucky]
    assert found.tornados["time_s"].central == pytest.approx(np.mean(kept), rel=1e-12)
    assert len(sensitivity_json(found)["unfinished"]) == 1


def test_base_points_with_a_row_that_is_missing_are_left_out() -> None:
    def holes(points: np.ndarray) -> np.ndarray:
        results = linear(points)
        results[[3, 700]] = np.nan
        return results

    (found,) = sobol_indices(holes, ("a", "b", "c"), 1024, 1)
    np.testing.assert_allclose(found.first, np.array([9.0, 1.0, 4.0]) / 14.0, atol=0.02)


@pytest.mark.parametrize(("how", "message"), [
    ({"columns": ("cost",)}, "did you mean"), ({"trials": 1}, "2 to 100,000"), ({"trials": 10**9}, "2 to 100,000")])
def test_a_wrong_question_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        found_of(**how)


def indices(first: list[float], total: list[float], half: float = 0.02) -> Indices:
    halves = np.full(len(first), half)
    return Indices((LUCK, "a", "b")[:len(first)], 10.0, 1.0, np.array(first), np.array(total), halves, halves)


def test_advice_names_what_counts() -> None:
    assert advice("x", indices([0.1, 0.3, 0.6], [0.1, 0.3, 0.6])) == (
        "x: measure b: knowing it takes 60% of the variance away (58% to 62%); with all inputs known, luck leaves 10%")
    assert advice("x", indices([0.0, 1.02, 0.0], [0.0, 1.0, 0.0])).startswith("x: measure a: knowing it takes 100% ")
    assert "luck rules, with 100% of the variance" in advice("x", indices([1.05, 0.0, 0.0], [1.03, 0.0, 0.01]))
    # Another rate makes other failures: its total index is that of luck, and to know it helps nothing.
    assert "luck rules" in advice("x", indices([0.01, 0.0, 0.0], [0.99, 0.98, 0.0]))
    assert "no single input" in advice("x", indices([0.0, 0.0, 0.0], [0.01, 0.97, 0.98]))
    assert "b has the largest total index" in advice("x", indices([0.0, 0.0, 0.0], [0.01, 0.97, 0.98]))
    assert "luck rules" in advice("x", indices([0.94, 0.06, 0.0], [0.94, 0.06, 0.0]))  # a standard deviation 3 % smaller
    # An index that its interval does not tell from zero is no reason to measure.
    assert "luck rules" in advice("x", indices([0.9, 0.11, 0.0], [0.92, 0.12, 0.0], half=0.15))


@pytest.mark.parametrize(("value", "kind", "text"), [
    (2.5 / 3600.0, "money_per_accelerator_time", "2.5 USD/h"), (15.6e12, "count", "15.6 T"), (16384.0, "count", "16,384"),
    (1.1, "ratio", "1.1"),
    (4.0 / 86400e3, "rate", "4 per 1000 days"), (18.0, "temperature", "18 degC"), (1200.0, "time", "20.00 minutes")])
def test_inputs_are_shown_as_people_write_them(value: float, kind: str, text: str) -> None:
    assert quantity(value, kind) == text


def test_table_json_and_picture_show_the_same() -> None:
    found = found_of()
    figure = tornado_figure(found)
    assert [ax.get_title(loc="left").split(" (")[0] for ax in figure.axes] == ["cost", "wall time", "energy at the meter"]
    ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].patches[:2]]  # pricing at P10, at P90
    swing = found.tornados["cost_usd"].swings[0]
    assert ends == pytest.approx([swing.low, swing.high])
    from rich.console import Console

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(sensitivity_view(found))
    text = console.export_text()
    assert "2.2 USD/h" in text and "worth measuring better" in text and f"measure {PRICE}" in text
    results = json.loads(json.dumps(sensitivity_json(found), allow_nan=False))["results"]
    assert results["cost_usd"]["swings"][0]["change"] == swing.change


def test_the_command_prints_json_and_writes_the_picture(tmp_path: Path) -> None:
    picture = tmp_path / "tornado.png"
    done = CliRunner().invoke(app, ["sensitivity", LLAMA, "--trials", "10", "--samples", "16", "--column", "cost_usd",
                                    "--workers", "1", "--plot", str(picture), "--json"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)["results"]
    assert list(results) == ["cost_usd"]
    assert "measure pricing.rental.price" in results["cost_usd"]["advice"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    wrong = CliRunner().invoke(app, ["sensitivity", LLAMA, "--plot", str(tmp_path / "tornado.doc")])
    assert isinstance(wrong.exception, UserError)

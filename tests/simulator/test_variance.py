"""Variance: what comes from not knowing and what from luck; common random numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from simulator.errors import UserError
from simulator.montecarlo.trials import Trials
from simulator.montecarlo.variance import NestedTrials, shares_of, variance_shares, variance_table
from simulator.scenario import Scenario
from tests.simulator.runs import scenario

PRICE = {"rental": {"price": {"triangular": ["2 USD/h", "2.5 USD/h", "4 USD/h"]}}}
FAILS: dict[str, Any] = {"components": [{"name": "node", "rate": "4000 per 1000 days", "kind": "hardware"}],
         "recovery": {"detection": "5 min", "replacement": "1 min", "initialisation": "2 min", "repair": "6 h"}}


def groups(rng: np.random.Generator, outer: int, inner: int, share: float, *, skewed: bool) -> np.ndarray:
    """Return results of which a known share of the variance is between groups, shape (outer, inner)."""
    between = rng.exponential(1.0, outer) if skewed else rng.standard_normal(outer)
    within = rng.exponential(1.0, (outer, inner)) if skewed else rng.standard_normal((outer, inner))
    return 10.0 + math.sqrt(share) * between[:, None] + math.sqrt(1.0 - share) * within


@pytest.mark.parametrize("inner", [2, 5])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_known_shares_are_found(share: float, inner: int) -> None:
    found = shares_of("x", groups(np.random.default_rng(1), 4000, inner, share, skewed=True))
    assert found.unknown == pytest.approx(share, abs=0.05)
    assert found.unknown + found.luck == 1.0
    assert found.std == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_cover_the_truth_as_often_as_they_say(skewed: bool) -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(300):
        found = shares_of("x", groups(rng, 100, 4, 0.5, skewed=skewed))
        covered += found.low <= 0.5 <= found.high
    assert 0.97 > covered / 300 > (0.87 if skewed else 0.92)  # 0.95 for many draws; 0.90 here for exponential ones


def test_what_does_not_vary_has_no_shares() -> None:
    found = shares_of("x", np.full((10, 3), 1e9 / 3.0))
    assert math.isnan(found.unknown)
    assert " - " in variance_table([found])


def test_a_price_is_all_that_is_not_known() -> None:
    """Time knows nothing of the price; cost is price times time, whose variance is the sum over its parts."""
    nested = variance_shares(scenario(pricing=PRICE, failures=FAILS), ("time_s", "cost_usd"), outer=150, inner=3)
    time, cost = nested
    assert time.low == 0.0 and time.unknown < 0.2
    price_spread = math.sqrt((2.0**2 + 2.5**2 + 4.0**2 - 2.0 * 2.5 - 2.0 * 4.0 - 2.5 * 4.0) / 18.0) / (8.5 / 3.0)
    expected = price_spread**2 / (price_spread**2 + (time.std / time.mean) ** 2)
    assert cost.unknown == pytest.approx(expected, abs=0.05)
    assert cost.low <= expected <= cost.high


def test_without_failures_nothing_is_luck() -> None:
    (cost,) = variance_shares(scenario(pricing=PRICE, failures="none"), ("cost_usd",), outer=10, inner=2)
    assert (cost.unknown, cost.low, cost.high) == (1.0, 1.0, 1.0)


def test_where_all_is_known_all_is_luck() -> None:
    (time,) = variance_shares(scenario(failures=FAILS), ("time_s",), outer=10, inner=2)
    assert (time.unknown, time.low, time.high) == (0.0, 0.0, 0.0)


def test_a_run_of_the_design_is_the_same_in_any_order_and_the_first_of_a_draw_is_the_trial() -> None:
    s = scenario(pricing=PRICE, failures=FAILS)
    one, other = NestedTrials(s, 3), NestedTrials(s, 3)
    backwards = {number: other.run(number) for number in reversed(range(9))}
    assert [one.run(number) for number in range(9)] == [backwards[number] for number in range(9)]
    assert [backwards[3 * draw] for draw in range(3)] == [Trials(s).run(draw).row for draw in range(3)]
    assert len({backwards[number]["time_s"] for number in range(9)}) == 9
    assert len({backwards[number]["input pricing.rental.price"] for number in range(9)}) == 3


@pytest.mark.parametrize(("columns", "outer", "inner", "message"), [
    (("cost",), 5, 2, "did you mean"), (("time_s",), 2, 2, "at least 3 draws"), (("time_s",), 5, 1, "at least 2 runs")])
def test_a_wrong_design_is_refused(columns: tuple[str, ...], outer: int, inner: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        variance_shares(scenario(pricing=PRICE), columns, outer=outer, inner=inner)


def differences(one: Scenario, other: Scenario, column: str, trials: int = 200) -> tuple[float, float]:
    """Return the variance of the difference of two scenarios with one seed, and with a seed each."""
    def values(s: Scenario, seed: int) -> np.ndarray:
        how: Any = s.monte_carlo.model_copy(update={"seed": seed})
        runs = Trials(s.model_copy(update={"monte_carlo": how}))
        return np.array([runs.run(trial).row[column] for trial in range(trials)])

    base = values(one, 7)
    return float((values(other, 7) - base).var()), float((values(other, 8) - base).var())


NEIGHBOURS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "price": ({"pricing": PRICE}, {"pricing": {"rental": {"price": {"triangular": ["2.2 USD/h", "2.7 USD/h", "4.2 USD/h"]}}}},
              "cost_usd"),
    "checkpoint interval": ({"checkpoint": {"interval": "20 min"}}, {"checkpoint": {"interval": "25 min"}}, "time_s"),
    "time to restart": ({}, {"failures": {**FAILS, "recovery": {**FAILS["recovery"], "initialisation": "3 min"}}}, "time_s"),
    "PUE": ({"facility": {"pue": 1.2}}, {"facility": {"pue": 1.1}}, "energy_j"),
    "tokens": ({}, {"training": {"tokens": "204 B"}}, "time_s"),
}
# Here other failures come, or the same ones find other spares.
APART: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "failure rate": ({}, {"failures": {**FAILS, "components": [{**FAILS["components"][0], "rate": "5000 per 1000 days"}]}},
                     "time_s"),
    "spares that run out": ({"cluster": {"spares": 8}}, {"cluster": {"spares": 7}}, "time_s"),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours_share_their_luck(name: str) -> None:
    """Common random numbers cut the variance of the difference at least fivefold."""
    one, other, column = NEIGHBOURS[name]
    common, independent = differences(scenario(**{"failures": FAILS, **one}), scenario(**{"failures": FAILS, **other}), column)
    assert common < independent / 5.0


@pytest.mark.parametrize("name", APART)
def test_other_failures_share_less_luck_but_some(name: str) -> None:
    one, other, column = APART[name]
    common, independent = differences(scenario(**{"failures": FAILS, **one}), scenario(**{"failures": FAILS, **other}), column)
    assert independent / 5.0 < common < independent

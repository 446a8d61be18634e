"""Tails: importance sampling against closed forms and against plain trials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulator.errors import UserError
from simulator.montecarlo.statistics import share_with_interval
from simulator.montecarlo.tails import Play, Proposal, Tail, TailTrials, tail_of, tail_probability, weighted_share
from simulator.montecarlo.trials import Trials
from tests.simulator.runs import scenario

PATHS = ("a", "b", "c")
SLOPES = np.array([1.0, 0.5, 0.0])


def normal_play(seed: int, luck: float) -> Play:
    """Return runs whose result is normal: a sum over inputs, and luck."""
    def play(proposal: Proposal, stage: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, stage])
        z, weights = zip(*(proposal.draw(rng) for _ in range(count)), strict=True)
        return np.array(z), np.array(weights), np.array(z) @ SLOPES + luck * rng.standard_normal(count)

    return play


def repeated(p: float, luck: float, repeats: int) -> list[Tail]:
    above = math.hypot(float(np.linalg.norm(SLOPES)), luck) * float(stats.norm.isf(p))
    return [tail_of(normal_play(seed, luck), PATHS, above, 1000, 300) for seed in range(repeats)]


@pytest.mark.parametrize(("p", "luck", "worth"), [(1e-3, 0.0, 50.0), (1e-5, 0.0, 3000.0), (1e-3, 0.4, 10.0)])
def test_a_normal_tail_is_found_without_bias_and_with_fewer_runs(p: float, luck: float, worth: float) -> None:
    found = repeated(p, luck, 60)
    estimates = np.array([tail.probability for tail in found])
    assert estimates.mean() == pytest.approx(p, abs=4.0 * estimates.std(ddof=1) / math.sqrt(60))
    runs = np.mean([tail.trials + tail.pilot for tail in found])
    assert p * (1.0 - p) / runs / estimates.var(ddof=1) > worth  # variance of plain trials over that here, measured
    assert np.median([tail.worth for tail in found]) > worth  # and as each says of itself
    assert np.mean([tail.low <= p <= tail.high for tail in found]) > 0.85
    assert all(tail.shift["c"] == 0.0 or abs(tail.shift["c"]) < abs(tail.shift["a"]) / 2.0 for tail in found)


def test_a_tail_that_is_luck_alone_says_that_it_is_not_certain() -> None:
    (found,) = repeated(1e-5, 50.0, 1)
    assert found.probability == 0.0 and found.high > 1e-5
    assert found.warning is not None and "not to be trusted" in found.warning


@given(st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=4), st.integers(0, 100))
def test_weights_are_bounded_and_have_mean_one(shift: list[float], seed: int) -> None:
    proposal, rng = Proposal(tuple(shift)), np.random.default_rng(seed)
    weights = np.array([proposal.draw(rng)[1] for _ in range(500)])
    assert ((weights >= 0.0) & (weights <= proposal.heaviest)).all()
    assert weights.mean() == pytest.approx(1.0, abs=5.0 * math.sqrt(proposal.heaviest / 500))


@given(st.integers(1, 500), st.floats(0.0, 1.0))
def test_with_weights_of_one_it_is_wilsons_interval(n: int, share: float) -> None:
    hits = max(1, round(share * n) - 1)
    p, low, high, ess = weighted_share(np.ones(n), np.arange(n) < hits, 1.0)
    if hits < n:
        plain = share_with_interval(hits, n)
        assert (p, low, high) == pytest.approx((plain["probability"], plain["low"], plain["high"]))
    assert ess == pytest.approx(hits)


def test_without_a_hit_the_upper_end_is_what_so_many_runs_exclude() -> None:
    p, low, high, ess = weighted_share(np.ones(1000), np.zeros(1000, dtype=bool), 5.0)
    assert (p, low, ess) == (0.0, 0.0, 0.0)
    assert (1.0 - high / 5.0) ** 1000 == pytest.approx(0.05)


UNKNOWN: dict[str, Any] = {"failures": "none", "facility": {"pue": {"uniform": [1.1, 1.3]}},
                           "pricing": {"rental": {"price": {"lognormal": ["2 USD/h", 0.2]}}}}


def test_the_chance_of_a_cost_is_that_of_its_price() -> None:
    """Without failures cost is price times hours, so the tail of cost is the tail of a lognormal."""
    s = scenario(**UNKNOWN)
    median_usd = Trials(s).run_with({"facility.pue": 1.2, "pricing.rental.price": 2.0 / 3600.0}, 0).row["cost_usd"]
    p = 2e-4
    found = tail_probability(s, "cost_usd", median_usd * math.exp(0.2 * float(stats.norm.isf(p))), trials=500, pilot=200)
    assert found.method == "importance" and found.warning is None
    assert found.shift["facility.pue"] == pytest.approx(0.0, abs=0.5)
    assert found.low < p < found.high
    assert found.high / found.low < 1.6
    assert found.worth > 50.0


def test_luck_and_inputs_together_agree_with_plain_trials() -> None:
    failing = {"components": [{"name": "node", "rate": {"lognormal": ["4000 per 1000 days", 0.5]}, "kind": "hardware"}],
               "recovery": {"detection": "5 min", "replacement": "1 min", "initialisation": "2 min", "repair": "1 h"}}
    s = scenario(failures=failing)
    plain = Trials(s)
    times = np.array([plain.run(trial).row["time_s"] for trial in range(4000)])
    above = float(np.quantile(times, 0.99))
    found = tail_probability(s, "time_s", above, trials=1500, pilot=300)
    usual = share_with_interval(int((times > above).sum()), times.size)
    assert found.shift["failures.components.0.rate"] > 0.5
    assert found.low < usual["high"] and usual["low"] < found.high
    assert found.worth > 5.0


def test_a_run_that_does_not_finish_is_beyond_any_limit() -> None:
    rate = {"uniform": ["80000 per 1000 days", "90000 per 1000 days"]}
    hopeless = {"components": [{"name": "node", "rate": rate, "kind": "hardware"}],
                "recovery": {"initialisation": "2 h", "repair": "1 day"}}
    found = tail_probability(scenario(failures=hopeless), "time_s", 1e8, trials=100, pilot=50)
    assert found.probability == pytest.approx(1.0)


def test_the_limit_is_the_goal_where_none_is_given() -> None:
    s = scenario(**UNKNOWN, goals={"budget": "1 USD"})
    assert tail_probability(s, "cost_usd", trials=100, pilot=50).probability == pytest.approx(1.0)


def test_a_run_of_a_tail_is_the_same_in_any_order() -> None:
    s, proposal = scenario(pricing=UNKNOWN["pricing"]), Proposal((1.5,))
    one, other = TailTrials(s), TailTrials(s)
    backwards = [other.run(proposal, 1, number) for number in reversed(range(6))][::-1]
    for number, (z, weight, row) in enumerate(backwards):
        again = one.run(proposal, 1, number)
        assert (again[0] == z).all() and again[1:] == (weight, row)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"column": "time_s"}, "goals.deadline: missing"), ({"column": "ettr"}, "limit: missing"),
    ({"column": "time", "above": 1.0}, "did you mean"), ({"above": 1.0, "trials": 10}, "at least 100")])
def test_a_wrong_question_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tail_probability(scenario(**UNKNOWN), **arguments)

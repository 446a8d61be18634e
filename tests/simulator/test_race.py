"""The parts of a plan: constraints as text, bounds, exact binomial verdicts, fronts, response surfaces."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import UserError
from simulator.montecarlo.trials import Trials
from simulator.planning.axes import parse_axis
from simulator.planning.constraints import binomial_bounds, goal_constraints, judge, parse_constraint, with_derived
from simulator.planning.least import least
from simulator.planning.pareto import beaten, front
from simulator.planning.space import Space, changed, finer, gridded
from simulator.planning.zoom import best_of_range
from tests.simulator.runs import scenario

SMALL = scenario(training={"tokens": "20 B"})


@pytest.mark.parametrize(("text", "column", "at_most", "limit", "chance"), [
    ("P(time <= 60 days) >= 0.9", "time_s", True, 60 * 86400.0, 0.9),
    ("p( cost_usd<=5 M USD )>=80 %", "cost_usd", True, 5e6, 0.8),
    ("P(availability >= 99 %) >= 0.5", "availability", False, 0.99, 0.5),
    ("mean(energy) <= 30 GWh", "energy_j", True, 30 * 3.6e12, None),
    ("carbon <= 10 tCO2e", "carbon_kg", True, 1e4, None),
    ("availability >= 0.99", "availability", False, 0.99, None),
    ("peak_power <= 20 MW", "peak_power_w", True, 2e7, None),
    ("time_lost <= 3 h", "time_lost_s", True, 10800.0, None),
])
def test_constraints_are_read(text, column, at_most, limit, chance):
    found = parse_constraint(text)
    assert (found.column, found.at_most, found.chance) == (column, at_most, chance)
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize(("text", "message"), [
    ("P(tiem <= 60 days) >= 0.9", "did you mean 'time'"),
    ("P(time <= 60 days) >= 1.5", "more than 0 and less than 1"),
    ("P(time <= 60 days)", "allowed: 'P"),
    ("P(time <= 60 kg) >= 0.9", "such as '30 min'"),
    ("time < 60 days", "allowed: 'P"),
    ("peak_power <= 20", "bare number"),
    ("", "allowed: 'P"),
])
def test_a_constraint_that_cannot_be_read_is_told(text, message):
    with pytest.raises(UserError, match=f"(?s)--subject-to.*{message}"):
        parse_constraint(text)


def test_goals_are_constraints_and_their_text_reads_as_the_same():
    found = goal_constraints(scenario(goals={"deadline": "60 days", "deadline_chance": 0.95, "budget": "5 M USD",
                                             "peak_power": "20 MW"}))
    assert [c.chance for c in found] == [0.95, 0.8, None]
    for constraint in found:
        again = parse_constraint(constraint.text)
        assert (again.column, again.chance) == (constraint.column, constraint.chance)
        assert again.limit == pytest.approx(constraint.limit)


def test_a_result_that_a_run_has_not_is_told():
    with pytest.raises(UserError, match="no result 'cost_demand_charge_usd'"):
        judge(parse_constraint("cost_demand_charge_usd <= 3 USD"), with_derived(
            {"time_s": np.ones(3), "time_wait_for_spares_s": np.zeros(3)}, 1.0))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(1e-6, 0.3))
@settings(max_examples=60, deadline=None)
def test_bounds_of_a_chance_are_where_the_binomial_tail_is_the_error(pair, error):
    from scipy.stats import binom

    hits, n = pair
    low, high = binomial_bounds(hits, n, error)
    assert low <= hits / n <= high
    assert hits == 0 or binom.sf(hits - 1, n, low) == pytest.approx(error, rel=1e-6)
    assert hits == n or binom.cdf(hits, n, high) == pytest.approx(error, rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.9, 0.97]))
@settings(max_examples=25, deadline=None)
def test_verdicts_are_seldom_wrong(seed, chance):
    """Of a true chance at the limit itself, `met` comes in 5 % of samples at most, and `broken` too."""
    rng = np.random.default_rng(seed)
    constraint = parse_constraint(f"P(time <= 1 s) >= {chance}")
    met = [judge(constraint, {"time_s": np.where(rng.random(200) < chance, 0.5, 2.0)}, 0.05).verdict for _ in range(300)]
    assert met.count("met") <= 300 * 0.05 + 4.0 * math.sqrt(300 * 0.05)
    assert met.count("broken") <= 300 * 0.05 + 4.0 * math.sqrt(300 * 0.05)


def test_availability_is_the_share_of_time_without_waiting_for_spares():
    found = with_derived({"time_s": np.array([100.0, 200.0]), "time_wait_for_spares_s": np.array([1.0, 0.0])}, 3.0)
    assert found["availability"] == pytest.approx([0.99, 1.0])
    assert found["peak_power_w"] == pytest.approx([3.0, 3.0])


@given(rate=st.floats(0.0, 4000.0), spares=st.integers(0, 6), interval=st.integers(2, 120), trial=st.integers(0, 99),
       mode=st.sampled_from(["sync", "async"]), day=st.floats(0.0, 0.1),
       price=st.sampled_from(["2 USD/h", {"triangular": ["1 USD/h", "2 USD/h", "4 USD/h"]}]), owned=st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_trial_is_below_its_bound(rate, spares, interval, trial, mode, day, price, owned):
    one = scenario(training={"tokens": "20 B"}, cluster={"spares": spares, "variation": {"day_swing": day}},
                   failures={"components": [{"name": "n", "rate": f"{rate} per 1000 days", "kind": "hardware"}]},
                   checkpoint={"interval": f"{interval} min", "mode": mode},
                   pricing={"owned": {"staff": "10 k USD/year"}, "rental": None} if owned else {"rental": {"price": price}})
    trials = Trials(one)
    bounds = least(trials, trial + 1)
    row = trials.run(trial).row
    for column in ("time_s", "cost_usd", "energy_j", "carbon_kg"):
        bound = bounds.bound(column)
        assert bound is not None
        assert row[column] >= (bound[0] if bounds.exact else bound[trial]) * (1.0 - 1e-12)


def test_dollars_have_no_bound_where_the_hour_counts():
    priced = {"owned": {}, "rental": None, "electricity": {"price": {"synthetic": {"mean": "0.05 USD/kWh", "day_swing": 0.3}}}}
    bounds = least(Trials(scenario(training={"tokens": "5 B"}, calendar={"start": "2025-01-01"}, pricing=priced)), 1)
    assert bounds.bound("cost_usd") is None
    assert bounds.bound("time_s") is not None


rows = st.lists(st.tuples(*[st.integers(0, 5).map(float)] * 3), min_size=1, max_size=40)


@given(rows)
def test_the_front_is_what_nothing_dominates(found):
    values = np.array(found)
    on = front(values)
    for i, row in enumerate(values):
        dominated = any((other <= row).all() and (other < row).any() for other in values)
        assert on[i] == (not dominated)
        assert beaten(row, values) == dominated


def test_an_unknown_column_is_left_out_of_the_front():
    values = np.array([[1.0, 2.0, np.nan], [2.0, 1.0, 5.0], [2.0, 2.0, 0.0]])
    assert front(values).tolist() == [True, True, False]


@given(best=st.floats(100.0, 5000.0), start=st.floats(0.15, 6.0), loss=st.floats(0.02, 0.3), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_vertex_of_young_s_loss_is_found_in_noise(best, start, loss, seed):
    noise = np.random.default_rng(seed).normal(size=(10_000,))

    def evaluate(values, trials):
        ratio = values[:, None] / best
        shared = 10.0 * noise[None, :trials]  # what all values meet alike
        own = np.random.default_rng(seed + 1).normal(size=(len(values), 1000))[:, :trials]
        return 1.0 + 0.5 * loss * (ratio + 1.0 / ratio) + shared + 0.1 * loss * own

    found = best_of_range(evaluate, best * start, best / 20.0, best * 20.0, 1000)
    assert found is not None
    assert found.value == pytest.approx(best, rel=0.05)
    assert found.error < 0.02


def test_a_range_without_a_minimum_has_no_vertex_inside():
    found = best_of_range(lambda values, trials: np.log(values)[:, None] + np.zeros((1, trials)), 4.0, 1.0, 16.0, 64)
    assert found is None


def test_ranges_are_tried_by_ratio_and_whole_numbers_to_the_last():
    assert gridded(parse_axis("cluster.spares=0..64"), 1).values == (0, 1, 2, 4, 8, 16, 32, 64)
    assert gridded(parse_axis("cluster.spares=0..4"), 1).values == (0, 1, 2, 3, 4)
    sizes = gridded(parse_axis("cluster.accelerators=64..1024"), 8).values
    assert all(size % 8 == 0 and 64 <= size <= 1024 for size in sizes)
    tried, best = {0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0}, 32.0
    while more := finer(sorted(tried), best, 1):
        assert not set(more) & tried
        tried |= set(map(float, more))
    assert {31.0, 33.0} <= tried


def test_a_site_brings_its_intensity_and_its_pue():
    other = changed(scenario(carbon={"intensity": "500 gCO2e/kWh"}), {"facility.site": "fra"})
    assert other.carbon.intensity_kgco2e_per_j is None
    assert other.facility.site.name == "fra"
    both = changed(scenario(), {"facility.site": "fra", "facility.pue": 1.3})
    assert both.facility.effective_pue == 1.3


def test_a_candidate_has_the_layout_of_the_step_kernel_and_its_peak():
    found = Space(SMALL, "time", 4).candidate({"training.layout": "auto"})
    assert found.layout == found.scenario.training.layout
    assert found.least.columns["time_s"][0] <= Space(SMALL, "time", 4).candidate({}).least.columns["time_s"][0]
    slower = Space(SMALL, "time", 4).candidate({"cluster.power_limit": "400 W"})
    assert slower.peak_power_w < found.peak_power_w


def test_a_cap_bounds_the_peak():
    capped = scenario(calendar={"start": "2025-01-01"}, facility={"power_cap": "40 kW"})
    free = Space(scenario(), "time", 4).candidate({}).peak_power_w
    assert free > 40e3 >= Space(capped, "time", 4).candidate({}).peak_power_w

"""Caps, curtailment and the operator's rules: what they do to a run, hour by hour."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from kernels.dispatch import GENERATOR, GRID, RESPONSE_USD, SOLAR, UNMET
from simulator.accounting import State
from simulator.accounting.grid import Grid
from simulator.api import load
from simulator.cluster import TrialResult
from simulator.cluster.orders import conditions, windows
from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import Trials
from simulator.report.episodes import PAUSE, Interval, interruptions
from simulator.report.timeline import timeline_figure
from simulator.scenario import Scenario
from tests.simulator.test_bills import check_sums

HOUR = 3600.0
FAILING = {"components": [{"name": "gpu", "kind": "hardware", "rate": "0.1 per day"}],
           "recovery": {"detection": "10 min", "initialisation": "5 min", "repair": "6 h"}}


def by_hour(base: str, hours: str, other: str) -> dict[str, Any]:
    """A series with another value in some hours of each day."""
    return {"tariff": {"base": base, "periods": [{"hours": hours, "price": other}]}}


def scenario(**changes: Any) -> Scenario:
    """Return thirty hours of four nodes without failures, a midnight start; sections are changed key by key."""
    base: dict[str, Any] = {
        "name": "orders", "year": 2024, "model": "llama-3-8b", "calendar": {"start": "2024-06-03"},
        "training": {"tokens": "20 B", "batch": 4194304, "sequence": 8192, "recompute": "selective", "attention": "flash",
                     "layout": {"tensor": 8, "data": 4}},
        "cluster": {"accelerator": "h100-sxm-80gb", "accelerators": 32, "spares": 1},
        "failures": {"components": [], "recovery": {"initialisation": "5 min", "warm_up": "1 min"}},
        "checkpoint": {"storage_bandwidth": "5 GB/s", "interval": "1 h", "mode": "sync"},
        "facility": {"site": {"preset": "usa", "carbon_intensity": "400 gCO2e/kWh"}, "pue": 1.2},
        "pricing": {"rental": {"price": "2 USD/h"}, "electricity": {"price": "0.05 USD/kWh"}},
        "monte_carlo": {"trials": 3, "seed": 7}}
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return load(base)


def run(**changes: Any) -> TrialResult:
    """One trial of it."""
    return Trials(scenario(**changes)).run(0)


def powers_w(result: TrialResult) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of the facility, and its hour of the day, in each bin that the run was in from its begin to its end."""
    bill, grid = result.bill, grid_of(result)
    whole = bill.seconds > np.diff(grid.edges_s) * (1 - 1e-9)
    return bill.load_j[whole] / bill.seconds[whole], grid.hour_of_day[whole]


def grid_of(result: TrialResult) -> Grid:
    assert result.bill.met.grid is not None
    return result.bill.met.grid


@cache
def plain() -> dict[str, float]:
    return run().row


@cache
def full_w() -> float:
    """Power of the facility while it computes, at a PUE of 1.2; checkpoints take 1 % of an hour."""
    return 1.2 * Trials(scenario()).central.full_w


# Caps.


@pytest.mark.parametrize("cap_kw", [44.0, 38.0, 33.0])
@pytest.mark.parametrize("facility", [
    {}, {"pue": None, "overheads": {}, "temperature": {"synthetic": {"mean": "25 degC", "day_swing": "12 degC"}}}])
def test_a_cap_slows_a_run_until_it_fits(cap_kw: float, facility: dict[str, Any]) -> None:
    result = run(facility={"power_cap": f"{cap_kw} kW", **facility})
    power_w, _ = powers_w(result)
    assert power_w.max() <= cap_kw * 1e3 * (1 + 1e-9)
    assert power_w.max() >= cap_kw * 1e3 * 0.9  # levels are 5 % of the limit apart: no slower than it must be
    row = result.row
    assert row["above_cap_j"] == pytest.approx(0.0, abs=1.0)
    assert row["time_curtailed_s"] == row["time_restart_s"] == 0.0
    assert row["interruptions"] == 0.0


def test_the_lower_the_cap_the_longer_the_run_and_the_more_of_it_throttled() -> None:
    rows = [run(facility={"power_cap": f"{kw} kW"}).row for kw in (60.0, 44.0, 38.0, 33.0)]
    assert (np.diff([row["time_s"] for row in rows]) > 0.0).all()
    assert (np.diff([row["time_throttled_s"] for row in rows]) > 0.0).all()
    assert rows[0]["time_throttled_s"] == 0.0
    for row in rows[1:]:
        assert row["time_productive_s"] == pytest.approx(rows[0]["time_productive_s"], rel=1e-9)


def test_a_cap_above_full_power_changes_nothing() -> None:
    capped = run(facility={"power_cap": "60 kW"}).row
    assert {name: capped[name] for name in plain()} == pytest.approx(plain(), nan_ok=True)
    assert capped["above_cap_j"] == 0.0


def test_a_cap_by_the_hour_binds_in_its_hours_alone() -> None:
    result = run(facility={"power_cap": by_hour("60 kW", "8-12", "35 kW")})
    power_w, hour = powers_w(result)
    low = (hour >= 8) & (hour < 12)
    assert power_w[low].max() <= 35e3
    assert power_w[low].min() > 0.85 * 35e3
    assert power_w[~low].max() == pytest.approx(full_w(), rel=0.01)
    assert result.row["time_restart_s"] == 0.0


def test_a_cap_below_every_clock_pauses_and_what_idles_above_it_is_said() -> None:
    """15 kW in four hours, where the paused machine draws 17.4."""
    result = run(facility={"power_cap": by_hour("60 kW", "8-12", "15 kW")})
    row, out = result.row, result.bill.out
    rates = result.periods[0][1]
    idle_w = 1.2 * (rates.it_w[:, State.CURTAILED, 0].sum() + rates.spare_node_w)
    stall_s = row["time_checkpoint_stall_s"] / row["checkpoints"]
    stall_w = 1.2 * (rates.it_w[:, State.CHECKPOINT_STALL, 0].sum() + rates.spare_node_w)
    assert idle_w > 15e3
    hour = grid_of(result).hour_of_day
    assert out[(hour < 8) | (hour >= 12), UNMET].sum() == 0.0
    once_j = (idle_w - 15e3) * 4 * HOUR + (stall_w - idle_w) * stall_s  # it saves first
    assert row["time_curtailed_s"] == pytest.approx(2 * 4 * HOUR)  # two mornings
    assert row["above_cap_j"] == pytest.approx(2 * once_j, rel=1e-6)


@pytest.mark.parametrize(("plant", "column"), [
    ({"generator": {"power": "20 kW", "fuel": "0.3 USD/kWh", "carbon_intensity": "700 gCO2e/kWh"}}, GENERATOR),
    ({"solar": "20 kW"}, SOLAR)])
def test_what_stands_on_site_serves_in_place_of_slowing(plant: dict[str, Any], column: int) -> None:
    slowed = run(facility={"power_cap": "35 kW"})
    served = run(facility={"power_cap": "35 kW", **plant})
    assert slowed.row["time_throttled_s"] > 0.0
    assert served.row["time_throttled_s"] == 0.0
    assert served.row["time_s"] == pytest.approx(plain()["time_s"])
    assert served.row["above_cap_j"] == 0.0
    out = served.bill.out
    assert (out[:, GRID] <= 35e3 * served.bill.seconds * (1 + 1e-12)).all()
    if column == GENERATOR:
        assert out[:, column] == pytest.approx(np.maximum(served.bill.load_j - 35e3 * served.bill.seconds, 0.0), abs=1.0)


def test_a_generator_too_small_leaves_the_rest_to_a_slower_clock() -> None:
    generator = {"power": "5 kW", "fuel": "0.3 USD/kWh", "carbon_intensity": "700 gCO2e/kWh"}
    power_w, _ = powers_w(run(facility={"power_cap": "35 kW", "generator": generator}))
    assert 36e3 < power_w.max() <= 40e3


@pytest.mark.parametrize("over", [1.1, 1.6, 2.0])
def test_oversubscription_bounds_it_power_by_what_is_provided(over: float) -> None:
    trials = Trials(scenario(facility={"oversubscription": over}))
    result = trials.run(0)
    provided_w = trials.central.rules.provided_w
    it_w = powers_w(result)[0] / 1.2
    assert it_w.max() <= provided_w * (1 + 1e-9)
    assert (result.row["time_throttled_s"] > 0.0) == (full_w() / 1.2 > provided_w)
    assert over < 1.5 or result.row["time_throttled_s"] > 0.0


def test_a_run_that_may_never_run_says_what_holds_it() -> None:
    with pytest.raises(UserError, match="does not finish") as caught:
        run(facility={"power_cap": "20 kW"})
    assert "paused 100% of the time: give a higher power cap" in str(caught.value)
    assert "spare" not in str(caught.value)


# Curtailment.


def test_an_event_at_a_set_time_pauses_and_pays_for_what_is_not_taken() -> None:
    result = run(facility={"curtailment": [{"at": "5 h", "duration": "2 h", "payment": "0.3 USD/kWh"}]})
    power_w, hour = powers_w(result)
    during = (hour[:24] == 5) | (hour[:24] == 6)
    assert result.row["time_curtailed_s"] == pytest.approx(2 * HOUR, rel=0.01)
    assert power_w[:24][during].max() < 0.45 * full_w()
    assert power_w[:24][~during].min() > 0.85 * full_w()  # an hour has a restart of six minutes
    asked_w = 1.2 * Trials(scenario()).central.full_w
    shed_j = 2 * HOUR * asked_w - result.bill.load_j[[5, 6]].sum()
    assert result.row["cost_demand_response_usd"] == pytest.approx(-0.3 / 3.6e6 * shed_j, rel=1e-9)
    assert np.flatnonzero(result.bill.out[:, RESPONSE_USD]).tolist() == [5, 6]


@pytest.mark.parametrize("to", [0.9, 0.7])
def test_an_event_that_leaves_a_share_slows_to_it(to: float) -> None:
    result = run(facility={"curtailment": [{"at": "5 h", "duration": "2 h", "to": to}]})
    assert result.row["time_curtailed_s"] == result.row["time_restart_s"] == 0.0
    assert result.bill.load_j[[5, 6]].max() / HOUR <= to * full_w() * (1 + 1e-9)
    assert result.row["time_throttled_s"] == pytest.approx(result.row["time_s"] - plain()["time_s"], abs=2 * HOUR * 0.01)


def test_an_event_that_leaves_all_pays_nothing() -> None:
    row = run(facility={"curtailment": [{"at": "5 h", "duration": "2 h", "to": 1.0, "payment": "0.3 USD/kWh"}]}).row
    assert row["time_s"] == plain()["time_s"]
    assert -row["cost_demand_response_usd"] <= 0.3 / 3.6e6 * 0.05 * full_w() * 2 * HOUR  # but for what a checkpoint takes less


def test_events_at_random_are_a_poisson_process_on_the_hour() -> None:
    changed = scenario(facility={"curtailment": [{"rate": "0.5 per day", "duration": "3 h"}]},
                       calendar={"start": "2024-06-03T00:20"})
    plan = Trials(changed).central
    days, trials = 40.0, 400
    met = plan.supply.conditions(days * 86400.0)
    assert met.grid is not None
    counts, edges = [], met.grid.edges_s
    for trial in range(trials):
        found = windows(plan.rules.curtailment, met.grid, partial(lambda t, i: stream(1, t, f"curtailment {i}"), trial))
        counts.append(len(found))
        for first, last, _ in found:
            if last < edges.size - 1:
                assert (edges[first] + 20 * 60) % HOUR == 0.0 or first == 0
                assert edges[last] - edges[first] == 3 * HOUR
    mean = 0.5 * days
    assert np.mean(counts) == pytest.approx(mean, abs=4 * np.sqrt(mean / trials))
    assert np.var(counts) == pytest.approx(mean, rel=4 * np.sqrt(2.0 / trials))


def test_a_longer_calendar_has_the_same_events_and_more() -> None:
    plan = Trials(scenario(facility={"curtailment": [{"rate": "1 per day", "duration": "2 h"}]})).central
    short, long = (conditions(plan, days * 86400.0, lambda i: stream(1, 0, f"curtailment {i}")) for days in (20.0, 40.0))
    assert len(long.lowered) > len(short.lowered) > 5
    assert long.lowered[:len(short.lowered) - 2] == short.lowered[:-2]
    assert long.limits.grid_w[:400].tolist() == short.limits.grid_w[:400].tolist()


def test_two_events_of_an_hour_leave_the_lower_power_and_pay_the_higher_price() -> None:
    events = [{"at": "5 h", "duration": "2 h", "to": 0.9, "payment": "0.3 USD/kWh"},
              {"at": "6 h", "duration": "2 h", "to": 0.7, "payment": "0.1 USD/kWh"}]
    met = run(facility={"curtailment": events}).bill.met
    asked_w = met.limits.asked_w[0]
    assert met.limits.grid_w[4:9] / asked_w == pytest.approx([np.inf, 0.9, 0.7, 0.7, np.inf])
    assert met.limits.payment_usd_per_j[4:9] * 3.6e6 == pytest.approx([0.0, 0.3, 0.3, 0.1, 0.0])


# The operator's rules. Each holds from 14 to 20 h: once in thirty hours.

DEAR = {"pricing": {"electricity": {"price": by_hour("0.05 USD/kWh", "14-20", "0.2 USD/kWh")}}}
DIRTY = {"carbon": {"intensity": by_hour("200 gCO2e/kWh", "14-20", "600 gCO2e/kWh")}}
HOT = {"facility": {"temperature": by_hour("15 degC", "14-20", "35 degC")}}
CAUSES = {"price": (DEAR, {"price_above": "0.1 USD/kWh"}), "carbon": (DIRTY, {"carbon_above": "500 gCO2e/kWh"}),
          "heat": (HOT, {"temperature_above": "30 degC"})}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_rule_pauses_for_its_windows(cause: str) -> None:
    sections, threshold = CAUSES[cause]
    before = run(**sections).row
    result = run(**sections, policies=[{**threshold, "action": "pause"}])
    row = result.row
    saved_s = row["time_checkpoint_stall_s"] - before["time_checkpoint_stall_s"]
    assert row["time_curtailed_s"] == pytest.approx(6 * HOUR)
    assert row["time_restart_s"] > 6 * 60.0
    assert row["time_s"] - before["time_s"] == pytest.approx(row["time_curtailed_s"] + row["time_restart_s"] + saved_s)
    hour = grid_of(result).hour_of_day
    during = (hour >= 14) & (hour < 20)
    assert result.bill.load_j[during].sum() < 0.45 * full_w() * 6 * HOUR
    assert row["energy_j"] > before["energy_j"]  # idle hours and a restart
    assert row["interruptions"] == 0.0


def test_a_pause_in_dear_hours_saves_energy_dollars_and_one_in_dirty_hours_carbon() -> None:
    dear, dirty = (run(**sections).row for sections in (DEAR, DIRTY))
    paused = run(**DEAR, policies=[{"price_above": "0.1 USD/kWh", "action": "pause"}]).row
    assert paused["cost_electricity_usd"] < dear["cost_electricity_usd"]
    cleaner = run(**DIRTY, policies=[{"carbon_above": "500 gCO2e/kWh", "action": "pause"}]).row
    assert cleaner["carbon_operational_kg"] < dirty["carbon_operational_kg"]


@pytest.mark.parametrize("cause", CAUSES)
def test_a_rule_slows_in_its_windows_without_a_restart(cause: str) -> None:
    sections, threshold = CAUSES[cause]
    before, result = run(**sections).row, run(**sections, policies=[{**threshold, "action": "slow", "to": 0.7}])
    row = result.row
    assert row["time_throttled_s"] > 0.0
    assert row["time_restart_s"] == row["time_curtailed_s"] == row["interruptions"] == 0.0
    assert row["time_s"] > before["time_s"]
    assert row["energy_j"] < before["energy_j"]  # slower clocks do the same work with less
    power_w, hour = powers_w(result)
    during = (hour >= 14) & (hour < 20)
    assert power_w[during].max() <= 0.7 * full_w() * (1 + 1e-9)
    assert power_w[~during].max() == pytest.approx(full_w(), rel=0.01)


def test_a_threshold_that_is_met_but_not_exceeded_does_nothing() -> None:
    row = run(**DEAR, policies=[{"price_above": "0.2 USD/kWh", "action": "pause"}]).row
    assert row == run(**DEAR).row


@pytest.mark.parametrize(("at_least", "counts"), [("6 h", True), ("7 h", False)])
def test_windows_shorter_than_at_least_are_ignored(at_least: str, counts: bool) -> None:
    row = run(**DEAR, policies=[{"price_above": "0.1 USD/kWh", "action": "pause", "at_least": at_least}]).row
    assert (row["time_curtailed_s"] > 0.0) == counts
    if not counts:
        assert row == run(**DEAR).row


def test_of_several_rules_the_one_that_leaves_least_counts() -> None:
    def slow(to: float) -> dict[str, Any]:
        return {"price_above": "0.1 USD/kWh", "action": "slow", "to": to}

    strict = run(**DEAR, policies=[slow(0.6)]).row
    for rules in ([slow(0.6), slow(0.9)], [slow(0.9), slow(0.6)]):
        assert run(**DEAR, policies=rules).row == strict
    pause = {"price_above": "0.1 USD/kWh", "action": "pause"}
    paused = run(**DEAR, policies=[pause]).row
    assert run(**DEAR, policies=[slow(0.6), pause]).row == paused
    capped = run(**{**DEAR, "facility": {"power_cap": "30 kW"}}, policies=[slow(0.9)]).row
    assert capped["time_throttled_s"] == pytest.approx(run(**DEAR, facility={"power_cap": "30 kW"}).row["time_throttled_s"])


def test_a_rule_on_what_is_unknown_is_refused() -> None:
    with pytest.raises(UserError, match="policies: carbon is unknown here"):
        run(facility={"site": None}, policies=[{"carbon_above": "500 gCO2e/kWh", "action": "pause"}])


# All at once.

ALL: dict[str, Any] = {
    "failures": FAILING,
    "cluster": {"growth": [{"at": "10 h", "accelerators": 64}], "maintenance": {"every": "9 h", "duration": "30 min"}},
    "facility": {"pue": None, "overheads": {}, "power_cap": by_hour("90 kW", "2-5", "30 kW"),
                 "curtailment": [{"rate": "2 per day", "duration": "2 h", "to": 0.5, "payment": "0.2 USD/kWh"},
                                 {"at": "18 h", "duration": "1 h"}],
                 "solar": {"solar": {"capacity": "30 kW", "capacity_factor": 0.3, "latitude": 30}},
                 "battery": {"energy": "20 kWh", "power": "10 kW", "cost": "1 USD/h"}, "oversubscription": 1.1,
                 "generator": {"power": "3 kW", "fuel": "0.3 USD/kWh", "carbon_intensity": "700 gCO2e/kWh"}},
    "pricing": {"electricity": {"price": by_hour("0.05 USD/kWh", "14-20", "0.2 USD/kWh"), "export_price": "0.01 USD/kWh",
                                "demand_charge": "10 USD/kW/month", "contract": {"share": 0.3, "price": "0.04 USD/kWh"}}},
    "carbon": {"offsets": {"share": 0.5, "price": "20 USD/tCO2e"}},
    "policies": [{"price_above": "0.1 USD/kWh", "action": "slow", "to": 0.8},
                 {"temperature_above": "14 degC", "action": "slow", "to": 0.95}],
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_all_of_it_hours_categories_and_sources_still_sum(seed: int) -> None:
    trials = Trials(scenario(**ALL, monte_carlo={"seed": seed}))
    for trial in range(3):
        result = trials.run(trial, by_kind=True)
        check_sums(result)
        row = result.row
        times = sum(value for name, value in row.items() if name.startswith("time_") and name != "time_s")
        assert times == pytest.approx(row["time_s"], rel=1e-9)
        assert min(row["time_curtailed_s"], row["time_throttled_s"], row["time_maintenance_s"]) > 0.0


def test_growth_maintenance_and_orders_do_all_steps() -> None:
    """Also where failures take back what was done before the cluster grew."""
    often = {"components": [{"name": "gpu", "kind": "hardware", "rate": "2 per day"}], "recovery": {"repair": "1 h"}}
    trials = Trials(scenario(**{**ALL, "failures": often}))
    for trial in range(6):
        result = trials.run(trial)
        done = sum(float((seconds[State.PRODUCTIVE] / rates.step_s).sum()) for seconds, rates in result.periods)
        assert done == pytest.approx(trials.central.steps, rel=1e-9)
        assert result.row["time_lost_s"] > 0.0


def test_trials_are_the_same_in_any_order() -> None:
    changed = scenario(**ALL)
    forth, back = Trials(changed), Trials(changed)
    rows = [forth.run(trial).row for trial in range(4)]
    again = [back.run(trial).row for trial in (3, 1, 2, 0)]
    assert rows == [again[3], again[1], again[2], again[0]]
    assert len({row["time_s"] for row in rows}) == 4


def test_prices_drawn_anew_keep_the_orders_of_their_own() -> None:
    """A drawn cap slows by what was drawn, also where only the facility is uncertain and the plan is priced anew."""
    trials = Trials(scenario(facility={"power_cap": {"uniform": ["33 kW", "45 kW"]}}))
    for trial in range(3):
        result = trials.run(trial)
        cap_w = result.row["input facility.power_cap"]
        alone = run(facility={"power_cap": f"{cap_w!r} W"}).row
        assert {name: result.row[name] for name in alone if name != "trial"} == pytest.approx(
            {name: value for name, value in alone.items() if name != "trial"}, nan_ok=True)


def test_a_run_beyond_its_calendar_is_run_again_on_a_longer_one() -> None:
    """Failures without a spare, and repairs of nearly four days."""
    failing = {"components": [{"name": "gpu", "kind": "hardware", "rate": "0.2 per day"}], "recovery": {"repair": "90 h"}}
    pause = {"price_above": "0.1 USD/kWh", "action": "pause"}
    trials = Trials(scenario(failures=failing, cluster={"spares": 0}, policies=[pause], **DEAR,
                             carbon={"offsets": {"share": 0.1, "price": "20 USD/tCO2e"}}))
    longer = 0
    for trial in range(6):
        result = trials.run(trial, by_kind=True)
        longer += grid_of(result).edges_s[-1] > trials.central.horizon_s
        assert result.row["time_s"] <= grid_of(result).edges_s[-1]
        check_sums(result)
    assert longer >= 2


def test_a_cluster_that_grows_obeys_the_orders_of_its_new_size_at_once() -> None:
    """Under 40 kW from 9 to 20 h the small cluster runs slowly, but for a pause at noon, and the large one, from 16 h on, not at
    all: its pause began before the one that was last obeyed.
    """
    cap = {"tariff": {"base": "200 kW", "periods": [{"hours": "9-20", "price": "40 kW"}, {"hours": "12-13", "price": "20 kW"}]}}
    result = run(facility={"power_cap": cap}, cluster={"growth": [{"at": "16 h", "accelerators": 64}]})
    power_w, hour = powers_w(result)
    assert hour[:24].tolist() == list(range(24))
    assert power_w[[10, 14]] == pytest.approx(39e3, rel=0.05)
    assert power_w[17:20] == pytest.approx(power_w[17])
    assert power_w[17] < 35e3  # eight nodes idle
    assert power_w[21] > 1.9 * full_w() * 0.9


# What is shown of it.


def test_every_second_of_a_run_with_pauses_has_one_state() -> None:
    result = Trials(scenario(**ALL)).run(0, keep_intervals=True)
    ends = [0.0, *(end_s for _, end_s, *_ in result.intervals)]
    assert [start_s for start_s, *_ in result.intervals] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(result.row["time_s"])
    paused_s = sum(end_s - start_s for start_s, end_s, state, *_ in result.intervals if state == "curtailed")
    assert paused_s == pytest.approx(result.row["time_curtailed_s"])


def test_a_pause_is_named_as_what_stopped_the_job_and_can_be_drawn() -> None:
    changed = scenario(**DEAR, policies=[{"price_above": "0.1 USD/kWh", "action": "pause"}],
                       facility={"curtailment": [{"at": "4 h", "duration": "3 h", "to": 0.7}]}, monte_carlo={"trials": 2})
    study = run_study(changed)
    intervals = [Interval(*values) for values in Trials(changed).run(0, keep_intervals=True).intervals]
    assert [one.cause for one in interruptions(intervals)] == [PAUSE]
    figure = timeline_figure(study)
    words = {text.get_text() for axes in figure.findobj(Axes) for text in axes.get_yticklabels()}
    assert {PAUSE, "paused by rule or cap", "slowed by rule or cap"} <= words


def test_a_pause_that_puts_a_recovery_off_does_not_begin_it_anew() -> None:
    parts = ((10.0, "running", "gpu"), (1.0, "detect", ""), (2.0, "curtailed", ""), (1.0, "detect", ""), (3.0, "restart", ""))
    found, at_s = [], 0.0
    for seconds, state, cause in parts:
        found.append(Interval(at_s, at_s + seconds, state, 0, cause))
        at_s += seconds
    assert interruptions(found) == [(10.0, 11.0, "gpu"), (11.0, 17.0, PAUSE)]


def test_a_pause_ends_however_late_in_the_run_it_comes():
    late = {"training": {"tokens": "5 T"}, "facility": {"curtailment": [{"at": "250 days", "duration": "4 h", "to": "5 %"}]}}
    with_pause, without = (run(**{**late, **change}) for change in ({}, {"facility": {"curtailment": []}}))
    paused_s = with_pause.row["time_curtailed_s"]
    assert 3.0 * HOUR <= paused_s <= 4.0 * HOUR
    assert with_pause.row["time_s"] == pytest.approx(without.row["time_s"] + paused_s, abs=2.0 * HOUR)


def test_a_trial_that_meets_no_event_has_the_columns_of_one_that_does():
    rare = scenario(facility={"curtailment": [{"rate": "2 per 2 days", "duration": "2 h", "to": "50 %",
                                               "payment": "0.1 USD/kWh"}]})
    rows = [Trials(rare).run(trial).row for trial in range(12)]
    met = [row["cost_demand_response_usd"] != 0.0 for row in rows]
    assert any(met) and not all(met)

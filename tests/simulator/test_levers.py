"""Efficiency levers: bars close, a lever is what a hand would edit, what does not apply says why, ratios are as published."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from simulator import catalog
from simulator.cli import app
from simulator.cluster.orders import LIMITS
from simulator.distributions import Distribution
from simulator.errors import UserError
from simulator.montecarlo.points import points_of, run_points
from simulator.montecarlo.trials import Trials
from simulator.planning.alternatives import at_site
from simulator.planning.lever_edits import PULLS, narrower, scaled, successor, with_hours, with_work
from simulator.planning.lever_layouts import fastest_layout, step_seconds
from simulator.planning.levers import ASSUMPTIONS, COLUMNS, LEVERS, lever_study, read_assumptions
from simulator.report.levers import levers_figure, levers_json
from simulator.scenario import load_scenario, scenario_from_mapping
from simulator.scenario.edits import edited
from simulator.workload import parameters
from tests.simulator.studies import small

SMALL = small(12)
DEFAULTS = read_assumptions({})


@pytest.fixture(scope="module")
def study():
    return lever_study(SMALL, trials=12)


def pulled(name, scenario=SMALL, **assumed):
    return PULLS[name](scenario, read_assumptions(assumed) if assumed else DEFAULTS)


def refusal(name, scenario, **assumed):
    with pytest.raises(UserError) as found:
        pulled(name, scenario, **assumed)
    return str(found.value)


def test_the_bars_add_up_to_all_together(study):
    assert [e.lever for e in study.steps] == list(LEVERS)
    assert [e.before for e in study.steps] == [0, *(e.after for e in study.steps[:-1])]
    for column in COLUMNS:
        base, end = study.mean(0, column), study.mean(study.together, column)
        bars = math.fsum(study.change(e.before, e.after, column).mean for e in study.steps)
        assert base + bars == pytest.approx(end, rel=1e-12)
        assert math.isfinite(end)


def test_a_lever_that_does_nothing_has_no_bar(study):
    idle = lever_study(edited(SMALL, {"training.precision": "fp8"}), ("power", "precision"), trials=3)
    assert idle.alone[1].reason == "the run is in fp8 already"
    assert all(idle.change(idle.steps[1].before, idle.steps[1].after, column).mean == 0.0 for column in COLUMNS)
    assert idle.together == idle.steps[0].after
    assert all(bool(e.said) != bool(e.reason) for e in (*study.alone, *study.steps))


@pytest.mark.parametrize(("lever", "assumed", "by_hand"), [
    ("precision", {}, {"training.precision": "fp8", "training.scaling": "blockwise"}),
    ("power", {"power-limit": 0.8}, {"cluster.power_limit": "560 W"}),
    ("sparsity", {"sparse-work": 0.9}, {"training.tokens": "135 B"}),
    ("hardware", {}, {"cluster.accelerator": "b200-sxm-180gb", "pricing.rental.price": {"triangular": [
        f"{price * 47409 / 30000!r} USD/h" for price in (2.0, 2.5, 4.0)]}}),
])
def test_a_lever_alone_is_the_comparison_with_the_scenario_that_a_hand_would_write(lever, assumed, by_hand):
    found = lever_study(SMALL, (lever,), read_assumptions(assumed), trials=10)
    rows = run_points(points_of([SMALL, edited(SMALL, by_hand)], 10))
    for column in COLUMNS:
        change = found.change(0, found.alone[0].after, column)
        values = rows.column(column)
        difference = values[1] - values[0]
        assert change.mean == pytest.approx(difference.mean(), rel=1e-9)
        assert change.high - change.mean == pytest.approx(1.96 * difference.std(ddof=1) / math.sqrt(10), rel=1e-3, abs=1e-6)


def test_one_seed_one_answer_with_any_number_of_workers(study):
    again = lever_study(SMALL, trials=12, workers=2)
    assert all(np.array_equal(study.rows.column(column), again.rows.column(column)) for column in COLUMNS)
    other = lever_study(SMALL, ("precision",), trials=12, seed=8)
    assert not np.array_equal(other.rows.column("cost_usd")[0], study.rows.column("cost_usd")[0])


def test_all_together_is_the_same_in_any_order():
    levers = ("layout", "hardware", "precision", "power")
    one, other = (lever_study(SMALL, order, trials=3) for order in (levers, levers[::-1]))
    assert one.scenarios[one.together] == other.scenarios[other.together]
    assert one.mean(one.together, "energy_j") == other.mean(other.together, "energy_j")


def test_levers_are_worked_out_on_what_the_others_made():
    found = lever_study(SMALL, ("hardware", "layout", "power"), trials=2)
    both, capped = found.scenarios[found.steps[1].after], found.scenarios[found.steps[2].after]
    assert both.training.layout == fastest_layout(pulled("hardware")[0]).training.layout
    assert capped.cluster.power_limit_w in [share * 1000.0 for share in LIMITS]


@pytest.mark.parametrize("site", ["nor", "fra", "aws/eu-north-1", "usa/vermont", "gcp/us-west1"])
def test_a_cleaner_site_never_raises_operational_carbon(site):
    found = lever_study(SMALL, ("site",), read_assumptions({}, site), trials=5)
    before, after = found.rows.column("carbon_operational_kg")[[0, found.together]]
    assert (after < before).all()
    assert np.array_equal(*found.rows.column("time_s")[[0, found.together]])
    assert found.scenarios[1].facility == edited(at_site(SMALL, site), {}).facility


@pytest.mark.parametrize("own", ["usa", "swe", "gcp/europe-north2", "isl"])
def test_the_cleanest_site_of_the_catalog_is_not_left_for_a_dirtier_one(own):
    there = edited(SMALL, {"facility.site": own})
    if own == "gcp/europe-north2":
        assert "cleanest site" in refusal("site", there)
        return
    moved, said = pulled("site", there)
    assert moved.facility.site.carbon_intensity_kgco2e_per_j < there.facility.site.carbon_intensity_kgco2e_per_j
    assert said.startswith("gcp/europe-north2: 2.73 gCO2e/kWh for ")


@pytest.mark.parametrize("file", ["small-8gpu", "gpt3-175b", "bloom-176b", "llama3-405b", "deepseek-v3", "megascale-12288"])
def test_the_layout_lever_never_makes_steps_slower(file):
    scenario = load_scenario(f"scenarios/{file}.yaml")
    assert step_seconds(fastest_layout(scenario).central()) <= step_seconds(scenario.central())


def test_the_power_limit_found_takes_least_energy():
    quiet = edited(SMALL, {"failures": "none"})
    limited, _ = pulled("power", quiet)
    energies = {share: Trials(edited(quiet, {"cluster.power_limit": f"{share * 700!r} W"})).run(0).row["energy_j"]
                for share in (*LIMITS, 1.0)}
    assert limited.cluster.power_limit_w == pytest.approx(700.0 * min(energies, key=energies.__getitem__))


def test_what_does_not_apply_says_why():
    a100 = edited(SMALL, {"cluster.accelerator": "a100-sxm-80gb"})
    assert refusal("precision", a100) == "a100-sxm-80gb has no fp8, and nothing faster than bf16"
    assert "auto" in refusal("layout", edited(SMALL, {"training.layout": "auto"}))
    assert "fastest" in refusal("layout", fastest_layout(SMALL))
    assert "mixture of experts already" in refusal("experts", load_scenario("scenarios/deepseek-v3.yaml"))
    assert "no units" in refusal("sparsity", load_scenario("scenarios/gpt3-175b.yaml"))
    assert "no newer accelerator" in refusal("hardware", edited(SMALL, {"cluster.accelerator": "gb300-nvl72"}))
    assert "350 W already" in refusal("power", edited(SMALL, {"cluster.power_limit": "350 W"}), **{"power-limit": 0.6})
    assert "does not change with the hour" in refusal("schedule", SMALL)
    ruled = pulled("schedule", with_hours(SMALL, 0.2))[0]
    assert "rule on carbon already" in refusal("schedule", ruled)
    no_site = edited(SMALL, {"facility": {"site": None, "pue": 1.1}})
    assert "not known" in refusal("site", no_site)


def test_a_lever_that_can_be_pulled_but_not_run_says_why():
    crowded = edited(SMALL, {"model": "gpt3-13b", "cluster.accelerators": 8, "training.layout": {"tensor": 8, "microbatch": 1},
                             "training.recompute": "full"})
    found = lever_study(crowded, ("experts", "precision"), trials=2)
    assert "memory" in found.alone[0].reason
    assert found.steps[0].after == 0
    assert found.together == found.steps[1].after > 0


def test_a_lever_that_becomes_possible_by_another_is_in_its_bar_and_said():
    found = lever_study(edited(SMALL, {"cluster.accelerator": "a100-sxm-80gb"}), ("precision", "hardware"), trials=2)
    assert "no fp8" in found.steps[0].reason
    assert "lower precision then applies: bf16 -> fp8" in found.steps[1].said
    assert found.scenarios[found.together].training.precision == "fp8"


def test_hourly_carbon_is_made_up_around_the_mean_and_said_so(study):
    assert any("synthetic" in note for note in study.notes)
    alone = {e.lever: e for e in study.alone}["schedule"]
    assert study.change(0, alone.after, "time_s").low > 0.0
    flat = lever_study(SMALL, ("precision",), trials=12)
    assert flat.notes == ()
    assert study.mean(0, "carbon_operational_kg") == pytest.approx(flat.mean(0, "carbon_operational_kg"), rel=0.01)
    assert np.array_equal(study.rows.column("time_s")[0], flat.rows.column("time_s")[0])


def test_the_rule_holds_in_the_share_of_hours_asked_for():
    ruled = pulled("schedule", with_hours(SMALL, 0.2), dirtiest=0.25)[0]
    (policy,) = ruled.policies
    hours = [math.cos(2.0 * math.pi * (hour - 20) / 24.0) for hour in range(24)]
    mean = SMALL.facility.site.carbon_intensity_kgco2e_per_j
    above = [hour for hour in hours if mean * (1.0 + 0.2 * hour) > policy.carbon_above_kgco2e_per_j * (1.0 + 1e-12)]
    assert 4 <= len(above) <= 6


@pytest.mark.parametrize(("old", "new"), [("h100-sxm-80gb", "b200-sxm-180gb"), ("a100-sxm-80gb", "h100-sxm-80gb"),
                                          ("h200-sxm-141gb", "b200-sxm-180gb"), ("v100-sxm2-32gb", "a100-sxm-80gb")])
def test_the_next_generation_is_the_vendors_next(old, new):
    assert successor(catalog.load("accelerators", old)).name == new


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gpt3-175b", "deepseek-v3", "llama-3-70b", "gpt2-small"])
def test_a_student_has_its_share_of_the_parameters_and_all_layers(model):
    teacher = catalog.load("models", model)
    student = narrower(teacher, 0.4)
    assert parameters(student).total == pytest.approx(0.4 * parameters(teacher).total, rel=0.06)
    assert (student.layers, student.heads) == (teacher.layers, teacher.heads)


def test_experts_keep_the_active_parameters():
    routed, _ = pulled("experts")
    assert parameters(routed.model).active == pytest.approx(parameters(SMALL.model).total, rel=0.01)
    assert parameters(routed.model).total > 4.0 * parameters(SMALL.model).total


def test_distillation_is_near_the_published_hours():
    """Llama 3.2 3B took 460 thousand GPU-hours and 86 thousand for logits, Llama 3.1 8B 1.46 million (model cards)."""
    eight = scenario_from_mapping({
        "name": "8B", "year": 2024, "model": "llama-3.1-8b", "failures": "none", "checkpoint": {"storage_bandwidth": "50 GB/s"},
        "training": {"tokens": "15 T", "batch": "8 M", "sequence": 8192, "layout": "auto"},
        "cluster": {"accelerator": "h100-sxm-80gb", "accelerators": 1024}, "facility": {"site": "usa", "pue": 1.1}})
    found = lever_study(eight, ("distillation",), trials=20)
    ratio = found.mean(found.together, "accelerator_s") / found.mean(0, "accelerator_s")
    assert ratio == pytest.approx((460.0 + 86.0) / 1460.0, rel=0.25)


@pytest.mark.parametrize(("name", "low", "high"), [("moe-work", 1.0 / 4.0, 1.0 / 1.7), ("sparse-work", 1.0 / 1.2, 1.0), (
    "student-work", 9.0 / 15.0 * (1.0 + 86.0 / 460.0), 9.0 / 15.0 * (1.0 + 86.0 / 370.0))])
def test_published_ratios_span_what_their_sources_say(name, low, high):
    found = DEFAULTS.numbers[name].quantile(np.array([0.025, 0.975]))
    assert found == pytest.approx([low, high], rel=0.01)
    assert "arXiv" in ASSUMPTIONS[name].source


def test_published_ratios_multiply():
    twice = with_work(with_work(SMALL, DEFAULTS.numbers["moe-work"]), DEFAULTS.numbers["sparse-work"]).training.tokens
    assert twice.parameters == pytest.approx((150e9 * 0.383 * 0.913, math.hypot(0.218, 0.0465)))
    with pytest.raises(UserError, match="lognormal"):
        with_work(edited(SMALL, {"training.tokens": {"uniform": ["1 B", "2 B"]}}), DEFAULTS.numbers["moe-work"])


def test_batches_change_at_the_same_share_of_the_run():
    phased = edited(SMALL, {"training.batch_schedule": [{"until": "50 B", "batch": "1 M", "sequence": 2048},
                                                        {"batch": "2 M", "sequence": 2048}]})
    assert with_work(phased, 0.5).training.batch_schedule[0].until == 25e9


@settings(deadline=None, max_examples=30)
@given(st.floats(0.1, 10.0), st.sampled_from([
    ("triangular", (1.0, 2.0, 4.0), ()), ("lognormal", (2.0, 0.3), ()), ("beta_pert", (1.0, 2.0, 3.0, 4.0), ()),
    ("beta", (2.0, 3.0, 1.0, 5.0), ()), ("normal", (5.0, 1.0), ()), ("choice", (1.0, 2.0, 3.0), (1.0, 2.0, 3.0))]))
def test_a_scaled_distribution_has_scaled_quantiles(factor, found):
    name, values, weights = found
    one = Distribution(name, values, "ratio", 0.0, False, weights=weights)
    u = np.linspace(0.01, 0.99, 25)
    assert scaled(one, factor).quantile(u) == pytest.approx(factor * one.quantile(u), rel=1e-9)


def test_the_picture_has_four_panels_that_end_where_the_study_does(study):
    axes = levers_figure(study).axes
    assert [ax.get_title(loc="left").split(" (")[0] for ax in axes] == ["Time", "Cost", "Energy at the meter",
                                                                          "Operational carbon by place"]
    bars = axes[0].patches
    assert bars[0].get_width() == pytest.approx(study.mean(0, "time_s") / 86400.0)
    assert bars[1].get_width() == pytest.approx(study.mean(study.together, "time_s") / 86400.0)


def test_json_has_base_bars_and_assumptions(study):
    found = json.loads(json.dumps(levers_json(study)))
    total = found["base"]["energy_j"] + sum(step["change"]["energy_j"]["mean"] for step in found["steps"])
    assert total == pytest.approx(found["together"]["total"]["energy_j"])
    assert {"moe-work", "student-work"} <= {one["name"] for one in found["assumptions"]}
    assert found["assumptions"][-1]["value"] is not None


def test_the_command_prints_tables_and_writes_the_picture(tmp_path):
    picture = tmp_path / "levers.png"
    result = CliRunner().invoke(app, ["levers", "scenarios/small-8gpu.yaml", "--lever", "precision", "--lever", "site",
                                      "--site", "nor", "--trials", "3", "--plot", str(picture)])
    assert result.exit_code == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "lower precision" in result.output
    assert "nor: 30.1" in " ".join(result.output.split())


@pytest.mark.parametrize(("arguments", "message"), [
    (["--lever", "precison"], "did you mean 'precision'"),
    (["--assume", "moe-wrk=0.5"], "did you mean 'moe-work'"),
    (["--assume", "student-size=2"], "at most 1"),
    (["--assume", "student-size"], "NAME=VALUE"),
    (["--assume", "moe-work={uniform: [0, 1"], "no YAML"),
    (["--site", "nowhere"], "unknown site"),
])
def test_bad_options_are_refused_with_what_is_allowed(arguments, message):
    result = CliRunner().invoke(app, ["levers", "scenarios/small-8gpu.yaml", "--trials", "2", *arguments])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)

"""The constrained search: Daly's interval, spares that hold in fresh trials, brute force with a tenth of the trials."""

import json
from io import BytesIO, StringIO

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from kernels.packs import Layout as LayoutPack
from simulator.cli import app
from simulator.errors import UserError
from simulator.montecarlo.points import points_of, run_points
from simulator.montecarlo.trials import Trials
from simulator.performance.ettr import daly_numerical_interval_s
from simulator.performance.search import layout_of
from simulator.performance.search import search as layouts
from simulator.planning.axes import design_points, parse_axis
from simulator.planning.constraints import judge, parse_constraint, with_derived
from simulator.planning.plan import search
from simulator.planning.race import FINAL_ERROR
from simulator.planning.space import changed, key_of
from simulator.report.plan import front_figure, plan_json, plan_view
from simulator.scenario import Goals, load_scenario
from tests.simulator.runs import scenario


def planned(one, over, subject_to=(), by="cost", **how):
    return search(one, [parse_axis(text) for text in over], by, [parse_constraint(text) for text in subject_to], **how)


def failing(rate, **sections):
    return scenario(**{"training": {"tokens": "100 B"}, "failures": {
        "components": [{"name": "n", "rate": f"{rate} per 1000 days", "kind": "hardware"}]}, **sections})


def test_the_interval_found_is_daly_s():
    one = failing(2000, cluster={"spares": 100}, monte_carlo={"trials": 1000})
    found = planned(one, ["checkpoint.interval=2 min..2 h"], by="time", confirm=0)
    plan = Trials(one).central
    daly_s = daly_numerical_interval_s(plan.checkpoint.stall_s, plan.mtbf_s)
    chosen = found.choice.candidate.scenario.checkpoint.interval_s
    assert chosen == pytest.approx(daly_s, rel=0.05)
    assert found.vertices["checkpoint.interval"].error < 0.02
    assert found.vertices["checkpoint.interval"].value == pytest.approx(chosen, rel=1e-6)


AVAILABLE = failing(400, monte_carlo={"trials": 1000})


@pytest.mark.parametrize(("asked", "chance"), [("P(availability >= 99 %) >= 0.9", 0.9), ("availability >= 99.5 %", None)])
def test_the_spares_found_meet_what_was_asked_in_ten_thousand_other_trials(asked, chance):
    found = planned(AVAILABLE, ["cluster.spares=0..64"], [asked])
    assert found.certain
    other = run_points(points_of([found.choice.candidate.scenario], 10_000, seed=12345))
    share = 1.0 - other.column("time_wait_for_spares_s")[0] / other.column("time_s")[0]
    spares = found.choice.candidate.changes["cluster.spares"]
    fewer = run_points(points_of([changed(AVAILABLE, {"cluster.spares": spares - 1})], 10_000, seed=12345))
    less = 1.0 - fewer.column("time_wait_for_spares_s")[0] / fewer.column("time_s")[0]
    if chance is None:
        assert share.mean() >= 0.995 > less.mean()
    else:
        assert (share >= 0.99).mean() >= chance > (less >= 0.99).mean()


SPACE = ["cluster.accelerators=16,32,48,64", "cluster.spares=0,1,2,4,8", "checkpoint.interval=3 min,15 min,3 h"]
SEARCHED = failing(400, training={"tokens": "50 B"}, monte_carlo={"trials": 1000})


@pytest.fixture(scope="module")
def brute_force():
    """All points of a space with all trials of each: changes and rows."""
    points = design_points([parse_axis(text) for text in SPACE])
    found = run_points(points_of([changed(SEARCHED, point) for point in points], SEARCHED.monte_carlo.trials))
    return [(point, with_derived({name: values[i] for name, values in found.columns.items()}, 0.0))
            for i, point in enumerate(points)]


@pytest.mark.parametrize(("subject_to", "by", "column"), [
    (("P(time <= 6 h) >= 0.9",), "cost", "cost_usd"),
    (("P(time <= 10 h) >= 0.9", "P(cost <= 1200 USD) >= 0.8"), "energy", "energy_j"),
    (("mean(cost) <= 1000 USD",), "time", "time_s"),
])
def test_the_plan_is_brute_force_with_a_tenth_of_its_trials(brute_force, subject_to, by, column):
    constraints = [parse_constraint(text) for text in subject_to]
    met = [(rows[column].mean(), point) for point, rows in brute_force
           if all(judge(c, rows, FINAL_ERROR).verdict == "met" for c in constraints)]
    found = planned(SEARCHED, SPACE, subject_to, by=by, confirm=0, indifference=0.0)
    assert 0 < len(met) < len(brute_force)
    assert found.choice.candidate.changes == min(met, key=lambda pair: pair[0])[1]
    assert found.brute_force_trials == 60 * 1000
    assert found.race.used < 0.1 * found.brute_force_trials


UNCERTAIN = failing(400, monte_carlo={"trials": 200},
                    pricing={"rental": {"price": {"triangular": ["1 USD/h", "2 USD/h", "4 USD/h"]}}})
OVER = ["cluster.spares=0..4", "checkpoint.mode=sync,async"]


def test_workers_change_nothing():
    alone, together = (planned(UNCERTAIN, OVER, ["availability >= 98 %"], workers=workers) for workers in (1, 2))
    assert json.dumps(plan_json(alone)) == json.dumps(plan_json(together))


def test_a_runner_up_and_what_is_barred_are_told_with_why():
    found = planned(UNCERTAIN, OVER, ["P(availability >= 98 %) >= 0.9"])
    entry, gap = found.runner_up()
    assert entry is not found.choice
    assert gap.mean + gap.half > 0.0
    nearest = found.nearest()
    assert nearest.candidate.changes["cluster.spares"] < found.choice.candidate.changes["cluster.spares"]
    assert [c.column for c, _ in found.unmet(nearest)] == ["availability"]
    assert sum(found.fates().values()) == 10 - 1
    text = rendered(found)
    assert "Runner-up:" in text
    assert "but not allowed" in text


def rendered(found):
    from rich.console import Console

    console = Console(width=200, file=StringIO())
    console.print(plan_view(found))
    return console.file.getvalue()


def test_a_choice_that_fresh_trials_refute_is_not_made():
    one = scenario(training={"tokens": "150 B"}, monte_carlo={"trials": 1000})
    found = planned(one, ["cluster.spares=0..64"], ["availability >= 99.9 %"])
    assert found.confirmed.holds
    assert [e.candidate.changes["cluster.spares"] for e in found.race.entries if "fresh trials" in e.barred] == [3]
    assert found.choice.candidate.changes["cluster.spares"] == 4


def test_nothing_that_meets_the_constraints_is_told_with_what_is_nearest():
    found = planned(UNCERTAIN, OVER, ["P(time <= 1 h) >= 0.9"])
    assert found.choice is None
    assert found.race.used == 0  # no trial is needed: the least time is over it
    assert "Nearest to the constraints" in rendered(found)
    again = planned(UNCERTAIN, ["cluster.spares=0,1"], ["P(availability >= 99.99 %) >= 0.99"])
    assert again.choice is None
    assert again.nearest().candidate.changes == {"cluster.spares": 1}
    assert plan_json(again)["choice"] is None


def test_a_constraint_on_what_no_run_has_is_told_before_the_race():
    with pytest.raises(UserError, match="no result 'cost_foo_usd'"):
        planned(UNCERTAIN, OVER, ["P(time <= 1 s) >= 0.9", "cost_foo_usd <= 3 USD"])


@pytest.mark.parametrize(("over", "message"), [
    (["cluster.spairs=1,2"], "spares"),
    (["cluster.spares=0..64", "cluster.spares=1"], "twice"),
    (["training.tokens=1 B..9 B:99", "cluster.spares=0..90:90"], "8,910 candidates"),
    (["facility.site=atlantis"], "unknown site 'atlantis'"),
    (["model=gpt3-175b"], "memory"),
])
def test_a_bad_space_is_told(over, message):
    with pytest.raises(UserError, match=message):
        planned(UNCERTAIN, over)


def test_what_cannot_be_had_stops_nothing_else():
    found = planned(UNCERTAIN, ["model=gpt3-1.3b,gpt3-175b"])
    assert found.choice.candidate.changes == {"model": "gpt3-1.3b"}
    assert "memory" in found.impossible[0][1] or "GiB" in found.impossible[0][1]


@pytest.mark.parametrize("over", [
    "cluster.accelerators=16,32", "cluster.accelerator=h100-sxm-80gb,a100-sxm-80gb", "training.batch=1 M,2 M",
    "training.layout=auto,{microbatch: 2, zero: 1}", "checkpoint.interval=20 min,daly", "checkpoint.mode=sync,async",
    "checkpoint.memory={interval: 3 min, load: 10 s},{interval: 6 min, load: 10 s}", "cluster.spares=2,4",
    "facility.site=usa,fra", "pricing={rental: {price: 3 USD/h}},{owned: {}}", "pricing.rental={price: 1.5 USD/h, term: 3 days},"
    "{price: 2 USD/h}", "cluster.power_limit=450 W,700 W", "calendar.start=2025-01-01,2025-07-01",
])
def test_all_that_a_planner_chooses_can_vary_and_runs_as_it_is(over, tmp_path):
    found = planned(failing(400, training={"tokens": "10 B"}, monte_carlo={"trials": 20}), [over], confirm=0)
    assert len(found.race.entries) == 2
    assert not found.impossible
    file = tmp_path / "chosen.yaml"
    file.write_text(yaml.safe_dump(found.resolved.to_file()))
    row = Trials(load_scenario(file)).run(0).row
    assert {name: row[name] for name in ("time_s", "cost_usd")} == {
        name: found.choice.rows[name][0] for name in ("time_s", "cost_usd")}


def test_sizes_vary_where_the_layout_is_searched():
    one = failing(400, training={"tokens": "10 B", "layout": "auto"}, monte_carlo={"trials": 20})
    found = planned(one, ["cluster.accelerators=16,32"], by="time", confirm=0)
    assert found.choice.candidate.changes == {"cluster.accelerators": 32}


def test_a_better_site_is_chosen_for_carbon():
    found = planned(failing(400, training={"tokens": "10 B"}, monte_carlo={"trials": 40}), ["facility.site=usa,fra"], by="carbon")
    assert found.choice.candidate.changes == {"facility.site": "fra"}
    assert key_of(found.choice.candidate.changes) == '{"facility.site": "fra"}'


PUBLISHED = {"tensor": 8, "pipeline": 16, "data": 128, "zero": 1, "schedule": "interleaved"}


def test_the_best_layout_of_llama_without_context_parallelism_is_the_published_one():
    """Llama 3.1 405B on 16,384 H100: TP 8, CP 1, PP 16, DP 128 (arXiv:2407.21783, table 4)."""
    found = layouts(load_scenario("scenarios/llama3-405b.yaml").central())
    sizes = LayoutPack(*found.layouts.T)
    best = layout_of(found.layouts[np.argmin(np.where(sizes.context == 1.0, found.times_s, np.inf))])
    assert {name: getattr(best, name) for name in PUBLISHED} == PUBLISHED


def test_why_the_published_layout_of_llama_loses_to_one_with_context_parallelism_is_shown():
    given = load_scenario("scenarios/llama3-405b.yaml")
    short = given.model_copy(update={"monte_carlo": given.monte_carlo.model_copy(update={"trials": 16}), "goals": Goals()})
    published = yaml.safe_dump(PUBLISHED, default_flow_style=True, width=200).strip()
    found = planned(short, [f"training.layout=auto,{published}"], by="time", confirm=0)
    assert found.choice.candidate.changes == {"training.layout": "auto"}
    assert found.choice.candidate.layout.context > 1
    assert "bubble" in found.why_steps(found.runner_up()[0])
    assert "its steps: pipeline bubble" in rendered(found)


SCENARIO = """
name: small plan
model: gpt3-1.3b
training: {tokens: 20 B, batch: 1 M, sequence: 2048, recompute: none, layout: {microbatch: 4, zero: 1}}
cluster: {accelerator: h100-sxm-80gb, accelerators: 32}
failures:
  components: [{name: node, rate: 4000 per 1000 days, kind: hardware}]
  recovery: {detection: 5 min, replacement: 1 min, initialisation: 2 min, repair: 6 h}
checkpoint: {interval: 30 min, mode: sync, storage_bandwidth: 1 GB/s}
facility: {site: usa, pue: 1.2}
pricing: {rental: {price: 2 USD/h}}
goals: {deadline: 30 h, deadline_chance: 0.8, peak_power: 1 MW}
monte_carlo: {trials: 100, seed: 7}
plan: {minimise: cost, over: ["cluster.spares=0..4"], subject_to: ["availability >= 60 %"]}
"""


@pytest.fixture
def file(tmp_path):
    found = tmp_path / "plan.yaml"
    found.write_text(SCENARIO)
    return found


def invoke(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_the_command_writes_a_scenario_that_runs_and_a_picture(file, tmp_path):
    chosen, picture = tmp_path / "chosen.yaml", tmp_path / "front.png"
    found = invoke(file, "--json", "-o", chosen, "--plot", picture, "--workers", "1")
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert [c["constraint"] for c in answer["choice"]["constraints"]] == [
        "P(time <= 1.25 days) >= 0.8", "peak_power <= 1 MW", "availability >= 60 %"]
    assert load_scenario(chosen).cluster.spares == answer["choice"]["changes"]["cluster.spares"]
    assert load_scenario(chosen).plan is None
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_nothing_feasible_exits_with_one(file):
    found = invoke(file, "--subject-to", "P(time <= 1 min) >= 0.9", "--workers", "1")
    assert found.exit_code == 1
    assert "Nothing meets the constraints" in found.stdout


@pytest.mark.parametrize(("options", "message"), [
    (["--minimise", "tiem"], "did you mean 'time'"),
    (["--subject-to", "P(time <= 3) >= 0.9"], "bare number"),
    (["-o", "chosen.txt"], ".yaml"),
    (["--over", "cluster.spares"], "PATH=VALUES"),
    (["--over", "cluster.spares=1,2", "--budget", "5M"], "two questions"),
    (["--deadline", "3 days", "--tokens-served", "1 T"], "--tokens-served"),
])
def test_bad_options_are_told(file, options, message):
    found = invoke(file, *options)
    assert isinstance(found.exception, UserError)
    assert message in str(found.exception)


def test_the_picture_of_one_point():
    figure = front_figure(planned(failing(400, training={"tokens": "10 B"}, monte_carlo={"trials": 20}), ["cluster.spares=4"],
                                  confirm=0))
    figure.savefig(BytesIO())


def test_carbon_that_is_unknown_cannot_be_least():
    nowhere = failing(400, training={"tokens": "10 B"}, monte_carlo={"trials": 20}, facility={"site": None})
    found = planned(nowhere, ["facility.site=usa,fra", "cluster.spares=4"], by="carbon", confirm=0)
    assert found.choice.candidate.changes["facility.site"] == "fra"
    unknown = planned(nowhere, ["cluster.spares=3,4"], by="carbon", confirm=0)
    assert unknown.choice is None
    assert sum(count for why, count in unknown.fates().items() if why.startswith("unknown")) == 2

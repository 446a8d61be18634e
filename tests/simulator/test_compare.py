"""Scenarios side by side: paired differences, what differs, folders of earlier runs."""

import json
import math

import numpy as np
import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

import simulator
from simulator.cli import app
from simulator.errors import UserError
from simulator.planning.compare import Comparison, joined_comparison, read_rows
from simulator.planning.inputs import differing
from simulator.planning.paired import paired_difference, unpaired_difference
from simulator.report.compare import compare_figure
from simulator.scenario.edits import edited
from tests.simulator.studies import small

SMALL = small(40)


def pair(**changes) -> Comparison:
    return simulator.compare(SMALL, edited(SMALL, {path.replace("__", "."): value for path, value in changes.items()}))


def test_a_paired_difference_is_that_by_hand() -> None:
    values, base = np.array([3.0, 5.0, 10.0]), np.array([1.0, 4.0, 6.0])
    found = paired_difference(values, base)
    changes = [2.0, 1.0, 4.0]
    mean = sum(changes) / 3.0
    spread = math.sqrt(sum((change - mean) ** 2 for change in changes) / 2.0)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - 4.302653 * spread / 3**0.5, mean + 4.302653 * spread / 3**0.5))
    assert found.lower == 0.0
    assert paired_difference(base, values).lower == 1.0
    assert found.narrowing == pytest.approx((values.var(ddof=1) + base.var(ddof=1)) / spread**2)


def test_an_unpaired_difference_is_welchs() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(5.0, 1.0, 12), rng.normal(4.0, 3.0, 30)
    known = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    found = unpaired_difference(one, other)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert math.isnan(found.lower)


@pytest.mark.parametrize("count", [3, 20])
def test_intervals_hold_what_they_promise(count) -> None:
    rng, hits, tries = np.random.default_rng(2), 0, 2000
    for _ in range(tries):
        common = rng.normal(0.0, 5.0, count)
        found = paired_difference(common + rng.normal(1.0, 1.0, count), common + rng.normal(0.0, 1.0, count))
        hits += found.low <= 1.0 <= found.high
    assert abs(hits / tries - 0.95) < 4.0 * math.sqrt(0.95 * 0.05 / tries)


def test_what_is_unknown_or_has_no_interval_says_so() -> None:
    assert math.isnan(paired_difference(np.array([1.0, np.nan]), np.ones(2)).mean)
    one = paired_difference(np.array([2.0]), np.array([1.0]))
    assert (one.mean, one.low, one.high) == (1.0, -math.inf, math.inf)
    assert unpaired_difference(np.full(5, 0.1), np.full(7, 0.1))[:3] == (0.0, 0.0, 0.0)


def test_a_scenario_differs_from_itself_by_exactly_nothing() -> None:
    found = simulator.compare(SMALL, SMALL)
    assert np.ptp(found.rows[0].columns["cost_usd"]) > 0.0
    for name in found.names:
        assert found.difference(name)[:3] == (0.0, 0.0, 0.0) or math.isnan(found.difference(name).mean), name
    assert found.inputs == []


def test_another_price_changes_dollars_alone_and_by_its_share() -> None:
    dear = simulator.compare(*(edited(SMALL, {"pricing.rental.price": f"{price} USD/h"}) for price in (2, 3)))
    assert dear.difference("time_s")[:3] == (0.0, 0.0, 0.0)
    rented = dear.rows[0].columns["holding_rent_usd"]
    assert dear.differences("cost_usd") == pytest.approx(0.5 * rented)
    assert dear.difference("cost_usd").lower == 0.0


def test_common_luck_narrows() -> None:
    found = pair(facility__pue=1.25)
    change = found.difference("energy_j")
    assert change.narrowing > 100.0
    apart = unpaired_difference(found.rows[1].columns["energy_j"], found.rows[0].columns["energy_j"])
    assert change.half < 0.12 * apart.half
    assert change.distinct


def test_what_differs_is_told_by_path() -> None:
    other = edited(SMALL, {"cluster.accelerator": "h200-sxm-141gb", "facility.pue": 1.5, "monte_carlo.trials": 9, "name": "other",
                           "pricing.rental.price": "3 USD/h", "failures.recovery.detection": "9 min"})
    found = {one.path: one.values for one in differing([SMALL, other])}
    assert set(found) == {"cluster.accelerator", "facility.pue", "pricing.rental.price", "failures.recovery.detection"}
    assert found["cluster.accelerator"] == (SMALL.cluster.accelerator.name, other.cluster.accelerator.name)
    assert found["facility.pue"] == (1.2, 1.5)
    assert "triangular" in found["pricing.rental.price"][0]


def test_within_a_record_of_the_same_name_leaves_are_told() -> None:
    other = edited(SMALL, {"cluster.accelerator.tdp": "600 W", "training.batch_schedule.0.batch": "2 M"})
    paths = [one.path for one in differing([SMALL, other])]
    assert "cluster.accelerator.tdp" in paths
    assert "training.batch_schedule.0.batch" in paths


def test_a_section_that_one_lacks_is_told_whole() -> None:
    other = edited(SMALL, {"goals.deadline": "3 days", "facility.site": "fra"})
    found = {one.path: one.values for one in differing([SMALL, other, SMALL])}
    assert found["goals.deadline"] == (None, "259200.0 s", None)
    assert found["facility.site"][0] == found["facility.site"][2] != found["facility.site"][1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the folders of two seeds, and a scenario file of the same."""
    folder = tmp_path_factory.mktemp("compare")
    file = folder / "same.yaml"
    file.write_text(yaml.safe_dump(SMALL.to_file(), allow_unicode=True), encoding="utf-8")
    for seed in (7, 8):
        simulator.run(file, trials=30, seed=seed, folder=folder / f"seed{seed}")
    return folder


def test_a_folder_is_paired_with_a_file_that_then_runs_its_trials(folders) -> None:
    found = simulator.compare(folders / "seed7", folders / "same.yaml")
    assert found.paired == (True, True)
    assert found.rows[1].columns["trial"].size == 30
    assert found.difference("cost_usd")[:3] == (0.0, 0.0, 0.0)


def test_folders_of_other_seeds_are_not_paired(folders) -> None:
    found = simulator.compare(folders / "seed7", folders / "seed8")
    assert found.paired == (True, False)
    values = [np.asarray(row.columns["cost_usd"]) for row in found.rows]
    assert found.difference("cost_usd") == pytest.approx(unpaired_difference(values[1], values[0]), nan_ok=True)
    with pytest.raises(UserError, match="does not share its luck"):
        found.differences("cost_usd")


def test_folders_with_other_numbers_of_trials_are_paired_where_both_have_them(folders) -> None:
    rows = [read_rows(folders / "seed7", "all"), read_rows(folders / "seed7", "few", 12)]
    found = joined_comparison(rows)
    assert found.differences("cost_usd").shape == (12,)
    assert found.difference("cost_usd")[:3] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("words", "message"), [
    (["{}/same.yaml"], "found 1 scenario; allowed: two or more"),
    (["{}/seed7", "{}/same.yaml", "--seed", "3"], "was run with 7"),
    (["{}/seed7", "{}/same.yaml", "--trials", "31"], "holds 30"),
    (["{}", "{}/same.yaml"], "holds no trials.parquet"),
    (["{}/same.yaml", "{}/sane.yaml"], "did you mean"),
    (["{}/same.yaml", "{}/seed7", "--plot", "x.bmp"], "allowed: .png"),
])
def test_what_cannot_be_compared_is_an_error(folders, words, message) -> None:
    result = CliRunner().invoke(app, ["compare", *(word.format(folders) for word in words)])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_a_scenario_that_cannot_run_is_named() -> None:
    broken = edited(SMALL, {"model": "gpt3-175b", "name": "too large"})
    with pytest.raises(UserError, match=r"(?s)^too large: .*more memory"):
        simulator.compare(SMALL, broken, trials=3)


def test_the_command_shows_results_differences_and_inputs(folders, tmp_path) -> None:
    other = tmp_path / "dear.yaml"
    changed = edited(SMALL, {"cluster.spares": 0, "goals.deadline": "1.3 days"})
    other.write_text(yaml.safe_dump(changed.to_file(), allow_unicode=True), encoding="utf-8")
    words = ["compare", str(folders / "same.yaml"), str(other), "--trials", "25"]
    shown = CliRunner().invoke(app, [*words, "--plot", str(tmp_path / "c.png")], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    for text in ("25 trials", "wall time", "Common luck narrows", "cluster.spares", "Chance of dear"):
        assert text in shown.output
    assert (tmp_path / "c.png").stat().st_size > 10_000
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    api = simulator.compare(folders / "same.yaml", other, trials=25)
    assert found["scenarios"][1]["differences"]["time_s"]["mean"] == api.difference("time_s").mean
    assert {one["path"] for one in found["inputs"]} == {"cluster.spares", "goals.deadline"}
    assert "deadline" in found["scenarios"][1]["goals"]
    assert "deadline" not in found["scenarios"][0]["goals"]


def test_the_picture_draws_a_violin_a_scenario_and_the_mean_of_differences() -> None:
    found = pair(cluster__spares=0)
    above, _, below, _ = compare_figure(found).axes
    assert [text.get_text() for text in above.get_yticklabels()] == found.labels
    dot = below.lines[2].get_xdata()[0]
    assert dot == pytest.approx(found.difference("time_s").mean / 3600.0) or dot == pytest.approx(
        found.difference("time_s").mean / 86400.0)


def test_tables_have_all_results() -> None:
    found = pair(facility__pue=1.3)
    table = found.table()
    assert table.loc[("energy_j", found.labels[1]), "difference"] == found.difference("energy_j").mean
    assert len(found.to_pandas()) == 80

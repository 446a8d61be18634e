"""`clustercost energy`, and the same run at other sites and on other dates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from simulator.accounting.supply import energy_price
from simulator.cli import app
from simulator.errors import UserError
from simulator.planning.alternatives import COLUMNS, alternatives, at_site, from_date, run_alternatives, with_calendar
from simulator.scenario import Scenario
from tests.simulator.test_orders import DEAR, FAILING, by_hour, scenario

KWH_J = 3.6e6
PAUSE = [{"price_above": "0.1 USD/kWh", "action": "pause"}]


def failing(**changes: Any) -> Scenario:
    """The thirty hours with failures, so that there is luck to share."""
    return scenario(**{**DEAR, "failures": FAILING, "policies": PAUSE, **changes})


def written(folder: Path, made: Scenario) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(made.to_file(), sort_keys=False), encoding="utf-8")
    return str(path)


def energy(*words: str) -> Result:
    return CliRunner().invoke(app, ["energy", *words], env={"COLUMNS": "200"}, catch_exceptions=True)


def report_of(*words: str) -> dict[str, Any]:
    done = energy(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_tables_have_the_months_the_sources_and_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, failing(calendar={"start": "2024-05-31T12:00"}, facility={"solar": "5 kW"}))
    done = energy(path, "--trials", "3", "--site", "usa/texas", "--start", "2024-12-01")
    assert done.exit_code == 0, done.output
    for word in ("orders: 3 trials, seed 7, from 31 May 2024, UTC", "2024-05", "2024-06", "Bill by month", "energy at the meter",
                 "from solar on site", "operational carbon, by place", "time paused", "as given", "without its rules",
                 "usa/texas, from 2024-12-01", "pricing.electricity.price: tariff by the local clock"):
        assert word in done.stdout, word
    assert "assumed" not in done.stdout


def test_json_has_the_same_and_its_months_sum_to_its_results(tmp_path: Path) -> None:
    found = report_of(written(tmp_path, failing(calendar={"start": "2024-05-31T12:00"})), "--trials", "1")
    assert [month["month"] for month in found["months"]] == ["2024-05", "2024-06"]
    assert sum(month["hours_h"] for month in found["months"]) == pytest.approx(found["results"]["time_s"][1] / 3600.0)
    usd = sum(value for month in found["months"] for name, value in month.items() if name.startswith("cost_"))
    assert usd == pytest.approx(found["results"]["cost_usd"][1])
    grid_j = sum(month["grid_j"] for month in found["months"])
    assert grid_j == pytest.approx(found["results"]["supply_grid_j"][1])
    assert len(found["day"]["power_w"]) == len(found["day"]["price_usd_per_j"]) == 24
    assert found["day"]["price_usd_per_j"][15] * KWH_J == pytest.approx(0.2)
    assert found["day"]["price_usd_per_j"][5] * KWH_J == pytest.approx(0.05)
    assert found["day"]["power_w"][15] < 0.5 * found["day"]["power_w"][5]  # paused
    assert found["waveform"]
    assert [other["label"] for other in found["alternatives"]] == ["as given", "without its rules"]
    given, free = found["alternatives"]
    assert free["time_s"] < given["time_s"] - 6 * 3600.0
    assert given["cost_usd"] == pytest.approx(found["results"]["cost_usd"][1])


def test_sites_and_dates_are_combined(tmp_path: Path) -> None:
    words = [written(tmp_path, failing(policies=[])), "--trials", "2"]
    for option, values in (("--site", ("fra", "deu")), ("--start", ("2024-01-01", "2024-07-01T06:00"))):
        for value in values:
            words += [option, value]
    labels = [other["label"] for other in report_of(*words)["alternatives"]]
    assert labels == ["as given", "fra, from 2024-01-01", "fra, from 2024-07-01T06:00", "deu, from 2024-01-01",
                      "deu, from 2024-07-01T06:00"]


def test_pictures_are_written(tmp_path: Path) -> None:
    step, day = tmp_path / "step.png", tmp_path / "day.png"
    done = energy(written(tmp_path, failing()), "--trials", "2", "--waveform", str(step), "--daily", str(day))
    assert done.exit_code == 0, done.output
    for file in (step, day):
        assert file.read_bytes().startswith(b"\x89PNG")
        assert f"Picture: {file}" in done.stderr


def test_without_a_calendar_a_start_is_assumed_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, scenario(calendar=None, year=2023))
    done = energy(path, "--trials", "1")
    assert done.exit_code == 0, done.output
    assert "from 01 January 2023, UTC (assumed: no calendar)" in done.stdout
    assert report_of(path, "--trials", "1")["alternatives"] == []


def test_what_is_unknown_is_said_and_null(tmp_path: Path) -> None:
    path = written(tmp_path, scenario(facility={"site": None}))
    assert "unknown" in energy(path, "--trials", "2").stdout
    found = report_of(path, "--trials", "2")
    assert found["results"]["carbon_operational_kg"] == [None, None, None]
    assert found["day"]["carbon_kg_per_j"] == [None] * 24


@pytest.mark.parametrize(("words", "expected"), [
    (["--site", "fraa"], ["unknown site 'fraa'", "did you mean 'fra'"]),
    (["--start", "2024-13-01"], ["--start: found '2024-13-01'", "2024-06-01"]),
    (["--start", "soon"], ["--start: found 'soon'"]),
    (["--start", "2024-03-10T02:30"], ["--start: found 2024-03-10T02:30", "America/Chicago skip", "2024-03-10T03:30"]),
    (["--waveform", "step.jpeg"], [".png"]),
    (["--daily", "nowhere/day.png"], ["nowhere"]),
])
def test_bad_calls_end_in_one_user_error(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    done = energy(written(tmp_path, scenario(calendar={"start": "2024-06-01", "time_zone": "America/Chicago"})), *words)
    assert isinstance(done.exception, UserError), done.output
    for word in expected:
        assert word in str(done.exception)
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_a_user_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    from tests.simulator.test_cli import clustercost

    done = clustercost("energy", written(tmp_path, scenario()), "--site", "fraa", code=2)
    assert done.stderr.startswith("error: ")
    assert "did you mean 'fra'" in done.stderr
    assert done.stdout == ""


# Alternatives.


def test_a_scenario_differs_from_itself_by_exactly_nothing() -> None:
    made = failing()
    one, same = run_alternatives([("one", made), ("same", made)], 4)
    assert np.ptp(one.columns["time_s"]) > 0.0
    for column in COLUMNS:
        assert one.difference(column, same) == (0.0, 0.0)


def test_alternatives_share_luck() -> None:
    """Another price changes dollars trial by trial, and nothing else."""
    made = failing(policies=[])
    dear = failing(policies=[], pricing={"electricity": {"price": "1 USD/kWh"}})
    one, dearer = run_alternatives([("one", made), ("dearer", dear)], 4)
    assert dearer.difference("time_s", one) == (0.0, 0.0)
    assert dearer.difference("energy_j", one) == (0.0, 0.0)
    mean, half = dearer.difference("cost_usd", one)
    assert mean > 0.0
    assert half < 0.1 * mean  # failures are the same: what is left is their part of the energy
    assert np.array_equal(one.columns["interruptions"], dearer.columns["interruptions"])


def test_a_difference_is_mean_and_half_interval_by_hand() -> None:
    one, other = run_alternatives([("one", failing(policies=[])), ("paused", failing())], 3)
    changes = (other.columns["time_s"] - one.columns["time_s"]).tolist()
    mean = sum(changes) / 3
    spread = (sum((change - mean)**2 for change in changes) / 2) ** 0.5
    assert other.difference("time_s", one) == pytest.approx((mean, 4.302653 * spread / 3**0.5))  # Student, 2 degrees
    assert mean >= 6 * 3600.0


def test_another_site_brings_its_carbon_price_and_pue() -> None:
    made = scenario(**DEAR, carbon={"intensity": by_hour("200 gCO2e/kWh", "14-20", "600 gCO2e/kWh"),
                                    "residual": "500 gCO2e/kWh"})
    moved = at_site(made, "fra")
    assert energy_price(moved) == moved.facility.site.electricity_usd_per_j  # type: ignore[union-attr]
    assert moved.carbon.intensity_kgco2e_per_j is None
    assert moved.carbon.residual_kgco2e_per_j is None
    assert moved.facility.pue == 1.2  # a country has none
    assert at_site(made, "gcp/europe-west4").facility.effective_pue == 1.07


def test_another_site_brings_its_price_to_owned_machines_too() -> None:
    made = scenario(pricing={"rental": None, "owned": {"electricity": "0.05 USD/kWh"}, "electricity": None})
    assert energy_price(at_site(made, "fra")) == pytest.approx(0.15 / KWH_J)
    assert energy_price(made) == pytest.approx(0.05 / KWH_J)


def test_a_site_without_a_price_leaves_the_scenarios() -> None:
    assert energy_price(at_site(scenario(), "world")) == energy_price(scenario())


def test_an_alternative_that_does_not_finish_is_named() -> None:
    """In France electricity is always dearer than the rule allows."""
    with pytest.raises(UserError, match=r"^fra: (trial 0: )?the run does not finish: .* paused 100% of the time"):
        run_alternatives(alternatives(failing(), ["fra"], ()), 1)


def test_without_rules_or_places_there_is_nothing_to_compare() -> None:
    assert [label for label, _ in alternatives(scenario(), (), ())] == ["as given"]
    assert [label for label, _ in alternatives(failing(), (), ())] == ["as given", "without its rules"]


def test_another_date_keeps_the_clock_of_the_place() -> None:
    made = scenario(calendar={"start": "2024-06-03", "time_zone": "America/Chicago"})
    moved = from_date(made, "2024-12-01").calendar
    assert moved is not None
    assert (moved.time_zone, moved.start.month) == ("America/Chicago", 12)
    undated = with_calendar(scenario(calendar=None)).calendar
    assert undated is not None
    assert (undated.start.year, undated.start.month, undated.time_zone) == (2024, 1, "UTC")

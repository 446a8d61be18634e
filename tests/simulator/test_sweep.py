"""Sweeps: the same luck at all points, the same rows wherever they run, folders that go on, and what is refused."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from typer.testing import CliRunner

import simulator
from simulator.cli import app
from simulator.errors import UserError
from simulator.montecarlo.folder import StudyFolder
from simulator.planning.sweep import planned_sweep, run_sweep, stopped_sweep
from simulator.report.sweep_plot import sweep_figure
from simulator.scenario.edits import edited
from tests.simulator.studies import small

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CLUSTERCOST_KILLS", "3"))
SMALL = small(20)
FINISHED = {"sweep.yaml", "sweep.parquet", "summary.csv", "provenance.json"}
OVER = {"cluster.spares": [0, 2], "facility.pue": "1.1..1.3:3"}


@pytest.fixture(scope="module")
def scenario_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("sweep") / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL.to_file(), allow_unicode=True), encoding="utf-8")
    return file


def command(*words: object):
    return CliRunner().invoke(app, ["sweep", *map(str, words)], env={"COLUMNS": "160"})


def stopped(path: Path, trials: int = 40, after: int = 60) -> Path:
    """Return the folder of a sweep that was stopped by Ctrl-C after so many runs."""
    seen = 0

    def progress(chunk, new) -> None:
        nonlocal seen
        seen += chunk["trial"].size
        if seen >= after:
            raise KeyboardInterrupt

    assert run_sweep(planned_sweep(SMALL, OVER, trials=trials), folder=path, progress=progress).interrupted
    return path


def test_every_point_has_the_rows_of_its_own_run() -> None:
    found = simulator.sweep(SMALL, OVER, trials=15)
    for point, values in enumerate(found.sweep.points):
        alone = simulator.run(edited(SMALL, values), trials=15)
        for column in ("time_s", "cost_usd", "energy_j"):
            assert np.array_equal(found.values(column, point), alone.column(column)), (values, column)


def test_cost_is_linear_in_the_price() -> None:
    found = simulator.sweep(SMALL, {"pricing.rental.price": "1 USD/h..4 USD/h:4"}, trials=10)
    cost = found.rows.column("cost_usd")
    steps = np.diff(cost, axis=0)
    assert steps == pytest.approx(np.broadcast_to(steps[0], steps.shape), rel=1e-9)
    rented = found.rows.column("holding_rent_usd")
    assert cost - rented == pytest.approx(np.broadcast_to(cost[0] - rented[0], cost.shape), rel=1e-9, abs=1e-6)
    assert rented[3] == pytest.approx(4.0 * rented[0])


def test_the_table_is_tidy() -> None:
    table = simulator.sweep(SMALL, {**OVER, "checkpoint.interval": ["auto", "20 min"]}, trials=3).to_pandas()
    assert len(table) == 2 * 3 * 2 * 3
    assert list(table.columns[:5]) == ["cluster.spares", "facility.pue", "checkpoint.interval", "point", "trial"]
    assert set(table["checkpoint.interval"]) == {"auto", "20 min"}
    assert set(table["facility.pue"]) == {1.1, 1.2, 1.3}
    assert not table.duplicated(["point", "trial"]).any()
    assert table.groupby(["cluster.spares", "facility.pue", "checkpoint.interval"])["point"].nunique().eq(1).all()


def test_swept_quantities_are_si_numbers() -> None:
    table = simulator.sweep(SMALL, {"checkpoint.interval": ["10 min", "1 h"]}, trials=2).to_pandas()
    assert table["checkpoint.interval"].tolist() == [600.0, 600.0, 3600.0, 3600.0]


def test_the_best_point_is_that_of_the_least_mean_and_its_differences_are_paired() -> None:
    found = simulator.sweep(SMALL, {"facility.pue": "1.0..1.4:3"}, trials=12)
    mean = found.statistic("energy_j", "mean")
    assert found.best("energy_j") == 0 == int(np.argmin(mean))
    assert found.best("mfu") == int(np.argmax(found.statistic("mfu", "mean")))
    one = found.difference("energy_j", 2, 0)
    assert one.mean == pytest.approx(mean[2] - mean[0])
    assert one.distinct


def test_goals_may_be_swept() -> None:
    found = simulator.sweep(SMALL, {"goals.deadline": ["1 h", "300 days"]}, trials=5)
    assert [found.goals(point)["deadline"]["probability"] for point in (0, 1)] == [0.0, 1.0]


def test_a_combination_that_does_not_fit_is_the_problem_of_its_point() -> None:
    found = simulator.sweep(SMALL, {"training.layout.pipeline": [1, 3], "cluster.accelerators": [32, 24]}, trials=3)
    assert set(found.problems) == {2}
    assert "does not divide" in found.problems[2]
    table, summary = found.to_pandas(), found.summary()
    assert table.loc[table["point"] == 2, "time_s"].isna().all()
    assert table.loc[table["point"] != 2, "time_s"].notna().all()
    assert "does not divide" in summary.loc[2, "problem"]
    assert found.best() != 2


def test_no_point_that_can_run_is_an_error_and_leaves_no_folder(tmp_path) -> None:
    with pytest.raises(UserError, match=r"(?s)none of the 1 points can run; the first: .*memory"):
        simulator.sweep(SMALL, {"model": ["gpt3-175b"]}, trials=3, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_workers_change_nothing(tmp_path) -> None:
    for workers in (1, 2):
        simulator.sweep(SMALL, OVER, trials=120, workers=workers, folder=tmp_path / f"{workers}")
    assert (tmp_path / "1" / "sweep.parquet").read_bytes() == (tmp_path / "2" / "sweep.parquet").read_bytes()
    assert (tmp_path / "1" / "summary.csv").read_bytes() == (tmp_path / "2" / "summary.csv").read_bytes()


def test_a_stopped_sweep_goes_on_and_ends_bit_identical(tmp_path) -> None:
    simulator.sweep(SMALL, OVER, trials=40, folder=tmp_path / "whole")
    out = stopped(tmp_path / "out")
    kept = pd.read_parquet(out / "sweep.parquet")
    assert 60 <= len(kept) < 240
    assert kept["time_s"].notna().all()
    result = simulator.resume(out, workers=2)
    assert len(result) == 240
    for name in ("sweep.parquet", "summary.csv", "sweep.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {entry.name for entry in out.iterdir()} == FINISHED


def test_killed_at_random_moments_it_ends_bit_identical(tmp_path, scenario_file) -> None:
    words = [str(scenario_file), "--over", "cluster.spares=0,2", "--over", "facility.pue=1.1..1.3:3", "--trials", "250"]
    assert command(*words, "--out", tmp_path / "whole").exit_code == 0
    expected, rng, cut_short = (tmp_path / "whole" / "sweep.parquet").read_bytes(), random.Random(), 0
    for kill in range(KILLS):
        out = tmp_path / f"{kill}"
        process = subprocess.Popen([sys.executable, "-m", "simulator.cli", "sweep", *words, "--out", str(out), "--workers", "2"],
                                   cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 120.0
        while not (list(out.glob("chunks/*.parquet")) or (out / "sweep.parquet").exists()):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 1.0))
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        process.stderr.close()
        assert not psutil.wait_procs(children, timeout=10.0)[1]
        if (out / "chunks" / "study.json").exists():
            cut_short += 1
            assert command("--resume", out).exit_code == 0
        assert (out / "sweep.parquet").read_bytes() == expected
        assert {entry.name for entry in out.iterdir()} == FINISHED
    assert cut_short > 0


def test_a_sweep_is_read_back_as_it_was(tmp_path) -> None:
    out = stopped(tmp_path / "out")
    asked = planned_sweep(SMALL, OVER, trials=40)
    assert stopped_sweep(out).to_file() == asked.to_file()
    assert stopped_sweep(out).points == asked.points


def test_run_and_sweep_send_to_each_other(tmp_path) -> None:
    out = stopped(tmp_path / "out")
    for words in (["run", "--resume", str(out)], ["run", str(ROOT / "scenarios/small-8gpu.yaml"), "--out", str(out)]):
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, UserError)
        assert f"clustercost sweep --resume {out}" in str(result.exception)
    study = tmp_path / "study"

    def ctrl_c(chunk, new) -> None:
        raise KeyboardInterrupt

    from simulator.montecarlo import run_study
    assert run_study(SMALL, folder=study, progress=ctrl_c).interrupted
    assert f"clustercost run --resume {study}" in str(command("--resume", study).exception)


def test_a_folder_in_use_or_finished_is_refused(tmp_path, scenario_file) -> None:
    out = stopped(tmp_path / "out")
    from simulator.montecarlo.folder import SWEEP
    held = StudyFolder.resume(out, SWEEP)
    assert "is writing this study" in str(command("--resume", out).exception)
    held.release()
    simulator.resume(out)
    assert "is finished; nothing is left to run" in str(command("--resume", out).exception)
    again = command(scenario_file, "--over", "cluster.spares=1", "--out", out)
    assert "never overwritten" in str(again.exception)


@pytest.mark.parametrize(("words", "message"), [
    (["--over", "cluster.sparse=1,2"], "did you mean 'spares'"),
    (["--over", "cluter.spares=1,2"], "the nearest path is cluster.spares"),
    (["--over", "cluster.spares="], "found no values"),
    ([], "found nothing to vary"),
    (["--over", "cluster.spares=1,x"], "found 'x'"),
    (["--over", "cluster.spares=0..999:1000", "--over", "facility.pue=1..2:1000", "--over",
      "pricing.rental.price=1 USD/h..2 USD/h:1000"], "1,000,000,000 points"),
    (["--over", "facility.pue=1..2", "--design", "latin-hypercube", "--points", "1000000000"], "1,000,000,000 points"),
    (["--over", "cluster.spares=1,2", "--trials", "10000000"], "points of 10,000,000 trials"),
    (["--over", "cluster.spares=1,2", "--trials", "0"], "trials"),
    (["--over", "cluster.spares=1,2", "--column", "cost_eur"], "did you mean 'cost_usd'"),
    (["--over", "cluster.spares=1,2", "--plot", "x.bmp"], "allowed: .png"),
    (["--over", "cluster.spares=1,2", "--over", "facility.pue=1,2", "--over", "cluster.repair_crew=1,2", "--over",
      "cluster.warm_spares=1,2", "--plot", "x.png"], "a grid of 4 axes"),
])
def test_bad_sweeps_are_refused_before_anything_runs(tmp_path, scenario_file, words, message, monkeypatch) -> None:
    monkeypatch.setattr("simulator.planning.sweep.run_points", None)
    result = command(scenario_file, *words, "--out", tmp_path / "out")
    assert isinstance(result.exception, UserError), result.output
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_options_beside_resume_are_refused(tmp_path, scenario_file) -> None:
    assert "--trials: is taken from the folder" in str(command("--resume", tmp_path, "--trials", 5).exception)
    assert "FILE: is taken from the folder" in str(command(scenario_file, "--resume", tmp_path).exception)
    assert "there is no folder" in str(command("--resume", tmp_path / "no").exception)
    assert "give a scenario file" in str(command().exception)


def test_the_command_shows_points_the_pivot_and_the_best(tmp_path, scenario_file) -> None:
    words = [scenario_file, "--over", "cluster.spares=0,2", "--over", "facility.pue=1.1,1.3", "--trials", 8,
             "--column", "energy_j"]
    shown = command(*words, "--out", tmp_path / "a", "--plot", tmp_path / "a.png")
    assert shown.exit_code == 0, shown.output
    for text in ("4 points, 8 trials each", "cluster.spares by facility.pue", "The least energy at the meter", "best"):
        assert text in shown.output
    assert (tmp_path / "a.png").stat().st_size > 10_000
    found = json.loads(command(*words, "--out", tmp_path / "b", "--json").stdout)
    api = simulator.sweep(scenario_file, ["cluster.spares=0,2", "facility.pue=1.1,1.3"], trials=8)
    assert found["best"] == api.best("energy_j")
    assert found["points"][3]["time_s_p50"] == api.summary().loc[3, "time_s_p50"]


def test_many_points_show_the_best_and_the_worst(tmp_path, scenario_file) -> None:
    shown = command(scenario_file, "--over", "facility.pue=1.0..2.0:60", "--trials", 1, "--out", tmp_path / "a",
                    "--column", "energy_j").output
    rows = [line.split()[0] for line in shown.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert rows == [*map(str, range(35)), *map(str, range(55, 60))]


@pytest.mark.parametrize(("over", "how", "panels"), [
    ({"checkpoint.interval": "5 min..80 min:5 log"}, {}, 3),
    ({"cluster.accelerator": ["h100-sxm-80gb", "h200-sxm-141gb"]}, {}, 3),
    ({"cluster.spares": [0, 2], "facility.pue": [1.1, 1.2]}, {"design": "zip"}, 3),
    ({"cluster.spares": [0, 2], "facility.pue": [1.1, 1.2]}, {}, 3),  # map, its bar, lines
    ({"cluster.spares": [0, 2], "facility.pue": [1.1, 1.2], "checkpoint.interval": ["auto", "10 min"]}, {}, 3),
    ({"facility.pue": "1..2", "pricing.rental.price": "1 USD/h..4 USD/h log"}, {"design": "latin-hypercube", "points": 8}, 2),
])
def test_there_is_a_picture_for_each_design(over, how, panels) -> None:
    figure = sweep_figure(simulator.sweep(SMALL, over, trials=3, **how), "cost_usd")
    assert len([ax for ax in figure.axes if ax.axison]) == panels
    if "checkpoint.interval" in over and len(over) == 1:
        assert figure.axes[0].get_xscale() == "log"

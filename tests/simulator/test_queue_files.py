"""Jobs files and traces: read, refused with a place, run from the command line."""

import json
from pathlib import Path

import pandas as pd
import pytest

import simulator
from simulator.errors import UserError
from simulator.scenario import QueueScenario, load_file, load_scenario
from simulator.scenario.traces import read_trace
from tests.simulator.test_cli import ROOT, clustercost

EXAMPLE = ROOT / "scenarios/traces/example.yaml"
GOOD = """\
name: test
cluster:
  accelerator: a100-sxm-80gb
  accelerators: 64
pricing: {rental: {price: 2 USD/h}}
scheduler:
  policy: backfill
jobs:
  classes:
    - name: small
      arrivals: 10 per day
      accelerators: 8
      duration: 1 h
horizon: 5 days
"""


def message(folder: Path, text: str) -> str:
    (folder / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_file(folder / "bad.yaml")
    return str(caught.value)


def test_a_good_file_is_a_queue_and_no_training_run(tmp_path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    found = load_file(tmp_path / "good.yaml")
    assert isinstance(found, QueueScenario)
    assert found.horizon_s == 5 * 86400.0
    with pytest.raises(UserError, match=r"good\.yaml:8: jobs: found a file of jobs"):
        load_scenario(tmp_path / "good.yaml")


@pytest.mark.parametrize(("old", "new", "words"), [
    ("policy: backfill", "policy: backfil", ["bad.yaml:7", "scheduler.policy", "did you mean 'backfill'"]),
    ("policy: backfill", "polcy: backfill", ["bad.yaml:7", "did you mean 'policy'"]),
    ("  policy: backfill", "  policy: fifo\n  preemption: true", ["bad.yaml:8", "preemption", "priority or backfill"]),
    ("arrivals: 10 per day", "arrivals: 10", ["bad.yaml:11", "jobs.classes.0.arrivals", "per 1000 days"]),
    ("      duration: 1 h\n", "", ["bad.yaml:10", "missing key 'duration'"]),
    ("      accelerators: 8\n", "", ["missing key 'accelerators' or 'sizes'"]),
    ("      accelerators: 8", "      accelerators: 72", ["bad.yaml:12", "found 72", "at most the 64"]),
    ("      arrivals: 10 per day\n", "", ["bad.yaml:8", "found no jobs"]),
    ("horizon: 5 days", "horizon: 5 days\nwarm_up: 6 days", ["bad.yaml:15", "warm_up", "less than the horizon"]),
    ("horizon: 5 days\n", "", ["missing key 'horizon'"]),
    ("rental:", "owned:", ["bad.yaml:5", "pricing", "rental"]),
    ("name: test", "name: test\nmodel: gpt3-1.3b", ["bad.yaml:2", "model"]),
    ("accelerator: a100-sxm-80gb", "accelerator: a100-sxm-80g", ["did you mean 'a100-sxm-80gb'"]),
    ("jobs:\n", "jobs:\n  given: [{submit: 0 s, accelerators: 8, duration: 1 h, class: smal}]\n",
     ["bad.yaml:9", "did you mean 'small'"]),
])
def test_a_bad_file_says_where_and_what_is_allowed(tmp_path, old, new, words) -> None:
    assert old in GOOD
    text = message(tmp_path, GOOD.replace(old, new))
    for word in words:
        assert word in text


HEAD = "job_id,submit_time,accelerators,duration"


@pytest.mark.parametrize(("rows", "words"), [
    ("", ["found no jobs", HEAD]),
    (HEAD, ["found no jobs"]),
    ("job_id,submit_time,accelerators\n", [":1: missing column 'duration'", "walltime"]),
    (HEAD + ",priorty\n", [":1: unknown column 'priorty'; did you mean 'priority'?"]),
    (HEAD + ",duration\n", [":1:", "second time"]),
    (HEAD + "\na,0,8\n", [":2: found 3 cells; allowed: 4"]),
    (HEAD + "\na,0,eight,60\n", [":2: accelerators: found 'eight'; allowed: a whole number from 1 to the 64"]),
    (HEAD + "\na,0,65,60\n", [":2: accelerators: found '65'", "64"]),
    (HEAD + "\na,0,8,0\n", [":2: duration: found '0'; allowed: seconds above 0"]),
    (HEAD + "\na,0,8,inf\n", [":2: duration"]),
    (HEAD + "\na,-1,8,60\n", [":2: submit_time: found '-1'"]),
    (HEAD + "\na,noon,8,60\n", [":2: submit_time: found 'noon'; allowed: seconds, or a date"]),
    (HEAD + "\na,0,8,60\nb,2024-03-01,8,60\n", [":3: submit_time", "seconds, as in the rows before"]),
    (HEAD + "\na,2024-03-01,8,60\nb,9,8,60\n", [":3: submit_time", "a date, as in the rows before"]),
    (HEAD + "\na,0,8,60\na,1,8,60\n", [":3: job_id: found 'a'", "already on line 2"]),
    (HEAD + ",class\na,0,8,60,smal\n", [":2: class:", "did you mean 'small'"]),
    (HEAD + ",priority\na,0,8,60,-1\n", [":2: priority: found '-1'"]),
    (HEAD + '\n"a,0,8,60\n', ["not valid CSV"]),
])
def test_a_bad_trace_says_file_line_column_and_what_is_allowed(tmp_path, rows, words) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(rows, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_trace(str(file), 64, ["small"])
    text = str(caught.value)
    assert text.startswith(str(file))
    for word in words:
        assert word in text


def test_a_trace_that_is_not_there_or_no_text_is_one_message(tmp_path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_trace(str(tmp_path / "nowhere.csv"), 64)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no UTF-8"):
        read_trace(str(tmp_path / "binary.csv"), 64)


def test_dates_count_from_the_first_and_rows_are_put_in_order(tmp_path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEAD + "\nb,2024-03-01T02:00:00,8,60\n\na,2024-03-01T01:00:00,8,60\n", encoding="utf-8")
    assert [(job.name, job.submit_s) for job in read_trace(str(file), 64)] == [("a", 0.0), ("b", 3600.0)]


def test_the_trace_example_runs_from_anywhere_and_again_from_its_results(tmp_path) -> None:
    first = simulator.run_jobs(EXAMPLE)
    folder = first.save(tmp_path / "results")
    assert sorted(f.name for f in folder.iterdir()) == [
        "jobs.parquet", "provenance.json", "scenario.yaml", "summary.json", "trace.csv", "trials.parquet"]
    again = simulator.run_jobs(folder / "scenario.yaml")
    pd.testing.assert_frame_equal(first.jobs(), again.jobs(), check_exact=True)
    jobs = pd.read_parquet(folder / "jobs.parquet").set_index("job")
    assert len(jobs) == 10
    assert set(jobs["outcome"]) == {"completed"}
    assert jobs.at["eval-2", "nodes"] == 1  # half a node is a node
    assert jobs.at["pretrain-1", "checkpoint_s"] == 23 * 120.0
    assert jobs["cost_usd"].sum() == pytest.approx(first.rows[0]["cost_jobs_usd"])


def test_run_takes_a_jobs_file(tmp_path) -> None:
    (tmp_path / "jobs.yaml").write_text(GOOD)
    done = clustercost("run", "jobs.yaml", "--trials", "2", "--out", "r", cwd=tmp_path)
    for word in ("utilisation", "queue", "P50", "P95", "Jobs by class", "small", "cost (USD)", "backfill"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    found = json.loads(clustercost("run", "jobs.yaml", "--trials", "2", "--json", "--out", "s", cwd=tmp_path).stdout)
    assert found == json.loads((tmp_path / "s" / "summary.json").read_text())
    assert found["classes"]["small"]["queue_mean_s"]["mean"] >= 0.0
    assert "jobs" in clustercost("step", "jobs.yaml", cwd=tmp_path, code=2).stderr

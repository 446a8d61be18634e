"""The timeline of a trial: every second has one state; its picture and its trace."""

import json
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import simulator
from simulator.cli import app
from simulator.cluster import plan_run, run_trial
from simulator.errors import UserError
from simulator.montecarlo.streams import stream
from simulator.report.episodes import (
    AGAIN,
    GROWTH,
    RUNNING,
    WINDOW,
    Episode,
    Interval,
    episodes,
    impairments,
    interruptions,
)
from simulator.report.gantt import save_figure
from simulator.report.timeline import pieces, row_length, running_share, timeline_figure
from simulator.report.trace import check_trace, trace, write_trace
from tests.simulator.runs import BASE, scenario
from tests.simulator.test_cli import clustercost

ROOT = Path(__file__).parents[2]
NODE = BASE["failures"]["components"][0]
DAYS = "per 1000 days"
CASES = {
    "failures": {},
    "no failures": {"failures": {"components": []}},
    "no spares": {"cluster": {"spares": 0}},
    "asynchronous": {"checkpoint": {"mode": "async"}},
    "shrinks": {"cluster": {"spares": 0, "elasticity": {"action": "shrink", "patience": "5 min"}}},
    "windows": {"cluster": {"maintenance": {"every": "10 h", "duration": "1 h"}}},
    "grows": {"cluster": {"growth": [{"at": "12 h", "accelerators": 64}]}},
    "all kinds": {"cluster": {"slow_nodes": {"action": "evict"}}, "failures": {"components": [
        NODE,
        {"name": "link", "rate": f"400 {DAYS}", "kind": "flap", "duration": "5 min"},
        {"name": "bits", "rate": f"100 {DAYS}", "kind": "corruption", "latency": "2 h"},
        {"name": "slow", "rate": f"200 {DAYS}", "kind": "slow", "duration": "5 h", "severity": 0.2},
        {"name": "loss", "rate": f"100 {DAYS}", "kind": "loss-spike", "rollback": 100},
        {"name": "storage", "rate": f"100 {DAYS}", "kind": "storage", "duration": "2 h"},
        {"name": "upgrade", "rate": f"100 {DAYS}", "kind": "planned", "duration": "1 h"},
        {"name": "spot", "rate": f"100 {DAYS}", "kind": "preemption", "notice": "2 min"}]}},
}
ALONE = ("detect", "restart", "wait_for_spares", "maintenance", "network_stall")
WORK = ("productive", "straggler", "lost", "checkpoint_stall", "checkpoint_slowdown", "degraded", "reduced")


def episode_of(case: str, trial: int = 0) -> Episode:
    result = run_trial(plan_run(scenario(**CASES[case])), partial(stream, 7, trial), keep_intervals=True)
    return Episode(("P50",), {"trial": trial, **result.row}, [Interval(*values) for values in result.intervals])


@pytest.fixture(scope="module")
def study():
    return simulator.run(scenario(**CASES["no spares"]), trials=20)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("trial", range(4))
def test_every_second_has_one_state_and_the_ledger_agrees(case, trial) -> None:
    episode = episode_of(case, trial)
    row, intervals = episode.row, episode.intervals
    assert intervals[0].start_s == 0.0
    assert all(a.end_s == b.start_s and a.end_s > a.start_s for a, b in pairwise(intervals))
    assert episode.time_s == pytest.approx(row["time_s"], rel=1e-12)
    seconds: Counter[str] = Counter()
    for one in intervals:
        seconds[one.state] += one.end_s - one.start_s
    assert set(seconds) <= {RUNNING, "checkpoint_stall", *ALONE}
    for state in ALONE:
        assert seconds[state] == pytest.approx(row[f"time_{state}_s"], rel=1e-9, abs=1e-6)
    assert seconds[RUNNING] + seconds["checkpoint_stall"] == pytest.approx(sum(row[f"time_{s}_s"] for s in WORK), rel=1e-9)
    assert seconds["checkpoint_stall"] <= row["time_checkpoint_stall_s"] * (1 + 1e-9) + 1e-6


def test_the_saved_timeline_is_that_of_the_rows(study, tmp_path) -> None:
    saved = pd.read_parquet(study.save(tmp_path / "r") / "timeline.parquet")
    for which, trial in study.representative().items():
        part = saved[saved["which"] == which]
        assert (part["trial"] == trial).all()
        assert part["start_s"].iloc[0] == 0.0
        assert np.array_equal(part["end_s"].to_numpy()[:-1], part["start_s"].to_numpy()[1:])
        assert part["end_s"].iloc[-1] == pytest.approx(study.rows[trial]["time_s"], rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_interruptions_last_as_long_as_the_job_does_not_run(case) -> None:
    episode = episode_of(case)
    found = interruptions(episode.intervals)
    down_s = sum(i.end_s - i.start_s for i in episode.intervals if i.state != RUNNING)
    assert sum(one.end_s - one.start_s for one in found) == pytest.approx(down_s, abs=1e-6)
    assert all(a.end_s <= b.start_s for a, b in pairwise(found))
    counted = [one for one in found if one.cause not in (GROWTH, AGAIN)]
    assert len(counted) <= episode.row["interruptions"] or case == "grows"
    assert len(found) == pytest.approx(episode.row["interruptions"], abs=3 + 0.1 * len(found))


def test_causes_are_named_where_the_timeline_knows_them() -> None:
    kinds = Counter(one.cause for trial in range(6) for one in interruptions(episode_of("all kinds", trial).intervals))
    assert {"node", "link", "loss", "upgrade", "spot", "bits", "slow"} <= set(kinds)
    assert not {"storage", ""} & set(kinds)
    struck = {name for trial in range(6) for _, name in impairments(episode_of("all kinds", trial).intervals)}
    assert struck == {"slow", "storage", "bits"}
    windows = [one for one in interruptions(episode_of("windows").intervals) if one.cause == WINDOW]
    assert [round(one.start_s / 36000) for one in windows] == list(range(1, len(windows) + 1))
    assert GROWTH in {one.cause for one in interruptions(episode_of("grows").intervals)}


def timeline(*parts: tuple[float, str, str]) -> list[Interval]:
    found, at_s = [], 0.0
    for seconds, state, cause in parts:
        found.append(Interval(at_s, at_s + seconds, state, 0, cause))
        at_s += seconds
    return found


def test_a_failure_in_a_recovery_is_another_interruption() -> None:
    found = interruptions(timeline((10, RUNNING, "gpu"), (1, "detect", ""), (2, "restart", ""), (1, "detect", ""),
                                   (3, "wait_for_spares", ""), (2, "restart", ""), (5, RUNNING, "link"),
                                   (1, "network_stall", "link"), (5, RUNNING, "")))
    assert found == [(10, 13, "gpu"), (13, 19, AGAIN), (24, 25, "link")]


def test_a_window_that_puts_a_recovery_off_does_not_begin_it_anew() -> None:
    found = interruptions(timeline((10, RUNNING, "gpu"), (1, "detect", ""), (2, "maintenance", ""), (1, "detect", ""),
                                   (3, "restart", ""), (5, RUNNING, "")))
    assert found == [(10, 11, "gpu"), (11, 17, WINDOW)]


def check(found: dict) -> None:
    """Hold a trace to the rules of the Trace Event Format."""
    events = found["traceEvents"]
    assert found["displayTimeUnit"] in ("ms", "ns")
    named = {(e["name"], e["tid"]) for e in events if e["ph"] == "M"}
    assert {("process_name", 0), ("thread_name", 1), ("thread_name", 2)} <= named
    for event in events:
        assert event["ph"] in "MXiC"
        assert {"name", "cat", "ts", "pid", "tid", "args"} <= set(event)
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert isinstance(event["dur"], int)
            assert event["dur"] > 0
        if event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
            assert event["args"]["cause"] == event["name"]
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())
    times = [event["ts"] for event in events if event["ph"] != "M"]
    assert times == sorted(times)
    for track in {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"}:
        spans = [(e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) == track]
        assert spans[0][0] == 0
        assert all(end == start for (_, end), (start, _) in pairwise(spans))
        assert spans[-1][1] == round(found["otherData"]["time_s"] * 1e6)


@pytest.mark.parametrize("case", CASES)
def test_a_trace_keeps_the_rules_of_its_format(case) -> None:
    episode = episode_of(case)
    found = json.loads(json.dumps(trace("a run", episode)))
    check(found)
    counters = {name: [e["args"]["value"] for e in found["traceEvents"] if e["ph"] == "C" and e["name"] == name]
                for name in ("hours run", "share of time run", "interruptions")}
    assert counters["hours run"] == sorted(counters["hours run"])
    run_s = sum(i.end_s - i.start_s for i in episode.intervals if i.state == RUNNING)
    assert counters["hours run"][-1] == pytest.approx(run_s / 3600, rel=1e-9)
    assert counters["share of time run"][-1] == pytest.approx(run_s / episode.time_s, rel=1e-9)
    assert counters["interruptions"] == list(range(len(interruptions(episode.intervals)) + 1))


def test_times_of_a_century_stay_exact() -> None:
    length, count = 0.1 + 86400.0, 36_500
    ends = [length * (i + 1) for i in range(count)]
    intervals = [Interval(a, b, (RUNNING, "restart")[i % 2], 0, "") for i, (a, b) in enumerate(pairwise([0.0, *ends]))]
    check(trace("long", Episode(("P50",), {"trial": 0, "time_s": ends[-1]}, intervals)))


def test_the_written_trace_is_that_of_the_p50_trial(study, tmp_path) -> None:
    write_trace(study, tmp_path / "trace.json")
    found = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    check(found)
    assert found["otherData"]["trial"] == study.representative()["p50"]
    assert found["otherData"]["ettr"] == study.rows[found["otherData"]["trial"]]["ettr"]
    assert [p.name for p in tmp_path.iterdir()] == ["trace.json"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_is_written_whole(study, tmp_path, suffix) -> None:
    path = tmp_path / f"timeline{suffix}"
    save_figure(timeline_figure(study), path)
    assert path.read_bytes().startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("case", CASES)
def test_every_case_can_be_drawn_without_overlaps(case) -> None:
    found = scenario(**CASES[case]).model_copy(update={"name": "100 $ a node, 3 $ an hour " * 9})
    figure = timeline_figure(simulator.run(found, trials=4))
    figure.canvas.draw()
    titles = [ax.title.get_window_extent() for ax in figure.axes]
    labels = [[text.get_window_extent() for text in [*ax.get_yticklabels(), *ax.get_xticklabels()] if text.get_text()]
              for ax in figure.axes]
    for i, title in enumerate(titles):
        assert title.x1 < figure.bbox.x1
        assert not any(title.overlaps(other) for j, other in enumerate(titles) if i != j)
        assert not any(title.overlaps(label) for boxes in labels for label in boxes)


def test_one_trial_is_drawn_once() -> None:
    one = simulator.run(scenario(), trials=1)
    assert [e.names for e in episodes(one)] == [("P50", "P95")]
    assert len(timeline_figure(one).axes) == 3


@pytest.mark.parametrize(("time_s", "row_s"), [(60.0, 3600.0), (86400.0, 21600.0), (10 * 86400.0, 86400.0),
                                               (90 * 86400.0, 7 * 86400.0), (400 * 86400.0, 28 * 86400.0),
                                               (36525 * 86400.0, 6 * 364 * 86400.0)])
def test_rows_are_as_long_as_the_run_wants(time_s, row_s) -> None:
    assert row_length(time_s)[0] == row_s
    assert time_s <= 17 * row_s


def test_pieces_of_rows_cover_the_run_and_widen_what_is_short() -> None:
    shown = timeline((90, RUNNING, "gpu"), (1, "detect", ""), (3, "restart", ""), (104, RUNNING, "gpu"), (1, "detect", ""),
                     (1, "restart", ""))
    drawn = list(pieces(shown, 100.0, 20.0))
    below, above = [p for p in drawn if p[3] == RUNNING], [p for p in drawn if p[3] != RUNNING]
    assert below == [(0, 0.0, 100.0, RUNNING), (1, 0.0, 100.0, RUNNING)]
    assert above == [(0, 90.0, 95.0, "detect"), (0, 95.0, 100.0, "restart"), (1, 0.0, 10.0, "restart"),
                     (1, 80.0, 90.0, "detect"), (1, 90.0, 100.0, "restart")]
    assert list(pieces(shown, 100.0, 0.0))[-1] == (1, 99.0, 100.0, "restart")
    assert running_share(shown, 100.0, 2) == pytest.approx([0.96, 0.98])


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path) -> None:
    (tmp_path / "folder.json").mkdir()
    for path, message in ((tmp_path / "trace.yaml", "allowed: .json"), (tmp_path / "nowhere" / "trace.json", "no folder"),
                          (tmp_path / "folder.json", "is a folder")):
        with pytest.raises(UserError, match=message):
            check_trace(path)


def test_the_command_writes_both(tmp_path) -> None:
    done = CliRunner().invoke(app, ["run", str(ROOT / "scenarios/opt-175b.yaml"), "--trials", "4", "--workers", "1",
                                    "--out", str(tmp_path / "r"), "--timeline", str(tmp_path / "t.svg"),
                                    "--trace", str(tmp_path / "t.json")])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r", "t.json", "t.svg"]
    check(json.loads((tmp_path / "t.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(("words", "message"), [
    (("--timeline", "t.gif"), "allowed: .png, .svg, .pdf"),
    (("--timeline", "nowhere/t.png"), "no folder"),
    (("--trace", "t.txt"), "allowed: .json"),
    (("--trace", "nowhere/t.json"), "no folder"),
])
def test_the_command_refuses_what_it_cannot_write(tmp_path, words, message) -> None:
    done = clustercost("run", str(ROOT / "scenarios/small-8gpu.yaml"), *words, cwd=tmp_path, code=2)
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_queue_of_jobs_has_neither(tmp_path) -> None:
    done = clustercost("run", str(ROOT / "scenarios/research-cluster.yaml"), "--trace", "t.json", cwd=tmp_path, code=2)
    assert "--trace: found a queue of jobs; allowed: a training run" in done.stderr

"""Scenario files and result folders from strangers: what they may read and write, and that nothing in them hangs or crashes."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from rich.console import Console

from fuzz.check import failure
from fuzz.files import files
from simulator.api import resume, run, run_jobs
from simulator.columns import csv_column
from simulator.errors import UserError
from simulator.performance.search import _divisors
from simulator.report.tables import plain_table
from simulator.scenario import load_file, load_scenario, scenario_from_mapping
from simulator.scenario.loading import load_serving
from simulator.units import QuantityError

GOOD = """\
name: test
model: llama-3.1-8b
training: {tokens: 20 M, batch: 1 M, sequence: 8192, layout: {tensor: 8}}
cluster: {accelerator: h100-sxm-80gb, accelerators: 8}
checkpoint: {storage_bandwidth: 10 GB/s}
facility: {site: usa, pue: 1.1}
"""
SERIES = GOOD + """\
calendar: {start: 2024-06-01}
pricing: {owned: {}, electricity: {price: {csv: NAME, unit: USD/MWh}}}
"""
PRICES = "time,price\n2024-01-01T00:00,50\n2025-01-01T00:00,60\n2026-01-01T00:00,60\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a stranger's folder beside a working folder and a secret, none within the other."""
    for name in ("stranger", "work", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret.csv").write_text(PRICES, encoding="utf-8")
    (tmp_path / "secret.yaml").write_text(GOOD, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CLUSTERCOST_FOLDERS", raising=False)
    return tmp_path / "stranger"


def refused(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_file(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["../secret.csv", "{top}/secret.csv", "a/../../secret.csv", ".hidden/prices.csv", "/etc/passwd"])
def test_a_table_outside_the_files_folder_is_refused(place: Path, name: str) -> None:
    (place / ".hidden").mkdir()
    (place / ".hidden" / "prices.csv").write_text(PRICES, encoding="utf-8")
    text = refused(place / "x.yaml", SERIES.replace("NAME", name.format(top=place.parent)))
    assert "x.yaml:8: pricing.electricity.price.csv: found" in text
    assert "outside the folders that this file may read" in text
    assert "CLUSTERCOST_FOLDERS" in text


def test_extends_traces_and_distributions_follow_the_same_rule(place: Path) -> None:
    assert "x.yaml:1: extends: found '../secret.yaml', outside" in refused(place / "x.yaml", "extends: ../secret.yaml\n")
    jobs = "name: x\ncluster: {accelerator: a100-sxm-80gb, accelerators: 8}\njobs: {trace: ../secret.csv}\nhorizon: 1 day\n"
    assert "x.yaml:3: jobs.trace: found '../secret.csv', outside" in refused(place / "x.yaml", jobs)
    with pytest.raises(UserError, match=r"load\.trace: found '\.\./secret\.csv', outside"):
        (place / "y.yaml").write_text("serving: {}\nload: {trace: ../secret.csv}\n", encoding="utf-8")
        load_serving(place / "y.yaml")
    drawn = GOOD + "pricing: {rental: {price: {empirical: {csv: ../secret.csv, column: price, unit: USD/h}}}}\n"
    assert "x.yaml:7: pricing.rental.price.empirical.csv: found" in refused(place / "x.yaml", drawn)


def test_a_parent_is_bound_by_the_folder_of_the_file_that_was_named(place: Path) -> None:
    (place / "deep").mkdir()
    (place / "deep" / "base.yaml").write_text(SERIES.replace("NAME", "../prices.csv"), encoding="utf-8")
    (place / "prices.csv").write_text(PRICES, encoding="utf-8")
    (place / "x.yaml").write_text("extends: deep/base.yaml\nname: child\n", encoding="utf-8")
    assert load_scenario(place / "x.yaml").name == "child"
    with pytest.raises(UserError, match=r"outside the folders"):  # here the deep folder is the one that was named
        load_scenario(place / "deep" / "base.yaml")


def test_links_are_followed_before_a_file_is_judged(place: Path) -> None:
    (place / "prices.csv").symlink_to(place.parent / "secret.csv")
    assert "outside" in refused(place / "x.yaml", SERIES.replace("NAME", "prices.csv"))
    (place / "base.yaml").symlink_to(place.parent / "secret.yaml")
    assert "outside" in refused(place / "x.yaml", "extends: base.yaml\n")


def test_files_beside_the_scenario_in_the_working_folder_and_in_named_folders_are_read(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "x.yaml").write_text(SERIES.replace("NAME", "tables/prices.csv"), encoding="utf-8")
    (place / "tables").mkdir()
    shutil.copy(place.parent / "secret.csv", place / "tables" / "prices.csv")
    load_scenario(place / "x.yaml")
    (place / "x.yaml").write_text(SERIES.replace("NAME", "../work/prices.csv"), encoding="utf-8")
    shutil.copy(place.parent / "secret.csv", place.parent / "work" / "prices.csv")
    load_scenario(place / "x.yaml")
    (place / "x.yaml").write_text(SERIES.replace("NAME", "../secret.csv"), encoding="utf-8")
    monkeypatch.setenv("CLUSTERCOST_FOLDERS", f"/nowhere{os.pathsep}{place.parent}")
    load_scenario(place / "x.yaml")


def test_a_working_folder_that_holds_the_home_folder_opens_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "x.yaml").write_text(SERIES.replace("NAME", "../secret.csv"), encoding="utf-8")
    monkeypatch.chdir(place.parent)
    with pytest.raises(UserError, match="outside"):
        load_scenario(place / "x.yaml")


def test_what_the_user_writes_in_python_may_name_any_file(place: Path) -> None:
    mapping = {"name": "x", "model": "llama-3.1-8b", "training": {"tokens": "20 M", "batch": "1 M", "sequence": 8192},
               "cluster": {"accelerator": "h100-sxm-80gb", "accelerators": 8}, "checkpoint": {"storage_bandwidth": "10 GB/s"},
               "pricing": {"rental": {"price": {"empirical": {"csv": str(place.parent / "secret.csv"), "column": "price",
                                                              "unit": "USD/h"}}}}}
    assert scenario_from_mapping(mapping).uncertain().keys() == {"pricing.rental.price"}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_pipes_devices_and_folders_do_not_hang(place: Path, kind: str) -> None:
    path = place / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(UserError, match=r"pipe or a device|found a folder"):
        load_file(path)
    with pytest.raises(QuantityError, match=r"pipe or a device|found a folder"):
        csv_column(str(path), None, 10)


@pytest.mark.parametrize(("text", "words"), [
    ("name: " + "x" * 1_000_000 + "\n" + GOOD[11:], "name: found"),
    ("? " + "k" * 2000 + "\n: 1\n" + GOOD, "unknown key"),
    ("<<: {a: 1}\n" + GOOD, "unknown key '<<'"),
    ("<mapping>: 1\n" + GOOD, "unknown key '<mapping>'"),
    (GOOD.replace("accelerators: 8", "accelerators: 1000000000"), "125,000,000 nodes; allowed: at most 2,000,000"),
    (GOOD.replace("accelerators: 8", "accelerators: 8, repair_crew: 1000000000"), "repair_crew: found 1,000,000,000 nodes"),
    (GOOD + "goals: {deadline: {uniform: [1 day, 2 days]}}\n", "goals.deadline: found uniform"),
])
def test_what_the_fuzzer_found_is_refused(place: Path, text: str, words: str) -> None:
    message = refused(place / "x.yaml", text)
    assert words in message
    assert len(message) < 5000


@pytest.mark.parametrize(("old", "new", "words"), [
    ("accelerators: 8}", "accelerators: 8, maintenance: {every: 2 s, duration: 1 s}}", "maintenance windows a day"),
    ("checkpoint:", "failures: {components: [{name: x, kind: hardware, rate: 1e9 per day}]}\ncheckpoint:", "failures a day"),
    ("tokens: 20 M", "tokens: 1e18", "days together; allowed: more than 0 and at most 365,000 days"),
])
def test_runs_that_would_not_end_are_refused(place: Path, old: str, new: str, words: str) -> None:
    (place / "x.yaml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=words):
        run(place / "x.yaml", trials=1)


def test_names_are_text_to_a_terminal(place: Path) -> None:
    assert "control character" in refused(place / "x.yaml", GOOD.replace("name: test", r'name: "\e[31m"'))
    table = plain_table("[/bold] [link=x]evil[/link]", "")
    table.add_row("wide enough for the title to stand in one line")
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(table)
    assert "[/bold] [link=x]evil[/link]" in console.export_text()


def test_a_queue_with_failures_without_end_is_refused(place: Path) -> None:
    (place / "x.yaml").write_text(
        "name: x\ncluster: {accelerator: a100-sxm-80gb, accelerators: 8}\nhorizon: 1000 days\n"
        "failures: {components: [{name: x, kind: hardware, rate: 1e9 per day}]}\npricing: {rental: {price: 1 USD/h}}\n"
        "jobs: {given: [{submit: 0 s, accelerators: 8, duration: 1 h}]}\n", encoding="utf-8")
    with pytest.raises(UserError, match="failures in the horizon"):
        run_jobs(place / "x.yaml", trials=1)


@pytest.mark.parametrize("number", [1, 12, 97, 360, 2**20, 10**6])
@pytest.mark.parametrize("limit", [1, 7, 360, 5000, 10**9])
def test_divisors_are_all_found_without_trying_all(number: int, limit: int) -> None:
    assert _divisors(number, limit) == [n for n in range(1, min(limit, number) + 1) if number % n == 0]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study that was stopped after some trials."""
    base = tmp_path_factory.mktemp("trust")
    (base / "x.yaml").write_text(GOOD + "monte_carlo: {trials: 6}\n", encoding="utf-8")
    from simulator.montecarlo.folder import StudyFolder

    held = StudyFolder.begin(base / "study", load_scenario(base / "x.yaml"))
    study = run(base / "x.yaml", trials=3)
    held.write(range(3), {"trials": study.columns})
    held.release()
    return base / "study"


def copied(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "study"))


def test_a_stopped_study_goes_on(stopped: Path, tmp_path: Path) -> None:
    assert len(resume(copied(stopped, tmp_path))) == 6


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, "\x00", '{"until": [[1]], "versions": {}}',
                                  '{"until": [], "versions": 5}', '{"until": 5, "versions": {}}'])
def test_a_bad_list_of_targets_is_one_message(stopped: Path, tmp_path: Path, text: str) -> None:
    folder = copied(stopped, tmp_path)
    (folder / "chunks" / "study.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be read|was begun with"):
        resume(folder)


@pytest.mark.parametrize("name", ["study.lock", "chunks"])
def test_nothing_is_written_through_a_link(stopped: Path, tmp_path: Path, name: str) -> None:
    folder = copied(stopped, tmp_path)
    kept = tmp_path / "mine"
    if name == "chunks":
        shutil.move(folder / name, kept)
    else:
        (folder / name).unlink(missing_ok=True)
        kept.write_text("mine", encoding="utf-8")
    (folder / name).symlink_to(kept)
    with pytest.raises(UserError, match="is a link"):
        resume(folder)
    assert name == "chunks" or kept.read_text(encoding="utf-8") == "mine"


def forge(folder: Path, table: pa.Table | bytes, trials: str = "000000-000002") -> None:
    """Put a chunk with a right digest in place of the one there."""
    for file in (folder / "chunks").glob("*.parquet"):
        file.unlink()
    sink = pa.BufferOutputStream()
    if isinstance(table, pa.Table):
        pq.write_table(table, sink)
        table = sink.getvalue().to_pybytes()
    digest = blake2b(table, digest_size=8).hexdigest()
    (folder / "chunks" / f"{trials}.{digest}.parquet").write_bytes(table)


@pytest.mark.parametrize("what", ["nonsense", "other trials", "no trials", "too many"])
def test_a_forged_chunk_runs_again(stopped: Path, tmp_path: Path, what: str) -> None:
    folder = copied(stopped, tmp_path)
    forge(folder, {"nonsense": b"PAR1 nonsense PAR1",
                   "other trials": pa.table({"trial": np.arange(7, 10)}),
                   "no trials": pa.table({"time_s": np.zeros(3)}),
                   "too many": pa.table({f"c{i}": pa.array(np.zeros(100_001)) for i in range(1000)})}[what])
    assert len(resume(folder)) == 6


def test_a_forged_chunk_of_other_columns_is_one_message(stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    forge(folder, pa.table({"trial": np.arange(6)}), "000000-000005")
    with pytest.raises(UserError, match="not of a study like this"):
        resume(folder)


@settings(max_examples=200)
@given(files)
def test_any_file_ends_in_a_result_or_one_message(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content)
    assert failure(path, 60.0)[1] == ""


def test_the_fuzzer_opens_every_ready_file_before_it_damages_them(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "fuzz.run", "--count", "3", "--out", str(tmp_path)], check=False,
                          capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=300)
    assert done.returncode == 0, done.stdout
    assert "0 failed, 0 killed" in done.stdout

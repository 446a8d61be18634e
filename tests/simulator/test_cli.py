"""The command line as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from simulator.scenario import load_file
from simulator.scenario.lifecycle import load_lifecycle
from simulator.scenario.loading import load_serving

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))


def clustercost(*words: str, cwd: Path = ROOT, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "simulator.cli", *words], cwd=cwd, capture_output=True, text=True,
                          check=False, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_run_prints_a_summary_and_writes_results(tmp_path) -> None:
    done = clustercost("run", "scenarios/small-8gpu.yaml", "--trials", "8", "--out", str(tmp_path / "r"))
    for word in ("P5", "P50", "P95", "wall time (days)", "MWh", "tCO2e", "USD", "ETTR", "MFU", "interruptions", "US homes",
                 "Time by category", "Cost by category", "Chance to meet the deadline", "Chance to meet the budget"):
        assert word in done.stdout
    assert (tmp_path / "r" / "trials.parquet").exists()


def test_json_is_the_saved_summary(tmp_path) -> None:
    done = clustercost("run", "scenarios/small-8gpu.yaml", "--trials", "8", "--json", "--out", str(tmp_path / "r"))
    assert json.loads(done.stdout) == json.loads((tmp_path / "r" / "summary.json").read_text())


def test_init_writes_a_scenario_that_runs(tmp_path) -> None:
    clustercost("init", "mine.yaml", cwd=tmp_path)
    assert "exists already" in clustercost("init", "mine.yaml", cwd=tmp_path, code=2).stderr
    clustercost("run", "mine.yaml", "--trials", "2", "--out", "r", cwd=tmp_path)


def test_schema_is_json_schema() -> None:
    schema = json.loads(clustercost("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"model", "training", "cluster"} <= set(schema["properties"])


def test_catalog_lists_kinds_names_and_records() -> None:
    assert "accelerators" in clustercost("catalog").stdout
    assert "h100-sxm-80gb" in clustercost("catalog", "accelerators").stdout
    assert "sources" in clustercost("catalog", "accelerators", "h100-sxm-80gb").stdout
    assert "did you mean 'h100-sxm-80gb'" in clustercost("catalog", "accelerators", "h100-sxm-80g", code=2).stderr


@pytest.mark.parametrize(("words", "message"), [
    (("run", "nowhere.yaml"), "nowhere.yaml"),
    (("run", "scenarios/small-8gpu.yaml", "--trials", "0"), "trials"),
    (("run", "scenarios/small-8gpu.yaml", "--seed", "-1"), "seed"),
    (("run", "scenarios/small-8gpu.yaml", "--out", "kernels"), "never overwritten"),
    (("catalog", "modles"), "did you mean 'models'"),
    (("validate", "--cases", "nowhere.csv"), "nowhere.csv"),
])
def test_bad_calls_get_one_message_and_exit_code_2(words, message) -> None:
    done = clustercost(*words, code=2)
    assert message in done.stderr
    assert done.stdout == ""


def test_a_model_that_does_not_fit_names_the_term_and_layouts_that_do(tmp_path) -> None:
    text = (ROOT / "scenarios/llama3-405b.yaml").read_text().replace("recompute: selective", "recompute: none")
    (tmp_path / "big.yaml").write_text(text.replace("pipeline: 16, data: 128", "pipeline: 8, data: 256"))
    message = clustercost("run", "big.yaml", cwd=tmp_path, code=2).stderr
    for word in ("GiB too much", "the largest is activations", "nearest layouts that fit", "tensor: 8"):
        assert word in message
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_every_shipped_scenario_loads_and_says_what_was_published(path) -> None:
    keys = yaml.safe_load(path.read_text())
    loaders = {"months": load_lifecycle, "serving": load_serving}
    next((load for key, load in loaders.items() if key in keys), load_file)(path)
    assert "ublished" in path.read_text()[:600]


def test_step_shows_phases_that_add_up_and_memory() -> None:
    text = clustercost("step", "scenarios/llama3-405b.yaml").stdout
    for word in ("matrix products", "pipeline bubble", "waiting for the slowest", "optimizer", "MFU", "activations"):
        assert word in text
    for stretch in json.loads(clustercost("step", "scenarios/llama3-405b.yaml", "--json").stdout):
        assert sum(stretch["phases_s"].values()) * stretch["straggler_factor"] == pytest.approx(stretch["time_s"], rel=1e-9)


def test_help_shows_an_example_for_every_command() -> None:
    for command in ("run", "step", "schema", "init", "catalog", "validate"):
        assert "Example: clustercost" in " ".join(clustercost(command, "--help").stdout.split())

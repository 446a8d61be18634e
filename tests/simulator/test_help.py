"""Every --help has an example that works, and all commands hold to the same options and exit codes."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from simulator.cli import app

ROOT = Path(__file__).parents[2]
COMMANDS = {(c.name or getattr(c.callback, "__name__", "")).replace("_", "-"): c.callback for c in app.registered_commands}
# What makes an example short, where 4 trials do not.
SHORT = {"tail": ["--trials", "100"], "forecast": ["--trials", "100"], "plan": ["--trials", "40"],
         "variance": ["--outer", "3", "--inner", "2"]}
RESULTS = "results/llama"  # what the example of run writes, and that of others may take
NAMED = sorted(COMMANDS)


def clustercost(*words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "simulator.cli", *words], cwd=cwd, capture_output=True, text=True, check=False,
                          timeout=600, env={**os.environ, "PYTHONPATH": str(ROOT), **env})


def example(command: str) -> list[str]:
    """Return the commands of the example that --help shows."""
    text = inspect.getdoc(COMMANDS[command]) or ""
    found = re.search(r"Example: (.+?)(?:\n\n|$)", text, re.DOTALL)
    assert found, f"{command} has no example"
    return " ".join(found[1].split()).split("&&")


@pytest.mark.parametrize("command", NAMED)
def test_help_shows_the_example_and_the_options_of_all_commands(command: str) -> None:
    shown = " ".join(clustercost(command, "--help", COLUMNS="200").stdout.replace("│", " ").split())
    assert "Example: clustercost " + command in shown
    assert "-q, -v" in shown


@pytest.mark.parametrize("command", NAMED)
def test_the_example_works(command: str, tmp_path: Path) -> None:
    for folder in ("scenarios", "simulator"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    parts = example(command)
    if command != "run" and any(RESULTS in part for part in parts):
        parts = example("run") + parts
    for part in parts:
        words = shlex.split(part.partition(">")[0] if " > " in part else part)
        assert words.pop(0) == "clustercost"
        done = clustercost(*shortened(words), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert (done.stdout + done.stderr).strip()


def shortened(words: list[str]) -> list[str]:
    options: dict[str, Any] = inspect.signature(COMMANDS[words[0]]).parameters
    short = SHORT.get(words[0], ["--trials", "4"] if "trials" in options else [])
    for option in short[::2]:
        if option in words:
            at = words.index(option)
            words = words[:at] + words[at + 2:]
    return words + short


@pytest.mark.parametrize("command", sorted({"step", "catalog"}))
@pytest.mark.parametrize("columns", ["40", "60", "80", "120"])
def test_nothing_is_wider_than_the_terminal(command: str, columns: str) -> None:
    words = {"step": ["step", "scenarios/small-8gpu.yaml"], "catalog": ["catalog", "--help"]}[command]
    for line in clustercost(*words, COLUMNS=columns).stdout.splitlines():
        assert len(line) <= int(columns), line


def test_colours_and_progress_bars_are_for_terminals_only() -> None:
    done = clustercost("step", "scenarios/small-8gpu.yaml", NO_COLOR="1")
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x1b" not in clustercost("step", "scenarios/small-8gpu.yaml", TERM="dumb", FORCE_COLOR="").stdout


def test_quiet_says_results_only_and_verbose_says_what_is_done(tmp_path: Path) -> None:
    words = ("run", "scenarios/small-8gpu.yaml", "--trials", "2", "--json")
    quiet = clustercost(*words, "--quiet", "--out", str(tmp_path / "a"))
    assert (quiet.returncode, quiet.stderr) == (0, "")
    before = clustercost("-q", *words, "--out", str(tmp_path / "b"))
    assert before.stderr == ""
    assert json.loads(before.stdout)["results"] == json.loads(quiet.stdout)["results"]
    said = clustercost(*words, "-v", "--out", str(tmp_path / "c")).stderr
    for word in ("reading scenarios/small-8gpu.yaml", "2 trials", str(tmp_path / "c"), "took"):
        assert word in said


@pytest.mark.parametrize("words", [["nowhere"], ["run"], ["step"], ["step", "nowhere.yaml"], ["step", "--nothing"],
                                   ["catalog", "modles"], ["catalog", "models", "lama"], ["run", "x.yaml", "--trials", "many"],
                                   ["validate", "nothing"], ["step", "nowhere.yaml", "--quiet"]])
def test_bad_input_ends_with_2_and_says_why(words: list[str]) -> None:
    done = clustercost(*words)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_version_and_help_end_with_0() -> None:
    assert clustercost("--version").stdout.startswith("clustercost 0.")
    done = clustercost("--help")
    assert done.returncode == 0
    assert "130" in done.stdout


def test_ctrl_c_outside_a_study_ends_with_130_and_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "started")
    script = ("import sys, time; import simulator.cli.app as a; from simulator.cli import main\n"
              "import simulator.scenario as s\n"
              f"def wait(file): open({str(tmp_path / 'started')!r}, 'w').close(); time.sleep(60)\n"
              "s.load_scenario = wait; sys.argv = ['clustercost', 'step', 'x.yaml']; main()")
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    with (tmp_path / "started").open():
        pass
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "stopped\n")


def test_a_reader_that_goes_away_is_no_error() -> None:
    piped = f"{shlex.quote(sys.executable)} -m simulator.cli schema | head -c 10; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", piped], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.endswith("0\n")
    assert done.stderr == ""


def test_names_of_the_catalog_are_completed_without_reading_it() -> None:
    from simulator import catalog
    from simulator.cli.complete import kinds, names

    assert kinds("m") == ["models"]
    assert set(kinds("")) == set(catalog.KINDS)
    for kind in catalog.KINDS:
        context = typer.Context(typer.main.get_command(app))
        context.params["kind"] = kind
        assert names(context, "") == catalog.names(kind)
    context.params["kind"] = "nothing"
    assert names(context, "") == []

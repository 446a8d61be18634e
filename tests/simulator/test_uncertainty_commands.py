"""`clustercost variance` and `clustercost tail`: tables, JSON, and one message where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.errors import UserError

LLAMA = str(Path(__file__).parents[2] / "scenarios/llama3-405b.yaml")


def test_cost_is_what_nobody_knows_and_time_is_luck() -> None:
    done = CliRunner().invoke(app, ["variance", LLAMA, "--outer", "30", "--inner", "2", "--json"])
    assert done.exit_code == 0, done.output
    shares = {entry["column"]: entry for entry in json.loads(done.stdout)}
    assert shares["cost_usd"]["unknown"] > 0.9  # the price is the one thing not known, and the run's luck hardly counts beside it
    assert shares["time_s"]["unknown"] < 0.5
    table = CliRunner().invoke(app, ["variance", LLAMA, "--outer", "10", "--inner", "2"]).stdout
    assert "not knowing" in table
    assert "cost_usd" in table


def test_the_chance_to_go_over_budget_agrees_with_plain_trials() -> None:
    done = CliRunner().invoke(app, ["tail", LLAMA, "--column", "cost_usd", "--trials", "400", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["low"] < 0.155 < found["high"]  # 20,000 plain trials: 15.5 %
    shown = CliRunner().invoke(app, ["tail", LLAMA, "--column", "cost_usd", "--trials", "200"]).stdout
    assert "P(cost_usd > the scenario's goal)" in shown


def test_an_unknown_result_is_refused_with_the_nearest() -> None:
    done = CliRunner().invoke(app, ["tail", LLAMA, "--column", "cost_us", "--above", "1"])
    assert isinstance(done.exception, UserError)
    with pytest.raises(UserError, match="cost_usd"):
        raise done.exception

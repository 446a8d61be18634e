"""Published figures that the model must reproduce, from configuration alone."""

from pathlib import Path

import numpy as np
import pytest

from simulator import catalog
from simulator.validation.runs import compare_runs
from simulator.validation.throughput import FITTED, calibrate, errors, read_cases, statistics

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture(scope="module")
def outcomes():
    return {(o.scenario, o.quantity): o for o in compare_runs(SCENARIOS, trials=25)}


@pytest.mark.parametrize(("scenario", "quantity", "tolerance"), [
    ("llama3-405b", "accelerator-hours", 0.15),
    ("llama3-405b", "interruptions in 54 days", 0.10),
    ("gpt3-175b", "energy at the meter", 0.15),
    ("deepseek-v3", "accelerator-hours", 0.15),
    ("opt-175b", "productive days", 0.15),
])
def test_run_is_within_tolerance_of_what_was_published(outcomes, scenario, quantity, tolerance) -> None:
    outcome = outcomes[scenario, quantity]
    assert abs(outcome.error) <= tolerance, outcome


def test_llama3_effective_time_is_above_the_published_bound(outcomes) -> None:
    assert outcomes["llama3-405b", "ETTR"].simulated > 0.90


def test_step_times_are_near_the_published_rows() -> None:
    found = statistics(errors(read_cases()))
    assert found["rows"] == 141
    assert found["mean_absolute_error"] < 0.07
    assert abs(found["bias"]) < 0.02


@pytest.mark.parametrize("generation", ["ampere", "hopper"])
def test_catalog_holds_what_the_calibration_finds(generation) -> None:
    record = catalog.load("generations", generation)
    rows = [c for c in read_cases() if c.accelerator.generation == generation]
    fit = calibrate(rows, record)
    assert [getattr(fit, k) for k in FITTED] == pytest.approx([getattr(record, k) for k in FITTED], rel=0.03)
    assert np.abs(errors(rows, fit)).mean() <= np.abs(errors(rows)).mean() + 0.002

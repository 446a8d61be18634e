"""Times of the parts of a study, on the Llama 3.1 405B scenario: `pytest benchmarks --benchmark-enable`."""

from __future__ import annotations

from itertools import count

import pytest

from benchmarks.cases import advance_whole_run, bare_loop, mean_interruptions, reference_stream, scenario
from simulator.montecarlo.trials import Trials
from simulator.performance import estimate_steps
from simulator.scenario import Scenario


@pytest.fixture(scope="module")
def llama() -> Scenario:
    return scenario()


@pytest.fixture(scope="module")
def trials(llama: Scenario) -> Trials:
    return Trials(llama)


def test_step_estimate(benchmark, llama):
    estimates = benchmark(estimate_steps, llama.central())
    assert all(e.step_time_s > 0.0 for e in estimates)


def test_one_trial(benchmark, trials):
    numbers = count()
    result = benchmark(lambda: trials.run(next(numbers)))
    assert result.row["time_s"] > 0.0


def test_bare_simpy_loop_of_as_many_failures(benchmark, trials):
    failures = mean_interruptions(trials)
    numbers = count()
    assert benchmark(lambda: bare_loop(failures, reference_stream(next(numbers)))) > 0.0


def test_advance_a_whole_run(benchmark, trials):
    assert benchmark(advance_whole_run, trials.central).done == 1.0

"""Times of the parts of a study, on the Llama 3.1 405B scenario: `pytest benchmarks --benchmark-enable`."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest

from benchmarks.cases import (
    advance_whole_run,
    bare_loop,
    large_search,
    many_layouts,
    mean_interruptions,
    reference_stream,
    scenario,
)
from kernels.bulk import price_layouts
from simulator.montecarlo.trials import Trials
from simulator.performance import estimate_steps, search
from simulator.performance.search import FREE
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


def test_bulk_of_layouts(benchmark):
    rows, found = many_layouts(20_000)
    times_s, energies_j, memories_bytes = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    benchmark(price_layouts, *found, FREE, rows, math.inf, times_s, energies_j, memories_bytes)
    assert np.isfinite(times_s).all()


def test_layout_search_of_175b_on_1024(benchmark):
    found = benchmark(search, large_search("gpt3-175b", 1024))
    assert np.isfinite(found.times_s).any()

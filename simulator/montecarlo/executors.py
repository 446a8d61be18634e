"""Run the trials of a study: here, or in several processes, with the same result."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from simulator.montecarlo.study import Study
from simulator.montecarlo.trials import Trials
from simulator.scenario import Scenario

CHUNK = 32
_worker: Callable[[int], Any] | None = None

Rows = list[dict[str, float]]
Progress = Callable[[Rows], None]


def _start_worker(make: Callable[[Any], Callable[[int], Any]], scenario: Any) -> None:
    global _worker  # noqa: PLW0603  (one scenario a worker process, set once)
    _worker = make(scenario)


def _run_chunk(chunk: range) -> list[Any]:
    assert _worker is not None
    return [_worker(trial) for trial in chunk]


def _rows(scenario: Scenario) -> Callable[[int], dict[str, float]]:
    trials = Trials(scenario)
    return lambda trial: trials.run(trial).row


def run_trials(make: Callable[[Any], Callable[[int], Any]], scenario: Any, count: int, workers: int,
               keep: Callable[[list[Any]], None], *, run: Callable[[int], Any] | None = None, chunk: int = CHUNK) -> bool:
    """Run trials here or in processes; return whether Ctrl-C stopped them.

    Parameters
    ----------
    make : callable
        Scenario -> function that runs the trial of a number; a function of a module, so that processes find it.
    keep : callable
        Called with the results of each finished chunk, in any order of chunks.
    run : callable, optional
        What `make` would return, where it is at hand.
    chunk : int
        Trials a process takes at once.
    """
    try:
        if workers <= 1 or count <= chunk:
            run = make(scenario) if run is None else run
            for trial in range(count):
                keep([run(trial)])
        else:
            _in_processes(make, scenario, min(workers, -(-count // chunk)), count, keep, chunk)
    except KeyboardInterrupt:
        return True
    return False


def run_study(scenario: Scenario, *, workers: int = 1, progress: Progress | None = None) -> Study:
    """Run all trials of a scenario.

    Parameters
    ----------
    scenario : Scenario
        With `monte_carlo.trials` and `.seed`.
    workers : int
        1: in this process. More: in that many processes; each trial has its own streams, so results are bit-identical.
    progress : callable
        Called with the rows of each finished chunk.

    Returns
    -------
    Study
        Rows in order of trial. After Ctrl-C those that finished, with `interrupted` set.

    Raises
    ------
    UserError
        The scenario cannot run.
    """
    trials = Trials(scenario)
    rows: Rows = []

    def keep(chunk: Rows) -> None:
        rows.extend(chunk)
        if progress is not None:
            progress(chunk)

    # Processes get the interval that was searched here, and do not search again.
    interrupted = run_trials(_rows, trials.settled, scenario.monte_carlo.trials, workers, keep,
                             run=lambda trial: trials.run(trial).row)
    rows.sort(key=lambda row: row["trial"])
    return Study(scenario, trials, rows, interrupted=interrupted)


def _in_processes(make: Callable[[Any], Callable[[int], Any]], scenario: Any, workers: int, count: int,
                  keep: Callable[[list[Any]], None], size: int) -> None:
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(make, scenario))
    chunks = [range(start, min(start + size, count)) for start in range(0, count, size)]
    futures = []
    try:
        futures = [executor.submit(_run_chunk, chunk) for chunk in chunks]
        for future in as_completed(futures):
            keep(future.result())
    except BaseException:
        for future in futures:
            future.cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def cores() -> int:
    """Return the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(trials: int) -> int:
    """Return how many processes pay: starting one takes about as long as a hundred trials."""
    return 1 if trials < 300 else cores()

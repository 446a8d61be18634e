"""Run the trials of a study: here, or in several processes, with the same result."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

from simulator.montecarlo.study import Study
from simulator.montecarlo.trials import Trials
from simulator.scenario import Scenario

CHUNK = 32
_worker: Trials | None = None

Rows = list[dict[str, float]]
Progress = Callable[[Rows], None]


def _chunks(trials: int) -> list[range]:
    return [range(start, min(start + CHUNK, trials)) for start in range(0, trials, CHUNK)]


def _start_worker(scenario: Scenario) -> None:
    global _worker  # noqa: PLW0603  (one scenario a worker process, set once)
    _worker = Trials(scenario)


def _run_chunk(chunk: range) -> Rows:
    assert _worker is not None
    return [_worker.run(trial).row for trial in chunk]


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
    interrupted = False

    def keep(chunk: Rows) -> None:
        rows.extend(chunk)
        if progress is not None:
            progress(chunk)

    count = scenario.monte_carlo.trials
    try:
        if workers <= 1 or count <= CHUNK:
            for trial in range(count):
                keep([trials.run(trial).row])
        else:
            _in_processes(scenario, min(workers, -(-count // CHUNK)), count, keep)
    except KeyboardInterrupt:
        interrupted = True
    rows.sort(key=lambda row: row["trial"])
    return Study(scenario, trials, rows, interrupted=interrupted)


def _in_processes(scenario: Scenario, workers: int, count: int, keep: Progress) -> None:
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(scenario,))
    futures = []
    try:
        futures = [executor.submit(_run_chunk, chunk) for chunk in _chunks(count)]
        for future in as_completed(futures):
            keep(future.result())
    except BaseException:
        for future in futures:
            future.cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def default_workers(trials: int) -> int:
    """Return how many processes pay: starting one takes about as long as a hundred trials."""
    return 1 if trials < 300 else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Runs of one scenario whose inputs and luck are chosen, row by row, on any number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.cluster.trial import RunDoesNotFinish
from simulator.errors import UserError
from simulator.montecarlo.chunks import Part, RunChunk
from simulator.montecarlo.running import Progress, run_parts
from simulator.montecarlo.trials import Trials
from simulator.montecarlo.variance import check_columns
from simulator.scenario import Scenario
from simulator.scenario.monte_carlo import MonteCarlo

MOST_UNFINISHED = 0.01  # of all runs


@dataclass(frozen=True)
class Design:
    """What each run has.

    Attributes
    ----------
    scenario : Scenario
        `Trials.settled`, so that no worker searches an interval again.
    values : ndarray, shape (runs, paths)
        Of what is not known, SI, in the order of `Inputs.paths`.
    trials : ndarray, shape (runs,)
        The trial of the scenario whose luck a run has.
    columns : tuple of str
        Results to keep.
    """

    scenario: Scenario
    values: np.ndarray
    trials: np.ndarray
    columns: tuple[str, ...]

    @property
    def monte_carlo(self) -> MonteCarlo:
        """The runs as a study counts its trials."""
        return self.scenario.monte_carlo.model_copy(update={"trials": self.trials.size})


def run_rows(design: Design, trials: Trials, *, workers: int | None = 1,
             progress: Progress | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """Run a design; results are the same, bit by bit, with any number of workers.

    Parameters
    ----------
    design : Design
    trials : Trials
        Of its scenario, at hand in this process.
    workers, progress
        As for `run_study`.

    Returns
    -------
    results : ndarray, shape (runs, columns)
        NaN for a run that does not finish.
    unfinished : dict
        Run -> why it does not finish, with the values that it had.

    Raises
    ------
    UserError
        A run cannot be planned, with the values that it had; a column is no result; too many runs do not finish.
    KeyboardInterrupt
        Ctrl-C was pressed.
    """
    asked: Any = design  # runs are counted as those of a study
    outcome = run_parts(_run, asked, _run_of(design, trials), workers=workers, progress=progress)
    if outcome.interrupted:
        raise KeyboardInterrupt
    table, problems = outcome.tables["trials"], outcome.tables.get("problems", {})
    unfinished = dict(zip(problems.get("run", np.empty(0, int)).tolist(), problems.get("problem", ()), strict=True))
    _check_finished(design, unfinished)
    return np.column_stack([table[name] for name in design.columns]), unfinished


def _check_finished(design: Design, unfinished: dict[int, str]) -> None:
    if len(unfinished) > MOST_UNFINISHED * design.trials.size:
        raise UserError(f"{unfinished[min(unfinished)]}; more than {MOST_UNFINISHED:.0%} of {design.trials.size:,} runs do not "
                        "finish, too many to leave out")


def _run(design: Design) -> RunChunk:
    return _run_of(design, Trials(design.scenario))


def _run_of(design: Design, trials: Trials) -> RunChunk:
    unfinished: dict[int, str] = {}  # of this process, so that it stops long before the last of many slow runs

    def run(chunk: range) -> Part:
        rows, problems = [], {}
        for number in chunk:
            try:
                rows.append(_row(design, trials, number))
            except RunDoesNotFinish as error:
                rows.append(dict.fromkeys(design.columns, np.nan))
                problems[number] = unfinished[number] = str(error)
                _check_finished(design, unfinished)
        part = {"trials": {name: np.array([row[name] for row in rows]) for name in design.columns}}
        if problems:
            part["problems"] = {"run": np.array(list(problems)), "problem": np.array(list(problems.values()), dtype=object)}
        return part

    return run


def _row(design: Design, trials: Trials, number: int) -> dict[str, float]:
    by_path = dict(zip(trials.inputs.paths, design.values[number].tolist(), strict=True))
    values = {path: by_path[path] for path in trials.uncertain}
    try:
        row = trials.run_with(values, int(design.trials[number])).row
    except UserError as error:
        again = RunDoesNotFinish if isinstance(error, RunDoesNotFinish) else UserError
        raise again(f"with {_shown(values)}: {error}") from error
    check_columns(design.columns, row)
    return row


def _shown(values: dict[str, float], most: int = 6) -> str:
    found: Sequence[str] = [f"{path} = {value:.6g}" for path, value in values.items()]
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "") + " (SI)"

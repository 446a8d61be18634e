"""Several scenarios that run the same trials with the same luck: what compare, sweep and plan rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.chunks import Columns, Part, RunChunk, columns_of, joined
from simulator.montecarlo.folder import StudyFolder
from simulator.montecarlo.running import Progress, run_parts
from simulator.montecarlo.trials import Trials
from simulator.scenario import MonteCarlo, Scenario

_KEPT = 64  # points whose plans a process keeps


class NoPointRunsError(UserError):
    """Of several scenarios none can run; the message is the first one's reason."""


@dataclass(frozen=True)
class Points:
    """Scenarios and the trials that each of them runs; run `n` is trial `first + n % trials` of scenario `n // trials`.

    Attributes
    ----------
    scenarios : sequence of Scenario
        With one seed: trials of the same number have the same luck (common random numbers). One that is made when it is asked
        for may raise UserError, which is then the problem of its point.
    trials, first : int
        Trials of each, and the number of the first.
    source : dict
        What a folder keeps of where the scenarios come from.
    """

    scenarios: Sequence[Scenario]
    trials: int
    first: int = 0
    source: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def monte_carlo(self) -> MonteCarlo:
        """Runs of all scenarios, as a study counts its trials."""
        return MonteCarlo().model_copy(update={"trials": self.trials * len(self.scenarios)})

    def to_file(self) -> dict[str, Any]:
        """Return what a folder keeps."""
        return self.source


@dataclass(frozen=True)
class PointRows:
    """Results of points.

    Attributes
    ----------
    columns : dict of ndarray, shape (points, trials)
        Results by name, SI, names with units; NaN where a point has not this result, or a trial did not finish.
    problems : dict
        Point -> why it cannot run, or why one of its trials did not finish.
    interrupted : bool
        Stopped by Ctrl-C; what did not run is NaN.
    """

    columns: Columns
    problems: dict[int, str]
    interrupted: bool = False

    def column(self, name: str) -> np.ndarray:
        """Return one result, shape (points, trials)."""
        return self.columns[name]


def run_points(points: Points, *, workers: int | None = 1, dask: bool | str = False, folder: StudyFolder | None = None,
               progress: Progress | None = None) -> PointRows:
    """Run all trials of all points; a point that cannot run does not stop the others.

    Parameters
    ----------
    points : Points
    workers, dask, progress
        As for `run_study`; results are the same with any number.
    folder : StudyFolder, optional
        Held by the caller: finished chunks are written to it, and what it has is not run again.

    Raises
    ------
    NoPointRunsError
        No point can run: the first one's reason.
    UserError
        The folder cannot be written; workers are lost.
    """
    outcome = run_parts(_runs, points, _runs(points), workers=workers, dask=dask, folder=folder, progress=progress)
    count, each = len(points.scenarios), points.trials
    rows, table = outcome.tables.get("trials", {}), outcome.tables.get("problems", {})
    problems: dict[int, str] = {}
    for point, problem in zip(table.get("point", ()), table.get("problem", ()), strict=True):
        problems.setdefault(int(point), str(problem))
    columns = {}
    for name, values in rows.items():
        if name != "trial":
            columns[name] = np.full(count * each, np.nan)
            columns[name][rows["trial"].astype(int)] = values
    if not columns and problems:
        raise NoPointRunsError(problems[min(problems)])
    return PointRows({name: values.reshape(count, each) for name, values in columns.items()}, problems, outcome.interrupted)


def _runs(points: Points) -> RunChunk:
    """Return a function that runs a chunk of runs, point after point."""
    @lru_cache(maxsize=_KEPT)
    def planned(point: int) -> Trials | str:
        try:
            return Trials(points.scenarios[point])
        except UserError as error:
            return str(error)

    def run(chunk: range) -> Part:
        rows: list[Columns] = []
        problems: dict[tuple[int, str], None] = {}
        for point in range(chunk.start // points.trials, (chunk.stop - 1) // points.trials + 1):
            start = point * points.trials
            found = []
            for n in range(max(chunk.start, start), min(chunk.stop, start + points.trials)):
                trials = planned(point)
                row, problem = ({}, trials) if isinstance(trials, str) else _row(trials, points.first + n - start)
                if problem:
                    problems[point, problem] = None
                found.append({**row, "trial": n})
            whole = [row for row in found if len(row) > 1]
            rows += [columns_of(whole), columns_of([row for row in found if len(row) == 1])]
        part = {"trials": joined(rows)}
        if problems:
            part["problems"] = {"point": np.array([point for point, _ in problems]),
                                "problem": np.array([problem for _, problem in problems], dtype=object)}
        return part

    return run


def _row(trials: Trials, trial: int) -> tuple[dict[str, float], str]:
    """Return the row of a trial, or why it has none."""
    try:
        return trials.run(trial).row, ""
    except UserError as error:
        return {}, f"trial {trial}: {error}"


def points_of(scenarios: Sequence[Scenario], trials: int, seed: int | None = None, **more: Any) -> Points:
    """Return the points of scenarios, all with one seed: the given one, else that of the first."""
    common = scenarios[0].monte_carlo.seed if seed is None else seed
    same = tuple(s.model_copy(update={"monte_carlo": s.monte_carlo.model_copy(update={"seed": common})}) for s in scenarios)
    return Points(same, trials, **more)


"""A sweep: one scenario at the points of a design, all with the same trials and the same luck, as one tidy table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import yaml

from simulator.errors import UserError, unknown_name
from simulator.montecarlo.folder import SWEEP, StudyFolder, check_stopped
from simulator.montecarlo.points import NoPointRunsError, PointRows, Points, run_points
from simulator.montecarlo.running import Progress
from simulator.montecarlo.statistics import describe
from simulator.montecarlo.trials import Trials
from simulator.planning.axes import Axis, axis_from_file, check_design, check_values, design_points, listed, parse_axis
from simulator.planning.compare import RESULTS, chances
from simulator.planning.paired import Difference, paired_difference
from simulator.scenario import Scenario, scenario_from_mapping
from simulator.scenario.edits import edited
from simulator.scenario.reading import read_text

if TYPE_CHECKING:
    import pandas as pd

SUMMARISED = (*RESULTS, "accelerator_s")
_TRIALS = 100  # of each point, at most, unless told
MORE_IS_BETTER = frozenset({"ettr", "mfu"})
STATISTICS = ("mean", "p5", "p50", "p95")


@dataclass(frozen=True)
class Sweep:
    """What is swept.

    Attributes
    ----------
    scenario : Scenario
        The base, with the trials of each point and the seed of all.
    axes : tuple of Axis
    design : str
        "grid", "zip" or "latin-hypercube".
    count : int, optional
        Points of a Latin hypercube.
    """

    scenario: Scenario
    axes: tuple[Axis, ...]
    design: str = "grid"
    count: int | None = None

    @cached_property
    def points(self) -> tuple[dict[str, Any], ...]:
        """Path -> value in file form, of every point."""
        return tuple(design_points(self.axes, self.design, self.count, self.scenario.monte_carlo.seed))

    @property
    def trials(self) -> int:
        """Trials of each point."""
        return self.scenario.monte_carlo.trials

    def to_file(self) -> dict[str, Any]:
        """Return what sweep.yaml holds; trials and seed are in the scenario's `monte_carlo`."""
        return {"design": self.design, **({"points": self.count} if self.count is not None else {}),
                "over": [axis.to_file() for axis in self.axes], "scenario": self.scenario.to_file()}

    def runs(self) -> Points:
        """Return the points as they are run; each scenario is made where it runs."""
        return Points(_Edits(self.scenario, self.points), self.trials)


@dataclass(frozen=True)
class _Edits(Sequence[Scenario]):
    """The scenarios of points, made when asked for: many thousands of them would not fit in memory."""

    base: Scenario
    points: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, index: int) -> Scenario: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Scenario]: ...
    def __getitem__(self, index: int | slice) -> Scenario | Sequence[Scenario]:
        if isinstance(index, slice):
            return _Edits(self.base, self.points[index])
        return edited(self.base, self.points[index], f"point {index}")


class SweepResult:
    """Results of a sweep.

    Attributes
    ----------
    sweep : Sweep
    rows : PointRows
        By point and trial; NaN where a point cannot run.
    """

    def __init__(self, sweep: Sweep, rows: PointRows) -> None:
        self.sweep, self.rows = sweep, rows
        self.scenario, self.interrupted = sweep.scenario, rows.interrupted
        self.problems = rows.problems

    def __len__(self) -> int:
        """Return the runs that finished."""
        return int(self.finished.sum())

    @cached_property
    def finished(self) -> np.ndarray:
        """Which runs finished, shape (points, trials)."""
        shape = len(self.sweep.points), self.sweep.trials
        return np.isfinite(self.rows.columns["time_s"]) if self.rows.columns else np.zeros(shape, dtype=bool)

    @cached_property
    def names(self) -> list[str]:
        """Results by name."""
        return [name for name in self.rows.columns if not name.startswith("input ")]

    def values(self, column: str, point: int) -> np.ndarray:
        """Return a result at a point, shape (trials that finished,); NaN alone where the point cannot run.

        Raises UserError for an unknown result.
        """
        if column not in self.names:
            raise UserError(f"--column: {unknown_name('result', column, self.names)}")
        if point in self.problems or not self.finished[point].any():
            return np.array([np.nan])
        found: np.ndarray = self.rows.columns[column][point][self.finished[point]]
        return found

    def statistic(self, column: str, which: str = "p50") -> np.ndarray:
        """Return "mean", "p5", "p50" or "p95" of a result, shape (points,)."""
        take = np.mean if which == "mean" else lambda values: np.quantile(values, float(which[1:]) / 100.0)
        return np.array([take(self.values(column, point)) for point in range(len(self.sweep.points))])

    def best(self, column: str = "cost_usd") -> int | None:
        """Return the point with the best mean of a result (the least, of efficiencies the most); None where it is unknown."""
        mean = self.statistic(column, "mean")
        if np.isnan(mean).all():
            return None
        return int(np.nanargmax(mean) if column in MORE_IS_BETTER else np.nanargmin(mean))

    def difference(self, column: str, point: int, base: int) -> Difference:
        """Return the paired difference of a result between two points."""
        both = self.finished[point] & self.finished[base]
        values = self.rows.columns[column]
        return paired_difference(values[point][both], values[base][both])

    def goals(self, point: int) -> dict[str, dict[str, float]]:
        """Return the chance of a point to meet the goals that are set there."""
        if point in self.problems or not self.finished[point].any():
            return {}
        swept = any(path.split(".")[0] == "goals" for path in self.sweep.points[point])
        scenario = edited(self.scenario, self.sweep.points[point]) if swept else self.scenario
        return chances(scenario.goals, {name: self.values(name, point) for name in ("time_s", "cost_usd")})

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a point and trial: what was swept (by path; numbers in SI), point, trial, results.

        Of a sweep that was stopped, what did not run is left out.
        """
        import pandas as pd

        count, trials = len(self.sweep.points), self.sweep.trials
        columns: dict[str, Any] = {axis.path: np.repeat(self._swept(axis), trials) for axis in self.sweep.axes}
        columns |= {"point": np.repeat(np.arange(count), trials), "trial": np.tile(np.arange(trials), count)}
        columns |= {name: values.ravel() for name, values in self.rows.columns.items()}
        table = pd.DataFrame(columns)
        if not self.interrupted:
            return table
        return table[self.finished.ravel() | table["point"].isin(list(self.problems))].reset_index(drop=True)

    def _swept(self, axis: Axis) -> np.ndarray:
        """Return the value of an axis at each point: numbers in SI where all are, else text."""
        values = [point[axis.path] for point in self.sweep.points]
        found = [axis.number(value) for value in values]
        if all(number is not None for number in found):
            return np.array(found, dtype=float)
        return np.array([value if isinstance(value, str) else json.dumps(value) for value in values], dtype=object)

    def summary(self) -> pd.DataFrame:
        """Return one row a point: what was swept, mean and quantiles with intervals, chances to meet goals, problem if any."""
        import pandas as pd

        swept = {axis.path: self._swept(axis) for axis in self.sweep.axes}
        rows = []
        for point in range(len(self.sweep.points)):
            row: dict[str, Any] = {path: values[point] for path, values in swept.items()} | {"point": point}
            row["trials"] = int(self.finished[point].sum())
            for column in SUMMARISED:
                if column in self.names:
                    row |= dict(_flat(column, describe(self.values(column, point))))
            for name, chance in self.goals(point).items():
                row |= {f"{name}_chance": chance["probability"], f"{name}_low": chance["low"], f"{name}_high": chance["high"]}
            rows.append(row | {"problem": self.problems.get(point, "")})
        table = pd.DataFrame(rows)
        return table[[*(name for name in table.columns if name != "problem"), "problem"]]

    def write(self, folder: Path) -> None:
        """Write sweep.parquet and summary.csv; may raise OSError."""
        self.to_pandas().to_parquet(folder / "sweep.parquet", index=False)
        self.summary().to_csv(folder / "summary.csv", index=False)

    def __repr__(self) -> str:
        axes = ", ".join(axis.path for axis in self.sweep.axes)
        return f"<sweep of {self.scenario.name} over {axes}: {len(self.sweep.points)} points, {self.sweep.trials} trials each>"


def _flat(column: str, found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name in STATISTICS:
        low, high = found.get(f"{name}_interval", (np.nan, np.nan))
        yield from ((f"{column}_{name}", found.get(name, np.nan)), (f"{column}_{name}_low", low), (f"{column}_{name}_high", high))


def planned_sweep(scenario: Scenario, over: Sequence[str] | Mapping[str, Any], design: str = "grid", points: int | None = None, *,
                  trials: int | None = None, seed: int | None = None) -> Sweep:
    """Return a sweep that can run.

    Parameters
    ----------
    scenario : Scenario
    over : sequence of str, or mapping
        "PATH=VALUES" as for `--over`; or path -> list of values in file form, or the text of a range ("1.1..1.4:4").
    design, points
        As for `design_points`.
    trials, seed : int, optional
        Of each point; by default the scenario's, trials 100 at most.

    Raises
    ------
    UserError
        A design that is not possible or too large, a path or a value that no point can have: before anything runs.
    """
    if isinstance(over, Mapping):
        axes = tuple(parse_axis(f"{path}={values}") if isinstance(values, str) else listed(path, values, f"--over {path}")
                     for path, values in over.items())
    else:
        axes = tuple(map(parse_axis, over))
    how = {"monte_carlo.trials": min(scenario.monte_carlo.trials, _TRIALS) if trials is None else trials}
    how |= {} if seed is None else {"monte_carlo.seed": seed}
    sweep = Sweep(edited(scenario, how, "--trials, --seed"), axes, design, points)
    check_design(axes, design, points, sweep.trials)
    check_values(sweep.scenario, axes, sweep.points)
    return sweep


def check_column(sweep: Sweep, column: str) -> None:
    """Raise UserError for a result that runs do not have, before they are run; a base that cannot run is not asked."""
    if column in SUMMARISED:
        return
    try:
        names = Trials(sweep.scenario).run(0).row
    except UserError:
        return
    if column not in names:
        raise UserError(f"--column: {unknown_name('result', column, (name for name in names if not name.startswith('input ')))}")


def run_sweep(sweep: Sweep, *, workers: int | None = 1, dask: bool | str = False, folder: str | Path | None = None,
              resume: bool = False, progress: Progress | None = None) -> SweepResult:
    """Run all points; rows are the same, bit by bit, wherever and in whatever order they run.

    Parameters
    ----------
    sweep : Sweep
    workers, dask, folder, resume, progress
        As for `run_study`.

    Raises
    ------
    UserError
        No point can run; the folder cannot be written.
    """
    held = None
    if folder is not None:
        path = Path(folder)
        held = StudyFolder.resume(path, SWEEP) if resume else StudyFolder.begin(path, sweep, kind=SWEEP)
    try:
        rows = run_points(sweep.runs(), workers=workers, dask=dask, folder=held, progress=progress)
        result = SweepResult(sweep, rows)
        if held is not None and len(result):
            held.save(result)
        return result
    except NoPointRunsError as error:
        if held is not None:
            held.discard()
        raise UserError(f"none of the {len(sweep.points):,} points can run; the first: {error}") from None
    finally:
        if held is not None:
            held.release()


def stopped_sweep(path: Path) -> Sweep:
    """Return the sweep of a folder that was stopped; raise UserError where there is none."""
    check_stopped(path, SWEEP)
    file = path / SWEEP.source
    try:
        found = yaml.safe_load(read_text(str(file)))
        axes = tuple(axis_from_file(axis) for axis in found["over"])
        return Sweep(scenario_from_mapping(found["scenario"], str(file)), axes, found["design"], found.get("points"))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--resume: {file} cannot be read: {error!r}") from None

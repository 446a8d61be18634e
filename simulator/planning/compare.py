"""Scenarios side by side: the same trials with the same luck, differences to the first, and the inputs that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simulator.errors import UserError, unknown_name
from simulator.montecarlo.chunks import Columns
from simulator.montecarlo.points import points_of, run_points
from simulator.montecarlo.running import Progress
from simulator.montecarlo.statistics import describe, share_with_interval
from simulator.planning.inputs import Input, differing
from simulator.planning.paired import Difference, paired_difference, unpaired_difference
from simulator.scenario import Goals, Scenario, load_scenario

if TYPE_CHECKING:
    import pandas as pd

# Results shown first; the rest is in `differences` and in JSON.
RESULTS = ("time_s", "cost_usd", "energy_j", "carbon_kg", "water_l", "ettr", "mfu", "interruptions", "power_mean_w")
_SHOWN = ("mean", "p50", "p95")


class Rows(NamedTuple):
    """What was run of a scenario: `columns` by name, each of shape (trials,), with `trial` among them."""

    label: str
    scenario: Scenario
    columns: Columns


@dataclass(frozen=True)
class Comparison:
    """Scenarios side by side; the first is the base.

    Attributes
    ----------
    rows : tuple of Rows
    paired : tuple of bool
        Whether the trials of each share their luck with those of the base.
    interrupted : bool
        Stopped by Ctrl-C; only trials that all of them finished are kept.
    """

    rows: tuple[Rows, ...]
    paired: tuple[bool, ...]
    interrupted: bool = False
    _differences: dict[tuple[int, str], Difference] = field(default_factory=dict, compare=False, repr=False)

    @property
    def labels(self) -> list[str]:
        """Names of the scenarios, made different."""
        return [row.label for row in self.rows]

    @cached_property
    def inputs(self) -> list[Input]:
        """What differs between the scenarios."""
        return differing([row.scenario for row in self.rows])

    @cached_property
    def names(self) -> list[str]:
        """Results that all have."""
        return [name for name in self.rows[0].columns if name != "trial" and not name.startswith("input ")
                and all(name in row.columns for row in self.rows)]

    def difference(self, column: str, which: int = 1) -> Difference:
        """Return the difference of a result of scenario `which` to the base; raise UserError for an unknown result."""
        if column not in self.names:
            raise UserError(unknown_name("result", column, self.names))
        if (which, column) not in self._differences:
            base, other = self.rows[0].columns, self.rows[which].columns
            if self.paired[which]:
                _, ours, theirs = np.intersect1d(base["trial"], other["trial"], return_indices=True)
                found = paired_difference(other[column][theirs], base[column][ours])
            else:
                found = unpaired_difference(other[column], base[column])
            self._differences[which, column] = found
        return self._differences[which, column]

    def differences(self, column: str, which: int = 1) -> np.ndarray:
        """Return the difference of each trial of the same number; raise UserError where the two do not share their luck."""
        if not self.paired[which]:
            raise UserError(f"{self.labels[which]} does not share its luck with {self.labels[0]}; allowed: results of one seed")
        base, other = self.rows[0].columns, self.rows[which].columns
        _, ours, theirs = np.intersect1d(base["trial"], other["trial"], return_indices=True)
        found: np.ndarray = other[column][theirs] - base[column][ours]
        return found

    def goals(self) -> list[dict[str, dict[str, float]]]:
        """Return the chance of each scenario to meet its goals."""
        return [chances(row.scenario.goals, row.columns) for row in self.rows]

    def summary(self) -> dict[str, Any]:
        """Return all that is derived, in SI, ready for JSON (unknown numbers are None)."""
        return {
            "base": self.labels[0], "seed": self.rows[0].scenario.monte_carlo.seed, "interrupted": self.interrupted,
            "scenarios": [{"label": row.label, "name": row.scenario.name, "trials": int(row.columns["trial"].size),
                           "paired": paired, "goals": goals,
                           "results": {name: describe(row.columns[name]) for name in self.names},
                           "differences": {name: known(self.difference(name, i)) for name in self.names} if i else {}}
                          for i, (row, paired, goals) in enumerate(zip(self.rows, self.paired, self.goals(), strict=True))],
            "inputs": [{"path": found.path, "values": list(found.values)} for found in self.inputs],
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a scenario and trial, with the column `scenario` first."""
        import pandas as pd

        tables = [pd.DataFrame(row.columns) for row in self.rows]
        for label, table in zip(self.labels, tables, strict=True):
            table.insert(0, "scenario", label)
        return pd.concat(tables, ignore_index=True)

    def table(self) -> pd.DataFrame:
        """Return one row a result and scenario: mean, P50, P95, and the difference to the base with its interval; SI."""
        import pandas as pd

        rows = []
        for column in (name for name in RESULTS if name in self.names):
            for i, row in enumerate(self.rows):
                found = describe(row.columns[column])
                change = self.difference(column, i) if i else None
                rows.append({"result": column, "scenario": row.label, **{name: found.get(name, np.nan) for name in _SHOWN},
                             **({"difference": change.mean, "low": change.low, "high": change.high, "lower": change.lower}
                                if change else {})})
        return pd.DataFrame(rows).set_index(["result", "scenario"])


def known(found: Difference) -> dict[str, float | None]:
    """Return a difference for JSON: what is unknown or without a bound is None."""
    return {name: float(value) if np.isfinite(value) else None for name, value in found._asdict().items()}


def chances(goals: Goals, columns: Columns) -> dict[str, dict[str, float]]:
    """Return the chance to meet each goal that is set, with its 95 % interval; nothing where a result is unknown."""
    found = {}
    for name, limit, column in (("deadline", goals.deadline_s, "time_s"), ("budget", goals.budget_usd, "cost_usd")):
        values = columns.get(column, np.empty(0))
        if limit is not None and values.size and not np.isnan(values).any():
            found[name] = share_with_interval(int((values <= limit).sum()), values.size)
    return found


def compare(sources: Sequence[str | Path | Scenario], *, trials: int | None = None, seed: int | None = None,
            workers: int | None = 1, dask: bool | str = False, progress: Progress | None = None) -> Comparison:
    """Return the comparison of scenarios, scenario files and results folders; what is in no folder is run.

    Parameters
    ----------
    sources : sequence of path or Scenario
        The first is the base.
    trials, seed : int, optional
        Of all; by default those of the first folder, or, where there is none, of the first scenario.
    workers, dask, progress
        As for `run_study`.

    Raises
    ------
    UserError
        Fewer than two, one that cannot be read or run, a folder with another seed or with fewer trials.
    """
    if len(sources) < 2:
        raise UserError(f"compare: found {len(sources)} scenario{'s' * (len(sources) != 1)}; allowed: two or more")
    labels = _labels(sources)
    folders = {label: read_rows(Path(source), label, trials) for label, source in zip(labels, sources, strict=True)
               if not isinstance(source, Scenario) and Path(source).is_dir()}
    files = {label: source if isinstance(source, Scenario) else load_scenario(source)
             for label, source in zip(labels, sources, strict=True) if label not in folders}
    for label, row in folders.items():
        if seed is not None and row.scenario.monte_carlo.seed != seed:
            raise UserError(f"--seed: found {seed}, but {label} was run with {row.scenario.monte_carlo.seed}; allowed: that one, "
                            "or none")
    how = next(iter(folders.values())).scenario.monte_carlo if folders else next(iter(files.values())).monte_carlo
    count = trials or (next(iter(folders.values())).columns["trial"].size if folders else how.trials)
    run = run_rows(files, count, how.seed if seed is None else seed, workers=workers, dask=dask, progress=progress) if files \
        else ({}, False)
    found = {**folders, **run[0]}
    return joined_comparison([found[label] for label in labels], interrupted=run[1])


def _labels(sources: Sequence[str | Path | Scenario]) -> list[str]:
    """Return short names of the sources, all different."""
    texts = [source.name if isinstance(source, Scenario) else str(source) for source in sources]
    names = [text if isinstance(source, Scenario) or not Path(text).suffix else Path(text).stem
             for source, text in zip(sources, texts, strict=True)]
    names = [text if any(other != text and again == name for other, again in zip(texts, names, strict=True)) else name
             for name, text in zip(names, texts, strict=True)]
    return [name if names.count(name) == 1 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)]


def run_rows(scenarios: Mapping[str, Scenario], trials: int, seed: int, *, workers: int | None = 1, dask: bool | str = False,
             progress: Progress | None = None) -> tuple[dict[str, Rows], bool]:
    """Run the same trials of all scenarios, with one seed; return their rows by label, and whether Ctrl-C stopped them.

    Raises UserError, with its label, for one that cannot run. Of runs that were stopped, trials that all finished are kept.
    """
    labels = list(scenarios)
    points = points_of([_with_trials(scenario, trials) for scenario in scenarios.values()], trials, seed)
    try:
        found = run_points(points, workers=workers, dask=dask, progress=progress)
    except UserError as error:  # none runs, so the first does not
        raise UserError(f"{labels[0]}: {error}") from None
    for point, problem in found.problems.items():
        raise UserError(f"{labels[point]}: {problem}")
    whole = np.isfinite(found.columns["time_s"]).all(axis=0) if found.columns else np.empty(0, dtype=bool)
    if not whole.any():
        raise UserError("stopped before one trial of all scenarios finished")
    return {label: Rows(label, scenario, {"trial": np.flatnonzero(whole),
                                          **{name: values[i, whole] for name, values in _having(found.columns, i)}})
            for i, (label, scenario) in enumerate(zip(labels, points.scenarios, strict=True))}, found.interrupted


def _with_trials(scenario: Scenario, trials: int) -> Scenario:
    """Return the scenario with the number of trials that are run, which strata of a Latin hypercube depend on."""
    return scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update={"trials": trials})})


def _having(columns: Columns, point: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the columns of a point; inputs drawn in others only are not among them."""
    return ((name, values) for name, values in columns.items()
            if not (name.startswith("input ") and np.isnan(values[point]).all()))


def joined_comparison(rows: Sequence[Rows], *, interrupted: bool = False) -> Comparison:
    """Return the comparison of what was run already: paired with the base where the seed is the same and trials are shared."""
    base = rows[0]
    paired = [row.scenario.monte_carlo.seed == base.scenario.monte_carlo.seed
              and bool(np.isin(row.columns["trial"], base.columns["trial"]).any()) for row in rows]
    return Comparison(tuple(rows), tuple(paired), interrupted)


def read_rows(folder: Path, label: str, trials: int | None = None) -> Rows:
    """Return what a results folder holds, the first `trials` of it where given.

    Raises
    ------
    UserError
        No results of a training run there, or fewer trials than asked for.
    """
    import pandas as pd

    file = folder / "trials.parquet"
    if not file.is_file():
        raise UserError(f"{folder}: holds no trials.parquet; allowed: a scenario file, or a folder that `clustercost run` wrote")
    scenario = load_scenario(folder / "scenario.yaml")
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
    if "trial" not in table or "time_s" not in table or table.empty:
        raise UserError(f"{file}: holds no trials of a training run")
    if trials is not None and trials > len(table):
        raise UserError(f"--trials: found {trials:,}, but {folder} holds {len(table):,}; allowed: at most as many")
    return Rows(label, scenario, {name: table[name].to_numpy()[:trials] for name in table.columns})

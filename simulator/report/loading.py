"""Read a results folder back, from whoever it came: plain YAML, JSON and Parquet, of bounded size, nothing executed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from simulator.cluster import RunPlan
from simulator.errors import UserError
from simulator.montecarlo.intervals import with_interval
from simulator.montecarlo.study import Study
from simulator.montecarlo.trials import Trials
from simulator.performance import StepEstimate, estimate_steps
from simulator.scenario import Scenario, load_scenario
from simulator.scenario.reading import parse_document, read_text

if TYPE_CHECKING:
    import pandas as pd

_MOST_JSON, _MOST_CELLS, _MOST_COLUMNS, _MOST_BYTES = 20_000_000, 400_000_000, 5_000, 4 * 2**30
_NEEDED = ("trial", "time_s", "energy_j", "cost_usd", "carbon_kg", "ettr", "interruptions")
_TIMELINE = ("which", "trial", "start_s", "end_s", "state", "stretch", "cause")
_QUANTILES = {"p5", "p50", "p80", "p95", "mean"}
_MEANT = "allowed: the results folder of a training run, as `clustercost run` writes it"


class SavedStudy(Study):
    """A study from its folder: rows, timelines and summary as they were written; steps and plan worked out when asked for.

    Attributes
    ----------
    folder : Path
    provenance : dict
        What provenance.json says.
    """

    def __init__(self, folder: Path, scenario: Scenario, columns: dict[str, np.ndarray], timeline: pd.DataFrame,
                 summary: dict[str, Any], provenance: dict[str, Any]) -> None:
        self.scenario, self.columns = scenario, columns
        self.interrupted, self.convergence = bool(summary.get("interrupted")), summary.get("convergence", [])
        self.folder, self.provenance = folder, provenance
        self._timeline, self._saved = timeline, summary

    @property
    def settled(self) -> Scenario:
        """The scenario with the checkpoint interval that a search found, where one was asked for."""
        interval_s = self._saved.get("checkpoint", {}).get("interval_s")
        if self.scenario.checkpoint.interval_s == "simulated" and _is_number(interval_s):
            return with_interval(self.scenario, float(interval_s))
        return self.scenario

    @cached_property
    def estimates(self) -> tuple[StepEstimate, ...]:  # type: ignore[override]
        """Estimates of the steps, at the central values of what is not known."""
        return estimate_steps(self.settled.central())

    @cached_property
    def plan(self) -> RunPlan:  # type: ignore[override]
        """The plan of the run, at the central values of what is not known."""
        return self._trials.central

    @cached_property
    def _trials(self) -> Trials:  # type: ignore[override]
        return Trials(self.settled)

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says."""
        return self._saved

    def timelines(self) -> pd.DataFrame:
        """Return the intervals of the representative trials, as they were written."""
        return self._timeline

    def representative(self) -> dict[str, int]:
        """Return the trials whose timelines were written."""
        first = self._timeline.drop_duplicates("which")
        return {str(which): int(trial) for which, trial in zip(first["which"], first["trial"], strict=True)}


def load_results(folder: Path) -> SavedStudy:
    """Return the study of a results folder.

    Raises
    ------
    UserError
        No results folder of a training run, a file that is missing, damaged or too large, or files that are of two studies.
    """
    _check_folder(folder)
    summary, provenance = _json(folder / "summary.json"), _json(folder / "provenance.json")
    trials = _table(folder / "trials.parquet", _NEEDED)
    columns = {str(name): _numeric(folder / "trials.parquet", trials[name]) for name in trials.columns}
    timeline = _table(folder / "timeline.parquet", _TIMELINE)
    _check_summary(folder, summary, columns)
    _check_timeline(folder, timeline, columns)
    return SavedStudy(folder, _scenario(folder / "scenario.yaml"), columns, timeline, summary, provenance)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: {'is a file' if folder.exists() else 'there is no such folder'}; {_MEANT}")
    if (folder / "jobs.parquet").is_file():
        raise UserError(f"{folder}: found the results of a queue of jobs; {_MEANT}")
    missing = [name for name in ("scenario.yaml", "trials.parquet", "timeline.parquet", "summary.json", "provenance.json")
               if not (folder / name).is_file()]
    if missing and (folder / "chunks").is_dir():
        raise UserError(f"{folder}: the study was stopped before it had results; go on with: clustercost run --resume {folder}")
    if missing:
        raise UserError(f"{folder}: lacks {', '.join(missing)}; {_MEANT}")


def _json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_JSON:
            raise UserError(f"{file}: found more than {_MOST_JSON:,} bytes; {_MEANT}")
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = "values nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise UserError(f"{file}: is damaged: {reason}") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: is damaged: found {type(found).__name__}; allowed: an object")
    return found


def _table(file: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """Return a Parquet file whose size is known before it is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            meta = opened.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if meta.num_columns > _MOST_COLUMNS or meta.num_rows * meta.num_columns > _MOST_CELLS or size > _MOST_BYTES:
                raise UserError(f"{file}: found {meta.num_rows:,} rows of {meta.num_columns:,} columns; allowed: at most "
                                f"{_MOST_COLUMNS:,} columns and {_MOST_CELLS:,} cells")
            found = opened.read().to_pandas()
    except (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{file}: is damaged: {' '.join(str(error).split())[:200]}") from None
    missing = [name for name in needed if name not in found.columns]
    if missing:
        raise UserError(f"{file}: lacks the column {missing[0]!r}; {_MEANT}")
    if not len(found):
        raise UserError(f"{file}: has no rows; {_MEANT}")
    return cast("pd.DataFrame", found)


def _numeric(file: Path, column: Any) -> np.ndarray:
    """Return a column as numbers; NaN is unknown, infinity is damage."""
    if getattr(column, "dtype", None) is None or column.dtype.kind not in "iuf":
        raise UserError(f"{file}: is damaged: the column {str(column.name)[:60]!r} is not of numbers")
    values: np.ndarray = column.to_numpy()
    if np.isinf(values).any():
        raise UserError(f"{file}: is damaged: the column {str(column.name)[:60]!r} has numbers that are not finite")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_summary(folder: Path, summary: dict[str, Any], columns: Mapping[str, np.ndarray]) -> None:
    """Raise UserError where summary.json lacks what a report needs, or is of other trials."""
    file, results = folder / "summary.json", summary.get("results")
    if not isinstance(results, dict) or not isinstance(summary.get("goals"), dict):
        raise UserError(f"{file}: is damaged: lacks 'results' or 'goals'")
    for name, values in columns.items():
        described = {} if name == "trial" else results.get(name)
        known = described == {} or (isinstance(described, dict) and described.keys() >= _QUANTILES
                                    and all(_is_number(described[q]) for q in _QUANTILES))
        if not known:
            raise UserError(f"{file}: is damaged: results lack {name!r}, of which trials.parquet has {values.size:,}")
    if summary.get("trials") != columns["trial"].size:
        raise UserError(f"{file}: speaks of {summary.get('trials')!r} trials, trials.parquet has {columns['trial'].size:,}")
    for name in ("time_s", "cost_usd"):
        median = float(np.median(columns[name]))
        if results[name] and not math.isclose(results[name]["p50"], median, rel_tol=1e-6):
            raise UserError(f"{file}: P50 of {name} is {results[name]['p50']:.6g}, of trials.parquet {median:.6g}; "
                            "allowed: files of one study")
    for goal in summary["goals"].values():
        if not isinstance(goal, dict) or not all(_is_number(goal.get(key)) for key in ("probability", "low", "high")):
            raise UserError(f"{file}: is damaged: a goal lacks its probability")


def _check_timeline(folder: Path, timeline: pd.DataFrame, columns: Mapping[str, np.ndarray]) -> None:
    """Raise UserError where intervals are not of trials of the study, do not follow one another, or have unknown states."""
    from simulator.report.timeline import COLOURS

    file = folder / "timeline.parquet"
    for name in ("trial", "start_s", "end_s", "stretch"):
        _numeric(file, timeline[name])
    unknown = [str(state) for state in timeline["state"].unique() if state not in COLOURS]
    if unknown:
        raise UserError(f"{file}: is damaged: found the state {unknown[0][:60]!r}")
    timeline["cause"] = timeline["cause"].fillna("").astype(str)
    for which, part in timeline.groupby("which"):
        start, end = part["start_s"].to_numpy(), part["end_s"].to_numpy()
        whole = part["trial"].nunique() == 1 and part["trial"].iloc[0] in columns["trial"]
        if which not in ("p50", "p95") or not whole or start[0] != 0.0 or not (end >= start).all() or (
                not np.allclose(start[1:], end[:-1])):
            raise UserError(f"{file}: is damaged: the intervals of {str(which)[:20]!r} are not those of one trial of this study")


def _scenario(file: Path) -> Scenario:
    """Return the scenario of a folder, which names no other file: whatever it extends or reads was written into it."""
    document = parse_document(read_text(str(file)), str(file))
    if "extends" in document.data or any(path[-1:] == ("csv",) for path in document.positions):
        raise UserError(f"{file}: names another file (extends, csv); allowed: what `clustercost run` wrote, which is whole")
    return load_scenario(file)

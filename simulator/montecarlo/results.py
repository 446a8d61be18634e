"""What every study has: rows of trials, one a trial, and the folder they are saved to."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from simulator.montecarlo.running import Outcome
from simulator.scenario import QueueScenario, Scenario, ServingScenario

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S", bound=Scenario | QueueScenario | ServingScenario)


def numbered(trial: int, row: dict[str, float], drawn: dict[str, float]) -> dict[str, float]:
    """Return a row that starts with the trial's number and ends with the values drawn, by path."""
    return {"trial": trial, **row, **{f"input {path}": value for path, value in drawn.items()}}


class Results(ABC, Generic[S]):
    """Rows of the trials of a scenario, a jobs file or a serving file.

    Attributes
    ----------
    scenario : Scenario, QueueScenario or ServingScenario
    columns : dict of ndarray, shape (trials,)
        Results by name, in order of trial; SI, names with units.
    interrupted : bool
        Stopped before all trials were run.
    convergence : list of dict
        What was asked of intervals and what was reached, where the study ran until a target.
    """

    def __init__(self, scenario: S, outcome: Outcome) -> None:
        self.scenario, self.columns = scenario, outcome.tables.get("trials", {})
        self.interrupted, self.convergence = outcome.interrupted, outcome.convergence

    def __len__(self) -> int:
        """Return the trials that finished."""
        return next(iter(self.columns.values())).size if self.columns else 0

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """Return one dict a trial, in order."""
        values = [column.tolist() for column in self.columns.values()]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*values, strict=True)]

    def column(self, name: str) -> np.ndarray:
        """Return one result of all trials, shape (trials,)."""
        return self.columns[name]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a trial, columns with units."""
        import pandas as pd

        return pd.DataFrame(self.columns)

    def heading(self) -> dict[str, Any]:
        """Return what a summary begins with."""
        heading: dict[str, Any] = {
            "name": self.scenario.name,
            "trials": len(self),
            "trials_asked": self.scenario.monte_carlo.trials,
            "interrupted": self.interrupted,
            "seed": self.scenario.monte_carlo.seed,
        }
        return heading | ({"convergence": self.convergence} if self.convergence else {})

    @abstractmethod
    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what is saved beside the trials, by name of the file."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return what is derived from the rows, in SI, ready for JSON; raise UserError where no trial finished."""

    def write(self, folder: Path) -> None:
        """Write trials.parquet, the other tables and summary.json; may raise OSError."""
        self.to_pandas().to_parquet(folder / "trials.parquet", index=False)
        for name, table in self.tables().items():
            table.to_parquet(folder / f"{name}.parquet", index=False)
        (folder / "summary.json").write_text(json.dumps(self.summary(), indent=2) + "\n", encoding="utf-8")

    def save(self, folder: str | Path, command: str | None = None) -> Path:
        """Write the results folder, atomically; return its path. Raises UserError if it exists or cannot be written."""
        from simulator.montecarlo.storage import save_study

        return save_study(self, Path(folder), command)

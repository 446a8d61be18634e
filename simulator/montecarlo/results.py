"""What every study has: rows of trials, one a trial, and the folder they are saved to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from simulator.scenario import QueueScenario, Scenario

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S", bound=Scenario | QueueScenario)


def numbered(trial: int, row: dict[str, float], drawn: dict[str, float]) -> dict[str, float]:
    """Return a row that starts with the trial's number and ends with the values drawn, by path."""
    return {"trial": trial, **row, **{f"input {path}": value for path, value in drawn.items()}}


class Results(ABC, Generic[S]):
    """Rows of the trials of a scenario or a jobs file.

    Attributes
    ----------
    scenario : Scenario or QueueScenario
    rows : list of dict
        One a trial, in order; SI, names with units.
    interrupted : bool
        Stopped before all trials were run.
    """

    def __init__(self, scenario: S, rows: list[dict[str, float]], *, interrupted: bool = False) -> None:
        self.scenario, self.rows, self.interrupted = scenario, rows, interrupted

    def column(self, name: str) -> np.ndarray:
        """Return one result of all trials, shape (trials,)."""
        return np.array([row[name] for row in self.rows])

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a trial, columns with units."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def heading(self) -> dict[str, Any]:
        """Return what a summary begins with."""
        return {
            "name": self.scenario.name,
            "trials": len(self.rows),
            "trials_asked": self.scenario.monte_carlo.trials,
            "interrupted": self.interrupted,
            "seed": self.scenario.monte_carlo.seed,
        }

    @abstractmethod
    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what is saved beside the trials, by name of the file."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return what is derived from the rows, in SI, ready for JSON; raise UserError where no trial finished."""

    def save(self, folder: str | Path, command: str | None = None) -> Path:
        """Write the results folder, atomically; return its path. Raises UserError if it exists or cannot be written."""
        from simulator.montecarlo.storage import save_study

        return save_study(self, Path(folder), command)

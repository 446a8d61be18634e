"""Whole runs against what was published of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo import Study, run_study
from simulator.scenario import load_scenario


@dataclass(frozen=True)
class Outcome:
    """One published figure and its simulated counterpart."""

    scenario: str
    quantity: str
    published: float
    simulated: float
    unit: str
    source: str
    note: str

    @property
    def error(self) -> float:
        """Simulated over published, minus one."""
        return self.simulated / self.published - 1.0


def _column(study: Study, name: str) -> np.ndarray:
    if name == "interruptions_54d":
        return study.column("interruptions") / study.column("time_s") * 54 * 86400.0
    if name == "step_s":
        return np.array([max(study.estimates, key=lambda e: e.batch.steps).step_time_s])
    return study.column(name)


def compare_runs(folder: Path, trials: int = 100) -> list[Outcome]:
    """Run the scenarios of a folder that have published outcomes; return simulated against published.

    Raises UserError where a scenario is missing or wrong.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of scenarios")
    text = (resources.files("simulator.validation") / "data" / "runs.csv").read_text(encoding="utf-8")
    studies: dict[str, Study] = {}
    outcomes = []
    for row in csv.DictReader(text.splitlines()):
        name = row["scenario"]
        if name not in studies:
            scenario = load_scenario(folder / f"{name}.yaml")
            monte_carlo = scenario.monte_carlo.model_copy(update={"trials": min(trials, scenario.monte_carlo.trials)})
            studies[name] = run_study(scenario.model_copy(update={"monte_carlo": monte_carlo}))
        quantile = float(row["statistic"].removeprefix("p")) / 100.0
        simulated = float(np.quantile(_column(studies[name], row["column"]) / float(row["divisor"]), quantile))
        outcomes.append(Outcome(name, row["quantity"], float(row["published"]), simulated, row["unit"], row["source"],
                                row["note"]))
    return outcomes

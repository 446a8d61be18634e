"""Monte Carlo of a jobs file: trials of the queue, and the study they make."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.cluster.queue_plan import plan_queue, trace_of
from simulator.cluster.queue_trial import QueueResult, run_queue_trial
from simulator.errors import UserError
from simulator.montecarlo.chunks import Part, RunChunk, columns_of, joined
from simulator.montecarlo.folder import saved, study_folder
from simulator.montecarlo.results import Results, numbered
from simulator.montecarlo.running import Outcome, Progress, run_parts
from simulator.montecarlo.sampling import Inputs
from simulator.montecarlo.statistics import describe
from simulator.montecarlo.streams import stream
from simulator.scenario import QueueScenario

if TYPE_CHECKING:
    import pandas as pd

KEPT_JOBS = 10  # trials whose jobs are kept one by one; all trials are in the row of each
_CLASS = "class "


class QueueTrials:
    """Runs trials of one jobs file; keeps what does not change between them."""

    def __init__(self, scenario: QueueScenario) -> None:
        self.scenario = scenario
        self.trace = trace_of(scenario)
        self.inputs = Inputs(scenario)
        drawn = self.inputs.draw(0)
        plan = plan_queue(self.inputs.placed(scenario, drawn), self.trace)
        self.plan = None if drawn else plan
        self.classes = [kind.name for kind in plan.kinds]

    def run(self, trial: int) -> QueueResult:
        """Run one trial; its row starts with the trial's number and ends with the values drawn."""
        drawn = self.inputs.draw(trial)
        plan = self.plan
        if plan is None:
            plan = plan_queue(self.inputs.placed(self.scenario, drawn), self.trace)
        result = run_queue_trial(plan, partial(stream, self.scenario.monte_carlo.seed, trial))
        result.row = numbered(trial, result.row, drawn)
        if trial >= KEPT_JOBS:
            result.jobs = {}
        return result


def _parts_of(trials: QueueTrials) -> RunChunk:
    def run(chunk: range) -> Part:
        results = [trials.run(trial) for trial in chunk]
        jobs = [{"trial": np.full(len(next(iter(result.jobs.values()))), trial),
                 **{name: np.array(values) for name, values in result.jobs.items()}}
                for trial, result in zip(chunk, results, strict=True) if result.jobs]
        return {"trials": columns_of([result.row for result in results]), "jobs": joined(jobs)}

    return run


def _parts(scenario: QueueScenario) -> RunChunk:
    return _parts_of(QueueTrials(scenario))


class QueueStudy(Results[QueueScenario]):
    """Results of a jobs file: rows of trials, jobs of the first ones, and what is derived from them."""

    def __init__(self, scenario: QueueScenario, classes: list[str], outcome: Outcome) -> None:
        super().__init__(scenario, outcome)
        self.classes = classes
        self._jobs = outcome.tables.get("jobs", {})

    def jobs(self) -> pd.DataFrame:
        """Return one row a job of the first trials (`KEPT_JOBS`)."""
        import pandas as pd

        return pd.DataFrame(self._jobs)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what is saved beside the trials, by name of the file."""
        return {"jobs": self.jobs()}

    def summary(self) -> dict[str, Any]:
        """Return means and quantiles over trials, in SI, ready for JSON; raise UserError where no trial finished."""
        return self._summary

    @cached_property
    def _summary(self) -> dict[str, Any]:
        if not len(self):
            raise UserError("no trial finished")
        first = self.columns
        classes: dict[str, dict[str, Any]] = {}
        for name in self.classes:
            prefix = f"{_CLASS}{name} "
            kept = [column for column in first if column.startswith(prefix) and " " not in column.removeprefix(prefix)]
            classes[name] = {column.removeprefix(prefix): describe(self.column(column)) for column in kept}
        return {
            **self.heading(),
            "scheduler": self.scenario.scheduler.to_file(),
            "results": {name: describe(self.column(name)) for name in first if name != "trial" and not name.startswith(_CLASS)},
            "classes": classes,
        }


def run_queue_study(scenario: QueueScenario, *, workers: int | None = 1, dask: bool | str = False,
                    folder: str | Path | None = None, resume: bool = False, until: Sequence[str] = (),
                    progress: Progress | None = None) -> QueueStudy:
    """Run all trials of a jobs file; parameters, errors and the promise of equal rows as for `run_study`."""
    trials = QueueTrials(scenario)
    with study_folder(scenario, folder, until, resume=resume) as held:
        outcome = run_parts(_parts, scenario, _parts_of(trials), workers=workers, dask=dask, folder=held, until=until,
                            progress=progress)
        return saved(QueueStudy(scenario, trials.classes, outcome), held)

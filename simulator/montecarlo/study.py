"""A study: a scenario and the trials run of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.accounting.dollars import stated_in
from simulator.errors import UserError
from simulator.montecarlo.chunks import RunChunk, columns_of
from simulator.montecarlo.folder import saved, study_folder
from simulator.montecarlo.results import Results
from simulator.montecarlo.running import Outcome, Progress, run_parts
from simulator.montecarlo.statistics import describe, share_with_interval
from simulator.montecarlo.trials import Trials
from simulator.performance import longest
from simulator.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

# US Energy Information Administration, FAQ 97: the mean US residential customer bought 10,791 kWh in 2022.
US_HOME_YEAR_J = 10_791 * 3.6e6


class Study(Results[Scenario]):
    """Results of a scenario: rows of trials, and what is derived from them.

    Attributes
    ----------
    plot : simulator.report.notebook.StudyPlots
        Plots by name, such as `study.plot.distribution("cost_usd")`; there once `simulator.api` is imported.
    """

    plot: Any

    def __init__(self, scenario: Scenario, trials: Trials, outcome: Outcome) -> None:
        super().__init__(scenario, outcome)
        self._trials = trials
        self.estimates = trials.central.estimates
        self.plan = trials.central

    def summary(self) -> dict[str, Any]:
        """Return means, quantiles and chances, in SI, ready for JSON; raise UserError where no trial finished."""
        return self._summary

    @cached_property
    def _summary(self) -> dict[str, Any]:
        if not len(self):
            raise UserError("no trial finished")
        columns = [name for name in self.columns if name != "trial"]
        estimate = longest(self.estimates)
        return {
            **self.heading(),
            "dollars": stated_in(self.scenario),
            "results": {name: describe(self.column(name)) for name in columns},
            "goals": self.goals(),
            "equivalents": {"us_home_years": describe(self.column("energy_j") / US_HOME_YEAR_J)},
            "step": {
                "time_s": estimate.step_time_s,
                "mfu": estimate.mfu,
                "hfu": estimate.hfu,
                "phases_s": estimate.phases_s,
                "memory_bytes": estimate.memory._asdict(),
                "layout": estimate.layout.to_file(),
            },
            "checkpoint": {
                **self.plan.checkpoint._asdict(),
                "interval_steps": self.plan.every.tolist(),
                "mtbf_s": self.plan.mtbf_s if np.isfinite(self.plan.mtbf_s) else None,
            },
        }

    def goals(self) -> dict[str, dict[str, float]]:
        """Return the chance to meet each goal that is set."""
        goals, chances = self.scenario.goals, {}
        if goals.deadline_s is not None:
            met = int((self.column("time_s") <= goals.deadline_s).sum())
            chances["deadline"] = share_with_interval(met, len(self))
        if goals.budget_usd is not None:
            met = int((self.column("cost_usd") <= goals.budget_usd).sum())
            chances["budget"] = share_with_interval(met, len(self))
        return chances

    def representative(self) -> dict[str, int]:
        """Return the trials whose time is nearest to P50 and P95."""
        time_s = self.column("time_s")
        nearest = {q: int(np.argmin(np.abs(time_s - np.quantile(time_s, q / 100)))) for q in (50, 95)}
        return {f"p{q}": int(self.column("trial")[row]) for q, row in nearest.items()}

    def timelines(self) -> pd.DataFrame:
        """Return the intervals of the representative trials, run again with their own streams."""
        import pandas as pd

        rows = [
            {"which": which, "trial": trial, "start_s": start, "end_s": end, "state": state, "stretch": stretch, "cause": cause}
            for which, trial in self.representative().items()
            for start, end, state, stretch, cause in self._trials.run(trial, keep_intervals=True).intervals
        ]
        return pd.DataFrame(rows, columns=["which", "trial", "start_s", "end_s", "state", "stretch", "cause"])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what is saved beside the trials, by name of the file."""
        return {"timeline": self.timelines()}

    def _repr_html_(self) -> str:
        from simulator.montecarlo.tables import study_html

        return study_html(self)

    def __repr__(self) -> str:
        from simulator.montecarlo.tables import headline

        lines = [f"{name:<28}" + "".join(f"{v:>14}" for v in values) for name, values in headline(self.summary())]
        return "\n".join([f"{self.scenario.name}, {len(self)} trials", f"{'':<28}{'P5':>14}{'P50':>14}{'P95':>14}", *lines])


def _rows_of(trials: Trials) -> RunChunk:
    def row(trial: int) -> dict[str, float]:
        try:
            return trials.run(trial).row
        except UserError as error:
            raise UserError(f"trial {trial}: {error}") from error

    return lambda chunk: {"trials": columns_of([row(trial) for trial in chunk])}


def _rows(scenario: Scenario) -> RunChunk:
    return _rows_of(Trials(scenario))


def run_study(scenario: Scenario, *, workers: int | None = 1, dask: bool | str = False, folder: str | Path | None = None,
              resume: bool = False, until: Sequence[str] = (), progress: Progress | None = None) -> Study:
    """Run the trials of a scenario; rows are the same, bit by bit, wherever and in whatever order they run.

    Parameters
    ----------
    scenario : Scenario
        With `monte_carlo.trials` and `.seed`.
    workers : int, optional
        Processes, this one included. None: all cores, where the study is long enough.
    dask : bool or str
        True: on a local Dask cluster of `workers` processes. An address: on the cluster of that scheduler.
    folder : path, optional
        Write finished chunks and, at the end, the results to this folder.
    resume : bool
        Go on with the study in `folder`, which was stopped.
    until : sequence of str
        Targets such as 'cost_usd p95 1%': stop when all are met. With `resume`, those that the study was begun with.
    progress : callable
        Called with the columns of each finished chunk, and whether it was run now (not read from `folder`).

    Returns
    -------
    Study
        Rows in order of trial. After Ctrl-C those that finished, with `interrupted` set.

    Raises
    ------
    UserError
        The scenario cannot run; the folder cannot be written, or is another's; workers are lost.
    """
    trials = Trials(scenario)
    # Others get the interval that was searched here, and do not search again.
    with study_folder(scenario, folder, until, resume=resume) as held:
        outcome = run_parts(_rows, trials.settled, _rows_of(trials), workers=workers, dask=dask, folder=held,
                            until=until, progress=progress)
        return saved(Study(scenario, trials, outcome), held)

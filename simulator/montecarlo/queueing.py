"""Monte Carlo of a jobs file: trials of the queue, and the study they make."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from simulator.cluster.queue_plan import plan_queue, trace_of
from simulator.cluster.queue_trial import QueueResult, run_queue_trial
from simulator.errors import UserError
from simulator.montecarlo.executors import Progress, cores, run_trials
from simulator.montecarlo.results import Results, numbered
from simulator.montecarlo.statistics import describe
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import draw_inputs
from simulator.scenario import QueueScenario

if TYPE_CHECKING:
    import pandas as pd

KEPT_JOBS = 10  # trials whose jobs are kept one by one; all trials are in the row of each
_CLASS = "class "
_WORTH_A_PROCESS = 8  # trials from which a second process pays


class QueueTrials:
    """Runs trials of one jobs file; keeps what does not change between them."""

    def __init__(self, scenario: QueueScenario) -> None:
        self.scenario = scenario
        self.trace = trace_of(scenario)
        realised, drawn = draw_inputs(scenario, scenario.monte_carlo.seed, 0)
        plan = plan_queue(realised, self.trace)
        self.plan = None if drawn else plan
        self.classes = [kind.name for kind in plan.kinds]

    def run(self, trial: int) -> QueueResult:
        """Run one trial; its row starts with the trial's number and ends with the values drawn."""
        seed = self.scenario.monte_carlo.seed
        drawn: dict[str, float] = {}
        plan = self.plan
        if plan is None:
            realised, drawn = draw_inputs(self.scenario, seed, trial)
            plan = plan_queue(realised, self.trace)
        result = run_queue_trial(plan, partial(stream, seed, trial))
        result.row = numbered(trial, result.row, drawn)
        if trial >= KEPT_JOBS:
            result.jobs = {}
        return result


def _results(scenario: QueueScenario) -> Callable[[int], QueueResult]:
    return QueueTrials(scenario).run


class QueueStudy(Results[QueueScenario]):
    """Results of a jobs file: rows of trials, jobs of the first ones, and what is derived from them."""

    def __init__(self, scenario: QueueScenario, classes: list[str], results: list[QueueResult], *,
                 interrupted: bool = False) -> None:
        super().__init__(scenario, [result.row for result in results], interrupted=interrupted)
        self.classes = classes
        self._jobs = {int(result.row["trial"]): result.jobs for result in results if result.jobs}

    def jobs(self) -> pd.DataFrame:
        """Return one row a job of the first trials (`KEPT_JOBS`)."""
        import pandas as pd

        frames = [pd.DataFrame({"trial": trial, **table}) for trial, table in self._jobs.items()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what is saved beside the trials, by name of the file."""
        return {"jobs": self.jobs()}

    def summary(self) -> dict[str, Any]:
        """Return means and quantiles over trials, in SI, ready for JSON; raise UserError where no trial finished."""
        return self._summary

    @cached_property
    def _summary(self) -> dict[str, Any]:
        if not self.rows:
            raise UserError("no trial finished")
        first = self.rows[0]
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


def run_queue_study(scenario: QueueScenario, *, workers: int = 1, progress: Progress | None = None) -> QueueStudy:
    """Run all trials of a jobs file, here or in processes, with the same results.

    Parameters
    ----------
    scenario : QueueScenario
    workers : int
        Processes; each trial has its own streams, so results are bit-identical with any number.
    progress : callable
        Called with the rows of each finished chunk.
    """
    trials = QueueTrials(scenario)
    results: list[QueueResult] = []

    def keep(chunk: list[QueueResult]) -> None:
        results.extend(chunk)
        if progress is not None:
            progress([result.row for result in chunk])

    interrupted = run_trials(_results, scenario, scenario.monte_carlo.trials, workers, keep, run=trials.run, chunk=1)
    results.sort(key=lambda result: result.row["trial"])
    return QueueStudy(scenario, trials.classes, results, interrupted=interrupted)


def default_queue_workers(trials: int) -> int:
    """Return how many processes pay for trials of some seconds each."""
    return 1 if trials < _WORTH_A_PROCESS else min(cores(), trials)

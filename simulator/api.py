"""The Python face: load a scenario, run it, get a study; and what the commands of `clustercost` answer, as objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from simulator.errors import UserError
from simulator.montecarlo import QueueStudy, Study, run_queue_study, run_study
from simulator.montecarlo.folder import SWEEP, stopped_kind, stopped_scenario
from simulator.montecarlo.variance import COLUMNS
from simulator.performance import StepEstimate, estimate_steps, longest
from simulator.planning import compare as comparing
from simulator.planning import deadline as deadlines
from simulator.planning import forecast as forecasting
from simulator.planning import levers as pulling
from simulator.planning import sensitivity as sensing
from simulator.planning import sweep as sweeping
from simulator.planning.asked import asked_plan
from simulator.planning.compare import Comparison
from simulator.planning.deadline import DeadlineChoice
from simulator.planning.forecast import Forecast
from simulator.planning.levers import LeverStudy
from simulator.planning.plan import Plan
from simulator.planning.sensitivity import Sensitivity
from simulator.planning.sweep import SweepResult
from simulator.progress import notebook_progress
from simulator.report import notebook
from simulator.report.afford import BudgetAnswer, budget_answer
from simulator.report.energy import EnergyReport, energy_report
from simulator.report.loading import SavedStudy, load_results
from simulator.scenario import (
    QueueScenario,
    Scenario,
    ServingScenario,
    load_file,
    load_scenario,
    queue_from_mapping,
    scenario_from_mapping,
)
from simulator.scenario.lifecycle import LifecycleScenario
from simulator.units import QuantityError, parse_quantity

__all__ = [
    "BudgetAnswer", "Comparison", "DeadlineChoice", "EnergyReport", "Forecast", "LeverStudy", "Plan", "QueueScenario",
    "QueueStudy", "SavedStudy", "Scenario", "Sensitivity", "StepEstimate", "Study", "SweepResult", "UserError", "compare",
    "energy", "forecast", "levers", "load", "load_results", "plan", "plan_budget", "plan_deadline", "resume", "run", "run_jobs",
    "sensitivity", "step", "sweep", "write_report",
]

notebook.register()

Source = str | Path | Mapping[str, Any] | Scenario
S = TypeVar("S", bound=Scenario | QueueScenario | ServingScenario | LifecycleScenario)


def load(source: Source) -> Scenario:
    """Return a scenario from a file, a mapping in file form, or a scenario; raise UserError where it is wrong."""
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return scenario_from_mapping(dict(source))
    return load_scenario(Path(source))


def run(source: Source, *, trials: int | None = None, seed: int | None = None,
        workers: int | None = 1, dask: bool | str = False, folder: str | Path | None = None,
        until: str | Sequence[str] = ()) -> Study:
    """Run a scenario and return its study.

    Parameters
    ----------
    source : path, mapping or Scenario
    trials, seed : int, optional
        Instead of the scenario's.
    workers : int, optional
        Processes; results are the same with any number. None: all cores, where the study is long enough. A script that starts
        processes needs `if __name__ == "__main__":`.
    dask : bool or str
        True: run on a local Dask cluster of `workers` processes. An address: on the cluster of that scheduler.
    folder : path, optional
        Results folder, written as the study runs; a study that is killed goes on with `resume`.
    until : str or sequence of str
        Stop when all of these intervals are narrow enough, such as "cost_usd p95 1%"; at most `trials`.
    """
    scenario = with_monte_carlo(load(source), trials, seed)
    with notebook_progress(scenario.monte_carlo.trials, median=True) as progress:
        return run_study(scenario, workers=workers, dask=dask, folder=folder, progress=progress,
                         until=[until] if isinstance(until, str) else until)


def run_jobs(source: str | Path | Mapping[str, Any] | QueueScenario, *, trials: int | None = None, seed: int | None = None,
             workers: int | None = 1, dask: bool | str = False, folder: str | Path | None = None,
             until: str | Sequence[str] = ()) -> QueueStudy:
    """Run a jobs file (many jobs on one cluster) and return its study; parameters as for `run`."""
    if isinstance(source, Mapping):
        source = queue_from_mapping(dict(source))
    elif not isinstance(source, QueueScenario):
        found = load_file(source)
        if isinstance(found, Scenario):
            raise UserError(f"{source}: found a training run; allowed here: a file with a section `jobs`")
        source = found
    scenario = with_monte_carlo(source, trials, seed)
    with notebook_progress(scenario.monte_carlo.trials) as progress:
        return run_queue_study(scenario, workers=workers, dask=dask, folder=folder, progress=progress,
                               until=[until] if isinstance(until, str) else until)


def compare(*sources: Source, trials: int | None = None, seed: int | None = None,
            workers: int | None = 1, dask: bool | str = False) -> Comparison:
    """Compare scenarios, or folders of earlier runs, with the first: the same trials with the same luck.

    Parameters
    ----------
    *sources : path, mapping or Scenario
    trials, seed : int, optional
        Of all; by default those of the first folder, else of the first scenario.
    workers, dask
        As for `run`.
    """
    with notebook_progress() as progress:
        return comparing.compare([load(source) if isinstance(source, Mapping) else source for source in sources], trials=trials,
                                 seed=seed, workers=workers, dask=dask, progress=progress)


def sweep(source: Source, over: Sequence[str] | Mapping[str, Any], *, design: str = "grid",
          points: int | None = None, trials: int | None = None, seed: int | None = None, workers: int | None = 1,
          dask: bool | str = False, folder: str | Path | None = None) -> SweepResult:
    """Run a scenario at the points of a design, all with the same luck.

    Parameters
    ----------
    source : path, mapping or Scenario
    over : sequence of str, or mapping
        "PATH=VALUES" as for `clustercost sweep --over`; or path -> list of values as in files, or the text of a range.
    design : str
        "grid", "zip" or "latin-hypercube", which has `points` points.
    trials, seed : int, optional
        Of each point; by default the scenario's, trials 100 at most.
    workers, dask, folder
        As for `run`.

    Examples
    --------
    >>> found = simulator.sweep("run.yaml", {"cluster.spares": [0, 8, 16], "facility.pue": "1.1..1.4:4"})   # doctest: +SKIP
    """
    asked = sweeping.planned_sweep(load(source), over, design, points, trials=trials, seed=seed)
    with notebook_progress(len(asked.points) * asked.trials) as progress:
        return sweeping.run_sweep(asked, workers=workers, dask=dask, folder=folder, progress=progress)


def step(source: Source) -> StepEstimate:
    """Return the step in which the run spends most of its time, distributions at their central values."""
    return longest(estimate_steps(load(source).central()))


def sensitivity(source: Source, columns: Sequence[str] = COLUMNS, *, trials: int = sensing.TRIALS, samples: int = sensing.SAMPLES,
                seed: int | None = None, workers: int | None = 1) -> Sensitivity:
    """Return what each input that is not known does to results: a tornado and Sobol indices, as `clustercost sensitivity`.

    Parameters
    ----------
    source : path, mapping or Scenario
        With distributions.
    columns : sequence of str
        Results, as in trials.parquet.
    trials, samples : int
        Runs of each end of the tornado; base points of the indices, a power of two.
    seed, workers
        As for `run`.
    """
    scenario = load(source)
    with notebook_progress(sensing.runs_of(scenario, trials, samples)) as progress:
        return sensing.sensitivity(scenario, tuple(columns), trials, samples, seed, workers,
                                   None if progress is None else progress.count)


def plan(source: Source, over: Sequence[str] | Mapping[str, Any] = (), *, minimise: str | None = None,
         subject_to: Sequence[str] = (), trials: int | None = None, seed: int | None = None, **how: Any) -> Plan:
    """Return the choice with the least mean time, cost, energy or carbon that meets the goals, as `clustercost plan`.

    Parameters
    ----------
    source : path, mapping or Scenario
    over : sequence of str, or mapping
        What varies, as for `sweep`; beside it what the section `plan` of the scenario says.
    minimise : str, optional
        "time", "cost", "energy" or "carbon"; by default the section's.
    subject_to : sequence of str
        Such as "P(time <= 60 days) >= 0.9", beside the goals and the section's.
    trials, seed : int, optional
        Instead of the scenario's; trials are the most of one candidate.
    **how
        `confirm`, `indifference`, `workers` and `dask`, as for `simulator.planning.plan.search`.
    """
    with notebook_progress() as progress:
        told = {} if progress is None else {"say": progress.show}
        return asked_plan(with_monte_carlo(load(source), trials, seed), over, minimise, subject_to, **told, **how)


def plan_budget(source: Source, budget: str | float, law: str | Path | None = None, *, tokens_served: str | float | None = None,
                annual_budget: str | float | None = None) -> BudgetAnswer:
    """Return the largest compute-optimal model and its tokens for a sum, as `clustercost plan --budget`.

    Parameters
    ----------
    source : path, mapping or Scenario
        Cluster, recipe and prices; the model is the style of the family.
    budget : str or float
        "5 M USD", or USD.
    law : str or path, optional
        Scaling law of the catalog, or a file.
    tokens_served : str or float, optional
        Over the life of the model, "10 T": also what is least in training and serving.
    annual_budget : str or float, optional
        Also the share of this that the run takes.
    """
    sums = {name: _above_zero(value, kind, name) for name, value, kind in (
        ("budget", budget, "money"), ("tokens_served", tokens_served, "count"), ("annual_budget", annual_budget, "money"))
        if value is not None}
    with notebook_progress():
        return budget_answer(load(source), sums["budget"], law, tokens_served=sums.get("tokens_served"),
                             annual_usd=sums.get("annual_budget"))


def plan_deadline(source: Source, deadline: str | float, *, chance: float = deadlines.CHANCE, trials: int = deadlines.TRIALS,
                  workers: int | None = 1) -> DeadlineChoice:
    """Return the smallest and the cheapest cluster that ends by "90 days" (or s), as `clustercost plan --deadline`."""
    if not 0.0 < chance < 1.0:
        raise UserError(f"chance: found {chance:g}; allowed: above 0 and below 1, such as 0.9")
    with notebook_progress():
        return deadlines.plan_for_deadline(load(source), _above_zero(deadline, "time", "deadline"), chance=chance, trials=trials,
                                           workers=workers)


def levers(source: Source, names: Sequence[str] = (), *, assume: Mapping[str, Any] | None = None, site: str = "",
           trials: int | None = None, seed: int | None = None, workers: int | None = 1) -> LeverStudy:
    """Return what efficiency levers do, each alone and one after the other, as `clustercost levers`.

    Parameters
    ----------
    source : path, mapping or Scenario
    names : sequence of str
        Levers in the order of the waterfall, such as ["layout", "precision"]; none: all.
    assume : mapping, optional
        Other values for what levers take for granted: `{"power-limit": 0.8}`.
    site : str
        Of the lever "site"; by default the cleanest of the catalog.
    trials, seed, workers
        As for `run`; trials by default the scenario's, 200 at most.
    """
    with notebook_progress() as progress:
        return pulling.lever_study(load(source), names, pulling.read_assumptions(assume or {}, site), trials=trials, seed=seed,
                                   workers=workers, progress=progress)


def energy(source: Source, *, trials: int | None = None, seed: int | None = None, sites: Sequence[str] = (),
           starts: Sequence[str] = ()) -> EnergyReport:
    """Return power of a step, energy, carbon and the bill by month, and the same run elsewhere, as `clustercost energy`.

    Parameters
    ----------
    source : path, mapping or Scenario
    trials, seed : int, optional
        Instead of the scenario's; trials by default 50 at most.
    sites, starts : sequence of str
        Sites of the catalog and dates to compare with.
    """
    scenario = with_monte_carlo(load(source), trials, seed)
    with notebook_progress():
        return energy_report(scenario, trials or min(scenario.monte_carlo.trials, 50), sites, starts)


def forecast(until: int = 2030, *, origin: int = forecasting.LAST, trials: int = 10_000, seed: int = 1) -> Forecast:
    """Return cost, power and carbon of a frontier run by year from growth laws, as `clustercost forecast`."""
    forecasting.check_years(origin, until)
    return forecasting.forecast(origin, until, trials=trials, seed=seed)


def write_report(folders: str | Path | Sequence[str | Path], file: str | Path) -> None:
    """Write the report of results folders (of several, the first in full) as .html, .pdf or .md, as `clustercost report`."""
    from simulator.report.document import write_report as written

    several = [folders] if isinstance(folders, str | Path) else folders
    written([Path(folder) for folder in several], Path(file))


def resume(folder: str | Path, *, workers: int | None = 1, dask: bool | str = False) -> Study | QueueStudy | SweepResult:
    """Go on with the study or sweep in a results folder, which was stopped, and return it whole; parameters as for `run`."""
    if stopped_kind(Path(folder)) is SWEEP:
        stopped = sweeping.stopped_sweep(Path(folder))
        return sweeping.run_sweep(stopped, workers=workers, dask=dask, folder=folder, resume=True)
    scenario = stopped_scenario(Path(folder))
    if isinstance(scenario, Scenario):
        return run_study(scenario, workers=workers, dask=dask, folder=folder, resume=True)
    return run_queue_study(scenario, workers=workers, dask=dask, folder=folder, resume=True)


def with_monte_carlo(scenario: S, trials: int | None, seed: int | None) -> S:
    """Return the scenario with another number of trials or seed, where given; raise UserError where not positive."""
    if trials is not None and not 1 <= trials <= 10_000_000:
        raise UserError(f"trials: found {trials}; allowed: 1 to 10,000,000")
    if seed is not None and seed < 0:
        raise UserError(f"seed: found {seed}; allowed: 0 or more")
    changes = {k: v for k, v in (("trials", trials), ("seed", seed)) if v is not None}
    if not changes:
        return scenario
    updated: S = scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update=changes)})  # type: ignore[assignment]
    return updated


def _above_zero(value: str | float, kind: str, name: str) -> float:
    """Return a quantity as text, or in SI, that must be above zero."""
    try:
        found = parse_quantity(value, kind) if isinstance(value, str) else float(value)
    except QuantityError as error:
        raise UserError(f"{name}: {error}") from None
    if not found > 0.0:
        raise UserError(f"{name}: found {value!r}; allowed: more than zero")
    return found

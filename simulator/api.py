"""The Python face: load a scenario, run it, get a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from simulator.errors import UserError
from simulator.montecarlo import QueueStudy, Study, run_queue_study, run_study
from simulator.montecarlo.folder import SWEEP, stopped_kind, stopped_scenario
from simulator.planning import compare as comparing
from simulator.planning import sweep as sweeping
from simulator.planning.compare import Comparison
from simulator.planning.sweep import SweepResult
from simulator.scenario import (
    QueueScenario,
    Scenario,
    ServingScenario,
    load_file,
    load_scenario,
    queue_from_mapping,
    scenario_from_mapping,
)

__all__ = ["Comparison", "QueueScenario", "QueueStudy", "Scenario", "Study", "SweepResult", "UserError", "compare", "load",
           "resume", "run", "run_jobs", "sweep"]

S = TypeVar("S", bound=Scenario | QueueScenario | ServingScenario)


def load(source: str | Path | Mapping[str, Any] | Scenario) -> Scenario:
    """Return a scenario from a file, a mapping in file form, or a scenario; raise UserError where it is wrong."""
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return scenario_from_mapping(dict(source))
    return load_scenario(Path(source))


def run(source: str | Path | Mapping[str, Any] | Scenario, *, trials: int | None = None, seed: int | None = None,
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
    return run_study(with_monte_carlo(load(source), trials, seed), workers=workers, dask=dask, folder=folder,
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
    return run_queue_study(with_monte_carlo(source, trials, seed), workers=workers, dask=dask, folder=folder,
                           until=[until] if isinstance(until, str) else until)


def compare(*sources: str | Path | Mapping[str, Any] | Scenario, trials: int | None = None, seed: int | None = None,
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
    return comparing.compare([load(source) if isinstance(source, Mapping) else source for source in sources], trials=trials,
                             seed=seed, workers=workers, dask=dask)


def sweep(source: str | Path | Mapping[str, Any] | Scenario, over: Sequence[str] | Mapping[str, Any], *, design: str = "grid",
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
    return sweeping.run_sweep(asked, workers=workers, dask=dask, folder=folder)


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

"""The Python face: load a scenario, run it, get a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from simulator.errors import UserError
from simulator.montecarlo import QueueStudy, Study, run_queue_study, run_study
from simulator.montecarlo.folder import stopped_scenario
from simulator.scenario import (
    QueueScenario,
    Scenario,
    load_file,
    load_scenario,
    queue_from_mapping,
    scenario_from_mapping,
)

__all__ = ["QueueScenario", "QueueStudy", "Scenario", "Study", "UserError", "load", "resume", "run", "run_jobs"]

S = TypeVar("S", bound=Scenario | QueueScenario)


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


def resume(folder: str | Path, *, workers: int | None = 1, dask: bool | str = False) -> Study | QueueStudy:
    """Go on with the study in a results folder, which was stopped, and return it whole; parameters as for `run`."""
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

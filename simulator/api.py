"""The Python face: load a scenario, run it, get a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator.errors import UserError
from simulator.montecarlo import Study, run_study
from simulator.scenario import Scenario, load_scenario, scenario_from_mapping

__all__ = ["Scenario", "Study", "UserError", "load", "run"]


def load(source: str | Path | Mapping[str, Any] | Scenario) -> Scenario:
    """Return a scenario from a file, a mapping in file form, or a scenario; raise UserError where it is wrong."""
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return scenario_from_mapping(dict(source))
    return load_scenario(Path(source))


def run(source: str | Path | Mapping[str, Any] | Scenario, *, trials: int | None = None, seed: int | None = None,
        workers: int = 1) -> Study:
    """Run a scenario and return its study.

    Parameters
    ----------
    source : path, mapping or Scenario
    trials, seed : int, optional
        Instead of the scenario's.
    workers : int
        Processes; results are the same with any number.
    """
    return run_study(with_monte_carlo(load(source), trials, seed), workers=workers)


def with_monte_carlo(scenario: Scenario, trials: int | None, seed: int | None) -> Scenario:
    """Return the scenario with another number of trials or seed, where given; raise UserError where not positive."""
    if trials is not None and not 1 <= trials <= 10_000_000:
        raise UserError(f"trials: found {trials}; allowed: 1 to 10,000,000")
    if seed is not None and seed < 0:
        raise UserError(f"seed: found {seed}; allowed: 0 or more")
    changes = {k: v for k, v in (("trials", trials), ("seed", seed)) if v is not None}
    monte_carlo = scenario.monte_carlo.model_copy(update=changes)
    return scenario.model_copy(update={"monte_carlo": monte_carlo}) if changes else scenario

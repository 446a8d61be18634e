"""One trial of a scenario: draw what is not known, plan, run."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from simulator.cluster import RunPlan, TrialResult, plan_run, reprice, run_trial
from simulator.fields import Distribution, Record, map_distributions
from simulator.montecarlo.intervals import best_interval_s, with_interval
from simulator.montecarlo.results import numbered
from simulator.montecarlo.streams import stream
from simulator.scenario import Scenario

# Parts of a scenario that step estimates depend on; what is drawn elsewhere leaves them valid.
_STEP_PARTS = ("model", "training", "cluster")
# Parts that change nothing but what a second or a joule costs.
_PRICE_PARTS = ("pricing", "facility", "goals")
R = TypeVar("R", bound=Record)


def draw_inputs(scenario: R, seed: int, trial: int, only: frozenset[str] | None = None) -> tuple[R, dict[str, float]]:
    """Return the scenario with what is not known drawn for a trial, and the values drawn by path, each on its own stream.

    `only` names the sections that hold distributions, where that is known.
    """
    drawn: dict[str, float] = {}

    def draw(path: str, distribution: Distribution) -> float:
        drawn[path] = float(distribution.draw(stream(seed, trial, path), 1)[0])
        return drawn[path]

    return map_distributions(scenario, draw, only=only), drawn


class Trials:
    """Runs trials of one scenario; keeps what does not change between them.

    `settled` is the scenario with the interval that a search found, where one was asked for.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.uncertain = scenario.uncertain()
        self.settled = scenario
        if scenario.checkpoint.interval_s == "simulated":
            self.settled = with_interval(scenario, best_interval_s(scenario))
        self.central = plan_run(self.settled.central())
        self._parts = frozenset(path.split(".")[0] for path in self.uncertain)
        self._steps_change = bool(self._parts & set(_STEP_PARTS))
        self._prices_only = self._parts <= set(_PRICE_PARTS)

    def plan(self, trial: int) -> tuple[RunPlan, dict[str, float]]:
        """Return the plan of a trial, and the values drawn by path."""
        if not self.uncertain:
            return self.central, {}
        realised, drawn = draw_inputs(self.settled, self.scenario.monte_carlo.seed, trial, self._parts)
        if self._prices_only:
            return reprice(self.central, realised), drawn
        return plan_run(realised, None if self._steps_change else self.central.estimates), drawn

    def run(self, trial: int, *, keep_intervals: bool = False) -> TrialResult:
        """Run one trial; its row starts with the trial's number and ends with the values drawn."""
        plan, drawn = self.plan(trial)
        result = run_trial(plan, partial(stream, self.scenario.monte_carlo.seed, trial), keep_intervals=keep_intervals)
        result.row = numbered(trial, result.row, drawn)
        return result

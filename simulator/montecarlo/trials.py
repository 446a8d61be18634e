"""One trial of a scenario: draw what is not known, plan, run."""

from __future__ import annotations

import numpy as np

from simulator.cluster import RunPlan, TrialResult, plan_run, reprice, run_trial
from simulator.montecarlo.intervals import best_interval_s, with_interval
from simulator.montecarlo.results import numbered
from simulator.montecarlo.sampling import Inputs
from simulator.montecarlo.streams import Streams
from simulator.scenario import Scenario

# Parts of a scenario that step estimates depend on; what is drawn elsewhere leaves them valid.
_STEP_PARTS = ("model", "training", "cluster")
# Parts that change nothing but what a second or a joule costs.
_PRICE_PARTS = ("pricing", "facility", "goals")

class Trials:
    """Runs trials of one scenario; keeps what does not change between them.

    `settled` is the scenario with the interval that a search found, where one was asked for.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.inputs = Inputs(scenario)
        self.uncertain = self.inputs.distributions
        self.settled = scenario
        if scenario.checkpoint.interval_s == "simulated":
            self.settled = with_interval(scenario, best_interval_s(scenario))
        self.central = plan_run(self.settled.central())
        self._parts = frozenset(path.split(".")[0] for path in self.uncertain)
        self._steps_change = bool(self._parts & set(_STEP_PARTS))
        self._prices_only = self._parts <= set(_PRICE_PARTS)
        self._streams = Streams()
        self._last: tuple[dict[str, float], RunPlan] | None = None

    def plan(self, values: dict[str, float]) -> RunPlan:
        """Return the plan for values of what is not known, by path."""
        if not self.uncertain:
            return self.central
        if self._last is None or self._last[0] != values:
            realised = self.inputs.placed(self.settled, values)
            plan = (reprice(self.central, realised) if self._prices_only
                    else plan_run(realised, None if self._steps_change else self.central.estimates))
            self._last = values, plan
        return self._last[1]

    def run(self, trial: int, *, keep_intervals: bool = False, by_kind: bool = False) -> TrialResult:
        """Run one trial; its row starts with the trial's number and ends with the values drawn."""
        return self.run_with(self.inputs.draw(trial), trial, keep_intervals=keep_intervals, by_kind=by_kind)

    def run_with(self, values: dict[str, float], trial: int, luck: str = "", *, keep_intervals: bool = False,
                 by_kind: bool = False) -> TrialResult:
        """Run a trial with given values of what is not known.

        Parameters
        ----------
        values : dict
            By path.
        trial : int
            Number of the trial, whose luck it has.
        luck : str
            In place of the trial's own luck, another of this name.
        """
        def luck_of(purpose: str) -> np.random.Generator:
            return self._streams(self.scenario.monte_carlo.seed, trial, purpose, luck)

        result = run_trial(self.plan(values), luck_of, keep_intervals=keep_intervals, by_kind=by_kind)
        result.row = numbered(trial, result.row, values)
        return result

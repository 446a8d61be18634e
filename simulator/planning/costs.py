"""What training costs on a scenario's cluster, for every size of model and number of tokens: simulated, not FLOPs times a price.

The layout of each size is searched; its run is simulated with failures, checkpoints, prices and power.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from kernels.packs import Layout as LayoutPack
from simulator.accounting.rates import prices
from simulator.catalog.records import ModelRecord
from simulator.cluster.trial import RunDoesNotFinish
from simulator.errors import UserError
from simulator.montecarlo.trials import Trials
from simulator.performance import estimate_steps, longest
from simulator.performance.hardware import needed
from simulator.performance.search import choose_layout, layout_of, main_batch, recomputing, search
from simulator.planning.families import family
from simulator.scenario import Scenario
from simulator.workload import parameters

PILOT = 8  # trials of each size at central values; the same luck for all
COLUMNS = ("cost_usd", "time_s", "energy_j", "carbon_kg", "accelerator_s", "mfu", "ettr")
_KEEPING = ("none", "selective", "full")  # less and less is kept


def with_layout(scenario: Scenario, *, even: bool = False) -> Scenario | None:
    """Return a scenario without open distributions with its fastest layout; None where nothing fits in memory.

    The scenario's recomputation stays; only where nothing fits with it, recomputing more is tried. `even`: all data-parallel
    ranks have the same number of microbatches, in the stretch of the batch schedule that trains the most tokens.
    """
    own = scenario.training.recompute
    more = _KEEPING[_KEEPING.index(own) + 1:] if isinstance(own, str) else ("full",)
    for recompute in (own, *more):
        changed = scenario if recompute is own else recomputing(scenario, str(recompute))
        found = search(changed)
        times_s = np.where(_even(changed, found.layouts), found.times_s, np.inf) if even else found.times_s
        if times_s.size and np.isfinite(times_s.min()):
            layout = layout_of(found.layouts[int(np.argmin(times_s))])
            return changed.model_copy(update={"training": changed.training.model_copy(update={"layout": layout})})
    return None


def _even(scenario: Scenario, rows: np.ndarray) -> np.ndarray:
    """Return which layouts give all data-parallel ranks equal work, shape (n,)."""
    data, microbatch = (rows[:, LayoutPack._fields.index(name)] for name in ("data", "microbatch"))
    return np.asarray(main_batch(scenario).sequences % (data * microbatch) == 0.0)


def columns_of_trials(scenario: Scenario, trials: int) -> dict[str, np.ndarray]:
    """Return the main results of trials 0, 1, 2, ..., each of shape (trials,), SI."""
    runs = Trials(scenario)
    rows = [runs.run(trial).row for trial in range(trials)]
    return {name: np.array([row[name] for row in rows]) for name in COLUMNS}


def whole_steps(scenario: Scenario, tokens: float) -> float:
    """Return the most tokens, at most as many as given, that end with a whole step of the batch schedule."""
    start = 0.0
    for phase in scenario.training.batch_schedule:
        end = min(phase.until if phase.until is not None else math.inf, tokens)
        steps = (end - start) / phase.batch
        if end == tokens:
            return start + math.floor(steps + 1e-9) * phase.batch
        start += math.ceil(steps - 1e-9) * phase.batch
    return start


class Costs:
    """Costs of a family of models on a scenario's cluster; keeps what it has simulated.

    Attributes
    ----------
    scenario : Scenario
        As given, its distributions open.
    family : tuple of ModelRecord
        Smallest first.
    parameters : ndarray, shape (sizes,)
        Of each.
    """

    def __init__(self, scenario: Scenario) -> None:
        if scenario.cluster.growth:
            raise UserError("--budget: found cluster.growth; allowed: a cluster that keeps its size")
        self.scenario = scenario
        central = scenario.central()
        if central.checkpoint.interval_s == "simulated":  # a search of its own for every size; the formula is near it
            central = central.model_copy(update={"checkpoint": central.checkpoint.model_copy(update={"interval_s": "daly"})})
        self.central = central
        self.family = family(scenario.model)
        self.parameters = np.array([parameters(m).total for m in self.family])
        self._layouts: dict[tuple[int, float, float], Scenario | None] = {}
        self._lines: dict[tuple[int, float], tuple[float, float]] = {}

    def sized(self, i: int, tokens: float) -> Scenario | None:
        """Return the central scenario with one size, its fastest layout, and tokens; None where it does not fit in memory."""
        wanted = _with(self.central, self.family[i], tokens)
        batch = main_batch(wanted)
        key = i, batch.sequences, batch.sequence
        if key not in self._layouts:
            self._layouts[key] = with_layout(wanted)
        found = self._layouts[key]
        return None if found is None else _with(found, self.family[i], tokens)

    def ready(self, i: int, tokens: float, budget_usd: float) -> Scenario:
        """Return the scenario to run: one size, its layout, tokens, the budget as its goal; what was not known stays open."""
        sized = self.sized(i, tokens)
        assert sized is not None
        training = self.scenario.training.model_copy(update={
            "tokens": tokens, "layout": sized.training.layout, "recompute": sized.training.recompute})
        goals = self.scenario.goals.model_copy(update={"budget_usd": budget_usd})
        name = f"{sized.model.name} on {self.scenario.cluster.accelerators:,} x {self.scenario.cluster.accelerator.name}"
        return self.scenario.model_copy(update={"name": name, "model": sized.model, "training": training, "goals": goals,
                                                "description": None})

    def mean_usd(self, i: int, tokens: float) -> float:
        """Return the mean cost of some trials at central values; infinite where the size does not fit or never ends."""
        scenario = self.sized(i, tokens)
        if scenario is None:
            return math.inf
        try:
            return float(columns_of_trials(scenario, PILOT)["cost_usd"].mean())
        except RunDoesNotFinish:
            return math.inf

    def line(self, i: int, usd: float) -> tuple[float, float]:
        """Return what tokens cost for a size where about a sum is spent: (USD before the first, USD a token).

        A line through two simulated runs, of about the sum and of about half of it. Infinite where the size cannot be trained.
        """
        if (i, usd) not in self._lines:
            self._lines[i, usd] = self._new_line(i, usd)
        return self._lines[i, usd]

    def _new_line(self, i: int, usd: float) -> tuple[float, float]:
        nothing = math.inf, math.inf
        tokens = max(4.0 * self.batch, usd / self.rough_usd_per_token[i]) if math.isfinite(self.rough_usd_per_token[i]) else 0.0
        if tokens <= 0.0 or not math.isfinite(spent := self.mean_usd(i, tokens)):
            return nothing
        if not 0.7 < spent / usd < 1.4:
            tokens = max(4.0 * self.batch, tokens * usd / spent)
            spent = self.mean_usd(i, tokens)
        half = whole_steps(self.central, tokens / 2.0)
        below = self.mean_usd(i, half)
        if not math.isfinite(spent + below) or spent <= below:
            return nothing
        slope = (spent - below) / (tokens - half)
        return spent - slope * tokens, slope

    def lines(self, usd: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Return `line` of the sizes from `low` to `high` parameters, infinite elsewhere: two arrays of shape (sizes,)."""
        found = np.full((2, self.parameters.size), np.inf)
        for i in np.flatnonzero((self.parameters >= low) & (self.parameters <= high)):
            found[:, i] = self.line(int(i), usd)
        return found[0], found[1]

    @cached_property
    def batch(self) -> float:
        """Tokens of a step, in the longest stretch."""
        return main_batch(self.central).tokens_per_step

    @cached_property
    def smallest(self) -> int:
        """Index of the smallest size that fits."""
        return int(np.argmax(np.isfinite(self.rough_usd_per_token)))

    @cached_property
    def rough_usd_per_token(self) -> np.ndarray:
        """Cost of a token without failures and what stops a run, by size, shape (sizes,); infinite where it does not fit.

        Raises
        ------
        UserError
            Not one size fits on the cluster.
        """
        cluster = self.central.cluster
        usd_per_s, usd_per_j = prices(self.central)
        whole_usd_per_s = cluster.accelerators * (usd_per_s + usd_per_j * needed(cluster.accelerator, "tdp_w"))
        found = np.full(len(self.family), np.inf)
        for i in range(len(self.family)):
            scenario = self.sized(i, self.central.training.tokens)
            if scenario is not None:
                found[i] = whole_usd_per_s * _seconds_per_token(scenario)
            elif np.isfinite(found).any() and not np.isfinite(found[i - 3:i]).any():
                break  # larger ones do not fit either; the smallest may lack heads and layers to split
        if not np.isfinite(found).any():
            choose_layout(_with(self.central, self.family[0], self.central.training.tokens))  # raises, and says what would help
        return found


def _seconds_per_token(scenario: Scenario) -> float:
    estimate = longest(estimate_steps(scenario))
    return estimate.step_time_s / estimate.batch.tokens_per_step


def _with(scenario: Scenario, model: ModelRecord, tokens: float) -> Scenario:
    training = scenario.training.model_copy(update={"tokens": tokens})
    return scenario.model_copy(update={"model": model, "training": training})

"""Efficiency levers as a study: each alone against the scenario, then one after the other to all together, with the same luck.

A set of levers changes the scenario in a fixed order (workload, machine, precision, layout, power, site, hours), so that each is
worked out on what the others made of it; the order in which they join the set is that of the waterfall. Where a lever makes
another one of the set possible, such as fp8 on newer hardware, or idle, that is in its bar, and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator import catalog
from simulator.errors import UserError, unknown_name
from simulator.fields import Quantity
from simulator.montecarlo.points import PointRows, points_of, run_points
from simulator.montecarlo.running import Progress
from simulator.montecarlo.statistics import Z95
from simulator.montecarlo.trials import Trials
from simulator.performance.search import choose_layout
from simulator.planning.lever_edits import PULLS, Assumed, Number, intensity_at, with_hours
from simulator.planning.lever_layouts import with_layout
from simulator.scenario import Scenario
from simulator.scenario.checks import central
from simulator.scenario.edits import edited
from simulator.scenario.series import Series
from simulator.units import QuantityError

COLUMNS = ("time_s", "cost_usd", "energy_j", "carbon_operational_kg")
MORE_COLUMNS = ("carbon_embodied_kg",)


@dataclass(frozen=True)
class Lever:
    """What a lever is, whether the same model comes of it, and where its effect comes from."""

    label: str
    effect: str  # simulated, or published ratio
    quality: str


@dataclass(frozen=True)
class Assumption:
    """A number that levers take for granted: its default as files write it, bounds, and source."""

    default: Any
    low: float
    high: float
    text: str
    source: str


# In the order of the waterfall: what leaves the model as it is, then what trains another one.
LEVERS: dict[str, Lever] = {
    "layout": Lever("better layout", "simulated", "the same computation in another order: no change"),
    "precision": Lever("lower precision", "simulated",
                       "fp8 in blocks: loss within 0.25 % of bf16 (DeepSeek-V3, arXiv:2412.19437, section 3.3, FROM MEMORY)"),
    "hardware": Lever("newer hardware", "simulated", "no change; step times of Blackwell and later are not validated"),
    "power": Lever("power cap", "simulated", "no change"),
    "site": Lever("cleaner site", "simulated", "no change; average intensity, what one more kWh causes may be far more"),
    "schedule": Lever("carbon-aware schedule", "simulated", "no change"),
    "sparsity": Lever("2:4 sparsity", "published ratio",
                      "published as near equal on models up to some billion parameters. Pruning a finished model saves when it "
                      "serves, not here: here it costs its retraining"),
    "experts": Lever("mixture of experts", "published ratio",
                     "equal loss by the ratio below; eight times the feed-forward weights must be stored and served"),
    "distillation": Lever("distillation", "published ratio",
                          "NOT equal: a smaller student, better than one trained alone, below its teacher, which must exist; its "
                          "training is not counted"),
}
ASSUMPTIONS: dict[str, Assumption] = {
    "moe-work": Assumption(
        {"lognormal": [0.383, 0.218]}, 0.0, 1.0,
        "tokens for the same loss with as many active parameters, over those without experts",
        "95 % between 1/4 (Artetxe et al., arXiv:2112.10684, 4 times less compute) and 1/1.7 (DBRX, Databricks 2024); within: "
        "OLMoE, arXiv:2409.02060, 1/3; DeepSeekMoE, arXiv:2401.06066, 0.4 and 0.285. All FROM MEMORY"),
    "sparse-work": Assumption(
        {"lognormal": [0.913, 0.0465]}, 0.0, 2.0, "time of a step with 2:4 sparse feed-forward weights, over dense",
        "95 % between 1/1.2 (Hu et al., arXiv:2404.01847, FROM MEMORY; S-STE, arXiv:2409.09099, has 1/1.18) and no gain"),
    "student-size": Assumption(
        0.4, 0.0, 1.0, "parameters of the student over the model's", "Llama 3.2 3B over 3.1 8B: 3.21/8.03 (model cards)"),
    "student-work": Assumption(
        {"lognormal": [0.725, 0.0096]}, 0.0, 4.0, "tokens of the student over the model's, times 1 + the teacher's logits",
        "9 T over 15 T tokens (Llama model cards, FROM MEMORY) times 1 + 86/460 to 1 + 86/370 thousand GPU-hours (Llama 3.2 3B "
        "and 1B, model card). Minitron, arXiv:2407.14679, needs 1/40 of the tokens (FROM MEMORY)"),
    "power-limit": Assumption(
        None, 0.2, 1.0, "power limit over TDP",
        "without one: the limit of 40 to 95 % at which the run's steps take least energy"),
    "carbon-swing": Assumption(
        0.2, 0.0, 1.0, "amplitude of carbon intensity over a day, where the scenario has none by the hour",
        "a synthetic profile, as in scenarios/hourly-year.yaml (FROM MEMORY, no more than plausible)"),
    "dirtiest": Assumption(0.25, 0.0, 1.0, "share of hours in which a run that follows carbon is slowed", "an operator's choice"),
    "slow-to": Assumption(0.7, 0.0, 1.0, "share of full power that it then takes", "the default of a rule (docs/scenario.md)"),
}


@dataclass(frozen=True)
class Change:
    """Mean of a difference and its 95 % interval; NaN where a result is not known."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """A lever pulled on a scenario.

    Attributes
    ----------
    lever : str
    said : str
        What it did.
    reason : str
        Why it does nothing; empty where it does.
    before, after : int
        Rows of the study without and with it.
    """

    lever: str
    said: str
    reason: str
    before: int
    after: int


@dataclass(frozen=True)
class LeverStudy:
    """Effects of levers.

    Attributes
    ----------
    scenarios : tuple of Scenario
        As run, by row: the first is the base.
    rows : PointRows
        Their trials.
    alone, steps : tuple of Effect
        Each on the base; one after the other.
    numbers : dict
        Assumptions by name that the levers made use of.
    notes : tuple of str
        What was assumed of the base.
    """

    scenarios: tuple[Scenario, ...]
    rows: PointRows
    alone: tuple[Effect, ...]
    steps: tuple[Effect, ...]
    numbers: dict[str, Number]
    notes: tuple[str, ...]

    @property
    def trials(self) -> int:
        """Trials of each scenario."""
        return int(self.rows.column(COLUMNS[0]).shape[1])

    @property
    def together(self) -> int:
        """The row with all levers."""
        return self.steps[-1].after if self.steps else 0

    def mean(self, row: int, column: str) -> float:
        """Return the mean of a result; NaN where it is not known."""
        return float(self.rows.column(column)[row].mean())

    def change(self, before: int, after: int, column: str) -> Change:
        """Return the mean difference of two rows, and its 95 % interval from differences trial by trial."""
        values = self.rows.column(column)
        mean = self.mean(after, column) - self.mean(before, column)
        count = values.shape[1]
        half = Z95 * float((values[after] - values[before]).std(ddof=1)) / np.sqrt(count) if count > 1 else np.nan
        half = 0.0 if before == after or half < 1e-9 * abs(mean) else half  # rounding, where there is no chance
        return Change(mean, mean - half, mean + half)


def read_assumptions(given: Mapping[str, Any], site: str = "") -> Assumed:
    """Return the defaults with other values, as files write them, in their place.

    Raises
    ------
    UserError
        An unknown name, a value out of bounds, or an unknown site.
    """
    for name in given:
        if name not in ASSUMPTIONS:
            raise UserError(f"--assume: {unknown_name('assumption', name, ASSUMPTIONS)}")
    if site:
        catalog.load("sites", site)
    numbers = {}
    for name, assumption in ASSUMPTIONS.items():
        value = given.get(name, assumption.default)
        if value is None:
            continue
        try:
            numbers[name] = Quantity("ratio", assumption.low, assumption.high, above=assumption.low == 0.0
                                     and name != "carbon-swing").read(value)
        except QuantityError as error:
            raise UserError(f"--assume {name}: {error}") from None
    return Assumed(numbers, site)


class _Sets:
    """Scenarios by set of levers, each made once."""

    def __init__(self, base: Scenario, assumed: Assumed, hourly: bool) -> None:
        self.base, self.assumed, self._swing = base, assumed, central(assumed.numbers["carbon-swing"]) if hourly else 0.0
        self._searched = base.training.layout == "auto"
        self.scenarios = [self._settled(base)]
        self._rows: dict[frozenset[str], int] = {frozenset(): 0}
        self._pulled: dict[frozenset[str], frozenset[str]] = {frozenset(): frozenset()}  # of a set, those that do something

    def _settled(self, scenario: Scenario) -> Scenario:
        """Return a scenario with its layout in place of `auto`, checked as a whole."""
        if self._searched:
            scenario = with_layout(scenario, choose_layout(with_layout(scenario, "auto").central()))  # type: ignore[arg-type]
        return edited(scenario, {}, "levers")

    def _made(self, wanted: frozenset[str]) -> tuple[Scenario, dict[str, str], dict[str, str]]:
        """Return a scenario, what each lever did and why others did nothing."""
        scenario, said, reasons = self.base, {}, {}
        for name in (name for name in PULLS if name in wanted):
            try:
                scenario, said[name] = PULLS[name](scenario, self.assumed)
                if name == "site":
                    scenario = with_hours(scenario, self._swing)
            except UserError as error:
                reasons[name] = str(error).splitlines()[0]
        return scenario, said, reasons

    def effect(self, before: frozenset[str], lever: str) -> Effect:
        """Return what a lever does to a set that it joins."""
        row = self._rows[before]
        after = before | {lever}
        try:
            scenario, said, reasons = self._made(after)
            if lever in reasons:
                return self._idle(before, lever, reasons[lever])
            if after not in self._rows:
                settled = self._settled(scenario)
                with np.errstate(invalid="ignore"):
                    Trials(settled).run(0)
                self._rows[after] = len(self.scenarios)
                self.scenarios.append(settled)
        except UserError as error:  # it can be pulled, but not run
            return self._idle(before, lever, str(error).splitlines()[0])
        self._pulled[after] = frozenset(said)
        changed = [f"; {LEVERS[name].label} then applies: {text}" for name, text in said.items()
                   if name not in self._pulled[before] | {lever}]
        changed += [f"; {LEVERS[name].label} then does not apply: {text}" for name, text in reasons.items()
                    if name in self._pulled[before]]
        return Effect(lever, said[lever] + "".join(changed), "", row, self._rows[after])

    def _idle(self, before: frozenset[str], lever: str, reason: str) -> Effect:
        """Return the effect of a lever that does nothing when it joins a set."""
        row = self._rows[before | {lever}] = self._rows[before]
        self._pulled[before | {lever}] = self._pulled[before]
        return Effect(lever, "", reason, row, row)


def lever_study(scenario: Scenario, levers: Sequence[str] = (), assumed: Assumed | None = None, *, trials: int | None = None,
                seed: int | None = None, workers: int | None = 1, progress: Progress | None = None) -> LeverStudy:
    """Run the scenario, each lever alone, and the levers one after the other, all with the same trials and luck.

    Parameters
    ----------
    scenario : Scenario
    levers : sequence of str
        Keys of `LEVERS` in the order of the waterfall; none: all, in their order.
    assumed : Assumed, optional
        From `read_assumptions`.
    trials, seed, workers, progress
        As for `run_points`; trials by default the scenario's, 200 at most.

    Raises
    ------
    UserError
        An unknown lever; or the scenario itself, or a trial of one of its changes, cannot run.
    """
    for lever in levers:
        if lever not in LEVERS:
            raise UserError(f"--lever: {unknown_name('lever', lever, LEVERS)}")
    order = tuple(dict.fromkeys(levers)) or tuple(LEVERS)
    assumed = assumed or read_assumptions({})
    hourly = "schedule" in order
    base = with_hours(scenario, central(assumed.numbers["carbon-swing"])) if hourly else scenario
    sets = _Sets(base, assumed, hourly)
    alone = [sets.effect(frozenset(), lever) for lever in order]
    steps = [sets.effect(_joined(order, i), lever) for i, lever in enumerate(order)]
    rows = run_points(points_of(sets.scenarios, trials or min(scenario.monte_carlo.trials, 200), seed), workers=workers,
                      progress=progress)
    if rows.interrupted:
        raise KeyboardInterrupt
    if rows.problems:
        raise UserError(rows.problems[min(rows.problems)])
    return LeverStudy(tuple(sets.scenarios), rows, tuple(alone), tuple(steps), dict(assumed.numbers), _notes(scenario, base))


def _joined(order: Sequence[str], count: int) -> frozenset[str]:
    return frozenset(order[:count])


def _notes(scenario: Scenario, base: Scenario) -> tuple[str, ...]:
    """Return what was assumed of the base."""
    notes = []
    intensity = intensity_at(base)
    if isinstance(intensity, Series) and not isinstance(intensity_at(scenario), Series):
        notes.append(f"carbon by the hour is not known: {intensity.describe()} around the mean of the place")
        if scenario.calendar is None and base.calendar is not None:
            notes.append(f"no calendar: it starts on {base.calendar.start:%d %B %Y}, {base.calendar.time_zone}")
    return tuple(notes)

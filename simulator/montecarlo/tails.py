"""The chance that a result is above a limit, where plain trials would hardly ever see it.

Importance sampling of what is not known. Pilot runs find the values with which the limit is passed (cross-entropy method:
Rubinstein and Kroese, "The Cross-Entropy Method", 2004, chapter 2, FROM MEMORY), then runs are drawn around them and weighted for
it. A share of all runs is drawn as usual (defensive mixture: Hesterberg, Technometrics 37, 1995; Owen and Zhou, JASA 95, 2000,
FROM MEMORY), so that no weight is above 1 over that share, and another way to pass the limit is not overlooked. Luck is as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.cluster.trial import RunDoesNotFinish
from simulator.errors import UserError, unknown_name
from simulator.fields import Distribution
from simulator.montecarlo.statistics import Z95
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import Trials
from simulator.scenario import Scenario

DEFENSIVE = 0.2  # share of runs drawn as usual
_ELITE = 0.1  # of pilot runs, those that are highest, show where to go
_STAGES = 12
_SEEN = 2.5  # standard errors of a mean, above which an input matters
_FEW = 30.0  # effective hits, below which the interval is not to be trusted
_TOTALS = ("time_s", "accelerator_s", "energy_j", "carbon_kg", "cost_usd")  # beyond any limit where a run does not finish
_GOALS = {"time_s": "deadline_s", "cost_usd": "budget_usd"}


@dataclass(frozen=True)
class Proposal:
    """From where standard normal numbers, one for each input, are drawn: around 0 or, mostly, around a shift.

    Attributes
    ----------
    shift : tuple of float
        In the order of `Inputs.paths`; all zero: drawn as usual.
    """

    shift: tuple[float, ...]

    @property
    def plain(self) -> bool:
        """Nothing is shifted."""
        return not any(self.shift)

    @property
    def heaviest(self) -> float:
        """Highest weight there can be."""
        return 1.0 if self.plain else 1.0 / DEFENSIVE

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Return normal numbers, shape (inputs,), and their weight: the density as usual over the density here."""
        shift = np.array(self.shift)
        shifted = rng.random() >= DEFENSIVE
        z = rng.standard_normal(shift.size) + (shift if shifted else 0.0)
        if self.plain:
            return z, 1.0
        exponent = min(float(shift @ z - 0.5 * shift @ shift), 700.0)
        return z, 1.0 / (DEFENSIVE + (1.0 - DEFENSIVE) * math.exp(exponent))


@dataclass(frozen=True)
class Tail:
    """The chance that a result is above a limit.

    Attributes
    ----------
    probability, low, high : float
        With its 95 % interval.
    ess : float
        Effective number of runs above the limit, (sum of weights)^2 / sum of squares over them: as certain as so many hits of
        plain trials.
    hits, trials, pilot : int
        Runs above the limit, all weighted runs, and pilot runs before them.
    method : str
        "importance", or "plain" where the pilot found no input that matters.
    shift : dict
        How far each input is shifted, in standard deviations of the normal number behind it.
    warning : str or None
        Why the interval is not to be trusted.
    """

    probability: float
    low: float
    high: float
    ess: float
    hits: int
    trials: int
    pilot: int
    method: str
    shift: dict[str, float]
    warning: str | None = None

    @property
    def worth(self) -> float:
        """Plain trials that are as certain as one run here, pilot runs counted; NaN without a hit, or with nothing else."""
        if not self.ess or self.ess >= self.trials:
            return math.nan
        relative_variance = 1.0 / self.ess - 1.0 / self.trials
        return (1.0 / self.probability - 1.0) / relative_variance / (self.trials + self.pilot)


class TailTrials:
    """Runs of one stage; each is a function of scenario, seed, proposal, stage and number alone."""

    def __init__(self, scenario: Scenario, seed: int | None = None) -> None:
        changes = {} if seed is None else {"seed": seed}
        self.trials = Trials(scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update=changes)}))
        self.paths = self.trials.inputs.paths

    def run(self, proposal: Proposal, stage: int, number: int) -> tuple[np.ndarray, float, dict[str, float]]:
        """Return normal numbers, shape (inputs,), weight and row of a run; totals of one that does not finish are infinite."""
        from scipy.special import ndtr

        seed, luck = self.trials.scenario.monte_carlo.seed, f"tail {stage}"
        z, weight = proposal.draw(stream(seed, number, f"{luck}: inputs"))
        values = self.trials.inputs.values(ndtr(z)) if self.paths else {}
        try:
            return z, weight, self.trials.run_with(values, number, luck).row
        except RunDoesNotFinish:
            return z, weight, dict.fromkeys(_TOTALS, math.inf)


# Proposal, stage, count -> normal numbers (count, inputs), weights (count,), results (count,).
Play = Callable[[Proposal, int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def tail_probability(scenario: Scenario, column: str = "time_s", above: float | None = None, trials: int = 2000,
                     pilot: int | None = None, seed: int | None = None) -> Tail:
    """Return the chance that a result is above a limit.

    Parameters
    ----------
    scenario : Scenario
        Its sampling method is not used: all runs are independent.
    column : str
        Of `trials.parquet`.
    above : float, optional
        The limit, in SI. Absent: the scenario's deadline for `time_s`, its budget for `cost_usd`.
    trials : int
        Weighted runs.
    pilot : int, optional
        Runs in each pilot stage, of which there are a few; a quarter of `trials`, at least 500, by default.
    seed : int, optional
        Instead of the scenario's.

    Raises
    ------
    UserError
        No limit, no such column, or too few runs.
    """
    limit = above if above is not None else _goal(scenario, column)
    pilot = max(500, trials // 4) if pilot is None else pilot
    if trials < 100 or pilot < 50:
        raise UserError(f"found {trials} runs and {pilot} pilot runs; allowed: at least 100 and 50")
    runs = TailTrials(scenario, seed)

    def play(proposal: Proposal, stage: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = []
        for number in range(count):
            z, weight, row = runs.run(proposal, stage, number)
            if column not in row:
                raise UserError(unknown_name("column", column, row))
            found.append((z, weight, row[column]))
        z, weights, results = zip(*found, strict=True)
        return np.array(z), np.array(weights), np.array(results)

    return tail_of(play, runs.paths, limit, trials, pilot)


def _goal(scenario: Scenario, column: str) -> float:
    limit = getattr(scenario.goals, _GOALS[column]) if column in _GOALS else None
    if limit is None or isinstance(limit, Distribution):
        goal = f"goals.{_GOALS[column].rsplit('_', 1)[0]}" if column in _GOALS else "limit"
        raise UserError(f"{goal}: {'missing' if limit is None else 'found a distribution'}; allowed: one number, what {column} "
                        "must not be above")
    return float(limit)


def tail_of(play: Play, paths: Sequence[str], above: float, trials: int, pilot: int) -> Tail:
    """Return the chance that a result is above a limit, of runs that `play` makes; parameters as for `tail_probability`."""
    proposal, played, reached = Proposal((0.0,) * len(paths)), 0, -math.inf
    for stage in range(_STAGES if paths else 0):
        z, weights, results = play(proposal, stage, pilot)
        played += pilot
        level = min(above, float(np.quantile(results, 1.0 - _ELITE, method="lower")))
        if level <= reached:  # no nearer: the rest is luck
            break
        elite = results > level if level == above else results >= level
        proposal, reached = Proposal(_shift(z[elite], weights[elite])), level
        if level == above or proposal.plain:
            break
    _, weights, results = play(proposal, _STAGES, trials)
    p, low, high, ess = weighted_share(weights, results > above, proposal.heaviest)
    hits = int((results > above).sum())
    warning = None
    if ess < _FEW:
        warning = (f"only {ess:.3g} effective runs above the limit (of {hits} in {trials:,}): the interval is not to be trusted; "
                   "give more runs")
    return Tail(p, low, high, ess, hits, trials, played, "plain" if proposal.plain else "importance",
                dict(zip(paths, proposal.shift, strict=True)), warning)


def _shift(z: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Return the weighted mean of the highest runs, shape (inputs,): zero for inputs that do not matter to them."""
    mean = weights @ z / weights.sum()
    error = np.sqrt(weights**2 @ (z - mean) ** 2) / weights.sum()
    return tuple(np.where(np.abs(mean) > _SEEN * np.maximum(error, 1.0 / math.sqrt(weights.size)), mean, 0.0).tolist())


def weighted_share(weights: np.ndarray, hit: np.ndarray, heaviest: float) -> tuple[float, float, float, float]:
    """Return the probability of weighted hits, its 95 % interval, and effective hits.

    The mean of weight times hit is unbiased. The interval is Wilson's for as many plain trials as have the same variance; with
    all weights 1 it is Wilson's own. Without a hit the upper end is exact: no weight is above `heaviest`.

    Parameters
    ----------
    weights : ndarray, shape (n,)
    hit : ndarray of bool, shape (n,)
    heaviest : float
        Bound of the weights.
    """
    n = weights.size
    if not hit.any():
        return 0.0, 0.0, min(1.0, heaviest * (1.0 - 0.05 ** (1.0 / n))), 0.0
    counted = weights * hit
    p = min(float(counted.mean()), 1.0)
    ess = float(counted.sum() ** 2 / (counted**2).sum())
    variance = float(counted.var()) / n
    if p == 1.0 or variance == 0.0:
        return p, max(0.0, 1.0 - 3.0 / n), 1.0, ess
    alike, z2 = p * (1.0 - p) / variance, Z95**2
    centre = (p + z2 / (2.0 * alike)) / (1.0 + z2 / alike)
    half = Z95 / (1.0 + z2 / alike) * math.sqrt(p * (1.0 - p) / alike + z2 / (4.0 * alike**2))
    return p, max(0.0, centre - half), min(1.0, centre + half), ess

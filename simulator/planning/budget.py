"""From money to a model: the size and the tokens of the least loss that a sum pays for on a scenario's cluster.

A scaling law says what loss a size reaches on so many tokens; `Costs` says what they cost there. So a size that the cluster runs
badly loses. What is not known (prices, the law) stays out of the choice and comes back as its range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.catalog.laws import ScalingLaw
from simulator.catalog.pricing import YEAR_S
from simulator.errors import UserError
from simulator.montecarlo.streams import stream
from simulator.planning.costs import Costs, columns_of_trials, whole_steps
from simulator.planning.families import short
from simulator.planning.scaling import central_law, drawn_law, loss, optimal_tokens, uncertain_keys
from simulator.scenario import Scenario
from simulator.workload import step_batches

TRIALS = 200  # of what is chosen
SHARES = (0.01, 0.1, 1.0)  # of a year's money
_REACH = 3.0  # sizes so many times above and below the rough optimum are simulated
_FAR = 20.0  # the same, where their range is asked for
_CLOSE = 0.002  # of the sum, to which the expected cost is brought
_ROUNDS = 6
_RANGE = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Choice:
    """A model and its tokens, and what its run takes.

    Attributes
    ----------
    law : ScalingLaw
        With central values.
    scenario : Scenario
        Ready to run: model, tokens, layout; prices are uncertain as they were.
    index : int
        Of the size in the family.
    columns : dict of ndarray, shape (trials,)
        Results of its trials, SI.
    serving_usd : float
        For serving, beside training.
    spread : float
        Mean cost of the trials over the cost at central values.
    bound : str
        What keeps the model from being larger, if it is not the money.
    """

    law: ScalingLaw
    scenario: Scenario
    index: int
    parameters: float
    tokens: float
    columns: dict[str, np.ndarray]
    serving_usd: float
    spread: float
    bound: str = ""

    @property
    def loss(self) -> float:
        """By the law, nats a token."""
        return float(loss(self.law, self.parameters, self.tokens))

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return sum(batch.steps for batch in step_batches(self.scenario.central().training))

    @property
    def training_usd(self) -> float:
        """Expected cost of training."""
        return self.mean("cost_usd")

    @property
    def total_usd(self) -> float:
        """Expected cost of training and serving."""
        return self.training_usd + self.serving_usd

    def mean(self, column: str) -> float:
        """Return the mean of a result over the trials."""
        return float(self.columns[column].mean())

    def range(self, column: str) -> tuple[float, ...]:
        """Return P5, P50 and P95 of a result."""
        return tuple(np.quantile(self.columns[column], _RANGE).tolist())


def tokens_for(lines: tuple[np.ndarray, np.ndarray], usd: np.ndarray | float) -> np.ndarray:
    """Return the tokens that a sum pays for by size, shape (sizes,); 0 where it pays for none."""
    fixed, slope = lines
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(slope), np.maximum((usd - fixed) / slope, 0.0), 0.0)


def rough_best(costs: Costs, law: ScalingLaw, usd: np.ndarray | float) -> float:
    """Return the parameters of the least loss by cost without failures."""
    with np.errstate(divide="ignore"):
        tokens = np.maximum(usd / costs.rough_usd_per_token, 0.0)
    return float(costs.parameters[int(np.argmin(loss(law, costs.parameters, tokens)))])


def choose(costs: Costs, law: ScalingLaw, budget_usd: float, *, serving_usd_per_parameter: float = 0.0, trials: int = TRIALS
           ) -> Choice:
    """Return the model and the tokens of the least loss whose expected cost, with serving, is a budget.

    Parameters
    ----------
    costs : Costs
    law : ScalingLaw
        Its central values decide.
    budget_usd : float
        In the dollars of the scenario's results.
    serving_usd_per_parameter : float
        What serving costs over the model's life, for each parameter.
    trials : int
        Of the chosen run, with all that is not known: their mean is brought to the budget.

    Raises
    ------
    UserError
        Too little to train even the smallest model of the family on its compute-optimal tokens, with what would do.
    """
    own = central_law(law)
    serving = serving_usd_per_parameter * costs.parameters
    near = rough_best(costs, own, budget_usd - serving)
    lines = costs.lines(budget_usd, near / _REACH, near * _REACH)
    enough = max(optimal_tokens(own, costs.parameters[costs.smallest]), 4.0 * costs.batch)
    spread, found = 1.0, None
    for _ in range(_ROUNDS):
        tokens = tokens_for(lines, (budget_usd - serving) / spread)
        tokens[tokens < costs.batch] = 0.0
        losses = loss(own, costs.parameters, tokens)
        i = int(np.argmin(losses))
        least_usd = spread * costs.mean_usd(costs.smallest, enough) + float(serving[costs.smallest])
        if not math.isfinite(losses[i]) or budget_usd < least_usd:
            raise _too_little(costs, budget_usd, least_usd, enough)
        found = run_of(costs, own, i, float(tokens[i]), budget_usd, float(serving[i]), lines, trials)
        left = budget_usd - found.total_usd
        if -_CLOSE * budget_usd <= left <= _CLOSE * budget_usd + found.training_usd / found.steps:
            break
        spread = found.spread
    assert found is not None
    return found


def run_of(costs: Costs, law: ScalingLaw, i: int, tokens: float, budget_usd: float, serving_usd: float,
           lines: tuple[np.ndarray, np.ndarray], trials: int = TRIALS) -> Choice:
    """Return one size on whole steps of tokens, simulated with all that is not known."""
    tokens = whole_steps(costs.central, tokens)
    scenario = costs.ready(i, tokens, budget_usd)
    columns = columns_of_trials(scenario, trials)
    spread = float(columns["cost_usd"].mean()) / (lines[0][i] + lines[1][i] * tokens)
    larger = i + 1 >= len(costs.family) or not math.isfinite(costs.rough_usd_per_token[i + 1])
    return Choice(law, scenario, i, float(costs.parameters[i]), tokens, columns, serving_usd, spread,
                  "the next size does not fit in the memory of the cluster" if larger else "")


def _too_little(costs: Costs, budget_usd: float, least_usd: float, tokens: float) -> UserError:
    smallest = float(costs.parameters[costs.smallest])
    return UserError(f"--budget: found {_usd(budget_usd)} USD; allowed: about {_usd(least_usd)} USD or more, which trains the "
                     f"smallest model of the family ({short(smallest)} parameters, {short(tokens)} tokens) on "
                     f"{costs.scenario.cluster.accelerators:,} x {costs.scenario.cluster.accelerator.name}")


def _usd(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100.0 else f"{amount:.3g}"


@dataclass(frozen=True)
class Spread:
    """P5, P50 and P95 of the best size, its tokens and its loss, where price, luck and law are what they turn out to be."""

    parameters: tuple[float, ...]
    tokens: tuple[float, ...]
    loss: tuple[float, ...]


def spread_of(costs: Costs, law: ScalingLaw, choice: Choice, budget_usd: float) -> Spread:
    """Return the range of what the budget pays for.

    In each trial of the choice its cost differs from the expected one; another size's would differ by the same share, so the
    trial's budget is that much more or less. A law with distributions is drawn once a trial.
    """
    near = choice.parameters
    reach = _FAR if uncertain_keys(law) else _REACH
    lines = costs.lines(budget_usd, near / reach, near * reach)
    central_usd = lines[0][choice.index] + lines[1][choice.index] * choice.tokens
    seed = costs.scenario.monte_carlo.seed
    best = []
    for trial, usd in enumerate(choice.columns["cost_usd"]):
        drawn = drawn_law(law, lambda key, trial=trial: float(stream(seed, trial, f"law {key}").random()))  # type: ignore[misc]
        tokens = tokens_for(lines, budget_usd * central_usd / usd)
        losses = loss(drawn, costs.parameters, tokens)
        i = int(np.argmin(losses))
        best.append((costs.parameters[i], tokens[i], losses[i]))
    quantiles = np.quantile(np.array(best), _RANGE, axis=0)
    return Spread(*(tuple(column) for column in quantiles.T.tolist()))


@dataclass(frozen=True)
class Afford:
    """What a year's money means for a run: share of it, runs a year by money and by time, and the best models for parts of it."""

    annual_usd: float
    share: float
    runs_by_money: float
    runs_by_time: float
    models: tuple[tuple[float, Choice | None], ...]


def afford(costs: Costs, law: ScalingLaw, choice: Choice, annual_usd: float, shares: Sequence[float] = SHARES) -> Afford:
    """Return who can afford a run, and the largest compute-optimal model for shares of a year's money; None: too little."""
    models: list[tuple[float, Choice | None]] = []
    for share in shares:
        try:
            models.append((share, choose(costs, law, share * annual_usd, trials=TRIALS // 4)))
        except UserError:
            models.append((share, None))
    return Afford(annual_usd, choice.training_usd / annual_usd, annual_usd / choice.training_usd,
                  YEAR_S / choice.mean("time_s"), tuple(models))

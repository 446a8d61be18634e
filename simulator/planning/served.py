"""A model that is also served: smaller and trained on more tokens than compute-optimal, because each token served costs less.

N. Sardana et al., "Beyond Chinchilla-Optimal", arXiv:2401.00448. What serving costs is an estimate: 2 N FLOPs a token at a stated
share of the accelerator's peak, on the accelerators and at the prices of training. Queues, latency and caches are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulator.accounting.rates import prices
from simulator.catalog.laws import ScalingLaw
from simulator.errors import UserError
from simulator.performance.estimate import mfu_precision
from simulator.performance.hardware import needed, node_power, peak_flops_per_s
from simulator.planning.budget import TRIALS, Choice, choose, run_of
from simulator.planning.costs import Costs
from simulator.planning.scaling import central_law, tokens_for_loss
from simulator.scenario import Scenario

FLOPS_PER_SERVED = 2.0  # of a parameter and token: forward only
# Output tokens of Llama 3.1 8B and 70B in bf16 on H100 at the best batch, as measured (ML.ENERGY v3: 9,806 and 1,707 a second and
# accelerator), times 2 N over the dense peak: 0.16 and 0.24. Reading the prompt, and hours of less load, come on top.
UTILISATION = 0.2
_SMALLER = 100.0  # times, of sizes that are tried


@dataclass(frozen=True)
class Serving:
    """What serving a model over its life costs.

    Attributes
    ----------
    tokens : float
        Over the life of the model.
    usd_per_token_parameter : float
        Of one token, for each parameter.
    estimated : bool
        By `serving_price`; else it was given.
    """

    tokens: float
    usd_per_token_parameter: float
    estimated: bool

    @property
    def usd_per_parameter(self) -> float:
        """Of all tokens, for each parameter."""
        return self.tokens * self.usd_per_token_parameter


def serving_price(scenario: Scenario) -> float:
    """Return USD of a served token and parameter on the accelerators of a scenario, at its prices; central values."""
    cluster = scenario.cluster
    usd_per_s, usd_per_j = prices(scenario)
    if usd_per_j > 0.0:
        tdp_w = needed(cluster.accelerator, "tdp_w")
        node_w = cluster.accelerator.accelerators_per_node * tdp_w + node_power(cluster.accelerator, tdp_w).total_w
        usd_per_s += usd_per_j * node_w / cluster.accelerator.accelerators_per_node * scenario.facility.needed_pue()
    peak = peak_flops_per_s(cluster.accelerator, mfu_precision(scenario.training.precision))
    return FLOPS_PER_SERVED / (UTILISATION * peak) * usd_per_s


@dataclass(frozen=True)
class Served:
    """Models that are served: `optimal` minds training alone, `same_loss` reaches its loss for the least of training and serving
    together, `within_budget` has the least loss with both in the budget (None: serving leaves nothing to train with).
    """

    optimal: Choice
    same_loss: Choice
    within_budget: Choice | None


def served(costs: Costs, law: ScalingLaw, choice: Choice, budget_usd: float, serving: Serving, trials: int = TRIALS) -> Served:
    """Return what over-training saves, beside a compute-optimal choice for a budget."""
    own = central_law(law)
    near = choice.parameters
    lines = costs.lines(budget_usd, near / _SMALLER, near * 1.5)
    per_parameter = serving.usd_per_parameter
    tokens = tokens_for_loss(own, costs.parameters, choice.loss)
    fixed, slope = lines
    with np.errstate(invalid="ignore"):
        total = (fixed + slope * tokens) * choice.spread + per_parameter * costs.parameters
    i = int(np.nanargmin(total))
    same = run_of(costs, own, i, float(tokens[i]), budget_usd, per_parameter * float(costs.parameters[i]), lines, trials)
    optimal = replace(choice, serving_usd=per_parameter * near)
    try:
        within = choose(costs, own, budget_usd, serving_usd_per_parameter=per_parameter, trials=trials)
    except UserError:
        within = None
    return Served(optimal, same, within)

"""Scaling laws: loss from parameters and tokens, what is compute-optimal, and the tokens that reach a loss.

L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv:2203.15556, equation 2); N counts all parameters, embeddings
too, D every token once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from simulator import catalog
from simulator.catalog.laws import ScalingLaw
from simulator.fields import Distribution, map_distributions
from simulator.scenario.errors import explain
from simulator.scenario.reading import read_document

LAWS = ("chinchilla-refit-2024", "chinchilla-2022")  # the first is the default
FLOPS_PER_PARAMETER = 6.0  # and token: two forward, four backward (Kaplan et al. 2020, arXiv:2001.08361, table 1)


def read_law(source: str | Path) -> ScalingLaw:
    """Return a law of the catalog by its name, else of a YAML file with the keys E, A, B, alpha, beta (and `name`).

    Raises
    ------
    UserError
        No such file, or a value is wrong or missing: with file, line and what is allowed.
    """
    file = os.fspath(source)
    if file in catalog.names("laws"):
        return catalog.load("laws", file)
    document = read_document(file)
    try:
        return ScalingLaw.model_validate(document.data)
    except ValidationError as error:
        raise explain(error, document.positions, file, ScalingLaw) from None


def central_law(law: ScalingLaw) -> ScalingLaw:
    """Return the law with central values in place of distributions."""
    return map_distributions(law, lambda _, distribution: distribution.central())


def uncertain_keys(law: ScalingLaw) -> list[str]:
    """Return the keys of a law that are distributions."""
    return [key for key in ("E", "A", "B", "alpha", "beta") if isinstance(getattr(law, key), Distribution)]


def drawn_law(law: ScalingLaw, uniform: Callable[[str], float]) -> ScalingLaw:
    """Return the law with each distribution drawn at the probability `uniform(key)`."""
    return map_distributions(law, lambda key, distribution: float(distribution.quantile(np.array(uniform(key)))))


def loss(law: ScalingLaw, parameters: Any, tokens: Any) -> Any:
    """Return the loss, nats a token; infinite where there are no tokens. Numbers or arrays that fit together."""
    tokens = np.asarray(tokens, dtype=float)
    with np.errstate(divide="ignore"):
        learned = law.B / np.maximum(tokens, 0.0) ** law.beta
    return law.E + law.A / np.asarray(parameters, dtype=float) ** law.alpha + learned


def tokens_for_loss(law: ScalingLaw, parameters: Any, target: float) -> Any:
    """Return the tokens on which each size reaches a loss; infinite where it never does. Shape of `parameters`."""
    left = target - law.E - law.A / np.asarray(parameters, dtype=float) ** law.alpha
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left > 0.0, (law.B / np.maximum(left, 0.0)) ** (1.0 / law.beta), np.inf)


def compute_optimal(law: ScalingLaw, flops: float) -> tuple[float, float]:
    """Return parameters and tokens of the least loss for C = 6 N D FLOPs (Hoffmann et al. 2022, equation 4).

    N = G (C / 6)^a and D = (C / 6)^b / G, with G = (alpha A / (beta B))^(1 / (alpha + beta)), a = beta / (alpha + beta) and
    b = alpha / (alpha + beta).
    """
    both = law.alpha + law.beta
    g = (law.alpha * law.A / (law.beta * law.B)) ** (1.0 / both)
    pairs = flops / FLOPS_PER_PARAMETER
    return g * pairs ** (law.beta / both), pairs ** (law.alpha / both) / g


def optimal_tokens(law: ScalingLaw, parameters: float) -> float:
    """Return the tokens with which a size is compute-optimal: where a change of N and of D are worth the same.

    Of equation 4 without C: alpha A / N^alpha = beta B / D^beta.
    """
    return float((law.beta * law.B * parameters**law.alpha / (law.alpha * law.A)) ** (1.0 / law.beta))


def beyond_fit(law: ScalingLaw, parameters: float, tokens: float) -> list[str]:
    """Return what lies beyond the runs that a law was fitted to, in words; empty where nothing does or it is not said."""
    limits = (("parameters", parameters, law.largest_parameters), ("tokens", tokens, law.largest_tokens))
    return [f"{found / limit:.3g} times the {what} of the largest run that it was fitted to"
            for what, found, limit in limits if limit is not None and found > limit]

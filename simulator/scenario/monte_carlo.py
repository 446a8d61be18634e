"""Section `monte_carlo`: how many trials, how what is not known is sampled, and what of it goes together."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.errors import nearest
from simulator.fields import Distribution, Quantity, Record, Seed, map_distributions
from simulator.scenario.checks import FieldError

_LEAST_EIGENVALUE = 1e-9


class Correlation(Record):
    """Two numbers that are not known and go together."""

    between: tuple[str, str] = Field(
        description="paths of two distributions: keys joined by dots, items of lists by number, such as "
                    "`failures.components.0.rate`")
    rank: Annotated[float, Quantity("ratio", low=-0.999, high=0.999)] = Field(
        description="Spearman's rank correlation; those that are not given are zero")

    @model_validator(mode="after")
    def _two_numbers(self) -> Correlation:
        if isinstance(self.rank, Distribution):
            raise FieldError("rank", "found a distribution; allowed: one number")
        if self.between[0] == self.between[1]:
            raise FieldError("between", f"found {self.between[0]!r} twice; allowed: two paths")
        return self


class MonteCarlo(Record):
    """How much chance is sampled, and how."""

    trials: Annotated[int, Quantity("count", low=1, high=1e7, whole=True)] = Field(
        default=1000, description="runs simulated")
    seed: Seed = Field(default=1, description="the same seed gives the same rows on any number of processes")
    sampling: Literal["random", "latin-hypercube", "sobol"] = Field(
        default="random", description="of what is not known: at random, a Latin hypercube, or scrambled Sobol points; the luck "
                                      "of a run is always random")
    antithetic: bool = Field(default=False, description="trials in pairs, whose uniform numbers are u and 1 - u")
    correlations: tuple[Correlation, ...] = Field(default=(), description="of pairs of distributions; pairs not given: 0")


def uncertain(record: Record) -> dict[str, Distribution]:
    """Return the epistemic distributions of a record by path, such as "pricing.rental.price"."""
    found: dict[str, Distribution] = {}

    def collect(path: str, distribution: Distribution) -> Distribution:
        found[path] = distribution
        return distribution

    map_distributions(record, collect)
    return found


def normal_correlations(monte_carlo: MonteCarlo, paths: tuple[str, ...]) -> np.ndarray:
    """Return the correlations of normal numbers whose ranks correlate as asked, shape (paths, paths).

    r = 2 sin(pi rank / 6) for a pair of normal numbers: Pearson (1907); Kruskal, "Ordinal measures of association", JASA 53
    (1958), section 6, FROM MEMORY. Ranks do not change when each number is mapped to another distribution.
    """
    matrix = np.eye(len(paths))
    for given in monte_carlo.correlations:
        i, j = (paths.index(path) for path in given.between)
        matrix[i, j] = matrix[j, i] = 2.0 * math.sin(math.pi * given.rank / 6.0)
    return matrix


def correlated(monte_carlo: MonteCarlo) -> tuple[str, ...]:
    """Return the paths that a correlation names, in the order of their names."""
    return tuple(sorted({path for given in monte_carlo.correlations for path in given.between}))


def check_correlations(record: Any) -> None:
    """Correlations are between distributions of the scenario, each pair once, and all possible together."""
    monte_carlo: MonteCarlo = record.monte_carlo
    if not monte_carlo.correlations:
        return
    known = uncertain(record)
    pairs: set[frozenset[str]] = set()
    for i, given in enumerate(monte_carlo.correlations):
        at = f"monte_carlo.correlations.{i}.between"
        for path in given.between:
            if path not in known:
                guess = nearest(path, known)
                allowed = ", ".join(sorted(known)) or "none, for all is known"
                hint = f"; did you mean {guess!r}?" if guess else f"; allowed: {allowed}"
                raise FieldError(at, f"{path!r} is no distribution that is drawn once a trial{hint}")
        if frozenset(given.between) in pairs:
            raise FieldError(at, f"found {' and '.join(given.between)} again; allowed: each pair once")
        pairs.add(frozenset(given.between))
    least = float(np.linalg.eigvalsh(normal_correlations(monte_carlo, correlated(monte_carlo)))[0])
    if least < _LEAST_EIGENVALUE:
        most = math.floor(95.0 / (1.0 - least)) / 100.0  # 1 + factor (least - 1) > 0, less what the sine bends
        raise FieldError("monte_carlo.correlations", "found ranks that numbers cannot have together (two that go with a third go "
                                                     f"with each other); allowed: such as all of them times {most:g}, or with "
                                                     "the missing pairs given")

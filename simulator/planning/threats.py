"""A fleet under attack: the same fleet, load and luck without it, with it, with each defence alone and with all of them.

What a trial draws (amplification, share, prices) is drawn once for all variants; honest requests, failures and what a defence
takes for hostile are the same in each, so that differences are those of the attack and the defence alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.chunks import Columns, columns_of
from simulator.montecarlo.sampling import Inputs
from simulator.montecarlo.serving import needed_replicas
from simulator.montecarlo.statistics import describe
from simulator.montecarlo.streams import stream
from simulator.planning.paired import Difference, paired_difference
from simulator.scenario.serving import Defences, ServingScenario
from simulator.serving.plan import plan_serving
from simulator.serving.threats import attacker_usd
from simulator.serving.trial import ServeResult, run_serve_trial

CALM, ATTACK, ALL, PEACE = "no attack", "attack", "all defences", "all, no attack"
Progress = Callable[[Columns, bool], None]
_HONEST = ("requests", "done", "rejected", "unfinished", "cut", "slo_share", "tokens", *(
    f"{kind}_p{q}_s" for kind in ("ttft", "tpot", "e2e") for q in (50, 99)))
_FLEET = ("energy_j", "cost_usd", "cost_idle_usd", "carbon_kg", "replicas_mean", "prefix_hit_rate", "evictions")
_MOST_SHARE, _MOST_TIMES = 0.9, 1000.0
_CLOSE = 0.05  # width of a breaking point's bracket, of itself


@dataclass(frozen=True)
class Variant:
    """The scenario with or without its attack, and with some of its defences."""

    name: str
    hostile: bool
    defences: Defences

    def of(self, scenario: ServingScenario) -> ServingScenario:
        """Return a scenario of this variant."""
        return scenario.model_copy(update={"attack": scenario.attack if self.hostile else None, "defences": self.defences})


def variants(scenario: ServingScenario) -> list[Variant]:
    """Return the variants of a scenario; raise UserError where it has no attack."""
    if scenario.attack is None:
        raise UserError("attack: found none; allowed: a section, such as {kind: long-output, share: 5 %, amplification: 20}")
    d = scenario.defences
    found = [Variant(CALM, False, Defences()), Variant(ATTACK, True, Defences())]
    found += [Variant(name.replace("_", " "), True, d.only(name)) for name in d.chosen]
    found += [Variant(ALL, True, d)] if len(d.chosen) > 1 else []
    return found + ([Variant(PEACE, False, d)] if d.chosen else [])


class ThreatStudy:
    """Results of all variants: arrays of shape (trials,) by variant and name; SI, names with units.

    Attributes
    ----------
    sizes : dict
        Smallest fleet that keeps the promises to honest users by variant, None where none does; empty where not asked for.
    """

    def __init__(self, scenario: ServingScenario, columns: dict[str, Columns]) -> None:
        self.scenario, self.columns = scenario, columns
        self.sizes: dict[str, int | None] = {}

    @cached_property
    def names(self) -> list[str]:
        """Variants in order."""
        return list(self.columns)

    def difference(self, name: str, variant: str, base: str) -> Difference:
        """Return a result of a variant less that of another, trial by trial."""
        return paired_difference(self.columns[variant][name], self.columns[base][name])

    def amplification(self, variant: str) -> dict[str, Any]:
        """Return the defender's extra dollars for each that the attacker spends; empty where it spends nothing."""
        spent, cost_usd = (self.columns[variant][name] for name in ("attacker_usd", "cost_usd"))
        extra = cost_usd - self.columns[CALM]["cost_usd"]
        return describe(extra / spent) if (spent > 0.0).all() else {}

    def summary(self) -> dict[str, Any]:
        """Return means, quantiles and paired differences, in SI, ready for JSON."""
        def changes(variant: str, base: str) -> dict[str, Any]:
            return {name: {"mean": found.mean, "interval": [found.low, found.high] if math.isfinite(found.low) else None}
                    for name in self.columns[variant]
                    if not math.isnan((found := self.difference(name, variant, base)).mean)}

        return {
            "name": self.scenario.name, "trials": self.scenario.monte_carlo.trials, "seed": self.scenario.monte_carlo.seed,
            "variants": {name: {
                "results": {key: describe(values) for key, values in self.columns[name].items()},
                "cost_amplification": self.amplification(name),
                "less_no_attack": changes(name, CALM) if name != CALM else {},
                "less_attack": changes(name, ATTACK) if name not in (CALM, ATTACK, PEACE) else {},
                **({"needed_replicas": self.sizes[name]} if name in self.sizes else {}),
            } for name in self.names},
        }


def run_threats(scenario: ServingScenario, progress: Progress | None = None) -> ThreatStudy:
    """Run all variants of a serving file with an attack, each with the same trials.

    Raises
    ------
    UserError
        No attack, or what `run_serve_study` raises.
    """
    chosen, inputs = variants(scenario), Inputs(scenario)
    rows: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in chosen}
    for trial in range(scenario.monte_carlo.trials):
        drawn = inputs.placed(scenario, inputs.draw(trial))
        for variant in chosen:
            rows[variant.name].append(_row(drawn, _served(variant.of(drawn), trial)))
            if progress is not None:
                progress({"trial": np.array([trial])}, True)
    return ThreatStudy(scenario, {name: columns_of(found) for name, found in rows.items()})


def _served(scenario: ServingScenario, trial: int) -> ServeResult:
    return run_serve_trial(plan_serving(scenario), partial(stream, scenario.monte_carlo.seed, trial))


def _row(scenario: ServingScenario, result: ServeResult) -> dict[str, float]:
    """Return what a variant gave in a trial: to honest users, of the fleet, to the attacker."""
    row = result.row
    hostile = {name: row.get(f"hostile {name}", 0.0) for name in ("requests", "rejected", "prompt_tokens", "tokens", "used_share",
                                                                  "cost_usd", "energy_j")}
    spent = attacker_usd(scenario, hostile["requests"], hostile["prompt_tokens"], hostile["tokens"])
    return {**{name: result.honest[name] for name in _HONEST}, **{name: row[name] for name in _FLEET},
            "cost_honest_usd": row["cost_usd"] - row["cost_idle_usd"] - hostile["cost_usd"],
            **{f"hostile_{name}": value for name, value in hostile.items()}, "attacker_usd": spent}


def size_threats(study: ThreatStudy) -> None:
    """Find the smallest fixed fleet of each variant that keeps its promises to honest users; see `needed_replicas`."""
    for variant in variants(study.scenario):
        try:
            study.sizes[variant.name] = needed_replicas(variant.of(study.scenario))[0]
        except UserError:
            study.sizes[variant.name] = None


@dataclass(frozen=True)
class Breaking:
    """Where honest users' promises break.

    Attributes
    ----------
    key : str
        "share" or "amplification" of the attack.
    low, high : float
        Kept at the first, broken at the second; `high` infinite where nothing that was tried breaks them, `low` NaN where they
        are broken without an attack.
    level : float
        Share of honest requests that should have both promises.
    """

    key: str
    low: float
    high: float
    level: float


def breaking_point(scenario: ServingScenario, key: str, level: float, defences: Defences | None = None,
                   progress: Progress | None = None) -> Breaking:
    """Return the hostile share, or amplification, at which fewer than `level` of honest requests have both promises.

    Bisection (of the odds of a share, of the logarithm of an amplification) over all trials with the same luck: hostile requests
    of a smaller share are among those of a larger one.

    Parameters
    ----------
    scenario : ServingScenario
        With an attack; all else about it stays.
    key : str
        "share" or "amplification".
    level : float
        From 0 to 1.
    defences : Defences, optional
        None: no defence.
    """
    guarded = scenario.model_copy(update={"defences": Defences() if defences is None else defences})

    def keeps(value: float | None) -> bool:
        met = came = 0.0
        inputs = Inputs(scenario)
        for trial in range(scenario.monte_carlo.trials):
            drawn = inputs.placed(guarded, inputs.draw(trial))
            assert drawn.attack is not None
            attack = None if value is None else drawn.attack.model_copy(update={key: value})
            honest = _served(drawn.model_copy(update={"attack": attack}), trial).honest
            met, came = met + honest["met"], came + honest["requests"]
            if progress is not None:
                progress({"trial": np.array([trial])}, True)
        return met >= level * came

    if scenario.attack is None:
        raise UserError("attack: found none; allowed: a section `attack`")
    if not keeps(None):
        return Breaking(key, math.nan, 0.0 if key == "share" else 1.0, level)
    to, back, most = (_odds, _share, _MOST_SHARE) if key == "share" else (math.log, math.exp, _MOST_TIMES)
    low, high = _bracket(keeps, key, most)
    while high < math.inf and back(to(high)) - low > _CLOSE * high:
        middle = back(0.5 * (to(low) + to(high)))
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return Breaking(key, low, high, level)


def _bracket(keeps: Callable[[float | None], bool], key: str, most: float) -> tuple[float, float]:
    """Return a value that keeps the promises and, twice as large, one that does not; infinity where the largest does."""
    least = 0.0 if key == "share" else 1.0
    low, high = least, 0.02 if key == "share" else 2.0
    while keeps(high):
        if high >= most:
            return high, math.inf
        low, high = high, min(most, 2.0 * high)
    return low, high


def _odds(share: float) -> float:
    return share / (1.0 - share)


def _share(odds: float) -> float:
    return odds / (1.0 + odds)

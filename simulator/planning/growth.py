"""Growth laws as a forecast from a year may know them, and their values in later years, a draw a trial.

A law without a reference has its level from what was known: with growth g, it is the mean of ln(value) - ln(g) x (year - y0) over
the anchors, and a value of a later year scatters about the trend as the anchors do: Student's t with n - 1 degrees of freedom and
the factor sqrt(1 + 1/n), the predictive distribution of a normal sample. Equations: docs/model.md, section "Growth".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from simulator import catalog
from simulator.accounting.capital import release_year
from simulator.catalog.growth import QUANTITIES, GrowthLaw
from simulator.catalog.records import AcceleratorRecord
from simulator.errors import UserError
from simulator.fields import Distribution
from simulator.montecarlo.streams import stream
from simulator.planning.frontier import FrontierRun, at_frontier, published_runs
from simulator.scenario.errors import explain
from simulator.scenario.reading import read_document

LEAST_ANCHORS = 3
_EDGE = 2.0**-54  # uniform numbers stay this far from 0 and 1, where some quantiles are infinite


class Anchors(NamedTuple):
    """What a level rests on: names, decimal years and values in SI, shape (n,)."""

    names: tuple[str, ...]
    years: np.ndarray
    values: np.ndarray


class Knowledge(NamedTuple):
    """What is known before a moment: laws and anchors by quantity. `hindsight` are quantities whose law was published later."""

    before: float
    laws: dict[str, GrowthLaw]
    anchors: dict[str, Anchors]
    hindsight: frozenset[str]


def read_laws(file: str) -> dict[str, GrowthLaw]:
    """Return the laws of a file by quantity; the format is that of `simulator/catalog/data/growth.yaml`.

    Raises
    ------
    UserError
        With file, line and key; also for two laws of one quantity.
    """
    document = read_document(file)
    laws: dict[str, GrowthLaw] = {}
    for name, entry in document.data.items():
        if name.startswith("_"):
            continue
        marks = {path[1:]: mark for path, mark in document.positions.items() if path[:1] == (name,)}
        try:
            law = GrowthLaw.model_validate({"name": name, **entry} if isinstance(entry, dict) else entry)
        except ValidationError as error:
            raise explain(error, marks, file, GrowthLaw) from None
        if law.quantity in laws:
            raise UserError(f"{file}: {name}: found a second law of {law.quantity}, after {laws[law.quantity].name!r}; "
                            "allowed: one a quantity")
        laws[law.quantity] = law
    return laws


def known_before(before: float, own: Mapping[str, GrowthLaw] | None = None,
                 runs: Sequence[FrontierRun] | None = None) -> Knowledge:
    """Return what is known before a moment: the latest laws, published runs, accelerators on sale.

    Parameters
    ----------
    before : float
        Decimal year; runs and accelerators count when they came earlier, laws when their year was over.
    own : mapping, optional
        Laws of the user by quantity, in place of the catalog's.
    runs : sequence of FrontierRun, optional
        In place of those that ship.
    """
    laws, hindsight = dict(own or {}), set()
    shelf = sorted((catalog.load("growth", name) for name in catalog.names("growth")), key=lambda law: law.published)
    for quantity in QUANTITIES:
        if quantity not in laws:
            found = [law for law in shelf if law.quantity == quantity]
            earlier = [law for law in found if law.published + 1 <= before]
            laws[quantity] = (earlier or found[:1])[-1]
        if laws[quantity].published + 1 > before:
            hindsight.add(quantity)
    earlier_runs = [run for run in (published_runs() if runs is None else runs) if run.year < before]
    anchors = {**_run_anchors(earlier_runs), **accelerator_anchors(before)}
    return Knowledge(before, laws, anchors, frozenset(hindsight))


def _run_anchors(runs: Sequence[FrontierRun]) -> dict[str, Anchors]:
    frontier = at_frontier(runs)
    timed = [(run, run.duration_s) for run in frontier if run.duration_s is not None]
    return {
        "compute": Anchors(tuple(run.name for run in frontier), np.array([run.year for run in frontier]),
                           np.array([run.flop for run in frontier])),
        "duration": Anchors(tuple(run.name for run, _ in timed), np.array([run.year for run, _ in timed]),
                            np.array([duration_s for _, duration_s in timed])),
    }


def accelerator_anchors(before: float = math.inf) -> dict[str, Anchors]:
    """Return price-performance, efficiency and peak of the catalog's accelerators released earlier, at 16 bits, dense."""
    records = [catalog.load("accelerators", name) for name in catalog.names("accelerators")]
    released = sorted(((release_year(a), a) for a in records if a.released or a.year), key=lambda pair: pair[0])

    def peak(a: AcceleratorRecord) -> float:
        return a.peak_flops.get("bf16", a.peak_flops.get("fp16", math.nan))

    measures = {"price_performance": lambda a: peak(a) / (a.price_usd or math.nan),
                "efficiency": lambda a: peak(a) / (a.tdp_w or math.nan), "peak": peak}
    found = {}
    for quantity, measure in measures.items():
        rows = [(a.name, year, measure(a)) for year, a in released if year < before and math.isfinite(measure(a))]
        found[quantity] = Anchors(tuple(name for name, _, _ in rows), np.array([year for _, year, _ in rows]),
                                  np.array([value for _, _, value in rows]))
    return found


def catalog_growth(anchors: Anchors) -> tuple[float, float, float]:
    """Return the growth a year of what anchors show, and its 95 % interval: Theil and Sen's slope of the logarithm.

    The median of the slopes of all pairs, which a few odd prices do not move (`scipy.stats.theilslopes`).
    """
    from scipy.stats import theilslopes

    slope, _, low, high = theilslopes(np.log(anchors.values), anchors.years, alpha=0.95)
    return math.exp(slope), math.exp(low), math.exp(high)


class Trends:
    """Draws growth laws and gives their values by year, an array of shape (trials,) each.

    A draw is a function of seed, quantity and number of the trial, whatever is asked for first, and whatever is known: forecasts
    from two years share their luck.

    Raises
    ------
    UserError
        A law has no reference, and fewer than three anchors are known.
    """

    def __init__(self, knowledge: Knowledge, trials: int, seed: int) -> None:
        self.knowledge, self.trials, self.seed = knowledge, trials, seed
        self._drawn: dict[tuple[str, str], np.ndarray] = {}

    def growth(self, quantity: str) -> np.ndarray:
        """Return the factor a year, shape (trials,)."""
        return self._value(quantity, "growth", self.knowledge.laws[quantity].growth)

    def value(self, quantity: str, year: float | np.ndarray) -> np.ndarray:
        """Return the value in a decimal year, SI, shape (trials,); without any level, over that at the moment of knowledge."""
        law = self.knowledge.laws[quantity]
        rate = np.log(self.growth(quantity))
        if law.reference is not None:
            level = self._value(quantity, "reference", law.reference)
            return level if law.year is None else level * np.exp(rate * (year - law.year))
        since = year - self.knowledge.before
        if not QUANTITIES[quantity].kind:
            return np.asarray(np.exp(rate * since))
        key = (quantity, "level")
        if key not in self._drawn:
            self._drawn[key] = self._level(quantity, rate)
        return np.asarray(np.exp(self._drawn[key] + rate * since))

    def _level(self, quantity: str, rate: np.ndarray) -> np.ndarray:
        """Return the logarithm of the value at the moment of knowledge: mean over anchors, and scatter; shape (trials,)."""
        from scipy.special import stdtrit

        anchors = self.knowledge.anchors[quantity]
        n = anchors.years.size
        if n < LEAST_ANCHORS:
            raise UserError(f"forecast: {quantity} is known of {n} {QUANTITIES[quantity].level} before "
                            f"{self.knowledge.before:.1f}, and {LEAST_ANCHORS} are needed; allowed: a later year, or a law "
                            "with a reference")
        residuals = np.log(anchors.values) - rate[:, None] * (anchors.years - self.knowledge.before)
        scatter = residuals.std(axis=1, ddof=1) * math.sqrt(1.0 + 1.0 / n)
        return residuals.mean(axis=1) + scatter * stdtrit(n - 1, self._uniform(quantity, "scatter"))

    def _value(self, quantity: str, part: str, written: Any) -> np.ndarray:
        if not isinstance(written, Distribution):
            return np.full(self.trials, float(written))
        key = (quantity, part)
        if key not in self._drawn:
            self._drawn[key] = written.quantile(self._uniform(quantity, part))
        return self._drawn[key]

    def _uniform(self, quantity: str, part: str) -> np.ndarray:
        u = stream(self.seed, 0, f"forecast {quantity} {part}").random(self.trials)
        return np.asarray(np.clip(u, _EDGE, 1.0 - _EDGE))

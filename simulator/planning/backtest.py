"""Published runs predicted from what was known before them: the test of the growth laws.

Two questions. "frontier": what does a frontier run of that date take, with nothing known of it? It tests all laws together. "its
FLOP": what does a run of that FLOP and length take? It tests those of hardware. No row is an anchor of its own prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from simulator.catalog.growth import GrowthLaw
from simulator.montecarlo.statistics import share_with_interval
from simulator.planning.forecast import run_at
from simulator.planning.frontier import FrontierRun, at_frontier, published_runs
from simulator.planning.growth import LEAST_ANCHORS, Trends, known_before

QUESTIONS = ("frontier", "its FLOP")
COMPARED = ("flop", "cost_usd", "rated_w", "energy_j", "carbon_kg")
_UNUSED = {"rent", "algorithms"}  # laws that nothing compared rests on


class Prediction(NamedTuple):
    """One published number against its prediction.

    `hindsight`: quantities whose law was published later than the run, as nothing earlier is in the catalog.
    """

    run: str
    year: float
    question: str
    quantity: str
    published: float
    p5: float
    p50: float
    p95: float
    remark: str
    hindsight: tuple[str, ...]

    @property
    def error(self) -> float:
        """Predicted median over published, less one."""
        return self.p50 / self.published - 1.0

    @property
    def inside(self) -> bool:
        """Whether the published number lies within the 90 % range."""
        return self.p5 <= self.published <= self.p95


def backtest(origin: int | None = None, *, trials: int = 10_000, seed: int = 1, own: Mapping[str, GrowthLaw] | None = None,
             runs: Sequence[FrontierRun] | None = None) -> list[Prediction]:
    """Return predictions of published runs.

    Parameters
    ----------
    origin : int, optional
        With what was known at its end, the runs after it. Absent: each run with what was known the moment before it.
    trials, seed : int
    own : mapping, optional
        Laws by quantity in place of the catalog's.
    runs : sequence of FrontierRun, optional
        In place of those that ship.
    """
    every = published_runs() if runs is None else tuple(runs)
    frontier = {run.name for run in at_frontier(every)}
    fixed = None if origin is None else Trends(known_before(origin + 1.0, own, every), trials, seed)
    found: list[Prediction] = []
    for run in every:
        if origin is not None and run.year < origin + 1.0:
            continue
        trends = fixed or Trends(known_before(run.year, own, every), trials, seed)
        if run.name in frontier and _anchored(trends, "compute", "duration"):
            found += _compared(run, QUESTIONS[0], run_at(trends, run.year), trends)
        if run.accelerator and _anchored(trends, "price_performance", "efficiency", "peak"):
            duration_s = None if run.duration_s is None else np.full(trials, run.duration_s)
            if duration_s is not None or _anchored(trends, "duration"):
                found += _compared(run, QUESTIONS[1], run_at(trends, run.year, np.full(trials, run.flop), duration_s), trends)
    return found


def _anchored(trends: Trends, *quantities: str) -> bool:
    known = trends.knowledge
    return all(known.laws[q].reference is not None or known.anchors[q].years.size >= LEAST_ANCHORS for q in quantities)


def _compared(run: FrontierRun, question: str, results: dict[str, np.ndarray], trends: Trends) -> list[Prediction]:
    rows = []
    for quantity in COMPARED:
        published = getattr(run, quantity)
        if published is None or (quantity == "flop" and question != QUESTIONS[0]):
            continue
        p5, p50, p95 = (float(q) for q in np.quantile(results[quantity], (0.05, 0.5, 0.95)))
        rows.append(Prediction(run.name, run.year, question, quantity, published, p5, p50, p95, run.remark,
                               tuple(sorted(trends.knowledge.hindsight - _UNUSED))))
    return rows


def error_summary(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return errors by question and quantity: rows, typical factor, bias, share within the 90 % range.

    `factor` is exp of the median of |ln(predicted / published)|, `bias` exp of the median of ln(predicted / published); the share
    has a 95 % interval, which knows nothing of rows of one date being alike.
    """
    lines = []
    for question in QUESTIONS:
        for quantity in (*COMPARED, "all"):
            mine = [p for p in predictions if p.question == question and quantity in (p.quantity, "all")]
            if mine:
                logs = np.log([p.p50 / p.published for p in mine])
                lines.append({"question": question, "quantity": quantity, "rows": len(mine),
                              "factor": float(np.exp(np.median(np.abs(logs)))), "bias": float(np.exp(np.median(logs))),
                              "within": share_with_interval(sum(p.inside for p in mine), len(mine))})
    return lines



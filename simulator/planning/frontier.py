"""Published training runs, and which of them were at the frontier: what growth laws are anchored to and tested against."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from importlib import resources
from typing import NamedTuple

from simulator.accounting.capital import decimal_year
from simulator.errors import UserError, unknown_name

DAY_S = 86400.0
# A run is at the frontier when it takes at least this share of the FLOP of the largest before it, so that the second and third of
# a generation count (Llama 3.1, Inflection-2) and copies of older ones do not (OPT, BLOOM).
FRONTIER_SHARE = 0.25


class FrontierRun(NamedTuple):
    """A published run; None where nothing is published.

    Attributes
    ----------
    year : float
        Of publication, decimal.
    flop : float
        Model FLOP, 6ND or as Epoch AI estimates it.
    cost_usd : float or None
        Amortised hardware and energy as Epoch AI estimates it, 2023 USD.
    rated_w : float or None
        Power of the facility with servers at their rated power, Epoch AI.
    """

    name: str
    year: float
    flop: float
    accelerator: str
    duration_s: float | None
    cost_usd: float | None
    energy_j: float | None
    rated_w: float | None
    carbon_kg: float | None
    remark: str
    source: str


def published_runs() -> tuple[FrontierRun, ...]:
    """Return the runs that ship with the project, by date (`simulator/planning/data/frontier.csv`)."""
    text = resources.files("simulator.planning").joinpath("data", "frontier.csv").read_text(encoding="utf-8")

    def known(text: str, unit: float) -> float | None:
        return float(text) * unit if text else None

    runs = [FrontierRun(row["run"], decimal_year(date.fromisoformat(row["published"])), float(row["flop"]), row["accelerator"],
                        known(row["days"], DAY_S), known(row["cost_usd"], 1.0), known(row["energy_mwh"], 3.6e9),
                        known(row["rated_mw"], 1e6), known(row["carbon_t"], 1e3), row["remark"], row["source"])
            for row in csv.DictReader(text.splitlines())]
    return tuple(sorted(runs, key=lambda run: run.year))


def at_frontier(runs: Sequence[FrontierRun]) -> tuple[FrontierRun, ...]:
    """Return the runs that were at the frontier when they were published; only what came before a run decides."""
    kept, largest = [], 0.0
    for run in sorted(runs, key=lambda run: run.year):
        if run.flop >= FRONTIER_SHARE * largest:
            kept.append(run)
        largest = max(largest, run.flop)
    return tuple(kept)


def run_named(name: str, runs: Sequence[FrontierRun]) -> FrontierRun:
    """Return a run by its name, upper and lower case alike; raise UserError with the nearest for an unknown one."""
    for run in runs:
        if run.name.lower() == name.lower():
            return run
    raise UserError(unknown_name("run", name, [run.name for run in runs]))

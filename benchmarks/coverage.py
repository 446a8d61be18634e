"""How often the 95 % intervals of P50 and P95 hold the truth.

`python -m benchmarks.coverage [SCENARIO] [STUDIES] [TRIALS] [TRUTH]`. The truth is the quantile of one large study; the
studies are others, each with a seed of its own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

import simulator
from benchmarks.cases import SCENARIOS
from simulator.montecarlo.statistics import interval_ranks, quantile_interval

COLUMNS, QUANTILES = ("time_s", "cost_usd", "energy_j"), (0.5, 0.95)


@dataclass(frozen=True)
class Coverage:
    """How many of the studies' intervals hold the truth, of a quantile of a column; and what the ranks promise."""

    column: str
    q: float
    held: int
    studies: int
    promised: float


def coverage(file: Path, studies: int, trials: int, truth: int, workers: int | None = None) -> list[Coverage]:
    """Run the large study and the small ones, and count."""
    large = simulator.run(file, trials=truth, seed=1_000_000, workers=workers)
    true = {(column, q): float(np.quantile(large.column(column), q)) for column in COLUMNS for q in QUANTILES}
    held = dict.fromkeys(true, 0)
    for seed in range(studies):
        study = simulator.run(file, trials=trials, seed=seed)
        for (column, q), value in true.items():
            low, high = quantile_interval(study.column(column), q)
            held[column, q] += low <= value <= high
    promised = {}
    for q in QUANTILES:
        low, high = interval_ranks(trials, q)
        promised[q] = float(binom.cdf(high - 1, trials, q) - binom.cdf(low - 1, trials, q))
    return [Coverage(column, q, count, studies, promised[q]) for (column, q), count in held.items()]


def main() -> None:
    """Count and print."""
    given = dict(enumerate(sys.argv[1:]))
    file = Path(given.get(0, SCENARIOS / "small-8gpu.yaml"))
    studies, trials, truth = (int(given.get(i, default)) for i, default in ((1, 200), (2, 200), (3, 100_000)))
    print(f"{file.stem}: {studies} studies of {trials} trials against one of {truth:,}")
    for found in coverage(file, studies, trials, truth):
        print(f"{found.column:<10} P{100 * found.q:g}: {found.held} of {found.studies} = {found.held / found.studies:.1%} "
              f"(ranks promise {found.promised:.1%})")


if __name__ == "__main__":
    main()

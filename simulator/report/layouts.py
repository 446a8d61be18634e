"""The ranking of layouts on the terminal and as JSON."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Group
from rich.text import Text

from simulator.performance.search import describe
from simulator.planning.layouts import Objective, Ranking
from simulator.report.tables import plain_table
from simulator.scenario import Scenario

_GIB = 2.0**30


def _shown(value: float, divisor: float = 1.0) -> str:
    return "unknown" if math.isnan(value) else f"{value / divisor:,.4g}"


def ranking_json(ranking: Ranking) -> dict[str, Any]:
    """Return the ranking in SI, ready for JSON; unknown values are null."""
    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    others = {name: None if math.isinf(value) else value for name, value in ranking.recomputing_s.items()}
    return {"legal": ranking.legal, "fitting": ranking.fitting, "best_step_time_s_recomputing": others, "layouts": [
        {"layout": c.layout.to_file(), "step_time_s": c.time_s, "energy_j": known(c.energy_j), "cost_usd": known(c.cost_usd),
         "memory_bytes": c.memory_bytes, "loses": c.loses} for c in ranking.choices]}


def ranking_view(scenario: Scenario, ranking: Ranking, by: Objective) -> Group:
    """Return the best layouts as a table, each with what makes it lose, and the best as a scenario file writes it."""
    best = ranking.choices[0]
    title = (f"{scenario.model.name} on {scenario.cluster.accelerators:,} x {scenario.cluster.accelerator.name}, best by {by}: "
             f"{ranking.legal:,} legal layouts, {ranking.fitting:,} fit in memory")
    table = plain_table(title, "", "TP", "PP", "v", "CP", "EP", "DP", "mb", "ZeRO", "step s", "", "kWh", "USD", "GiB")
    for i, c in enumerate(ranking.choices, start=1):
        lay = c.layout
        zero = f"{lay.zero}/{lay.shard}" if lay.shard else f"{lay.zero}"
        sizes = (lay.tensor, lay.pipeline, lay.virtual_pipeline, lay.context, lay.expert, lay.data, lay.microbatch)
        table.add_row(f"{i}", *(f"{n}" for n in sizes), zero, f"{c.time_s:.4g}", f"{c.time_s / best.time_s - 1.0:+.1%}",
                      _shown(c.energy_j, 3.6e6), _shown(c.cost_usd), f"{c.memory_bytes / _GIB:.1f}")
    reasons = [Text(f"{i}: {c.loses}") for i, c in enumerate(ranking.choices[1:], start=2)]
    others = ", ".join(
        f"{name}: nothing fits" if math.isinf(value) else f"{name}: {value:.4g} s ({value / best.time_s - 1.0:+.1%})"
        for name, value in ranking.recomputing_s.items())
    heading = [Text("\nWhy each loses to the first (share of the best step):", style="bold")] if reasons else []
    return Group(table, *heading, *reasons, Text(f"\nFastest with another recompute: {others}"),
                 Text(f"layout: {describe(best.layout)}"))

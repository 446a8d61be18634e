"""The section that sets several studies side by side."""

from __future__ import annotations

import numpy as np

from simulator.montecarlo.statistics import Z95
from simulator.report import plots
from simulator.report.document.model import Section, Table, small
from simulator.report.document.outcome import SHOWN
from simulator.report.document.summary import chance_text, ranged, result_of
from simulator.report.loading import SavedStudy
from simulator.report.style import name_of, unit_of


def comparison_section(studies: list[SavedStudy], names: list[str]) -> Section:
    """Return several studies side by side: results, differences to the first (pair by pair where they share luck)."""
    section = Section("Side by side")
    first = studies[0]
    for column in ("time_s", "cost_usd"):
        if all(result_of(study, column) for study in studies):
            said = "; ".join(f"{name}: {ranged(study, column)}" for name, study in zip(names, studies, strict=True))
            section.blocks.append(small(
                f"compare-{name_of(column).split()[-1]}", f"Chance to stay within a limit of {name_of(column)}.",
                f"Curves of {name_of(column)}, P50 (P5 to P95): {said}.", plots.overlay, studies, column, names))
    rows = [[name_of(column), *(ranged(study, column) for study in studies)] for column in SHOWN
            if any(result_of(study, column) for study in studies)]
    goals = sorted({name for study in studies for name in study.summary()["goals"]})
    rows += [[f"chance of the {goal}", *(chance_text(study.summary()["goals"][goal]) if goal in study.summary()["goals"] else "-"
                                         for study in studies)] for goal in goals]
    section.blocks.append(Table("Results: P50 (P5 to P95)", ("", *names), rows, frozenset(range(len(names) + 1))))
    for name, study in zip(names[1:], studies[1:], strict=True):
        section.blocks.append(_difference_table(first, study, names[0], name))
    return section


def paired(first: SavedStudy, other: SavedStudy) -> bool:
    """Return whether trials of two studies share their luck: the same seed, and the same numbers of trials."""
    return first.scenario.monte_carlo.seed == other.scenario.monte_carlo.seed and np.array_equal(first.column("trial"),
                                                                                               other.column("trial"))


def difference(first: SavedStudy, other: SavedStudy, column: str) -> tuple[float, float]:
    """Return the mean difference, other less first, and half its 95 % interval; pair by pair where they share their luck."""
    a, b = (np.asarray(study.column(column), dtype=float) for study in (first, other))
    if paired(first, other):
        error = float((b - a).std(ddof=1)) / np.sqrt(a.size) if a.size > 1 else np.inf
    else:
        error = float(np.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)) if min(a.size, b.size) > 1 else np.inf
    return float(b.mean() - a.mean()), Z95 * error


def _difference_table(first: SavedStudy, other: SavedStudy, name: str, other_name: str) -> Table:
    rows = []
    for column in SHOWN:
        if result_of(first, column) and result_of(other, column):
            mean, half = difference(first, other, column)
            base = result_of(first, column)["mean"]
            unit = unit_of(column, mean)
            rows.append([name_of(column), f"{mean / unit.factor:+,.4g} {unit.name}".strip(), f"± {half / unit.factor:,.2g}",
                         f"{100 * mean / base:+.2f} %" if base else "-"])
    how = "run by run with the same luck" if paired(first, other) else "of two studies with luck of their own"
    return Table(f"{other_name} less {name}: mean difference, {how}", ("", "difference", "95 % interval", "relative"), rows)


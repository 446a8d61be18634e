"""The section that sets several studies side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from simulator.planning.compare import Comparison, Rows, joined_comparison
from simulator.report import plots
from simulator.report.document.background import inputs
from simulator.report.document.model import Section, Table, small
from simulator.report.document.outcome import SHOWN
from simulator.report.document.summary import chance_text, ranged, result_of
from simulator.report.loading import SavedStudy
from simulator.report.style import digits, name_of, unit_of

_LONGEST = 120


def comparison_section(studies: Sequence[SavedStudy], names: Sequence[str]) -> Section:
    """Return results, differences to the first study (trial by trial where they share their luck), and inputs that differ."""
    section = Section("Side by side")
    for column in ("time_s", "cost_usd"):
        if all(result_of(study, column) for study in studies):
            said = "; ".join(f"{name}: {ranged(study, column)}" for name, study in zip(names, studies, strict=True))
            section.blocks.append(small(
                f"compare-{name_of(column).split()[-1]}", f"Chance to stay within a limit of {name_of(column)}.",
                f"Curves of {name_of(column)}, P50 (P5 to P95): {said}.", plots.overlay, studies, column, names))
    rows = [[name_of(column), *(ranged(study, column) for study in studies)] for column in SHOWN
            if any(result_of(study, column) for study in studies)]
    goals = sorted({name for study in studies for name in study.summary()["goals"]})
    rows += [[f"chance of the {goal}", *(_chance(study, goal) for study in studies)] for goal in goals]
    section.blocks.append(Table("Results: P50 (P5 to P95)", ("", *names), rows, frozenset(range(len(names) + 1))))
    found = joined_comparison([Rows(name, study.scenario, study.columns) for name, study in zip(names, studies, strict=True)])
    section.blocks += [_difference_table(found, which) for which in range(1, len(studies))]
    texts = [{one.path: one.text for one in inputs(study)} for study in studies]
    differ = [[one.path, *(text.get(one.path) or _text(value) for text, value in zip(texts, one.values, strict=True))]
              for one in found.inputs]
    if differ:
        section.blocks.append(Table("Inputs that differ", ("input", *names), differ, frozenset(range(len(names) + 1))))
    return section


def _chance(study: SavedStudy, goal: str) -> str:
    found = study.summary()["goals"].get(goal)
    return chance_text(found) if found else "not set"


def _text(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST - 1]}…"


def _difference_table(found: Comparison, which: int) -> Table:
    rows = []
    for column in (name for name in SHOWN if name in found.names):
        change = found.difference(column, which)
        if math.isfinite(change.mean):
            base = float(found.rows[0].columns[column].mean())
            unit = unit_of(column, change.mean)
            sign = "+" if change.mean > 0.0 else ""
            rows.append([name_of(column), f"{sign}{digits(change.mean / unit.factor)} {unit.name}".strip(),
                         f"± {digits(change.half / unit.factor, 2)}", f"{100 * change.mean / base:+.2f} %" if base else "-"])
    how = "trial by trial with the same luck" if found.paired[which] else "of two studies with luck of their own"
    title = f"{found.labels[which]} less {found.labels[0]}: mean difference, {how}"
    return Table(title, ("", "difference", "95 % interval", "relative"), rows)

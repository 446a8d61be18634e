"""The executive summary: sentences made of the study's numbers, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.tables import HEADLINE
from simulator.report.document.model import Items, Paragraph, Section, Table
from simulator.report.loading import SavedStudy
from simulator.report.plots.breakdown import Part, parts
from simulator.report.plots.drivers import drivers, values_text
from simulator.report.plots.outcomes import goal_of
from simulator.report.plots.validation import Checked
from simulator.report.style import amount, name_of, numbers, percent, unit_of

RESULTS = ("time_s", "cost_usd", "energy_j", "carbon_kg", "water_l")
_VERBS = {"time_s": "takes", "cost_usd": "costs", "energy_j": "draws", "carbon_kg": "emits", "water_l": "uses"}
_AFTER = {"energy_j": " at the meter", "water_l": " of water"}


def result_of(study: SavedStudy, column: str) -> dict[str, Any]:
    """Return what summary.json says of a result; empty where it is not known."""
    found: dict[str, Any] = study.summary()["results"].get(column) or {}
    return found


def ranged(study: SavedStudy, column: str) -> str:
    """Return P50 of a result with P5 to P95 behind it."""
    found = result_of(study, column)
    if not found:
        return "unknown"
    unit = unit_of(column, found["p50"])
    low, mid, high = numbers(*(found[q] / unit.factor for q in ("p5", "p50", "p95")))
    return f"{mid} {unit.name}".strip() + f" ({low} to {high})"


def known_parts(study: SavedStudy, total: str) -> list[Part]:
    """Return the categories of a total; none where it is not known."""
    try:
        return parts(study, total)
    except UserError:
        return []


def chance_text(chance: dict[str, float]) -> str:
    """Return a chance and its 95 % interval."""
    p, low, high = (100.0 * chance[key] for key in ("probability", "low", "high"))
    return f"{p:.3g} % (95 % interval {low:.3g} to {high:.3g} %)"


def summary_section(study: SavedStudy, checked: Checked) -> Section:
    """Return the answer, its range, its main drivers, and what is not known."""
    section = Section("Summary")
    section.blocks.append(Paragraph(_answer(study), strong=True))
    lines = [*_chances(study), _lost(study), _dominant(study), *_drivers(study)]
    section.blocks.append(Items([line for line in lines if line]))
    section.blocks.append(Table("The answer in numbers", ("", "P5", "P50", "P95"), headline_rows(study)))
    section.blocks.append(Paragraph(
        f"P50 is exceeded by half of the {len(study):,} simulated runs, P5 by 95 %, P95 by 5 %. Ranges hold what the scenario "
        "declares as not known, and the luck of a run; nothing else."))
    section.blocks.append(Items(_unknown(study, checked)))
    return section


def headline_rows(study: SavedStudy) -> list[list[str]]:
    """Return label, P5, P50 and P95 of the results people ask for first."""
    rows = []
    for column, *_ in HEADLINE:
        found = result_of(study, column)
        unit = unit_of(column, found["p50"]) if found else unit_of("", 0.0)
        cells = numbers(*(found[q] / unit.factor for q in ("p5", "p50", "p95"))) if found else ["unknown"] * 3
        rows.append([f"{name_of(column)}{f' ({unit.name})' if unit.name else ''}", *cells])
    return rows


def _answer(study: SavedStudy) -> str:
    said = [f"{_VERBS[column]} {ranged(study, column)}{_AFTER.get(column, '')}" for column in RESULTS[:4]
            if result_of(study, column)]
    run = f"{study.scenario.model.name} on {study.scenario.cluster.accelerators:,} {study.scenario.cluster.accelerator.name}"
    listed = f"{', '.join(said[:-1])}{' and ' if len(said) > 1 else ''}{said[-1]}"
    return f"{run}: the run {listed}. These are medians (P50), with P5 to P95 in brackets."


def _chances(study: SavedStudy) -> list[str]:
    lines = []
    for name, chance in study.summary()["goals"].items():
        column = {"deadline": "time_s", "budget": "cost_usd"}.get(name, "")
        goal = goal_of(study, column)
        if goal is not None:
            lines.append(f"The chance to meet the {name} of {amount(goal, column)} is {chance_text(chance)}.")
    if not lines:
        lines.append("No deadline and no budget is set, so no chance is given; set `goals: {deadline: ..., budget: ...}`.")
    elif len(lines) == 2:
        goals = study.scenario.goals
        both = float(((study.column("time_s") <= goals.deadline_s) & (study.column("cost_usd") <= goals.budget_usd)).mean())
        lines.append(f"Both are met in {percent(both)} of the runs.")
    return lines


def _lost(study: SavedStudy) -> str:
    found = known_parts(study, "time_s")
    productive = next((part for part in found if part.column == "time_productive_s"), None)
    rest = [part for part in found if part.column != "time_productive_s"]
    if productive is None:
        return ""
    said = ", ".join(f"{part.name} {percent(part.share)}" for part in rest[:3] if part.share >= 0.0005)
    rest_of_it = f"; the rest is first of all {said}." if said else "."
    return f"Of the mean wall time {100 * productive.share:.1f} % is productive{rest_of_it}"


def _dominant(study: SavedStudy) -> str:
    cost, energy = known_parts(study, "cost_usd"), known_parts(study, "energy_j")
    said = []
    if cost:
        said.append("Of the mean cost " + ", ".join(f"{percent(p.share)} is for {p.name}" for p in cost[:3] if p.share > 0.005))
    if energy:
        said.append("of the mean energy " + ", ".join(f"{percent(p.share)} is {p.name}" for p in energy[:3] if p.share > 0.005))
    return "; ".join(said) + "." if said else ""


def _drivers(study: SavedStudy) -> list[str]:
    """Return what drives cost and time: inputs by rank correlation, else the categories that vary."""
    lines = []
    for column in ("time_s", "cost_usd"):
        if not result_of(study, column):
            continue
        inputs = [driver for driver in drivers(study, column) if driver.drawn]
        called = name_of(column).capitalize()
        if inputs:
            low, high = values_text(study, inputs[0])
            first = inputs[0]
            others = ", ".join(f"{driver.name} ({driver.rank:+.2f})" for driver in inputs[1:3])
            lines.append(f"{called} follows {first.name} most (rank correlation {first.rank:+.2f}): it is "
                         f"{amount(first.low, column)} in the fifth of the runs in which that is lowest (mean {low}), "
                         f"{amount(first.high, column)} where it is highest (mean {high}){f'; then {others}' if others else ''}.")
            continue
        vary = sorted((p for p in known_parts(study, column) if p.of_spread > 0.02), key=lambda p: -p.of_spread)[:3]
        if vary:
            said = ", ".join(f"{percent(p.of_spread)} from {p.name}" for p in vary)
            lines.append(f"{called} varies by the luck of a run, not by an input: of its variance, {said}.")
    return lines


def _unknown(study: SavedStudy, checked: Checked) -> list[str]:
    """Return what the ranges do not hold."""
    drawn = study.scenario.uncertain()
    lines = [f"Drawn anew in each run: {', '.join(drawn)}." if drawn else
             "No input is declared as not known: all of the range is luck. Give a distribution for what is not known well."]
    size = np.abs(checked.errors)
    lines.append("The error of the step model is not in the ranges: " + (
        f"on {size.size} published step times of this hardware generation its mean is {size.mean():.1%}, its worst "
        f"{size.max():.1%}."
        if size.size else "no published step time of this hardware generation is at hand."))
    asked = [column for column in (*RESULTS, "water_site_l") if column in study.columns]
    unknown = [name_of(column) for column in asked if not result_of(study, column)]
    if unknown:
        lines.append(f"Not known for want of a value in the scenario or the catalog: {', '.join(unknown)}.")
    if study.interrupted:
        lines.append(f"The study was stopped after {len(study):,} of {study.summary().get('trials_asked', 0):,} runs.")
    found = result_of(study, "time_s")
    low, high = found.get("p95_interval", (math.nan, math.nan))
    unit = unit_of("time_s", found["p95"])
    ends = numbers(low / unit.factor, high / unit.factor)
    lines.append(f"With {len(study):,} runs, P95 of the wall time is known to lie between {ends[0]} and {ends[1]} {unit.name} "
                 "(95 % interval).")
    return lines

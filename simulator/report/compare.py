"""What `clustercost compare` shows: results side by side with their differences, chances, and the inputs that differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.planning.compare import RESULTS, Comparison
from simulator.planning.paired import Difference
from simulator.planning.wording import short
from simulator.report.style import SERIES, Unit, digits, in_style, label_of, name_of, percent, unit_of
from simulator.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN = ("time_s", "cost_usd")
_PAIRED = ("time_s", "cost_usd", "energy_j")  # of which the gain by pairing is told
_INPUTS = 40  # rows of the table of inputs


def compare_view(found: Comparison) -> Group:
    """Return the comparison as rich renderables."""
    parts: list[RenderableType] = [_results_table(found), Text(""), *(Text(line) for line in _chance_lines(found)),
                                   *(Text(line) for line in _pairing_lines(found)), Text(""), _inputs_view(found)]
    return Group(*parts)


def _results_table(found: Comparison) -> Table:
    """Return mean, P50 and P95 of each, and the difference to the first."""
    counts = sorted({row.columns["trial"].size for row in found.rows})
    trials = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    stopped = " (stopped before all were run)" if found.interrupted else ""
    title = f"{len(found.rows)} scenarios, {trials} trials{stopped}; mean difference to {found.labels[0]}, 95 %"
    table = plain_table(title, "", "mean", "P50", "P95", "difference", "relative", "lower")
    for heading in table.columns[1:]:
        heading.no_wrap = True
    for column in RESULTS:
        if column in found.names:
            _add_result(table, found, column)
    return table


def _add_result(table: Table, found: Comparison, column: str) -> None:
    """Add a result: a row for its name, a row a scenario."""
    values = [row.columns[column] for row in found.rows]
    unit = _unit(column, values)
    table.add_row(label_of(column, unit), style="bold")
    for i, (label, one) in enumerate(zip(found.labels, values, strict=True)):
        if np.isnan(one).any():
            table.add_row(f"  {label}", *["unknown"] * 3)
            continue
        shown = [digits(float(v) / unit.factor, 4) for v in (one.mean(), *np.quantile(one, (0.5, 0.95)))]
        table.add_row(f"  {label}", *shown, *(_difference_cells(found.difference(column, i), unit, values[0]) if i else ()))


def _difference_cells(one: Difference, unit: Unit, base: np.ndarray) -> tuple[str, str, str]:
    """Return the difference with its interval, relative to the mean of the base, and in which share of trials it is lower."""
    if math.isnan(one.mean):
        return ("unknown", "", "")
    size = float(base.mean())
    if one.mean == 0.0 and one.half == 0.0:
        return ("none", "", "")
    relative = f"{100.0 * one.mean / abs(size):+.3g} %" if size else ""
    return with_interval(one, unit), relative, percent(one.lower) if not math.isnan(one.lower) else ""


def with_interval(one: Difference, unit: Unit) -> str:
    """Return a difference and half its 95 % interval, such as "+50.80 ± 0.06"."""
    mean, half = one.mean / unit.factor, one.half / unit.factor
    if not math.isfinite(half):
        return f"{mean:+,.3g} ± ?"
    if half <= 1e-6 * abs(mean):
        return f"{mean:+,.4g}"
    decimals = min(6, max(0, 1 - math.floor(math.log10(half))))
    return f"{mean:+,.{decimals}f} ± {half:,.{decimals}f}"


def _unit(column: str, values: list[np.ndarray]) -> Unit:
    sizes = [float(np.abs(one).mean()) for one in values if not np.isnan(one).any()]
    return unit_of(column, max(sizes, default=0.0))


def _chance_lines(found: Comparison) -> list[str]:
    """Return the chances to meet goals, a line a scenario that has some."""
    lines = []
    for row, goals in zip(found.rows, found.goals(), strict=True):
        told = []
        for name, chance in goals.items():
            limit = row.scenario.goals.deadline_s if name == "deadline" else row.scenario.goals.budget_usd
            column = "time_s" if name == "deadline" else "cost_usd"
            unit = unit_of(column, limit or 0.0)
            told.append(f"{name} of {(limit or 0.0) / unit.factor:,.4g} {unit.name} {chance['probability']:.0%} "
                        f"({chance['low']:.0%} to {chance['high']:.0%})")
        if told:
            lines.append(f"Chance of {row.label} to meet its {', its '.join(told)}")
    return lines


def _pairing_lines(found: Comparison) -> list[str]:
    """Return what pairing is worth, a line a scenario."""
    lines = []
    for i, label in enumerate(found.labels):
        if i and not found.paired[i]:
            lines.append(f"{label} and {found.labels[0]} have different seeds or trials: not paired, intervals are Welch's")
        elif i and found.inputs:
            gains = [(name_of(column), found.difference(column, i).narrowing) for column in _PAIRED if column in found.names]
            told = [f"{name} {gain:,.3g}" for name, gain in gains if math.isfinite(gain)]
            if told:
                lines.append(f"Common luck narrows the intervals of {label} as so many times the trials would: {', '.join(told)}")
    return lines


def _inputs_view(found: Comparison) -> RenderableType:
    """Return the inputs that differ."""
    if not found.inputs:
        return Text("The scenarios have the same inputs.")
    table = plain_table("Inputs that differ", "", *found.labels)
    for column in table.columns[1:]:
        column.justify, column.overflow = "left", "fold"
    for one in found.inputs[:_INPUTS]:
        table.add_row(one.path, *map(short, one.values))
    if len(found.inputs) > _INPUTS:
        table.add_row(f"... and {len(found.inputs) - _INPUTS:,} more (--json)")
    return table


def compare_figure(found: Comparison) -> Figure:
    """Return the picture: time and cost of each side by side, and the differences trial by trial below."""
    from matplotlib.figure import Figure

    with in_style():
        drawn = [name for name in _DRAWN if not any(np.isnan(row.columns[name]).any() for row in found.rows)]
        count = len(found.rows)
        figure = Figure(figsize=(11.0, 2.6 + 0.62 * (2 * count - 1)), layout="constrained")
        axes = figure.subplots(2, len(drawn), squeeze=False, height_ratios=[count, count - 1])
        for column, (above, below) in zip(drawn, axes.T, strict=True):
            _distributions(above, found, column)
            _differences(below, found, column)
        figure.suptitle(f"{found.labels[0]} and {', '.join(found.labels[1:])}", fontsize=11)
    return figure


def _distributions(ax: Axes, found: Comparison, column: str) -> None:
    """Draw the distribution of a result in each scenario, with P5, P50 and P95."""
    unit = _unit(column, [row.columns[column] for row in found.rows])
    for i, row in enumerate(found.rows):
        _violin(ax, row.columns[column] / unit.factor, i, SERIES[i % len(SERIES)])
    _finish(ax, found.labels)
    ax.set_title(f"{name_of(column)}, line from P5 to P95, mark at P50")
    ax.set_xlabel(label_of(column, unit))


def _differences(ax: Axes, found: Comparison, column: str) -> None:
    """Draw the differences to the base, trial by trial, and the mean with its interval."""
    others = range(1, len(found.rows))
    unit = unit_of(column, max(abs(found.difference(column, i).mean) for i in others))
    for place, i in enumerate(others):
        one = found.difference(column, i)
        if found.paired[i]:
            _violin(ax, found.differences(column, i) / unit.factor, place, SERIES[i % len(SERIES)])
        if math.isfinite(one.half):
            ax.errorbar(one.mean / unit.factor, place - 0.32, xerr=one.half / unit.factor, fmt="o", ms=4, color="black",
                        capsize=3, lw=1.4)
    ax.axvline(0.0, color="#666666", lw=1.0, ls="--")
    labels = [label if found.paired[i] else f"{label}\n(not paired)" for i, label in enumerate(found.labels)][1:]
    _finish(ax, labels)
    ax.set_title("difference by trial (dot: mean, 95 %)")
    ax.set_xlabel(label_of(column, unit).replace(name_of(column), f"{name_of(column)} less that of {found.labels[0]}"))


def _violin(ax: Axes, values: np.ndarray, place: int, colour: str) -> None:
    """Draw a distribution as a band, with a line from P5 to P95 and a mark at P50."""
    if np.ptp(values) > 0.0:
        body: Any = ax.violinplot([values], [place], orientation="horizontal", widths=0.8, showextrema=False)["bodies"]
        for one in body:
            one.set(facecolor=colour, alpha=0.35, edgecolor="none")
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    ax.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="butt")
    ax.plot(middle, place, "|", color=colour, ms=14, mew=2.6)


def _finish(ax: Axes, labels: list[str]) -> None:
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.45, -0.6)
    ax.grid(axis="x")

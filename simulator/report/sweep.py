"""What `clustercost sweep` shows: a row a point, the best one marked, and for two axes a table of one by the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.planning.sweep import MORE_IS_BETTER, SweepResult
from simulator.planning.wording import short
from simulator.report.compare import with_interval
from simulator.report.style import Unit, digits, label_of, name_of, unit_of
from simulator.report.tables import plain_table

_MOST = 40  # points; of more, the best and the worst
_WORST = 5
_PIVOT = 12  # columns
_OTHERS = {"time_s": "time", "cost_usd": "cost", "energy_j": "energy"}
_PROBLEMS = 5


def sweep_view(found: SweepResult, column: str) -> Group:
    """Return the sweep as rich renderables; `column` is the result by which points are ranked."""
    parts: list[RenderableType] = [_title(found, column), _point_table(found, column)]
    if found.sweep.design == "grid" and len(found.sweep.axes) == 2 and len(found.sweep.axes[1].values) <= _PIVOT:
        first, second = (axis.path for axis in found.sweep.axes)
        parts += [Text(f"\nMean {label_of(column, unit_for(found, column))}: {first} by {second}", style="bold"),
                  _pivot_table(found, column)]
    best = found.best(column)
    parts += [Text(""), *(Text(line) for line in (_best_lines(found, column, best) if best is not None else
                                                  [f"{name_of(column)} is unknown at every point"]))]
    parts += [Text(line, style="dim") for line in _problem_lines(found)]
    return Group(*parts)


def unit_for(found: SweepResult, column: str) -> Unit:
    """Return the unit in which a result is shown at all points: that of its median."""
    middle = found.statistic(column)
    return unit_of(column, float(np.nanmedian(np.abs(middle))) if not np.isnan(middle).all() else 0.0)


def _title(found: SweepResult, column: str) -> Text:
    stopped = " (stopped before all were run)" if found.interrupted else ""
    text = (f"{found.scenario.name}: {len(found.sweep.points):,} points, {found.sweep.trials:,} trials each, seed "
            f"{found.scenario.monte_carlo.seed}{stopped}; {label_of(column, unit_for(found, column))}, P50 of the rest")
    return Text(text, style="bold")


def _point_table(found: SweepResult, column: str) -> Table:
    """Return a row a point: what was swept, the result by which points are ranked, the P50 of others, chances."""
    mean = found.statistic(column, "mean")
    order = _shown(mean, column)
    others = [name for name in _OTHERS if name != column and name in found.names and not np.isnan(found.statistic(name)).all()]
    unit, units = unit_for(found, column), {name: unit_for(found, name) for name in others}
    chances = [found.goals(point) for point in range(len(mean))]
    goals = [name for name in ("deadline", "budget") if any(name in chance for chance in chances)]
    paths = [axis.path for axis in found.sweep.axes]
    last = [path.rsplit(".", 1)[-1] for path in paths]
    table = plain_table("", "point", *(end if last.count(end) == 1 else path for path, end in zip(paths, last, strict=True)),
                        "mean", "P50", "P95", *(f"{_OTHERS[name]}\n({units[name].name})" for name in others), *goals, "")
    table.title = None
    for heading in table.columns[1 + len(paths):]:
        heading.no_wrap = True
    rows = {which: found.statistic(column, which) for which in ("p50", "p95")}
    best = found.best(column)
    for i in order:
        if i is None:
            table.add_row("...")
            continue
        cells = [digits(values[i] / unit.factor, 4) for values in (mean, *rows.values())]
        cells += [digits(found.statistic(name)[i] / units[name].factor, 4) for name in others]
        cells += [f"{chances[i][name]['probability']:.0%}" if name in chances[i] else "" for name in goals]
        table.add_row(str(i), *(short(found.sweep.points[i][path]) for path in paths),
                      *("-" if cell == "unknown" else cell for cell in cells), "best" if i == best else "",
                      style="bold" if i == best else None)
    return table


def _shown(mean: np.ndarray, column: str) -> list[int | None]:
    """Return the points to show: all in their order, or of many the best and the worst with a gap, None, between."""
    if mean.size <= _MOST:
        return list(range(mean.size))
    order = np.argsort(-mean if column in MORE_IS_BETTER else mean, kind="stable")  # NaN comes last
    order = order[: int(np.isfinite(mean).sum())]
    if order.size <= _MOST:
        return order.tolist()
    return [*order[: _MOST - _WORST].tolist(), None, *order[-_WORST:].tolist()]


def _pivot_table(found: SweepResult, column: str) -> Table:
    """Return the mean of a result: a row a value of the first axis, a column a value of the second."""
    first, second = found.sweep.axes
    unit, best = unit_for(found, column), found.best(column)
    mean = found.statistic(column, "mean").reshape(len(first.values), len(second.values)) / unit.factor
    table = plain_table("", "", *map(short, second.values))
    table.title = None
    for i, value in enumerate(first.values):
        cells = [Text("" if np.isnan(v) else digits(v, 4), style="bold reverse" if i * len(second.values) + j == best else "")
                 for j, v in enumerate(mean[i])]
        table.add_row(short(value), *cells)
    return table


def _best_lines(found: SweepResult, column: str, best: int) -> list[str]:
    """Return the best point, and which others its trials do not tell apart from it."""
    unit = unit_for(found, column)
    word = "most" if column in MORE_IS_BETTER else "least"
    point = ", ".join(f"{path} {short(value)}" for path, value in found.sweep.points[best].items())
    lines = [f"The {word} {name_of(column)}, {digits(found.statistic(column, 'mean')[best] / unit.factor, 4)} {unit.name} "
             f"on average: point {best}, {point}".replace("  ", " ")]
    apart = {i: found.difference(column, i, best) for i in range(len(found.sweep.points))
             if i != best and i not in found.problems and found.finished[i].any()}
    close = [i for i, one in apart.items() if not one.distinct]
    if close:
        shown = ", ".join(map(str, close[:10])) + (f" and {len(close) - 10} more" if len(close) > 10 else "")
        lines.append(f"With these trials not told apart from it (95 %): point{'s' * (len(close) > 1)} {shown}")
    elif apart:
        sign = -1.0 if column in MORE_IS_BETTER else 1.0
        nearest = min(apart, key=lambda i: sign * apart[i].mean)
        lines.append(f"Next is point {nearest}: {with_interval(apart[nearest], unit)} {unit.name} (same luck, 95 %)")
    return lines


def _problem_lines(found: SweepResult) -> list[str]:
    """Return why points have no result, points with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for point, message in sorted(found.problems.items()):
        reasons.setdefault(message.removeprefix(f"point {point}: "), []).append(str(point))
    lines = [f"No result at point{'s' * (len(points) > 1)} {', '.join(points[:_PROBLEMS])}"
             f"{f' and {len(points) - _PROBLEMS} more' if len(points) > _PROBLEMS else ''}: {message}"
             for message, points in [*reasons.items()][:_PROBLEMS]]
    more = len(reasons) - _PROBLEMS
    return [*lines, f"... and {more:,} reasons more (summary.csv has them)"] if more > 0 else lines


def sweep_json(found: SweepResult, column: str) -> dict[str, Any]:
    """Return the sweep for JSON: how it was made, a record a point (SI; unknown is None), the best one."""
    clean: Callable[[Any], Any] = lambda value: None if isinstance(value, float) and not math.isfinite(value) else value  # noqa: E731
    points = [{name: clean(value) for name, value in row.items()} for row in found.summary().to_dict("records")]
    return {"name": found.scenario.name, "design": found.sweep.design, "over": [axis.to_file() for axis in found.sweep.axes],
            "trials": found.sweep.trials, "seed": found.scenario.monte_carlo.seed, "interrupted": found.interrupted,
            "column": column, "best": found.best(column), "points": points}

"""Pictures of a sweep: lines with their bands, heat maps with their numbers, a panel an axis for a Latin hypercube."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import UserError
from simulator.planning.axes import Axis
from simulator.planning.sweep import Sweep, SweepResult
from simulator.planning.wording import short
from simulator.report.style import BLUE, INK, LINES, SERIES, digits, in_style, label_of, name_of
from simulator.report.sweep import unit_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_DRAWN = ("cost_usd", "time_s", "energy_j")
_MAPS = 9  # small multiples
_PANELS = 6  # of a Latin hypercube
_LINES = 8
_BANDS = 4  # lines, above which bands would hide each other
_CELLS = 400  # of a heat map, above which it has no numbers
_LOG = 1.02  # ratios of neighbouring values within 2 % are spaced by ratio


def check_axes(sweep: Sweep) -> None:
    """Raise UserError for a sweep of which no picture is drawn, before it runs."""
    count = len(sweep.axes)
    if sweep.design == "latin-hypercube" and count > _PANELS:
        raise UserError(f"--plot: found {count} axes; allowed: at most {_PANELS} with a Latin hypercube")
    if sweep.design == "grid" and count > 3:
        raise UserError(f"--plot: found a grid of {count} axes; allowed: at most 3, or --design latin-hypercube")
    if sweep.design == "grid" and count == 3 and len(sweep.axes[2].values) > _MAPS:
        raise UserError(f"--plot: found {len(sweep.axes[2].values)} values of the third axis {sweep.axes[2].path}; allowed: at "
                        f"most {_MAPS}, each of which has a map of its own")


def sweep_figure(found: SweepResult, column: str) -> Figure:
    """Return the picture that fits design and axes."""
    check_axes(found.sweep)
    with in_style():
        if found.sweep.design == "latin-hypercube":
            figure = _scattered(found, column)
        elif found.sweep.design == "zip" or len(found.sweep.axes) == 1:
            figure = _one_axis(found, column)
        elif len(found.sweep.axes) == 2:
            figure = _two_axes(found, column)
        else:
            figure = _three_axes(found, column)
        figure.suptitle(f"{found.scenario.name}: {found.sweep.trials:,} trials a point, the same luck in all", fontsize=11)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _one_axis(found: SweepResult, column: str) -> Figure:
    """Draw a panel a result: P50 with the band from P5 to P95 along the first axis."""
    drawn = [name for name in dict.fromkeys((column, *_DRAWN))
             if name in found.names and not np.isnan(found.statistic(name)).all()]
    rows = max(1, -(-len(drawn) // 2))
    figure = _figure(5.5 if len(drawn) < 2 else 9.6, 0.4 + 3.4 * rows)
    axis = found.sweep.axes[0]
    values = [point[axis.path] for point in found.sweep.points]
    panels = figure.subplots(rows, min(2, max(1, len(drawn))), squeeze=False).ravel()
    for ax in panels[len(drawn):]:
        ax.set_axis_off()
    for ax, name in zip(panels, drawn, strict=False):
        _line(ax, found, name, axis, list(range(len(values))), BLUE, "-")
        _along(ax, axis, values)
        unit = unit_for(found, name)
        ax.set_ylabel(label_of(name, unit))
        ax.set_title(f"{name_of(name)}, P5 to P95")
        if len(found.sweep.axes) > 1:
            ax.set_xlabel(f"{axis.path} (with {', '.join(other.path for other in found.sweep.axes[1:])})")
    return figure


def _line(ax: Axes, found: SweepResult, column: str, axis: Axis, points: list[int], colour: str, style: str, label: str = "", *,
          band: bool = True) -> None:
    """Draw P50 of points along an axis and the band from P5 to P95; names, between which there is nothing, get a bar each."""
    unit = unit_for(found, column)
    low, middle, high = (found.statistic(column, which)[points] / unit.factor for which in ("p5", "p50", "p95"))
    x = _places(axis, [found.sweep.points[i][axis.path] for i in points])
    if not _numeric(axis):
        ax.errorbar(x, middle, yerr=[middle - low, high - middle] if band else None, fmt="o", color=colour, capsize=3, ms=5,
                    label=label or None)
        return
    order = np.argsort(x)
    if band:
        ax.fill_between(x[order], low[order], high[order], color=colour, alpha=0.16, lw=0)
    ax.plot(x[order], middle[order], style, color=colour, marker="o", ms=4, label=label or None)


def _numeric(axis: Axis) -> bool:
    return axis.continuous or all(axis.number(value) is not None for value in axis.values)


def _places(axis: Axis, values: list[object]) -> np.ndarray:
    """Return where values stand along an axis: numbers at their size (in the unit they are written in), others in their order."""
    numbers = [axis.number(value) for value in values]
    if all(number is not None for number in numbers):
        return np.array(numbers, dtype=float)
    listed = list(axis.values)
    return np.array([float(listed.index(value)) for value in values])


def _along(ax: Axes, axis: Axis, values: list[object]) -> None:
    """Scale, mark and name an axis of a plot by what is swept: by ratio where the values are so spaced."""
    places = np.unique(_places(axis, values))
    named = {float(place): short(value) for place, value in zip(_places(axis, values), values, strict=True)}
    if _by_ratio(axis, places):
        ax.set_xscale("log")
    shown = places if places.size <= _LINES else places[:: -(-places.size // _LINES)]
    long = max((len(named[float(place)]) for place in shown), default=0) > 60 // max(1, shown.size)
    ax.set_xticks(shown, [named[float(place)] for place in shown], rotation=25 if long else 0, ha="right" if long else "center")
    ax.set_xticks([], minor=True)
    if not _numeric(axis) and places.size > 1:
        ax.set_xlim(places[0] - 0.5, places[-1] + 0.5)
    ax.set_xlabel(axis.path)
    ax.grid(True)


def _by_ratio(axis: Axis, places: np.ndarray) -> bool:
    if axis.log:
        return True
    if places.size < 3 or places[0] <= 0.0 or axis.number(axis.at(0.0)) is None:
        return False
    ratios = places[1:] / places[:-1]
    return bool(ratios.max() / ratios.min() < _LOG and ratios.mean() > 1.2) or bool(places[-1] / places[0] > 50.0)


def _two_axes(found: SweepResult, column: str) -> Figure:
    """Draw a heat map of the mean with its numbers, and beside it lines along the axis of more numbers."""
    first, second = found.sweep.axes
    figure = _figure(13.0, max(4.2, 1.6 + 0.42 * len(first.values)))
    left, right = figure.subplots(1, 2)
    mean = found.statistic(column, "mean").reshape(len(first.values), len(second.values))
    _heat_map(figure, left, found, column, mean, (first, second), bar=True)
    along, across = sorted((first, second), key=lambda axis: (not _numeric(axis), -len(axis.values)))
    shown = across.values[:: -(-len(across.values) // _LINES)]
    for j, value in enumerate(shown):
        points = [i for i, point in enumerate(found.sweep.points) if point[across.path] == value]
        _line(right, found, column, along, points, SERIES[j % len(SERIES)], LINES[j // len(SERIES) % len(LINES)],
              f"{across.path} {short(value)}", band=len(shown) <= _BANDS)
    _along(right, along, list(along.values))
    right.set_ylabel(label_of(column, unit_for(found, column)))
    right.set_title(f"{name_of(column)}, P50{' and P5 to P95' if len(shown) <= _BANDS else ''}")
    right.legend(loc="best")
    return figure


def _three_axes(found: SweepResult, column: str) -> Figure:
    """Draw a heat map a value of the third axis, all in the same colours."""
    first, second, third = found.sweep.axes
    across = min(3, len(third.values))
    down = -(-len(third.values) // across)
    figure = _figure(4.6 * across + 0.8, max(3.4, 1.4 + 0.42 * len(first.values)) * down)
    mean = found.statistic(column, "mean").reshape(len(first.values), len(second.values), len(third.values))
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for k, ax in enumerate(axes):
        if k < len(third.values):
            _heat_map(figure, ax, found, column, mean[:, :, k], (first, second), bar=k == 0, all_axes=list(axes), whole=mean)
            ax.set_title(f"{third.path} {short(third.values[k])}")
        else:
            ax.set_axis_off()
    return figure


def _heat_map(figure: Figure | SubFigure, ax: Axes, found: SweepResult, column: str, mean: np.ndarray, axes: tuple[Axis, Axis], *,
              bar: bool, all_axes: list[Axes] | None = None, whole: np.ndarray | None = None) -> None:
    """Draw a result by two axes, rows the first; cells that cannot run are left white."""
    unit = unit_for(found, column)
    shown = np.ma.masked_invalid(mean / unit.factor)
    scale = np.ma.masked_invalid((mean if whole is None else whole) / unit.factor)
    image = ax.imshow(shown, cmap="cividis", aspect="auto", vmin=scale.min(), vmax=scale.max())
    first, second = axes
    for set_ticks, set_label, axis in ((ax.set_xticks, ax.set_xlabel, second), (ax.set_yticks, ax.set_ylabel, first)):
        step = -(-len(axis.values) // 20)
        set_ticks(range(0, len(axis.values), step), [short(value) for value in axis.values[::step]])
        set_label(axis.path)
    if max(len(short(value)) for value in second.values) * len(second.values) > 60:
        ax.tick_params(axis="x", rotation=25)
    ax.spines[:].set_visible(False)
    ax.set_title(f"mean {label_of(column, unit)}")
    if mean.size <= _CELLS:
        middle = (float(scale.min()) + float(scale.max())) / 2.0
        best = found.best(column)
        least = float(found.statistic(column, "mean")[best]) if best is not None else np.nan
        for (i, j), value in np.ndenumerate(mean):
            dark = value / unit.factor < middle
            text = "no\nresult" if np.isnan(value) else digits(value / unit.factor, 3)
            ax.text(j, i, text, ha="center", va="center", fontsize=8.5, color=INK if np.isnan(value) or not dark else "white",
                    fontweight="bold" if value == least else "normal")
    if bar:
        figure.colorbar(image, ax=all_axes or ax, label=label_of(column, unit), shrink=0.9, pad=0.02)


def _scattered(found: SweepResult, column: str) -> Figure:
    """Draw a panel an axis: P50 of each point with its line from P5 to P95."""
    axes = found.sweep.axes
    across = min(3, len(axes))
    down = -(-len(axes) // across)
    figure = _figure(4.4 * across + 0.4, 3.6 * down + 0.4)
    unit = unit_for(found, column)
    low, middle, high = (found.statistic(column, which) / unit.factor for which in ("p5", "p50", "p95"))
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for i, ax in enumerate(panels):
        if i >= len(axes):
            ax.set_axis_off()
            continue
        axis = axes[i]
        x = _places(axis, [point[axis.path] for point in found.sweep.points])
        ax.vlines(x, low, high, color=BLUE, alpha=0.3, lw=1.0)
        ax.plot(x, middle, "o", color=BLUE, ms=4)
        _range_ticks(ax, axis)
        ax.set_title(axis.path)
        if i % across == 0:
            ax.set_ylabel(f"{label_of(column, unit)}, P5, P50, P95")
    return figure


def _range_ticks(ax: Axes, axis: Axis) -> None:
    """Mark an axis of a plot at five places of a range, or at each value of a list."""
    if axis.values:
        _along(ax, axis, list(axis.values))
        return
    if axis.log:
        ax.set_xscale("log")
    values = [axis.at(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    ax.set_xticks(_places(axis, list(values)), [_rounded(value) for value in values])
    ax.set_xticks([], minor=True)
    ax.grid(True)


def _rounded(value: object) -> str:
    """Return a value between the ends of a range with three figures."""
    number, _, unit = str(value).partition(" ")
    return f"{digits(float(number), 3)} {unit}".rstrip()

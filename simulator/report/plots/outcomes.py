"""What a run may come to: distributions, the chance to be done by a date or within a budget, both together, several studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.statistics import Z95
from simulator.report.style import BLUE, INK, LINES, PALE, RED, SERIES, SMALL, amount, label_of, plain, styled, unit_of, varies

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.montecarlo import Study

QUANTILES = (0.05, 0.5, 0.95)
GOALS = {"time_s": "deadline", "cost_usd": "budget"}
_BINS, _POINTS, _SQUARES = 45, 400, 24


def known(study: Study, column: str) -> np.ndarray:
    """Return a column of which all values are known, shape (trials,); raise UserError otherwise."""
    from simulator.errors import unknown_name

    if column not in study.columns or column == "trial":
        raise UserError(unknown_name("column", column, set(study.columns) - {"trial"}))
    values = np.asarray(study.column(column), dtype=float)
    if np.isnan(values).any():
        raise UserError(f"{column} is unknown in this scenario; allowed: a column that is known")
    return values


def goal_of(study: Study, column: str) -> float | None:
    """Return the deadline (s) or the budget (USD) where the column has one."""
    goals = study.scenario.goals
    return {"time_s": goals.deadline_s, "cost_usd": goals.budget_usd}.get(column)


@styled()
def distribution(study: Study, column: str = "time_s", *, ax: Axes | None = None) -> Axes:
    """Draw the distribution of a result over trials, with P5, P50 and P95, and the goal that it has.

    Of more than 2,000 trials, the one in a thousand that is lowest or highest is not shown.

    Parameters
    ----------
    study : Study
    column : str
        A column of the trials.
    ax : Axes, optional

    Raises
    ------
    UserError
        No such column, or its values are not known.
    """
    assert ax is not None
    values = known(study, column)
    unit = unit_of(column, float(np.median(values)))
    goal = goal_of(study, column)
    low, high = np.quantile(values, (0.001, 0.999)) if values.size > 2000 else (values.min(), values.max())
    same = not varies(values)
    if same:
        low, high = values[0] - 0.01 * abs(values[0]) - 1e-9, values[0] + 0.01 * abs(values[0]) + 1e-9
    bins = np.linspace(low, high, min(_BINS, max(8, round(values.size**0.5))) + 1)
    counts, edges = np.histogram(values, bins)
    ax.stairs(100.0 * counts / values.size, edges / unit.factor, fill=True, color=PALE)
    ax.stairs(100.0 * counts / values.size, edges / unit.factor, color=BLUE, linewidth=1.2)
    top = 1.1 * ax.get_ylim()[1]
    for q, style, side in zip(QUANTILES, (":", "-", ":"), (-1, 1, -1), strict=True):
        if same and q != 0.5:
            continue
        at = float(np.quantile(values, q)) / unit.factor
        ax.axvline(at, color=INK, linewidth=1.2, linestyle=style)
        ax.annotate(f"P{100 * q:.0f}", (at, top), xytext=(3 * side, -1), textcoords="offset points", va="top", fontsize=9,
                    ha="left" if side > 0 else "right")
    if goal is not None and low - (high - low) <= goal <= high + (high - low):
        ax.axvline(goal / unit.factor, color=RED, linewidth=1.6, linestyle="--")
        ax.annotate(GOALS[column], (goal / unit.factor, 0.55 * top), xytext=(-3, 0), textcoords="offset points", va="center",
                    ha="right", fontsize=9, color=RED, rotation=90)
    ax.set_ylim(0.0, top)
    ax.set_xlabel(label_of(column, unit))
    ax.set_ylabel("trials (%)")
    ax.set_title(f"P50 {amount(float(np.median(values)), column)}")
    return ax


@styled()
def chance(study: Study, column: str = "time_s", *, ax: Axes | None = None) -> Axes:
    """Draw the chance that a run is done within a time, or a cost or energy: the share of trials below, and its 95 % band.

    The band is Wilson's interval of each share (Wilson, JASA 22, 1927). Parameters and errors as for `distribution`.
    """
    assert ax is not None
    values = np.sort(known(study, column))
    unit, n = unit_of(column, float(np.median(values))), values.size
    goal = goal_of(study, column)
    room = 0.08 * (values[-1] - values[0]) if varies(values) else 0.01 * abs(values[0]) or 1.0
    at = np.linspace(values[0] - room, values[-1] + room, _POINTS)
    if goal is not None and values[0] - 12 * room <= goal <= values[-1] + 12 * room:
        at = np.linspace(min(at[0], goal - room), max(at[-1], goal + room), _POINTS)
    share = np.searchsorted(values, at, side="right") / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    ax.fill_between(at / unit.factor, 100 * np.maximum(centre - half, 0.0), 100 * np.minimum(centre + half, 1.0), color=PALE,
                    linewidth=0.0)
    ax.plot(at / unit.factor, 100.0 * share, color=BLUE)
    if goal is not None and at[0] <= goal <= at[-1]:
        met = 100.0 * float((values <= goal).mean())
        ax.plot([goal / unit.factor] * 2, [0.0, met], color=RED, linestyle="--", linewidth=1.4)
        ax.plot([goal / unit.factor], [met], "o", color=RED, markersize=6)
        left = goal > 0.5 * (at[0] + at[-1])
        beside: dict[str, Any] = {"va": "top", "ha": "right" if left else "left", "xytext": (-8 if left else 8, -4)}
        ax.annotate(f"{GOALS[column]}: {met:.3g} %", (goal / unit.factor, max(met, 10.0)), textcoords="offset points", color=RED,
                    fontsize=9.5, **beside)
    ax.set_ylim(0.0, 103.0)
    ax.set_xlim(at[0] / unit.factor, at[-1] / unit.factor)
    ax.grid(visible=True)
    ax.set_xlabel(label_of(column, unit))
    ax.set_ylabel("chance to stay within (%)")
    ax.set_title("Chance to be done by then" if column == "time_s" else "Chance to stay within")
    return ax


@styled(size=(5.3, 4.0))
def goals_map(study: Study, across: str = "time_s", up: str = "cost_usd", *, ax: Axes | None = None) -> Axes:
    """Draw a heat map of the chance to stay within two limits at once, such as a deadline and a budget.

    Parameters and errors as for `distribution`; `across` and `up` are the columns of the axes.
    """
    assert ax is not None
    x, y = known(study, across), known(study, up)
    units = unit_of(across, float(np.median(x))), unit_of(up, float(np.median(y)))
    limits = [np.linspace(*_span(values), _SQUARES) for values in (x, y)]
    counts = np.histogram2d(x, y, bins=[np.concatenate(([-np.inf], edge)) for edge in limits])[0]
    share = 100.0 * counts.cumsum(axis=0).cumsum(axis=1) / x.size
    drawn = ax.pcolormesh(limits[0] / units[0].factor, limits[1] / units[1].factor, share.T, cmap="cividis", vmin=0.0,
                          vmax=100.0, shading="nearest", rasterized=True)
    if share.max() > share.min():
        lines = ax.contour(limits[0] / units[0].factor, limits[1] / units[1].factor, share.T, levels=[20.0, 50.0, 80.0, 95.0],
                           colors="white", linewidths=1.0)
        ax.clabel(lines, fmt="%g %%", fontsize=8.5)
    for column, value, unit, line in ((across, goal_of(study, across), units[0], ax.axvline),
                                      (up, goal_of(study, up), units[1], ax.axhline)):
        edges = limits[0] if column == across else limits[1]
        if value is not None and edges[0] <= value <= edges[-1]:
            line(value / unit.factor, color="white", linestyle="--", linewidth=1.4)
    ax.figure.colorbar(drawn, ax=ax, label="chance (%)")
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel(f"limit: {label_of(across, units[0])}")
    ax.set_ylabel(f"limit: {label_of(up, units[1])}")
    ax.set_title("Chance to keep both limits")
    return ax


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(np.quantile(values, 0.995))
    return (low, high) if varies(np.array([low, high])) else (low - 0.01 * abs(low) - 1e-9, high + 0.01 * abs(high) + 1e-9)


@styled()
def overlay(studies: Sequence[Study], column: str = "time_s", names: Sequence[str] = (), *, ax: Axes | None = None) -> Axes:
    """Draw the chance curves of several studies, at most as many as there are colours.

    Parameters
    ----------
    studies : sequence of Study
    column : str
        A column that all of them have.
    names : sequence of str
        Of the studies; default: their scenarios'.
    ax : Axes, optional
    """
    assert ax is not None
    shown = list(studies)[:len(SERIES)]
    unit = unit_of(column, float(np.median(known(shown[0], column))))
    for i, study in enumerate(shown):
        values = np.sort(known(study, column)) / unit.factor
        share = 100.0 * np.arange(1, values.size + 1) / values.size
        every = max(1, values.size // _POINTS)
        name = names[i] if i < len(names) else study.scenario.name
        ax.plot(values[::every], share[::every], color=SERIES[i], linestyle=LINES[i % len(LINES)],
                label=plain(name, 34))
    ax.set_ylim(0.0, 103.0)
    ax.grid(visible=True)
    ax.set_xlabel(label_of(column, unit))
    ax.set_ylabel("chance to stay within (%)")
    ax.legend(loc="best")
    ax.set_title("Side by side")
    return ax


__all__ = ["GOALS", "QUANTILES", "SMALL", "chance", "distribution", "goal_of", "goals_map", "known", "overlay"]

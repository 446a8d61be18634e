"""The picture of convergence: estimates and their 95 % intervals against the number of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.convergence import Target, parse_target
from simulator.montecarlo.results import Results
from simulator.montecarlo.statistics import estimate_with_interval
from simulator.montecarlo.tables import HEADLINE
from simulator.scenario import QueueScenario, Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DEFAULT = ("time_s p50 1%", "time_s p95 1%", "cost_usd p50 1%", "cost_usd p95 1%")
_POINTS = 60
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_WIDTH, _HEIGHT = 9.0, 3.4  # inches; height of a panel


def convergence_figure(study: Results[Scenario] | Results[QueueScenario]) -> Figure:
    """Return the picture: a panel a column, a curve with its band a statistic; what was asked is drawn where it was.

    The first trials are shown from the number on at which there is an interval. Raises UserError where no column is known.
    """
    from matplotlib.figure import Figure

    asked = [Target(found["column"], found["statistic"], found["asked"]) for found in study.convergence]
    targets = asked or [t for t in map(parse_target, _DEFAULT) if t.column in study.columns]
    panels: dict[str, list[Target]] = {}
    for target in targets:
        if not np.isnan(study.column(target.column)).any():
            panels.setdefault(target.column, []).append(target)
    if not panels:
        raise UserError("--convergence: no result of this study is known; allowed: with --until, a column that is")
    figure = Figure(figsize=(_WIDTH, 0.6 + _HEIGHT * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (column, found) in zip(axes, panels.items(), strict=True):
        panel(ax, column, study.column(column), found, asked=bool(asked))
    axes[-1].set_xlabel("trials")
    dotted = " (dotted: the width asked for)" if asked else ""
    figure.suptitle(f"{study.scenario.name}: estimates and their 95 % intervals{dotted}", fontsize=11)
    return figure


def panel(ax: Axes, column: str, values: np.ndarray, targets: list[Target], *, asked: bool) -> None:
    """Draw the statistics of one column."""
    label, divisor = next(((label, divisor) for name, label, divisor, _ in HEADLINE if name == column), (column, 1.0))
    least = min(10, values.size)
    at = np.unique(np.geomspace(least, values.size, _POINTS).round().astype(int))
    seen: list[float] = []
    for target, colour in zip(targets, _COLOURS * len(targets), strict=False):
        curve = np.array([estimate_with_interval(values[:n], target.q) for n in at]) / divisor
        centre, low, high = curve.T
        shown = np.isfinite(low) & np.isfinite(high)
        half = (high[-1] - low[-1]) / 2.0 / abs(centre[-1]) if shown[-1] and centre[-1] else np.nan
        name = target.statistic if target.q is None else target.statistic.upper()
        reach = f" ± {half:.2g}".replace("nan", "?") if np.isnan(half) else f" ± {100 * half:.2g} %"
        wanted = f" (asked: {100 * target.relative:g} %)" if asked else ""
        ax.plot(at, centre, color=colour, lw=1.6, label=f"{name}{reach}{wanted}")
        ax.fill_between(at[shown], low[shown], high[shown], color=colour, alpha=0.18, lw=0)
        later = shown & (at >= np.sqrt(float(at[0]) * at[-1]))  # first intervals may be far wider than what matters
        seen += [*centre, *low[later], *high[later]]
        if asked:
            for sign in (-1.0, 1.0):
                ax.axhline(centre[-1] * (1.0 + sign * target.relative), color=colour, lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_xlim(at[0], max(at[-1], at[0] + 1))
    margin = 0.06 * (max(seen) - min(seen)) or 0.01 * abs(seen[0]) or 1.0
    ax.set_ylim(min(seen) - margin, max(seen) + margin)
    ax.set_ylabel(label)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if 1e4 <= abs(value) < 1e10 else f"{value:,.6g}")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.legend(loc="upper right", frameon=False, fontsize=9)
    ax.grid(alpha=0.25)

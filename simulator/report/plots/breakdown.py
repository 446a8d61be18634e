"""Where time, energy and dollars go, and where their spread comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.report.plots.outcomes import known
from simulator.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    amount,
    digits,
    label_of,
    name_of,
    percent,
    styled,
    unit_of,
    varies,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.montecarlo import Study

TOTALS = ("time_s", "energy_j", "cost_usd")
_LABELS = {"productive": "productive work", "straggler": "waiting for the slowest", "lost": "work lost and redone",
           "degraded": "slow nodes, hour, season", "reduced": "missing replicas", "throttled": "slowed by rule or cap",
           "curtailed": "paused by rule or cap", "detect": "detecting failures", "restart": "restarting",
           "wait_for_spares": "waiting for spares",
           "cooling_distribution": "cooling and distribution", "idle": "idle and waiting accelerators"}
_NONE = 1e-9  # of the total, what is rounding
_SEEN = 0.001  # of the total, a category that is drawn on its own
_FIRST = {"time_s": "time_productive_s", "cost_usd": "cost_productive_usd"}


class Part(NamedTuple):
    """A category of a total: its column, its name, its mean, its share of the mean, and of the total's variance."""

    column: str
    name: str
    mean: float
    share: float
    of_spread: float


def parts(study: Study, total: str) -> list[Part]:
    """Return the categories that add up to a total, largest first.

    The share of the spread is cov(category, total) / var(total): these sum to one, and are below zero for what is smaller in
    runs that take more. NaN where the total does not vary.
    """
    start, ending = total.rsplit("_", 1)
    values = known(study, total)
    apart = values - values.mean()
    variance = float(apart @ apart) if varies(values) else 0.0
    found = []
    for column in study.columns:
        if column == total or not (column.startswith(f"{start}_") and column.endswith(f"_{ending}")):
            continue
        part = np.asarray(study.column(column), dtype=float)
        if not np.isnan(part).any() and np.abs(part).max() > _NONE * abs(values.mean()):
            key = column.removeprefix(f"{start}_").removesuffix(f"_{ending}")
            spread = float((part - part.mean()) @ apart) / variance if variance > 0.0 else float("nan")
            found.append(Part(column, _LABELS.get(key, key.replace("_", " ")), float(part.mean()),
                              float(part.mean()) / float(values.mean()) if values.mean() else 0.0, spread))
    return sorted(found, key=lambda part: -part.mean)


def _merged(found: list[Part], column: str) -> list[Part]:
    """Return parts with those too small to see made one."""
    large = [p for p in found if abs(p.share) >= _SEEN]
    small = [p for p in found if abs(p.share) < _SEEN]
    if len(small) < 2:
        return found
    rest = Part(column, f"{len(small)} smaller", sum(p.mean for p in small), sum(p.share for p in small),
                sum(p.of_spread for p in small))
    return [*large, rest]


@styled(size=(5.3, 3.9))
def waterfall(study: Study, total: str = "time_s", *, ax: Axes | None = None) -> Axes:
    """Draw how categories add up to the mean of a total: of time and cost first what is productive, then what comes on top.

    Parameters
    ----------
    study : Study
    total : str
        "time_s", "energy_j" or "cost_usd".
    ax : Axes, optional

    Raises
    ------
    UserError
        The total is not known.
    """
    assert ax is not None
    found = _merged(parts(study, total), total)
    whole = float(known(study, total).mean())
    unit = unit_of(total, whole)
    base, places = 0.0, list(range(len(found) + 1))
    for i, part in enumerate(found):
        first = part.column == _FIRST.get(total)
        ax.barh(i, part.mean / unit.factor, left=base / unit.factor, color=BLUE if first else ORANGE, height=0.7)
        end = (base + part.mean) / unit.factor
        ax.plot([end, end], [i, i + 1], color=GREY, linewidth=0.7)
        inside = end > 0.72 * whole / unit.factor
        start = end if i == 0 else min(base, base + part.mean) / unit.factor  # the label of a long first bar is within it
        ax.annotate(f"{digits(part.mean / unit.factor, 2)} ({percent(part.share)})", (start if inside else end, i),
                    xytext=(-4 if inside else 4, 0), textcoords="offset points", va="center",
                    ha="right" if inside else "left", fontsize=8.5, color="white" if inside and i == 0 else INK)
        base += part.mean
    ax.barh(len(found), whole / unit.factor, color=GREEN, height=0.7)
    ax.annotate(amount(whole, total), (whole / unit.factor, len(found)), xytext=(-4, 0), textcoords="offset points", va="center",
                ha="right", color="white", fontsize=9, fontweight="bold")
    ax.set_yticks(places, [*(part.name for part in found), "total (mean)"], fontsize=9)
    ax.set_ylim(len(found) + 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(label_of(total, unit))
    ax.margins(x=0.02)
    ax.set_title(f"How {name_of(total)} adds up")
    return ax


@styled(size=(5.3, 3.6))
def breakdown_bars(study: Study, total: str = "energy_j", *, ax: Axes | None = None) -> Axes:
    """Draw the categories of a total as bars, the largest first, with their shares; parameters as for `waterfall`."""
    assert ax is not None
    found = _merged(parts(study, total), total)
    unit = unit_of(total, float(known(study, total).mean()))
    ax.barh(range(len(found)), [part.mean / unit.factor for part in found], color=BLUE, height=0.7)
    for i, part in enumerate(found):
        ax.annotate(f"{digits(part.mean / unit.factor, 3)} ({percent(part.share)})", (max(part.mean, 0.0) / unit.factor, i),
                    xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5)
    ax.set_yticks(range(len(found)), [part.name for part in found], fontsize=9)
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(right=1.38 * max([part.mean for part in found], default=1.0) / unit.factor)
    ax.set_xlabel(label_of(total, unit))
    ax.set_title(f"Mean {name_of(total)} by category")
    return ax


@styled(size=(5.3, 3.4))
def spread(study: Study, total: str = "time_s", *, ax: Axes | None = None) -> Axes:
    """Draw how much of the variance of a total each category brings: cov(category, total) / var(total), which sum to one.

    Parameters as for `waterfall`.
    """
    assert ax is not None
    found = sorted((p for p in parts(study, total) if abs(p.of_spread) >= 0.005), key=lambda p: -abs(p.of_spread))[:9]
    ax.barh(range(len(found)), [100.0 * p.of_spread for p in found], color=[ORANGE if p.of_spread > 0 else GREEN for p in found],
            height=0.7)
    for i, part in enumerate(found):
        ax.annotate(percent(part.of_spread), (100.0 * max(part.of_spread, 0.0), i), xytext=(4, 0), textcoords="offset points",
                    va="center", fontsize=9)
    if not found:
        ax.text(0.0, 0.9, "all trials are the same", va="top", transform=ax.transAxes)
    ax.set_yticks(range(len(found)), [p.name for p in found], fontsize=9)
    ax.set_ylim(max(len(found), 1) - 0.4, -0.6)
    ax.axvline(0.0, color=INK, linewidth=0.8)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(right=1.25 * max([100.0 * p.of_spread for p in found], default=1.0))
    ax.set_xlabel("share of the variance of the total (%)")
    ax.set_title(f"What makes {name_of(total)} vary")
    return ax

"""The picture of a run's energy by local hour and by month: power, price, carbon intensity, and the bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HOURS = 13.0, 24
_POWER, _PRICE, _CARBON = "#0072B2", "#B5400A", "#009E73"
# Okabe and Ito's palette, then greys: kinds of cost in the order given.
_KINDS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#B5400A", "#F0E442", "#666666", "#AAAAAA", "#DDDDDD")
_MOST_LABELS = 18  # of months
Band = tuple[ArrayLike, ArrayLike]
Floats = NDArray[np.float64]



class _Day(NamedTuple):
    label: str
    values: Floats
    band: tuple[Floats, Floats] | None
    colour: str


def daily_profile_figure(power_w: ArrayLike | None = None, price_usd_per_kwh: ArrayLike | None = None,
                         carbon_g_per_kwh: ArrayLike | None = None, *, power_band_w: Band | None = None,
                         price_band: Band | None = None, carbon_band: Band | None = None, months: Sequence[str] = (),
                         cost_usd: Mapping[str, ArrayLike] | None = None, title: str = "") -> Figure:
    """Return the mean day and the bill by month.

    Parameters
    ----------
    power_w, price_usd_per_kwh, carbon_g_per_kwh : array_like, shape (24,), or None
        Means by local hour of the day: power of the facility (W), price (USD/kWh), carbon intensity (gCO2e/kWh). NaN where an
        hour never occurred.
    power_band_w, price_band, carbon_band : pair of array_like, shape (24,), or None
        P5 and P95 of the same.
    months : sequence of str
        Names, such as 2024-07.
    cost_usd : mapping of str to array_like, shape (months,), or None
        USD by kind; amounts below 0 (credits) are stacked downwards.
    title : str
        First line.

    Raises
    ------
    ValueError
        An array has another length, or nothing is given.
    """
    from matplotlib.figure import Figure

    large = power_w is not None and float(np.nanmax(np.asarray(power_w, dtype=float))) >= 1e6
    given = [
        *_given("power", "MW" if large else "kW", power_w, power_band_w, 1e6 if large else 1e3, _POWER),
        *_given("price", "USD/kWh", price_usd_per_kwh, price_band, 1.0, _PRICE),
        *_given("carbon intensity", "g/kWh", carbon_g_per_kwh, carbon_band, 1.0, _CARBON),
    ]
    costs = {kind: _checked(kind, values, len(months)) for kind, values in (cost_usd or {}).items()}
    heights = [1.9, 1.25, 1.25][:len(given)] + [2.4] * bool(costs)
    if not heights:
        raise ValueError("nothing to draw: neither power, price and carbon intensity nor costs are given")
    figure = Figure(figsize=(_WIDTH, sum(heights) + 1.2), layout="constrained")
    figure.suptitle(title.replace("$", r"\$"), fontsize=12, fontweight="bold", x=0.008, ha="left")
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for ax, day in zip(axes, given, strict=False):
        _draw(ax, day)
        ax.tick_params(labelbottom=day is given[-1])
    if given:
        banded = ", band P5 to P95" if any(day.band is not None for day in given) else ""
        axes[0].set_title(f"The day: mean by hour{banded}", loc="left", fontsize=10, fontweight="bold")
        axes[len(given) - 1].set_xlabel("local hour", loc="left", fontsize=9)
        figure.align_ylabels(axes[:len(given)])
    if costs:
        _bill(axes[-1], months, costs)
    return figure


def _given(name: str, unit: str, values: ArrayLike | None, band: Band | None, factor: float, colour: str) -> list[_Day]:
    """Return what to draw of a quantity, in a list that is empty where there is none."""
    if values is None:
        return []
    found = None if band is None else (_checked(name, band[0], _HOURS) / factor, _checked(name, band[1], _HOURS) / factor)
    return [_Day(f"{name}\n({unit})", _checked(name, values, _HOURS) / factor, found, colour)]


def _checked(name: str, values: ArrayLike, length: int) -> Floats:
    found = np.asarray(values, dtype=float)
    if found.shape != (length,):
        raise ValueError(f"{name}: found shape {found.shape}, expected ({length},)")
    return found


def _draw(ax: Axes, day: _Day) -> None:
    edges = np.arange(_HOURS + 1.0)
    shown = [day.values, *(day.band or ())]
    if day.band is not None:
        low, high = day.band
        ax.stairs(high, edges, baseline=low, fill=True, color=day.colour, alpha=0.18, linewidth=0.0)
    ax.stairs(day.values, edges, color=day.colour, linewidth=1.6, baseline=None)
    ax.set_ylabel(day.label, fontsize=9)
    least, most = float(np.nanmin(shown)), float(np.nanmax(shown))
    room = max(0.12 * (most - least), 0.02 * max(abs(most), abs(least)), 1e-9)
    ax.set_ylim(least - room, most + room)
    ax.set_xlim(0.0, float(_HOURS))
    ax.set_xticks(range(0, _HOURS + 1, 3), [f"{hour:02d}:00" for hour in range(0, _HOURS + 1, 3)], fontsize=9)
    ax.tick_params(axis="y", labelsize=9)
    ax.grid(axis="x", color="#EEEEEE")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _bill(ax: Axes, months: Sequence[str], costs: Mapping[str, Floats]) -> None:
    highest = float(np.sum([np.maximum(0.0, v) for v in costs.values()], axis=0).max(initial=0.0))
    unit, factor = ("million USD", 1e6) if highest >= 1e6 else ("thousand USD", 1e3) if highest >= 1e3 else ("USD", 1.0)
    up, down = np.zeros(len(months)), np.zeros(len(months))
    for i, (kind, values) in enumerate(costs.items()):
        amounts = values / factor
        base = np.where(amounts >= 0.0, up, down)
        ax.bar(range(len(months)), amounts, bottom=base, width=0.72, color=_KINDS[i % len(_KINDS)], label=kind.replace("_", " "))
        up, down = up + np.maximum(0.0, amounts), down + np.minimum(0.0, amounts)
    for i, (top, total) in enumerate(zip(up, up + down, strict=True)):
        if len(months) <= _MOST_LABELS:
            ax.annotate(f"{total:.3g}", (i, top), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8.5)
    every = max(1, -(-len(months) // _MOST_LABELS))
    ax.set_xticks(range(0, len(months), every), list(months[::every]), fontsize=9)
    ax.set_xlim(-0.6, max(len(months), 5) - 0.4)
    ax.margins(y=0.12)
    if down.min(initial=0.0) < 0.0:
        ax.axhline(0.0, color="#222222", linewidth=0.8)
    ax.set_ylabel(f"cost ({unit})", fontsize=9)
    ax.set_title("What energy costs by month" + (", total above" if len(months) <= _MOST_LABELS else ""), loc="left", fontsize=10,
                 fontweight="bold")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, handlelength=1.2, reverse=True)
    ax.tick_params(axis="y", labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)

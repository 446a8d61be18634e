"""The one look of plots: colours that colour-blind readers tell apart, fonts, and results in units that people use."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), its yellow left out, which is too pale for lines on white.
BLUE, ORANGE, GREEN, PINK, SKY, RED, INK, GREY = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#B5400A", "#222222",
                                                  "#8A8A8A")
PALE = "#D3E4EF"
SERIES = (BLUE, ORANGE, GREEN, PINK, RED, SKY)
LINES = ("-", "--", "-.", ":")  # told apart without colour
SMALL, WIDE = (5.3, 3.5), (11.0, 4.5)  # inches

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 10.0, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.labelsize": 9.5, "xtick.labelsize": 9.0, "ytick.labelsize": 9.0, "legend.fontsize": 9.0,
    "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "axes.axisbelow": True, "grid.color": "#E4E4E4", "lines.linewidth": 1.8, "figure.facecolor": "white",
    "savefig.facecolor": "white", "svg.fonttype": "path", "svg.hashsalt": "clustercost",
}


class Unit(NamedTuple):
    """A unit that people use, and how many of the SI unit it is."""

    name: str
    factor: float


_HOUR_S, _DAY_S = 3600.0, 86400.0
_ROUNDING = 1e-9  # of a value: what tells two numbers apart that should be one
# By the ending of a column, largest first; the first of which a value has at least two is taken.
_UNITS: dict[str, tuple[Unit, ...]] = {
    "accelerator_s": (Unit("million accelerator-hours", 3.6e9), Unit("accelerator-hours", _HOUR_S)),
    "usd": (Unit("billion USD", 1e9), Unit("million USD", 1e6), Unit("thousand USD", 1e3), Unit("USD", 1.0)),
    "kg": (Unit("kt CO2e", 1e6), Unit("t CO2e", 1e3), Unit("kg CO2e", 1.0)),
    "j": (Unit("GWh", 3.6e12), Unit("MWh", 3.6e9), Unit("kWh", 3.6e6), Unit("Wh", 3600.0)),
    "w": (Unit("GW", 1e9), Unit("MW", 1e6), Unit("kW", 1e3), Unit("W", 1.0)),
    "l": (Unit("thousand m³", 1e6), Unit("m³", 1e3), Unit("litres", 1.0)),
    "s": (Unit("days", _DAY_S), Unit("hours", _HOUR_S), Unit("minutes", 60.0), Unit("s", 1.0)),
}
_NAMES = {"time_s": "wall time", "cost_usd": "cost", "energy_j": "energy at the meter", "carbon_kg": "carbon", "water_l": "water",
          "accelerator_s": "accelerator time", "ettr": "effective-time ratio", "mfu": "MFU over the run",
          "power_mean_w": "mean power at the meter", "interruptions": "interruptions"}


def unit_of(column: str, size: float) -> Unit:
    """Return the unit in which a value of a column is read, by its ending and its size in SI."""
    for ending, units in _UNITS.items():
        if column == ending or column.endswith(f"_{ending}"):
            return next((unit for unit in units if abs(size) >= 2.0 * unit.factor), units[-1])
    return Unit("", 1.0)


def name_of(column: str) -> str:
    """Return what a column is called."""
    if column in _NAMES:
        return _NAMES[column]
    for ending in _UNITS:
        if column.endswith(f"_{ending}"):
            column = column.removesuffix(f"_{ending}")
            break
    return column.replace("_", " ")


def label_of(column: str, unit: Unit) -> str:
    """Return the label of an axis."""
    return f"{name_of(column)} ({unit.name})" if unit.name else name_of(column)


def digits(value: float, figures: int = 3) -> str:
    """Return a number with so many significant figures, whole thousands kept."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "∞" if value > 0.0 else "-∞"
    if value == 0.0:
        return "0"
    decimals = max(0, figures - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}" if decimals <= 6 else f"{value:.{figures - 1}e}"


def numbers(*values: float) -> list[str]:
    """Return numbers with as many decimals as tell them apart, three figures at least."""
    known = [v for v in values if math.isfinite(v)]
    if not known or max(known) - min(known) <= _ROUNDING * max(map(abs, known)):
        return [digits(v) for v in values]
    spread, size = max(known) - min(known), max(abs(v) for v in known)
    decimals = max(1 - math.floor(math.log10(spread)), 2 - math.floor(math.log10(size)), 0)
    decimals = min(decimals, max(0, 5 - math.floor(math.log10(size))))
    return [f"{v:,.{decimals}f}" if math.isfinite(v) else digits(v) for v in values]


def plain(text: str, longest: int = 60) -> str:
    """Return text that others wrote, cut where too long, so that nothing in it is taken for mathematics."""
    return (text if len(text) <= longest else f"{text[:longest - 1]}…").replace("$", r"\$")


def varies(values: np.ndarray) -> bool:
    """Return whether values differ by more than rounding."""
    low, high = float(values.min()), float(values.max())
    return high - low > _ROUNDING * max(abs(low), abs(high))


def amount(value: float, column: str, figures: int = 3) -> str:
    """Return a value of a column with its unit, such as "103 million USD"."""
    if not math.isfinite(value):
        return "unknown"
    unit = unit_of(column, value)
    return f"{digits(value / unit.factor, figures)} {unit.name}".rstrip()


def percent(share: float) -> str:
    """Return a share in per cent; all or nothing only where it is."""
    if share in (0.0, 1.0) or abs(share) >= 0.1:
        shown = f"{100.0 * share:.0f}"
        return f"{shown} %" if share == 1.0 or shown != "100" else "99.9 %"
    return f"{100.0 * share:.1f} %" if abs(share) >= 0.001 else f"{'-' if share < 0.0 else ''}under 0.1 %"


def in_style() -> AbstractContextManager[None]:
    """Return the context in which figures are made in the one style."""
    import matplotlib as mpl

    settings: Any = STYLE
    return cast("AbstractContextManager[None]", mpl.rc_context(settings))


S = TypeVar("S")
P = ParamSpec("P")


def styled(size: tuple[float, float] = SMALL) -> Callable[[Callable[Concatenate[S, P], Axes]], Callable[Concatenate[S, P], Axes]]:
    """Return a decorator of plots: they are drawn in the one style, in axes of their own where none are given (`ax=None`)."""
    def decorate(plot: Callable[Concatenate[S, P], Axes]) -> Callable[Concatenate[S, P], Axes]:
        @wraps(plot)
        def drawn(study: S, *args: P.args, **kwargs: P.kwargs) -> Axes:
            if kwargs.get("ax") is None:
                from matplotlib import pyplot

                # The first call loads the backend. Jupyter's then turns `interactive` on, which must not end with the style.
                pyplot.draw_if_interactive()
            with in_style():
                if kwargs.get("ax") is None:
                    kwargs["ax"] = pyplot.subplots(figsize=size, layout="constrained")[1]
                return plot(study, *args, **kwargs)

        return drawn

    return decorate

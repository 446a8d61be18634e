"""What drives a result: rank correlations and a tornado, read off the trials themselves, without running any again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.report.plots.outcomes import known
from simulator.report.style import (
    BLUE,
    GREY,
    INK,
    RED,
    amount,
    digits,
    label_of,
    name_of,
    numbers,
    plain,
    styled,
    unit_of,
    varies,
)
from simulator.units import KINDS, parse_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.montecarlo import Study

INPUT = "input "
_SHARE = 0.2  # of the trials, those in which an input is lowest, and highest
_LEAST, _MOST = 20, 12  # trials; bars
_SIZED = {"time": "s", "power": "w", "energy": "j", "money": "usd"}  # kinds of many sizes, as endings of columns
_LETTERS = ((1e12, " T"), (1e9, " B"), (1e6, " M"))
# Luck that a run has, as far as its row tells.
_LUCK = {"interruptions": "luck: interruptions", "time_lost_s": "luck: work lost", "time_wait_for_spares_s":
         "luck: waiting for spares"}


class Driver(NamedTuple):
    """An input, or a kind of luck, and what a result does with it.

    Attributes
    ----------
    column : str
        Of the trials.
    name : str
    rank : float
        Spearman's rank correlation with the result, -1 to 1.
    values : tuple of float
        Mean of the input among the fifth of the trials in which it is lowest, and highest.
    low, high : float
        Mean of the result there.
    """

    column: str
    name: str
    rank: float
    values: tuple[float, float]
    low: float
    high: float

    @property
    def drawn(self) -> bool:
        """Whether it is an input, and not luck."""
        return self.column.startswith(INPUT)


def drivers(study: Study, column: str) -> list[Driver]:
    """Return inputs and luck that go with a result, the largest rank correlation first.

    Kept is what chance alone brings in less than one study of a hundred: |rank| above 2.58 / sqrt(trials - 1). Fewer than 20
    trials tell nothing.
    """
    import pandas as pd

    result = known(study, column)
    n = result.size
    if n < _LEAST or not varies(result):
        return []
    ranks = pd.Series(result).rank().to_numpy()
    count = max(1, round(_SHARE * n))
    found = []
    for name, values in study.columns.items():
        if not (name.startswith(INPUT) or name in _LUCK) or np.isnan(values).any() or not varies(values):
            continue
        correlation = float(np.corrcoef(pd.Series(values).rank().to_numpy(), ranks)[0, 1])
        if abs(correlation) * math.sqrt(n - 1) < 2.58:
            continue
        order = np.argsort(values, kind="stable")
        low, high = order[:count], order[-count:]
        found.append(Driver(name, _LUCK.get(name, name.removeprefix(INPUT)), correlation,
                            (float(values[low].mean()), float(values[high].mean())), float(result[low].mean()),
                            float(result[high].mean())))
    return sorted(found, key=lambda driver: -abs(driver.rank))


def values_text(study: Study, driver: Driver) -> tuple[str, str]:
    """Return the low and the high value of a driver as people write them."""
    if not driver.drawn:
        unit = unit_of(driver.column, driver.values[1])
        return tuple(f"{v} {unit.name}".strip() for v in numbers(*(v / unit.factor for v in driver.values)))  # type: ignore[return-value]
    distribution = study.scenario.uncertain().get(driver.name)
    if distribution is None:
        return digits(driver.values[0], 4), digits(driver.values[1], 4)
    return quantity(driver.values[0], distribution.kind), quantity(driver.values[1], distribution.kind)


def quantity(value: float, kind: str) -> str:
    """Return an SI value in the unit in which its kind is usually written, or in one of its size."""
    if kind in _SIZED:
        return amount(value, _SIZED[kind], 4) if value else "0"
    _, _, unit = KINDS[kind][1].partition(" ")
    if not unit:
        size, letter = next(((size, letter) for size, letter in _LETTERS if abs(value) >= size), (1.0, ""))
        return f"{value:,.0f}" if size == 1.0 and abs(value) >= 1000.0 else f"{value / size:,.4g}{letter}"
    if kind == "rate":  # "3.8 per 1000 days"
        return f"{value * 1000.0 * 86400.0:,.4g} per 1000 days"
    return f"{value / parse_quantity(f'1 {unit}', kind):,.4g} {unit}"


@styled(size=(5.3, 3.4))
def tornado(study: Study, column: str = "cost_usd", *, ax: Axes | None = None) -> Axes:
    """Draw the mean of a result in the fifth of the trials in which each driver is lowest, and highest.

    Other inputs vary beside it, as they do in the study: the tornado of `clustercost sensitivity` holds them fixed, and runs more
    trials for it.

    Parameters
    ----------
    study : Study
    column : str
        A result that is known.
    ax : Axes, optional
    """
    assert ax is not None
    found = drivers(study, column)[:_MOST]
    mean = float(known(study, column).mean())
    unit = unit_of(column, mean)
    ends = [mean / unit.factor]
    for i, driver in enumerate(found):
        for value, text, colour in zip((driver.low, driver.high), values_text(study, driver), (BLUE, RED), strict=True):
            ends.append(value / unit.factor)
            ax.barh(i, (value - mean) / unit.factor, left=mean / unit.factor, color=colour, height=0.62)
            right = value >= mean
            ax.annotate(text, (value / unit.factor, i), xytext=(4 if right else -4, 0), textcoords="offset points", va="center",
                        ha="left" if right else "right", fontsize=8.5)
    if not found:
        few = known(study, column).size < _LEAST
        ax.text(0.04, 0.93, f"fewer than {_LEAST} trials do not tell" if few else "nothing that was drawn goes with this result",
                va="top", transform=ax.transAxes, color=GREY)
    room = 0.45 * (max(ends) - min(ends)) or 0.02 * abs(ends[0]) or 1.0
    ax.set_xlim(min(ends) - room, max(ends) + room)
    ax.axvline(mean / unit.factor, color=INK, linewidth=0.9)
    ax.set_yticks(range(len(found)), [_short(driver.name) for driver in found], fontsize=8.5)
    ax.set_ylim(max(len(found), 1) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(label_of(column, unit))
    ax.set_title(f"Drivers of {name_of(column)}")
    return ax


def _short(name: str) -> str:
    """Return a path on two lines where it is long."""
    if len(name) <= 24 or "." not in name:
        return plain(name)
    middle = min((i for i, letter in enumerate(name) if letter in ". "), key=lambda i: abs(i - len(name) // 2))
    return plain(f"{name[:middle + 1]}\n{name[middle + 1:]}", 90)

"""When a study is large enough: targets for the interval of a quantile or a mean, checked at fixed numbers of trials."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.errors import UserError, unknown_name
from simulator.montecarlo.statistics import estimate_with_interval

FIRST, GROWTH = 100, 1.5
_STATISTIC = re.compile(r"p(\d+(?:\.\d+)?)")
_FORM = "allowed: 'COLUMN STATISTIC PERCENT', such as 'cost_usd p95 1%' or 'time_s mean 0.5%'"


@dataclass(frozen=True)
class Target:
    """Half the width of the 95 % interval of a statistic, over the statistic, that is small enough.

    Attributes
    ----------
    column : str
        A column of the trials.
    statistic : str
        "mean", or a quantile such as "p95" or "p99.9".
    relative : float
    """

    column: str
    statistic: str
    relative: float

    @property
    def q(self) -> float | None:
        """Return the quantile, 0 to 1, or None for the mean."""
        return None if self.statistic == "mean" else float(self.statistic[1:]) / 100.0

    def __str__(self) -> str:
        return f"{self.column} {self.statistic} {100.0 * self.relative:g}%"


def parse_target(text: str) -> Target:
    """Return the target that a text such as 'cost_usd p95 1%' names; raise UserError where it is not one."""
    words = text.rsplit(maxsplit=2)  # names of columns may have spaces
    if len(words) != 3:
        raise UserError(f"--until: found {text!r}; {_FORM}")
    column, statistic, percent = words
    found = _STATISTIC.fullmatch(statistic)
    if statistic != "mean" and (found is None or not 0.0 < float(found[1]) < 100.0):
        raise UserError(f"--until {text!r}: found {statistic!r}; allowed: mean, or a quantile between p0 and p100, such as p95")
    try:
        relative = float(percent.removesuffix("%")) / 100.0 if percent.endswith("%") else math.nan
    except ValueError:
        relative = math.nan
    if not 0.0 < relative < 1.0:
        raise UserError(f"--until {text!r}: found {percent!r}; allowed: a percentage above 0% and below 100%, such as 1%")
    return Target(column, statistic, relative)


def check_targets(targets: Sequence[Target], columns: dict[str, np.ndarray]) -> None:
    """Raise UserError where a target names no column of the trials, or one that is not known."""
    for target in targets:
        if target.column not in columns or target.column == "trial":
            raise UserError(f"--until '{target}': {unknown_name('column', target.column, set(columns) - {'trial'})}")
        if np.isnan(columns[target.column]).any():
            raise UserError(f"--until '{target}': {target.column} is unknown in this scenario; allowed: another column")


def counts(most: int) -> Iterator[int]:
    """Yield the numbers of trials at which targets are checked: 100, 150, 225, 338, ... and the most allowed."""
    count = FIRST
    while count < most:
        yield count
        count = math.ceil(count * GROWTH)
    yield most


def half_width(values: np.ndarray, target: Target) -> float:
    """Return half the width of the 95 % interval over the size of the statistic; infinite while there is no interval yet.

    A quantile has none while its upper or lower rank would lie beyond the trials: P95 needs 72 of them.
    """
    centre, low, high = estimate_with_interval(values, target.q)
    half = (high - low) / 2.0
    if half == 0.0:
        return 0.0
    return half / abs(centre) if centre != 0.0 else math.inf


def reached(values: dict[str, np.ndarray], targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Return for each target what was asked, what is reached, and whether that is enough; `values` by column."""
    found = []
    for target in targets:
        half = half_width(values[target.column], target)
        found.append({"column": target.column, "statistic": target.statistic, "asked": target.relative,
                      "reached": half if math.isfinite(half) else None, "met": half <= target.relative})
    return found

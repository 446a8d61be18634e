"""The hours of a run: local clock hours and every change of every series, on which all of them are constant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.scenario.calendar import Calendar, wall_dates
from simulator.scenario.checks import central
from simulator.scenario.series import Series, check_length, steps


@dataclass(frozen=True)
class Grid:
    """Bins of a run's time; `i` lasts from `edges_s[i]` until `edges_s[i + 1]`, s after the start.

    Attributes
    ----------
    edges_s : ndarray, shape (n + 1,)
        Rising from 0 to the end, s.
    values : dict of str to ndarray, shape (n,)
        Each series in each bin, SI.
    hour_of_day : ndarray, shape (n,)
        Hour of the local clock, 0 to 23.
    month : ndarray, shape (n,)
        Index into `months`, by the local clock.
    months : tuple of str
        "2024-06", ... in order.
    """

    edges_s: np.ndarray
    values: dict[str, np.ndarray]
    hour_of_day: np.ndarray
    month: np.ndarray
    months: tuple[str, ...]


def build_grid(calendar: Calendar, series: Mapping[str, float | Series], until_s: float) -> Grid:
    """Return the bins of a run and the values of its series in them.

    Parameters
    ----------
    calendar : Calendar
        When the run starts and by which clock.
    series : mapping
        Series by name, or numbers (SI), which are the same in every bin; distributions count with their central value.
    until_s : float
        End of the last bin, s after the start, above 0.

    Raises
    ------
    UserError
        Rows of a series that do not reach that far.
    """
    check_length(until_s)
    found = {name: steps(item, calendar, until_s) for name, item in series.items() if isinstance(item, Series)}
    start = calendar.start_utc_s
    hours = calendar.clock_hours(start, start + until_s)[0] - start
    inner = np.concatenate((hours, *(times for times, _ in found.values())))
    starts = np.unique(inner[(inner >= 0.0) & (inner < until_s)])
    values = {name: _values(item, starts, found.get(name)) for name, item in series.items()}
    wall = calendar.offsets(start, start + until_s).to_wall(starts + start)
    date = wall_dates(wall)
    index = (date.year - date.year[0]) * 12 + date.month - date.month[0]
    first = int(date.year[0]) * 12 + int(date.month[0]) - 1
    months = tuple(f"{(first + i) // 12}-{(first + i) % 12 + 1:02}" for i in range(int(index[-1]) + 1))
    return Grid(np.append(starts, until_s), values, date.hour, index, months)


def _values(item: float | Series, starts: np.ndarray, found: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    if found is None:
        return np.full(starts.size, central(item))
    times, values = found
    result: np.ndarray = values[np.searchsorted(times, starts, side="right") - 1]
    return result

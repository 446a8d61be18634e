"""Rows of a series at the times at which they stand, and in other years: by the clock that they are written in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.errors import UserError
from simulator.scenario.calendar import DAY_S, HOUR_S, Calendar, Offsets, wall_dates, wall_time
from simulator.scenario.series_csv import Rows


class Profile(NamedTuple):
    """A series without its scale: values from UTC times on, and the stretch that it covers."""

    utc_s: np.ndarray
    values: np.ndarray
    from_s: float
    until_s: float


def _clock(rows: Rows, calendar: Calendar, from_s: float, to_s: float) -> Offsets:
    """Return the clock of rows: a fixed offset from UTC, or that of the calendar."""
    if rows.offset_s is None:
        return calendar.offsets(from_s, to_s)
    return Offsets(np.array([-(1 << 50)]), np.array([rows.offset_s]))


def direct(rows: Rows, calendar: Calendar) -> Profile:
    """Return rows at the UTC times at which they stand.

    A local time that comes twice is the second where the row before already stands at the first; one row alone covers both.
    Rows within an hour that the clock skips take no time.
    """
    clock = _clock(rows, calendar, rows.clock_s[0], rows.end_s)
    at = np.append(rows.clock_s, rows.end_s)
    utc, later = clock.to_utc(at), clock.to_utc(at, later=True)
    for i in np.flatnonzero(later > utc).tolist():
        if i and utc[i] <= utc[i - 1]:
            utc[i] = later[i]
    skipped = (np.diff(utc) == 0.0) & (np.diff(at) > 0.0)
    wrong = (np.diff(utc) <= 0.0) & ~skipped
    if wrong.any():
        i = int(wrong.argmax()) + 1
        raise UserError(f"{rows.name}: found {rows.show(at[i])} after {rows.show(at[i - 1])}; allowed: times that rise on the "
                        f"clock of {calendar.time_zone}")
    keep = ~skipped
    return Profile(utc[:-1][keep], rows.values[keep], float(utc[0]), float(utc[-1]))


def repeated(rows: Rows, calendar: Calendar, from_s: float, to_s: float) -> Profile:
    """Return rows where they stand, and before and after them those of the same month, day and hour."""
    inside = direct(rows, calendar)
    parts = [_transplanted(rows, calendar, from_s, min(inside.from_s, to_s)), (inside.utc_s, inside.values),
             _transplanted(rows, calendar, max(inside.until_s, from_s), to_s)]
    utc, values = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    new = np.append(True, values[1:] != values[:-1])
    return Profile(utc[new], values[new], min(from_s, inside.from_s), max(to_s, inside.until_s))


def _transplanted(rows: Rows, calendar: Calendar, from_s: float, to_s: float) -> tuple[np.ndarray, np.ndarray]:
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))]
    if from_s < to_s:
        clock = _clock(rows, calendar, from_s, to_s)
        ends = np.append(clock.utc_s[1:], np.inf)
        for start, end, offset in zip(clock.utc_s, ends, clock.offset_s, strict=True):
            low, high = max(float(start), from_s), min(float(end), to_s)
            if low < high:
                wall, values = _of_other_years(rows, low + offset, high + offset)
                found.append((wall - offset, values))
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])


def _of_other_years(rows: Rows, from_s: float, to_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of a stretch of wall-clock time by rows of the same month, day and hour."""
    hours = np.arange(from_s // HOUR_S * HOUR_S, to_s, HOUR_S)
    new = np.append(True, rows.clock_s[1:] > np.maximum.accumulate(rows.clock_s)[:-1])  # the first of an hour that comes twice
    clock, values = rows.clock_s[new], rows.values[new]
    source = _same_hours(rows, hours)
    first = np.searchsorted(clock, source, side="right") - 1
    counts = np.searchsorted(clock, source + HOUR_S, side="left") - first
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)
    wall = np.maximum(clock[index] - np.repeat(source, counts), 0.0) + np.repeat(hours, counts)
    wall = np.maximum(wall, from_s)
    keep = np.append(wall[1:] > wall[:-1], True) & (wall < to_s)
    return wall[keep], values[index][keep]


def _same_hours(rows: Rows, hours: np.ndarray) -> np.ndarray:
    """Return for wall-clock hours those of the latest year of the rows that has them; 29 Feb may take 28 Feb."""
    parts = wall_dates(hours)
    in_day = hours - parts.day * float(DAY_S)
    found = np.full(hours.shape, np.nan)
    years = range(wall_time(rows.end_s).year, wall_time(rows.clock_s[0]).year - 1, -1)
    in_month = parts.day - parts.day.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    leap_day = (parts.month == 2) & (in_month == 28)
    for moved in (0, 1):  # first the day itself, then for 29 Feb the day before
        for year in years:
            months = (np.datetime64(f"{year}-01", "M") + (parts.month - 1)).astype("datetime64[D]").astype(np.int64)
            there = (months + in_month - moved * leap_day) * float(DAY_S) + in_day
            exists = wall_dates(there).month == parts.month
            take = np.isnan(found) & exists & (there >= rows.clock_s[0]) & (there < rows.end_s) & (leap_day | (moved == 0))
            found[take] = there[take]
    if np.isnan(found).any():
        lacking = wall_time(hours[int(np.isnan(found).argmax())])
        raise UserError(f"{rows.name}: found no row for {lacking:%d %B %H:%M} in rows from {rows.show(rows.clock_s[0])} until "
                        f"{rows.show(rows.end_s)}; allowed with `repeat: true`: rows for every hour of a year")
    return found

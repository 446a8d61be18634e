"""Rows of a time series: read from a CSV file or from the scenario itself, checked, and written back without loss."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from simulator.columns import cell_number, csv_lines, find_column
from simulator.scenario.calendar import HOUR_S, read_time, wall_s, wall_time, write_time
from simulator.units import KINDS, QuantityError, format_quantity, parse_quantity, shorten

MAX_ROWS = 1_000_000
_TIME = re.compile(r"\d{4}-")
# Clocks are set back by at most this much, so local rows may go back that far (and are checked against the zone later).
_BACK_S = 3 * HOUR_S


class Row(NamedTuple):
    """A time, a number in the unit of the rows, and where it stands."""

    time: datetime
    value: float
    place: str


class Rows:
    """Values from given times on; opaque, so that nothing walks through a million of them.

    Attributes
    ----------
    clock_s : ndarray, shape (n,)
        When each value begins, s since 1970-01-01T00:00 on the clock of the rows.
    end_s : float
        When the last one ends, on that clock.
    offset_s : int or None
        That clock's offset from UTC; None: the wall clock of the scenario's calendar.
    raw : ndarray, shape (n,)
        The values in `unit`, as the file has them.
    values : ndarray, shape (n,)
        The same in SI.
    source : str
        Where they come from, for messages.
    """

    __slots__ = ("_hash", "clock_s", "end_s", "offset_s", "raw", "source", "unit", "values")

    def __init__(self, clock_s: np.ndarray, end_s: float, offset_s: int | None, raw: np.ndarray, unit: str, kind: str,
                 source: str) -> None:
        self.clock_s, self.end_s, self.offset_s = clock_s, end_s, offset_s
        self.raw, self.unit, self.source = raw, unit, source
        zero, one = (parse_quantity(f"{n} {unit}".strip(), kind) for n in (0, 1))
        self.values = zero + raw * (one - zero)
        for array in (self.clock_s, self.raw, self.values):
            array.setflags(write=False)
        digest = blake2b(clock_s.tobytes() + raw.tobytes() + repr((end_s, offset_s, unit)).encode(), digest_size=8)
        self._hash = int.from_bytes(digest.digest(), "big") >> 2  # the same in every process

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Rows) and self._hash == other._hash
            and (self.unit, self.end_s, self.offset_s) == (other.unit, other.end_s, other.offset_s)
            and np.array_equal(self.clock_s, other.clock_s) and np.array_equal(self.raw, other.raw))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{len(self.raw)} rows from {self.show(self.clock_s[0])} until {self.show(self.end_s)} in {self.unit}"

    @property
    def name(self) -> str:
        """How messages call them."""
        return self.source or "rows"

    def show(self, clock_s: float) -> str:
        """Return a time on the rows' clock as a file writes it."""
        return write_time(wall_time(clock_s)) + ("" if self.offset_s is None else offset_text(self.offset_s))

    def to_file(self) -> dict[str, Any]:
        """Return the keys of the inline form: rows as one text, a run of values after each time."""
        steps = np.diff(self.clock_s)
        usual = float(np.median(steps)) if steps.size else float(HOUR_S)
        words: list[str] = []
        for i, (at, value) in enumerate(zip(self.clock_s.tolist(), self.raw.tolist(), strict=True)):
            if i == 0 or steps[i - 1] != usual:
                words.append(self.show(at))
            words.append(repr(value).removesuffix(".0"))
        written = {"rows": " ".join(words), "spacing": format_quantity(usual, "time"), "until": self.show(self.end_s)}
        return {**written, "unit": self.unit} if self.unit else written


def offset_text(offset_s: int) -> str:
    """Return an offset from UTC as ISO 8601 writes it, such as "-05:00"."""
    seconds = abs(offset_s)
    text = f"{'-' if offset_s < 0 else '+'}{seconds // 3600:02}:{seconds // 60 % 60:02}"
    return text + (f":{seconds % 60:02}" if seconds % 60 else "")


def check_unit(unit: Any, kind: str) -> str:
    """Return the unit of a column; raise QuantityError where it is none of the kind."""
    si, example = KINDS[kind]
    if unit is None and not si:
        return ""
    if not isinstance(unit, str):
        raise QuantityError(f"{'missing' if unit is None else 'found ' + shorten(unit)}; allowed: a unit, as in {example!r}")
    try:
        parse_quantity(f"1 {unit}", kind)
    except QuantityError:
        raise QuantityError(f"found {shorten(unit)}; allowed: a unit as in {example!r}") from None
    return unit


def make_rows(rows: Iterable[Row], unit: str, kind: str, until: datetime | None, bounds: tuple[float, float],
              source: str) -> Rows:
    """Return checked rows.

    Raises
    ------
    QuantityError
        None at all or too many, times that do not rise, with and without offset mixed, values outside the bounds.
    """
    times: list[float] = []
    raw: list[float] = []
    places: list[str] = []
    offset: int | None = None
    for row in rows:
        if len(times) == MAX_ROWS:
            raise QuantityError(f"{row.place}: found more than {MAX_ROWS} rows; allowed: fewer")
        moved = row.time.utcoffset()
        if not times:
            offset = None if moved is None else round(moved.total_seconds())
        elif (moved is None) != (offset is None):
            raise QuantityError(f"{row.place}: found {write_time(row.time)!r}; allowed: an offset from UTC in all rows or "
                                "in none")
        at = wall_s(row.time) + (0.0 if moved is None or offset is None else offset - moved.total_seconds())
        if times and at <= times[-1] and (offset is not None or at < times[-1] - _BACK_S):
            raise QuantityError(f"{row.place}: found {write_time(row.time)!r} after a row at or past it; allowed: times that "
                                "rise")
        times.append(at)
        raw.append(row.value)
        places.append(row.place)
    if not times:
        raise QuantityError(f"{source or 'rows'}: found no rows; allowed: at least one")
    clock = np.array(times)
    made = Rows(clock, _end(clock, until, offset, source), offset, np.array(raw), unit, kind, source)
    outside = (made.values < bounds[0]) | (made.values > bounds[1])
    if outside.any():
        i = int(outside.argmax())
        raise QuantityError(f"{places[i]}: found {raw[i]!r} {unit}; allowed: from {bounds[0]:g} to {bounds[1]:g} "
                            f"{KINDS[kind][0]}")
    return made


def _end(clock: np.ndarray, until: datetime | None, offset: int | None, source: str) -> float:
    """Return when the last row ends: `until`, or after the last spacing that is one (a clock set back gives none)."""
    if until is not None:
        moved = until.utcoffset()
        if (moved is None) != (offset is None):
            raise QuantityError(f"until: found {write_time(until)!r}; allowed: with an offset from UTC if the rows have one, "
                                "and without if not")
        end = wall_s(until) + (0.0 if moved is None or offset is None else offset - moved.total_seconds())
        if end <= clock[-1]:
            raise QuantityError(f"until: found {write_time(until)!r}; allowed: a time after the last row")
        return end
    rising = np.diff(clock)
    rising = rising[rising > 0.0]
    if not rising.size:
        raise QuantityError(f"{source or 'rows'}: found one time only; allowed: two rows or more, or `until`")
    return float(clock[-1] + rising[-1])


def inline_rows(given: Any, unit: str | None, spacing_s: float | None, kind: str) -> Iterable[Row]:
    """Yield the rows of a scenario: a list of [time, value], or a text of times, each before a run of evenly spaced values."""
    if isinstance(given, str):
        yield from _text_rows(given, spacing_s)
        return
    if not isinstance(given, list | tuple):
        raise QuantityError(f"rows: found {shorten(given)}; allowed: a list of [time, value]")
    for i, row in enumerate(given):
        if not isinstance(row, list | tuple) or len(row) != 2:
            raise QuantityError(f"rows.{i}: found {shorten(row)}; allowed: [time, value], such as ['2024-01-01T00:00', "
                                f"{KINDS[kind][1]!r}]")
        try:
            yield Row(read_time(row[0]), _inline_value(row[1], unit, kind), f"rows.{i}")
        except QuantityError as error:
            raise QuantityError(f"rows.{i}: {error}") from None


def _inline_value(value: Any, unit: str | None, kind: str) -> float:
    if unit is None:
        return parse_quantity(value, kind)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise QuantityError(f"found {shorten(value)}; allowed: a number of {unit}, which `unit` says")
    return float(value)


def _text_rows(text: str, spacing_s: float | None) -> Iterable[Row]:
    start: datetime | None = None
    count = 0
    for word in text.split():
        if _TIME.match(word):
            start, count = read_time(word), 0
            continue
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if start is None or not math.isfinite(value) or (count and not spacing_s):
            raise QuantityError(f"rows: found {shorten(word)}; allowed: times such as 2024-01-01T00:00, each before the values "
                                "from there on, with `spacing` between them")
        at = start if count == 0 else wall_time(wall_s(start) + count * (spacing_s or 0.0)).replace(tzinfo=start.tzinfo)
        yield Row(at, value, f"rows: {write_time(at)}")
        count += 1


def csv_rows(file: str, time: str | None, column: str | None) -> Iterable[Row]:
    """Yield the rows of a CSV file with a header.

    Parameters
    ----------
    file : str
        UTF-8, with or without a byte order mark; empty lines are passed over.
    time, column : str, optional
        Names of the columns of times (ISO 8601) and of values; by default the first and the second.

    Raises
    ------
    QuantityError
        With file, line, column, what was found and what is allowed.
    """
    header: list[str] = []
    when = what = 0
    for place, cells in csv_lines(file, "times and values"):
        if not header:
            header = [cell.strip() for cell in cells]
            if len(header) < 2:
                raise QuantityError(f"{place}: found one column {header[0]!r}; allowed: a header with a column of times and "
                                    "one of values, parted by commas")
            when, what = find_column(header, time, 0, place), find_column(header, column, 1, place)
            if when == what:
                raise QuantityError(f"{place}: found {header[when]!r} as time and as value; allowed: two columns")
            continue
        if len(cells) != len(header):
            raise QuantityError(f"{place}: found {len(cells)} cells; allowed: {len(header)}, as the header has")
        yield Row(_cell_time(cells[when], place, header[when]), cell_number(cells[what], place, header[what]), place)


def _cell_time(text: str, place: str, column: str) -> datetime:
    try:
        return read_time(text)
    except QuantityError as error:
        raise QuantityError(f"{place}: {column}: {error}") from None

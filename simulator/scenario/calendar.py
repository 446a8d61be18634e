"""When a run starts and by which clock its site lives: local time across daylight saving and leap days.

Wall-clock times are handled as seconds since 1970-01-01T00:00 on that clock, so that `utc = wall - offset`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from simulator.errors import unknown_name
from simulator.fields import Record
from simulator.scenario.checks import FieldError
from simulator.units import QuantityError, shorten

HOUR_S, DAY_S = 3600, 86400
_EPOCH = datetime(1970, 1, 1)
# Offsets are sampled this often and changes then found to the second; no zone has changed twice within it since 1970.
_SAMPLE_S = DAY_S // 2
_DATE = "a date such as 2024-06-01, or a time such as 2024-06-01T08:00 (local) or 2024-06-01T08:00+02:00"


def read_time(value: Any) -> datetime:
    """Return an ISO 8601 date or time, naive where it has no offset; raise QuantityError from 1971 to 2999 only."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise QuantityError(f"found {shorten(value)}; allowed: {_DATE}") from None
    if not isinstance(value, datetime):
        raise QuantityError(f"found {shorten(value)}; allowed: {_DATE}")
    if not 1971 <= value.year < 3000:  # room for offsets and leap years on both sides
        raise QuantityError(f"found {shorten(value.isoformat())}; allowed: a year from 1971 to 2999")
    return value


def write_time(value: datetime) -> str:
    """Return a time as a file writes it, without seconds where there are none."""
    return value.isoformat(timespec="auto" if value.second or value.microsecond else "minutes")


def wall_s(value: datetime) -> float:
    """Return a naive time as seconds on its own clock."""
    return (value.replace(tzinfo=None) - _EPOCH) / timedelta(seconds=1)


def wall_time(seconds: float) -> datetime:
    """Return seconds on a clock as a naive time."""
    return _EPOCH + timedelta(seconds=float(seconds))


def _read_zone(value: Any) -> str:
    if not isinstance(value, str):
        raise QuantityError(f"found {shorten(value)}; allowed: an IANA time zone such as 'America/New_York'")
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        names = available_timezones()
        if not names:
            raise QuantityError(f"found {shorten(value)}, but this machine knows no time zones; install the package "
                                "tzdata") from None
        raise QuantityError(unknown_name("time zone", value, names)) from None
    return value


class WallDate(NamedTuple):
    """Parts of wall-clock times, integers, shape (n,): `day` counts from 1970-01-01, `year_day` from 0, Monday is 0."""

    year: np.ndarray
    month: np.ndarray
    day: np.ndarray
    year_day: np.ndarray
    week_day: np.ndarray
    hour: np.ndarray


def wall_dates(wall_s: np.ndarray) -> WallDate:
    """Return the calendar's parts of wall-clock times; months from 1."""
    whole = np.floor(wall_s).astype(np.int64)
    days = whole // DAY_S
    dates = days.astype("datetime64[D]")
    months, years = dates.astype("datetime64[M]"), dates.astype("datetime64[Y]")
    first = years.astype("datetime64[D]").astype(np.int64)
    return WallDate(years.astype(np.int64) + 1970, months.astype(np.int64) % 12 + 1, days, days - first, (days + 3) % 7,
                    whole // HOUR_S % 24)


def year_start_s(year: int) -> int:
    """Return the wall-clock time at which a year begins, s."""
    return (date(year, 1, 1) - _EPOCH.date()).days * DAY_S


class Offsets(NamedTuple):
    """Offsets of a zone from UTC over a stretch of time: `offset_s[i]` from `utc_s[i]` on, integers, shape (n,)."""

    utc_s: np.ndarray
    offset_s: np.ndarray

    def at(self, utc_s: np.ndarray) -> np.ndarray:
        """Return the offset at each UTC time, s."""
        return self.offset_s[np.maximum(np.searchsorted(self.utc_s, utc_s, side="right") - 1, 0)]

    def to_wall(self, utc_s: np.ndarray) -> np.ndarray:
        """Return each UTC time on the wall clock, s."""
        return utc_s + self.at(utc_s)

    def to_utc(self, wall_s: np.ndarray, *, later: bool = False) -> np.ndarray:
        """Return UTC times of wall-clock times, s.

        A time that the clock skips is the moment of the change. One that it shows twice is the first, or with `later` the second.
        """
        if later:
            part = np.maximum(np.searchsorted(self.utc_s + self.offset_s, wall_s, side="right") - 1, 0)
            return np.minimum(wall_s - self.offset_s[part], np.append(self.utc_s[1:], np.inf)[part])
        part = np.searchsorted(self.utc_s[1:] + self.offset_s[:-1], wall_s, side="right")
        return np.maximum(wall_s - self.offset_s[part], np.append(-np.inf, self.utc_s[1:])[part])


@lru_cache(maxsize=64)
def offsets(zone_name: str, from_day: int, to_day: int) -> Offsets:
    """Return the offsets of a zone between two UTC midnights, given as days since 1970-01-01."""
    zone = ZoneInfo(zone_name)
    samples = list(range(from_day * DAY_S, to_day * DAY_S + 1, _SAMPLE_S))
    starts, found = [samples[0]], [_offset(zone, samples[0])]
    for before, after in pairwise(samples):
        offset = _offset(zone, after)
        if offset != found[-1]:
            low, high = before, after  # the change lies above low, at most at high
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == found[-1] else (low, middle)
            starts.append(high)
            found.append(offset)
    return Offsets(np.array(starts), np.array(found))


def _offset(zone: tzinfo, utc_s: int) -> int:
    moved = datetime.fromtimestamp(utc_s, zone).utcoffset()
    assert moved is not None
    return round(moved.total_seconds())


class Calendar(Record):
    """When the run starts, and the clock of its site."""

    start: Annotated[datetime, PlainValidator(read_time), PlainSerializer(write_time),
                     WithJsonSchema({"type": "string", "examples": ["2024-06-01", "2024-06-01T08:00"]})] = Field(
        description=_DATE)
    time_zone: Annotated[str, PlainValidator(_read_zone), WithJsonSchema({"type": "string"})] = Field(
        default="UTC", description="IANA name, such as America/New_York")

    @model_validator(mode="after")
    def _start_exists(self) -> Calendar:
        if self.start.tzinfo is None:
            local = self.start.replace(tzinfo=self.zone)
            back = local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None)
            if back != self.start:
                raise FieldError("start", f"found {write_time(self.start)}, which clocks in {self.time_zone} skip; allowed: such "
                                          f"as {write_time(back)}, or a time with an offset from UTC")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def start_utc_s(self) -> float:
        """The start, s since 1970-01-01T00:00 UTC; a local time that comes twice is the first of the two."""
        start = self.start if self.start.tzinfo else self.start.replace(tzinfo=self.zone, fold=0)
        return start.timestamp()

    def local(self, after_s: float) -> datetime:
        """Return the local time some (true, elapsed) seconds after the start, with its offset."""
        return datetime.fromtimestamp(self.start_utc_s + after_s, self.zone)

    def offsets(self, from_utc_s: float, to_utc_s: float) -> Offsets:
        """Return the zone's offsets from UTC over a stretch of time, with more than a day to spare on both sides."""
        return offsets(self.time_zone, int(from_utc_s // DAY_S) - 2, int(to_utc_s // DAY_S) + 3)

    def clock_hours(self, from_utc_s: float, to_utc_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the start of every stretch within one hour of the local clock: UTC and wall-clock s, each of shape (n,).

        The first is `from_utc_s` itself. A change of the clock starts a new stretch, so an hour that comes twice is two of them.
        """
        zone = self.offsets(from_utc_s, to_utc_s)
        found = [np.array([from_utc_s])]
        for i, start in enumerate(zone.utc_s):
            low = max(float(start), from_utc_s)
            high = min(float(zone.utc_s[i + 1]), to_utc_s) if i + 1 < zone.utc_s.size else to_utc_s
            if low < high:
                offset = zone.offset_s[i]
                first = -(-(low + offset) // HOUR_S) * HOUR_S - offset
                found.append(np.concatenate(([low], np.arange(first, high, HOUR_S))))
        utc_s = np.unique(np.concatenate(found))
        return utc_s, zone.to_wall(utc_s)

    def standard_offset_s(self) -> int:
        """Return the zone's offset from UTC without daylight saving: its smallest in the year after the start, s."""
        return int(self.offsets(self.start_utc_s, self.start_utc_s + 366 * DAY_S).offset_s.min())

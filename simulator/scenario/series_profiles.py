"""Generated hourly profiles: synthetic days and years, sun, wind, and tariffs by the clock.

Each returns the start of its steps (UTC, s) and their values (SI) for whole calendar years, so that a year looks the same
whichever run asks for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema, core_schema

from simulator.fields import Distribution, Quantity, Record, Seed
from simulator.scenario.calendar import HOUR_S, Calendar, wall_dates, year_start_s
from simulator.scenario.checks import FieldError
from simulator.units import QuantityError, format_quantity, shorten

if TYPE_CHECKING:
    from simulator.scenario.series import SeriesOrQuantity

Steps = tuple[np.ndarray, np.ndarray]


class Fixed(Quantity):
    """Annotation of a quantity that no distribution may stand for: what is uncertain in a series is its scale."""

    def read(self, value: Any) -> float:
        """Return the SI value; raise QuantityError for a distribution too."""
        if isinstance(value, dict):
            raise QuantityError(f"found {shorten(value)}; allowed: one quantity (what is uncertain in a series is its `scale`)")
        found = super().read(value)
        assert not isinstance(found, Distribution)
        return found


class OfField:
    """Annotation of a number of the kind of the field that the series stands in; a swing of a temperature is one in degC."""

    def __init__(self, *, swing: bool = False, signed: bool = False) -> None:
        self.swing, self.signed = swing, signed

    def _quantity(self, field: SeriesOrQuantity) -> Fixed:
        if not self.swing:
            return Fixed(field.kind, field.low, field.high)
        return Fixed("temperature" if field.kind == "temperature" else "ratio", -math.inf if self.signed else 0.0)

    def read(self, value: Any, info: ValidationInfo) -> float:
        """Return the SI value."""
        assert info.context is not None
        return self._quantity(info.context["field"]).read(value)

    def write(self, value: float, info: Any) -> Any:
        """Return what a file writes."""
        return format_quantity(value, self._quantity(info.context["field"]).kind)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(self.write, info_arg=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if self.swing:
            return {"type": ["number", "string"], "description": "share of the mean; or a difference such as '5 degC'"}
        return {"type": ["number", "string"], "description": "a quantity of the field's own unit"}


Level = Annotated[float, OfField()]
Swing = Annotated[float, OfField(swing=True)]
SignedSwing = Annotated[float, OfField(swing=True, signed=True)]


def by_years(years: range, make: Callable[[int], Steps]) -> Steps:
    """Return the steps of several years, one after the other."""
    parts = [make(year) for year in years]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


class Synthetic(Record):
    """A made-up hourly profile: a cosine a day, a cosine a year, and weekends; each local year has the mean."""

    mean: Level = Field(description="of every local calendar year, exactly")
    day_swing: Swing = Field(
        default=0.0, description="height of the cosine over a day: a share of the mean, of a temperature degrees")
    year_swing: Swing = Field(default=0.0, description="the same over a year")
    weekend: SignedSwing = Field(
        default=0.0, description="added on Saturday and Sunday: a share of the mean, of a temperature degrees")
    peak_hour: Annotated[float, Fixed("count", high=23.0)] = Field(
        default=18.0, description="local hour of the day's peak. Source: assumed")
    peak_month: Annotated[float, Fixed("count", low=1.0, high=12.0)] = Field(
        default=1.0, description="month at whose middle the year's peak is")

    @model_validator(mode="after")
    def _stays_in_bounds(self, info: ValidationInfo) -> Synthetic:
        assert info.context is not None
        field: SeriesOrQuantity = info.context["field"]
        most = self.day_swing + self.year_swing + abs(self.weekend)
        reach = most if field.kind == "temperature" else abs(self.mean) * most
        if self.mean - reach < field.low or self.mean + reach > field.high:
            raise FieldError("", f"found swings that add up to {most:g}, with which values may leave {field.bounds()}; "
                                 "allowed: smaller swings")
        return self

    def steps(self, calendar: Calendar, years: range, kind: str) -> Steps:
        """Return hourly steps by the local clock."""
        return by_years(years, lambda year: self._year(calendar, year, kind))

    def _year(self, calendar: Calendar, year: int, kind: str) -> Steps:
        utc, wall, end = local_year(calendar, year)
        parts = wall_dates(wall)
        length = (year_start_s(year + 1) - year_start_s(year)) // 86400
        peak_day = (self.peak_month - 0.5) * length / 12.0
        swing = (self.day_swing * np.cos(2.0 * np.pi * (parts.hour - self.peak_hour) / 24.0)
                 + self.year_swing * np.cos(2.0 * np.pi * (parts.year_day + 0.5 - peak_day) / length)
                 + self.weekend * (parts.week_day >= 5))
        widths = np.diff(utc, append=end)
        swing = swing - (swing * widths).sum() / widths.sum()
        return utc, self.mean + (swing if kind == "temperature" else self.mean * swing)


def local_year(calendar: Calendar, year: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the clock hours of a local year, UTC and wall-clock s, and when it ends (UTC)."""
    starts = np.array([year_start_s(year), year_start_s(year + 1)], dtype=float)
    first, end = calendar.offsets(starts[0], starts[1]).to_utc(starts).tolist()
    utc, wall = calendar.clock_hours(first, end)
    return utc, wall, end


def standard_hours(calendar: Calendar, year: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the hours of a year by the zone's standard time, which knows no daylight saving: UTC s, and hours of the year."""
    first, end = (year_start_s(y) - calendar.standard_offset_s() for y in (year, year + 1))
    utc = np.arange(first, end, HOUR_S, dtype=float)
    return utc, np.arange(utc.size)


def scale_to_mean(values: np.ndarray, mean: float) -> float:
    """Return the factor k with which min(k x values, 1) has a given mean: linear between the points where a value is clipped.

    Raises QuantityError where even clipping all that are above 0 does not reach it.
    """
    positive = np.sort(values[values > 0.0])[::-1]
    most = positive.size / values.size
    if mean >= most:
        raise QuantityError(f"found {mean:g}; allowed: less than {most:.3g}, the share of hours with any output")
    rest = np.concatenate((np.cumsum(positive[::-1])[::-1], [0.0]))  # sum of those not among the i largest
    clipped = np.arange(positive.size + 1)
    # The mean at the factor that just clips the i-th largest; it falls with i as a smaller factor clips fewer.
    means = (clipped[:-1] + rest[:-1] / positive) / values.size
    i = int(np.searchsorted(means, mean, side="right"))  # the i largest are clipped
    return float((mean * values.size - i) / rest[i])


class Solar(Record):
    """A made-up clear sky: output follows the sine of the sun's elevation, scaled to a capacity factor, at most capacity."""

    capacity_w: Annotated[float, Fixed("power")] = Field(description="most power")
    capacity_factor: Annotated[float, Fixed("ratio", high=0.4, above=True)] = Field(
        description="mean of every year over capacity")
    latitude: Annotated[float, Fixed("count", low=-66.0, high=66.0)] = Field(
        description="degrees north; the sun is highest at 12:00 of the zone's standard time")

    def steps(self, calendar: Calendar, years: range, kind: str) -> Steps:
        """Return hourly steps by the zone's standard time, with the sun highest at noon."""
        return by_years(years, lambda year: self._year(calendar, year))

    def _year(self, calendar: Calendar, year: int) -> Steps:
        utc, hours = standard_hours(calendar, year)
        height = np.maximum(sun_height(hours // 24 + 1, hours % 24 + 0.5, self.latitude), 0.0)
        return utc, self.capacity_w * np.minimum(scale_to_mean(height, self.capacity_factor) * height, 1.0)


def sun_height(day: np.ndarray, hour: np.ndarray, latitude: float) -> np.ndarray:
    """Return the sine of the sun's elevation.

    Declination 23.45 deg sin(360 deg (284 + day) / 365): P. I. Cooper, Solar Energy 12 (1969), p. 333-346. Elevation from
    latitude, declination and hour angle: Duffie and Beckman, Solar Engineering of Thermal Processes, equation 1.6.5. Both
    FROM MEMORY.

    Parameters
    ----------
    day : ndarray
        Day of the year, from 1.
    hour : ndarray
        Solar time, h.
    latitude : float
        Degrees.
    """
    declination = np.radians(23.45) * np.sin(2.0 * np.pi * (284 + day) / 365.0)
    angle = np.radians(15.0 * (hour - 12.0))
    north = math.radians(latitude)
    return math.sin(north) * np.sin(declination) + math.cos(north) * np.cos(declination) * np.cos(angle)


class Wind(Record):
    """Made-up wind: an AR(1) of normal numbers, as Rayleigh wind speeds through a power curve, scaled to a capacity factor."""

    capacity_w: Annotated[float, Fixed("power")] = Field(description="most power")
    capacity_factor: Annotated[float, Fixed("ratio", high=0.7, above=True)] = Field(
        description="mean of every year over capacity")
    seed: Seed = Field(default=1, description="the same seed gives the same wind in the same year")
    persistence_s: Annotated[float, Fixed("time", low=HOUR_S, high=30 * 86400.0)] = Field(
        default=24.0 * HOUR_S, description="time in which correlation falls to 1/e. Source: assumed")

    def steps(self, calendar: Calendar, years: range, kind: str) -> Steps:
        """Return hourly steps; each year has its own stretch of the random stream."""
        return by_years(years, lambda year: self._year(calendar, year))

    def _year(self, calendar: Calendar, year: int) -> Steps:
        from scipy.signal import lfilter
        from scipy.special import log_ndtr

        utc, _ = standard_hours(calendar, year)
        normal = np.random.Generator(np.random.Philox(key=[self.seed, year])).standard_normal(utc.size)
        memory = math.exp(-HOUR_S / self.persistence_s)
        normal[1:] *= math.sqrt(1.0 - memory**2)
        correlated = lfilter([1.0], [1.0, -memory], normal)
        speed = np.sqrt(-log_ndtr(-correlated))  # of unit scale: P(speed > v) = exp(-v^2)
        return utc, self.capacity_w * power_curve(speed * _speed_for(speed, self.capacity_factor))


_CUT_IN, _RATED = 3.0, 12.0  # m/s, as of many turbines of today (FROM MEMORY); no cut-out, which hours above 25 m/s would meet


def power_curve(speed: np.ndarray) -> np.ndarray:
    """Return output over capacity at wind speeds in m/s: cubic from cut-in to rated speed."""
    cube = (speed**3 - _CUT_IN**3) / (_RATED**3 - _CUT_IN**3)
    return np.clip(cube, 0.0, 1.0)


def _speed_for(speed: np.ndarray, mean: float) -> float:
    """Return the wind speed by which to multiply, so that mean output over capacity is `mean`."""
    from scipy.optimize import brentq

    found: float = brentq(lambda scale: float(power_curve(speed * scale).mean()) - mean, 0.1, 200.0, xtol=1e-13, rtol=1e-14)
    return found


_RANGE = re.compile(r"(\d{1,2})\s*-\s*(\d{1,2})")


class ClockRange:
    """Annotation of `14-20` (hours, from the first until the last) or `6-9` (months, both included); 22-6 passes midnight."""

    def __init__(self, low: int, high: int, what: str) -> None:
        self.low, self.high, self.what = low, high, what

    def read(self, value: Any) -> tuple[int, int]:
        """Return both ends."""
        match = _RANGE.fullmatch(value.strip()) if isinstance(value, str) else None
        ends = (int(match[1]), int(match[2])) if match else value
        if self.high == 12 and isinstance(value, int | str) and str(value).strip().isdecimal():
            ends = (int(value), int(value))
        if (not isinstance(ends, tuple | list) or len(ends) != 2 or not all(isinstance(end, int) for end in ends)
                or not all(self.low <= end <= self.high for end in ends) or (self.low == 0 and ends[0] % 24 == ends[1] % 24
                                                                             and tuple(ends) != (0, 24))):
            raise QuantityError(f"found {shorten(value)}; allowed: {self.what}")
        return int(ends[0]), int(ends[1])

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(lambda ends: f"{ends[0]}-{ends[1]}"))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": ["string", "integer"], "description": self.what}


Hours = Annotated[tuple[int, int], ClockRange(0, 24, "local hours from and until, such as 14-20; 22-6 passes midnight")]
Months = Annotated[tuple[int, int], ClockRange(1, 12, "months, both included, such as 6-9 or 7; 11-2 passes new year")]
_DAYS = {"weekdays": slice(0, 1), "weekends": slice(1, 2), "all": slice(0, 2)}


class Period(Record):
    """Hours of some days and months that have a price of their own."""

    hours: Hours = Field(
        default=(0, 24), description="from the start of the first until the start of the last; `22-6` passes midnight (by the "
                                     "hour, not the date: days and months are those of each hour itself)")
    days: Literal["weekdays", "weekends", "all"] = Field(
        default="all", description="Monday to Friday, Saturday and Sunday, or all; holidays are not known")
    months: Months = Field(default=(1, 12), description="both included; `7` alone, `11-2` passes new year")
    price: Level = Field(description="level in the period")


class Tariff(Record):
    """A level by the local clock: a base, and periods of which the last that applies counts."""

    base: Level = Field(description="level where no period applies")
    periods: tuple[Period, ...] = Field(default=(), description="of those that apply, the last counts")

    def steps(self, calendar: Calendar, years: range, kind: str) -> Steps:
        """Return steps by the wall clock: a skipped hour is not there, a doubled one twice."""
        table = self.table()
        parts = [local_year(calendar, year)[:2] for year in years]
        utc, wall = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        date = wall_dates(wall)
        values = table[date.month - 1, (date.week_day >= 5).astype(int), date.hour]
        changes = np.append(True, values[1:] != values[:-1])
        return utc[changes], values[changes]

    def table(self) -> np.ndarray:
        """Return the level by month, weekday or weekend, and hour, shape (12, 2, 24)."""
        table = np.full((12, 2, 24), self.base)
        for period in self.periods:
            hours = np.zeros(24, dtype=bool)
            hours[_cyclic(period.hours[0], period.hours[1] - 1, 24)] = True
            months = np.zeros(12, dtype=bool)
            months[_cyclic(period.months[0] - 1, period.months[1] - 1, 12)] = True
            days = np.zeros(2, dtype=bool)
            days[_DAYS[period.days]] = True
            table[np.ix_(months, days, hours)] = period.price
        return table


def _cyclic(first: int, last: int, length: int) -> np.ndarray:
    """Return the numbers from first to last, both included, around a cycle; `-1` is its end."""
    return (first + np.arange((last - first) % length + 1)) % length

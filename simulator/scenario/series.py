"""A quantity that changes over the run: hourly prices, carbon, weather, caps, sun and wind.

`SeriesOrQuantity` is the annotation of a field that may hold a number, a distribution or a `Series`; `steps` turns a series
into a piecewise-constant function of the seconds since the run's start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import (
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from simulator.errors import UserError, unknown_name
from simulator.fields import DISTRIBUTIONS, Distribution, PositiveSeconds, Quantity, Ratio, Record, file_key
from simulator.scenario.calendar import DAY_S, HOUR_S, Calendar, Offsets, read_time, wall_dates, wall_time, write_time, year_start_s
from simulator.scenario.checks import FieldError, central
from simulator.scenario.series_csv import Rows, check_unit, csv_rows, inline_rows, make_rows
from simulator.scenario.series_profiles import Solar, Synthetic, Tariff, Wind
from simulator.units import KINDS, QuantityError

FORMS = ("csv", "rows", "synthetic", "solar", "wind", "tariff")
_ROWS_ONLY = ("unit", "until", "repeat")
_KEYS_OF = {"csv": ("column", "time", *_ROWS_ONLY), "rows": ("spacing", *_ROWS_ONLY)}
Time = Annotated[datetime, PlainValidator(read_time), PlainSerializer(write_time), WithJsonSchema({"type": "string"})]


class Series(Record):
    """A quantity over time, in exactly one of the forms of `FORMS`; made by the field it stands in, which knows its unit."""

    csv: str | None = Field(default=None, min_length=1, description="CSV file of times and values, relative to the scenario file")
    column: str | None = Field(default=None, description="column of values; absent: the second")
    time: str | None = Field(default=None, description="column of times (ISO 8601); absent: the first")
    rows: Any = Field(default=None, description="[time, value] each; a value holds until the next time",
                      json_schema_extra={"type": ["array", "string"]})
    unit: str | None = Field(default=None, description="unit of the values, such as USD/MWh")
    spacing_s: PositiveSeconds | None = Field(default=None, description="between values of rows written as one text")
    until: Time | None = Field(
        default=None, description="when the last row ends; absent: after the spacing of the last two rows")
    repeat: bool = Field(default=False, description="use the rows for the same month, day and hour of other years")
    synthetic: Synthetic | None = None
    solar: Solar | None = None
    wind: Wind | None = None
    tariff: Tariff | None = None
    scale: Ratio = Field(default=1.0, description="factor on all values; a distribution here is drawn once a trial")
    _kind: str = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            return value
        given = [form for form in FORMS if value.get(form) is not None]
        if len(given) != 1:
            found = " and ".join(repr(form) for form in given) or "none of them"
            raise FieldError(given[1] if given else "", f"found {found}; allowed: one of {', '.join(FORMS)}")
        form = given[0]
        assert info.context is not None
        field: SeriesOrQuantity = info.context["field"]
        if form in ("solar", "wind") and field.kind != "power":
            raise FieldError(form, f"found a series of power; allowed here: {', '.join(FORMS[:3])}, tariff")
        for key in ("column", "time", "spacing", *_ROWS_ONLY):
            if value.get(key) is not None and key not in _KEYS_OF.get(form, ()):
                raise FieldError(key, f"found it beside {form!r}; allowed: only beside "
                                      f"{' or '.join(repr(f) for f in _KEYS_OF if key in _KEYS_OF[f])}")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _read_rows(cls, value: Any, handler: Any, info: ValidationInfo) -> Series:
        made: Series = handler(value)
        assert info.context is not None
        field: SeriesOrQuantity = info.context["field"]
        made._kind = field.kind
        if made.form in ("csv", "rows") and not isinstance(made.rows, Rows):
            rows = _rows(made, field)
            update = {"csv": None, "column": None, "time": None, "unit": None, "spacing_s": None, "until": None, "rows": rows}
            return made.model_copy(update=update)
        return made

    @property
    def form(self) -> str:
        """Which of `FORMS` it has."""
        return next(form for form in FORMS if getattr(self, form) is not None)

    @property
    def kind(self) -> str:
        """A key of `units.KINDS`."""
        return self._kind

    def describe(self) -> str:
        """Return what a report says of it in a few words; what is made up is called synthetic."""
        if self.form == "rows":
            return f"{self.rows!r}" + (f" of {self.rows.source}" if self.rows.source else "") + (", repeated" if self.repeat else "")
        return "tariff by the local clock" if self.form == "tariff" else f"synthetic {self.form.replace('synthetic', 'profile')}"

    def to_file(self) -> dict[str, Any]:
        """Return the mapping a scenario file writes; rows of a CSV file stand in it."""
        context = {"field": SeriesOrQuantity(self._kind, low=-math.inf)}
        written = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"rows"}, context=context)
        if isinstance(self.rows, Rows):
            return {**self.rows.to_file(), **written}
        del written["repeat"]  # a key of rows alone
        return written


_KEYS = frozenset(file_key(name) for name in Series.model_fields)


def _rows(series: Series, field: SeriesOrQuantity) -> Rows:
    kind, source = field.kind, series.csv or ""
    try:
        listed = series.csv is None and not isinstance(series.rows, str)
        unit = KINDS[kind][0] if listed and series.unit is None else check_unit(series.unit, kind)
    except QuantityError as error:
        raise FieldError("unit", str(error)) from None
    try:
        found = (csv_rows(series.csv, series.time, series.column) if series.csv is not None
                 else inline_rows(series.rows, series.unit, central(series.spacing_s or 0.0), kind))
        return make_rows(found, unit, kind, series.until, (field.low, field.high), source)
    except QuantityError as error:
        raise FieldError(series.form, str(error)) from None


class SeriesOrQuantity(Quantity):
    """Annotation of a quantity, a distribution or a `Series` of one kind, within bounds."""

    def read(self, value: Any) -> Any:
        """Return the SI value, the distribution or the series."""
        if isinstance(value, Series):
            return value
        if not isinstance(value, dict) or set(value) & set(DISTRIBUTIONS):
            return super().read(value)
        if set(value) & _KEYS:
            return Series.model_validate(value, context={"field": self})
        if len(value) == 1:
            raise QuantityError(unknown_name("distribution or series", str(next(iter(value))), (*DISTRIBUTIONS, *FORMS)))
        return super().read(value)

    def write(self, value: Any) -> Any:
        """Return what a file writes."""
        return value.to_file() if isinstance(value, Series) else super().write(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = super().__get_pydantic_json_schema__(schema, handler)
        series = handler(Series.__pydantic_core_schema__)
        return {"anyOf": [*text["anyOf"], series], "description": f"{text['description']}; or a series over time"}


class _Profile(NamedTuple):
    """A series without its scale: values from UTC times on, and the stretch that it covers."""

    utc_s: np.ndarray
    values: np.ndarray
    from_s: float
    until_s: float


def steps(series: Series, calendar: Calendar, until_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a series as a function of the run's time.

    Parameters
    ----------
    series : Series
        A scale that is still a distribution counts with its central value.
    calendar : Calendar
        When the run starts and by which clock.
    until_s : float
        How far it must reach, s after the start.

    Returns
    -------
    times_s, values : ndarray, shape (n,)
        `values[i]` (SI) holds from `times_s[i]` s after the start, in elapsed time, until the next; `times_s[0] <= 0`.

    Raises
    ------
    UserError
        Rows that do not reach as far as the run, or that contradict the clock of the calendar.
    """
    start = calendar.start_utc_s
    years = (calendar.local(0.0).year - 1, calendar.local(until_s).year + 2)  # a year to spare: the clock of rows may be another
    profile = _profile(_unscaled(series), series.kind, calendar, *(years if _needs_years(series) else (0, 0)))
    if profile.from_s > start or profile.until_s < start + until_s:
        raise UserError(_beyond(series, calendar, profile, until_s))
    first = int(np.searchsorted(profile.utc_s, start, side="right")) - 1
    last = max(int(np.searchsorted(profile.utc_s, start + until_s, side="left")), first + 1)
    return profile.utc_s[first:last] - start, profile.values[first:last] * central(series.scale)


def _unscaled(series: Series) -> Any:
    return series.rows, series.repeat, series.synthetic or series.solar or series.wind or series.tariff


def _needs_years(series: Series) -> bool:
    return series.repeat or series.rows is None


@lru_cache(maxsize=64)
def _profile(form: tuple[Rows | None, bool, Any], kind: str, calendar: Calendar, first_year: int, end_year: int) -> _Profile:
    rows, repeat, generated = form
    if rows is None:
        utc, values = generated.steps(calendar, range(first_year, end_year), kind)
        profile = _Profile(utc, values, float(utc[0]), math.inf)
    elif not repeat:
        profile = direct(rows, calendar)
    else:
        profile = _repeated(rows, calendar, year_start_s(first_year), year_start_s(end_year))
    profile.utc_s.setflags(write=False)
    profile.values.setflags(write=False)
    return profile


def _beyond(series: Series, calendar: Calendar, profile: _Profile, until_s: float) -> str:
    def show(utc_s: float) -> str:
        return write_time(datetime.fromtimestamp(utc_s, calendar.zone))

    start = calendar.start_utc_s
    return (f"{series.rows.source or 'rows'}: found rows from {show(profile.from_s)} until {show(profile.until_s)}, but the run needs "
            f"{show(start)} until {show(start + until_s)}; allowed: rows for all of it, or `repeat: true` for rows of a year or more")


def _clock(rows: Rows, calendar: Calendar, from_s: float, to_s: float) -> Offsets:
    """Return the clock of rows: a fixed offset from UTC, or that of the calendar."""
    if rows.offset_s is None:
        return calendar.offsets(from_s, to_s)
    return Offsets(np.array([-(1 << 50)]), np.array([rows.offset_s]))


def direct(rows: Rows, calendar: Calendar) -> _Profile:
    """Return rows at the UTC times at which they stand.

    A local time that comes twice is the second where the row before already stands at the first; one row alone covers both.
    Rows within an hour that the clock skips take no time.
    """
    clock = _clock(rows, calendar, rows.clock_s[0], rows.end_s)
    at = np.append(rows.clock_s, rows.end_s)
    utc, later = clock.to_utc(at), clock.to_utc(at, later=True)
    for i in np.flatnonzero(later > utc):
        if i and utc[i] <= utc[i - 1]:
            utc[i] = later[i]
    skipped = (np.diff(utc) == 0.0) & (np.diff(at) > 0.0)
    wrong = (np.diff(utc) <= 0.0) & ~skipped
    if wrong.any():
        i = int(wrong.argmax()) + 1
        raise UserError(f"{rows.source or 'rows'}: found {rows.show(at[i])} after {rows.show(at[i - 1])}; allowed: times that rise on the "
                        f"clock of {calendar.time_zone}")
    keep = ~skipped
    return _Profile(utc[:-1][keep], rows.values[keep], float(utc[0]), float(utc[-1]))


def _repeated(rows: Rows, calendar: Calendar, from_s: float, to_s: float) -> _Profile:
    """Return rows where they stand, and before and after them those of the same month, day and hour."""
    inside = direct(rows, calendar)
    parts = [_transplanted(rows, calendar, from_s, min(inside.from_s, to_s)), (inside.utc_s, inside.values),
             _transplanted(rows, calendar, max(inside.until_s, from_s), to_s)]
    utc, values = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return _Profile(utc, values, min(from_s, inside.from_s), max(to_s, inside.until_s))


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
        raise UserError(f"{rows.source or 'rows'}: found no row for {lacking:%d %B %H:%M} in rows from {rows.show(rows.clock_s[0])} until "
                        f"{rows.show(rows.end_s)}; allowed with `repeat: true`: rows for every hour of a year")
    return found

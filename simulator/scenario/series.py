"""A quantity that changes over the run: hourly prices, carbon, weather, caps, sun and wind.

`SeriesOrQuantity` is the annotation of a field that may hold a number, a distribution or a `Series`; `steps` turns a series
into a piecewise-constant function of the seconds since the run's start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, get_args

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
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from simulator.errors import UserError, unknown_name
from simulator.fields import DISTRIBUTIONS, Quantity, Ratio, Record, file_key
from simulator.scenario.calendar import DAY_S, Calendar, read_time, write_time, year_start_s
from simulator.scenario.checks import FieldError, central
from simulator.scenario.series_clock import Profile, direct, repeated
from simulator.scenario.series_csv import Rows, check_unit, csv_rows, inline_rows, make_rows
from simulator.scenario.series_profiles import Fixed, Solar, Synthetic, Tariff, Wind
from simulator.units import KINDS, QuantityError

FORMS = ("csv", "rows", "synthetic", "solar", "wind", "tariff")
_ROWS_ONLY = ("unit", "until", "repeat")
_KEYS_OF = {"csv": ("column", "time", *_ROWS_ONLY), "rows": ("spacing", *_ROWS_ONLY)}
Time = Annotated[datetime, PlainValidator(read_time), PlainSerializer(write_time), WithJsonSchema({"type": "string"})]


class Series(Record):
    """A quantity over time, in exactly one of the forms of `FORMS`; made by the field it stands in, which knows its unit."""

    csv: str | None = Field(
        default=None, min_length=1, description="file with a header, UTF-8, commas, relative to the scenario file; at most "
                                                "1,000,000 rows")
    column: str | None = Field(default=None, description="column of values; absent: the second")
    time: str | None = Field(default=None, description="column of times (ISO 8601); absent: the first")
    rows: Any = Field(
        default=None, json_schema_extra={"type": ["array", "string"]}, description="a list of [time, value], or one text in "
                                                                                   "which each time stands before a run of "
                                                                                   "values")
    unit: str | None = Field(default=None, description="unit of the values, such as USD/MWh; needed with `csv` and a text")
    spacing_s: Annotated[float, Fixed("time", above=True)] | None = Field(
        default=None, description="between values of rows written as one text")
    until: Time | None = Field(
        default=None, description="when the last row ends; absent: as long after it as it is after the row before")
    repeat: bool = Field(
        default=False, description="before and after the rows, take those of the same month, day and hour of the latest year "
                                   "that has them")
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
            of = f" of {self.rows.source}" if self.rows.source else ""
            return f"{self.rows!r}{of}{', repeated' if self.repeat else ''}"
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
                 else inline_rows(series.rows, series.unit, series.spacing_s, kind))
        return make_rows(found, unit, kind, series.until, (field.low, field.high), source)
    except QuantityError as error:
        raise FieldError(series.form, str(error)) from None


class SeriesOrQuantity(Quantity):
    """Annotation of a quantity, a distribution or a `Series` of one kind, within bounds; of a field `float | Series`."""

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
        if value is None:  # the default of a field that may lack it
            return None
        return value.to_file() if isinstance(value, Series) else super().write(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = super().__get_pydantic_json_schema__(schema, handler)
        series = handler(Series.__pydantic_core_schema__)
        return {"anyOf": [*text["anyOf"], series], "description": f"{text['description']}; or a series over time"}


_SPARE_S = 2 * DAY_S  # profiles are made for whole years of their own clock, which may be another than the calendar's
MAX_RUN_S = 100 * 366 * DAY_S


def check_length(until_s: float) -> None:
    """Raise UserError for a run too long to be laid over a calendar."""
    if not until_s <= MAX_RUN_S:
        raise UserError(f"found a run of {until_s / (365.25 * DAY_S):.3g} years; allowed with a calendar: at most 100 years")


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
    check_length(until_s)
    start = calendar.start_utc_s
    years = (calendar.local(-_SPARE_S).year, calendar.local(until_s + _SPARE_S).year + 1)
    profile = _profile(_unscaled(series), series.kind, calendar, *(years if _needs_years(series) else (0, 0)))
    if not profile.from_s <= start < profile.until_s or profile.until_s < start + until_s:
        raise UserError(_beyond(series, calendar, profile, until_s))
    first = int(np.searchsorted(profile.utc_s, start, side="right")) - 1
    last = max(int(np.searchsorted(profile.utc_s, start + until_s, side="left")), first + 1)
    return profile.utc_s[first:last] - start, profile.values[first:last] * central(series.scale)


def _unscaled(series: Series) -> Any:
    return series.rows, series.repeat, series.synthetic or series.solar or series.wind or series.tariff


def _needs_years(series: Series) -> bool:
    return series.repeat or series.rows is None


@lru_cache(maxsize=64)
def _profile(form: tuple[Rows | None, bool, Any], kind: str, calendar: Calendar, first_year: int, end_year: int) -> Profile:
    rows, repeat, generated = form
    if rows is None:
        utc, values = generated.steps(calendar, range(first_year, end_year), kind)
        profile = Profile(utc, values, float(utc[0]), math.inf)
    elif not repeat:
        profile = direct(rows, calendar)
    else:
        profile = repeated(rows, calendar, year_start_s(first_year), year_start_s(end_year))
    profile.utc_s.setflags(write=False)
    profile.values.setflags(write=False)
    return profile


def _beyond(series: Series, calendar: Calendar, profile: Profile, until_s: float) -> str:
    def show(utc_s: float) -> str:
        return write_time(datetime.fromtimestamp(utc_s, calendar.zone))

    start = calendar.start_utc_s
    needs = f"{show(start)} until {show(start + until_s)}" if until_s > 0.0 else f"{show(start)}, its start"
    return (f"{series.rows.name}: found rows from {show(profile.from_s)} until {show(profile.until_s)}, but the run "
            f"needs {needs}; allowed: rows for all of it, or `repeat: true` with rows of a year or more")


def series_of(record: Record, path: str = "") -> Iterator[tuple[str, Series]]:
    """Yield every series in a record, with its path in file form."""
    for name in type(record).model_fields:
        value, key = getattr(record, name), file_key(name)
        for end, item in enumerate(value) if isinstance(value, tuple) else (("", value),):
            here = ".".join(str(step) for step in (path, key, end) if step != "")
            if isinstance(item, Series):
                yield here, item
            elif isinstance(item, Record):
                yield from series_of(item, here)


def check_series(record: Record, calendar: Calendar | None) -> None:
    """Raise FieldError for a series without a calendar, or one that has no value at the start or contradicts the clock."""
    for path, series in series_of(record):
        if calendar is None:
            raise FieldError("calendar", f"missing, but {path} changes over time; allowed: a calendar such as "
                                         "{start: 2024-06-01, time_zone: America/New_York}")
        try:
            steps(series, calendar, 0.0)
        except (UserError, QuantityError) as error:
            raise FieldError(path, str(error)) from None


def series_paths(root: type[Record], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths (keys of a file) of the fields of a record that may hold a series, lists left out."""
    for name, field in root.model_fields.items():
        here = (*path, file_key(name))
        if holds_series(field):
            yield here
        for option in (field.annotation, *get_args(field.annotation)):
            if isinstance(option, type) and issubclass(option, Record):
                yield from series_paths(option, here)


def holds_series(field: FieldInfo) -> bool:
    """Whether a field may hold a series."""
    inside = [extra for option in get_args(field.annotation) for extra in getattr(option, "__metadata__", ())]
    return any(isinstance(extra, SeriesOrQuantity) for extra in (*field.metadata, *inside))

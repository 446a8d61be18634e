"""The calendar: bills across changes of the clock and leap days against sums over every minute, taken with `zoneinfo` alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kernels.calendar import integrate_product
from simulator.accounting.grid import Grid, build_grid
from simulator.errors import UserError
from simulator.scenario.calendar import Calendar, offsets
from tests.simulator.series_fields import fields

HOUR = 3600.0
# A zone, the local start of 48 hours around what is special there, and the hours of the local day after.
DAYS = {
    "New York loses an hour": ("America/New_York", "2024-03-09T12:00", "2024-03-10", 23.0),
    "New York gains an hour": ("America/New_York", "2024-11-02T12:00", "2024-11-03", 25.0),
    "Paris loses an hour": ("Europe/Paris", "2024-03-30T12:20", "2024-03-31", 23.0),
    "Paris gains an hour": ("Europe/Paris", "2024-10-26T12:00", "2024-10-27", 25.0),
    "Lord Howe gains half an hour": ("Australia/Lord_Howe", "2024-04-06T12:00", "2024-04-07", 24.5),
    "Lord Howe loses half an hour": ("Australia/Lord_Howe", "2024-10-05T12:00", "2024-10-06", 23.5),
    "India is at half past": ("Asia/Kolkata", "2024-06-01T08:00", "2024-06-02", 24.0),
    "Nepal is at a quarter to": ("Asia/Kathmandu", "2024-06-01T08:10", "2024-06-02", 24.0),
    "a leap day": ("Europe/Paris", "2024-02-28T12:00", "2024-02-29", 24.0),
    "a year ends": ("Asia/Kolkata", "2023-12-31T06:00", "2024-01-01", 24.0),
    "Samoa": ("Pacific/Apia", "2011-12-29T12:00", "2011-12-30", 0.0),  # a day that never was
}
TARIFF = {"tariff": {"base": "0.06 USD/kWh", "periods": [
    {"hours": "14-20", "days": "weekdays", "price": "0.15 USD/kWh"}, {"hours": "22-6", "price": "0.03 USD/kWh"},
    {"hours": "1-3", "days": "weekends", "price": "0.5 USD/kWh"}, {"months": "12-2", "hours": "3-4", "price": "0.9 USD/kWh"}]}}


def calendar(start: str, zone: str = "UTC") -> Calendar:
    return Calendar.model_validate({"start": start, "time_zone": zone})


def tariff_slowly(local: datetime) -> float:
    """The price of `TARIFF`, USD/kWh, written out."""
    price = 0.06
    if 14 <= local.hour < 20 and local.weekday() < 5:
        price = 0.15
    if local.hour >= 22 or local.hour < 6:
        price = 0.03
    if 1 <= local.hour < 3 and local.weekday() >= 5:
        price = 0.5
    if local.hour == 3 and local.month in (12, 1, 2):
        price = 0.9
    return price


def power_w(minute: int) -> float:
    """A power that changes every 17 minutes, so never with the hour."""
    return float(1000 + minute // 17 * 7919 % 101)


def by_minutes(start_utc_s: float, zone: str, minutes: int, value: Callable[[datetime], float]) -> Fraction:
    """The integral of power times a value of local time, minute by minute, in fractions."""
    total = Fraction(0)
    start = datetime.fromtimestamp(start_utc_s, UTC)
    for minute in range(minutes):
        local = (start + timedelta(minutes=minute)).astimezone(ZoneInfo(zone))
        total += Fraction(power_w(minute)) * Fraction(value(local)) * 60
    return total


def on_grid(grid: Grid, name: str, minutes: int) -> float:
    """The same integral by the kernel, on the bins of the grid and of the power."""
    edges = np.union1d(grid.edges_s, np.append(np.arange(0, minutes, 17), minutes) * 60.0)
    middle = (edges[:-1] + edges[1:]) / 2
    values = grid.values[name][np.searchsorted(grid.edges_s, middle, side="right") - 1]
    power = np.array([power_w(int(at // 60)) for at in middle])
    return integrate_product(edges, power, values, 0.0, minutes * 60.0)


@pytest.mark.parametrize("case", DAYS)
def test_a_bill_by_the_clock_is_the_sum_over_every_minute(case: str) -> None:
    zone, start, _, _ = DAYS[case]
    local, minutes = calendar(start, zone), 48 * 60
    grid = build_grid(local, {"price": fields(price=TARIFF).price_usd_per_j}, minutes * 60.0)
    expected = by_minutes(local.start_utc_s, zone, minutes, tariff_slowly)
    assert on_grid(grid, "price", minutes) * 3.6e6 == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("case", DAYS)
def test_hours_and_months_are_those_of_the_wall_clock(case: str) -> None:
    zone, start, _, _ = DAYS[case]
    local = calendar(start, zone)
    grid = build_grid(local, {}, 40 * 24 * HOUR)
    assert (np.diff(grid.edges_s) > 0).all()
    assert (np.diff(grid.edges_s) <= HOUR).all()
    for i, (low, high) in enumerate(zip(grid.edges_s[:-1], grid.edges_s[1:], strict=True)):
        for at in (low, (low + high) / 2, high - 1.0):
            shown = local.local(at)
            assert (shown.hour, f"{shown:%Y-%m}") == (grid.hour_of_day[i], grid.months[grid.month[i]])


@pytest.mark.parametrize("case", [case for case in DAYS if case != "Samoa"])
def test_a_local_day_has_its_hours(case: str) -> None:
    zone, start, day, hours = DAYS[case]
    local = calendar(start, zone)
    grid = build_grid(local, {}, 60 * HOUR)
    dates = [f"{local.local(at):%Y-%m-%d}" for at in grid.edges_s[:-1]]
    inside = [d == day for d in dates]
    assert np.diff(grid.edges_s)[inside].sum() == hours * HOUR


def test_hourly_data_of_one_year_serve_another_across_both_changes_of_the_clock() -> None:
    hourly = [[f"2023-{month:02}-{day:02}T{hour:02}:00", month * 10_000 + day * 100 + hour]
              for month, days in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), start=1)
              for day in range(1, days + 1) for hour in range(24)]
    series = fields(price={"rows": hourly, "unit": "USD/MWh", "repeat": True}).price_usd_per_j

    def price(local: datetime) -> float:
        day = 28 if (local.month, local.day) == (2, 29) else local.day
        return local.month * 10_000 + day * 100 + local.hour

    for zone, start in (("America/New_York", "2024-03-09T12:00"), ("America/New_York", "2024-11-02T12:00"),
                        ("Europe/Paris", "2024-02-28T12:00"), ("Australia/Lord_Howe", "2024-04-06T12:00"),
                        ("Australia/Lord_Howe", "2024-10-05T12:00"), ("Asia/Kolkata", "2023-12-31T12:00")):
        local, minutes = calendar(start, zone), 48 * 60
        grid = build_grid(local, {"price": series}, minutes * 60.0)
        expected = by_minutes(local.start_utc_s, zone, minutes, price)
        assert on_grid(grid, "price", minutes) * 3.6e9 == pytest.approx(float(expected), rel=1e-12), (zone, start)


def test_a_leap_years_data_serve_a_common_year_and_the_next_leap_year() -> None:
    days = [[f"{datetime(2024, 1, 1) + timedelta(days=day):%Y-%m-%dT%H:%M}Z", day] for day in range(366)]
    series = fields(price={"rows": days, "unit": "USD/MWh", "repeat": True}).price_usd_per_j
    for start, first in (("2023-02-27", [57, 58, 60, 61]), ("2028-02-27", [57, 58, 59, 60])):
        grid = build_grid(calendar(start), {"price": series}, 96 * HOUR)
        assert (grid.values["price"][::24] * 3.6e9).round().tolist() == first


@given(st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Europe/Dublin", "Africa/Casablanca",
                        "Pacific/Apia", "America/Sao_Paulo", "Asia/Tehran", "America/St_Johns", "UTC"]),
       st.integers(40 * 365 * 24, 65 * 365 * 24))
def test_offsets_are_those_of_zoneinfo_at_any_hour(zone: str, hour: int) -> None:
    day = hour // 24
    found = offsets(zone, day - 200, day + 200)
    for second in (hour * 3600, hour * 3600 + 1799, hour * 3600 + 3599):
        moved = datetime.fromtimestamp(second, ZoneInfo(zone)).utcoffset()
        assert moved is not None
        assert found.at(np.array([second])).tolist() == [moved.total_seconds()]


@given(st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Europe/Dublin", "Africa/Casablanca", "Asia/Tehran"]),
       st.integers(0, 365 * 96), st.booleans())
def test_wall_clock_times_become_utc_as_zoneinfo_says(zone: str, quarter: int, later: bool) -> None:
    wall = datetime(2024, 1, 1) + timedelta(minutes=15 * quarter)
    seconds = (wall - datetime(1970, 1, 1)).total_seconds()
    found = offsets(zone, 19700, 20100).to_utc(np.array([seconds]), later=later)[0]
    aware = wall.replace(tzinfo=ZoneInfo(zone), fold=later)
    expected = aware.timestamp()
    if datetime.fromtimestamp(expected, ZoneInfo(zone)).replace(tzinfo=None) == wall:
        assert found == expected
    else:  # skipped: the moment of the change, just before which the clock shows less, and from which on it shows more
        before, after = (datetime.fromtimestamp(found + d, ZoneInfo(zone)).replace(tzinfo=None) for d in (-1, 0))
        assert before < wall < after


def test_a_start_that_comes_twice_is_the_first_of_the_two() -> None:
    assert calendar("2024-11-03T01:30", "America/New_York").local(0.0).isoformat() == "2024-11-03T01:30:00-04:00"
    second = calendar("2024-11-03T01:30-05:00", "America/New_York")
    assert second.start_utc_s - calendar("2024-11-03T01:30", "America/New_York").start_utc_s == HOUR


@pytest.mark.parametrize(("start", "zone", "words"), [
    ("2024-03-10T02:30", "America/New_York", ["2024-03-10T02:30", "skip", "2024-03-10T03:30"]),
    ("2024-06-01", "America/NewYork", ["unknown time zone", "did you mean 'America/New_York'?"]),
    ("2024-06-01", "../etc/passwd", ["unknown time zone"]),
    ("2024-06-01", "America", ["unknown time zone"]),
    ("2024-06-31", "UTC", ["2024-06-31", "2024-06-01"]),
    ("June", "UTC", ["June", "2024-06-01"]),
    ("1066-10-14", "UTC", ["1971"]),
    (20240601.5, "UTC", ["20240601.5"]),
])
def test_a_calendar_that_is_none_says_what_is_allowed(start: Any, zone: str, words: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Calendar.model_validate({"start": start, "time_zone": zone})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("start", ["2024-06-01", "2024-06-01T08:00", "2024-06-01T08:00:30", "2024-06-01T08:00+02:00"])
def test_a_calendar_is_read_back_as_it_was(start: str) -> None:
    local = calendar(start, "Europe/Paris")
    assert Calendar.model_validate(local.to_file()) == local


def test_constants_are_constant_and_a_grid_ends_with_the_run() -> None:
    grid = build_grid(calendar("2024-12-31T23:15", "Europe/Paris"), {"a": 3.0, "b": 0.0}, 2.5 * HOUR)
    assert grid.edges_s.tolist() == [0.0, 2700.0, 6300.0, 9000.0]
    assert grid.hour_of_day.tolist() == [23, 0, 1]
    assert (grid.months, grid.month.tolist()) == (("2024-12", "2025-01"), [0, 1, 1])
    assert grid.values["a"].tolist() == [3.0] * 3


def test_changes_of_a_series_within_an_hour_are_edges_of_the_grid() -> None:
    given_rows = [["2024-06-01T00:00", "1 USD/kWh"], ["2024-06-01T00:10", "2 USD/kWh"], ["2024-06-01T01:45", "3 USD/kWh"]]
    price = fields(price={"rows": given_rows, "until": "2024-06-02"}).price_usd_per_j
    grid = build_grid(calendar("2024-06-01T00:05"), {"price": price}, 2 * HOUR)
    assert grid.edges_s.tolist() == [0.0, 300.0, 3300.0, 6000.0, 6900.0, 7200.0]
    assert (grid.values["price"] * 3.6e6).round(9).tolist() == [1.0, 2.0, 2.0, 3.0, 3.0]


def test_a_run_of_centuries_is_refused() -> None:
    with pytest.raises(UserError, match="at most 100 years"):
        build_grid(calendar("2024-06-01"), {}, 1e11)
    with pytest.raises(UserError, match="at most 100 years"):
        build_grid(calendar("2024-06-01"), {"price": fields(price=TARIFF).price_usd_per_j}, float("inf"))



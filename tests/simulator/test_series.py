"""Series over time: every form reads, means what it says, and is written so that it reads back the same."""

from __future__ import annotations

import json
import math
import pickle
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simulator.errors import UserError
from simulator.fields import Distribution, map_distributions
from simulator.scenario import json_schema, load_scenario, scenario_from_mapping
from simulator.scenario.calendar import Calendar
from simulator.scenario.reading import parse_document
from simulator.scenario.series import FORMS as FORM_NAMES
from simulator.scenario.series import Series, series_of, steps
from simulator.scenario.series_profiles import scale_to_mean, sun_height
from simulator.units import QuantityError, parse_quantity
from tests.simulator.series_fields import fields

KWH_J, HOUR_S, DAY_S = 3.6e6, 3600.0, 86400.0
YEAR = {"start": "2023-01-01"}
SYNTHETIC = {"mean": "0.05 USD/kWh", "day_swing": 0.3, "year_swing": 0.2, "peak_hour": 18, "peak_month": 1, "weekend": -0.1}
SOLAR = {"capacity": "50 MW", "capacity_factor": 0.25, "latitude": 35}
WIND = {"capacity": "50 MW", "capacity_factor": 0.35, "seed": 1, "persistence": "24 h"}
TARIFF = {"base": "0.06 USD/kWh", "periods": [{"hours": "14-20", "days": "weekdays", "months": "6-9", "price": "0.15 USD/kWh"}]}
ROWS = [["2024-01-01T00:00", "0.05 USD/kWh"], ["2024-01-01T06:00", "-0.01 USD/kWh"], ["2024-01-01T07:00", "0.08 USD/kWh"]]


def calendar(start: str = "2024-01-01", zone: str = "UTC") -> Calendar:
    return Calendar.model_validate({"start": start, "time_zone": zone})


def price(form: dict[str, Any]) -> Series:
    found = fields(price=form).price_usd_per_j
    assert isinstance(found, Series)
    return found


def power(form: dict[str, Any]) -> Series:
    found = fields(power=form).power_w
    assert isinstance(found, Series)
    return found


def message(**given: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        fields(**given)
    return str(caught.value)


def csv_file(folder: Path, text: str, encoding: str = "utf-8") -> str:
    path = folder / "prices.csv"
    path.write_text(text, encoding=encoding, newline="")
    return str(path)


def mean_of(times: np.ndarray, values: np.ndarray, until_s: float) -> float:
    return float((values * np.diff(times.clip(0.0), append=until_s)).sum() / until_s)


# Rows and CSV files


def test_rows_hold_until_the_next() -> None:
    times, values = steps(price({"rows": ROWS}), calendar("2024-01-01T05:00"), 3 * HOUR_S)
    assert times.tolist() == [-5 * HOUR_S, HOUR_S, 2 * HOUR_S]
    assert (values * KWH_J).round(12).tolist() == [0.05, -0.01, 0.08]


@pytest.mark.parametrize("text", [
    "time,price\n2024-01-01T00:00Z,50\n2024-01-01T01:00Z,60.5\n",
    "\ufefftime,price\r\n2024-01-01T01:00+01:00,50\r\n\r\n2024-01-01 02:00+01:00, 60.5 \r\n",
    "load,price,time\n1,50,2023-12-31T19:00-05:00\n2,60.5,2023-12-31T20:00-05:00\n",
])
def test_a_csv_is_read_with_offsets_marks_and_other_columns(tmp_path: Path, text: str) -> None:
    named = {"time": "time", "column": "price"} if text.startswith("load") else {}
    series = price({"csv": csv_file(tmp_path, text), "unit": "USD/MWh", **named})
    times, values = steps(series, calendar(), 2 * HOUR_S)
    assert (times.tolist(), (values * 3.6e9).round(9).tolist()) == ([0.0, HOUR_S], [50.0, 60.5])


GOOD = "time,price\n2024-01-01T00:00,50\n2024-01-01T01:00,60\n"
BAD_FILES = {
    "missing column": (GOOD, {"column": "prize"}, ["prices.csv:1: unknown column 'prize'; did you mean 'price'?"]),
    "missing time column": (GOOD, {"time": "hour"}, ["prices.csv:1: unknown column 'hour'; allowed: price, time"]),
    "one column": ("price\n3\n", {}, ["prices.csv:1: found one column 'price'", "one of values, parted by commas"]),
    "the same column twice": (GOOD, {"column": "time"}, ["prices.csv:1: found 'time' as time and as value"]),
    "unsorted": (GOOD + "2023-12-31T20:00,1\n", {}, ["prices.csv:4: found '2023-12-31T20:00'", "times that rise"]),
    "the same time twice": ("time,price\n2024-01-01T00:00Z,50\n2024-01-01T00:00Z,60\n", {}, ["prices.csv:3", "times that rise"]),
    "not a number": (GOOD + "2024-01-01T02:00,n/a\n", {}, ["prices.csv:4: price: found 'n/a'; allowed: a number"]),
    "an empty cell": (GOOD + "2024-01-01T02:00,\n", {}, ["prices.csv:4: price: found ''; allowed: a number"]),
    "infinite": (GOOD + "2024-01-01T02:00,inf\n", {}, ["prices.csv:4: price: found 'inf'"]),
    "not a time": ("time,price\n1 Jan 2024,50\n", {}, ["prices.csv:2: time: found '1 Jan 2024'", "2024-06-01"]),
    "a third cell": (GOOD + "2024-01-01T02:00,1,2\n", {}, ["prices.csv:4: found 3 cells; allowed: 2"]),
    "with and without offset": (GOOD + "2024-01-01T02:00Z,1\n", {}, ["prices.csv:4", "offset from UTC in all rows or in none"]),
    "wrong unit": (GOOD, {"unit": "EUR/MWh"}, ["found 'EUR/MWh'; allowed: a unit as in '0.07 USD/kWh'"]),
    "unit of something else": (GOOD, {"unit": "kg/MWh"}, ["found 'kg/MWh'"]),
    "no unit": (GOOD, {"unit": None}, ["missing; allowed: a unit, as in '0.07 USD/kWh'"]),
    "empty": ("", {}, ["prices.csv: found no rows; allowed: at least one"]),
    "a header alone": ("time,price\n", {}, ["prices.csv: found no rows"]),
    "one row": ("time,price\n2024-01-01,50\n", {}, ["prices.csv: found one time only; allowed: two rows or more, or `until`"]),
    "ends too early": (GOOD, {"until": "2024-01-01T01:00"}, ["until: found '2024-01-01T01:00'", "after the last row"]),
    "broken quotes": (GOOD + '"2024-01-01T02:00,1\n', {}, ["prices.csv", "not valid CSV"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_csv_that_cannot_be_read_says_where_and_what(tmp_path: Path, case: str) -> None:
    text, changes, words = BAD_FILES[case]
    found = message(price={"csv": csv_file(tmp_path, text), "unit": "USD/MWh", **changes})
    for word in words:
        assert word in found, found


def test_no_file_and_no_text_are_refused(tmp_path: Path) -> None:
    assert "nowhere.csv: no such file" in message(price={"csv": "nowhere.csv", "unit": "USD/MWh"})
    assert "cannot be read" in message(price={"csv": str(tmp_path), "unit": "USD/MWh"})
    assert "no UTF-8" in message(price={"csv": csv_file(tmp_path, GOOD + "é", "latin-1"), "unit": "USD/MWh"})


def test_values_outside_the_fields_bounds_are_refused_with_their_line(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "time,x\n2024-01-01,20\n2024-01-02,99\n")
    assert "prices.csv:3: found 99.0 degC; allowed: from -90 to 60 degC" in message(temperature={"csv": file, "unit": "degC"})
    file = csv_file(tmp_path, "time,x\n2024-01-01,20\n2024-01-02,-1\n")
    assert "prices.csv:3" in message(carbon={"csv": file, "unit": "gCO2e/kWh"})


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.scenario.series_csv.MAX_ROWS", 2)
    assert price({"csv": csv_file(tmp_path, GOOD), "unit": "USD/MWh"})
    file = csv_file(tmp_path, GOOD + "2024-01-02,1\n")
    assert "prices.csv:4: found more than 2 rows" in message(price={"csv": file, "unit": "USD/MWh"})


def test_a_gap_holds_the_value_and_the_last_row_lasts_as_the_one_before(tmp_path: Path) -> None:
    text = "time,price\n2024-01-01T00:00Z,1\n2024-01-01T01:00Z,2\n2024-01-01T09:00Z,3\n2024-01-01T10:00Z,4\n"
    series = price({"csv": csv_file(tmp_path, text), "unit": "USD/MWh"})
    times, values = steps(series, calendar(), 11 * HOUR_S)
    assert (times / HOUR_S).tolist() == [0.0, 1.0, 9.0, 10.0]
    assert (values * 3.6e9).round(9).tolist() == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(UserError, match=r"prices.csv: found rows from 2024-01-01T00:00\+00:00 until 2024-01-01T11:00\+00:00, but "
                                        r"the run needs 2024-01-01T00:00\+00:00 until 2024-01-01T11:00:01\+00:00; .*repeat"):
        steps(series, calendar(), 11 * HOUR_S + 1.0)
    with pytest.raises(UserError, match="found rows from 2024-01-01T00:00"):
        steps(series, calendar("2023-12-31T23:00"), HOUR_S)


def test_a_local_hour_that_comes_twice_may_have_two_rows_or_one() -> None:
    local = calendar("2024-11-03T00:00", "America/New_York")
    twice = [["2024-11-03T00:00", 1], ["2024-11-03T01:00", 2], ["2024-11-03T01:00", 3], ["2024-11-03T02:00", 4]]
    times, values = steps(price({"rows": twice, "unit": "USD/J"}), local, 4 * HOUR_S)
    assert ((times / HOUR_S).tolist(), values.tolist()) == ([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    halves = [[f"2024-11-03T{shown}", i] for i, shown in enumerate(["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"])]
    times, values = steps(price({"rows": halves, "unit": "USD/J"}), calendar("2024-11-03T00:30", "America/New_York"), 3 * HOUR_S)
    assert ((times / HOUR_S).tolist(), values.tolist()) == ([0.0, 0.5, 1.0, 1.5, 2.0, 2.5], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    once = [row for row in twice if row[1] != 3]
    times, values = steps(price({"rows": once, "unit": "USD/J"}), local, 4 * HOUR_S)
    assert ((times / HOUR_S).tolist(), values.tolist()) == ([0.0, 1.0, 3.0], [1.0, 2.0, 4.0])


def test_rows_of_a_skipped_hour_take_no_time() -> None:
    rows = [[f"2024-03-10T{hour:02}:{minute}", 10 * hour + (minute == "30")] for hour in range(5) for minute in ("00", "30")]
    times, values = steps(price({"rows": rows, "unit": "USD/J"}), calendar("2024-03-10", "America/New_York"), 4 * HOUR_S)
    assert (times / HOUR_S).tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert values.tolist() == [0.0, 1.0, 10.0, 11.0, 30.0, 31.0, 40.0, 41.0]


def test_rows_that_go_back_where_no_clock_does_are_refused_with_the_calendar() -> None:
    rows = {"rows": [["2024-11-03T01:00", "1 USD/J"], ["2024-11-03T01:00", "2 USD/J"]], "until": "2024-11-04"}
    assert steps(price(rows), calendar("2024-11-03T01:00", "America/New_York"), HOUR_S)[1].tolist() == [1.0]
    with pytest.raises(UserError, match="found 2024-11-03T01:00 after 2024-11-03T01:00; allowed: times that rise on the clock"):
        steps(price(rows), calendar("2024-11-03T01:00"), HOUR_S)


def test_a_repeated_year_with_offsets_keeps_its_own_clock() -> None:
    days = [[f"{datetime(2023, 1, 1) + timedelta(hours=h):%Y-%m-%dT%H:%M}+05:30", h] for h in range(8760)]
    series = price({"rows": days, "unit": "USD/J", "repeat": True})
    local = calendar("2025-06-30T00:00", "Asia/Kolkata")
    times, values = steps(series, local, DAY_S)
    assert times.tolist() == (np.arange(24) * HOUR_S).tolist()
    assert values.tolist() == list(range(180 * 24, 181 * 24))
    _, later = steps(series, calendar("2025-06-30T00:30+05:30"), HOUR_S)
    assert later.tolist() == [4320.0, 4321.0]


def test_repeated_rows_within_an_hour_stay_within_it() -> None:
    quarter = [[f"{datetime(2023, 1, 1) + timedelta(minutes=15 * i):%Y-%m-%dT%H:%M}", i] for i in range(4 * 8760)]
    series = price({"rows": quarter, "unit": "USD/J", "repeat": True})
    times, values = steps(series, calendar("2022-03-01T00:20"), HOUR_S)
    assert (times / 60).tolist() == [-5.0, 10.0, 25.0, 40.0, 55.0]
    assert values.tolist() == list(range(59 * 96 + 1, 59 * 96 + 6))


def test_of_an_hour_that_came_twice_other_years_take_the_first() -> None:
    zone = "America/New_York"
    hours = [f"{datetime(2023, 1, 1) + timedelta(hours=h):%Y-%m-%dT%H:%M}" for h in range(8760)]
    rows = [[at, i] for i, at in enumerate(hours)]
    at = hours.index("2023-11-05T01:00")
    rows.insert(at + 1, [hours[at], -1])
    series = price({"rows": rows, "unit": "USD/J", "repeat": True})
    assert steps(series, calendar("2023-11-05T01:00", zone), 3 * HOUR_S)[1].tolist() == [at, -1.0, at + 1.0]
    assert steps(series, calendar("2025-11-05T01:00", zone), 2 * HOUR_S)[1].tolist() == [at, at + 1.0]
    times, values = steps(series, calendar("2024-11-03T01:00", zone), 3 * HOUR_S)  # one hour serves twice
    assert ((times / HOUR_S).tolist(), values.tolist()) == ([0.0, 2.0], [at - 48.0, at - 47.0])


def test_repeating_less_than_a_year_is_refused() -> None:
    series = price({"rows": ROWS, "repeat": True})
    with pytest.raises(UserError, match=r"found no row for 01 January 08:00 .*rows for every hour of a year"):
        steps(series, calendar("2025-06-01"), HOUR_S)


# Round trips


FORMS: dict[str, dict[str, Any]] = {
    "rows": {"price": {"rows": ROWS}},
    "rows with an end": {"price": {"rows": ROWS[:1], "until": "2024-03-01", "scale": {"normal": [1, 0.1]}}},
    "rows with offsets": {"carbon": {"rows": [["2024-01-01T00:00-05:00", 310], ["2024-01-01T02:00-04:00", 0.1]],
                                     "unit": "gCO2e/kWh"}},
    "an hour that comes twice": {"price": {"rows": [["2024-11-03T01:00", "1 USD/J"], ["2024-11-03T01:00", "2 USD/J"],
                                                    ["2024-11-03T02:00", "3 USD/J"]], "repeat": True}},
    "a temperature": {"temperature": {"rows": [["2024-01-01T00:00", -3.7], ["2024-01-01T01:00", 12]], "unit": "degC"}},
    "a temperature elsewhere": {"temperature": {"rows": [["2024-01-01T00:00", 0.3], ["2024-01-01T01:00", 12]], "unit": "degF"}},
    "synthetic": {"price": {"synthetic": SYNTHETIC, "scale": 1.1}},
    "synthetic weather": {"temperature": {"synthetic": {"mean": "11 degC", "day_swing": "5 degC", "year_swing": "12 degC"}}},
    "solar": {"power": {"solar": SOLAR}},
    "wind": {"power": {"wind": WIND}},
    "tariff": {"price": {"tariff": TARIFF, "scale": {"uniform": [0.9, 1.2]}}},
}


@pytest.mark.parametrize("case", FORMS)
def test_every_form_is_written_so_that_it_reads_back_the_same(case: str) -> None:
    record = fields(**FORMS[case])
    written = yaml.safe_load(yaml.safe_dump(record.to_file()))
    again = type(record).model_validate(written)
    assert again == record
    assert hash(again) == hash(record)
    assert again.to_file() == record.to_file()
    assert pickle.loads(pickle.dumps(record)) == record


@given(st.lists(st.tuples(st.sampled_from([900, 3600, 3600, 3600, 7300]), st.floats(-1e6, 1e6)), min_size=2, max_size=40),
       st.sampled_from(["", "Z", "+05:30", "-03:00"]))
def test_rows_lose_no_digit_when_written(rows, offset) -> None:
    at = datetime(2024, 2, 28)
    listed = []
    for step, value in rows:
        listed.append([at.isoformat() + offset, value])
        at += timedelta(seconds=step)
    record = fields(price={"rows": listed, "unit": "USD/MWh"})
    again = type(record).model_validate(json.loads(json.dumps(record.to_file())))
    assert again == record
    series = again.price_usd_per_j
    assert isinstance(series, Series)
    assert series.rows.values.tolist() == [float(value) * parse_quantity("1 USD/MWh", "money_per_energy") for _, value in rows]


@pytest.mark.parametrize(("form", "words"), [
    ({"rows": ROWS, "tariff": TARIFF}, ["found 'rows' and 'tariff'", "one of csv, rows, synthetic"]),
    ({"scale": 2}, ["found none of them; allowed: one of csv, rows, synthetic, solar, wind, tariff"]),
    ({"rows": ROWS, "column": "x"}, ["found it beside 'rows'; allowed: only beside 'csv'"]),
    ({"synthetic": SYNTHETIC, "repeat": True}, ["found it beside 'synthetic'"]),
    ({"sinthetic": SYNTHETIC}, ["unknown distribution or series 'sinthetic'; did you mean 'synthetic'?"]),
    ({"solar": SOLAR}, ["found a series of power"]),
    ({"rows": [["2024-01-01", 5]]}, ["rows.0", "found the bare number 5"]),
    ({"rows": [["2024-01-01", "5 USD"]]}, ["rows.0", "found '5 USD'; allowed: a quantity such as '0.07 USD/kWh'"]),
    ({"rows": [["2024-01-01", "5 USD/kWh"]], "unit": "USD/kWh"}, ["rows.0", "a number of USD/kWh"]),
    ({"rows": [["2024-01-01"]]}, ["rows.0", "[time, value]"]),
    ({"rows": []}, ["found no rows"]),
    ({"rows": {"a": 1}}, ["rows: found {'a': 1}; allowed: a list of [time, value]"]),
    ({"rows": "1 2 3", "unit": "USD/J"}, ["rows: found '1'", "times such as 2024-01-01T00:00"]),
    ({"rows": "2024-01-01T00:00 1 2", "unit": "USD/J"}, ["rows: found '2'", "`spacing`"]),
    ({"rows": ROWS, "until": "2024-01-01T05:00Z"}, ["until", "with an offset from UTC if the rows have one"]),
    ({"synthetic": {**SYNTHETIC, "mean": {"uniform": ["1 USD/J", "2 USD/J"]}}}, ["its `scale`"]),
    ({"synthetic": {**SYNTHETIC, "peak_hour": {"uniform": [1, 2]}}}, ["its `scale`"]),
    ({"rows": "2024-01-01T00:00 1 2", "spacing": {"uniform": ["1 h", "2 h"]}, "unit": "USD/J"}, ["its `scale`"]),
    ({"synthetic": {**SYNTHETIC, "peak_hour": 24}}, ["at most 23"]),
    ({"synthetic": {**SYNTHETIC, "day_swing": -0.1}}, ["at least 0"]),
    ({"synthetic": {"day_swing": 0.1}}, ["mean", "required"]),
    ({"tariff": {**TARIFF, "periods": [{"hours": "14", "price": "1 USD/J"}]}}, ["found '14'", "such as 14-20"]),
    ({"tariff": {**TARIFF, "periods": [{"hours": "8-25", "price": "1 USD/J"}]}}, ["found '8-25'"]),
    ({"tariff": {**TARIFF, "periods": [{"hours": "8-8", "price": "1 USD/J"}]}}, ["found '8-8'"]),
    ({"tariff": {**TARIFF, "periods": [{"months": "0-3", "price": "1 USD/J"}]}}, ["found '0-3'", "6-9"]),
    ({"tariff": {**TARIFF, "periods": [{"days": "sundays", "price": "1 USD/J"}]}}, ["weekends"]),
])
def test_a_form_that_is_none_says_what_is_allowed(form: dict[str, Any], words: list[str]) -> None:
    found = message(price=form)
    for word in words:
        assert word in found, found


@pytest.mark.parametrize(("form", "key"), [("solar", "capacity"), ("solar", "capacity_factor"), ("wind", "capacity_factor"),
                                           ("wind", "persistence"), ("wind", "seed")])
def test_a_plant_has_no_distribution_but_its_scale(form: str, key: str) -> None:
    given_form = {"solar": SOLAR, "wind": WIND}[form]
    assert "found {'choice'" in message(power={form: {**given_form, key: {"choice": [given_form[key], given_form[key]]}}})


def test_a_capacity_factor_beyond_the_daylight_is_refused() -> None:
    assert "at most 0.4" in message(power={"solar": {**SOLAR, "capacity_factor": 0.5}})
    with pytest.raises(QuantityError, match="the share of hours with any output"):
        scale_to_mean(np.array([0.0, 0.0, 0.5, 1.0]), 0.5)


EXAMPLE = re.compile(r"^ +(price|temperature|solar|wind): (\{.*\})", re.MULTILINE)


def test_the_examples_of_the_guide_are_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    section = text.split("## Calendar and series")[1].split("\n## ")[0]
    found = [(key, form) for key, form in EXAMPLE.findall(section) if "csv" not in form]
    assert {key for key, _ in found} == {"price", "temperature", "solar", "wind"}
    for key, form in found:
        value = parse_document(f"x: {form}", "guide.md").data["x"]
        record = fields(**{{"solar": "power", "wind": "power"}.get(key, key): value})
        assert len(list(series_of(record))) == 1
    blocks = [block.split("```")[0] for block in section.split("```yaml") if "tariff:" in block.split("```")[0]]
    assert price(parse_document(blocks[0], "guide.md").data["price"]).form == "tariff"


def test_swings_may_not_leave_the_fields_bounds() -> None:
    steep = {"mean": "400 gCO2e/kWh", "day_swing": 0.7, "year_swing": 0.4}
    assert "swings that add up to 1.1" in message(carbon={"synthetic": steep})
    assert fields(carbon={"synthetic": {**steep, "year_swing": 0.3}})


def test_a_distribution_or_number_still_stands_for_itself() -> None:
    assert fields(price="0.36 USD/kWh").price_usd_per_j == pytest.approx(1e-7)
    assert isinstance(fields(price={"uniform": ["1 USD/kWh", "2 USD/kWh"]}).price_usd_per_j, Distribution)


# Generated profiles


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
@pytest.mark.parametrize("year", [2023, 2024])
def test_a_synthetic_year_has_its_mean_exactly(zone: str, year: int) -> None:
    local = calendar(f"{year}-01-01", zone)
    until_s = calendar(f"{year + 1}-01-01", zone).start_utc_s - local.start_utc_s
    assert until_s == (366 if year == 2024 else 365) * DAY_S
    assert mean_of(*steps(price({"synthetic": SYNTHETIC}), local, until_s), until_s) * KWH_J == pytest.approx(0.05, rel=1e-12)
    form = {"synthetic": {"mean": "-2 degC", "day_swing": "5 degC", "year_swing": "12 degC"}}
    weather = fields(temperature=form).temperature_degc
    assert isinstance(weather, Series)
    assert mean_of(*steps(weather, local, until_s), until_s) == pytest.approx(-2.0, rel=1e-12)


def test_a_synthetic_day_and_year_peak_where_they_say() -> None:
    times, values = steps(price({"synthetic": SYNTHETIC}), calendar("2023-01-01", "America/New_York"), 365 * DAY_S)
    days = values[: 24 * 60].reshape(60, 24)
    assert (days.argmax(axis=1) == 18).all()
    month = (times // (365 / 12 * DAY_S)).astype(int).clip(0, 11)
    means = [values[month == i].mean() for i in range(12)]
    assert (int(np.argmax(means)), int(np.argmin(means))) == (0, 6)
    saturday, monday = values[6 * 24: 7 * 24].mean(), values[8 * 24: 9 * 24].mean()  # 7 and 9 January 2023
    assert (monday - saturday) * KWH_J == pytest.approx(0.1 * 0.05, rel=0.05)
    flat = steps(price({"synthetic": {"mean": "0.05 USD/kWh"}}), calendar(), DAY_S)[1]
    assert flat * KWH_J == pytest.approx(0.05, rel=1e-12)


@pytest.mark.parametrize("latitude", [-35.0, 0.0, 35.0, 65.0])
@pytest.mark.parametrize("factor", [0.05, 0.25])
def test_a_solar_year_has_its_capacity_factor_and_stays_below_capacity(latitude: float, factor: float) -> None:
    series = power({"solar": {"capacity": "50 MW", "capacity_factor": factor, "latitude": latitude}})
    times, values = steps(series, calendar("2023-01-01", "Asia/Kolkata"), 365 * DAY_S)
    assert mean_of(times, values, 365 * DAY_S) == pytest.approx(factor * 50e6, rel=1e-12)
    assert values.min() == 0.0
    assert values.max() <= 50e6 * (1 + 1e-12)


def test_the_sun_stands_where_the_almanac_says() -> None:
    noon = np.array([12.0])
    for day, latitude, elevation in ((81, 0.0, 90.0), (172, 23.45, 90.0), (355, 35.0, 90 - 35 - 23.45), (172, 60.0, 53.45)):
        height = min(sun_height(np.array([day]), noon, latitude)[0], 1.0)
        assert math.degrees(math.asin(height)) == pytest.approx(elevation, abs=0.2)
    hours = np.arange(0.0, 24.0, 0.01)
    up = sun_height(np.full(hours.shape, 172), hours, 40.0) > 0
    sunset = math.degrees(math.acos(-math.tan(math.radians(40)) * math.tan(math.radians(23.45))))
    assert up.mean() * 24 == pytest.approx(2 / 15 * sunset, abs=0.03)


def test_solar_output_is_of_standard_time_and_none_at_night() -> None:
    times, values = steps(power({"solar": SOLAR}), calendar("2023-07-01", "America/New_York"), DAY_S)
    hour = times / HOUR_S
    assert values[(hour < 4.0) | (hour > 21.0)].max() == 0.0
    before, after = values[(hour >= 1.0) & (hour < 13.0)], values[(hour >= 13.0) & (hour < 25.0)]
    np.testing.assert_allclose(before[::-1][: after.size], after, rtol=1e-9, atol=1e-6)  # noon is at 13:00 of summer time


@given(st.lists(st.floats(0.0, 1.0).map(lambda x: x if x > 1e-3 else 0.0), min_size=2, max_size=50), st.floats(0.01, 0.99))
def test_a_profile_is_scaled_to_any_mean_that_clipping_allows(values, share) -> None:
    profile = np.array(values)
    most = (profile > 0).mean()
    if most == 0:
        return
    factor = scale_to_mean(profile, share * most)
    assert np.minimum(factor * profile, 1.0).mean() == pytest.approx(share * most, rel=1e-9)


def test_a_wind_year_has_its_capacity_factor_and_its_seed() -> None:
    times, values = steps(power({"wind": WIND}), calendar("2023-01-01"), 365 * DAY_S)
    assert mean_of(times, values, 365 * DAY_S) == pytest.approx(0.35 * 50e6, rel=1e-9)
    assert (values.min(), values.max()) == (0.0, 50e6)
    assert (steps(power({"wind": WIND}), calendar("2023-01-01"), 365 * DAY_S)[1] == values).all()
    assert (steps(power({"wind": {**WIND, "seed": 2}}), calendar("2023-01-01"), 365 * DAY_S)[1] != values).any()
    july = steps(power({"wind": WIND}), calendar("2023-07-01"), DAY_S)[1]
    assert july.tolist() == values[181 * 24: 182 * 24].tolist()  # a year looks the same whichever run asks


def test_wind_persists_as_long_as_it_says() -> None:
    """Correlation of output an hour and `persistence` later, in ten years: as of normal numbers, less what the curve loses."""
    for hours in (6, 48):
        series = power({"wind": {**WIND, "persistence": f"{hours} h"}})
        values = np.concatenate([steps(series, calendar(f"{year}-01-01"), 365 * DAY_S)[1] for year in range(2015, 2025)])
        for lag in (1, hours):
            found, below = np.corrcoef(values[:-lag], values[lag:])[0, 1], math.exp(-lag / hours)
            assert 0.7 * below < found < 1.02 * below


def test_made_up_series_say_so() -> None:
    made = (price({"synthetic": SYNTHETIC}), power({"solar": SOLAR}), power({"wind": WIND}))
    assert all("synthetic" in series.describe() for series in made)
    assert "synthetic" not in price({"rows": ROWS}).describe()
    assert "synthetic" not in price({"tariff": TARIFF}).describe()


# Uncertain levels


@pytest.mark.parametrize("case", ["rows", "synthetic", "tariff"])
def test_a_scale_is_drawn_once_a_trial_and_multiplies_everything(case: str) -> None:
    form = {"rows": {"rows": ROWS}, "synthetic": {"synthetic": SYNTHETIC}, "tariff": {"tariff": TARIFF}}[case]
    record = fields(price={**form, "scale": {"triangular": [0.8, 1.1, 1.2]}})
    seen: list[str] = []

    def draw(path: str, distribution: Distribution) -> float:
        seen.append(path)
        return 2.0

    drawn = map_distributions(record, draw)
    plain = steps(price(form), calendar(), 3 * HOUR_S)
    assert seen == ["price.scale"]
    assert isinstance(record.price_usd_per_j, Series)
    assert isinstance(drawn.price_usd_per_j, Series)
    np.testing.assert_array_equal(steps(drawn.price_usd_per_j, calendar(), 3 * HOUR_S)[1], 2.0 * plain[1])
    np.testing.assert_array_equal(steps(record.price_usd_per_j, calendar(), 3 * HOUR_S)[1], 1.1 * plain[1])
    assert drawn.price_usd_per_j.rows is record.price_usd_per_j.rows


# In a scenario


SCENARIO = """\
name: test
model: llama-3.1-8b
training: {tokens: 20 B, sequence: 8192, batch: 4 M tokens}
cluster: {accelerator: h100-sxm-80gb, accelerators: 64}
checkpoint: {storage_bandwidth: 20 GB/s}
calendar: {start: 2024-06-01, time_zone: America/New_York}
facility:
  temperature: {csv: data/weather.csv, unit: degC}
"""
WEATHER = "time,temperature\n" + "".join(
    f"2024-06-{day:02}T{hour:02}:00,{10 + hour / 2}\n" for day in range(1, 31) for hour in range(24))


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    (tmp_path / "site" / "data").mkdir(parents=True)
    (tmp_path / "site" / "data" / "weather.csv").write_text(WEATHER)
    path = tmp_path / "site" / "base.yaml"
    path.write_text(SCENARIO)
    return path


def test_a_csv_is_found_beside_the_file_that_names_it_even_through_extends(scenario_file: Path) -> None:
    child = scenario_file.parent.parent / "child.yaml"
    child.write_text("extends: site/base.yaml\nname: child\nfacility: {temperature: {scale: 1.5}}\n")
    base, changed = load_scenario(scenario_file).facility.temperature_degc, load_scenario(child).facility.temperature_degc
    assert isinstance(base, Series)
    assert isinstance(changed, Series)
    assert changed.rows == base.rows
    assert changed.scale == 1.5


def test_another_form_replaces_the_one_that_is_extended(scenario_file: Path) -> None:
    child = scenario_file.parent / "child.yaml"
    child.write_text("extends: base.yaml\nfacility: {temperature: {synthetic: {mean: 9 degC}}}\n")
    found = load_scenario(child).facility.temperature_degc
    assert isinstance(found, Series)
    assert (found.form, found.rows) == ("synthetic", None)


def test_a_results_folder_holds_the_rows_and_gives_the_same_scenario(scenario_file: Path, tmp_path: Path) -> None:
    scenario = load_scenario(scenario_file)
    kept = tmp_path / "scenario.yaml"
    kept.write_text(yaml.safe_dump(scenario.to_file(), sort_keys=False))
    assert "weather.csv" not in kept.read_text()
    assert load_scenario(kept) == scenario
    assert scenario_from_mapping(scenario.to_file()) == scenario


def test_years_of_hours_fit_into_a_results_folder(scenario_file: Path, tmp_path: Path) -> None:
    start = datetime(2022, 1, 1)
    rows = "".join(f"{start + timedelta(hours=h):%Y-%m-%dT%H:%M}Z,{math.sin(h) * 20!r}\n" for h in range(4 * 8760))
    (scenario_file.parent / "data" / "weather.csv").write_text("time,temperature\n" + rows)
    scenario = load_scenario(scenario_file)
    kept = tmp_path / "scenario.yaml"
    kept.write_text(yaml.safe_dump(scenario.to_file(), sort_keys=False))
    again = load_scenario(kept)
    assert again == scenario
    assert isinstance(again.facility.temperature_degc, Series)
    assert again.facility.temperature_degc.rows.raw.size == 4 * 8760


def test_errors_of_a_series_name_the_file_the_line_and_the_path(scenario_file: Path) -> None:
    weather = scenario_file.parent / "data" / "weather.csv"
    changes = {
        "weather.csv:4: temperature: found 'warm'; allowed: a number":
            lambda: weather.write_text(WEATHER.replace("11.0", "warm", 1)),
        "data/weather.csv: no such file": weather.unlink,
    }
    for expected, change in changes.items():
        change()
        with pytest.raises(UserError) as caught:
            load_scenario(scenario_file)
        assert str(caught.value).startswith(f"{scenario_file}:8: facility.temperature")
        assert expected in str(caught.value)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("{csv: data/weather.csv, unit: degC}", "{synthetic: {men: 9 degC, mean: 9 degC}}",
     [":8: facility.temperature.synthetic: unknown key 'men'; did you mean 'mean'?"]),
    ("{csv: data/weather.csv, unit: degC}", "{synthetic: 9 degC}", ["facility.temperature.synthetic: found '9 degC'", "mean"]),
    ("unit: degC", "units: degC", ["facility.temperature", "'units'; did you mean 'unit'?"]),
    ("calendar: {start: 2024-06-01, time_zone: America/New_York}\n", "",
     ["calendar: missing, but facility.temperature changes over time; allowed: a calendar such as {start: 2024-06-01"]),
    ("2024-06-01", "2024-07-01", ["facility.temperature: ", "weather.csv: found rows from 2024-06-01T00:00-04:00 until "
                                  "2024-07-01T00:00-04:00, but the run needs 2024-07-01T00:00-04:00, its start"]),
    ("time_zone: America/New_York", "time_zone: Europe/Pariss", [":6: calendar.time_zone: unknown time zone", "'Europe/Paris'"]),
    ("2024-06-01", "2024-03-10T02:30", [":6: calendar.start: found 2024-03-10T02:30", "skip"]),
])
def test_mistakes_in_a_scenario_are_explained(scenario_file: Path, old: str, new: str, words: list[str]) -> None:
    scenario_file.write_text(SCENARIO.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_scenario(scenario_file)
    for word in words:
        assert word in str(caught.value), caught.value


def test_the_schema_offers_every_form() -> None:
    schema = json_schema()
    series = schema["$defs"]["Series"]["properties"]
    assert {*FORM_NAMES, "scale", "repeat", "until", "unit", "column", "time"} <= set(series)
    assert {"$ref": "#/$defs/Series"} in schema["$defs"]["Facility"]["properties"]["temperature"]["anyOf"]
    assert schema["$defs"]["Synthetic"]["required"] == ["mean"]
    assert {"start", "time_zone"} == set(schema["$defs"]["Calendar"]["properties"])

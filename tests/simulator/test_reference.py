"""docs/scenario.md is what the schema says."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.fields import Quantity, file_key
from simulator.scenario import json_schema
from simulator.scenario.lifecycle import LifecycleScenario
from simulator.scenario.models import Scenario
from simulator.scenario.queueing import QueueScenario
from simulator.scenario.reference import _quantity, _records_in, human, markdown
from simulator.scenario.series import Series
from simulator.scenario.serving import ServingScenario
from simulator.units import parse_quantity

ROOT = Path(__file__).parents[2]


def test_the_committed_reference_is_what_the_schema_says() -> None:
    written = (ROOT / "docs" / "scenario.md").read_text(encoding="utf-8")
    assert written == markdown(), "run: clustercost schema --markdown > docs/scenario.md"


def records() -> dict[str, type]:
    found: dict[str, type] = {}
    left = [Scenario, QueueScenario, ServingScenario, LifecycleScenario, Series]
    while left:
        record = left.pop()
        if record.__name__ not in found:
            found[record.__name__] = record
            left += [part for field in record.model_fields.values() for part in _records_in(field.annotation)]
    return found


@pytest.fixture(scope="module")
def tables() -> list[dict[str, list[str]]]:
    """Return the rows of each table of the reference by key."""
    found = []
    for block in markdown().split("| Key | Meaning | Unit | Default | Allowed |\n|---|---|---|---|---|\n")[1:]:
        rows = [re.split(r" (?<!\\)\| ?", line.strip("| ")) for line in block.split("\n\n")[0].splitlines()]
        found.append({row[0].strip("` "): row for row in rows})
    return found


@pytest.mark.parametrize("record", list(records().values()), ids=list(records()))
def test_every_key_of_every_record_has_a_row_with_a_meaning(tables, record) -> None:
    keys = {file_key(name) for name in record.model_fields} - {"sources", "notes"}
    own = [table for table in tables if keys <= set(table)]
    assert own, f"no table has all of {sorted(keys)}"
    assert [key for key in keys if any(len(table[key][1]) < 3 for table in own)] == []


@pytest.mark.parametrize("record", list(records().values()), ids=list(records()))
def test_a_default_that_is_a_measure_has_a_source(record) -> None:
    """Neutral values (0, 1, none) need none; of some records the docstring tells where all are from."""
    for name, field in record.model_fields.items():
        quantity, default = _quantity(field), field.default
        if isinstance(quantity, Quantity) and isinstance(default, int | float) and default not in (0, 1, 1000):
            assert "Source: " in (field.description or "") or re.search(r"published|Epoch", record.__doc__), name


def test_keys_that_only_files_have_are_there(tables) -> None:
    schema = json_schema()
    top, training = tables[0], next(table for table in tables if "batch_schedule" in table)
    assert set(schema["properties"]) == set(top)
    assert set(schema["$defs"]["Training"]["properties"]) == set(training)
    for name, definition in schema["$defs"].items():
        if "preset" in definition["properties"]:
            assert any(set(definition["properties"]) - {"sources", "notes"} <= set(table) for table in tables), name


@pytest.mark.parametrize(("value", "kind", "text"), [
    (600.0, "time", "10 min"), (5 * 365.25 * 86400.0, "time", "5 years"), (1e9, "bandwidth", "1 GB/s"),
    (15.0, "temperature", "15 degC"),
    (0.14 / (365.25 * 86400.0), "rate", "0.14 per year"), (32768.0, "count", "32768"), (0.0, "time", "0")])
def test_a_default_is_written_in_a_unit_of_people(value, kind, text) -> None:
    assert human(value, kind) == text


@given(kind=st.sampled_from(["time", "bandwidth", "power", "count", "ratio", "rate", "money_per_energy"]),
       number=st.integers(1, 9999), scale=st.integers(-3, 6))
def test_a_default_reads_back_as_it_is(kind, number, scale) -> None:
    value = number * 10.0**scale
    assert parse_quantity(human(value, kind), kind) == pytest.approx(value, rel=1e-9)

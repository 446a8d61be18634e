"""The inputs at which scenarios differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from simulator.distributions import is_distribution
from simulator.scenario import Scenario
from simulator.scenario.models import CATALOG

_SECTIONS = frozenset(".".join(map(str, path)) for path in CATALOG)
_NOT_INPUTS = ("name", "description", "monte_carlo.trials", "monte_carlo.seed")


class Input(NamedTuple):
    """A path at which scenarios differ, and the value of each in file form; None where it is left out."""

    path: str
    values: tuple[Any, ...]


def differing(scenarios: Sequence[Scenario]) -> list[Input]:
    """Return the paths at which scenarios differ, in the order of a file.

    Of a record of the catalog with another name only the name is told; of one with the same name, what differs within it.
    """
    found: list[Input] = []
    _differ([scenario.to_file() for scenario in scenarios], "", found.append)
    return [one for one in found if one.path not in _NOT_INPUTS]


def _differ(values: Sequence[Any], path: str, add: Callable[[Input], object]) -> None:
    if all(value == values[0] for value in values):
        return
    sections = [value for value in values if value is not None]
    if not all(isinstance(value, dict) and not is_distribution(value) for value in sections):
        lists = [value for value in values if isinstance(value, list) and len(value) == len(values[0] or ())]
        if len(lists) == len(values) and all(isinstance(item, dict) for value in lists for item in value):
            for i, items in enumerate(zip(*lists, strict=True)):
                _differ(items, f"{path}.{i}", add)
        else:
            add(Input(path, tuple(values)))
        return
    names = [section.get("name") for section in sections]
    if path in _SECTIONS and (len(sections) < len(values) or any(name != names[0] for name in names)):
        add(Input(path, tuple(value.get("name") if value is not None else None for value in values)))
        return
    if len(sections) < len(values):  # one has the section and another has not
        add(Input(path, tuple(values)))
        return
    for key in dict.fromkeys(key for section in sections for key in section):
        _differ([section.get(key) for section in sections], f"{path}.{key}" if path else key, add)

"""A scenario with other values at paths as files write them: `cluster.accelerators`, `training.batch_schedule.0.batch`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.errors import UserError, unknown_name
from simulator.scenario.loading import scenario_over
from simulator.scenario.models import Scenario

_SIZE, _DATA = "cluster.accelerators", "training.layout.data"
_SHORT = ("training.batch", "training.sequence")


def edited(scenario: Scenario, changes: Mapping[str, Any], where: str = "edit") -> Scenario:
    """Return the scenario with other values, checked as a whole.

    Parameters
    ----------
    scenario : Scenario
    changes : mapping
        Path -> value in file form: `{"cluster.accelerators": 8192, "checkpoint.interval": "20 min", "failures": "rsc-1"}`. A
        value lies over what was there as in a file that `extends` another. Where the number of accelerators changes, data
        parallelism follows it, unless it is given too.
    where : str
        What messages name as the place.

    Raises
    ------
    UserError
        A path or value is wrong, with the nearest path; or the sections no longer fit together.
    """
    base = scenario.to_file()
    layout = base["training"]["layout"]
    if _SIZE in changes and _DATA not in changes and isinstance(layout, dict):
        layout.pop("data", None)
    overlay: dict[str, Any] = {}
    for path, value in changes.items():
        _lay(overlay, base, _in_schedule(path, base, where), value, where)
    return scenario_over(base, overlay, where)


def value_at(scenario: Scenario, path: str) -> Any:
    """Return the value at a path in file form; None where it is left out."""
    found: Any = scenario.to_file()
    for step in path.split("."):
        if isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return found


def _in_schedule(path: str, base: dict[str, Any], where: str) -> str:
    """Return the path in the batch schedule that `training.batch` and `training.sequence` are short for."""
    if path not in _SHORT:
        return path
    stretches = len(base["training"]["batch_schedule"])
    if stretches > 1:
        raise UserError(f"{where}: {path}: found a batch schedule of {stretches} stretches; allowed: "
                        f"training.batch_schedule.0.{path.rsplit('.', 1)[1]}, and so on")
    return path.replace("training.", "training.batch_schedule.0.")


def _lay(overlay: dict[str, Any], base: Any, path: str, value: Any, where: str) -> None:
    """Put a value into the overlay; an item of a list brings the whole list with it, because lists do not merge."""
    steps = path.split(".")
    if not all(steps):
        raise UserError(f"{where}: found the path {path!r}; allowed: names with points between, such as {_SIZE}")
    target: Any = overlay
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        base = _inside(base, step)
        if isinstance(target, list):
            if not step.isdigit() or int(step) >= len(target):
                raise UserError(f"{where}: {path}: {unknown_name('item', step, map(str, range(len(target))))}")
            key: Any = int(step)
        else:
            key = step
        if last:
            target[key] = value
            return
        if isinstance(target, dict) and not isinstance(target.get(key), dict | list):
            target[key] = [*base] if isinstance(base, list) else {}
        elif isinstance(target, list):
            target[key] = dict(target[key]) if isinstance(target[key], dict) else {}
        target = target[key]


def _inside(base: Any, step: str) -> Any:
    if isinstance(base, list):
        return base[int(step)] if step.isdigit() and int(step) < len(base) else None
    return base.get(step) if isinstance(base, dict) else None

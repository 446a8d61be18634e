"""Values of scenario files as tables show them: short, in units that people use."""

from __future__ import annotations

import re
from typing import Any

from simulator.distributions import is_distribution

MOST = 60  # characters of a value
_EXACT = re.compile(r"(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?) (\S.*)")  # a quantity as resolved files write it: digits, then a unit in SI
# SI unit -> units of people, largest first; the first of which there is at least one is taken, else the last.
_UNITS: dict[str, tuple[tuple[str, float], ...]] = {
    "s": (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6)),
    "W": (("GW", 1e9), ("MW", 1e6), ("kW", 1e3), ("W", 1.0)),
    "J": (("GWh", 3.6e12), ("MWh", 3.6e9), ("kWh", 3.6e6), ("J", 1.0)),
    "B": (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("B", 1.0)),
    "B/s": (("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6), ("B/s", 1.0)),
    "FLOP/s": (("PFLOP/s", 1e15), ("TFLOP/s", 1e12), ("FLOP/s", 1.0)),
    "USD": (("M USD", 1e6), ("USD", 1.0)),
    "USD/s": (("USD/h", 1.0 / 3600.0),),
    "USD/J": (("USD/kWh", 1.0 / 3.6e6),),
    "USD/(B*s)": (("USD/GB/month", 1e-9 / 2629746.0),),  # a month is a twelfth of a Gregorian year, as pint has it
    "USD/B": (("USD/GB", 1e-9),),
    "USD/(W*s)": (("USD/kW/month", 1e-3 / 2629746.0),),
    "USD/kgCO2e": (("USD/tCO2e", 1e-3),),
    "kgCO2e": (("tCO2e", 1e3), ("kgCO2e", 1.0)),
    "kgCO2e/J": (("gCO2e/kWh", 1e-3 / 3.6e6),),
    "L/J": (("L/kWh", 1.0 / 3.6e6),),
    "1/s": (("per 1000 days", 1.0 / 86.4e6),),
}


def short(value: Any) -> str:
    """Return a value in file form as tables show it: a record by its name, a distribution in one line."""
    text = _text(value)
    return text if len(text) <= MOST else text[: MOST - 3] + "..."


def _text(value: Any) -> str:
    if isinstance(value, dict):
        if is_distribution(value):
            return ", ".join(f"{name} {_text(given)}" for name, given in value.items())
        if "name" in value:
            return str(value["name"])
        return "{" + ", ".join(f"{key}: {_text(given)}" for key, given in value.items()) + "}"
    if isinstance(value, list | tuple):
        if len(value) > 12:
            return f"{len(value):,} values, {_text(value[0])} to {_text(value[-1])}"
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "not given"}[value]
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    match = _EXACT.fullmatch(str(value))
    return _quantity(float(match[1]), match[2]) if match else str(value)


def _quantity(number: float, unit: str) -> str:
    """Return a quantity in the unit in which it is read."""
    for name, factor in _UNITS.get(unit, ()):
        if (abs(number) >= factor and number) or (number == 0.0 and factor == 1.0) or (name, factor) == _UNITS[unit][-1]:
            return f"{number / factor:,.6g} {name}"
    return f"{number:,.{6 if number == float(f'{number:.6g}') else 4}g} {unit}"  # of many digits the first

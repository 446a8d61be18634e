"""Quantity strings to SI numbers and back: the edge between a scenario file and the simulator.

Inside, every number is SI (seconds, joules, watts, bytes, FLOPs, US dollars, kilograms of CO2-equivalent,
litres). In a file a quantity is a string with a unit ("15.6 T tokens", "400 Gb/s", "0.07 USD/kWh"); a bare
number is accepted only for pure counts and ratios.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pint

# kind -> (SI unit as pint and as the resolved file write it, an example for messages)
KINDS: dict[str, tuple[str, str]] = {
    "time": ("s", "30 min"),
    "power": ("W", "700 W"),
    "energy": ("J", "1300 MWh"),
    "bytes": ("B", "80 GB"),
    "bandwidth": ("B/s", "400 Gb/s"),
    "flop_rate": ("FLOP/s", "989.5 TFLOP/s"),
    "money": ("USD", "120 M USD"),
    "money_per_accelerator_time": ("USD/s", "2.5 USD/h"),
    "money_per_energy": ("USD/J", "0.07 USD/kWh"),
    "money_per_bytes_time": ("USD/(B*s)", "0.02 USD/GB/month"),
    "money_per_bytes": ("USD/B", "0.09 USD/GB"),
    "money_per_time": ("USD/s", "3 M USD/year"),
    "money_per_power_time": ("USD/(W*s)", "15 USD/kW/month"),
    "carbon_mass": ("kgCO2e", "150 kgCO2e"),
    "money_per_carbon": ("USD/kgCO2e", "50 USD/tCO2e"),
    "carbon_per_energy": ("kgCO2e/J", "370 gCO2e/kWh"),
    "volume_per_energy": ("L/J", "0.2 L/kWh"),
    "count": ("", "16384"),
    "ratio": ("", "1.1"),
    "temperature": ("degC", "18 degC"),  # the one unit that is not SI: nobody states the weather in kelvins
    "rate": ("1/s", "3.8 per 1000 days"),
    "flop": ("FLOP", "3.8e25 FLOP"),
    "flop_rate_per_money": ("FLOP/s/USD", "33 GFLOP/s/USD"),
    "flop_rate_per_power": ("FLOP/s/W", "1.4 TFLOP/s/W"),
}

_PREFIX = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
# Scaled counts: "15.6 T tokens", "120 M USD", "4 M". pint knows no magnitude words, so they are folded here.
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SCALED = re.compile(rf"^\s*([-+]?{_NUMBER})\s*([kKMGBTPE])?\s*(tokens?|USD|nodes?|accelerators?|GPUs?)?\s*$")
_SCALED_USD = re.compile(rf"^\s*([-+]?{_NUMBER})\s*([kKMGBT])\s+USD\s*(/.*)$")
_RATE_PER = re.compile(rf"^\s*([-+]?{_NUMBER})\s*per\s+({_NUMBER})?\s*([A-Za-z]+)\s*$")
_TEMPERATURE = re.compile(rf"^\s*([-+]?{_NUMBER})\s*(degC|°C|degF|°F|K)\s*$")
_RATIO = re.compile(rf"^\s*({_NUMBER})\s*:\s*({_NUMBER})\s*$")
# One number, then a unit: no sums, no second factor ("1.2.3 GB", "5 s + 3 min"), no powers.
_UNIT = r"(?:1\s*/|[/A-Za-zµ%(])(?:[^-+^*]|\*(?!\s*[*\d]))*"
_NUMBER_AND_UNIT = re.compile(rf"^\s*[-+]?{_NUMBER}(?:\s*{_UNIT})?$")
_BITS = re.compile(r"\b([kMGTPE]i?)?(?:b|bits?)\b")
_BYTES = re.compile(r"\b([kMGTPE]i?)?(?:B|bytes?)\b")
_MAX_LENGTH = 80


class QuantityError(ValueError):
    """A quantity string that cannot be read; the message says what was found and what is allowed."""


@cache
def registry() -> pint.UnitRegistry:
    """Return the unit registry (pint, with US dollars and CO2-equivalent mass); built on first use."""
    import pint

    units: pint.UnitRegistry = pint.UnitRegistry()
    for line in (
        # pint's own byte is a pure count (so that bytes x seconds would pass as seconds) and its Gb a gilbert.
        "infobyte = [information]",
        "infobit = infobyte / 8",
        "USD = [currency]",
        "FLOP = [operation] = FLOPs",
        "CO2e = [carbon]",
        "gCO2e = 1e-3 * kgCO2e",
        "kgCO2e = CO2e",
        "tCO2e = 1e3 * kgCO2e",
    ):
        units.define(line)
    return units


def parse_quantity(value: Any, kind: str) -> float:
    """Return a quantity of a scenario file as a float in SI.

    Parameters
    ----------
    value : str or number
        "30 min", "400 Gb/s", "7:1", "15.6 T tokens"; a bare number only for kinds "count" and "ratio".
    kind : str
        A key of `KINDS`.

    Raises
    ------
    QuantityError
        Not a number with a unit of that kind, or not finite.
    """
    unit, example = KINDS[kind]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise QuantityError(f"found {shorten(value)}; allowed: a quantity such as {example!r}")
    if isinstance(value, int | float):
        if unit:
            raise QuantityError(f"found the bare number {shorten(value)}; "
                                f"allowed: a quantity with a unit, such as {example!r}")
        number = _as_float(value)
    else:
        number = _parse_text(value, kind)
    if not math.isfinite(number):
        raise QuantityError(f"found {shorten(value)}; allowed: a finite quantity such as {example!r}")
    return number


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of hundreds of digits
        return math.inf


def _parse_text(text: str, kind: str) -> float:
    unit, example = KINDS[kind]
    wrong = QuantityError(f"found {shorten(text)}; allowed: a quantity such as {example!r}")
    if len(text) > _MAX_LENGTH:
        raise wrong
    if kind in ("count", "ratio", "money") and (match := _SCALED.match(text)):
        word = (match[3] or "").rstrip("s")
        if (word == "USD") == (kind == "money"):
            return float(match[1]) * _PREFIX.get(match[2] or "", 1.0)
    if kind == "temperature":
        if not (match := _TEMPERATURE.match(text)):
            raise wrong
        number, scale = float(match[1]), match[2][-1]
        return number if scale == "C" else number - 273.15 if scale == "K" else (number - 32.0) / 1.8
    if kind == "ratio" and (match := _RATIO.match(text)) and float(match[2]) > 0:
        return float(match[1]) / float(match[2])
    if kind == "rate" and (match := _RATE_PER.match(text)) and float(match[2] or 1) > 0:
        text = f"{float(match[1]) / float(match[2] or 1)} / {match[3]}"
    if kind.startswith("money_per") and (match := _SCALED_USD.match(text)):
        text = f"{float(match[1]) * _PREFIX[match[2]]!r} USD{match[3]}"
    if not _NUMBER_AND_UNIT.match(text):
        raise wrong
    try:
        quantity: pint.Quantity = registry().Quantity(_own_bytes(text))
        return float(quantity.to(_own_bytes(unit) or "dimensionless").magnitude)
    except Exception as error:  # pint raises many kinds, from tokenize errors to AttributeError
        raise wrong from error


def _own_bytes(text: str) -> str:
    return _BYTES.sub(r"\1infobyte", _BITS.sub(r"\1infobit", text))


def format_quantity(number: float, kind: str) -> str | float | int:
    """Return an SI number as a file writes it, exactly: parsing the text gives the same float."""
    unit, _ = KINDS[kind]
    if not unit:
        return int(number) if float(number).is_integer() and abs(number) < 2**53 else float(number)
    return f"{float(number)!r} {unit}"


def shorten(value: Any, length: int = 60) -> str:
    """Return a value as a message shows it: its repr, cut where too long."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."

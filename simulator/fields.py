"""Field types of catalog records and scenarios: SI floats written as quantity strings, and distributions.

A field declared `Seconds` holds a float in seconds. In a file it is a quantity string, or a distribution
(`{triangular: [2 USD/h, 2.5 USD/h, 4 USD/h]}`) that stays in the scenario until `realise` draws it once a trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from simulator.distributions import DISTRIBUTIONS, TRUNCATE, Distribution, is_distribution, parse_distribution
from simulator.errors import nearest
from simulator.units import KINDS, QuantityError, format_quantity, parse_quantity, shorten

_LEAST_ABOVE = 1e-9  # SI; of what must be more than a bound: times, bytes, rates of bytes and FLOPs, ratios


class Quantity:
    """Annotation that reads a quantity string of one kind into an SI float within bounds, or a distribution."""

    def __init__(self, kind: str, low: float = 0.0, high: float = math.inf, *, above: bool = False,
                 whole: bool = False, aleatory: bool = False) -> None:
        self.kind, self.low, self.high = kind, low, high
        self.above, self.whole, self.aleatory = above, whole, aleatory

    def read(self, value: Any) -> float | Distribution:
        """Return the SI value (int where whole); raise QuantityError outside the bounds."""
        if isinstance(value, Distribution):
            return value
        if isinstance(value, dict):
            if self.whole:
                raise QuantityError(f"found {shorten(value)}; allowed: one whole number, not a distribution")
            low = self.low + _LEAST_ABOVE if self.above else self.low  # what is drawn must be more than the bound, too
            return parse_distribution(value, self.kind, low, self.aleatory, self.high)
        number = parse_quantity(value, self.kind)
        if number < self.low or number > self.high or (self.above and number == self.low):
            raise QuantityError(f"found {shorten(value)}; allowed: {self.bounds()}")
        if self.whole and not number.is_integer():
            raise QuantityError(f"found {value!r}; allowed: a whole number")
        return int(number) if self.whole else number

    def bounds(self) -> str:
        """Return the allowed range in words."""
        unit = KINDS[self.kind][0]
        low = f"{'more than' if self.above else 'at least'} {self.low:g}"
        return (low + (f" and at most {self.high:g}" if self.high < math.inf else "") + f" {unit}").strip()

    def write(self, value: Any) -> Any:
        """Return what a file writes."""
        return value.to_file() if isinstance(value, Distribution) else format_quantity(value, self.kind)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        unit, example = KINDS[self.kind]
        text = f"{self.bounds()}; such as {example!r}"
        scalar = {"type": "string"} if unit else {"type": ["number", "string"]}
        if self.whole:
            return {**scalar, "description": text}
        spread = {"type": "object", "maxProperties": 2, "properties": {name: {} for name in (*DISTRIBUTIONS, TRUNCATE)},
                  "additionalProperties": False}
        return {"anyOf": [scalar, spread], "description": text}


class QuantityOrName(Quantity):
    """A quantity, or one of a few names (`interval: auto`): one validator, so one message."""

    def __init__(self, kind: str, names: tuple[str, ...], *, above: bool = False) -> None:
        super().__init__(kind, above=above)
        self.names = names

    def read(self, value: Any) -> Any:
        """Return the name, or the SI value."""
        if not isinstance(value, str):
            return super().read(value)
        if value in self.names:
            return value
        if value[:1].isalpha():
            guess = nearest(value, self.names)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise QuantityError(f"found {shorten(value)}; allowed: {', '.join(self.names)} or a quantity such as "
                                f"{KINDS[self.kind][1]!r}{hint}")
        return super().read(value)

    def write(self, value: Any) -> Any:
        """Return what a file writes."""
        return value if isinstance(value, str) else super().write(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = super().__get_pydantic_json_schema__(schema, handler)
        return {**text, "description": f"{', '.join(self.names)}; or {text['description']}"}


class QuantityOrTable(Quantity):
    """A quantity, or a table of it by name (`{ampere: 1.66, default: 1.64}`), of which `default` covers the rest."""

    def read(self, value: Any) -> Any:
        """Return the SI value, or the table of SI values."""
        if not isinstance(value, dict) or is_distribution(value):
            return super().read(value)
        if "default" not in value:
            raise QuantityError(f"found {shorten(value)}; allowed: a table with an entry 'default'")
        return {str(name): super(QuantityOrTable, self).read(item) for name, item in value.items()}

    def write(self, value: Any) -> Any:
        """Return what a file writes."""
        if isinstance(value, dict):
            return {name: super(QuantityOrTable, self).write(item) for name, item in value.items()}
        return super().write(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = super().__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [*text["anyOf"][:1], {"type": "object"}], "description": f"{text['description']}; or a table by name"}


class ShareOrSwitch(Quantity):
    """A share from 0 to 1, for which a file may also write `false` (0) or `true` (1)."""

    def __init__(self) -> None:
        super().__init__("ratio", high=1.0)

    def read(self, value: Any) -> float | Distribution:
        """Return the share."""
        if isinstance(value, bool):
            return float(value)
        if isinstance(value, str) and value[:1].isalpha():
            raise QuantityError(f"found {shorten(value)}; allowed: true, false or a share from 0 to 1")
        return super().read(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = super().__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [{"type": "boolean"}, *text["anyOf"]], "description": f"true, false; or {text['description']}"}


Seconds = Annotated[float, Quantity("time")]
RandomSeconds = Annotated[Any, Quantity("time", aleatory=True)]  # drawn anew at every event
RandomRatio = Annotated[Any, Quantity("ratio", aleatory=True)]
PositiveSeconds = Annotated[float, Quantity("time", above=True)]
Watts = Annotated[float, Quantity("power")]
Joules = Annotated[float, Quantity("energy")]
Bytes = Annotated[float, Quantity("bytes", above=True)]
BytesPerSecond = Annotated[float, Quantity("bandwidth", above=True)]
FlopsPerSecond = Annotated[float, Quantity("flop_rate", above=True)]
Usd = Annotated[float, Quantity("money")]
UsdPerAcceleratorSecond = Annotated[float, Quantity("money_per_accelerator_time")]
UsdPerJoule = Annotated[float, Quantity("money_per_energy", low=-math.inf)]  # prices can be negative
UsdPerByteSecond = Annotated[float, Quantity("money_per_bytes_time")]
UsdPerByte = Annotated[float, Quantity("money_per_bytes")]
UsdPerSecond = Annotated[float, Quantity("money_per_time")]
UsdPerWattSecond = Annotated[float, Quantity("money_per_power_time")]
KgCo2e = Annotated[float, Quantity("carbon_mass")]
UsdPerKgCo2e = Annotated[float, Quantity("money_per_carbon")]
KgCo2ePerJoule = Annotated[float, Quantity("carbon_per_energy")]
LitresPerJoule = Annotated[float, Quantity("volume_per_energy")]
DegC = Annotated[float, Quantity("temperature", low=-90.0, high=60.0)]
PerSecond = Annotated[float, Quantity("rate")]
# What a machine or a model has of anything: a billion at most, so that loops over it end.
Count = Annotated[int, Quantity("count", low=1, high=1e9, whole=True)]
CountOrZero = Annotated[int, Quantity("count", high=1e9, whole=True)]
Seed = Annotated[int, Quantity("count", high=1e18, whole=True)]
Tokens = Annotated[float, Quantity("count", low=1, high=1e18)]
Ratio = Annotated[float, Quantity("ratio")]
Share = Annotated[float, Quantity("ratio", high=1.0)]
ShareOrBool = Annotated[float, ShareOrSwitch()]
RatioFromOne = Annotated[float, Quantity("ratio", low=1.0)]

_SUFFIXES = ("_usd_per_accelerator_s", "_usd_per_byte_s", "_usd_per_w_s", "_usd_per_s", "_usd_per_j", "_usd_per_kgco2e",
             "_usd_per_byte", "_kgco2e_per_j", "_l_per_j", "_bytes_per_s", "_flops_per_s", "_kgco2e", "_bytes", "_per_s", "_usd",
             "_degc", "_s", "_w", "_j", "_")


@cache
def file_key(name: str) -> str:
    """Return the key of a field in a file: its name without the unit suffix (`repair_time_s` -> `repair_time`).

    An underscore at the end goes too: it parts a key from a word of Python (`class_` -> `class`).
    """
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


class Record(BaseModel):
    """Base of everything read from a file: immutable, in SI, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=file_key, serialize_by_alias=True)

    def to_file(self) -> dict[str, Any]:
        """Return the record as a file writes it: plain mappings, lists, numbers and quantity strings."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


R = TypeVar("R", bound=BaseModel)


def map_distributions(record: R, draw: Callable[[str, Distribution], Any], path: str = "",
                      only: frozenset[str] | None = None) -> R:
    """Return the record with every epistemic distribution replaced by draw(path, distribution).

    Parts without a distribution are the same objects, so what was computed from them stays valid. `only` names the parts of this
    record to look into, where that is known.
    """
    changed: dict[str, Any] = {}
    for name in type(record).model_fields:
        if only is not None and name not in only:
            continue
        old = getattr(record, name)
        new = _map_value(old, draw, f"{path}.{file_key(name)}" if path else file_key(name))
        if new is not old:
            changed[name] = new
    return record.model_copy(update=changed) if changed else record


def _map_value(value: Any, draw: Callable[[str, Distribution], Any], path: str) -> Any:
    if isinstance(value, Distribution):
        return value if value.aleatory else draw(path, value)
    if isinstance(value, BaseModel):
        return map_distributions(value, draw, path)
    if isinstance(value, tuple):
        items = tuple(_map_value(item, draw, f"{path}.{i}") for i, item in enumerate(value))
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        mapped = {key: _map_value(item, draw, f"{path}.{key}") for key, item in value.items()}
        return mapped if any(mapped[key] is not value[key] for key in value) else value
    return value

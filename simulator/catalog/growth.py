"""Records of growth: how a quantity of frontier training changes from year to year, as a source had it when it was published."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pydantic import Field, ValidationInfo, field_serializer, field_validator, model_validator

from simulator.catalog.records import Sourced
from simulator.errors import unknown_name
from simulator.fields import Quantity
from simulator.units import KINDS, shorten


class Grows(NamedTuple):
    """What a law may describe.

    Attributes
    ----------
    kind : str
        Of its reference, a key of `units.KINDS`; empty where the law has growth alone.
    low, high : float
        Bounds of the reference, SI.
    level : str
        Where the level comes from if the law gives no reference: "runs", "accelerators", or "" (it must give one).
    least_growth : float
        A factor a year.
    """

    kind: str
    low: float = 0.0
    high: float = math.inf
    level: str = ""
    least_growth: float = 0.0


QUANTITIES: dict[str, Grows] = {
    "compute": Grows("flop", level="runs"),
    "duration": Grows("time", level="runs"),
    # Its growth is the depreciation of what was bought, too.
    "price_performance": Grows("flop_rate_per_money", level="accelerators", least_growth=1.0),
    "efficiency": Grows("flop_rate_per_power", level="accelerators"),
    "peak": Grows("flop_rate", level="accelerators"),
    "algorithms": Grows(""),
    "utilisation": Grows("ratio", high=1.0),
    "age": Grows("time"),
    "server": Grows("ratio", low=1.0),
    "load": Grows("ratio", high=1.0),
    "pue": Grows("ratio", low=1.0),
    "electricity": Grows("money_per_energy"),
    "carbon": Grows("carbon_per_energy"),
    "rent": Grows("ratio"),
}
_MOST_GROWTH = 100.0  # a year


class GrowthLaw(Sourced):
    """A quantity over the years: reference x growth^(years since `year`)."""

    name: str = Field(default="inline law", description="in reports")
    quantity: str = Field(description="what grows: docs/guide.md, section laws of growth")
    published: int = Field(description="year of the source; a forecast from a year knows what was published by then")
    growth: Any = Field(
        default=1.0, description="factor a year, or a distribution of it; of `price_performance` above 1, which is the "
                                 "depreciation too")
    reference: Any = Field(
        default=None, description="value in `year`, of the unit of `quantity`, or a distribution of it; absent: that of "
                                  "published runs or of the catalog's accelerators, where the quantity has one")
    year: float | None = Field(default=None, description="of the reference, such as 2024.5; needed where it grows")

    @field_validator("quantity")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in QUANTITIES:
            raise ValueError(unknown_name("quantity", value, QUANTITIES))
        return value

    @field_validator("published", "year")
    @classmethod
    def _in_time(cls, value: float | None) -> float | None:
        if value is not None and not 1950 <= value <= 2100:
            raise ValueError(f"found {value:g}; allowed: a year from 1950 to 2100")
        return value

    @field_validator("growth", mode="plain")
    @classmethod
    def _factor(cls, value: Any, info: ValidationInfo) -> Any:
        least = QUANTITIES[info.data["quantity"]].least_growth if "quantity" in info.data else 0.0
        return Quantity("ratio", least, _MOST_GROWTH, above=True).read(value)

    @field_validator("reference", mode="plain")
    @classmethod
    def _level(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None or "quantity" not in info.data:
            return value
        grows = QUANTITIES[info.data["quantity"]]
        if not grows.kind:
            raise ValueError(f"found {shorten(value)}; allowed: none, {info.data['quantity']} have growth alone")
        return Quantity(grows.kind, grows.low, grows.high, above=grows.low == 0.0).read(value)

    @field_serializer("growth", "reference")
    def _written(self, value: Any, info: Any) -> Any:
        kind = "ratio" if info.field_name == "growth" else QUANTITIES[self.quantity].kind
        return None if value is None else Quantity(kind).write(value)

    @model_validator(mode="after")
    def _complete(self) -> GrowthLaw:
        grows = QUANTITIES[self.quantity]
        if self.reference is None and grows.kind and not grows.level:
            raise ValueError(f"missing key 'reference'; allowed: a quantity such as {KINDS[grows.kind][1]!r}, or a distribution")
        if self.reference is not None and self.year is None and self.growth != 1.0:
            raise ValueError("missing key 'year' of the reference; allowed: a year such as 2024.5")
        return self

"""Records of money: the terms on which accelerators are owned, and presets of the section `pricing`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.catalog.records import Sourced
from simulator.fields import (
    Count,
    PerSecond,
    PositiveSeconds,
    Quantity,
    QuantityOrName,
    QuantityOrTable,
    RatioFromOne,
    Record,
    Share,
    Usd,
    UsdPerJoule,
    UsdPerSecond,
    UsdPerWattSecond,
)

YEAR_S = 365.25 * 86400.0


class OwnedTerms(Record):
    """Accelerators bought: what a cluster of them costs, how its value falls, and what holding it costs beside."""

    accelerator_price_usd: Usd | None = Field(default=None, description="absent: the accelerator's catalog price")
    server_multiplier: Annotated[float | dict[str, float], QuantityOrTable("ratio", low=1.0)] = Field(
        default=1.64, description="price of the server over that of its accelerators, by generation in a table")
    interconnect_share: Annotated[float, Quantity("ratio", high=0.9)] = Field(
        default=0.19, description="of what servers and interconnect cost together")
    depreciation: Literal["straight-line", "learning-curve"] = Field(
        default="straight-line", description="over `life`, or exponential at `price_decline`")
    life_s: PositiveSeconds = Field(default=4.0 * YEAR_S, description="straight line only")
    residual_value: Share = Field(default=0.0, description="share of the price left at the end of `life`, straight line only")
    price_decline_per_s: PerSecond = Field(
        default=0.14 / YEAR_S, description="orders of magnitude by which the value falls in a time, learning curve only")
    age_s: Annotated[float | Literal["since-release"], QuantityOrName("time", ("since-release",))] = Field(
        default=0.0, description="time from the price to the start of the run, by which the value has fallen already")
    cost_of_capital_per_s: PerSecond = Field(default=0.0, description="interest on the book value")
    storage_capital_usd: Usd = Field(default=0.0, description="price of the storage system, written off as the rest")
    staff_usd_per_s: UsdPerSecond = Field(default=0.0, description="people who keep the cluster running")
    space_usd_per_w_s: UsdPerWattSecond = Field(default=0.0, description="of rated IT power")
    maintenance_per_s: PerSecond = Field(default=0.0, description="share of the purchase price in a time")
    electricity_usd_per_j: UsdPerJoule | None = Field(default=None, description="absent: by year, else the site's")
    electricity_by_year: dict[Count, UsdPerJoule] = Field(
        default_factory=dict, description="where `electricity` is absent: the price of the nearest year")


class PricingRecord(Sourced):
    """Assumptions on money, published as a whole: a preset of the section `pricing`."""

    name: str = "inline pricing"
    owned: OwnedTerms | None = None
    research_overhead: RatioFromOne = Field(
        default=1.0, description="compute of the whole project over that of the run: experiments and failed runs")

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

    accelerator_price_usd: Usd | None = Field(default=None, description="of one accelerator; absent: the catalog's")
    server_multiplier: Annotated[float | dict[str, float], QuantityOrTable("ratio", low=1.0)] = Field(
        default=1.64, description="price of a server over that of its accelerators; or by generation, `{ampere: 1.66, default: "
                                  "1.64}`. Source: Epoch AI, arXiv:2405.21015")
    interconnect_share: Annotated[float, Quantity("ratio", high=0.9)] = Field(
        default=0.19, description="of what servers and interconnect cost together. Source: Epoch AI, arXiv:2405.21015")
    depreciation: Literal["straight-line", "learning-curve"] = Field(
        default="straight-line", description="even over `life`, or exponential at `price_decline`")
    life_s: PositiveSeconds = Field(
        default=4.0 * YEAR_S, description="straight line only: after it nothing is written off. Source: assumed, as cloud "
                                          "providers do (FROM MEMORY)")
    residual_value: Share = Field(default=0.0, description="share of the price left at the end of `life`, straight line only")
    price_decline_per_s: PerSecond = Field(
        default=0.14 / YEAR_S, description="learning curve only: orders of magnitude by which the value falls. Source: Epoch "
                                           "AI, arXiv:2405.21015")
    age_s: Annotated[float | Literal["since-release"], QuantityOrName("time", ("since-release",))] = Field(
        default=0.0, description="time from the price to the start of the run, by which the value has fallen already; or "
                                 "`since-release`, by the calendar or the middle of `year` (1.5 years where neither is given)")
    cost_of_capital_per_s: PerSecond = Field(default=0.0, description="interest on the book value: `8 %/year`")
    storage_capital_usd: Usd = Field(default=0.0, description="price of the storage system, written off as the rest")
    staff_usd_per_s: UsdPerSecond = Field(default=0.0, description="people who keep the cluster running: `3 M USD/year`")
    space_usd_per_w_s: UsdPerWattSecond = Field(default=0.0, description="of rated IT power: `150 USD/kW/month`")
    maintenance_per_s: PerSecond = Field(default=0.0, description="share of the purchase price: `5 %/year`")
    electricity_usd_per_j: UsdPerJoule | None = Field(
        default=None, description="of what the cluster takes; absent: by year, else the site's")
    electricity_by_year: dict[Count, UsdPerJoule] = Field(
        default_factory=dict, description="price of the year nearest to the scenario's, `{2024: 0.0771 USD/kWh}`; where "
                                          "`electricity` is not given")


class PricingRecord(Sourced):
    """Assumptions on money, published as a whole: a preset of the section `pricing`."""

    name: str = Field(default="inline pricing", description="in reports")
    owned: OwnedTerms | None = None
    research_overhead: RatioFromOne = Field(
        default=1.0, description="compute of the whole project over that of the run; the rest is `cost_research_overhead_usd`")

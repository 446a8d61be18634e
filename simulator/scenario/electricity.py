"""What electricity costs, and what contracts say of its origin; carbon by place and by contract."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.fields import (
    KgCo2e,
    PositiveSeconds,
    Quantity,
    Record,
    Share,
    UsdPerJoule,
    UsdPerKgCo2e,
)
from simulator.scenario.checks import FieldError
from simulator.scenario.series import Series, SeriesOrQuantity

_YEAR_S = 365.25 * 86400.0
Price = Annotated[float | Series, SeriesOrQuantity("money_per_energy", low=-1e9)]
Intensity = Annotated[float | Series, SeriesOrQuantity("carbon_per_energy")]


class Contract(Record):
    """A power purchase agreement: a share of what is taken from the grid, or what a plant makes, at a price of its own."""

    share: Share = Field(default=0.0, description="of what the grid delivers, hour by hour")
    profile_w: Annotated[float | Series, SeriesOrQuantity("power")] | None = Field(
        default=None, description="of a plant, paid as produced; what is not used is sold at the market's price")
    price_usd_per_j: UsdPerJoule = Field(description="of what is contracted")
    matching: Literal["annual", "hourly"] = Field(
        default="annual", description="of market-based carbon: over the whole run, or hour by hour (24/7)")

    @model_validator(mode="after")
    def _some_energy(self) -> Contract:
        if self.profile_w is None and self.share == 0.0:
            raise FieldError("share", "found neither 'share' nor 'profile'; allowed: at least one of the two")
        return self


class Electricity(Record):
    """A tariff. Rent includes electricity; with this section it is paid on top."""

    price_usd_per_j: Price | None = Field(
        default=None, description="of what the grid delivers; may be below zero; absent: the site's, or `owned.electricity`")
    demand_charge_usd_per_w_s: Annotated[float, Quantity("money_per_power_time")] = Field(
        default=0.0, description="on the highest hour of each month, for the share of the month that the run takes")
    export_price_usd_per_j: Price = Field(default=0.0, description="for what solar and wind on site leave over")
    contract: Contract | None = None


class Offsets(Record):
    """Certificates of reductions elsewhere; reported apart and never netted."""

    share: Share = Field(description="of operational carbon, by place")
    price_usd_per_kgco2e: UsdPerKgCo2e = Field(description="of a certificate")


class Carbon(Record):
    """Carbon by place, by contract, and of what was built."""

    intensity_kgco2e_per_j: Intensity | None = Field(default=None, description="of the grid, by place; absent: the site's")
    residual_kgco2e_per_j: Intensity | None = Field(
        default=None, description="of what no contract covers (residual mix); absent: as `intensity`")
    offsets: Offsets | None = None
    embodied_node_kgco2e: KgCo2e = Field(default=0.0, description="of a node without its accelerators (those have `embodied`)")
    embodied_life_s: PositiveSeconds = Field(
        default=5.0 * _YEAR_S, description="over which embodied carbon is spread. Source: LLMCarbon, arXiv:2309.14393")

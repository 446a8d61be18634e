"""Where a cluster stands: its site and buildings, what limits its power, and what stands beside it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from simulator.catalog.records import SiteRecord
from simulator.errors import UserError
from simulator.fields import (
    Joules,
    KgCo2ePerJoule,
    PerSecond,
    PositiveSeconds,
    Quantity,
    Ratio,
    RatioFromOne,
    Record,
    Share,
    UsdPerJoule,
    UsdPerSecond,
    Watts,
)
from simulator.scenario.checks import FieldError
from simulator.scenario.series import Series, SeriesOrQuantity


class Overheads(Record):
    """Cooling and distribution by load and outdoor temperature, in place of one PUE.

    PUE(L) = 1 + (fixed + proportional L + quadratic L^2) / L, L the IT load over what the building is made for. No coefficients
    are published that could be cited; the defaults give 1.10 at full load and 1.15 at a quarter (docs/reference/power_model.md,
    section 4, has such a set).
    """

    it_capacity_w: Watts | None = Field(
        default=None, description="IT power that the building is made for; absent: all nodes at TDP")
    cooling_fixed: Share = Field(default=0.01, description="of the IT capacity, at any load: fans, pumps")
    cooling_proportional: Share = Field(default=0.05, description="of the IT power")
    cooling_per_degree: Share = Field(default=0.004, description="of the IT power, for each degree above `free_cooling_below`")
    free_cooling_below_degc: Annotated[float, Quantity("temperature", low=-80.0, high=80.0)] = Field(
        default=20.0, description="outdoor temperature up to which nothing is chilled")
    distribution_fixed: Share = Field(default=0.01, description="of the IT capacity: transformers and UPS without load, lighting")
    distribution_proportional: Share = Field(default=0.01, description="of the IT power")
    distribution_quadratic: Share = Field(default=0.02, description="of the IT power, at full load: ohmic losses")


class Battery(Record):
    """A battery on site: it takes what solar and wind leave over, and serves load before the grid does."""

    energy_j: Joules = Field(description="what it holds; empty when the run begins, charged by solar and wind alone")
    power_w: Watts = Field(description="how fast it takes and gives")
    efficiency: Annotated[float, Quantity("ratio", low=0.01, high=1.0)] = Field(
        default=0.95, description="of each way. Source: FROM MEMORY, 0.9 for both ways of lithium-ion systems")
    cost_usd_per_s: UsdPerSecond = Field(default=0.0, description="to have it")


class Generator(Record):
    """A generator on site: it serves load above what the grid allows, in place of a slower or paused run."""

    power_w: Watts = Field(description="serves what is above the grid's limit, so that the run goes on at its clock")
    fuel_usd_per_j: UsdPerJoule = Field(description="per energy delivered")
    carbon_intensity_kgco2e_per_j: KgCo2ePerJoule = Field(description="per energy delivered")


class Curtailment(Record):
    """The grid asks for less: at a set time, or at random."""

    at_s: PositiveSeconds | None = Field(default=None, description="after the start, once; or `rate`")
    rate_per_s: PerSecond | None = Field(
        default=None, description="events at random, such as `10 per 365 days`; each begins at the next full hour")
    duration_s: PositiveSeconds = Field(description="in whole hours of the clock")
    to: Share = Field(
        default=0.0, description="share of the facility's full power that is left; the run is slowed, or paused where no clock "
                                 "fits")
    payment_usd_per_j: UsdPerJoule = Field(
        default=0.0, description="for energy not used against full power (demand response); what the generator makes instead is "
                                 "not paid")

    @model_validator(mode="after")
    def _set_or_random(self) -> Curtailment:
        if (self.at_s is None) == (self.rate_per_s is None):
            raise FieldError("at", "found both or none of 'at' and 'rate'; allowed: one of the two")
        return self


class Place(Record):
    """A site, and the power usage effectiveness there."""

    site: SiteRecord | None = Field(
        default=None, description="gives what is not given here of PUE, carbon intensity, price of electricity and water")
    pue: RatioFromOne | None = Field(
        default=None, description="power usage effectiveness, the same at any load; needed if neither site nor `overheads` say "
                                  "one; absent: the site's")

    @property
    def effective_pue(self) -> float | None:
        """The place's own power usage effectiveness, else the site's, else None."""
        return self.pue if self.pue is not None or self.site is None else self.site.pue

    def needed_pue(self) -> float:
        """Return the power usage effectiveness; raise UserError where none is known."""
        pue = self.effective_pue
        if pue is None:
            raise UserError("facility.pue: the site has no PUE in the catalog; give one, such as pue: 1.1")
        return pue


class Facility(Place):
    """Where it stands."""

    overheads: Overheads | None = Field(
        default=None, description="cooling and distribution by load and temperature, in place of one PUE; `{}` for the defaults")
    temperature_degc: Annotated[float | Series, SeriesOrQuantity("temperature", low=-80.0, high=80.0)] = Field(
        default=15.0, description="outdoors; `overheads` and rules look at it. Source: assumed")
    power_cap_w: Annotated[float | Series, SeriesOrQuantity("power")] | None = Field(
        default=None, description="most that the grid delivers; the run is slowed or paused to stay below it, with what stands "
                                  "on site")
    oversubscription: Ratio = Field(
        default=0.0, description="rated power of all nodes over the IT power provided, such as 1.2; the run is slowed to fit; "
                                 "0: all is provided")
    curtailment: tuple[Curtailment, ...] = Field(default=(), description="events in which the grid asks for less")
    solar_w: Annotated[float | Series, SeriesOrQuantity("power")] | None = Field(
        default=None, description="made on site: used first, then stored, then sent out (`electricity.export_price`)")
    wind_w: Annotated[float | Series, SeriesOrQuantity("power")] | None = Field(
        default=None, description="made on site, used as `solar`")
    onsite_cost_usd_per_s: UsdPerSecond = Field(default=0.0, description="of solar and wind, however much they make")
    battery: Battery | None = None
    generator: Generator | None = None

    @model_validator(mode="after")
    def _one_overhead(self) -> Facility:
        if self.overheads is not None and self.pue is not None:
            raise FieldError("overheads", "found both 'overheads' and 'pue'; allowed: one of the two")
        return self

    @property
    def effective_pue(self) -> float | None:
        """The facility's own power usage effectiveness (that of `overheads` at full load), else the site's, else None."""
        if self.overheads is not None:
            o = self.overheads
            return 1.0 + (o.cooling_fixed + o.cooling_proportional + o.distribution_fixed + o.distribution_proportional
                          + o.distribution_quadratic)
        return super().effective_pue

"""What the operator does by the hour: pause or slow the run where price, carbon or heat is high."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.fields import KgCo2ePerJoule, Quantity, Record, Seconds, UsdPerJoule
from simulator.scenario.checks import FieldError


class Policy(Record):
    """One rule; where several hold, the one that leaves the least power counts."""

    price_above_usd_per_j: UsdPerJoule | None = Field(
        default=None, description="price of electricity; needs `pricing.electricity` or `pricing.owned`. One of the three "
                                  "thresholds must be given")
    carbon_above_kgco2e_per_j: KgCo2ePerJoule | None = Field(default=None, description="intensity of the grid, by place")
    temperature_above_degc: Annotated[float, Quantity("temperature", low=-80.0, high=80.0)] | None = Field(
        default=None, description="outdoors (`facility.temperature`)")
    action: Literal["pause", "slow"] = Field(
        description="`slow`: lower clocks, no restart (`time_throttled_s`); `pause`: save, stand, restart (`time_curtailed_s`)")
    to: Annotated[float, Quantity("ratio", high=1.0, above=True)] = Field(
        default=0.7, description="share of the full IT power that a slowed run may take: the highest limit that fits, in steps "
                                 "of 5 % down to 40 % of the accelerators' own; none fits: a pause. Source: assumed")
    at_least_s: Seconds = Field(default=0.0, description="shorter stretches are ignored: a pause costs a restart")

    @model_validator(mode="after")
    def _one_threshold(self) -> Policy:
        levels = (self.price_above_usd_per_j, self.carbon_above_kgco2e_per_j, self.temperature_above_degc)
        given = sum(level is not None for level in levels)
        if given != 1:
            raise FieldError("action", f"found {given} of 'price_above', 'carbon_above', 'temperature_above'; allowed: one of "
                                       "the three")
        return self

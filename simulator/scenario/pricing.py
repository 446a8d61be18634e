"""What a cluster costs to hold: rented by the hour, or bought and written off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simulator.catalog.records import AcceleratorRecord, SiteRecord
from simulator.errors import UserError
from simulator.fields import PositiveSeconds, Quantity, QuantityOrName, RatioFromOne, Record, Usd, UsdPerByteSecond, UsdPerJoule
from simulator.scenario.checks import FieldError

PriceName = Literal["on_demand", "reserved_1y", "reserved_3y", "spot"]
PRICE_NAMES: tuple[PriceName, ...] = ("on_demand", "reserved_1y", "reserved_3y", "spot")
_YEAR_S = 365.25 * 86400.0


class Rental(Record):
    """Accelerators by the hour."""

    price_usd_per_accelerator_s: Annotated[
        float | PriceName, QuantityOrName("money_per_accelerator_time", PRICE_NAMES)
    ] = Field(default="on_demand", description="a price, or the name of one of the accelerator's catalog prices")

    def price_for(self, accelerator: AcceleratorRecord) -> float:
        """Return the price, USD per accelerator and second; a name is the accelerator's catalog price."""
        price = self.price_usd_per_accelerator_s
        if not isinstance(price, str):
            return price
        found: float | None = getattr(accelerator, f"{price}_usd_per_accelerator_s")
        if found is None:
            have = [n for n in PRICE_NAMES if getattr(accelerator, f"{n}_usd_per_accelerator_s") is not None]
            allowed = f"{', '.join(have)} or a price such as '2.5 USD/h'" if have else "a price such as '2.5 USD/h'"
            raise UserError(f"pricing.rental.price: the catalog has no {price} price for {accelerator.name}; "
                            f"allowed: {allowed}")
        return found


class Owned(Record):
    """Accelerators bought and written off; the default factors are Epoch AI's (Cottier et al. 2024)."""

    accelerator_price_usd: Usd | None = Field(default=None, description="absent: the accelerator's catalog price")
    server_multiplier: RatioFromOne = Field(default=1.64, description="price of the server over that of its accelerators")
    interconnect_share: Annotated[float, Quantity("ratio", high=0.9)] = Field(
        default=0.19, description="share of the whole cluster's cost")
    life_s: PositiveSeconds = 4.0 * _YEAR_S
    electricity_usd_per_j: UsdPerJoule | None = Field(default=None, description="absent: the site's")

    def price_for(self, accelerator: AcceleratorRecord) -> float:
        """Return the purchase price of one accelerator, USD."""
        price = self.accelerator_price_usd if self.accelerator_price_usd is not None else accelerator.price_usd
        if price is None:
            raise UserError(f"pricing.owned.accelerator_price: the catalog has no purchase price for "
                            f"{accelerator.name}; allowed: a price such as '30000 USD'")
        return price

    def electricity_for(self, site: SiteRecord | None) -> float:
        """Return the price of electricity, USD/J."""
        price = self.electricity_usd_per_j
        if price is None and site is not None:
            price = site.electricity_usd_per_j
        if price is None:
            place = f"the site {site.name}" if site else "a scenario without a site"
            raise UserError(f"pricing.owned.electricity: {place} has no price of electricity; allowed: a price such as "
                            "'0.07 USD/kWh'")
        return price


class Pricing(Record):
    """Rental or owned; neither is rental at the on-demand price of the catalog."""

    rental: Rental | None = None
    owned: Owned | None = None
    storage_usd_per_byte_s: UsdPerByteSecond = 0.0

    @model_validator(mode="before")
    @classmethod
    def _one_of_two(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        given = [key for key in ("rental", "owned") if value.get(key) is not None]
        if len(given) == 2:
            raise FieldError("owned", "found both 'rental' and 'owned'; allowed: one of the two")
        return value if given else {**value, "rental": {}}

"""What a cluster costs to hold: rented by the hour, or bought and written off; and what is paid beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simulator import catalog
from simulator.catalog.pricing import OwnedTerms, PricingRecord
from simulator.catalog.records import AcceleratorRecord, SiteRecord
from simulator.errors import UserError, unknown_name
from simulator.fields import Bytes, Count, Distribution, QuantityOrName, Record, Seconds, Share, UsdPerByte, UsdPerByteSecond
from simulator.scenario.checks import FieldError
from simulator.scenario.electricity import Electricity
from simulator.scenario.series import Series, SeriesOrQuantity
from simulator.units import shorten

PriceName = Literal["on_demand", "reserved_1y", "reserved_3y", "spot"]
PRICE_NAMES: tuple[PriceName, ...] = ("on_demand", "reserved_1y", "reserved_3y", "spot")


class SeriesOrName(QuantityOrName, SeriesOrQuantity):
    """A quantity, a series of it over time, or one of a few names."""


RentPrice = Annotated[float | Series | PriceName, SeriesOrName("money_per_accelerator_time", PRICE_NAMES)]
_SHARES_TOLERANCE = 1e-9


def _price_usd_per_s(price: float | Series | PriceName, accelerator: AcceleratorRecord, path: str) -> float | Series:
    """Return USD per accelerator and second, or a series of it; a name is the accelerator's catalog price."""
    if not isinstance(price, str):
        return price
    found: float | None = getattr(accelerator, f"{price}_usd_per_accelerator_s")
    if found is None:
        have = [n for n in PRICE_NAMES if getattr(accelerator, f"{n}_usd_per_accelerator_s") is not None]
        allowed = f"{', '.join(have)} or a price such as '2.5 USD/h'" if have else "a price such as '2.5 USD/h'"
        raise UserError(f"{path}: the catalog has no {price} price for {accelerator.name}; allowed: {allowed}")
    return found


class RentedPart(Record):
    """Some of the accelerators, on terms of their own."""

    share: Share = Field(description="of all accelerators, spares included; the shares of all parts sum to 1")
    price_usd_per_accelerator_s: RentPrice = Field(default="on_demand", description="as of the whole")
    term_s: Seconds = Field(default=0.0, description="paid for whole at least, from when an accelerator is added")


class Rental(Record):
    """Accelerators by the hour: all at one price, or in parts."""

    price_usd_per_accelerator_s: RentPrice = Field(
        default="on_demand", description="of an accelerator, electricity included: a price, the name of a catalog price, or a "
                                         "series (spot by the hour)")
    term_s: Seconds = Field(
        default=0.0, description="paid for whole at least, from when an accelerator is added: what a shorter run leaves is "
                                 "`cost_unused_commitment_usd`; not with a series")
    parts: tuple[RentedPart, ...] = Field(default=(), description="in place of one price and term; shares sum to 1")

    @model_validator(mode="after")
    def _whole(self) -> Rental:
        for key, found, usual in (("price", self.price_usd_per_accelerator_s, "on_demand"), ("term", self.term_s, 0.0)):
            if self.parts and found != usual:
                raise FieldError(key, f"found both {key!r} and 'parts'; allowed: one of the two")
        for i, part in enumerate(self.parts):
            if isinstance(part.share, Distribution):
                raise FieldError(f"parts.{i}.share", "found a distribution; allowed: one number, as shares sum to 1")
        for path, _, price, term_s in self.terms():
            if isinstance(price, Series) and term_s != 0.0:
                raise FieldError(f"{path}term", "found a term at a price that changes with time; allowed: a term at one price")
        total = math.fsum(part.share for part in self.parts)
        if self.parts and abs(total - 1.0) > _SHARES_TOLERANCE:
            raise FieldError("parts", f"found shares {' + '.join(f'{part.share:g}' for part in self.parts)} = {total:g}; "
                                      "allowed: shares that sum to 1")
        return self

    def terms(self) -> list[tuple[str, float, float | Series | PriceName, float]]:
        """Return (path, share, price, term in s) of each part; the path ends in a dot where it is not empty."""
        if not self.parts:
            return [("", 1.0, self.price_usd_per_accelerator_s, self.term_s)]
        return [(f"parts.{i}.", part.share, part.price_usd_per_accelerator_s, part.term_s) for i, part in enumerate(self.parts)]

    def parts_for(self, accelerator: AcceleratorRecord) -> list[tuple[float, float | Series, float]]:
        """Return (share, USD per accelerator and second, term in s) of each part; raise UserError for unknown prices."""
        return [(share, _price_usd_per_s(price, accelerator, f"pricing.rental.{path}price"), term_s)
                for path, share, price, term_s in self.terms()]

    def price_for(self, accelerator: AcceleratorRecord) -> float:
        """Return the price, USD per accelerator and second, over all parts; raise UserError where it changes with time."""
        total = 0.0
        for share, price, _ in self.parts_for(accelerator):
            if isinstance(price, Series):
                raise UserError("pricing.rental.price: found a price that changes with time; allowed here: such as '2.5 USD/h'")
            total += share * price
        return total


class Owned(OwnedTerms):
    """Accelerators bought and written off; the default factors are Epoch AI's (Cottier et al. 2024)."""

    @model_validator(mode="after")
    def _known_generations(self) -> Owned:
        if isinstance(self.server_multiplier, dict):
            known = (*catalog.names("generations"), "default")
            for name in self.server_multiplier:
                if name not in known:
                    raise FieldError(f"server_multiplier.{name}", unknown_name("generation", name, known))
        return self

    def price_for(self, accelerator: AcceleratorRecord) -> float:
        """Return the purchase price of one accelerator, USD."""
        price = self.accelerator_price_usd if self.accelerator_price_usd is not None else accelerator.price_usd
        if price is None:
            raise UserError(f"pricing.owned.accelerator_price: the catalog has no purchase price for "
                            f"{accelerator.name}; allowed: a price such as '30000 USD'")
        return price

    def multiplier_for(self, accelerator: AcceleratorRecord) -> float:
        """Return the price of a server over that of its accelerators."""
        if not isinstance(self.server_multiplier, dict):
            return self.server_multiplier
        return self.server_multiplier.get(accelerator.generation, self.server_multiplier["default"])

    def electricity_for(self, site: SiteRecord | None, year: int | None = None) -> float:
        """Return the price of electricity, USD/J: as given, else of the nearest year in the table, else the site's."""
        price = self.electricity_usd_per_j
        if price is None and self.electricity_by_year:
            price = self.electricity_by_year[min(self.electricity_by_year, key=lambda y: (abs(y - (year or y)), -y))]
        if price is None and site is not None:
            price = site.electricity_usd_per_j
        if price is None:
            place = f"the site {site.name}" if site else "a scenario without a site"
            raise UserError(f"pricing.owned.electricity: {place} has no price of electricity; allowed: a price such as "
                            "'0.07 USD/kWh'")
        return price


class Egress(Record):
    """What leaves the cluster's place, once a run."""

    bytes_: Bytes = Field(description="that leave, once a run")
    price_usd_per_byte: UsdPerByte = Field(description="of a byte that leaves")


class Pricing(PricingRecord):
    """Rental or owned; neither is rental at the on-demand price of the catalog."""

    rental: Rental | None = None
    owned: Owned | None = None
    storage_usd_per_byte_s: UsdPerByteSecond = Field(default=0.0, description="of the two checkpoints kept, and of `dataset`")
    dataset_bytes: Bytes | None = Field(default=None, description="of the data set, stored while the run lasts")
    egress: Egress | None = None
    electricity: Electricity | None = Field(
        default=None, description="a tariff, paid on top of rent; absent: rent includes it, owned machines pay "
                                  "`owned.electricity`")
    price_year: Count | None = Field(default=None, description="of the prices; absent: `year`, else the calendar's")
    dollars: Count | None = Field(
        default=None, description="year in whose dollars results are stated (US consumer prices, 2015 to 2025); absent: "
                                  "`price_year`")

    @model_validator(mode="before")
    @classmethod
    def _one_of_two(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        given = [key for key in ("rental", "owned") if value.get(key) is not None]
        if len(given) == 2:
            raise FieldError("owned", "found both 'rental' and 'owned'; allowed: one of the two")
        return value if given else {**value, "rental": {}}

    @model_validator(mode="after")
    def _stored_at_a_price(self) -> Pricing:
        if self.dataset_bytes is not None and self.storage_usd_per_byte_s == 0.0:
            raise FieldError("dataset", f"found {shorten(self.to_file()['dataset'])} without a price of storage; allowed: with a "
                                        "storage such as '0.02 USD/GB/month'")
        return self

"""The scenario: everything a study needs to know, validated, immutable and in SI.

A file's key is the attribute's name without its unit (`deadline_s` is `deadline` in a file). Any quantity that is
no whole number may be a `Distribution` instead of a float; `Scenario.realise` draws those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from simulator.catalog.records import (
    AcceleratorRecord,
    FabricRecord,
    FailureProfile,
    ModelRecord,
    SiteRecord,
)
from simulator.errors import UserError, nearest
from simulator.fields import (
    BytesPerSecond,
    Count,
    CountOrZero,
    Distribution,
    PositiveSeconds,
    Quantity,
    RatioFromOne,
    Record,
    Share,
    Usd,
    UsdPerByteSecond,
    UsdPerJoule,
    map_distributions,
)
from simulator.scenario.checks import FieldError, check_growth, check_nodes, check_scenario
from simulator.scenario.operations import Copies, Elasticity, Growth, Maintenance, SlowNodes
from simulator.scenario.training import Training
from simulator.units import KINDS, QuantityError, shorten

# Where a name of the catalog may stand in a file, in which of its lists it is looked up, and the name if absent.
CATALOG: dict[tuple[str | int, ...], str] = {
    ("model",): "models",
    ("cluster", "accelerator"): "accelerators",
    ("cluster", "fabric"): "fabrics",
    ("failures",): "failures",
    ("facility", "site"): "sites",
}
DEFAULTS: dict[tuple[str | int, ...], str] = {
    ("cluster", "fabric"): "rail-optimised-fat-tree",
    ("failures",): "none",
}

IntervalName = Literal["auto", "young", "daly", "simulated"]
INTERVAL_NAMES: tuple[IntervalName, ...] = ("auto", "young", "daly", "simulated")
PriceName = Literal["on_demand", "reserved_1y", "reserved_3y", "spot"]
PRICE_NAMES: tuple[PriceName, ...] = ("on_demand", "reserved_1y", "reserved_3y", "spot")
_YEAR_S = 365.25 * 86400.0


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


class Variation(Record):
    """How unequal accelerators are; a synchronous step waits for the slowest."""

    speed_spread: Share = Field(default=0.0, description="standard deviation of an accelerator's persistent speed, "
                                                         "share of the mean")
    jitter: Share = Field(default=0.0, description="standard deviation of its time from step to step, share")
    day_swing: Share = Field(default=0.0, description="how much longer steps take at mid-day than at midnight")
    year_swing: Share = Field(default=0.0, description="how much longer steps take at mid-year than at new year")


class Cluster(Record):
    """The machine."""

    accelerator: AcceleratorRecord
    accelerators: Count = Field(description="accelerators that train, spares not counted")
    spares: CountOrZero = Field(default=0, description="hot spare nodes")
    warm_spares: CountOrZero = Field(default=0, description="spare nodes that must boot first")
    cold_spares: CountOrZero = Field(default=0, description="spare nodes that must be fetched and switched on")
    repair_crew: CountOrZero = Field(default=0, description="nodes under repair at once; 0: no limit")
    quarantine_after: CountOrZero = Field(default=0, description="failures after which a node is replaced for good; 0: never")
    fabric: FabricRecord
    variation: Variation = Variation()
    slow_nodes: SlowNodes = SlowNodes()
    elasticity: Elasticity = Elasticity()
    maintenance: Maintenance | None = None
    growth: tuple[Growth, ...] = ()

    @model_validator(mode="after")
    def _whole_nodes(self) -> Cluster:
        check_nodes(self.accelerators, self.accelerator.accelerators_per_node)
        check_growth(self)
        return self

    @property
    def nodes(self) -> int:
        """Nodes that train."""
        return -(-self.accelerators // self.accelerator.accelerators_per_node)


class Checkpoint(Record):
    """How state is saved."""

    interval_s: Annotated[float | IntervalName, QuantityOrName("time", INTERVAL_NAMES, above=True)] = "auto"
    mode: Literal["async", "sync"] = "async"
    storage_bandwidth_bytes_per_s: BytesPerSecond = Field(description="write, whole cluster")
    load_bandwidth_bytes_per_s: BytesPerSecond | None = Field(default=None, description="absent: as write")
    snapshot_bandwidth_bytes_per_s: BytesPerSecond = Field(
        default=1e9, description="device to host, per accelerator; ByteCheckpoint (NSDI 25), table 8: 405B on 8,960, 0.59 s")
    memory: Copies | None = Field(default=None, description="copies in the memory of peers")
    local: Copies | None = Field(default=None, description="copies on a node's own disk, which a lost node takes with it")
    persist_slowdown: Annotated[float, Quantity("ratio", high=0.99)] = Field(
        default=0.0, description="share of throughput lost while an asynchronous checkpoint is written")


class Facility(Record):
    """Where it stands."""

    site: SiteRecord | None = None
    pue: RatioFromOne | None = Field(default=None, description="overrides the site's")

    @property
    def effective_pue(self) -> float | None:
        """The facility's own power usage effectiveness, else the site's, else None."""
        return self.pue if self.pue is not None or self.site is None else self.site.pue


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


class Goals(Record):
    """What the run should meet."""

    deadline_s: PositiveSeconds | None = None
    budget_usd: Usd | None = None


class MonteCarlo(Record):
    """How much chance is sampled."""

    trials: Annotated[int, Quantity("count", low=1, high=1e7, whole=True)] = 1000
    seed: CountOrZero = 1


class Scenario(Record):
    """A training run to cost: model, recipe, cluster, failures, prices and goals."""

    name: str = Field(min_length=1, max_length=200)
    description: str | None = None
    year: Count | None = Field(default=None, description="year of the run")
    model: ModelRecord
    training: Training
    cluster: Cluster
    failures: FailureProfile
    checkpoint: Checkpoint
    facility: Facility = Facility()
    pricing: Pricing = Pricing(rental=Rental())
    goals: Goals = Goals()
    monte_carlo: MonteCarlo = MonteCarlo()

    @model_validator(mode="after")
    def _sections_fit(self) -> Scenario:
        check_scenario(self)
        return self

    def central(self) -> Scenario:
        """Return the scenario with every epistemic distribution replaced by its central value."""
        return map_distributions(self, lambda path, distribution: distribution.central())

    def realise(self, draw: Callable[[str, Distribution], float]) -> Scenario:
        """Return the scenario with every epistemic distribution replaced by `draw(path, distribution)`, SI.

        Records without a distribution are the same objects as here.
        """
        return map_distributions(self, draw)

    def uncertain(self) -> dict[str, Distribution]:
        """Return the epistemic distributions by path, such as "pricing.rental.price"."""
        found: dict[str, Distribution] = {}

        def collect(path: str, distribution: Distribution) -> Distribution:
            found[path] = distribution
            return distribution

        map_distributions(self, collect)
        return found

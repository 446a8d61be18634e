"""The scenario: everything a study needs to know, validated, immutable and in SI.

A file's key is the attribute's name without its unit (`deadline_s` is `deadline` in a file). Any quantity that is
no whole number may be a `Distribution` instead of a float; `Scenario.realise` draws those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simulator.catalog.records import (
    AcceleratorRecord,
    FabricRecord,
    FailureProfile,
    ModelRecord,
)
from simulator.fields import (
    BytesPerSecond,
    Count,
    CountOrZero,
    Distribution,
    PositiveSeconds,
    Quantity,
    QuantityOrName,
    Record,
    Share,
    Usd,
    Watts,
    map_distributions,
)
from simulator.scenario.calendar import Calendar
from simulator.scenario.checks import check_growth, check_nodes, check_power_limit, check_scenario, check_size
from simulator.scenario.electricity import Carbon
from simulator.scenario.facility import Facility
from simulator.scenario.hourly import check_calendar
from simulator.scenario.monte_carlo import MonteCarlo, check_correlations, uncertain
from simulator.scenario.operations import Copies, Elasticity, Growth, Maintenance, SlowNodes
from simulator.scenario.planning import Planning
from simulator.scenario.policies import Policy
from simulator.scenario.pricing import Pricing, Rental
from simulator.scenario.training import Training

# Where a name of the catalog may stand in a file, in which of its lists it is looked up, and the name if absent.
CATALOG: dict[tuple[str | int, ...], str] = {
    ("model",): "models",
    ("cluster", "accelerator"): "accelerators",
    ("cluster", "fabric"): "fabrics",
    ("failures",): "failures",
    ("facility", "site"): "sites",
    ("pricing",): "pricing",
    ("serving", "accelerator"): "accelerators",
    ("serving", "fabric"): "fabrics",
}
DEFAULTS: dict[tuple[str | int, ...], str] = {
    ("cluster", "fabric"): "rail-optimised-fat-tree",
    ("failures",): "none",
    ("serving", "fabric"): "rail-optimised-fat-tree",
}

IntervalName = Literal["auto", "young", "daly", "simulated"]
Chance = Annotated[float, Quantity("ratio", high=0.9999, above=True)]
INTERVAL_NAMES: tuple[IntervalName, ...] = ("auto", "young", "daly", "simulated")


class Variation(Record):
    """How unequal accelerators are; a synchronous step waits for the slowest."""

    speed_spread: Share = Field(
        default=0.0, description="standard deviation of an accelerator's persistent speed, share of the mean")
    jitter: Share = Field(default=0.0, description="standard deviation of its time from step to step, share")
    day_swing: Share = Field(
        default=0.0, description="how much longer steps take at mid-day than at midnight; half of it on average")
    year_swing: Share = Field(
        default=0.0, description="the same at mid-year over new year; without a calendar a run begins at midnight of a new year")


class Cluster(Record):
    """The machine."""

    accelerator: AcceleratorRecord
    accelerators: Count = Field(description="those that train, spares not counted; whole nodes once more than one")
    spares: CountOrZero = Field(default=0, description="hot spare nodes: on, and at hand in `recovery.replacement`")
    warm_spares: CountOrZero = Field(
        default=0, description="spare nodes that must boot first (`recovery.warm_replacement`); taken when there is no hot one")
    cold_spares: CountOrZero = Field(
        default=0, description="spare nodes that must be fetched and switched on (`recovery.cold_replacement`); taken last")
    repair_crew: CountOrZero = Field(default=0, description="nodes under repair at once; 0: no limit")
    quarantine_after: CountOrZero = Field(
        default=0, description="failures of one node after which it is replaced for good, away for `recovery.quarantine`; 0: "
                               "never")
    fabric: FabricRecord
    power_limit_w: Watts | None = Field(
        default=None, description="of one accelerator, above what it draws idle and at most its TDP; lowers clocks, so products "
                                  "take longer and draw less; absent: its TDP")
    variation: Variation = Variation()
    slow_nodes: SlowNodes = SlowNodes()
    elasticity: Elasticity = Elasticity()
    maintenance: Maintenance | None = None
    growth: tuple[Growth, ...] = Field(default=(), description="planned extensions, in order")

    @model_validator(mode="after")
    def _whole_nodes(self) -> Cluster:
        check_nodes(self.accelerators, self.accelerator.accelerators_per_node)
        check_size(self)
        check_growth(self)
        check_power_limit(self)
        return self

    @property
    def nodes(self) -> int:
        """Nodes that train."""
        return -(-self.accelerators // self.accelerator.accelerators_per_node)


class Checkpoint(Record):
    """How state is saved."""

    interval_s: Annotated[float | IntervalName, QuantityOrName("time", INTERVAL_NAMES, above=True)] = Field(
        default="auto", description="computing time between checkpoints: a time; `young` or `daly`, their optima; `auto`, as "
                                    "`daly`; `simulated`, the best of trial runs. Never shorter than one write. Source: Young "
                                    "(1974), Daly (2006), docs/model.md")
    mode: Literal["async", "sync"] = Field(
        default="async", description="`async`: stall for the copy to host memory and write beside computing; `sync`: stall for "
                                     "the write")
    storage_bandwidth_bytes_per_s: BytesPerSecond = Field(description="of writing, whole cluster")
    load_bandwidth_bytes_per_s: BytesPerSecond | None = Field(
        default=None, description="of loading at a restart, whole cluster; absent: as `storage_bandwidth`")
    snapshot_bandwidth_bytes_per_s: BytesPerSecond = Field(
        default=1e9, description="device to host, an accelerator. Source: ByteCheckpoint (NSDI 25), table 8: 405B on 8,960, "
                                 "0.59 s")
    memory: Copies | None = Field(default=None, description="copies in the memory of peers")
    local: Copies | None = Field(default=None, description="copies on a node's own disk, which a lost node takes with it")
    persist_slowdown: Annotated[float, Quantity("ratio", high=0.99)] = Field(
        default=0.0, description="share of throughput lost while an asynchronous checkpoint is written")


class Goals(Record):
    """What the run should meet."""

    deadline_s: PositiveSeconds | None = Field(default=None, description="wall time to meet; its chance is reported")
    budget_usd: Usd | None = Field(default=None, description="cost to meet; its chance is reported")
    deadline_chance: Chance | None = Field(
        default=None, description="share of runs that `clustercost plan` wants to end by the deadline; absent: 0.9")
    budget_chance: Chance | None = Field(
        default=None, description="share of runs that `clustercost plan` wants to cost no more than the budget; absent: 0.8")
    peak_power_w: Watts | None = Field(
        default=None, description="of the whole facility, at most, in what `clustercost plan` chooses")


class Scenario(Record):
    """A training run to cost: model, recipe, cluster, failures, prices and goals."""

    name: str = Field(min_length=1, max_length=200, description="what results are called")
    description: str | None = Field(default=None, description="free text")
    year: Count | None = Field(default=None, description="year of the run: of software, prices and grids")
    model: ModelRecord
    training: Training
    cluster: Cluster
    failures: FailureProfile
    checkpoint: Checkpoint
    calendar: Calendar | None = Field(
        default=None, description="when the run starts; needed by anything that changes with the hour")
    facility: Facility = Facility()
    pricing: Pricing = Pricing(rental=Rental())
    carbon: Carbon = Carbon()
    policies: tuple[Policy, ...] = Field(
        default=(), description="what the operator does by the hour: rules, of which the one that leaves the least power counts")
    goals: Goals = Goals()
    plan: Planning | None = Field(default=None, description="what `clustercost plan` searches; a run takes no notice of it")
    monte_carlo: MonteCarlo = MonteCarlo()

    @model_validator(mode="after")
    def _sections_fit(self) -> Scenario:
        check_scenario(self)
        check_calendar(self)
        check_correlations(self)
        return self

    @property
    def software_year(self) -> int | None:
        """Year that selects the software era: of the code base where it is given, else of the run."""
        return self.training.software_year if self.training.software_year is not None else self.year

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
        return uncertain(self)

    def with_(self, changes: Mapping[str, Any] | None = None, /, **edits: Any) -> Scenario:
        """Return the scenario with other values, checked as a whole; this one stays as it is.

        Parameters
        ----------
        changes : mapping, optional
            Path -> value as files write them: `{"cluster.accelerators": 8192, "failures.components.0.rate": "2 per 1000 days"}`.
        **edits
            The same with two underscores for each point: `cluster__accelerators=8192, checkpoint__interval="20 min"`.

        Raises
        ------
        UserError
            A path or a value is wrong, with the nearest path; one path has two values; or the sections no longer fit together.
        """
        import numpy as np

        from simulator.errors import UserError
        from simulator.scenario.edits import edited

        named = {name.replace("__", "."): value for name, value in edits.items()}
        for path in named.keys() & (changes or {}).keys():
            raise UserError(f"with_: found two values for {path}; allowed: one")
        return edited(self, {path: value.item() if isinstance(value, np.generic) else value
                             for path, value in ({**(changes or {}), **named}).items()}, "with_")

    def _repr_html_(self) -> str:
        from simulator.scenario.shown import scenario_html

        return scenario_html(self)

"""What holding accelerators costs, by what is paid for: rent with its terms, or hardware, interest, staff, space.

`Holding` is a pack of floats with closed forms in time, evaluated in every trial; `holding_costs` deals the same dollars out to
the time categories, so that rows have two readings of them. Equations: docs/model.md, section "Money".
"""

from __future__ import annotations

import math
from datetime import date
from typing import NamedTuple

import numpy as np

from simulator.accounting.dollars import factor_of
from simulator.catalog.pricing import YEAR_S
from simulator.catalog.records import AcceleratorRecord
from simulator.errors import UserError
from simulator.performance.hardware import needed, node_power
from simulator.scenario import Owned, Scenario
from simulator.scenario.calendar import Calendar
from simulator.scenario.series import Series, steps

# Age of an accelerator when a run begins, years, where a scenario says neither its year nor an age: the published runs of
# simulator/validation/data/cost.csv begin 0.5 to 3 years after release.
TYPICAL_AGE_YEARS = 1.5
OWNED_PARTS = ("hardware", "interconnect", "storage_hardware", "cost_of_capital", "staff", "space", "maintenance")
RENTED_PARTS = ("rent", "unused_commitment")
# Costs that experiments beside the run do not repeat.
NOT_COMPUTE = ("cost_storage_usd", "cost_egress_usd", "cost_unused_commitment_usd")


class Rent(NamedTuple):
    """A part of the rent of one accelerator: its share is in the rate, or beside a price that changes with time."""

    usd_per_s: float
    term_s: float
    series: Series | None = None
    calendar: Calendar | None = None
    share: float = 1.0

    def usd(self, start_s: float, end_s: float) -> float:
        """Return the rent between two times since the run began, USD: exact, as prices are constant between changes."""
        if self.series is None or self.calendar is None:
            return self.usd_per_s * (end_s - start_s)
        times_s, prices = steps(self.series, self.calendar, end_s)
        edges_s = np.clip(np.append(times_s, end_s), start_s, end_s)
        return self.share * float(prices @ np.diff(edges_s))

    def rate_usd_per_s(self, at_s: float) -> float:
        """Return the rent at a time since the run began, USD/s."""
        if self.series is None or self.calendar is None:
            return self.usd_per_s
        return self.share * float(steps(self.series, self.calendar, at_s)[1][-1])


class Holding(NamedTuple):
    """What one accelerator held costs: rented where `rents` has entries, owned otherwise.

    Attributes
    ----------
    hardware_usd, interconnect_usd, storage_usd : float
        Prices at age zero.
    decay_per_s : float
        Of the value, learning curve; zero: straight line over `life_s` down to `residual`.
    age_s : float
        When the run begins.
    interest_per_s : float
        Cost of capital, on the book value.
    """

    rents: tuple[Rent, ...] = ()
    hardware_usd: float = 0.0
    interconnect_usd: float = 0.0
    storage_usd: float = 0.0
    learning: bool = False
    decay_per_s: float = 0.0
    life_s: float = 1.0
    residual: float = 0.0
    age_s: float = 0.0
    interest_per_s: float = 0.0
    staff_usd_per_s: float = 0.0
    space_usd_per_s: float = 0.0
    maintenance_usd_per_s: float = 0.0

    def usd(self, wall_s: float) -> dict[str, float]:
        """Return USD by part for a run of `wall_s` that ends it all: the rest of a term is paid."""
        parts = self.between(0.0, wall_s)
        return {**parts, "unused_commitment": self.unused_usd(wall_s)} if self.rents else parts

    def between(self, start_s: float, end_s: float) -> dict[str, float]:
        """Return USD by part between two times since the run began; what is left of a term is not in it."""
        wall_s = end_s - start_s
        if self.rents:
            return {"rent": sum(rent.usd(start_s, end_s) for rent in self.rents)}
        written_off, book_s = self._written_off(start_s, end_s)
        price_usd = self.hardware_usd + self.interconnect_usd + self.storage_usd
        return {
            "hardware": self.hardware_usd * written_off,
            "interconnect": self.interconnect_usd * written_off,
            "storage_hardware": self.storage_usd * written_off,
            "cost_of_capital": self.interest_per_s * price_usd * book_s,
            "staff": self.staff_usd_per_s * wall_s,
            "space": self.space_usd_per_s * wall_s,
            "maintenance": self.maintenance_usd_per_s * wall_s,
        }

    def unused_usd(self, held_s: float) -> float:
        """Return what is left to pay of terms, USD, of an accelerator held for so long."""
        return sum(rent.usd_per_s * max(0.0, rent.term_s - held_s) for rent in self.rents)

    def usd_per_s(self, at_s: float = 0.0) -> dict[str, float]:
        """Return the rate of each part at a time since the run began, USD/s: the derivative of `between`."""
        if self.rents:
            return {"rent": sum(rent.rate_usd_per_s(at_s) for rent in self.rents)}
        left, slope = self._value(self.age_s + at_s)
        price_usd = self.hardware_usd + self.interconnect_usd + self.storage_usd
        return {
            "hardware": self.hardware_usd * slope,
            "interconnect": self.interconnect_usd * slope,
            "storage_hardware": self.storage_usd * slope,
            "cost_of_capital": self.interest_per_s * price_usd * left,
            "staff": self.staff_usd_per_s,
            "space": self.space_usd_per_s,
            "maintenance": self.maintenance_usd_per_s,
        }

    def _value(self, age_s: float) -> tuple[float, float]:
        """Return the share of the price left at an age, and how fast it falls, 1/s."""
        if self.learning:
            left = math.exp(-self.decay_per_s * age_s)
            return left, self.decay_per_s * left
        slope = (1.0 - self.residual) / self.life_s
        return (1.0 - slope * age_s, slope) if age_s < self.life_s else (self.residual, 0.0)

    def _written_off(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the share of the price written off between two times, and the integral of the share left, s."""
        first, wall_s = self.age_s + start_s, end_s - start_s
        if self.learning:
            left, lost = math.exp(-self.decay_per_s * first), -math.expm1(-self.decay_per_s * wall_s)
            return left * lost, left * (lost / self.decay_per_s if lost > 0.0 else wall_s)
        slope = (1.0 - self.residual) / self.life_s
        before_s = max(0.0, min(wall_s, self.life_s - first))  # of this time, before the end of its life
        middle = min(first, self.life_s) + 0.5 * before_s
        return slope * before_s, (1.0 - slope * middle) * before_s + self.residual * (wall_s - before_s)


class Terms(NamedTuple):
    """What is paid once, and how dollars are stated."""

    egress_usd: float
    research_overhead: float
    dollars: float


class Held(NamedTuple):
    """A time with one size of the cluster: seconds by category as columns of a row, and what was held at which terms."""

    times: dict[str, float]
    accelerators: int
    spare_accelerators: int
    holding: Holding


def holding_of(scenario: Scenario) -> Holding:
    """Return what one accelerator of a scenario costs to hold; raise UserError for prices that are unknown."""
    pricing, cluster = scenario.pricing, scenario.cluster
    accelerator = cluster.accelerator
    if pricing.owned is None:
        assert pricing.rental is not None
        return Holding(tuple(
            Rent(0.0, 0.0, price, scenario.calendar, share) if isinstance(price, Series) else Rent(share * price, term_s)
            for share, price, term_s in pricing.rental.parts_for(accelerator)))
    owned = pricing.owned
    rated_w = 0.0
    if owned.space_usd_per_w_s > 0.0:
        tdp_w = needed(accelerator, "tdp_w")
        rated_w = tdp_w + float(node_power(accelerator, tdp_w).total_w) / accelerator.accelerators_per_node
        rated_w += cluster.fabric.power_w if cluster.nodes > 1 else 0.0
    spares = (cluster.spares + cluster.warm_spares + cluster.cold_spares) * accelerator.accelerators_per_node
    return owned_holding(owned, accelerator, cluster.accelerators + spares, rated_w, run_year(scenario))


def owned_holding(owned: Owned, accelerator: AcceleratorRecord, held: int, rated_w: float, year: float | None) -> Holding:
    """Return what one of `held` owned accelerators costs.

    Parameters
    ----------
    owned : Owned
        Without open distributions.
    accelerator : AcceleratorRecord
    held : int
        Accelerators, spares included, that share storage system and staff.
    rated_w : float
        IT power of one accelerator at its limit, with its share of host and network; for `space`.
    year : float or None
        When the run begins, as a decimal year; for an age `since-release`.
    """
    hardware_usd = owned.price_for(accelerator) * owned.multiplier_for(accelerator)
    interconnect_usd = hardware_usd * owned.interconnect_share / (1.0 - owned.interconnect_share)
    storage_usd = owned.storage_capital_usd / held
    age_s = age_since_release_s(accelerator, year) if owned.age_s == "since-release" else owned.age_s
    return Holding(
        hardware_usd=hardware_usd,
        interconnect_usd=interconnect_usd,
        storage_usd=storage_usd,
        learning=owned.depreciation == "learning-curve",
        decay_per_s=math.log(10.0) * owned.price_decline_per_s,
        life_s=owned.life_s,
        residual=owned.residual_value,
        age_s=age_s,
        interest_per_s=owned.cost_of_capital_per_s,
        staff_usd_per_s=owned.staff_usd_per_s / held,
        space_usd_per_s=owned.space_usd_per_w_s * rated_w,
        maintenance_usd_per_s=owned.maintenance_per_s * (hardware_usd + interconnect_usd + storage_usd),
    )


def run_year(scenario: Scenario) -> float | None:
    """Return when a run begins as a decimal year: the calendar's start, else the middle of the scenario's year."""
    if scenario.calendar is not None:
        return decimal_year(scenario.calendar.start.date())
    return None if scenario.year is None else scenario.year + 0.5


def decimal_year(day: date) -> float:
    """Return a date as a decimal year."""
    first = date(day.year, 1, 1)
    return day.year + (day - first).days / (date(day.year + 1, 1, 1) - first).days


def release_year(accelerator: AcceleratorRecord) -> float:
    """Return when an accelerator shipped as a decimal year; raise UserError where the catalog does not know."""
    if accelerator.released is not None:
        return decimal_year(accelerator.released)
    if accelerator.year is None:
        raise UserError(f"pricing.owned.age: the catalog has no year of release for {accelerator.name}; allowed: an age such as "
                        "'1 year'")
    return accelerator.year + 0.5


def age_since_release_s(accelerator: AcceleratorRecord, year: float | None) -> float:
    """Return the age of hardware when a run begins, s: at least zero; `TYPICAL_AGE_YEARS` where no year is known."""
    if year is None:
        return TYPICAL_AGE_YEARS * YEAR_S
    return max(0.0, year - release_year(accelerator)) * YEAR_S


def terms_of(scenario: Scenario) -> Terms:
    """Return what is paid once, and how dollars are stated."""
    pricing = scenario.pricing
    egress = 0.0 if pricing.egress is None else pricing.egress.bytes_ * pricing.egress.price_usd_per_byte
    return Terms(egress, pricing.research_overhead, factor_of(scenario))


def holding_costs(held: list[Held]) -> dict[str, float]:
    """Return the costs of holding a cluster that only ever grows, read twice: by category of time, and by what is paid for.

    `cost_CATEGORY_usd`, `cost_spares_usd` and `cost_unused_commitment_usd` sum to the same as `holding_PART_usd`. Categories
    share what a period costs in proportion to their accelerator-time; a term begins when an accelerator is added.
    """
    costs = {f"cost_{name.removeprefix('time_').removesuffix('_s')}_usd": 0.0 for name in held[0].times}
    costs |= {"cost_spares_usd": 0.0, "cost_unused_commitment_usd": 0.0}
    names = RENTED_PARTS if held[0].holding.rents else OWNED_PARTS
    parts = dict.fromkeys(names, 0.0)
    walls_s = [sum(period.times.values()) for period in held]
    end_s = sum(walls_s)
    start_s, before = 0.0, 0
    for period, wall_s in zip(held, walls_s, strict=True):
        count = period.accelerators + period.spare_accelerators
        usd = period.holding.between(start_s, start_s + wall_s)
        each_usd = sum(usd.values())
        for name, value in usd.items():
            parts[name] += value * count
        usd_per_s = each_usd * period.accelerators / wall_s if wall_s > 0.0 else 0.0
        for name, value in period.times.items():
            costs[f"cost_{name.removeprefix('time_').removesuffix('_s')}_usd"] += usd_per_s * value
        costs["cost_spares_usd"] += each_usd * period.spare_accelerators
        if period.holding.rents:
            unused_usd = period.holding.unused_usd(end_s - start_s) * max(0, count - before)
            costs["cost_unused_commitment_usd"] += unused_usd
            parts["unused_commitment"] += unused_usd
        start_s, before = start_s + wall_s, count
    return costs | {f"holding_{name}_usd": value for name, value in parts.items()}


def total(row: dict[str, float], terms: Terms) -> None:
    """Add egress and research overhead to a row that has all other costs, state dollars in their year, and sum them."""
    row["cost_egress_usd"] = terms.egress_usd
    compute_usd = sum(value for name, value in row.items() if name.startswith("cost_") and name not in NOT_COMPUTE)
    row["cost_research_overhead_usd"] = (terms.research_overhead - 1.0) * compute_usd
    if terms.dollars != 1.0:
        for name in [name for name in row if name.startswith(("cost_", "holding_"))]:
            row[name] *= terms.dollars
    row["cost_usd"] = sum(value for name, value in row.items() if name.startswith("cost_"))

"""What a facility adds to IT power and where its energy comes from, as the kernel of dispatch takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from kernels.dispatch import SERIES, Limits, Overhead, Plant
from simulator.accounting.grid import Grid, build_grid
from simulator.errors import UserError
from simulator.scenario import Scenario
from simulator.scenario.calendar import Calendar
from simulator.scenario.facility import Facility
from simulator.scenario.series import Series

# Names of the series, in the order of `kernels.dispatch`, and the limit of the grid.
NAMES = ("price", "export_price", "carbon", "residual", "temperature", "solar", "wind", "contract", "limit")
assert len(NAMES) == SERIES + 1  # the last is the limit
Values = Mapping[str, float | Series]


@dataclass(frozen=True)
class Supply:
    """Overheads, plant, contracts and series of a scenario.

    Attributes
    ----------
    values : mapping
        By `NAMES`: a number (NaN: unknown) or a series, in SI; rents that change with time beside them.
    calendar : Calendar or None
        None: nothing changes with time, and all is one bin.
    annual : bool
        Contracts match carbon over the whole run, not hour by hour.
    fixed_usd_per_s : float
        Of what stands on site.
    """

    overhead: Overhead
    plant: Plant
    values: Values
    calendar: Calendar | None
    annual: bool
    demand_usd_per_w_s: float
    offset_share: float
    offset_usd_per_kg: float
    fixed_usd_per_s: float
    _grids: dict[float, Grid] = field(default_factory=dict, compare=False, repr=False)
    _met: dict[float | None, Conditions] = field(default_factory=dict, compare=False, repr=False)

    def grid(self, until_s: float) -> Grid:
        """Return bins from the start to a time; the same ones each time they are asked for."""
        assert self.calendar is not None
        if until_s not in self._grids:
            self._grids[until_s] = build_grid(self.calendar, self.values, until_s)
        return self._grids[until_s]

    def conditions(self, until_s: float | None = None) -> Conditions:
        """Return what holds in bins up to a time, without events; the same one each time. None: one bin for the whole run."""
        if until_s not in self._met:
            self._met[until_s] = self._conditions(None if until_s is None else self.grid(until_s))
        return self._met[until_s]

    def _conditions(self, grid: Grid | None) -> Conditions:
        columns = [np.array([float(self.values[name])]) if grid is None else grid.values[name]  # type: ignore[arg-type]
                   for name in NAMES]
        table = np.ascontiguousarray(np.stack(columns[:SERIES], axis=1))
        month, months = (np.zeros(1, dtype=np.int64), ("",)) if grid is None else (grid.month.astype(np.int64), grid.months)
        return Conditions(grid, table, Limits(columns[SERIES], np.empty(0), np.empty(0)), month, months)

    def with_grids_of(self, other: Supply) -> Supply:
        """Return this supply with the bins that another has worked out, where their series are the same."""
        if self.calendar != other.calendar or self.values != other.values:
            return self
        return replace(self, _grids=other._grids, _met=other._met)

    def mean_price_usd_per_j(self, until_s: float = 365.0 * 86400.0) -> float:
        """Return the price of electricity over time, USD/J: where it changes, its mean from the start until then."""
        price = self.values["price"]
        if not isinstance(price, Series):
            return price
        grid = self.grid(until_s)
        return float(np.average(grid.values["price"], weights=np.diff(grid.edges_s)))

    @property
    def contracted(self) -> bool:
        """Whether some energy from the grid comes under a contract."""
        return self.plant.contract_share > 0.0 or self.values["contract"] != 0.0

    @property
    def limited(self) -> bool:
        """Whether the grid may deliver less than is asked for."""
        return self.values["limit"] != math.inf

    @property
    def produces(self) -> bool:
        """Whether there is solar or wind on site."""
        return self.values["solar"] != 0.0 or self.values["wind"] != 0.0


@dataclass(frozen=True)
class Conditions:
    """The weather, prices and limits that one trial meets.

    Attributes
    ----------
    grid : Grid or None
        The bins; None: one bin, of the whole run.
    table : ndarray, shape (n, 8)
        Series by bin, as `kernels.dispatch` takes them.
    limits : Limits
        What the grid delivers, lowered where it asks for less.
    month : ndarray, shape (n,)
    months : tuple of str
        One without a name where there is no calendar.
    lowered : tuple of (int, int)
        First and last bin of each event in which the grid asks for less.
    """

    grid: Grid | None
    table: np.ndarray
    limits: Limits
    month: np.ndarray
    months: tuple[str, ...]
    lowered: tuple[tuple[int, int], ...] = ()

    @property
    def pays(self) -> bool:
        """Whether the grid pays for energy that it asks not to take."""
        return self.limits.payment_usd_per_j.size > 0


def supply(scenario: Scenario, rated_w: float) -> Supply:
    """Return the supply of a scenario without open distributions.

    Parameters
    ----------
    rated_w : float
        IT power that all nodes may take; a building is made for it unless the scenario says otherwise.

    Raises
    ------
    UserError
        The scenario has no PUE, or no price where electricity is paid.
    """
    facility, pricing, carbon = scenario.facility, scenario.pricing, scenario.carbon
    tariff, site = pricing.electricity, facility.site
    contract = tariff.contract if tariff else None
    return Supply(
        overhead=_overhead(facility, rated_w),
        plant=Plant(
            battery_j=facility.battery.energy_j if facility.battery else 0.0,
            battery_w=facility.battery.power_w if facility.battery else 0.0,
            efficiency=facility.battery.efficiency if facility.battery else 1.0,
            generator_w=facility.generator.power_w if facility.generator else 0.0,
            generator_usd_per_j=facility.generator.fuel_usd_per_j if facility.generator else 0.0,
            generator_kg_per_j=facility.generator.carbon_intensity_kgco2e_per_j if facility.generator else 0.0,
            contract_share=contract.share if contract else 0.0,
            contract_usd_per_j=contract.price_usd_per_j if contract else 0.0,
            site_l_per_j=_known(site.water_l_per_j if site else None),
            grid_l_per_j=_known(site.grid_water_l_per_j if site else None),
        ),
        values=_values(scenario),
        calendar=scenario.calendar,
        annual=contract is None or contract.matching == "annual",
        demand_usd_per_w_s=tariff.demand_charge_usd_per_w_s if tariff else 0.0,
        offset_share=carbon.offsets.share if carbon.offsets else 0.0,
        offset_usd_per_kg=carbon.offsets.price_usd_per_kgco2e if carbon.offsets else 0.0,
        fixed_usd_per_s=facility.onsite_cost_usd_per_s + (facility.battery.cost_usd_per_s if facility.battery else 0.0),
    )


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _values(scenario: Scenario) -> dict[str, float | Series]:
    facility, carbon, tariff = scenario.facility, scenario.carbon, scenario.pricing.electricity
    site, contract = facility.site, tariff.contract if tariff else None
    intensity = carbon.intensity_kgco2e_per_j
    if intensity is None:
        intensity = _known(site.carbon_intensity_kgco2e_per_j if site else None)
    residual = carbon.residual_kgco2e_per_j
    cap = facility.power_cap_w
    return {
        "price": energy_price(scenario),
        "export_price": tariff.export_price_usd_per_j if tariff else 0.0,
        "carbon": intensity,
        "residual": intensity if residual is None else residual,
        "temperature": facility.temperature_degc,
        "solar": 0.0 if facility.solar_w is None else facility.solar_w,
        "wind": 0.0 if facility.wind_w is None else facility.wind_w,
        "contract": 0.0 if contract is None or contract.profile_w is None else contract.profile_w,
        "limit": math.inf if cap is None else cap,
    }


def energy_price(scenario: Scenario) -> float | Series:
    """Return the price of electricity: the tariff's, else the site's; nothing where rent includes it."""
    tariff, site = scenario.pricing.electricity, scenario.facility.site
    if tariff is None and scenario.pricing.owned is None:
        return 0.0
    if tariff is not None and tariff.price_usd_per_j is not None:
        return tariff.price_usd_per_j
    if scenario.pricing.owned is not None:
        return scenario.pricing.owned.electricity_for(site, scenario.year)
    if site is None or site.electricity_usd_per_j is None:
        place = f"the site {site.name}" if site else "a scenario without a site"
        raise UserError(f"pricing.electricity.price: {place} has no price of electricity; allowed: a price such as "
                        "'0.07 USD/kWh'")
    return site.electricity_usd_per_j


def _overhead(facility: Facility, rated_w: float) -> Overhead:
    """Return the overheads; one PUE is cooling in proportion to the load."""
    o = facility.overheads
    if o is not None:
        design_w = o.it_capacity_w or rated_w
        return Overhead(o.cooling_fixed * design_w, o.cooling_proportional, o.cooling_per_degree, o.free_cooling_below_degc,
                        o.distribution_fixed * design_w, o.distribution_proportional, o.distribution_quadratic / design_w)
    return Overhead(0.0, facility.needed_pue() - 1.0, 0.0, math.inf, 0.0, 0.0, 0.0)



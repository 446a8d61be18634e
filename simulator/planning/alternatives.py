"""The same run at other places, on other dates, or without its rules: what that does to time, dollars and carbon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydantic import ValidationError

from simulator import catalog
from simulator.errors import UserError
from simulator.montecarlo.chunks import Columns
from simulator.montecarlo.points import points_of, run_points
from simulator.planning.paired import paired_difference
from simulator.scenario import Scenario
from simulator.scenario.calendar import Calendar, read_time
from simulator.units import QuantityError

COLUMNS = ("time_s", "cost_usd", "energy_j", "carbon_operational_kg", "carbon_market_kg")


@dataclass(frozen=True)
class Alternative:
    """A run under other conditions; `columns` are the results of its trials, with the same luck as all others'."""

    label: str
    scenario: Scenario
    columns: Columns

    def median(self, column: str) -> float:
        """Return the P50 of a result."""
        return float(np.median(self.columns[column]))

    def difference(self, column: str, other: Alternative) -> tuple[float, float]:
        """Return mean and half of the 95 % interval of the difference to another, trial by trial."""
        found = paired_difference(self.columns[column], other.columns[column])
        return found.mean, found.half if math.isfinite(found.half) else math.nan


def with_calendar(scenario: Scenario) -> Scenario:
    """Return the scenario with a date: the first of January of its year (of 2024 where it has none), UTC, unless it has one."""
    if scenario.calendar is not None:
        return scenario
    return scenario.model_copy(update={"calendar": Calendar(start=datetime(scenario.year or 2024, 1, 1))})


def at_site(scenario: Scenario, name: str) -> Scenario:
    """Return the scenario at another site of the catalog: its intensity, price and PUE go in place of the scenario's own."""
    site = catalog.load("sites", name)
    facility = scenario.facility.model_copy(update={"site": site, **({"pue": None} if site.pue is not None else {})})
    carbon = scenario.carbon.model_copy(update={"intensity_kgco2e_per_j": None, "residual_kgco2e_per_j": None})
    pricing = scenario.pricing
    if site.electricity_usd_per_j is not None:  # a tariff's goes before that of owned machines
        parts = {name: part.model_copy(update={field: site.electricity_usd_per_j}) for name, part, field in (
            ("electricity", pricing.electricity, "price_usd_per_j"), ("owned", pricing.owned, "electricity_usd_per_j"))
            if part is not None}
        pricing = pricing.model_copy(update=parts)
    return scenario.model_copy(update={"facility": facility, "carbon": carbon, "pricing": pricing})


def from_date(scenario: Scenario, text: str) -> Scenario:
    """Return the scenario with another start; raise UserError where it is no date."""
    dated = with_calendar(scenario).calendar
    assert dated is not None
    try:
        return scenario.model_copy(update={"calendar": Calendar(start=read_time(text), time_zone=dated.time_zone)})
    except QuantityError as error:
        raise UserError(f"--start: {error}") from None
    except ValidationError as error:  # an hour that clocks skip there
        raise UserError(f"--start: {error.errors()[0]['ctx']['error']}") from None


def alternatives(scenario: Scenario, sites: Sequence[str], starts: Sequence[str]) -> list[tuple[str, Scenario]]:
    """Return what to compare the scenario with, by label: without rules where it has some, other sites, other dates, and both."""
    found = [("as given", scenario)]
    if scenario.policies:
        found.append(("without its rules", scenario.model_copy(update={"policies": ()})))
    for site in sites or ("",):
        for start in starts or ("",):
            moved = at_site(scenario, site) if site else scenario
            if site or start:
                found.append((", ".join(part for part in (site, f"from {start}" if start else "") if part),
                              from_date(moved, start) if start else moved))
    return found


def run_alternatives(scenarios: Sequence[tuple[str, Scenario]], trials: int) -> list[Alternative]:
    """Run the same trials of each; raise UserError, with its label, for one that does not finish."""
    try:
        found = run_points(points_of([scenario for _, scenario in scenarios], trials))
    except UserError as error:  # none runs, so the first does not
        raise UserError(f"{scenarios[0][0]}: {error}") from None
    for point, problem in found.problems.items():
        raise UserError(f"{scenarios[point][0]}: {problem}")
    return [Alternative(label, scenario, {name: values[point] for name, values in found.columns.items()})
            for point, (label, scenario) in enumerate(scenarios)]

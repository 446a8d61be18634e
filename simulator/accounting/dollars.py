"""The year of dollars: prices of one year stated in the dollars of another."""

from __future__ import annotations

from simulator.errors import UserError
from simulator.scenario import Scenario

# US city average of all items (CPI-U), 1982-84 = 100, annual averages of the Bureau of Labor Statistics, series CUUR0000SA0.
# FROM MEMORY, to be checked against bls.gov; 2025 is an estimate to 0.3 %: the series lacks a month (October).
CPI_U: dict[int, float] = {
    2015: 237.017, 2016: 240.007, 2017: 245.120, 2018: 251.107, 2019: 255.657, 2020: 258.811, 2021: 270.970, 2022: 292.655,
    2023: 304.702, 2024: 313.689, 2025: 322.0,
}


def dollar_factor(year: int, dollars: int) -> float:
    """Return what a dollar of a year is in the dollars of another year; raise UserError for a year without an index."""
    if year == dollars:
        return 1.0
    for key, found in (("price_year", year), ("dollars", dollars)):
        if found not in CPI_U:
            raise UserError(f"pricing.{key}: found {found}, for which there is no price index; allowed: {min(CPI_U)} to "
                            f"{max(CPI_U)}, or the same year for both")
    return CPI_U[dollars] / CPI_U[year]


def price_year(scenario: Scenario) -> int | None:
    """Return the year of a scenario's prices: as given, else of the run, else of its calendar; None where nothing says."""
    year = scenario.pricing.price_year or scenario.year
    return scenario.calendar.start.year if year is None and scenario.calendar is not None else year


def stated_in(scenario: Scenario) -> int | None:
    """Return the year in whose dollars results are; None where nothing names a year."""
    return scenario.pricing.dollars or price_year(scenario)


def factor_of(scenario: Scenario) -> float:
    """Return the factor from the prices of a scenario to its results; raise UserError where the year of prices is unknown."""
    dollars, year = scenario.pricing.dollars, price_year(scenario)
    if dollars is None:
        return 1.0
    if year is None:
        raise UserError(f"pricing.dollars: found {dollars}, but the year of the prices is unknown; allowed: with "
                        "pricing.price_year, or the scenario's year")
    return dollar_factor(year, dollars)

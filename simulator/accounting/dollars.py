"""The year of dollars: prices of one year stated in the dollars of another."""

from __future__ import annotations

from simulator.errors import UserError
from simulator.scenario.pricing import Pricing

# US city average of all items (CPI-U), 1982-84 = 100, annual averages of the Bureau of Labor Statistics, series CUUR0000SA0.
# FROM MEMORY, to be checked against bls.gov; 2025 is an estimate to 0.3 %: the series lacks a month (October).
CPI_U: dict[int, float] = {
    2015: 237.017, 2016: 240.007, 2017: 245.120, 2018: 251.107, 2019: 255.657, 2020: 258.811, 2021: 270.970, 2022: 292.655,
    2023: 304.702, 2024: 313.689, 2025: 322.0,
}


def dollar_factor(price_year: int, dollars: int) -> float:
    """Return what a dollar of `price_year` is in the dollars of another year; raise UserError for a year without an index."""
    if price_year == dollars:
        return 1.0
    for key, year in (("price_year", price_year), ("dollars", dollars)):
        if year not in CPI_U:
            raise UserError(f"pricing.{key}: found {year}, for which there is no price index; allowed: {min(CPI_U)} to "
                            f"{max(CPI_U)}, or the same year for both")
    return CPI_U[dollars] / CPI_U[price_year]


def stated_in(pricing: Pricing, year: int | None) -> int | None:
    """Return the year in whose dollars results are; `year` is the scenario's, None where nothing names a year."""
    return pricing.dollars or pricing.price_year or year


def factor_of(pricing: Pricing, year: int | None) -> float:
    """Return the factor from the prices of a scenario to its results; raise UserError where the year of prices is unknown."""
    price_year = pricing.price_year or year
    if pricing.dollars is None:
        return 1.0
    if price_year is None:
        raise UserError(f"pricing.dollars: found {pricing.dollars}, but the year of the prices is unknown; allowed: with "
                        "pricing.price_year, or the scenario's year")
    return dollar_factor(price_year, pricing.dollars)

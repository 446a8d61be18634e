"""What a frontier training run takes in a year to come: FLOP, accelerators, power, energy, carbon and dollars, from growth laws.

Equations and sources: docs/model.md, section "Growth". The laws know no limit of power, chips, data or money: a forecast says
what follows if they hold, and the backtest (`planning.backtest`) how well they have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from simulator import catalog
from simulator.catalog.growth import GrowthLaw
from simulator.catalog.pricing import YEAR_S
from simulator.errors import UserError
from simulator.planning.frontier import FrontierRun
from simulator.planning.growth import Knowledge, Trends, known_before
from simulator.scenario import Owned

FIRST, LAST, FARTHEST = 2020, 2025, 2050  # years a forecast may start from; the published runs end in the last of them
_QUARTERS = 4 * 40  # a class of run is followed so far for the year in which it gets cheap enough

# Results of a run: columns of a forecast, SI.
RESULTS = ("flop", "cost_usd", "hardware_usd", "electricity_usd", "rent_usd", "rated_w", "power_w", "energy_j", "carbon_kg",
           "accelerators", "duration_s")


class YearForecast(NamedTuple):
    """A year: results of a frontier run in the middle of it by name, and what the frontier of the first year takes then.

    Values have shape (trials,). `same` has the keys flop and cost_usd.
    """

    year: int
    results: dict[str, np.ndarray]
    same: dict[str, np.ndarray]


class Forecast(NamedTuple):
    """All years, and what they rest on."""

    origin: int
    trends: Trends
    years: list[YearForecast]

    @property
    def knowledge(self) -> Knowledge:
        """What it rests on."""
        return self.trends.knowledge

    @property
    def trials(self) -> int:
        """Draws of the laws."""
        return self.trends.trials


def forecast(origin: int = LAST, until: int = 2030, *, trials: int = 10_000, seed: int = 1,
             own: Mapping[str, GrowthLaw] | None = None, runs: Sequence[FrontierRun] | None = None) -> Forecast:
    """Return what a frontier run takes in each year, with what was known at the end of `origin`.

    Parameters
    ----------
    origin, until : int
        The year whose knowledge is used, and the last year to forecast.
    trials, seed : int
    own : mapping, optional
        Laws by quantity in place of the catalog's.
    runs : sequence of FrontierRun, optional
        In place of those that ship; those after `origin` are not looked at.

    Raises
    ------
    UserError
        Years that are not allowed; too few runs known.
    """
    check_years(origin, until)
    trends = Trends(known_before(origin + 1.0, own, runs), trials, seed)
    first_flop = trends.value("compute", origin + 0.5)
    years = []
    for year in range(origin, until + 1):
        at = year + 0.5
        same_flop = first_flop * trends.growth("algorithms") ** float(origin - year)
        same_s = trends.value("duration", origin + 0.5)
        same = run_at(trends, at, same_flop, same_s)
        years.append(YearForecast(year, run_at(trends, at), {"flop": same_flop, "cost_usd": same["cost_usd"]}))
    return Forecast(origin, trends, years)


def check_years(origin: int, until: int) -> None:
    """Raise UserError for years that a forecast cannot have."""
    if not FIRST <= origin <= LAST:
        raise UserError(f"--from: found {origin}; allowed: {FIRST} to {LAST}, the years of published runs")
    if not origin < until <= FARTHEST:
        raise UserError(f"--until: found {until}; allowed: {origin + 1} to {FARTHEST}")


def run_at(trends: Trends, at: float, flop: np.ndarray | None = None,
           duration_s: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return what a run published at a moment takes, by name of `RESULTS`, shape (trials,).

    Parameters
    ----------
    trends : Trends
    at : float
        Decimal year of publication. The accelerators are of `age` years before.
    flop, duration_s : ndarray, optional
        Of the run where they are known, else those of a frontier run of that time.
    """
    flop = trends.value("compute", at) if flop is None else flop
    duration_s = trends.value("duration", at) if duration_s is None else duration_s
    released = at - trends.value("age", at) / YEAR_S
    peak_flop = flop / trends.value("utilisation", at)  # what the accelerators could have done in that time
    rate_flop_per_s = peak_flop / duration_s
    rated_w = (rate_flop_per_s / trends.value("efficiency", released) * trends.value("server", at) * trends.value("pue", at))
    power_w = rated_w * trends.value("load", at)
    energy_j = power_w * duration_s
    # Hardware in use is worth what new hardware of its speed costs at that time, so its age drops out; while it is used it loses
    # value as new hardware gets better (Cottier et al. 2024).
    value_usd = rate_flop_per_s / trends.value("price_performance", at) * cluster_over_accelerators()
    lost_per_s = np.log(trends.growth("price_performance")) / YEAR_S
    hardware_usd = -np.expm1(-lost_per_s * duration_s) * value_usd
    electricity_usd = energy_j * trends.value("electricity", at)
    return {
        "flop": flop, "cost_usd": hardware_usd + electricity_usd, "hardware_usd": hardware_usd,
        "electricity_usd": electricity_usd, "rent_usd": value_usd * lost_per_s * duration_s * trends.value("rent", at),
        "rated_w": rated_w, "power_w": power_w, "energy_j": energy_j, "carbon_kg": energy_j * trends.value("carbon", at),
        "accelerators": rate_flop_per_s / trends.value("peak", released), "duration_s": duration_s,
    }


def cluster_over_accelerators() -> float:
    """Return what servers and their network cost over their accelerators alone: the preset `epoch-2024`."""
    owned = Owned.model_validate(catalog.raw("pricing", "epoch-2024")["owned"])
    multiplier = owned.server_multiplier
    return (multiplier["default"] if isinstance(multiplier, dict) else multiplier) / (1.0 - owned.interconnect_share)


def year_below(trends: Trends, run: FrontierRun, budget_usd: float) -> np.ndarray:
    """Return when the capability of a run costs less than a budget: decimal years, shape (trials,), infinite beyond 40 years.

    The FLOP for it fall with `algorithms` from the run's own at its publication; what a FLOP costs follows the trends. In
    quarters, from the moment of knowledge or the run's publication, whichever is later.
    """
    first = max(trends.knowledge.before, run.year)
    found = np.full(trends.trials, np.inf)
    duration_s = None if run.duration_s is None else np.full(trends.trials, run.duration_s)
    for quarter in range(_QUARTERS):
        at = first + 0.25 * quarter
        flop = run.flop * trends.growth("algorithms") ** (run.year - at)
        below = run_at(trends, at, flop, duration_s)["cost_usd"] < budget_usd
        found = np.where(below & np.isinf(found), at, found)
        if np.isfinite(found).all():
            break
    return found


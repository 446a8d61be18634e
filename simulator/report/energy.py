"""What `clustercost energy` shows: the step's power, the bill by month, the mean day, and the same run under other conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.montecarlo.bills import Bills, run_bills
from simulator.montecarlo.trials import Trials
from simulator.performance import longest
from simulator.performance.smoothing import Smoothing, smoothing
from simulator.performance.waveform import Description, Waveform, describe, step_waveform
from simulator.planning.alternatives import COLUMNS, Alternative, alternatives, run_alternatives, with_calendar
from simulator.report.energy_profile import daily_profile_figure
from simulator.report.tables import plain_table
from simulator.report.waveform import waveform_json, waveform_view
from simulator.scenario import Scenario
from simulator.scenario.series import series_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KWH_J, MWH_J = 3.6e6, 3.6e9
# Kinds of a month's dollars; what a scenario does not pay is left out.
_ENERGY = ("electricity", "demand_charge", "power_purchase", "export", "onsite", "generator", "demand_response", "offsets")
_KINDS = ("holding", *_ENERGY, "storage", "research_overhead", "egress", "unused_commitment")
_OWN_COLUMNS = ("holding", "electricity", "demand_charge", "power_purchase")  # of the table; the rest is "other"
_NAMES = {"holding": "machine", "electricity": "energy", "demand_charge": "demand", "power_purchase": "contract",
          "onsite": "on site", "demand_response": "response"}


@dataclass(frozen=True)
class EnergyReport:
    """All that is shown; `assumed_start` where the scenario has no calendar."""

    scenario: Scenario
    assumed_start: bool
    waveform: Waveform
    shape: Description
    ways: tuple[Smoothing, ...]
    bills: Bills
    others: list[Alternative]

    def kinds(self) -> list[str]:
        """Return the kinds of dollars that are not zero everywhere."""
        return [kind for kind in _KINDS if np.any(self.bills.by_month.get(f"cost_{kind}_usd", 0.0))]


def energy_report(scenario: Scenario, trials: int, sites: Sequence[str] = (), starts: Sequence[str] = ()) -> EnergyReport:
    """Run what `clustercost energy` shows.

    Parameters
    ----------
    scenario : Scenario
    trials : int
        Of the scenario, and of each alternative.
    sites, starts : sequence of str
        Sites of the catalog and dates to compare with.
    """
    dated = with_calendar(scenario)
    others = alternatives(dated, sites, starts)
    runs = Trials(dated)
    bills = run_bills(runs, trials)
    estimate = longest(runs.central.estimates)
    waveform = step_waveform(dated.central(), estimate)
    price = runs.central.supply.mean_price_usd_per_j()
    return EnergyReport(
        scenario, scenario.calendar is None, waveform, describe(waveform),
        smoothing(waveform, windows_s=(1.0, 10.0), price_usd_per_j=price or None), bills,
        run_alternatives(others, trials) if len(others) > 1 else [])


def energy_view(report: EnergyReport) -> Group:
    """Return the tables."""
    rows = report.bills.rows
    calendar = with_calendar(report.scenario).calendar
    assert calendar is not None
    begun = f"from {calendar.start:%d %B %Y}, {calendar.time_zone}" + (" (assumed: no calendar)" if report.assumed_start else "")
    title = f"{report.scenario.name}: {len(rows):,} trials, seed {report.scenario.monte_carlo.seed}, {begun}"
    head = Text(title, style="bold")
    found = "; ".join(f"{path}: {series.describe()}" for path, series in series_of(report.scenario))
    origin = [Text(f"Over time: {found}", style="dim")] if found else []
    parts: list[RenderableType] = [head, *origin, waveform_view(report.waveform, report.shape, report.ways), Text(""),
                                   _month_table(report), Text(""), _source_table(report)]
    if report.others:
        parts += [Text(""), _other_table(report.others)]
    return Group(*parts)


def _month_table(report: EnergyReport) -> Table:
    """Return the bill by month, means over trials; its dollars sum to the last column."""
    b, kinds = report.bills, report.kinds()
    known = not np.isnan(b.by_month["carbon_kg"]).any()
    own = [kind for kind in _OWN_COLUMNS if kind in kinds]
    rest = [kind for kind in kinds if kind not in own]
    mean = {name: values.mean(axis=1) for name, values in b.by_month.items()}
    sums = {name: np.append(values, values.max() if name == "peak_w" else values.sum()) for name, values in mean.items()}
    total = np.sum([sums[f"cost_{kind}_usd"] for kind in kinds], axis=0)
    scale, unit = (1e3, "thousand USD") if np.max(total) > 1e5 else (1.0, "USD")
    table = plain_table(f"Bill by month (mean): MWh, MW of the highest hour, {unit}", "", "MWh", "MW",
                        *(["tCO2e"] if known else []), *(_NAMES.get(kind, kind) for kind in own), *(["other"] if rest else []),
                        "total")
    for i, month in enumerate((*b.months, "all")):
        usd = [sums[f"cost_{kind}_usd"][i] for kind in own]
        usd += [sum(sums[f"cost_{kind}_usd"][i] for kind in rest)] if rest else []
        carbon = [f"{sums['carbon_kg'][i] / 1e3:,.0f}"] if known else []
        table.add_row(month, f"{sums['energy_j'][i] / MWH_J:,.0f}", f"{sums['peak_w'][i] / 1e6:,.3g}", *carbon,
                      *(f"{value / scale:,.0f}" if abs(value) >= 10 * scale else f"{value / scale:,.1f}" for value in usd),
                      f"{total[i] / scale:,.0f}")
    return table


def _source_table(report: EnergyReport) -> Table:
    """Return energy by source, carbon by place and by contract, water; P5, P50, P95."""
    rows = report.bills.rows
    table = plain_table("Energy, carbon, water", "", "P5", "P50", "P95")
    lines = [("energy at the meter (MWh)", "energy_j", MWH_J), ("from the grid", "supply_grid_j", MWH_J),
             ("from solar on site", "supply_solar_j", MWH_J), ("from wind on site", "supply_wind_j", MWH_J),
             ("from the generator", "supply_generator_j", MWH_J), ("sent out", "exported_j", MWH_J),
             ("above the cap", "above_cap_j", MWH_J), ("operational carbon, by place (tCO2e)", "carbon_operational_kg", 1e3),
             ("operational carbon, by contract", "carbon_market_kg", 1e3), ("embodied carbon", "carbon_embodied_kg", 1e3),
             ("offsets bought, not netted", "carbon_offsets_kg", 1e3),
             ("under contract, hour by hour (%)", "contract_share_hourly", 0.01),
             ("water on site (m3)", "water_site_l", 1e3), ("water of the grid", "water_grid_l", 1e3),
             ("time throttled (h)", "time_throttled_s", 3600.0), ("time paused (h)", "time_curtailed_s", 3600.0)]
    for label, column, divisor in lines:
        if column in rows[0]:
            values = np.array([row[column] for row in rows]) / divisor
            cells = ["unknown"] * 3 if np.isnan(values).any() else [f"{v:,.4g}" if v < 1e4 else f"{v:,.0f}"
                                                                    for v in np.quantile(values, (0.05, 0.5, 0.95))]
            if np.isnan(values).any() or values.any():
                table.add_row(label, *cells)
    return table


def _other_table(others: list[Alternative]) -> Table:
    """Return the same run under other conditions: P50, and below the mean difference to the first with its 95 % interval."""
    table = plain_table("The same luck under other conditions: P50, and mean difference", "", "days", "M USD", "MWh", "tCO2e",
                        "market")
    scales = (86400.0, 1e6, MWH_J, 1e3, 1e3)
    first = others[0]
    for other in others:
        table.add_row(other.label, *(_cell(other.median(column) / scale) for column, scale in zip(COLUMNS, scales, strict=True)))
        if other is not first:
            changes = [(*other.difference(column, first), scale) for column, scale in zip(COLUMNS, scales, strict=True)]
            table.add_row("", *("" if np.isnan(mean) else _signed(mean / scale) for mean, _, scale in changes), style="dim")
            table.add_row("", *("" if np.isnan(half) else f"±{half / scale:,.2g}" for _, half, scale in changes), style="dim")
    return table


def _signed(value: float) -> str:
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"


def _cell(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def daily_figure(report: EnergyReport) -> Figure:
    """Return the picture of the mean day, and of what energy costs by month."""
    b = report.bills
    low, high = (np.nanquantile(b.power_w, q, axis=1) for q in (0.05, 0.95))
    price, carbon = b.price_usd_per_j * KWH_J, b.carbon_kg_per_j * KWH_J * 1e3
    return daily_profile_figure(
        np.nanmean(b.power_w, axis=1), price if np.any(price) else None, None if np.isnan(carbon).all() else carbon,
        power_band_w=(low, high), months=b.months, title=report.scenario.name,
        cost_usd={_NAMES.get(kind, kind): b.by_month[f"cost_{kind}_usd"].mean(axis=1) for kind in report.kinds()
                  if kind in _ENERGY})


def energy_json(report: EnergyReport) -> dict[str, Any]:
    """Return the same in SI, ready for JSON; what is unknown is null."""
    b = report.bills

    def plain(values: np.ndarray) -> list[float | None]:
        return [None if np.isnan(v) else float(v) for v in values]

    return {
        "name": report.scenario.name, "trials": len(b.rows), "seed": report.scenario.monte_carlo.seed,
        "waveform": waveform_json(report.waveform, report.shape, report.ways),
        "months": [{"month": month, **{name: plain(values.mean(axis=1))[i] for name, values in b.by_month.items()}}
                   for i, month in enumerate(b.months)],
        "day": {"power_w": plain(np.nanmean(b.power_w, axis=1)), "price_usd_per_j": plain(b.price_usd_per_j),
                "carbon_kg_per_j": plain(b.carbon_kg_per_j)},
        "results": {name: plain(np.quantile([row[name] for row in b.rows], (0.05, 0.5, 0.95)))
                    for name in b.rows[0] if name != "trial"},
        "alternatives": [{"label": other.label, **{column: plain(np.array([other.median(column)]))[0] for column in COLUMNS}}
                         for other in report.others],
    }

"""What `clustercost forecast` shows: the years, the laws they rest on, and how earlier forecasts would have done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.catalog.growth import QUANTITIES
from simulator.fields import Distribution
from simulator.planning.backtest import Prediction, error_summary
from simulator.planning.forecast import RESULTS, Forecast
from simulator.planning.growth import catalog_growth
from simulator.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.planning.frontier import FrontierRun

_LEVELS = (0.05, 0.5, 0.95)
_COLUMNS = (("flop", "FLOP", 1.0), ("cost_usd", "USD", 1.0), ("rent_usd", "USD, rented", 1.0), ("rated_w", "W", 1.0),
            ("energy_j", "Wh", 3600.0), ("carbon_kg", "tCO2e", 1e3), ("accelerators", "accelerators", 1.0),
            ("duration_s", "days", 86400.0))
_UNITS = {"flop": ("FLOP", 1.0), "cost_usd": ("USD", 1.0), "rated_w": ("W", 1.0), "energy_j": ("Wh", 3600.0),
          "carbon_kg": ("tCO2e", 1e3)}
_GIVEN = {"frontier": "the date", "its FLOP": "its FLOP"}
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Affordable(NamedTuple):
    """When the capability of a run costs less than a budget: decimal years, shape (trials,)."""

    run: str
    budget_usd: float
    years: np.ndarray


def short(value: float) -> str:
    """Return a number with two or three digits and a prefix; beyond 10^15 with an exponent."""
    if value >= 1e15:
        return f"{value:.1e}".replace("e+", "e")
    scale, prefix = next(((s, p) for s, p in _PREFIXES if value >= s), (1.0, ""))
    return f"{value / scale:.3g}" + (f" {prefix}" if prefix else "")


def forecast_view(found: Forecast, predictions: Sequence[Prediction], *, rows: bool, origin_given: bool,
                  affordable: Affordable | None = None) -> Group:
    """Return the tables; `rows` adds every prediction of the backtest."""
    known = found.knowledge
    parts: list[RenderableType] = [_year_table(found), Text(""), _same_table(found), Text("")]
    if affordable is not None:
        parts += [_affordable_text(affordable), Text("")]
    parts += [_law_table(found), Text("")]
    names = ", ".join(known.anchors["compute"].names)
    parts += [Text(f"FLOP anchored to the frontier runs before {known.before:.0f}: {names}.", style="dim"),
              Text("Laws know no limit of power, chips, data or money. Sources: clustercost catalog growth LAW.", style="dim")]
    if predictions:
        parts += [Text(""), *_backtest_parts(found, predictions, rows, origin_given)]
    return Group(*parts)


def _range(values: np.ndarray, divisor: float = 1.0) -> tuple[str, str]:
    low, middle, high = np.quantile(values, _LEVELS) / divisor
    return short(middle), f"{short(low)} - {short(high)}"


def _year_table(found: Forecast) -> Table:
    """Return a frontier run by year: P50, and below P5 to P95."""
    title = (f"A frontier run by year, from what was known at the end of {found.origin}: P50, P5 - P95; {found.trials:,} trials, "
             f"seed {found.trends.seed}")
    table = plain_table(title, "", *(label for _, label, _ in _COLUMNS))
    for year in found.years:
        cells = [_range(year.results[name], divisor) for name, _, divisor in _COLUMNS]
        table.add_row(f"{year.year}", *(middle for middle, _ in cells))
        table.add_row("", *(spread for _, spread in cells), style="dim")
    return table


def _same_table(found: Forecast) -> Table:
    """Return what the frontier of the first year takes later."""
    table = plain_table(f"The capability of the frontier of {found.origin}, later", "", "FLOP", "P5 - P95", "USD", "P5 - P95")
    for year in found.years:
        table.add_row(f"{year.year}", *_range(year.same["flop"]), *_range(year.same["cost_usd"]))
    return table


def _law_table(found: Forecast) -> Table:
    """Return the laws: which, growth a year, level; for hardware what the catalog's accelerators show beside."""
    known, first = found.knowledge, found.origin + 0.5
    table = plain_table("Growth laws", "", "law", "growth a year", "P5 - P95", "the catalog shows (95 %)",
                        f"level in {found.origin}", "")
    for quantity, grows in QUANTITIES.items():
        law = known.laws[quantity]
        growth = np.quantile(found.trends.growth(quantity), _LEVELS)
        beside = ""
        if grows.level == "accelerators":
            beside = "{:.3g} ({:.3g} - {:.3g})".format(*catalog_growth(known.anchors[quantity]))
        level = _level(found.trends.value(quantity, first), grows.kind) if grows.kind else ""
        remark = f"published {law.published}: later than what was known" if quantity in known.hindsight else ""
        spread = f"{growth[0]:.3g} - {growth[2]:.3g}" if isinstance(law.growth, Distribution) else ""
        table.add_row(quantity, law.name, f"{growth[1]:.3g}", spread, beside, level, remark)
    return table


def _level(values: np.ndarray, kind: str) -> str:
    """Return the median of a level in a unit that people use."""
    units = {"flop": ("FLOP", 1.0), "time": ("days", 86400.0), "flop_rate_per_money": ("FLOP/s/USD", 1.0),
             "flop_rate_per_power": ("FLOP/s/W", 1.0), "flop_rate": ("FLOP/s", 1.0), "money_per_energy": ("USD/kWh", 1 / 3.6e6),
             "carbon_per_energy": ("gCO2e/kWh", 1 / 3.6e9)}
    unit, divisor = units.get(kind, ("", 1.0))
    return f"{short(float(np.median(values)) / divisor)} {unit}".strip()


def _affordable_text(affordable: Affordable) -> Text:
    """Return when a run gets cheaper than a budget, as a sentence."""
    first = float(affordable.years.min())
    low, middle, high = (_when(q, first) for q in np.quantile(affordable.years, _LEVELS, method="nearest"))
    return Text(f"What {affordable.run} could do costs less than {short(affordable.budget_usd)} USD: {middle} "
                f"(P50; P5 {low}, P95 {high}).", style="bold")


def _when(year: float, first: float) -> str:
    return "beyond 40 years" if math.isinf(year) else f"from {year:.1f} on" if year > first else f"by {year:.1f}"


def _backtest_parts(found: Forecast, predictions: Sequence[Prediction], rows: bool, origin_given: bool) -> list[RenderableType]:
    basis = f"runs after {found.origin} from what was known at its end" if origin_given else "each from what was known before it"
    parts: list[RenderableType] = []
    if rows:
        table = plain_table(f"Backtest: {basis}", "", "given", "published", "P50", "P5 - P95", "error", "within", "")
        for p in predictions:
            unit, divisor = _UNITS[p.quantity]
            later = f"later laws: {', '.join(p.hindsight)}" if p.hindsight else ""
            low, middle, high, published = (short(value / divisor) for value in (p.p5, p.p50, p.p95, p.published))
            table.add_row(f"{p.run}, {unit}", _GIVEN[p.question], published, middle, f"{low} - {high}", f"{p.error:+.0%}",
                          "yes" if p.inside else "no", "; ".join(filter(None, (p.remark, later))))
        parts += [table, Text("")]
    table = plain_table(f"Errors of the backtest ({basis})", "given", "", "rows", "off by a factor of", "bias", "within P5 - P95",
                        "95 % interval")
    for line in error_summary(predictions):
        name = _UNITS[line["quantity"]][0] if line["quantity"] in _UNITS else "all"
        w = line["within"]
        table.add_row(_GIVEN[line["question"]], name, f"{line['rows']}", f"{line['factor']:.2g}", f"x {line['bias']:.2g}",
                      f"{w['probability']:.0%}", f"{w['low']:.0%} - {w['high']:.0%}")
    hint = [] if rows else [Text("Every row: --backtest.", style="dim")]
    return [*parts, table, *hint]


def forecast_json(found: Forecast, predictions: Sequence[Prediction], affordable: Affordable | None = None) -> dict[str, Any]:
    """Return the same in SI, ready for JSON."""
    def spread(values: np.ndarray) -> dict[str, float]:
        return dict(zip(("p5", "p50", "p95"), np.quantile(values, _LEVELS).tolist(), strict=True))

    known = found.knowledge
    laws = {quantity: {**law.to_file(), "hindsight": quantity in known.hindsight,
                       "growth_drawn": spread(found.trends.growth(quantity))} for quantity, law in known.laws.items()}
    shown = {quantity: dict(zip(("growth", "low", "high"), catalog_growth(anchors), strict=True))
             for quantity, anchors in known.anchors.items() if QUANTITIES[quantity].level == "accelerators"}
    result: dict[str, Any] = {
        "from": found.origin, "trials": found.trials, "seed": found.trends.seed, "laws": laws,
        "anchors": {quantity: list(anchors.names) for quantity, anchors in known.anchors.items()}, "catalog_shows": shown,
        "years": [{"year": y.year, **{name: spread(y.results[name]) for name in RESULTS},
                   "same_capability": {name: spread(values) for name, values in y.same.items()}} for y in found.years],
        "backtest": {"rows": [{**p._asdict(), "error": p.error, "within": p.inside} for p in predictions],
                     "errors": error_summary(predictions)},
    }
    if affordable is not None:
        years = [None if math.isinf(q) else float(q) for q in np.quantile(affordable.years, _LEVELS, method="nearest")]
        result["affordable"] = {"run": affordable.run, "budget_usd": affordable.budget_usd,
                                **dict(zip(("p5", "p50", "p95"), years, strict=True))}
    return result


def forecast_figure(found: Forecast, runs: Sequence[FrontierRun]) -> Figure:
    """Return the picture: cost above, rated power below, by year with 50 % and 90 % ranges; published runs as points.

    Points are full where the forecast knew the run, hollow where it came later.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 8.0), layout="constrained")
    cost, power = figure.subplots(2, 1, sharex=True)
    _panel(cost, found, runs, "cost_usd", 1e6, "cost of the final run (million USD)")
    _panel(power, found, runs, "rated_w", 1e6, "rated power of the facility (MW)")
    cost.legend(loc="upper left", frameon=False, fontsize=9)
    power.set_xlabel("year")
    figure.suptitle(f"A frontier training run by year, from what was known at the end of {found.origin}", fontsize=11)
    return figure


def _panel(ax: Axes, found: Forecast, runs: Sequence[FrontierRun], column: str, divisor: float, label: str) -> None:
    years = np.array([year.year + 0.5 for year in found.years])
    bands = np.array([np.quantile(year.results[column], (0.05, 0.25, 0.5, 0.75, 0.95)) for year in found.years]).T / divisor
    ax.fill_between(years, bands[0], bands[4], color="#0072B2", alpha=0.15, lw=0, label="P5 to P95")
    ax.fill_between(years, bands[1], bands[3], color="#0072B2", alpha=0.25, lw=0, label="P25 to P75")
    ax.plot(years, bands[2], color="#0072B2", lw=1.8, label="P50")
    points = [(run.name, run.year, getattr(run, column) / divisor) for run in runs if getattr(run, column) is not None]
    for known, face, text in ((True, "#D55E00", "published, known then"), (False, "white", "published later")):
        mine = [(year, value) for _, year, value in points if (year < found.knowledge.before) is known]
        if mine:
            ax.scatter([year for year, _ in mine], [value for _, value in mine], s=30, facecolor=face, edgecolor="#D55E00",
                       zorder=3, label=text)
    ax.set_yscale("log")
    for name, year, value in points:  # across the trend, along which points are close
        ax.annotate(name, (year, value), xytext=(5, -5), textcoords="offset points", fontsize=7.5, rotation=-32,
                    rotation_mode="anchor", va="center", color="0.25")
    ax.set_ylabel(label)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    ax.grid(alpha=0.25)

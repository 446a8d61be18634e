"""The figures of a summary in the units people use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator import html

if TYPE_CHECKING:
    from simulator.montecarlo.study import Study

# Column, label, divisor to the human unit, format.
HEADLINE = (
    ("time_s", "wall time (days)", 86400.0, "{:,.1f}"),
    ("accelerator_s", "accelerator-hours", 3600.0, "{:,.0f}"),
    ("energy_j", "energy at the meter (MWh)", 3.6e9, "{:,.0f}"),
    ("carbon_kg", "carbon (tCO2e)", 1e3, "{:,.0f}"),
    ("cost_usd", "cost (USD)", 1.0, "{:,.0f}"),
    ("ettr", "effective-time ratio (ETTR)", 1.0, "{:.3f}"),
    ("mfu", "MFU over the run", 1.0, "{:.3f}"),
    ("interruptions", "interruptions", 1.0, "{:,.0f}"),
    ("power_mean_w", "mean power at the meter (MW)", 1e6, "{:,.2f}"),
)
# Totals that have categories: title, start and end of their columns, divisor to the human unit, unit.
PARTS = (("Time", "time", "s", 86400.0, "days"), ("Energy", "energy", "j", 3.6e9, "MWh"), ("Cost", "cost", "usd", 1.0, "USD"))


def number(value: float, form: str) -> str:
    """Return a number with the decimals its size deserves."""
    if form == "{:,.0f}" and abs(value) < 10:
        return f"{value:,.3g}"
    if form in ("{:,.1f}", "{:,.2f}") and abs(value) < 1:
        return f"{value:.3g}"
    return form.format(value)


def headline(summary: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return (label, [P5, P50, P95]) of the results people ask for first."""
    rows = []
    for column, label, divisor, form in HEADLINE:
        result = summary["results"][column]
        if not result:
            rows.append((label, ["unknown"] * 3))
            continue
        rows.append((label, [number(result[q] / divisor, form) for q in ("p5", "p50", "p95")]))
    homes = summary["equivalents"]["us_home_years"]
    rows.append(("US homes for a year", [number(homes[q], "{:,.0f}") for q in ("p5", "p50", "p95")]))
    return rows


def breakdown(summary: dict[str, Any], prefix: str, unit: str) -> list[tuple[str, float, float]]:
    """Return (category, mean, share of the total) of time, energy or cost, largest first; categories sum to it."""
    total = summary["results"][f"{prefix}_{unit}"]["mean"]
    found = []
    for name, result in summary["results"].items():
        if name.startswith(f"{prefix}_") and name.endswith(f"_{unit}") and name != f"{prefix}_{unit}" and result:
            label = name.removeprefix(f"{prefix}_").removesuffix(f"_{unit}").replace("_", " ")
            found.append((label, result["mean"], result["mean"] / total if total else 0.0))
    return sorted(found, key=lambda item: -item[1])


def study_html(study: Study) -> str:
    """Return what a notebook shows of a study: headline quantiles, chances, and (folded) time, energy and cost by category."""
    summary = study.summary()
    stopped = f" of {summary['trials_asked']:,} (stopped)" if study.interrupted else ""
    chances = [f"Chance to meet the {name}: {chance['probability']:.0%} ({chance['low']:.0%} to {chance['high']:.0%})"
               for name, chance in study.goals().items()]
    rows = [(name, *values) for name, values in headline(summary)]
    parts = [html.heading(study.scenario.name, f": {len(study):,} trials{stopped}, seed {summary['seed']}"),
             html.table(("", "P5", "P50", "P95"), rows), *map(html.line, chances)]
    for title, prefix, unit, divisor, human in PARTS:
        if summary["results"][f"{prefix}_{unit}"]:
            rows = [(label, number(mean / divisor, "{:,.0f}" if unit == "usd" else "{:,.1f}"), f"{share:.1%}", html.bar(share))
                    for label, mean, share in breakdown(summary, prefix, unit) if mean]
            parts.append(html.folded(f"{title} by category, mean", html.table(("", human, "share", ""), rows, left=(0, 3))))
    return "".join(parts)

"""A scenario as a notebook shows it: what a planner asks for first, and what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator import html
from simulator.fields import Distribution
from simulator.scenario.training import Layout
from simulator.units import KINDS, parse_quantity

if TYPE_CHECKING:
    from simulator.scenario.models import Scenario

# Units by size, of which the first is taken that a value has two of.
_SIZED: dict[str, tuple[tuple[str, float], ...]] = {
    "time": (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)),
    "bandwidth": (("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6)),
    "power": (("GW", 1e9), ("MW", 1e6), ("kW", 1e3), ("W", 1.0)),
}
_LETTERS = ((1e12, " T"), (1e9, " B"), (1e6, " M"))
_SIZES = ("tensor", "pipeline", "context", "expert", "data")


def written(value: Any, kind: str) -> str:
    """Return an SI value as people write it, in the unit in which its kind is usually given; of a distribution P5, P50, P95."""
    if isinstance(value, str):
        return value
    if isinstance(value, Distribution):
        return f"{value.name}: " + ", ".join(f"P{100 * q:g} {written(float(value.quantile(np.array(q))), kind)}"
                                             for q in (0.05, 0.5, 0.95))
    if not isinstance(value, float | int):
        return str(value.describe()) if hasattr(value, "describe") else repr(value)  # a series
    if kind in _SIZED:
        unit, size = next((pair for pair in _SIZED[kind] if abs(value) >= 2.0 * pair[1]), _SIZED[kind][-1])
        return f"{value / size:,.4g} {unit}"
    _, _, unit = KINDS[kind][1].partition(" ")
    if not unit or kind == "money":
        size, letter = next(((size, letter) for size, letter in _LETTERS if abs(value) >= size), (1.0, ""))
        number = f"{value:,.0f}" if size == 1.0 and abs(value) >= 1000.0 else f"{value / size:,.4g}{letter}"
        return f"{number} USD" if kind == "money" else number
    if kind == "rate":
        return f"{value * 1000.0 * 86400.0:,.4g} per 1000 days"
    return f"{value / parse_quantity(f'1 {unit}', kind):,.4g} {unit}"


def scenario_html(scenario: Scenario) -> str:
    """Return the scenario as a table of its sections, and its distributions."""
    rows = [(name, text) for name, text in _rows(scenario) if text]
    unknown = scenario.uncertain()
    parts = [html.heading(scenario.name, f", {scenario.year}" if scenario.year else ""), html.table(("", ""), rows, left=(0, 1))]
    if unknown:
        parts.append(html.folded(f"{len(unknown)} input{'s' * (len(unknown) != 1)} not known, drawn once a trial", html.table(
            ("", ""), [(path, written(found, found.kind)) for path, found in unknown.items()], left=(0, 1))))
    return "".join(parts)


def _rows(scenario: Scenario) -> list[tuple[str, str]]:
    training, cluster, goals = scenario.training, scenario.cluster, scenario.goals
    monte_carlo, checkpoint = scenario.monte_carlo, scenario.checkpoint
    batch = training.batch_schedule[-1]
    return [
        ("model", _join(scenario.model.name, f"{scenario.model.layers} layers, {scenario.model.hidden:,} wide")),
        ("training", _join(f"{written(training.tokens, 'count')} tokens",
                           f"{written(batch.batch, 'count')} a step, sequences of {batch.sequence:,}", training.precision)),
        ("layout", _layout(training.layout)),
        ("cluster", _join(f"{cluster.accelerators:,} x {cluster.accelerator.name} in {cluster.nodes:,} nodes",
                          f"{cluster.spares} spare nodes", cluster.fabric.name)),
        ("failures", scenario.failures.name),
        ("checkpoint", _join(_interval(checkpoint.interval_s), checkpoint.mode,
                             f"{written(checkpoint.storage_bandwidth_bytes_per_s, 'bandwidth')} to storage")),
        ("facility", _join(scenario.facility.site.name if scenario.facility.site else "no site",
                           "" if scenario.facility.pue is None else f"PUE {written(scenario.facility.pue, 'ratio')}")),
        ("pricing", _price(scenario)),
        ("calendar", f"from {scenario.calendar.start:%d %B %Y}, {scenario.calendar.time_zone}" if scenario.calendar else ""),
        ("goals", _join("" if goals.deadline_s is None else f"in {written(goals.deadline_s, 'time')}",
                        "" if goals.budget_usd is None else f"for {written(goals.budget_usd, 'money')}")),
        ("Monte Carlo", f"{monte_carlo.trials:,} trials, seed {monte_carlo.seed}"),
    ]


def _join(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _layout(layout: Any) -> str:
    """Return the sizes of a layout that part something."""
    if not isinstance(layout, Layout):
        return "the fastest that fits, searched" if layout == "auto" else str(layout)
    sizes = [f"{name} {getattr(layout, name)}" for name in _SIZES if (getattr(layout, name) or 1) > 1]
    return _join(*sizes, f"ZeRO {layout.zero}", layout.schedule)


def _interval(interval: float | str) -> str:
    return f"interval {interval}" if isinstance(interval, str) else f"every {written(interval, 'time')}"


def _price(scenario: Scenario) -> str:
    rental = scenario.pricing.rental
    if rental is None:
        return "owned" if scenario.pricing.owned is not None else scenario.pricing.name
    if rental.price_usd_per_accelerator_s is None:
        return f"rented in {len(rental.parts)} parts"
    return f"rented at {written(rental.price_usd_per_accelerator_s, 'money_per_accelerator_time')} an accelerator"

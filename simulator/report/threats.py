"""A fleet under attack on the terminal, as JSON, and as a picture: honest users, the bill, and what each defence saves."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from simulator.planning.paired import Difference
from simulator.planning.threats import ATTACK, CALM, PEACE, Breaking, ThreatStudy
from simulator.report.style import BLUE, GREY, ORANGE, digits, in_style, plain
from simulator.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

_LATENCIES = (("ttft_p50_s", "first", 1.0), ("ttft_p99_s", "P99", 1.0), ("tpot_p50_s", "token", 1e-3),
              ("tpot_p99_s", "P99", 1e-3), ("e2e_p99_s", "answer", 1.0))
# Column, label, divisor to the human unit.
_CHANGES = (("slo_share", "kept (points)", 0.01), ("e2e_p99_s", "answer P99 (s)", 1.0), ("energy_j", "kWh", 3.6e6),
            ("cost_usd", "USD", 1.0))


def threats_view(study: ThreatStudy, points: dict[str, Breaking]) -> Group:
    """Return tables of all variants, their differences with intervals, and where promises break."""
    parts: list[RenderableType] = [_honest(study), Text(""), _bill(study), Text(""), *_differences(study), Text("")]
    parts += [Text(line) for line in _sentences(study)]
    parts += [Text(f"Breaking point, {name}: {_point(found)}") for name, found in points.items()]
    return Group(*parts)


def threats_json(study: ThreatStudy, points: dict[str, Breaking]) -> dict[str, Any]:
    """Return the same, in SI."""
    found = {name: {key: value if not isinstance(value, float) or math.isfinite(value) else None
                    for key, value in asdict(point).items()} for name, point in points.items()}
    return study.summary() | ({"breaking_points": found} if found else {})


def _mean(study: ThreatStudy, variant: str, column: str) -> float:
    return float(study.columns[variant][column].mean())


def _table(title: str, *columns: str) -> Table:
    """Return a table with a row a variant, whose name is not broken."""
    table = plain_table(title, "", *columns)
    table.columns[0].no_wrap = True
    return table


def _honest(study: ThreatStudy) -> RenderableType:
    trials = study.scenario.monte_carlo.trials
    table = _table(f"{study.scenario.name}: {trials:,} {'trial' if trials == 1 else 'trials'}\n"
                   "Honest users: first token (s), others (ms), P50 and P99; answer (s) P99",
                   "kept (%)", "refused", "cut", *(label for _, label, _ in _LATENCIES))
    for name in study.names:
        came = _mean(study, name, "requests")
        lost = [f"{100.0 * _mean(study, name, column) / came:.2f}" for column in ("rejected", "cut")]
        shown = [_shown(_mean(study, name, column), divisor) for column, _, divisor in _LATENCIES]
        table.add_row(name, f"{100.0 * _mean(study, name, 'slo_share'):.2f}", *lost, *shown)
    return table


def _shown(value: float, divisor: float) -> str:
    return "never" if math.isinf(value) else digits(value / divisor)


def _bill(study: ThreatStudy) -> RenderableType:
    sized = bool(study.sizes)
    table = _table("The bill (means): USD of the fleet, of which hostile; of the attacker;\nextra USD for each of these",
                   "replicas", *(["needed"] if sized else []), "kWh", "kgCO2e",
                   "USD", "hostile", "attacker", "each")
    for name in study.names:
        needed = [f"{study.sizes[name]:,}" if study.sizes.get(name) else "none"] if sized else []
        each = study.amplification(name)
        table.add_row(name, digits(_mean(study, name, "replicas_mean")), *needed,
                      f"{_mean(study, name, 'energy_j') / 3.6e6:,.0f}", digits(_mean(study, name, "carbon_kg")),
                      f"{_mean(study, name, 'cost_usd'):,.0f}",
                      f"{_mean(study, name, 'hostile_cost_usd'):,.0f}", f"{_mean(study, name, 'attacker_usd'):,.0f}",
                      digits(each["mean"]) if each else "-")
    return table


def _differences(study: ThreatStudy) -> list[RenderableType]:
    """Return what the attack does, and what each defence changes of it, with paired 95 % intervals."""
    labels = [label for _, label, _ in _CHANGES]
    attack = _table("What the attack does: less no attack (± 95 %, paired)", *labels)
    attack.add_row(ATTACK, *_cells(study, ATTACK, CALM))
    if PEACE in study.columns:
        attack.add_row(PEACE, *_cells(study, PEACE, CALM))
    defences = [name for name in study.names if name not in (CALM, ATTACK, PEACE)]
    if not defences:
        return [attack]
    table = _table("What defences change: less the attack (± 95 %, paired)", *labels)
    for name in defences:
        table.add_row(name, *_cells(study, name, ATTACK))
    return [attack, Text(""), table]


def _cells(study: ThreatStudy, name: str, base: str) -> list[str]:
    return [_with_half(study.difference(column, name, base), divisor) for column, _, divisor in _CHANGES]


def _with_half(found: Difference, divisor: float) -> str:
    if math.isnan(found.mean):
        return "unknown"
    mean = f"{'+' if found.mean > 0.0 else ''}{digits(found.mean / divisor)}"
    return mean if math.isinf(found.half) else f"{mean} ± {digits(found.half / divisor, 2)}"


def _sentences(study: ThreatStudy) -> list[str]:
    """Return what the attack costs and how much of it each defence saves, in words."""
    calm, attacked = _mean(study, CALM, "cost_usd"), _mean(study, ATTACK, "cost_usd")
    extra, made = attacked - calm, study.columns[ATTACK]
    lines = [f"Hostile requests: {float(made['hostile_requests'].mean()):,.0f}, {_hostile_share(study):.1%} of all; "
             f"{float(made['hostile_tokens'].mean()) / 1e6:,.1f} M output tokens of "
             f"{float((made['hostile_tokens'] + made['tokens']).mean()) / 1e6:,.1f} M"]
    if extra <= 0.005 * calm:
        return [*lines, "The bill does not grow with the attack: the fleet is fixed, or has room"]
    lines.append(f"The attack adds {extra / calm:.0%} to the bill. Of that it is saved: "
                 + ", ".join(f"{name} {(attacked - _mean(study, name, 'cost_usd')) / extra:.0%}"
                             for name in study.names if name not in (CALM, ATTACK, PEACE)))
    return lines


def _hostile_share(study: ThreatStudy) -> float:
    hostile, honest = (study.columns[ATTACK][name].sum() for name in ("hostile_requests", "requests"))
    return float(hostile / (hostile + honest))


def _point(found: Breaking) -> str:
    def value(x: float) -> str:
        return f"{100.0 * x:.3g} %" if found.key == "share" else f"{x:.3g} times"

    promise = f"fewer than {found.level:.2%} of honest requests have what was promised"
    if math.isnan(found.low):
        return f"{promise} without an attack already"
    if math.isinf(found.high):
        return f"none up to a {found.key} of {value(found.low)}"
    return f"{promise} from a {found.key} between {value(found.low)} and {value(found.high)}"


def threats_figure(study: ThreatStudy) -> Figure:
    """Return the picture: promises kept, latencies, and dollars by who used them, of all variants."""
    from matplotlib import pyplot

    names = study.names
    at = np.arange(len(names))[::-1]
    with in_style():
        figure, axes = pyplot.subplots(1, 3, figsize=(13.0, 1.6 + 0.42 * len(names)), layout="constrained", sharey=True)
        figure.suptitle(plain(study.scenario.name, 100), x=0.01, ha="left", fontweight="bold")
        _draw_kept(axes[0], study, at)
        for column, label, colour, marker in (("e2e_p50_s", "P50", BLUE, "o"), ("e2e_p99_s", "P99", ORANGE, "D")):
            values = np.array([_mean(study, name, column) for name in names])
            axes[1].plot(values, at, marker, color=colour, label=label, markersize=6.5)
        axes[1].set(xscale="log", title="Whole answers of honest users", xlabel="seconds")
        axes[1].grid(visible=True)
        _legend(axes[1])
        _draw_dollars(axes[2], study, at)
        axes[0].set_yticks(at, names)
        return figure


def _draw_kept(ax: Axes, study: ThreatStudy, at: np.ndarray) -> None:
    """Draw the share of honest requests whose promises are not kept: refused, cut, late."""
    left = np.zeros(at.size)
    parts = {"late": GREY, "refused": ORANGE, "ended early": BLUE}
    shares = {}
    for name, column in (("refused", "rejected"), ("ended early", "cut")):
        shares[name] = np.array([100.0 * _mean(study, v, column) / _mean(study, v, "requests") for v in study.names])
    broken = np.array([100.0 * (1.0 - _mean(study, v, "slo_share")) for v in study.names])
    shares["late"] = np.maximum(0.0, broken - shares["refused"] - shares["ended early"])
    for name, colour in parts.items():
        ax.barh(at, shares[name], left=left, height=0.62, color=colour, label=name)
        left = left + shares[name]
    ax.set(title="Promises not kept", xlabel="% of honest requests")
    ax.axvline(100.0 * (1.0 - float(study.scenario.slo.share)), color="#222222", linewidth=0.9, linestyle=":")
    _legend(ax)


def _draw_dollars(ax: Axes, study: ThreatStudy, at: np.ndarray) -> None:
    left = np.zeros(at.size)
    for column, label, colour in (("cost_honest_usd", "honest", BLUE), ("hostile_cost_usd", "hostile", ORANGE),
                                  ("cost_idle_usd", "idle", GREY)):
        values = np.array([_mean(study, name, column) for name in study.names]) / 1e3
        ax.barh(at, values, left=left, height=0.62, color=colour, label=label)
        left = left + values
    ax.set(title="Cost of the fleet, by who used it", xlabel="thousand USD", xlim=(0.0, 1.05 * float(left.max())))
    _legend(ax)


def _legend(ax: Axes) -> None:
    """Put the legend below, where no bar is."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)

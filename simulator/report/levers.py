"""Efficiency levers on the terminal, as a picture (four waterfalls) and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.fields import Distribution
from simulator.planning.levers import ASSUMPTIONS, COLUMNS, LEVERS, MORE_COLUMNS, Change, Effect, LeverStudy
from simulator.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Column, unit, divisor to it.
_UNITS = (("time_s", "days", 86400.0), ("cost_usd", "USD", 1.0), ("energy_j", "MWh", 3.6e9),
          ("carbon_operational_kg", "tCO2e", 1e3))
_MORE = (("carbon_embodied_kg", "embodied tCO2e", 1e3),)
_LESS, _MORE_COLOUR, _TOTAL, _QUIET = "#009E73", "#D55E00", "#56789A", "#999999"  # Okabe and Ito's green and vermilion
_SIZE = (13.0, 8.0)  # inches


def _units(study: LeverStudy) -> list[tuple[str, str, float]]:
    """Return columns with unit and divisor; dollars in thousands or millions, as large as they are; embodied where known."""
    cost = study.mean(0, "cost_usd")
    scale, unit = (1e6, "M USD") if cost >= 1e6 else (1e3, "thousand USD") if cost >= 1e4 else (1.0, "USD")
    units = [(column, unit if column == "cost_usd" else name, scale if column == "cost_usd" else divisor)
             for column, name, divisor in _UNITS]
    return units + [one for one in _MORE if not np.isnan(study.mean(0, one[0]))]


def levers_view(study: LeverStudy) -> Group:
    """Return the tables: each alone, one after the other, and what each did and takes for granted."""
    base = study.scenarios[0]
    head = f"{base.name}: levers, {study.trials:,} trials each with the same luck, seed {base.monte_carlo.seed}"
    parts: list[RenderableType] = [Text(head, style="bold"), *(Text(note, style="dim") for note in study.notes), Text("")]
    parts += [_table(study, "Each alone, against the scenario as it is (mean difference, 95 %)", study.alone), Text("")]
    parts += [_table(study, "One after the other (the bars of the waterfall)", study.steps, together=True), Text("")]
    parts += [Text("What was done; with all before it, where that differs", style="bold")]
    parts += [_done(study, i) for i in range(len(study.alone))]
    used = _used(study)
    if used:
        parts += [Text(""), Text("Taken for granted (--assume NAME=VALUE)", style="bold")]
        parts += [Text(f"{name}: {_value(study.numbers.get(name))}, {ASSUMPTIONS[name].text}; {ASSUMPTIONS[name].source}")
                  for name in used]
    return Group(*parts)


def _table(study: LeverStudy, title: str, effects: tuple[Effect, ...], *, together: bool = False) -> Table:
    units = _units(study)
    table = plain_table(title, "", *(unit for _, unit, _ in units))
    table.add_row("as it is", *(_number(study.mean(0, column) / divisor) for column, _, divisor in units))
    for effect in effects:
        if effect.reason:
            table.add_row(LEVERS[effect.lever].label, *["-"] * len(units), style="dim")
            continue
        _add_change(table, study, LEVERS[effect.lever].label, effect.before, effect.after, units)
    if together:
        table.add_row("all together", *(_number(study.mean(study.together, column) / divisor) for column, _, divisor in units))
        _add_change(table, study, "against as it is", 0, study.together, units)
    return table


def _add_change(table: Table, study: LeverStudy, label: str, before: int, after: int,
                units: list[tuple[str, str, float]]) -> None:
    changes = [(study.change(before, after, column), study.mean(before, column), divisor) for column, _, divisor in units]
    table.add_row(label, *(_cell(change, start, divisor) for change, start, divisor in changes))
    halves = [(change.high - change.mean) / divisor for change, _, divisor in changes]
    table.add_row("", *("" if np.isnan(half) else f"±{half:,.0f}" if half >= 100.0 else f"±{half:.2g}" for half in halves),
                  style="dim")


def _cell(change: Change, start: float, divisor: float) -> str:
    if np.isnan(change.mean):
        return "unknown"
    share = f" ({change.mean / start:+.1%})" if start else ""
    return f"{'+' if change.mean > 0.0 else ''}{_number(change.mean / divisor)}{share}"


def _number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:,.3g}"


def _done(study: LeverStudy, i: int) -> Text:
    alone, step = study.alone[i], study.steps[i]
    lever = LEVERS[alone.lever]
    first, then = (f"does not apply: {e.reason}" if e.reason else e.said for e in (alone, step))
    text = Text.assemble((f"{lever.label} ({alone.lever}, {lever.effect}): ", "bold"), first)
    if then != first:
        text.append(f"; after those before it: {then}")
    return text.append(f". Model: {lever.quality}.", style="dim")


def _used(study: LeverStudy) -> list[str]:
    """Return the assumptions that the levers of the study rest on."""
    needs = {"experts": ("moe-work",), "sparsity": ("sparse-work",), "distillation": ("student-size", "student-work"),
             "power": ("power-limit",), "schedule": ("carbon-swing", "dirtiest", "slow-to")}
    return [name for effect in study.alone for name in needs.get(effect.lever, ())]


def _value(value: Any) -> str:
    return "absent" if value is None else repr(value) if isinstance(value, Distribution) else f"{value:g}"


def levers_figure(study: LeverStudy) -> Figure:
    """Return the picture: from the scenario as it is to all levers together, in days, dollars, MWh and tonnes."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots(2, 2, sharey=True).ravel()
    for ax, unit in zip(axes, _units(study), strict=False):
        _waterfall(ax, study, *unit)
    figure.suptitle(f"{study.scenarios[0].name}: efficiency levers one after the other, means of {study.trials:,} trials",
                    fontsize=12, fontweight="bold")
    figure.legend(handles=[Patch(facecolor=_TOTAL, label="total"), Patch(facecolor=_LESS, label="less"),
                           Patch(facecolor=_MORE_COLOUR, label="more"),
                           Patch(facecolor=_LESS, hatch="////", edgecolor="white", label="by a published ratio, not simulated")],
                  loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _waterfall(ax: Axes, study: LeverStudy, column: str, unit: str, divisor: float) -> None:
    """Draw one waterfall, from the top down, with the 95 % intervals of its steps."""
    labels = ["as it is", *(LEVERS[e.lever].label for e in study.steps), "all together"]
    start, end = (study.mean(row, column) / divisor for row in (0, study.together))
    ax.set_title(f"{_TITLES[column]} ({unit})", loc="left", fontsize=10, fontweight="bold")
    ax.set_yticks(range(len(labels)), labels, fontsize=9)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if np.isnan(start) or np.isnan(end):
        ax.text(0.02, 0.5, "not known for this scenario", transform=ax.transAxes, fontsize=9)
        ax.set_xticks([])
        return
    heights = [study.mean(e.before, column) / divisor for e in study.steps] + [end]
    width = 1.25 * max(start, *heights)
    for i, value in ((0, start), (len(labels) - 1, end)):
        ax.barh(i, value, color=_TOTAL, height=0.7)
        _label(ax, value, i, _number(value) + (f" ({value / start - 1.0:+.1%})" if i and start else ""))
    for i, effect in enumerate(study.steps, 1):
        change = study.change(effect.before, effect.after, column)
        left, mean = heights[i - 1], change.mean / divisor
        ax.plot([left, left], [i - 1.35 if i > 1 else i - 0.65, i + 0.35], color=_QUIET, lw=0.8, zorder=0)
        if effect.reason:
            _label(ax, left, i, "does not apply", _QUIET)
            continue
        ratio = LEVERS[effect.lever].effect != "simulated"
        ax.barh(i, mean, left=left, color=_LESS if mean <= 0.0 else _MORE_COLOUR, height=0.7, hatch="////" if ratio else None,
                edgecolor="white" if ratio else None, lw=0.0)
        if change.high - change.low > 0.004 * width * divisor:
            ax.plot([left + change.low / divisor, left + change.high / divisor], [i, i], color="black", lw=1.2)
        _label(ax, max(left, left + mean, left + change.high / divisor if np.isfinite(change.high) else left), i,
               f"{'+' if mean > 0.0 else ''}{_number(mean)}")
    ax.set_xlim(0.0, width)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    ax.tick_params(axis="x", labelsize=9)


_TITLES = {"time_s": "Time", "cost_usd": "Cost", "energy_j": "Energy at the meter",
           "carbon_operational_kg": "Operational carbon by place"}


def _label(ax: Axes, x: float, y: int, text: str, colour: str = "black") -> None:
    ax.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5, color=colour)


def levers_json(study: LeverStudy) -> dict[str, Any]:
    """Return the same in SI, ready for JSON; what is unknown is null."""
    columns = (*COLUMNS, *MORE_COLUMNS)

    def plain(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    def totals(row: int) -> dict[str, float | None]:
        return {column: plain(study.mean(row, column)) for column in columns}

    def change(before: int, after: int) -> dict[str, Any]:
        return {column: {key: plain(value) for key, value in asdict(study.change(before, after, column)).items()}
                for column in columns}

    def listed(effects: tuple[Effect, ...]) -> list[dict[str, Any]]:
        return [{"lever": e.lever, "label": LEVERS[e.lever].label, "effect": LEVERS[e.lever].effect,
                 "quality": LEVERS[e.lever].quality, "applies": not e.reason, "reason": e.reason or None, "done": e.said or None,
                 "change": change(e.before, e.after), "total": totals(e.after)} for e in effects]

    return {
        "name": study.scenarios[0].name, "trials": study.trials, "seed": study.scenarios[0].monte_carlo.seed,
        "notes": list(study.notes), "base": totals(0), "alone": listed(study.alone), "steps": listed(study.steps),
        "together": {"total": totals(study.together), "change": change(0, study.together)},
        "assumptions": [{"name": name, "value": _file_form(study.numbers.get(name)), "text": ASSUMPTIONS[name].text,
                         "source": ASSUMPTIONS[name].source} for name in _used(study)],
    }


def _file_form(value: Any) -> Any:
    return value.to_file() if isinstance(value, Distribution) else value

"""What inputs do to results, on the terminal, as JSON and as a picture (tornado)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator.errors import UserError
from simulator.montecarlo.tables import HEADLINE
from simulator.planning.sensitivity import LUCK, MATTERS, Sensitivity, Swing, Tornado, advice
from simulator.planning.sobol import Indices
from simulator.report.plots.drivers import quantity
from simulator.report.tables import plain_table
from simulator.scenario.monte_carlo import uncertain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR = 8  # cells of the longest bar
_MOST = 12  # inputs in a panel
_WIDTH, _PLACE, _MARGIN = 10.0, 0.34, 0.95  # inches; height of a bar, and of what is around the bars of a panel
_LOW, _HIGH, _LUCK = "#0072B2", "#D55E00", "#BBBBBB"
_SEEN = 1e-3  # of the widest bar, below which an input has none


def sensitivity_json(found: Sensitivity) -> dict[str, Any]:
    """Return everything in SI, ready for JSON; what is not known is null."""
    def known(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    def indices(one: Indices) -> list[dict[str, Any]]:
        return [{"input": name, "first": known(one.first[i]), "first_half": known(one.first_half[i]),
                 "total": known(one.total[i]), "total_half": known(one.total_half[i])} for i, name in enumerate(one.names)]

    def swings(tornado: Tornado) -> list[dict[str, Any]]:
        return [{"input": s.path, "low": known(s.low), "high": known(s.high), "change": known(s.change), "half": known(s.half)}
                for s in tornado.swings]

    def result(column: str, tornado: Tornado) -> dict[str, Any]:
        one = found.indices[column]
        return {"central": known(tornado.central), "luck_p10": known(tornado.luck[0]), "luck_p90": known(tornado.luck[1]),
                "swings": swings(tornado), "mean": known(one.mean), "std": known(one.std), "indices": indices(one),
                "advice": advice(column, one)}

    inputs = {path: dict(zip(("p10", "central", "p90"), values, strict=True)) for path, values in _values(found).items()}
    return {"name": found.scenario.name, "seed": found.scenario.monte_carlo.seed, "trials": found.trials,
            "samples": found.samples, "runs": found.runs, "unfinished": list(found.unfinished), "inputs": inputs,
            "results": {column: result(column, tornado) for column, tornado in found.tornados.items()}}


def _values(found: Sensitivity) -> dict[str, tuple[float, float, float]]:
    """Return P10, central value and P90 of each input, sorted by path."""
    first = next(iter(found.tornados.values()))
    return {swing.path: swing.values for swing in sorted(first.swings, key=lambda swing: swing.path)}


def _unit(column: str) -> tuple[str, float]:
    """Return the label of a result and the divisor to its unit."""
    return next(((label, divisor) for name, label, divisor, _ in HEADLINE if name == column), (column, 1.0))


def _place(found: Sensitivity, column: str, path: str) -> tuple[Indices, int]:
    """Return the indices of a result, and the place in them of an input or of the group it is in."""
    one = found.indices[column]
    return one, next(i for i, name in enumerate(one.names) if path in name.split(" + "))


def sensitivity_view(found: Sensitivity) -> Group:
    """Return the inputs, a table for each result, and what is worth measuring better."""
    kinds = uncertain(found.scenario)
    inputs = plain_table(f"{found.scenario.name}: what is not known", "", "P10", "central", "P90")
    inputs.columns[0].overflow = "fold"
    for path, values in _values(found).items():
        inputs.add_row(path, *(quantity(value, kinds[path].kind) for value in values))
    parts: list[Table | Text] = [inputs, Text("")]
    for column, tornado in found.tornados.items():
        if not math.isnan(tornado.central):
            parts += [_table(found, column, tornado), Text("")]
    parts.append(Text(f"P10, P90: the mean of {found.trials:,} runs with one input there and all others at their central values, "
                      "against all at central; swing: from P10 to P90, all with the same luck (luck: single runs at central). "
                      "first: share of the variance that goes when the input is known; total: share that is left when all others "
                      f"are (Sobol indices, 95 %: {_widest(found)})."))
    parts += [Text(f"* Correlated, so one input for these shares; each moves alone from P10 to P90: {group}")
              for group in found.together]
    if found.unfinished:
        parts.append(Text(f"{len(found.unfinished):,} of {found.runs:,} runs did not finish and are left out, with those they "
                          f"are compared with; the first: {found.unfinished[0]}"))
    parts.append(Text(f"\n{found.runs:,} runs; worth measuring better:", style="bold"))
    parts += [Text(advice(column, one)) for column, one in found.indices.items()]
    return Group(*parts)


def _widest(found: Sensitivity) -> str:
    halves = [half for one in found.indices.values() if one.varies for half in (*one.first_half, *one.total_half)]
    return f"± {100 * max(halves):.0f} % or less" if halves else "none"


def _table(found: Sensitivity, column: str, tornado: Tornado) -> Table:
    label, divisor = _unit(column)
    central = tornado.central
    table = plain_table(f"{label}: {_number(central / divisor)} with all at central", "", "P10", "P90", "", "swing", "±", "first",
                        "total")
    table.columns[0].overflow = "fold"  # a path is shown whole, on a second line where it must be
    luck = tornado.luck[1] - tornado.luck[0]
    widest = max([luck, *(abs(swing.change) for swing in tornado.swings)])
    for swing in tornado.swings:
        table.add_row(swing.path, _relative(swing.low, central), _relative(swing.high, central), _bar(swing.change, widest),
                      _number(swing.change / divisor), _number(swing.half / divisor), *_shares(found, column, swing.path))
    table.add_row(LUCK, _relative(tornado.luck[0], central), _relative(tornado.luck[1], central), _bar(luck, widest),
                  _number(luck / divisor), "", *_shares(found, column, LUCK))
    return table


def _shares(found: Sensitivity, column: str, path: str) -> tuple[str, str]:
    one, place = _place(found, column, path)
    first, total = float(one.first[place]), float(one.total[place])
    if math.isnan(first):
        return "-", "-"
    star = "*" if path != one.names[place] else ""
    return f"{_percent(first)} %{star}", f"{_percent(total)} %{star}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}".replace("-0", "0")


def _relative(value: float, central: float) -> str:
    return f"{value / central - 1.0:+.1%}" if central else f"{value:+.3g}"


def _bar(change: float, widest: float) -> str:
    return "█" * round(_BAR * abs(change) / widest) if widest else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def tornado_figure(found: Sensitivity) -> Figure:
    """Return the tornados, a panel a result; raise UserError where no result is known."""
    from matplotlib.figure import Figure

    known = {column: tornado for column, tornado in found.tornados.items() if not math.isnan(tornado.central)}
    if not known:
        raise UserError("--plot: no result that was asked for is known; allowed: with --column, one that is")
    shown = {column: _shown(tornado) for column, tornado in known.items()}
    heights = [_MARGIN + _PLACE * (1 + len(swings)) for swings in shown.values()]
    figure = Figure(figsize=(_WIDTH, 0.7 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(known), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for ax, (column, tornado) in zip(axes, known.items(), strict=True):
        _panel(ax, found, tornado, shown[column])
    figure.suptitle(f"{found.scenario.name}: each input at its P10 (blue) and P90 (orange), all others central"
                    + "".join(f"\n* correlated, one share for all: {group}" for group in found.together), fontsize=11)
    return figure


def _shown(tornado: Tornado) -> list[Swing]:
    widest = max([tornado.luck[1] - tornado.luck[0], *(abs(swing.change) for swing in tornado.swings)])
    return [swing for swing in tornado.swings if abs(swing.change) > _SEEN * widest][:_MOST]


def _panel(ax: Axes, found: Sensitivity, tornado: Tornado, swings: list[Swing]) -> None:
    """Draw the bars of one result, the widest on top, luck at the bottom."""
    kinds = uncertain(found.scenario)
    label, divisor = _unit(tornado.column)
    central = tornado.central / divisor
    ends = [central]
    for i, swing in enumerate(swings):
        for value, end, colour in ((swing.values[0], swing.low, _LOW), (swing.values[2], swing.high, _HIGH)):
            ends.append(end / divisor)
            ax.barh(i, ends[-1] - central, left=central, color=colour, height=0.66)
            right = (end > tornado.central) if end != tornado.central else (swing.change > 0) == (colour == _HIGH)
            _beside(ax, ends[-1], i, quantity(value, kinds[swing.path].kind), right=right)
    low, high = tornado.luck[0] / divisor, tornado.luck[1] / divisor
    ax.barh(len(swings), high - low, left=low, color=_LUCK, height=0.66)
    ax.axvline(central, color="#222222", lw=0.9)
    names = [*(swing.path for swing in swings), LUCK]
    ax.set_yticks(range(len(names)), [*names[:-1], "luck, P10 to P90 of runs"], fontsize=9)
    ax.set_ylim(len(names) - 0.4, -0.6)
    least, most = min([*ends, low]), max([*ends, high])
    room = 0.28 * (most - least) or 0.01 * abs(central) or 1.0
    ax.set_xlim(least - room, most + room)
    for i, name in enumerate(names):
        one, place = _place(found, tornado.column, name)
        first = float(one.first[place])
        text = "-" if math.isnan(first) else f"{_percent(first)} %" + ("*" if name != one.names[place] else "")
        ax.annotate(text, (1.06, i), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=9,
                    color="#222222" if first >= MATTERS else "#888888")
    ax.annotate("known, it takes away\nof the variance", (1.06, 1.0), xytext=(0, 4), textcoords="offset points",
                xycoords="axes fraction", ha="right", va="bottom", fontsize=7.5)
    left = len(tornado.swings) - len(swings)
    more = f" ({left} more input{'s' if left > 1 else ''} with less, or nothing)" if left else ""
    ax.set_title(label + more, loc="left", fontsize=10, fontweight="bold")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if 1e4 <= abs(value) < 1e10 else f"{value:,.6g}")
    ax.tick_params(axis="x", labelsize=9)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _beside(ax: Axes, x: float, place: int, text: str, *, right: bool) -> None:
    ax.annotate(text, (x, place), xytext=(4 if right else -4, 0), textcoords="offset points", va="center",
                ha="left" if right else "right", fontsize=8)

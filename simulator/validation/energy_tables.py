"""Published energy as tables: for the terminal, and in Markdown for docs/validation.md."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator.validation.energy import COUNTS, NAMED, EnergyResult, shown, summary

_HEAD = ("row", "counts", "published MWh", "configuration", "error", "published hours", "error", "all in", "tCO2e", "predicted")


def _number(value: float | None) -> str:
    """Return a figure with four digits, and thousands apart."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"


def _cells(r: EnergyResult) -> tuple[str, ...]:
    return (r.run, r.counts, _number(r.published_mwh), _number(r.from_configuration_mwh),
            shown(r.from_configuration_error, "+.1%"), _number(r.with_published_hours_mwh),
            shown(r.with_published_hours_error, "+.1%"), _number(r.all_in_mwh), _number(r.published_t), _number(r.predicted_t))


def _cost_cells(r: EnergyResult) -> tuple[str, ...]:
    return r.run, _number(r.published_usd), _number(r.predicted_usd), shown(r.cost_error, "+.1%"), r.remark


def _predicted(r: EnergyResult) -> bool:
    return r.from_configuration_mwh is not None or r.with_published_hours_mwh is not None


def _summary_cells(results: list[EnergyResult]) -> list[tuple[str, ...]]:
    return [(name, f"{s['rows']:.0f}", f"{s['median']:.1%}", f"{s['worst']:.1%}") for name, s in summary(results).items()]


def table_of(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], left: int = 1) -> Table:
    """Return a table for the terminal, its first `left` columns and remarks at the left."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i < left or name == "remark" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def energy_view(results: list[EnergyResult]) -> Group:
    """Return predictions for the terminal: energy, cost, what cannot be predicted, remarks, and errors in sum."""
    energy, cost = [r for r in results if _predicted(r)], [r for r in results if r.counts == "cost"]
    others = [r for r in results if not _predicted(r) and r.counts != "cost"]
    parts = [table_of("Energy, MWh; carbon, t", _HEAD, [_cells(r) for r in energy], 2)]
    if cost:
        parts.append(table_of("Cost, USD", ("row", "published", "predicted", "error", "remark"), [_cost_cells(r) for r in cost]))
    named = [r for r in results if r.run in NAMED]
    if named:
        parts.append(table_of("Named runs, MWh; carbon, t", _HEAD, [_cells(r) for r in named], 2))
        parts.append(table_of("Nodes", ("row", "mean node W", "cluster peak over mean, 2 s"),
                            [(r.run, _number(r.node_w), shown(r.peak_to_mean, ".3f")) for r in named]))
    if others:
        parts.append(table_of("Not predicted", ("row", "remark"), [(r.run, r.remark) for r in others], 2))
    parts.append(table_of("Remarks", ("row", "remark"), [(r.run, r.remark) for r in energy], 2))
    parts.append(table_of("Absolute error", ("rows", "number", "median", "worst"), _summary_cells(results)))
    return Group(*[item for part in parts for item in (part, Text(""))])


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)])


def energy_markdown(results: list[EnergyResult]) -> dict[str, str]:
    """Return the tables of the document by name: named, rows, cost, others, summary, counts."""
    named = [r for r in results if r.run in NAMED]
    return {
        "named": markdown((*_HEAD, "node W", "peak/mean"),
                          [(*_cells(r), _number(r.node_w), shown(r.peak_to_mean, ".3f")) for r in named]),
        "rows": markdown((*_HEAD, "remark"), [(*_cells(r), r.remark) for r in results if _predicted(r)]),
        "cost": markdown(("row", "published USD", "predicted USD", "error", "remark"),
                         [_cost_cells(r) for r in results if r.counts == "cost"]),
        "others": markdown(("row", "why"), [(r.run, r.remark) for r in results if not _predicted(r) and r.counts != "cost"]),
        "summary": markdown(("rows", "number", "median", "worst"), _summary_cells(results)),
        "counts": markdown(("word", "counts"), list(COUNTS.items())),
    }

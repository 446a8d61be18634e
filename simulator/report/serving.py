"""The terminal summary of a serving file and its picture: latencies by tier, what a query costs, the fleet over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group
from rich.text import Text

from simulator.montecarlo.serving import ServeStudy
from simulator.montecarlo.tables import number
from simulator.report.style import BLUE, GREEN, GREY, LINES, ORANGE, SERIES, in_style
from simulator.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR = 14
# Column, label, divisor to the human unit, format.
_FLEET = (
    ("requests", "requests that came", 1.0, "{:,.0f}"),
    ("rejected", "refused", 1.0, "{:,.0f}"),
    ("unfinished", "unfinished at the end", 1.0, "{:,.0f}"),
    ("slo_share", "kept both promises (%)", 0.01, "{:,.1f}"),
    ("goodput_per_s", "goodput: requests that did (1/s)", 1.0, "{:,.2f}"),
    ("tokens_per_s", "output tokens a second", 1.0, "{:,.0f}"),
    ("accelerators_mean", "accelerators on (mean)", 1.0, "{:,.1f}"),
    ("utilisation", "busy (% of that time)", 0.01, "{:,.1f}"),
    ("batch_mean", "requests in a busy replica's batch", 1.0, "{:,.1f}"),
    ("cache_fill", "cache filled, while busy (%)", 0.01, "{:,.1f}"),
    ("prefix_hit_rate", "prefix cache: tokens found (%)", 0.01, "{:,.1f}"),
    ("evictions", "evictions", 1.0, "{:,.0f}"),
    ("failures", "failures of replicas", 1.0, "{:,.0f}"),
    ("starts", "replicas started", 1.0, "{:,.0f}"),
    ("power_mean_w", "mean power at the meter (kW)", 1e3, "{:,.1f}"),
    ("energy_per_token_j", "energy of an output token (J)", 1.0, "{:,.2f}"),
    ("energy_per_query_j", "energy of a query (Wh)", 3600.0, "{:,.3f}"),
    ("carbon_per_query_kg", "carbon of a query (gCO2e)", 1e-3, "{:,.3f}"),
    ("cost_per_query_usd", "cost of a query (US cents)", 0.01, "{:,.3f}"),
    ("cost_per_token_usd", "cost of a million output tokens (USD)", 1e-6, "{:,.2f}"),
    ("energy_per_million", "energy of a million output tokens (kWh)", 3.6, "{:,.3f}"),
    ("carbon_per_token_kg", "carbon of a million output tokens (kgCO2e)", 1e-6, "{:,.3f}"),
    ("cost_usd", "cost of the fleet (USD)", 1.0, "{:,.2f}"),
)
_KINDS = (("ttft", "first", 1.0), ("tpot", "token", 1e-3), ("e2e", "answer", 1.0))


def serve_view(study: ServeStudy, size: tuple[int, float] | None = None) -> Group:
    """Return the summary as rich renderables: the fleet, latencies, costs by tier; and what `--size` found."""
    summary = study.summary()
    found = f"{summary['trials']:,} trials, seed {summary['seed']}"
    if study.interrupted:
        found += f" (stopped; {summary['trials_asked']:,} were asked for)"
    head = plain_table(f"{summary['name']}: {found}", "", "P5", "P50", "P95")
    for column, label, divisor, form in _FLEET:
        result = summary["results"]["energy_per_token_j" if column == "energy_per_million" else column]
        if result:
            head.add_row(label, *(number(result[q] / divisor, form) for q in ("p5", "p50", "p95")))
    slo = study.scenario.slo
    promise = f"Promises: first token in {slo.first_token_s:g} s, then {slo.per_token_s * 1e3:g} ms a token\n"
    parts: list[Any] = [head, Text(f"\n{promise}"), _latencies(study, summary), Text(""), _tiers(study, summary)]
    if size is not None:
        parts.append(Text(f"\nReplicas needed: {size[0]:,}, which keep both promises of {size[1]:.2%} of requests "
                          f"({slo.share:.2%} asked for)"))
    return Group(*parts)


def _latencies(study: ServeStudy, summary: dict[str, Any]) -> Any:
    columns = [f"{label} P50" if i == 0 else f"P{q}" for _, label, _ in _KINDS for i, q in enumerate((50, 90, 99))]
    table = plain_table("Latencies: first token (s), each token after it (ms), whole answer (s); median of trials", "", *columns)
    groups = {"all": summary["results"], **summary["groups"]} if len(summary["groups"]) > 1 else {"all": summary["results"]}
    for name, found in groups.items():
        cells = [_shown(found[f"{kind}_p{q}_s"], divisor) for kind, _, divisor in _KINDS for q in (50, 90, 99)]
        table.add_row(name.removeprefix("tier "), *cells)
    return table


def _shown(result: dict[str, float], divisor: float) -> str:
    if not result:
        return "none"
    return "never" if np.isinf(result["p50"]) else f"{result['p50'] / divisor:,.3g}"


def _tiers(study: ServeStudy, summary: dict[str, Any]) -> Any:
    """Return what each tier used; with the idle time these are all the fleet cost."""
    table = plain_table("Who uses the fleet (means; idle time apart)", "", "requests", "refused", "kept (%)", "kWh", "USD",
                        "share", "")
    total = summary["results"]["cost_usd"]["mean"]

    def row(name: str, cells: list[str], energy_j: float, cost_usd: float) -> None:
        share = cost_usd / total if total else 0.0
        table.add_row(name, *cells, number(energy_j / 3.6e6, "{:,.1f}"), number(cost_usd, "{:,.2f}"), f"{share:.1%}",
                      "█" * round(_BAR * share))

    for name, found in summary["groups"].items():
        kept = found["slo_share"].get("mean")
        row(name.removeprefix("tier "), [f"{found['requests']['mean']:,.0f}", f"{found['rejected']['mean']:,.0f}",
                                         "none" if kept is None else f"{100 * kept:.1f}"],
            found["energy_j"].get("mean", 0.0), found["cost_usd"].get("mean", 0.0))
    idle = summary["results"]
    row("idle", ["", "", ""], idle["energy_idle_j"]["mean"], idle["cost_idle_usd"]["mean"])
    return table


def serve_figure(study: ServeStudy) -> Figure:
    """Return the picture: latencies of all requests, and the fleet of the first trial over time."""
    from matplotlib import pyplot

    with in_style():
        figure, axes = pyplot.subplots(2, 2, figsize=(11.0, 7.0), layout="constrained")
        figure.suptitle(study.scenario.name, x=0.01, ha="left", fontweight="bold")
        tables = study.tables()
        _draw_latencies(axes[0, 0], tables["latencies"], study)
        line = tables["timeline"]
        line = line[line["trial"] == 0] if len(line) else line
        unit, factor = ("days", 86400.0) if study.scenario.load.duration_s > 3 * 86400.0 else (
            ("hours", 3600.0) if study.scenario.load.duration_s > 3 * 3600.0 else ("minutes", 60.0))
        at = line["time_s"].to_numpy() / factor
        _draw_lines(axes[0, 1], at, "Load and answers, first trial", "tokens/s", [("tokens made", line["tokens_per_s"], BLUE)],
                    ("requests/s", "requests that come", line["arrivals_per_s"]))
        _draw_lines(axes[1, 0], at, "Batches and queues", "requests", [("in a batch", line["batch"], BLUE),
                                                                      ("waiting, all replicas", line["queued"], ORANGE)], None)
        _draw_lines(axes[1, 1], at, "Replicas and power", "replicas", [("take requests", line["replicas_up"], GREEN)],
                    ("kW at the meter", "power", line["power_w"] / 1e3))
        for ax in (axes[0, 1], axes[1, 0], axes[1, 1]):
            ax.set_xlabel(f"time ({unit})")
        return figure


def _draw_latencies(ax: Axes, table: Any, study: ServeStudy) -> None:
    """Draw the share of requests that take longer, by kind, on logarithmic axes; promises are marked."""
    names = {"ttft": "first token", "tpot": "per token", "e2e": "whole answer"}
    for (kind, label), colour, style in zip(names.items(), SERIES, LINES, strict=False):
        rows = table[table["kind"] == kind].groupby("upper_s")["count"].sum()
        longer = 1.0 - np.cumsum(rows.to_numpy()) / rows.sum()
        shown = np.isfinite(rows.index.to_numpy()) & (longer > 0.0)
        ax.plot(rows.index.to_numpy()[shown], longer[shown], color=colour, linestyle=style, label=label)
    slo = study.scenario.slo
    for promise, colour in ((slo.first_token_s, SERIES[0]), (slo.per_token_s, SERIES[1])):
        ax.axvline(promise, color=colour, linewidth=0.9, linestyle=":")
    ax.set(xscale="log", yscale="log", xlabel="seconds (dotted: promised)", ylabel="share of requests that take longer",
           title="Latencies", ylim=(1e-4, 1.2))
    ax.grid(visible=True)
    ax.legend(loc="lower left")


def _draw_lines(ax: Axes, at: np.ndarray, title: str, label: str, lines: list[tuple[str, Any, str]],
                other: tuple[str, str, Any] | None) -> None:
    """Draw lines over time from zero, and one of another unit in grey with its own axis."""
    for name, values, colour in lines:
        ax.plot(at, values, color=colour, label=name)
    ax.set(title=title, ylabel=label)
    ax.set_ylim(bottom=0.0)
    ax.grid(visible=True)
    handles, names = ax.get_legend_handles_labels()
    if other is not None:
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        right.plot(at, other[2], color=GREY, linewidth=1.2, linestyle="--", label=other[1])
        right.set_ylabel(other[0])
        right.set_ylim(bottom=0.0)
        more, texts = right.get_legend_handles_labels()
        handles, names = handles + more, names + texts
    ax.legend(handles, names, loc="best")

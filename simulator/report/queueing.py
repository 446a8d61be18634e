"""The terminal summary of a jobs file: how full the cluster was, how long jobs waited, what each class cost."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator.montecarlo import QueueStudy
from simulator.montecarlo.tables import breakdown, number
from simulator.report.tables import plain_table
from simulator.scenario.checks import central

_BAR = 24
# Column, label, divisor to the human unit, format.
_HEADLINE = (
    ("utilisation", "utilisation (held by jobs, %)", 0.01, "{:,.1f}"),
    ("utilisation_productive", "productive (%)", 0.01, "{:,.1f}"),
    ("goodput", "goodput: productive over held (%)", 0.01, "{:,.1f}"),
    ("jobs", "jobs submitted", 1.0, "{:,.0f}"),
    ("jobs_waiting", "jobs not started at the end", 1.0, "{:,.0f}"),
    ("queue_mean_s", "mean queue time (h)", 3600.0, "{:,.1f}"),
    ("failures", "failures of nodes", 1.0, "{:,.0f}"),
    ("interruptions", "interruptions of jobs by failures", 1.0, "{:,.0f}"),
    ("preemptions", "pre-emptions", 1.0, "{:,.0f}"),
    ("cost_usd", "cost of the cluster (USD)", 1.0, "{:,.0f}"),
    ("cost_jobs_usd", "held by jobs (USD)", 1.0, "{:,.0f}"),
    ("energy_j", "energy at the meter (MWh)", 3.6e9, "{:,.0f}"),
    ("energy_jobs_j", "by jobs (MWh)", 3.6e9, "{:,.0f}"),
    ("carbon_operational_kg", "operational carbon, by place (tCO2e)", 1e3, "{:,.0f}"),
)


def queue_view(study: QueueStudy) -> Group:
    """Return the summary as rich renderables: headline quantiles, node time by category, a row a class."""
    summary = study.summary()
    found = f"{summary['trials']:,} trials, seed {summary['seed']}"
    if study.interrupted:
        found += f" (stopped; {summary['trials_asked']:,} were asked for)"
    head = plain_table(f"{summary['name']}: {found}", "", "P5", "P50", "P95")
    for column, label, divisor, form in _HEADLINE:
        result = summary["results"][column]
        values = [number(result[q] / divisor, form) for q in ("p5", "p50", "p95")] if result else ["unknown"] * 3
        head.add_row(label, *values)
    return Group(head, Text(f"\n{_scheduler(study)}\n"), _categories(summary), Text(""), _classes(summary))


def _scheduler(study: QueueStudy) -> str:
    scheduler, scenario = study.scenario.scheduler, study.scenario
    text = f"Scheduler: {scheduler.policy}"
    if scheduler.preemption:
        text += ", with pre-emption" + (" after a checkpoint" if scheduler.preempted == "checkpoint" else "")
    counted_d = study.summary()["results"]["time_s"]["mean"] / 86400
    return f"{text}. Counted: {counted_d:.3g} days, after {central(scenario.warm_up_s) / 86400:.3g} days of warm-up"


def _categories(summary: dict[str, Any]) -> Table:
    table = plain_table("Node time by category (mean)", "", "node-days", "share", "")
    for label, mean, share in breakdown(summary, "node", "s"):
        if mean:
            table.add_row(label, f"{mean / 86400:,.0f}" if mean >= 8.64e6 else f"{mean / 86400:.3g}", f"{share:.1%}",
                          "█" * round(_BAR * share))
    return table


def _classes(summary: dict[str, Any]) -> Table:
    table = plain_table("Jobs by class (means; share of node time)", "", "jobs", "share", "queue (h)", "P50", "P95", "restarts",
                        "cost (USD)")
    total = summary["results"]["held_accelerator_s"].get("mean", 0.0)
    for name, found in summary["classes"].items():
        def mean(column: str, found: dict[str, Any] = found) -> float | None:
            result: float | None = found[column].get("mean")
            return result

        waits = [mean(f"queue_{q}_s") for q in ("mean", "p50", "p95")]
        held = mean("held_accelerator_s") or 0.0
        table.add_row(name, f"{mean('jobs'):,.0f}", f"{held / total:.1%}" if total else "",
                      *("" if w is None else number(w / 3600.0, "{:,.1f}") for w in waits),
                      number(mean("restarts") or 0.0, "{:,.0f}"), f"{mean('held_usd'):,.0f}")
    return table

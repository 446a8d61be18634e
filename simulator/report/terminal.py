"""The terminal summary of a study."""

from __future__ import annotations

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from simulator.montecarlo import QueueStudy, Study
from simulator.montecarlo.tables import PARTS, breakdown, headline
from simulator.report.queueing import queue_view
from simulator.report.tables import plain_table

_BAR = 24


def summary_view(study: Study) -> Group:
    """Return the summary as rich renderables: headline quantiles, breakdowns, chances."""
    summary = study.summary()
    step = summary["step"]
    found = f"{summary['trials']:,} trials, seed {summary['seed']}"
    if study.interrupted:
        found += f" (stopped; {summary['trials_asked']:,} were asked for)"
    head = plain_table(f"{summary['name']}: {found}", "", "P5", "P50", "P95")
    for label, values in headline(summary):
        head.add_row(label, *values)
    parts: list[Table | Text] = [head, Text(f"\nStep: {step['time_s']:.3g} s, MFU {step['mfu']:.1%}, "
                                            f"checkpoint every {summary['checkpoint']['interval_steps'][-1]:.0f} steps\n")]
    for title, prefix, unit, divisor, human in PARTS:
        table = plain_table(f"{title} by category (mean)", "", human, "share", "")
        for label, mean, share in breakdown(summary, prefix, unit):
            if mean:
                value = mean / divisor
                shown = f"{value:,.0f}" if unit == "usd" or value >= 100 else f"{value:.3g}"
                table.add_row(label, shown, f"{share:.1%}", "█" * round(_BAR * share))
        parts += [table, Text("")]
    parts += [Text(line) for line in _chances(study)]
    return Group(*parts)


def _chances(study: Study) -> list[str]:
    goals, lines = study.scenario.goals, []
    for name, chance in study.goals().items():
        days = f"{(goals.deadline_s or 0.0) / 86400:,.1f} days"
        limit = days if name == "deadline" else f"{goals.budget_usd:,.0f} USD"
        lines.append(f"Chance to meet the {name} of {limit}: {chance['probability']:.0%} "
                     f"({chance['low']:.0%} to {chance['high']:.0%})")
    return lines


def print_summary(study: Study | QueueStudy, console: Console) -> None:
    """Print the summary."""
    console.print(queue_view(study) if isinstance(study, QueueStudy) else summary_view(study))
    for found in study.convergence:
        half = "no interval yet" if found["reached"] is None else f"± {found['reached']:.2%}"
        console.print(f"{found['column']} {found['statistic']}: {half}; asked: ± {100 * found['asked']:g}%, "
                      f"{'met' if found['met'] else 'not met'}", highlight=False)

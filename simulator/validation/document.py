"""docs/validation.md: generated, never typed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from simulator.validation.calibration import FITTED, Fit, errors, fit_all, sensitivity
from simulator.validation.energy import predict_energy
from simulator.validation.energy_tables import energy_markdown
from simulator.validation.power import capped_table, readings, readings_table, zeus_table
from simulator.validation.rows import Case
from simulator.validation.runs import Outcome, compare_runs
from simulator.validation.serving import predict_serving
from simulator.validation.serving_fit import calibration_of
from simulator.validation.serving_tables import serving_markdown
from simulator.validation.software import ASSUMPTIONS
from simulator.validation.throughput import CALCULON, pair_table, read_cases, row_table, statistics, summary_table

CAPPED = {"llama3-405b": (650.0, 600.0, 550.0, 500.0, 400.0, 300.0), "bloom-176b": (350.0, 300.0, 250.0, 200.0)}


def run_table(outcomes: list[Outcome]) -> str:
    """Return the table of whole runs."""
    lines = ["| scenario | quantity | published | simulated | error | remark |", "|---|---|---|---|---|---|"]
    lines += [f"| {o.scenario} | {o.quantity} | {o.published:,.4g} {o.unit} | {o.simulated:,.4g} {o.unit} | {o.error:+.1%} | "
              f"{o.source}{'; ' + o.note if o.note else ''} |" for o in outcomes]
    return "\n".join(lines)


def calibration_table(fits: list[Fit]) -> str:
    """Return fitted numbers, errors, and errors held out, by generation, era and source."""
    lines = ["| generation | software era | rows | " + " | ".join(name.removesuffix("_efficiency") for name in FITTED)
             + " | mean absolute error | bias |", "|---|---|---|" + "---|" * len(FITTED) + "---|---|"]
    for fit in fits:
        values = [f"{getattr(fit.era, name):.3f}{' (bound)' if name in fit.at_bounds else ''}" if name in fit.fitted else "-"
                  for name in FITTED]
        s = statistics(fit.errors)
        lines.append(f"| {fit.generation} | {fit.era.name} | {len(fit.cases)} | {' | '.join(values)} | "
                     f"{s['mean_absolute_error']:.1%} | {s['bias']:+.1%} |")
    lines += ["", "| software era | source | rows | fitted | held out |", "|---|---|---|---|---|"]
    for fit in fits:
        for source in sorted({case.source for case in fit.cases}):
            mine = [i for i, case in enumerate(fit.cases) if case.source == source]
            held = f"{fit.held_out[source]:.1%}" if source in fit.held_out else "no other rows"
            lines.append(f"| {fit.generation}, {fit.era.name} | {source} | {len(mine)} | "
                         f"{np.abs(fit.errors[mine]).mean():.1%} | {held} |")
    return "\n".join(lines)


def sensitivity_table(cases: list[Case]) -> str:
    """Return the error with other values of constants that are not fitted."""
    lines = ["| constant | value everywhere | mean absolute error of the fit |", "|---|---|---|",
             f"| as in the catalog | | {np.abs(np.concatenate([fit.errors for fit in fit_all(cases)])).mean():.2%} |"]
    lines += [f"| `{name}` | {value:g} | {error:.2%} |" for name, value, error in sensitivity(cases)]
    return "\n".join(lines)


def worst_rows(cases: list[Case], count: int = 12) -> str:
    """Return the rows with the largest errors."""
    found = errors(cases)
    order = np.argsort(-np.abs(found))[:count]
    return row_table([cases[i] for i in order])


def validation_document(scenarios: Path, trials: int) -> str:
    """Return docs/validation.md."""
    import jinja2

    shipped, recalled = read_cases(), read_cases(shipped="recalled.csv")
    eight = [case for case in (*shipped, *recalled) if case.id in CALCULON]
    text = (resources.files("simulator.validation") / "validation.md.j2").read_text(encoding="utf-8")
    page = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(text)  # Markdown
    return page.render(
        shipped_count=len(shipped), shipped_summary=summary_table(shipped), shipped_rows=row_table(shipped),
        recalled_count=len(recalled), recalled_summary=summary_table(recalled), recalled_rows=row_table(recalled),
        eight=f"{np.abs(errors(eight)).mean():.1%}", pairs=pair_table([*shipped, *recalled]), worst=worst_rows(shipped),
        calibration=calibration_table(fit_all(shipped)), sensitivity=sensitivity_table(shipped), assumptions=ASSUMPTIONS,
        runs=run_table(compare_runs(scenarios, trials)), energy=energy_markdown(predict_energy(None, scenarios)),
        nodes=readings_table(readings(scenarios)), zeus=zeus_table(),
        serving=serving_markdown(predict_serving(None), calibration_of(None)),
        capped={name: capped_table(scenarios / f"{name}.yaml", limits_w) for name, limits_w in CAPPED.items()})

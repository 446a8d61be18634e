"""A fleet under attack: `clustercost threats`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError


@app.command()
def threats(
    file: Annotated[Path, typer.Argument(help="Serving file (YAML) with a section `attack`, and any `defences`.")],
    trials: Annotated[int | None, typer.Option(help="Trials, instead of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the file's.")] = None,
    days: Annotated[float | None, typer.Option(help="Days of load, instead of the file's.")] = None,
    size: Annotated[bool, typer.Option("--size", help="Also find the fewest replicas that keep their promises.")] = False,
    breaking: Annotated[str | None, typer.Option(
        help="Also find where they break: `share` or `amplification` of the attack, without and with all defences.")] = None,
    level: Annotated[float | None, typer.Option(
        min=0.0, max=1.0, help="Share of honest requests below which promises count as broken; default: that of `slo`.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate an attack on a fleet: what it does to honest users and to the bill, and what each defence saves.

    Example: clustercost threats scenarios/threat-week.yaml --trials 2 --days 0.5 --plot threats.png
    """
    from simulator.api import with_monte_carlo
    from simulator.planning.threats import breaking_point, run_threats, size_threats, variants
    from simulator.progress import progress_bar
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.threats import threats_figure, threats_json, threats_view
    from simulator.scenario import load_serving

    scenario = with_monte_carlo(load_serving(file), trials, seed)
    if plot is not None:
        check_plot(plot)
    if days is not None:
        if not days * 86400.0 > scenario.load.warm_up_s:
            raise UserError(f"--days: found {days:g}; allowed: more than load.warm_up, {scenario.load.warm_up_s / 86400.0:.3g}")
        scenario = scenario.model_copy(update={"load": scenario.load.model_copy(update={"duration_s": days * 86400.0})})
    if breaking not in (None, "share", "amplification"):
        raise UserError(f"--breaking: found {breaking!r}; allowed: share, amplification")
    runs = len(variants(scenario)) * scenario.monte_carlo.trials
    with progress_bar(runs, median=False) as progress:
        study = run_threats(scenario, progress)
    if size:
        size_threats(study)
    points = {}
    if breaking is not None:
        reached = float(scenario.slo.share) if level is None else level
        with progress_bar(None, median=False) as progress:
            points["no defence"] = breaking_point(scenario, breaking, reached, progress=progress)
            if scenario.defences.chosen:
                points["all defences"] = breaking_point(scenario, breaking, reached, scenario.defences, progress)
    if plot is not None:
        save_figure(threats_figure(study), plot)
    if as_json:
        print_json(threats_json(study, points))
    else:
        from rich.console import Console

        Console().print(threats_view(study, points))
    if plot is not None:
        print(f"Picture: {plot}", file=sys.stderr)

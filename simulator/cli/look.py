"""Look at a scenario without running a study of it: `step`, `energy`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json
from simulator.cli.complete import sites


@app.command()
def step(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML).")],
    plot: Annotated[Path | None, typer.Option(help="Picture to write as well: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate one training step: schedule, time by phase, bytes by dimension, memory; distributions at their central values.

    Example: clustercost step scenarios/llama3-405b.yaml --plot step.png
    """
    from simulator.performance import estimate_steps
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.step import step_json, step_picture, step_view
    from simulator.scenario import load_scenario

    if plot is not None:
        check_plot(plot)
    scenario = load_scenario(file).central()
    estimates = estimate_steps(scenario)
    if plot is not None:
        save_figure(step_picture(scenario, estimates), plot)
    if as_json:
        print_json(step_json(scenario, estimates))
    else:
        from rich.console import Console

        Console().print(step_view(scenario, estimates))
    if plot is not None:
        print(f"Picture: {plot}", file=sys.stderr)


@app.command()
def energy(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML).")],
    trials: Annotated[int | None, typer.Option(min=1, help="Trials; default: the scenario's, 50 at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the scenario's.")] = None,
    site: Annotated[list[str] | None, typer.Option(
        help="Compare with a site of the catalog; may be repeated.", autocompletion=sites)] = None,
    start: Annotated[list[str] | None, typer.Option(help="Compare with another start date; may be repeated.")] = None,
    waveform: Annotated[Path | None, typer.Option(help="Picture of a step's power: .png, .svg or .pdf.")] = None,
    daily: Annotated[Path | None, typer.Option(help="Picture of the mean day and of the bill by month.")] = None,
    as_json: Json = False,
) -> None:
    """Power of a step, energy, carbon and the bill by month; the same run at other sites, on other dates, without its rules.

    Example: clustercost energy scenarios/hourly-year.yaml --site fra --start 2025-07-01 --daily day.png --waveform step.png
    """
    from simulator.api import with_monte_carlo
    from simulator.report.energy import daily_figure, energy_json, energy_report, energy_view
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.waveform import waveform_figure
    from simulator.scenario import load_scenario

    pictures = [file for file in (waveform, daily) if file is not None]
    for picture in pictures:
        check_plot(picture)
    scenario = with_monte_carlo(load_scenario(file), trials, seed)
    report = energy_report(scenario, trials or min(scenario.monte_carlo.trials, 50), site or (), start or ())
    if as_json:
        print_json(energy_json(report))
    else:
        from rich.console import Console

        Console().print(energy_view(report))
    if waveform is not None:
        save_figure(waveform_figure(report.waveform, scenario.name), waveform)
    if daily is not None:
        save_figure(daily_figure(report), daily)
    for picture in pictures:
        print(f"Picture: {picture}", file=sys.stderr)

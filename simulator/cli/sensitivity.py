"""Which input is worth measuring better: `sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json


@app.command()
def sensitivity(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML) with distributions.")],
    column: Annotated[list[str] | None, typer.Option(
        help="Result, as in trials.parquet; may be given several times. Default: time, energy, cost and carbon.")] = None,
    trials: Annotated[int, typer.Option(help="Runs of each end of the tornado.")] = 100,
    samples: Annotated[int, typer.Option(help="Base points of the Sobol indices: a power of two.")] = 512,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the scenario's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores where it pays.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of the tornado: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Which of the numbers that are not known is worth measuring better: tornado and Sobol indices, luck among them.

    Example: clustercost sensitivity scenarios/llama3-405b.yaml --column cost_usd --plot tornado.png
    """
    from rich.console import Console
    from rich.progress import Progress

    from simulator.montecarlo.variance import COLUMNS
    from simulator.planning.sensitivity import runs_of
    from simulator.planning.sensitivity import sensitivity as found_of
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.sensitivity import sensitivity_json, sensitivity_view, tornado_figure
    from simulator.scenario import load_scenario

    if plot is not None:
        check_plot(plot)
    scenario = load_scenario(file)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("running", total=runs_of(scenario, trials, samples))
        found = found_of(scenario, tuple(dict.fromkeys(column or COLUMNS)), trials, samples, seed, workers,
                         lambda count: bar.advance(task, count))
    if plot is not None:
        save_figure(tornado_figure(found), plot)
    if as_json:
        print_json(sensitivity_json(found))
    else:
        Console().print(sensitivity_view(found))

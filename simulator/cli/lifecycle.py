"""A model from its training to its last month: `clustercost lifecycle`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json


@app.command()
def lifecycle(
    file: Annotated[Path, typer.Argument(help="Life-cycle file (YAML): names of a training and a serving file, months, users.")],
    trials: Annotated[int | None, typer.Option(help="Trials, instead of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the file's.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Add up a model's life: training, experiments, fine-tunes, months of serving; and when a variant has paid off.

    Example: clustercost lifecycle scenarios/lifecycle-70b.yaml --plot lifecycle.png
    """
    from simulator.api import with_monte_carlo
    from simulator.planning.lifecycle import run_lifecycle
    from simulator.progress import progress_bar
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.lifecycle import lifecycle_figure, lifecycle_view
    from simulator.scenario.lifecycle import load_lifecycle

    scenario = with_monte_carlo(load_lifecycle(file), trials, seed)
    if plot is not None:
        check_plot(plot)
    with progress_bar(len({way.serving for way in scenario.ways()}) * len(scenario.levels), median=False) as progress:
        study = run_lifecycle(scenario, progress)
    if plot is not None:
        save_figure(lifecycle_figure(study), plot)
    if as_json:
        print_json(study.summary())
    else:
        from rich.console import Console

        Console().print(lifecycle_view(study))
    if plot is not None:
        print(f"Picture: {plot}", file=sys.stderr)

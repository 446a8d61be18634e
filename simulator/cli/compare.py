"""Choices side by side: `compare`, `sweep`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json


@app.command()
def compare(
    sources: Annotated[list[Path], typer.Argument(
        help="Scenario files, or results folders of earlier runs; the first is the base.", metavar="A B ...")],
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of each, instead of those of the base.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all, instead of that of the base.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores where it pays.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of both, and of their differences: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Compare scenarios: the same trials with the same luck, differences with intervals, and the inputs that differ.

    Example: clustercost compare scenarios/gpt3-175b.yaml scenarios/opt-175b.yaml --trials 200 --plot compare.png
    """
    from simulator.planning.compare import compare as compared
    from simulator.progress import progress_bar
    from simulator.report.compare import compare_figure, compare_view
    from simulator.report.gantt import check_plot, save_figure

    if plot is not None:
        check_plot(plot)
    with progress_bar() as progress:
        found = compared(sources, trials=trials, seed=seed, workers=workers, progress=progress)
    if plot is not None:
        save_figure(compare_figure(found), plot)
        print(f"Picture: {plot}", file=sys.stderr)
    if as_json:
        print_json(found.summary())
    else:
        from rich.console import Console

        Console().print(compare_view(found))

"""One scenario at many points: `sweep`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError


@app.command()
def sweep(
    file: Annotated[Path | None, typer.Argument(help="Scenario file (YAML).")] = None,
    over: Annotated[list[str] | None, typer.Option(
        help="PATH=VALUE,VALUE,..., PATH=LOW..HIGH:N (add ' log' to space by ratio), or with latin-hypercube PATH=LOW..HIGH; "
             "may be repeated.")] = None,
    design: Annotated[str | None, typer.Option(help="grid (default), zip (lists side by side) or latin-hypercube.")] = None,
    points: Annotated[int | None, typer.Option(help="Points of a Latin hypercube.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of each point; default: the scenario's, 100 at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the scenario's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores where it pays.")] = None,
    dask: Annotated[bool, typer.Option("--dask", help="Run on a local Dask cluster.")] = False,
    scheduler: Annotated[str | None, typer.Option(help="Run on the cluster of a Dask scheduler: tcp://HOST:8786.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder; default: results/NAME-sweep-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a sweep that was stopped: its results folder.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture, lines or a heat map: .png, .svg or .pdf.")] = None,
    column: Annotated[str, typer.Option(help="Result by which points are ranked and drawn.")] = "cost_usd",
    as_json: Json = False,
) -> None:
    """Run a scenario at the points of a grid, zipped lists or a Latin hypercube, all with the same luck; one tidy Parquet.

    Example: clustercost sweep scenarios/llama3-405b.yaml --over cluster.spares=16,64 --over checkpoint.interval=auto,"1 h"
    """
    from simulator.montecarlo.folder import check_new
    from simulator.planning.sweep import check_column, planned_sweep, run_sweep, stopped_sweep
    from simulator.progress import progress_bar
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.sweep import sweep_json, sweep_view
    from simulator.report.sweep_plot import check_axes, sweep_figure
    from simulator.scenario import load_scenario

    if resume is not None:
        given = {"--over": over, "--design": design, "--points": points, "--trials": trials, "--seed": seed, "--out": out}
        _check_alone(resume, file, [option for option, value in given.items() if value is not None])
        asked, folder = stopped_sweep(resume), resume
    elif file is not None:
        asked = planned_sweep(load_scenario(file), over or (), design or "grid", points, trials=trials, seed=seed)
        folder = out or Path("results") / f"{file.stem}-sweep-{datetime.now():%Y%m%d-%H%M%S}"
    else:
        raise UserError("sweep: give a scenario file, or --resume FOLDER")
    if plot is not None:
        check_plot(plot)
        check_axes(asked)
    check_column(asked, column)
    if resume is None:
        check_new(folder)
    with progress_bar(asked.trials * len(asked.points), median=False) as progress:
        found = run_sweep(asked, workers=workers, dask=scheduler or dask, folder=folder, resume=resume is not None,
                          progress=progress)
    if not len(found):
        raise UserError("stopped before the first run finished; nothing was written")
    if plot is not None:
        save_figure(sweep_figure(found, column), plot)
        print(f"Picture: {plot}", file=sys.stderr)
    if as_json:
        print_json(sweep_json(found, column))
    else:
        from rich.console import Console

        Console().print(sweep_view(found, column))
    print(f"Results: {folder}", file=sys.stderr)
    if found.interrupted:
        print(f"Stopped after {len(found):,} of {asked.trials * len(asked.points):,} runs; go on with: "
              f"clustercost sweep --resume {folder}", file=sys.stderr)
        raise typer.Exit(130)


def _check_alone(resume: Path, file: Path | None, options: list[str]) -> None:
    """Raise UserError where --resume has company: what is swept is in its folder."""
    for option in [*options, *(["FILE"] if file is not None else [])]:
        raise UserError(f"{option}: is taken from the folder with --resume; allowed: --resume {resume} without it")

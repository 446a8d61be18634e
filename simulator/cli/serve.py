"""Serve a model to users: `clustercost serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError


@app.command()
def serve(
    file: Annotated[Path, typer.Argument(help="Serving file (YAML), with a section `serving`.")],
    trials: Annotated[int | None, typer.Option(help="Trials, instead of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the file's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores where it pays.")] = None,
    size: Annotated[bool, typer.Option("--size", help="Find the fewest replicas that keep the promises of `slo`.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Picture of latencies and of the fleet: .png, .svg or .pdf.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder; default: none is written.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate a fleet that serves a model: latencies, promises kept, energy and dollars of a query, by tier.

    Example: clustercost serve scenarios/serve-70b.yaml --trials 3 --plot serve.png
    """
    from simulator.api import with_monte_carlo
    from simulator.montecarlo.folder import check_new
    from simulator.montecarlo.serving import needed_replicas
    from simulator.progress import run_with_progress
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.serving import serve_figure, serve_view
    from simulator.scenario import load_serving

    scenario = with_monte_carlo(load_serving(file), trials, seed)
    if plot is not None:
        check_plot(plot)
    if out is not None:
        check_new(out)
    study = run_with_progress(scenario, workers=workers, folder=out)
    if not len(study):
        raise UserError("stopped before the first trial finished; nothing was written")
    needed = needed_replicas(scenario) if size and not study.interrupted else None
    if plot is not None:
        save_figure(serve_figure(study), plot)
    if as_json:
        more = {} if needed is None else {"needed": {"replicas": needed[0], "slo_share": needed[1]}}
        print_json({**study.summary(), **more})
    else:
        from rich.console import Console

        Console().print(serve_view(study, needed))
    for name, path in (("Picture", plot), ("Results", out)):
        if path is not None:
            print(f"{name}: {path}", file=sys.stderr)
    if study.interrupted:
        print(f"Stopped after {len(study):,} of {scenario.monte_carlo.trials:,} trials", file=sys.stderr)
        raise typer.Exit(130)

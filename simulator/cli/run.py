"""Run a study: `clustercost run`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError

if TYPE_CHECKING:
    from simulator.scenario import QueueScenario, Scenario


@app.command()
def run(
    file: Annotated[Path | None, typer.Argument(help="Scenario file (YAML).")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials, instead of the scenario's; with --until at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the scenario's.")] = None,
    until: Annotated[list[str] | None, typer.Option(
        help="Stop when a 95 % interval is this narrow, such as 'cost_usd p95 1%'; may be given several times.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores where it pays.")] = None,
    dask: Annotated[bool, typer.Option("--dask", help="Run on a local Dask cluster.")] = False,
    scheduler: Annotated[str | None, typer.Option(help="Run on the cluster of a Dask scheduler: tcp://HOST:8786.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder; default: results/NAME-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a study that was stopped: its results folder.")] = None,
    convergence: Annotated[Path | None, typer.Option(help="Picture of quantiles against trials: .png, .svg or .pdf.")] = None,
    timeline: Annotated[Path | None, typer.Option(help="Picture of the P50 and the P95 trial: .png, .svg or .pdf.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Trace of the P50 trial for Perfetto: .json.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate a scenario, a training run or a queue of jobs: summary on the terminal, results in a folder.

    Example: clustercost run scenarios/llama3-405b.yaml --trials 200 --out results/llama
    """
    from simulator.montecarlo.folder import check_new
    from simulator.progress import run_with_progress

    scenario, folder = _new_or_stopped(file, trials, seed, until, out, resume)
    _check_views(scenario, timeline, trace, convergence)
    if resume is None:
        check_new(folder)
    study = run_with_progress(scenario, workers=workers, dask=scheduler or dask, folder=folder, resume=resume is not None,
                              until=until or ())
    if not len(study):
        raise UserError("stopped before the first trial finished; nothing was written")
    _write_views(study, timeline, trace, convergence)
    if as_json:
        print_json(study.summary())
    else:
        from rich.console import Console

        from simulator.report.terminal import print_summary

        print_summary(study, Console())
    print(f"Results: {folder}", file=sys.stderr)
    if study.interrupted:
        print(f"Stopped after {len(study):,} of {scenario.monte_carlo.trials:,} trials; go on with: "
              f"clustercost run --resume {folder}", file=sys.stderr)
        raise typer.Exit(130)


def _new_or_stopped(file: Path | None, trials: int | None, seed: int | None, until: list[str] | None, out: Path | None,
                    resume: Path | None) -> tuple[Scenario | QueueScenario, Path]:
    """Return the scenario to run and its folder; raise UserError where they cannot be had, before the work is done."""
    from simulator.api import with_monte_carlo
    from simulator.montecarlo.convergence import parse_target
    from simulator.montecarlo.folder import stopped_scenario
    from simulator.scenario import load_file

    if resume is not None:
        for option, given in (("--trials", trials), ("--seed", seed), ("--until", until), ("--out", out)):
            if given:
                raise UserError(f"{option}: is taken from the folder with --resume; allowed: --resume {resume} without it")
        return stopped_scenario(resume, file), resume
    if file is None:
        raise UserError("run: give a scenario file, or --resume FOLDER")
    for text in until or ():
        parse_target(text)
    scenario = with_monte_carlo(load_file(file), trials, seed)
    folder = out or Path("results") / f"{file.stem}-{datetime.now():%Y%m%d-%H%M%S}"
    return scenario, folder


def _check_views(scenario: Scenario | QueueScenario, timeline: Path | None, trace: Path | None,
                 convergence: Path | None) -> None:
    """Raise UserError where a picture or a trace cannot be written, before the work is done."""
    from simulator.report.gantt import check_plot
    from simulator.report.trace import check_trace
    from simulator.scenario import Scenario

    if convergence is not None:
        check_plot(convergence)
    for option, file, check in (("--timeline", timeline, check_plot), ("--trace", trace, check_trace)):
        if file is not None:
            if not isinstance(scenario, Scenario):
                raise UserError(f"{option}: found a queue of jobs; allowed: a training run")
            check(file)


def _write_views(study: Any, timeline: Path | None, trace: Path | None, convergence: Path | None) -> None:
    """Write the pictures and the trace that were asked for."""
    from simulator.report.convergence import convergence_figure
    from simulator.report.gantt import save_figure
    from simulator.report.timeline import timeline_figure
    from simulator.report.trace import write_trace

    if convergence is not None:
        save_figure(convergence_figure(study), convergence)
        print(f"Convergence: {convergence}", file=sys.stderr)
    if timeline is not None:
        save_figure(timeline_figure(study), timeline)
        print(f"Timeline: {timeline}", file=sys.stderr)
    if trace is not None:
        write_trace(study, trace)
        print(f"Trace: {trace} (open it at https://ui.perfetto.dev)", file=sys.stderr)

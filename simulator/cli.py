"""The command line: `clustercost`. Results go to stdout, progress and errors to stderr; bad input exits with 2."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.errors import UserError

if TYPE_CHECKING:
    from simulator.scenario import QueueScenario, Scenario

app = typer.Typer(no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  help="What it costs to train a large model on a cluster: time, energy, carbon and dollars, with their "
                       "uncertainty.\n\nExample: clustercost run scenarios/llama3-405b.yaml")

Json = Annotated[bool, typer.Option("--json", help="Print the same as JSON (SI units).")]


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
        print(json.dumps(study.summary(), indent=2))
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
        print(json.dumps(step_json(scenario, estimates), indent=2))
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
    site: Annotated[list[str] | None, typer.Option(help="Compare with a site of the catalog; may be repeated.")] = None,
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
        print(json.dumps(energy_json(report), indent=2))
    else:
        from rich.console import Console

        Console().print(energy_view(report))
    if waveform is not None:
        save_figure(waveform_figure(report.waveform, scenario.name), waveform)
    if daily is not None:
        save_figure(daily_figure(report), daily)
    for picture in pictures:
        print(f"Picture: {picture}", file=sys.stderr)


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors.

    Example: clustercost schema > scenario.schema.json
    """
    from simulator.scenario import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.yaml"),
) -> None:
    """Write a commented starter scenario.

    Example: clustercost init my-run.yaml && clustercost run my-run.yaml
    """
    from simulator.scenario import starter

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(starter())
    except FileExistsError as error:
        raise UserError(f"{file}: exists already; choose another name") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    print(f"wrote {file}; run it with: clustercost run {file}")


@app.command()
def catalog(
    kind: Annotated[str | None, typer.Argument(help="models, accelerators, fabrics, sites, failures, generations.")] = None,
    name: Annotated[str | None, typer.Argument(help="One record, with its sources.")] = None,
    as_json: Json = False,
) -> None:
    """List the catalog: its kinds, the names of one kind, or one record with its sources.

    Example: clustercost catalog accelerators h100-sxm-80gb
    """
    from simulator import catalog as shelves
    from simulator.errors import unknown_name

    if kind is not None and kind not in shelves.KINDS:
        raise UserError(unknown_name("kind of record", kind, shelves.KINDS))
    if kind is None:
        found: Any = {k: len(shelves.names(k)) for k in shelves.KINDS}
    elif name is None:
        found = shelves.names(kind)
    else:
        found = shelves.load(kind, name).to_file()
    if as_json:
        print(json.dumps(found, indent=2))
    elif isinstance(found, list):
        print("\n".join(found))
    else:
        import yaml

        print(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), end="")


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML).")],
    layout: Annotated[bool, typer.Option("--layout", help="Rank the layouts of its model, cluster and batch.")] = False,
    by: Annotated[str, typer.Option(help="What is least: time, cost or energy.")] = "time",
    top: Annotated[int, typer.Option(min=1, help="Layouts to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Search for the best choice; so far of the layout: all that fit in memory, and why the runner-up loses.

    Example: clustercost plan scenarios/llama3-405b.yaml --layout --by cost
    """
    from simulator.errors import unknown_name
    from simulator.planning.layouts import OBJECTIVES, rank_layouts
    from simulator.report.layouts import ranking_json, ranking_view
    from simulator.scenario import load_scenario

    if not layout:
        raise UserError("plan: say what to plan; allowed: --layout")
    if by not in OBJECTIVES:
        raise UserError(f"--by: {unknown_name('objective', by, OBJECTIVES)}")
    scenario = load_scenario(file).central()
    ranking = rank_layouts(scenario, by, top)
    if as_json:
        print(json.dumps(ranking_json(ranking), indent=2))
        return
    from rich.console import Console

    Console().print(ranking_view(scenario, ranking, by))


@app.command()
def validate(
    what: Annotated[str, typer.Argument(help="throughput, or energy: energy, carbon and cost of published runs.")] = "throughput",
    cases: Annotated[Path | None, typer.Option(help="CSV to predict: training configurations, or published energy.")] = None,
    scenarios: Annotated[Path | None, typer.Option(
        help="Folder of scenarios: compare whole runs as well. With energy: that of the rows' runs; default: scenarios.")] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", help="With --cases or energy: predictions as CSV. With --scenarios: the validation document.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Scatter plot of the rows: .png, .svg or .pdf.")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit the efficiencies again, and leave out sources.")] = False,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each run.")] = 100,
    as_json: Json = False,
) -> None:
    """Compare step times and whole runs, or energy, with what was published; every row is shown, the bad ones too.

    Example: clustercost validate energy --cases my-rows.csv -o predictions.csv
    """
    from simulator.validation import command

    command.check_what(what)
    if what == "energy":
        command.predict_energy_rows(cases, scenarios, output, as_json)
    elif calibrate:
        command.show_calibration(cases, as_json)
    elif cases is not None:
        command.predict_cases(cases, output, as_json)
    elif output is not None:
        command.write_document(scenarios, output, trials)
    else:
        command.show_errors(scenarios, trials, as_json)
    if plot is not None and what == "throughput":
        command.write_scatter(cases, plot)


@app.command()
def variance(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML) with distributions.")],
    outer: Annotated[int, typer.Option(min=2, help="Draws of what is not known.")] = 100,
    inner: Annotated[int, typer.Option(min=2, help="Runs with each of them, each with its own luck.")] = 4,
    as_json: Json = False,
) -> None:
    """How much of the spread of results comes from what is not known, and how much from luck.

    Example: clustercost variance scenarios/llama3-405b.yaml --outer 200
    """
    from dataclasses import asdict

    from simulator.montecarlo.variance import variance_shares, variance_table
    from simulator.scenario import load_scenario

    shares = variance_shares(load_scenario(file), outer=outer, inner=inner)
    print(json.dumps([asdict(s) for s in shares], indent=2) if as_json else variance_table(shares))


@app.command()
def tail(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML) with distributions.")],
    column: Annotated[str, typer.Option(help="Result, as in trials.parquet.")] = "time_s",
    above: Annotated[float | None, typer.Option(help="Limit in SI; default: the scenario's deadline or budget.")] = None,
    trials: Annotated[int, typer.Option(min=100, help="Runs, pilot runs included.")] = 2000,
    as_json: Json = False,
) -> None:
    """The chance that a result is above a limit, where plain trials would hardly see it: importance sampling of the inputs.

    Example: clustercost tail scenarios/llama3-405b.yaml --column cost_usd --trials 4000
    """
    from dataclasses import asdict

    from simulator.montecarlo.tails import tail_probability
    from simulator.scenario import load_scenario

    found = tail_probability(load_scenario(file), column, above, trials)
    worth = None if math.isnan(found.worth) else found.worth
    if as_json:
        print(json.dumps({**asdict(found), "worth": worth}, indent=2))
        return
    limit = "the scenario's goal" if above is None else f"{above:g}"
    print(f"P({column} > {limit}) = {found.probability:.3g} ({found.low:.3g} to {found.high:.3g}, 95 %), {found.method} sampling")
    shown = "" if worth is None else f", each worth {worth:,.3g} plain ones"
    print(f"{found.pilot:,} pilot runs and {found.trials:,} more{shown}; effective hits {found.ess:,.0f}")
    if found.warning:
        print(f"warning: {found.warning}", file=sys.stderr)


def main() -> None:
    """Run the command line; turn a `UserError` into one message and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()

"""What efficiency levers do to a run: `levers`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError


@app.command()
def levers(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML).")],
    lever: Annotated[list[str] | None, typer.Option(
        help="layout, precision, hardware, power, site, schedule, sparsity, experts or distillation; may be repeated, in the "
             "order of the waterfall. Default: all, in this order.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of each; default: the scenario's, 200 at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the scenario's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores where it pays.")] = None,
    site: Annotated[str, typer.Option(help="Site of the lever 'site'; default: the cleanest of the catalog.")] = "",
    assume: Annotated[list[str] | None, typer.Option(
        help="Another value for what levers take for granted: NAME=VALUE, a number or a distribution as in scenario files, "
             "such as 'power-limit=0.8' or 'moe-work={lognormal: [0.5, 0.2]}'; may be repeated.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of the waterfalls: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Efficiency levers, each alone and one after the other: days, dollars, MWh and tonnes, with the same luck.

    Example: clustercost levers scenarios/llama3-405b.yaml --lever layout --lever precision --lever site --plot levers.png
    """
    from rich.console import Console
    from rich.progress import Progress

    from simulator.planning.levers import lever_study, read_assumptions
    from simulator.report.gantt import check_plot, save_figure
    from simulator.report.levers import levers_figure, levers_json, levers_view
    from simulator.scenario import load_scenario

    if plot is not None:
        check_plot(plot)
    assumed = read_assumptions(_assignments(assume or []), site)
    scenario = load_scenario(file)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("running", total=None)
        found = lever_study(scenario, lever or (), assumed, trials=trials, seed=seed, workers=workers,
                            progress=lambda chunk, new: bar.advance(task, chunk["trial"].size))
    if plot is not None:
        save_figure(levers_figure(found), plot)
    if as_json:
        print_json(levers_json(found))
    else:
        Console().print(levers_view(found))
    if plot is not None:
        print(f"Picture: {plot}", file=sys.stderr)


def _assignments(texts: list[str]) -> dict[str, Any]:
    """Return names and values of `NAME=VALUE` texts, values as YAML."""
    import yaml

    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"--assume: found {text!r}; allowed: NAME=VALUE, such as 'power-limit=0.8'")
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--assume {name}: found {value!r}, which is no YAML; allowed: a number such as 0.4, or "
                            "{lognormal: [0.4, 0.2]}") from error
    return found

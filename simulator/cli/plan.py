"""Search for the best choice: `plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app
from simulator.errors import UserError


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

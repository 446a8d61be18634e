"""Where the spread comes from and how far it reaches: `variance`, `tail`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json


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
    if as_json:
        print_json([asdict(s) for s in shares])
    else:
        print(variance_table(shares))


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
        print_json({**asdict(found), "worth": worth})
        return
    limit = "the scenario's goal" if above is None else f"{above:g}"
    print(f"P({column} > {limit}) = {found.probability:.3g} ({found.low:.3g} to {found.high:.3g}, 95 %), {found.method} sampling")
    shown = "" if worth is None else f", each worth {worth:,.3g} plain ones"
    print(f"{found.pilot:,} pilot runs and {found.trials:,} more{shown}; effective hits {found.ess:,.0f}")
    if found.warning:
        print(f"warning: {found.warning}", file=sys.stderr)

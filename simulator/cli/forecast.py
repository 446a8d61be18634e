"""What frontier training will take: `forecast`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError


@app.command()
def forecast(
    until: Annotated[int, typer.Option(help="Last year to forecast.")] = 2030,
    origin: Annotated[int | None, typer.Option("--from", help="Use only what was known at the end of this year.")] = None,
    law: Annotated[Path | None, typer.Option(help="Laws in place of the catalog's: YAML, in its format.")] = None,
    trials: Annotated[int, typer.Option(min=100, max=1_000_000, help="Draws of the laws.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed.")] = 1,
    budget: Annotated[str | None, typer.Option(help="When does a run cost less than this, such as '100 k USD'?")] = None,
    run: Annotated[str, typer.Option(help="The published run that --budget asks about.")] = "GPT-3 175B",
    backtest: Annotated[bool, typer.Option("--backtest", help="Show every row of the backtest.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Picture to write as well: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Forecast cost, power and carbon of frontier training by year from growth laws, and test them on published runs.

    Example: clustercost forecast --from 2022 --until 2026 --backtest --plot forecast.png
    """
    from simulator.planning import backtest as tested
    from simulator.planning import forecast as planned
    from simulator.planning.frontier import published_runs, run_named
    from simulator.planning.growth import read_laws
    from simulator.report.forecast import Affordable, forecast_figure, forecast_json, forecast_view
    from simulator.report.gantt import check_plot, save_figure
    from simulator.units import QuantityError, parse_quantity

    if plot is not None:
        check_plot(plot)
    start = planned.LAST if origin is None else origin
    planned.check_years(start, until)
    own = read_laws(str(law)) if law is not None else {}
    runs = published_runs()
    asked = run_named(run, runs)
    try:
        budget_usd = None if budget is None else parse_quantity(budget, "money")
    except QuantityError as error:
        raise UserError(f"--budget: {error}") from None
    if budget_usd is not None and budget_usd <= 0.0:
        raise UserError(f"--budget: found {budget!r}; allowed: more than 0 USD")
    found = planned.forecast(start, until, trials=trials, seed=seed, own=own)
    affordable = None
    if budget_usd is not None:
        affordable = Affordable(asked.name, budget_usd, planned.year_below(found.trends, asked, budget_usd))
    predictions = tested.backtest(origin, trials=trials, seed=seed, own=own)
    if plot is not None:
        save_figure(forecast_figure(found, runs), plot)
    if as_json:
        print_json(forecast_json(found, predictions, affordable))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 170).print(
            forecast_view(found, predictions, rows=backtest, origin_given=origin is not None, affordable=affordable))
    if plot is not None:
        print(f"Picture: {plot}", file=sys.stderr)

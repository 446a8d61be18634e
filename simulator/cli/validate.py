"""Compare with what was published: `validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import Json, app


@app.command()
def validate(
    what: Annotated[str, typer.Argument(
        help="throughput; energy: energy, carbon and cost of runs; serving: tokens/s and J/token.")] = "throughput",
    cases: Annotated[Path | None, typer.Option(
        help="CSV to predict: training configurations, published energy, or measured serving.")] = None,
    scenarios: Annotated[Path | None, typer.Option(
        help="Folder of scenarios: compare whole runs as well. With energy: that of the rows' runs; default: scenarios.")] = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o",
        help="With --cases, energy or serving: predictions as CSV. With --scenarios: the validation document.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Scatter plot of the rows: .png, .svg or .pdf.")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit the efficiencies again, and leave out sources.")] = False,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each run.")] = 100,
    as_json: Json = False,
) -> None:
    """Compare step times and whole runs, energy, or serving with what was published; every row is shown, the bad ones too.

    Example: clustercost validate energy --cases simulator/validation/data/energy.csv -o predictions.csv
    """
    from simulator.validation import command

    command.check_what(what)
    if what == "energy":
        command.predict_energy_rows(cases, scenarios, output, as_json)
    elif what == "serving" and calibrate:
        command.show_serving_calibration(cases, as_json)
    elif what == "serving":
        command.predict_serving_rows(cases, output, as_json)
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

"""What `clustercost validate` does: tables to stdout, files whole or not at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from simulator.errors import UserError, unknown_name
from simulator.files import check_picture, write_whole

WHAT = ("throughput", "energy", "serving")


def check_what(what: str) -> None:
    """Raise UserError where there is nothing of that name to validate."""
    if what not in WHAT:
        raise UserError(f"validate: {unknown_name('validation', what, WHAT)}")


def predict_energy_rows(cases: Path | None, scenarios: Path | None, output: Path | None, as_json: bool) -> None:
    """Predict the energy, carbon and cost of the rows of a CSV, or of the shipped ones: a table, and a CSV where asked for."""
    from simulator.validation.energy import predict_energy, predictions_csv, predictions_json
    from simulator.validation.energy_tables import energy_view

    if scenarios is not None and not scenarios.is_dir():
        raise UserError(f"{scenarios}: no such folder of scenarios")
    results = predict_energy(cases, scenarios or Path("scenarios"))
    if output is not None:
        write_whole(output, lambda file: file.write_text(predictions_csv(results), encoding="utf-8"))
    if as_json:
        print(json.dumps(predictions_json(results), indent=2))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 200).print(energy_view(results))
    if output is not None:
        print(f"wrote {output}", file=sys.stderr)


def predict_serving_rows(cases: Path | None, output: Path | None, as_json: bool) -> None:
    """Predict the serving rows of a CSV, or the shipped ones: a table, and a CSV where asked for."""
    from simulator.validation.serving import predict_serving, predictions_csv, predictions_json
    from simulator.validation.serving_tables import queries_view, serving_view

    results = predict_serving(cases)
    if output is not None:
        write_whole(output, lambda file: file.write_text(predictions_csv(results), encoding="utf-8"))
    if as_json:
        print(json.dumps(predictions_json(results), indent=2))
    else:
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(serving_view(results))
        if cases is None:
            console.print(queries_view())
    if output is not None:
        print(f"wrote {output}", file=sys.stderr)


def show_serving_calibration(cases: Path | None, as_json: bool) -> None:
    """Print the constants fitted to the rows of a CSV that are marked `fitted`, or to the shipped ones, and errors held out."""
    from simulator.validation.serving_fit import calibration_of
    from simulator.validation.serving_tables import calibration_json, calibration_markdown

    found = calibration_of(cases)
    print(json.dumps(calibration_json(found), indent=2) if as_json else calibration_markdown(found))


def predict_cases(cases: Path, output: Path | None, as_json: bool) -> None:
    """Predict the rows of a CSV: as CSV to a file, or to stdout; what was chosen for open sizes, and errors, to stderr."""
    from simulator.validation.throughput import predictions, predictions_csv, remarks

    lines = predictions(cases)
    if output is not None:
        write_whole(output, lambda file: file.write_text(predictions_csv(lines), encoding="utf-8"))
        print(f"wrote {output}")
    elif as_json:
        print(json.dumps(lines, indent=2))
    else:
        print(predictions_csv(lines), end="")
    print(remarks(lines), file=sys.stderr)


def write_document(scenarios: Path | None, output: Path, trials: int) -> None:
    """Write the validation document, and its picture beside it."""
    from simulator.validation.document import validation_document

    if scenarios is None:
        raise UserError("--output needs --cases FILE or --scenarios FOLDER")
    text = validation_document(scenarios, trials)
    write_scatter(None, output.with_suffix(".png"))
    write_whole(output, lambda file: file.write_text(text, encoding="utf-8"))
    print(f"wrote {output}")


def write_scatter(cases: Path | None, plot: Path) -> None:
    """Write the scatter plot of the rows of a CSV, or of the shipped ones."""
    kind = check_picture(plot)
    from simulator.validation.scatter import save_scatter
    from simulator.validation.throughput import read_cases

    found = read_cases(cases)
    write_whole(plot, lambda file: save_scatter(found, file, kind))
    print(f"wrote {plot}")


def show_calibration(cases: Path | None, as_json: bool) -> None:
    """Print the efficiencies fitted to the rows of a CSV, or to the shipped ones, with errors fitted and held out."""
    from simulator.validation.calibration import fit_all
    from simulator.validation.document import calibration_table
    from simulator.validation.throughput import read_cases, statistics

    fits = fit_all(read_cases(cases))
    if as_json:
        print(json.dumps([{"generation": fit.generation, "era": fit.era.name,
                           **{name: getattr(fit.era, name) for name in fit.fitted}, "at_bounds": fit.at_bounds,
                           "statistics": statistics(fit.errors), "held_out": fit.held_out} for fit in fits], indent=2))
    else:
        print(calibration_table(fits))


def show_errors(scenarios: Path | None, trials: int, as_json: bool) -> None:
    """Print every row's error, the statistics of every group, and whole runs where a folder of scenarios is given."""
    from simulator.validation.calibration import errors
    from simulator.validation.document import run_table
    from simulator.validation.runs import compare_runs
    from simulator.validation.throughput import groups, pair_table, read_cases, row_table, statistics, summary_table

    rows = read_cases()
    found = errors(rows)
    outcomes = compare_runs(scenarios, trials) if scenarios is not None else []
    if as_json:
        print(json.dumps({
            "step_times": {case.id: float(error) for case, error in zip(rows, found, strict=True)},
            "statistics": {name: statistics(found[mine]) for name, mine in groups(rows).items()},
            "runs": [{**vars(o), "error": o.error} for o in outcomes]}, indent=2))
        return
    print("\n\n".join([row_table(rows), pair_table(rows), *([run_table(outcomes)] if outcomes else []),
                       summary_table(rows, found)]))

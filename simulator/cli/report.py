"""Hand results to others: `clustercost report`."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.app import app


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Results folders of `clustercost run`; of several, the first in full, all "
                                                       "side by side.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .html, .pdf or .md.")] = Path("report.html"),
) -> None:
    """Write the report of a study for those who decide: answer, range, drivers, inputs, sources, validation, provenance.

    Example: clustercost report results/llama -o report.html
    """
    from simulator.report.document import write_report

    gc.disable()  # a short process that makes millions of objects: looking for dead ones takes a tenth of its time
    write_report(results, output)
    print(f"Report: {output}", file=sys.stderr)

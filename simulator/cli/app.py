"""The application that commands are registered with."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  help="What it costs to train a large model on a cluster: time, energy, carbon and dollars, with their "
                       "uncertainty.\n\nExample: clustercost run scenarios/llama3-405b.yaml")

Json = Annotated[bool, typer.Option("--json", help="Print the same as JSON (SI units).")]

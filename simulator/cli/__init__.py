"""The command line: `clustercost`. Results go to stdout, progress and errors to stderr; bad input exits with 2."""

# ruff: noqa: F401, I001
import sys

# Imported in the order in which --help lists their commands.
import simulator.cli.run
import simulator.cli.look
import simulator.cli.plan
import simulator.cli.levers
import simulator.cli.compare
import simulator.cli.uncertainty
import simulator.cli.sensitivity
import simulator.cli.forecast
import simulator.cli.validate
import simulator.cli.files
from simulator.cli.app import app
from simulator.errors import UserError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; turn a `UserError` into one message and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)

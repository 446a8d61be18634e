"""The command line: `clustercost`. Results go to stdout, progress and errors to stderr; exit codes are in docs/running.md."""

# ruff: noqa: F401, I001
import sys

# Imported in the order in which --help lists their commands.
import simulator.cli.run
import simulator.cli.look
import simulator.cli.plan
import simulator.cli.serve
import simulator.cli.threats
import simulator.cli.lifecycle
import simulator.cli.levers
import simulator.cli.compare
import simulator.cli.sweep
import simulator.cli.uncertainty
import simulator.cli.sensitivity
import simulator.cli.forecast
import simulator.cli.report
import simulator.cli.validate
import simulator.cli.files
import simulator.cli.doctor
from simulator.cli.app import app, run_app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run_app(sys.argv[1:]))

"""The application that commands are registered with, and what holds for all: --quiet, --verbose, --version, exit codes."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr
from time import monotonic
from typing import Annotated, Any

import typer

from simulator.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  help="What it costs to train a large model on a cluster: time, energy, carbon and dollars, with their "
                       "uncertainty.\n\nExample: clustercost run scenarios/llama3-405b.yaml",
                  epilog="Exit codes: 0 fine, 1 a check failed, 2 bad input, 130 stopped by Ctrl-C.")

Json = Annotated[bool, typer.Option("--json", help="Print the same as JSON (SI units).")]

log = logging.getLogger("clustercost")
_QUIET, _VERBOSE = ("--quiet", "-q"), ("--verbose", "-v")


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that JSON has not (not finite: unknown, or without end) are null."""
    def plain(found: Any) -> Any:
        if isinstance(found, dict):
            return {key: plain(item) for key, item in found.items()}
        if isinstance(found, list | tuple):
            return [plain(item) for item in found]
        return None if isinstance(found, float) and not math.isfinite(found) else found

    print(json.dumps(plain(value), indent=2, allow_nan=False))


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"clustercost {version('clustercost')}")
        raise typer.Exit


@app.callback()
def _options(
    quiet: Annotated[bool, typer.Option(*_QUIET, help="Print results and errors only. Before or after the command.")] = False,
    verbose: Annotated[bool, typer.Option(*_VERBOSE, help="Say what is done: files, folders, workers, time.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True,
                                          help="Print the version.")] = False,
) -> None:
    """Take what `run_app` has acted upon."""


def run_app(words: list[str]) -> int:
    """Run the command line and return its exit code; a `UserError` becomes one message."""
    words, quiet, verbose = _common(words)
    if verbose:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        log.setLevel(logging.INFO)
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _guarded(command.callback, quiet)
            command.epilog = command.epilog or "Options of all commands: -q, -v; see clustercost --help."
    try:
        app(words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("error: not enough memory for this; try fewer accelerators, trials or processes", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _common(words: list[str]) -> tuple[list[str], bool, bool]:
    """Return the words without the options of all commands, wherever they stand (up to `--`), and whether these were there."""
    end = words.index("--") if "--" in words else len(words)
    rest = [word for word in words[:end] if word not in (*_QUIET, *_VERBOSE)]
    return rest + words[end:], any(word in _QUIET for word in words[:end]), any(word in _VERBOSE for word in words[:end])


def _guarded(callback: Callable[..., Any], quiet: bool) -> Callable[..., Any]:
    """Return a command that keeps quiet where asked, ends with 130 after Ctrl-C, and with 0 where nobody reads on."""
    @functools.wraps(callback)
    def run(*args: Any, **options: Any) -> None:
        begun = monotonic()
        try:
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere) if quiet else nullcontext():
                callback(*args, **options)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head`: what is left in the buffer goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            raise typer.Exit(130) from None
        log.info("took %.1f s", monotonic() - begun)
    return run

"""What must hold for any file: it loads and runs, or ends in a `UserError`, within a time limit."""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from simulator.errors import UserError


class TooSlow(BaseException):
    """The time limit; no `Exception`, so that nothing on the way takes it for one of its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow after some seconds of processor time; within compiled code only once it returns."""
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def open_and_run(file: Path) -> str:
    """Return how far a file came: "refused", "loaded" (its step cannot be estimated), "estimated" (it cannot run) or "ran".

    Raises whatever is no `UserError`, and AssertionError for a message that shows the program's inside.
    """
    from simulator.api import with_monte_carlo
    from simulator.montecarlo import run_queue_study, run_study
    from simulator.performance import estimate_steps
    from simulator.scenario import Scenario, load_file
    from simulator.scenario.lifecycle import load_lifecycle
    from simulator.scenario.loading import load_serving

    reached = "refused"
    try:
        if re.search(rb"^months:", file.read_bytes(), re.MULTILINE):  # life-cycle files name a serving file
            load_lifecycle(file)
            return "loaded"  # their runs, and those of a fleet, are not fuzzed
        if b"serving:" in file.read_bytes():
            load_serving(file)
            return "loaded"
        scenario = load_file(file)
        reached = "loaded"
        one = with_monte_carlo(scenario, 1, None)
        if isinstance(one, Scenario):
            estimate_steps(one.central())
            reached = "estimated"
            run_study(one).summary()
        else:
            run_queue_study(one).summary()
        reached = "ran"
    except UserError as error:
        message = str(error)
        for word in ("Traceback", "pydantic", "object at 0x", "validation error", "<mapping>"):
            assert word not in message.replace(str(file), ""), f"a message that shows {word!r}: {message}"
        assert len(message) < 20_000, "a message without end"
    return reached


def failure(file: Path, limit_s: float) -> tuple[str, str]:
    """Return how far a file came and, where something is wrong, what: the exception and where it was raised."""
    try:
        with time_limit(limit_s):
            return open_and_run(file), ""
    except (Exception, TooSlow, RecursionError) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/fuzz/" not in f.filename]
        own = [f for f in frames if "/simulator/" in f.filename or "/kernels/" in f.filename] or frames
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else "?"
        return "failed", f"{type(error).__name__} at {where}: {str(error)[:200]}"

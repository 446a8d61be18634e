"""How far a study is while it runs: a bar on the terminal (none in pipes), a line in a notebook (none in scripts)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from simulator.montecarlo.chunks import Columns
    from simulator.scenario import QueueScenario, Scenario, ServingScenario


_EVERY_S = 0.25  # at least, from one writing of a line to the next


def run_with_progress(scenario: Scenario | QueueScenario | ServingScenario, **how: Any) -> Any:
    """Run a study under a progress bar, which says when kernels are compiled first; `how` as for `run_study`."""
    from simulator.montecarlo import run_queue_study, run_study
    from simulator.montecarlo.serving import run_serve_study
    from simulator.scenario import QueueScenario, Scenario

    kernels, training = not isinstance(scenario, QueueScenario), isinstance(scenario, Scenario)  # a queue has no kernels
    run: Any = run_study if training else run_serve_study if kernels else run_queue_study
    logging.getLogger("clustercost").info(
        "%s trials of %r, seed %d, in %s%s", f"{scenario.monte_carlo.trials:,}", scenario.name, scenario.monte_carlo.seed,
        "a Dask cluster" if how.get("dask") else f"{how.get('workers') or 'as many as pay'} processes",
        f", to {how['folder']}" if how.get("folder") else "")
    with progress_bar(scenario.monte_carlo.trials, kernels=kernels, median=kernels == training) as progress:
        return run(scenario, progress=progress, **how)


@contextmanager
def progress_bar(total: int | None = None, *, kernels: bool = True,
                 median: bool = True) -> Iterator[Callable[[Columns, bool], None]]:
    """Show a bar on stderr, none in pipes; yield what a study calls with its chunks.

    Parameters
    ----------
    total : int, optional
        Trials; None where it is not known.
    kernels : bool
        What runs needs compiled kernels.
    median : bool
        Show the running P50 of their times.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from kernels import is_compiled

    console = Console(stderr=True)
    compiled = not kernels or is_compiled()
    first = "running" if compiled else "compiling kernels (first run only; about half a minute)"
    if not console.is_terminal and not compiled:
        console.print(f"{first} ...", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TextColumn("{task.fields[left]}"), TextColumn("{task.fields[median]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(first, total=total, rate="", left="", median="")
        seen = Seen(total)

        def progress(chunk: Columns, new: bool) -> None:
            seen.add(chunk, new)
            bar.update(task, completed=seen.trials, description="running", rate=seen.rate(), left=seen.left(),
                       median=seen.median() if median else "")

        yield progress


@contextmanager
def notebook_progress(total: int | None = None, *, median: bool = False) -> Iterator[NotebookLine | None]:
    """Show a line below the cell of a notebook; yield what a study calls with its chunks, None outside of notebooks.

    Parameters
    ----------
    total : int, optional
        Trials; None where it is not known.
    median : bool
        Show the running P50 of their times.
    """
    if not in_notebook():
        yield None
        return
    from kernels import is_compiled

    line = NotebookLine(total, median=median)
    line.show("running" if is_compiled() else "compiling kernels (first run only; about half a minute)")
    try:
        yield line
    finally:
        line.end()


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this, and so shows HTML."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


class NotebookLine:
    """A line of a notebook that is written over and over: a bar of HTML itself, which needs no widgets and no extension."""

    def __init__(self, total: int | None, *, median: bool = False) -> None:
        self._seen, self._median, self._handle = Seen(total), median, None
        self._shown_s, self._start_s = -_EVERY_S, monotonic()

    def __call__(self, chunk: Columns, new: bool) -> None:
        """Take in a chunk of a study."""
        self._seen.add(chunk, new)
        self._update()

    def count(self, runs: int) -> None:
        """Take in runs of which only the number is told."""
        self._seen.count(runs, True)
        self._update()

    def _update(self) -> None:
        if monotonic() - self._shown_s >= _EVERY_S:
            self._shown_s = monotonic()
            self.show(", ".join(filter(None, (f"{self._seen.trials:,} runs", self._seen.rate(), self._seen.left(),
                                              self._seen.median() if self._median else ""))))

    def show(self, text: str) -> None:
        """Write the line."""
        from html import escape

        from IPython.display import HTML, display

        total, done = self._seen.total, self._seen.trials
        bar = f"<progress value='{min(done, total)}' max='{total}'></progress> " if total and done < total else ""
        shown: Any = HTML(f"<div style='text-align:left;opacity:0.7'>{bar}{escape(text)}</div>")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def end(self) -> None:
        """Write what was run, in which time."""
        runs = f"{self._seen.trials:,} runs in " if self._seen.trials else ""
        self.show(f"{runs}{monotonic() - self._start_s:.1f} s")


class Seen:
    """Trials that came back: how many, how fast, and the median of their time. Those read from a folder have no speed."""

    def __init__(self, total: int | None) -> None:
        self.total, self.trials = total, 0
        self._new, self._start_s = 0, monotonic()
        self._days: list[np.ndarray] = []

    def add(self, chunk: Columns, new: bool) -> None:
        """Add a chunk; time counts from the first that was run now, which may have compiled kernels."""
        self.count(next(iter(chunk.values())).size, new)
        if "time_s" in chunk:
            self._days.append(chunk["time_s"] / 86400.0)

    def count(self, runs: int, new: bool) -> None:
        """Add runs of which only the number is known."""
        self.trials += runs
        if new and self._new == 0:
            self._start_s = monotonic()
        self._new += runs if new else 0

    def speed(self) -> float:
        """Return trials a second, 0 while it is not known."""
        spent_s = monotonic() - self._start_s
        return self._new / spent_s if self._new > 1 and spent_s > 0.1 else 0.0

    def rate(self) -> str:
        """Return the speed to show."""
        speed = self.speed()
        return f"{speed:.3g}/s" if speed else ""

    def left(self) -> str:
        """Return the time that remains to show."""
        if self.total is None or not self.speed():
            return ""
        seconds = round((self.total - self.trials) / self.speed())
        hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
        return f"{hours}:{minutes:02d}:{rest:02d} left"

    def median(self) -> str:
        """Return the running P50 to show."""
        if not self._days:
            return ""
        self._days = [np.concatenate(self._days)]
        return f"P50 {np.nanmedian(self._days[0]):.1f} days"

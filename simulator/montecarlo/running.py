"""A study as it runs: its chunks are collected, written and checked against targets, wherever they run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from kernels import is_compiled
from simulator.montecarlo.chunks import Columns, Part, RunChunk, cut, joined, measured, missing
from simulator.montecarlo.convergence import Target, check_targets, counts, parse_target, reached
from simulator.montecarlo.executors import Make, Workers, cores, processes, run_chunks, worth
from simulator.montecarlo.folder import StudyFolder
from simulator.scenario import MonteCarlo, QueueScenario

Progress = Callable[[Columns, bool], None]
_MANY = 300  # trials from which workers that were asked for are started before it is known how long a trial takes


class HasTrials(Protocol):
    """What is run: a scenario, a jobs file, or several scenarios (`Points`)."""

    @property
    def monte_carlo(self) -> MonteCarlo:
        """How many trials, from which seed."""


@dataclass(frozen=True)
class Outcome:
    """What a study gave.

    Attributes
    ----------
    tables : dict of tables
        `trials`: a row a trial, in order; what else trials of its kind give.
    interrupted : bool
        Stopped by Ctrl-C.
    convergence : list of dict
        For each target what was asked and reached.
    """

    tables: Part
    interrupted: bool = False
    convergence: list[dict[str, Any]] = field(default_factory=list)


class _Collector:
    """Keeps finished chunks; knows from the trials 0, 1, 2, ... without a gap whether all targets are met."""

    def __init__(self, targets: Sequence[Target], most: int, folder: StudyFolder | None, progress: Progress | None) -> None:
        self.targets, self.folder, self.progress = targets, folder, progress
        self.parts: dict[int, tuple[range, Part]] = {}
        self.enough: int | None = None  # trials at which all targets were met
        self.stop = False  # Ctrl-C was pressed while a chunk ran
        self._whole = 0  # trials without a gap
        self._counts = counts(most)
        self._next: int | None = next(self._counts)

    def keep(self, chunk: range, part: Part, *, new: bool = True) -> bool:
        """Keep the tables of a chunk; return whether the study is over."""
        if self.targets and not self.parts:
            check_targets(self.targets, part["trials"])
        if new and self.folder is not None:
            self.folder.write(chunk, part)
        self.parts[chunk.start] = chunk, part
        if self.progress is not None:
            self.progress(part["trials"], new)
        if self.targets:
            self._check()
        if self.stop and self.enough is None:
            raise KeyboardInterrupt
        return self.enough is not None

    def uninterrupted(self, run: RunChunk) -> RunChunk:
        """Return a function that ends its chunk before Ctrl-C stops the study; pressed again, it stops at once.

        Within compiled code an exception out of nowhere may be lost, or end the process with a fault of memory.
        """
        def note(*_: object) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        def held(chunk: range) -> Part:
            if threading.current_thread() is not threading.main_thread():
                return run(chunk)
            before = signal.signal(signal.SIGINT, note)
            try:
                return run(chunk)
            finally:
                signal.signal(signal.SIGINT, before)

        return held

    def _check(self) -> None:
        while self._whole in self.parts:
            self._whole = self.parts[self._whole][0].stop
        while self.enough is None and self._next is not None and self._next <= self._whole:
            if all(found["met"] for found in reached(self._first(self._next), self.targets)):
                self.enough = self._next
            self._next = next(self._counts, None)

    def _first(self, count: int) -> Columns:
        names = {target.column for target in self.targets}
        tables = [part["trials"] for chunk, part in self._in_order() if chunk.start < count]
        return {name: np.concatenate([table[name] for table in tables])[:count] for name in names}

    def _in_order(self) -> Iterable[tuple[range, Part]]:
        return (self.parts[start] for start in sorted(self.parts))

    def done(self) -> list[range]:
        return [chunk for chunk, _ in self.parts.values()]

    def tables(self) -> Part:
        """Return the tables of all chunks, each in order of trial, up to the trial at which it was enough."""
        parts = [part for _, part in self._in_order()]
        tables = {name: joined([part.get(name, {}) for part in parts]) for name in dict.fromkeys(n for p in parts for n in p)}
        if self.enough is None:
            return tables
        return {name: {key: values[table["trial"] < self.enough] for key, values in table.items()} if table else table
                for name, table in tables.items()}


def run_parts(make: Make, scenario: HasTrials, here: RunChunk, *, workers: int | None = 1,
              dask: bool | str = False, folder: StudyFolder | None = None, until: Sequence[str] = (),
              progress: Progress | None = None) -> Outcome:
    """Run the trials of a study that are not in its folder yet; parameters as for `run_study`.

    Parameters
    ----------
    make : callable
        `scenario` -> function that runs a chunk, found by other processes.
    here : callable
        What `make` would return, at hand in this process.
    """
    targets = [parse_target(text) for text in (folder.until if folder is not None else until)]
    found = _Collector(targets, scenario.monte_carlo.trials, folder, progress)
    interrupted = False
    if dask:
        from simulator.montecarlo.dask_executor import check_dask

        check_dask()
    try:
        for chunk, part in folder.parts() if folder is not None else ():
            found.keep(chunk, part, new=False)
        if found.enough is None:
            _run_rest(make, scenario, found.uninterrupted(here), found, workers, dask)
    except KeyboardInterrupt:
        interrupted = found.enough is None
    tables = found.tables()
    return Outcome(tables, interrupted, reached(tables["trials"], targets) if targets and found.parts else [])


def _run_rest(make: Make, scenario: HasTrials, here: RunChunk, found: _Collector, workers: int | None,
              dask: bool | str) -> None:
    """Run what is missing: the first trials here, to know how long one takes, then all; workers may start meanwhile."""
    compiled = isinstance(scenario, QueueScenario) or is_compiled()  # a queue has no kernels
    gaps = missing(found.done(), scenario.monte_carlo.trials)
    left = sum(len(gap) for gap in gaps)
    if compiled and left >= _MANY and (dask or (workers or 1) > 1):
        pool = _pool(make, scenario, workers or cores(), dask)
        slots = pool.slots if pool is not None else _one

        def chunks() -> Iterator[range]:
            rest, each_s, enough = measured(here, gaps, found.keep, compiled=compiled)
            if not enough:
                yield from cut(rest, each_s, slots)

        run_chunks(pool, here, chunks(), found.keep)
        return
    gaps, each_s, enough = measured(here, gaps, found.keep, compiled=compiled)
    if enough or not gaps:
        return
    count = workers or worth(each_s * sum(len(gap) for gap in gaps))
    pool = _pool(make, scenario, count, dask)
    run_chunks(pool, here, cut(gaps, each_s, pool.slots if pool is not None else _one), found.keep)


def _one() -> int:
    return 1


def _pool(make: Make, scenario: HasTrials, count: int, dask: bool | str) -> Workers | None:
    """Return the workers that were asked for; None where this process is all."""
    if not dask:
        return processes(make, scenario, count) if count > 1 else None
    from simulator.montecarlo.dask_executor import on_dask

    return on_dask(make, scenario, address=dask if isinstance(dask, str) else None, count=count)

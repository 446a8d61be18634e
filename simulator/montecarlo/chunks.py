"""Chunks of trials: how many trials each has, which are still to run, and their results as columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

# A table in memory: name -> values, all of one length. A part is what a chunk of trials gave: its tables by name; `trials` has
# a row a trial, in order.
Columns = dict[str, np.ndarray]
Part = dict[str, Columns]
RunChunk = Callable[[range], Part]

SECONDS = 1.0  # of work in a chunk: far above the cost of handing one over, far below what one minds to lose
MEASURE_S = 0.2  # of trials that are run first, to know how long one takes
_SLOW_S = 2.0  # of a first trial, above which it is the trial that is slow, not the start
_LEAST_S = 0.05
_AHEAD = 6  # chunks that remain for each worker at any time, so that all end at about the same time
_MANY = 64  # workers; above, chunks are longer, so that those that come back a second do not grow


def columns_of(rows: Sequence[dict[str, Any]]) -> Columns:
    """Return rows that have the same names as columns."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def joined(tables: Sequence[Columns]) -> Columns:
    """Return tables one below the other; NaN where one has not a column of another."""
    tables = [table for table in tables if table]
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: np.concatenate([table[name] if name in table else np.full(len(next(iter(table.values()))), np.nan)
                                  for table in tables]) for name in names}


def missing(done: Iterable[range], count: int) -> list[range]:
    """Return the trials below `count` that no chunk of `done` has, as ranges in order."""
    found, start = [], 0
    for chunk in sorted(done, key=lambda c: c.start):
        if chunk.start > start:
            found.append(range(start, min(chunk.start, count)))
        start = max(start, chunk.stop)
    return [*found, range(start, count)] if start < count else found


def measured(run: RunChunk, gaps: list[range], keep: Callable[[range, Part], bool], *,
             compiled: bool) -> tuple[list[range], float, bool]:
    """Run the first trials here: one to warm up, then more and more for a moment.

    What is compiled on first use lies in the cache after it, so that no worker compiles it again. Where everything is compiled
    before, one slow trial says enough.

    Returns
    -------
    left : list of range
        What is still to run.
    each_s : float
        Time of a trial.
    enough : bool
        `keep` said so.
    """
    left, size, taken_s, each_s, warm = list(gaps), 1, 0.0, 0.0, False
    while left and (not warm or taken_s < MEASURE_S):
        chunk, rest = left[0][:size], left[0][size:]
        left[:1] = [rest] if rest else []
        start_s = perf_counter()
        part = run(chunk)
        spent_s = perf_counter() - start_s
        each_s = spent_s / len(chunk)
        if keep(chunk, part):
            return left, each_s, True
        if warm or (compiled and spent_s > _SLOW_S):
            taken_s += spent_s
            size *= 2
        warm = True
    return left, each_s, False


def cut(gaps: Sequence[range], each_s: float, slots: Callable[[], int]) -> Iterator[range]:
    """Yield chunks of about a second of work, shorter towards the end; `slots` is how many run at a time when one is taken."""
    left = sum(len(gap) for gap in gaps)
    for gap in gaps:
        rest = gap
        while rest:
            workers = max(1, slots())
            seconds = SECONDS * max(1.0, workers / _MANY)
            most = _trials(seconds, each_s)
            size = max(1, min(most, max(left // (_AHEAD * workers), _trials(_LEAST_S, each_s))))
            yield rest[:size]
            rest, left = rest[size:], left - len(rest[:size])


def _trials(seconds: float, each_s: float) -> int:
    return max(1, math.floor(seconds / each_s)) if each_s > 0.0 else 1

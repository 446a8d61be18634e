"""Seconds of a run by state, from which all sums are derived; and the intervals themselves where a timeline is wanted."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class State(IntEnum):
    """What the job's accelerators do in an interval; `stretch` of the batch schedule is kept beside it."""

    PRODUCTIVE = 0  # work that is in the final model, stragglers included (they are split off at settlement)
    CHECKPOINT_STALL = 1  # stalled while a checkpoint is taken
    CHECKPOINT_SLOWDOWN = 2  # lost to writing a checkpoint beside computing
    LOST = 3  # work done and lost to a failure
    DETECT = 4  # failed, not yet known
    WAIT_FOR_SPARES = 5  # too few healthy nodes
    RESTART = 6  # replace, initialise, load


STATES = tuple(state.name.lower() for state in State)


class Ledger:
    """Seconds by state and stretch, and the intervals themselves where asked for.

    A running interval is booked when it ends: what a checkpoint holds as productive, the rest as lost.
    """

    def __init__(self, stretches: int, *, keep_intervals: bool = False) -> None:
        self.seconds = np.zeros((len(State), stretches))
        self.intervals: list[tuple[float, float, str, int]] | None = [] if keep_intervals else None
        self._rows = self.seconds.tolist()  # Python floats: several times faster to add to, one at a time

    def add(self, state: State, stretch: int, seconds: float) -> None:
        """Book seconds (also negative ones, to move them) to a state."""
        self._rows[state][stretch] += seconds

    def note(self, start_s: float, end_s: float, state: str, stretch: int) -> None:
        """Keep an interval for the timeline, if this trial keeps one."""
        if self.intervals is not None and end_s > start_s:
            self.intervals.append((start_s, end_s, state, stretch))

    def totals(self, state: State) -> list[float]:
        """Return the seconds booked to a state so far, by stretch."""
        return self._rows[state]

    def close(self) -> np.ndarray:
        """Return the seconds, shape (states, stretches)."""
        self.seconds[:] = self._rows
        return self.seconds

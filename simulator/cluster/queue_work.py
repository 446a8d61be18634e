"""What a job has done after a while: closed forms of computing with checkpoints, and the split of a time by what it was."""

from __future__ import annotations

import math
from typing import NamedTuple

CATEGORIES = ("productive", "lost", "checkpoint", "overhead")


class Rhythm(NamedTuple):
    """Computing for `interval_s`, then a checkpoint that stalls for `stall_s`, and again; infinity: no checkpoints."""

    interval_s: float = math.inf
    stall_s: float = 0.0

    def span_s(self, work_s: float) -> float:
        """Return the time that `work_s` of computing takes; none is written at the end."""
        if math.isinf(self.interval_s):
            return work_s
        return work_s + max(0, math.ceil(work_s / self.interval_s) - 1) * self.stall_s

    def worked_s(self, elapsed_s: float) -> float:
        """Return the work done in a time of computing and checkpoints, s."""
        if math.isinf(self.interval_s):
            return elapsed_s
        cycles, rest_s = divmod(elapsed_s, self.interval_s + self.stall_s)
        return cycles * self.interval_s + min(rest_s, self.interval_s)

    def durable_s(self, elapsed_s: float) -> float:
        """Return the work that a restart would find, s."""
        if math.isinf(self.interval_s):
            return 0.0
        return elapsed_s // (self.interval_s + self.stall_s) * self.interval_s


class Split(NamedTuple):
    """Seconds by `CATEGORIES`; they sum to the time that was split."""

    productive: float
    lost: float
    checkpoint: float
    overhead: float


def split(elapsed_s: float, overhead_s: float, kept_s: float, left_s: float, rhythm: Rhythm) -> Split:
    """Return a time split into the four categories.

    Parameters
    ----------
    elapsed_s : float
        Time since the segment began: `overhead_s` of detection and restart, then computing.
    overhead_s : float
        See above; a segment may end within it.
    kept_s : float
        Work of the whole segment that was not lost in the end.
    left_s : float
        Work that was left to do when the segment began.
    rhythm : Rhythm
        Of the job's checkpoints.
    """
    computing_s = max(0.0, elapsed_s - overhead_s)
    worked_s = min(rhythm.worked_s(computing_s), left_s)
    productive_s = min(worked_s, kept_s)
    return Split(productive_s, worked_s - productive_s, computing_s - worked_s, min(elapsed_s, overhead_s))

"""What a timeline tells: intervals of one trial, and the interruptions that are read off them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from simulator.montecarlo import Study

RUNNING = "running"
# How a state is called for people, in the order of legends.
LABELS = {
    RUNNING: "running", "checkpoint_stall": "saving before a stop", "network_stall": "network stall", "detect": "detecting",
    "wait_for_spares": "waiting for spares", "restart": "restarting", "maintenance": "maintenance",
    "curtailed": "paused by rule or cap",
}
WINDOW, GROWTH, PAUSE = "maintenance window", "growth", "pause by rule or cap"
_PLANNED = {"maintenance": WINDOW, "curtailed": PAUSE}
AGAIN = "failure during a recovery"
_DOWN = ("detect", "restart", "wait_for_spares")


class Interval(NamedTuple):
    """A stretch of time in one state; `cause` is what struck at its end if it runs, what it is for if it does not."""

    start_s: float
    end_s: float
    state: str
    stretch: int
    cause: str


class Interruption(NamedTuple):
    """What stopped the job, and until when: until it runs again or is interrupted once more."""

    start_s: float
    end_s: float
    cause: str


@dataclass(frozen=True)
class Episode:
    """A representative trial.

    Attributes
    ----------
    names : tuple of str
        Whom it represents: "P50", "P95", or both where one trial is nearest to both.
    row : dict
        Its results (SI, names with units).
    intervals : list of Interval
        One after the other, from 0 s to the end.
    """

    names: tuple[str, ...]
    row: dict[str, float]
    intervals: list[Interval]

    @property
    def time_s(self) -> float:
        """End of the run, s."""
        return self.intervals[-1].end_s


def episodes(study: Study) -> list[Episode]:
    """Return the trials nearest to P50 and P95, with their intervals; one where both are the same trial."""
    places = {int(trial): place for place, trial in enumerate(study.column("trial"))}
    timelines = study.timelines()
    names: dict[int, list[str]] = {}
    for which, trial in study.representative().items():
        names.setdefault(trial, []).append(which)
    found = []
    for trial, of_trial in names.items():
        part = timelines[timelines["which"] == of_trial[0]][["start_s", "end_s", "state", "stretch", "cause"]]
        intervals = [Interval(*values) for values in part.itertuples(index=False)]
        row = {name: values[places[trial]].item() for name, values in study.columns.items()}
        found.append(Episode(tuple(name.upper() for name in of_trial), row, intervals))
    return found


def merged(intervals: Sequence[Interval]) -> list[Interval]:
    """Return intervals with neighbours of the same state and stretch made one; the last one's cause stands."""
    found: list[Interval] = []
    for now in intervals:
        if found and (found[-1].state, found[-1].stretch) == (now.state, now.stretch):
            found[-1] = found[-1]._replace(end_s=now.end_s, cause=now.cause)
        else:
            found.append(now)
    return found


def interruptions(intervals: Sequence[Interval]) -> list[Interruption]:
    """Return what stopped the job, in order; together they last as long as the job does not run.

    The timeline keeps the cause of what ends a running interval, and what a recovery is for. A failure in the middle of a
    recovery shows as a detection or restart that begins anew (so does, rarely, an event that a job in recovery does not
    feel). The trial's row has the exact number.
    """
    starts: list[tuple[float, str]] = []
    ends: list[float] = []
    before = Interval(0.0, 0.0, RUNNING, 0, "")
    for now, after in pairwise([*intervals, before]):
        cause = "" if now.state == RUNNING else _begins(before, now, after)
        if starts and len(ends) < len(starts) and (cause or now.state == RUNNING):
            ends.append(now.start_s)
        if cause:
            starts.append((now.start_s, cause))
        before = now
    if len(ends) < len(starts):
        ends.append(intervals[-1].end_s)
    return [Interruption(start_s, end_s, cause) for (start_s, cause), end_s in zip(starts, ends, strict=True)]


def _begins(before: Interval, now: Interval, after: Interval) -> str:
    """Return the cause of what begins with an interval in which the job does not run; nothing where it only goes on."""
    if "network_stall" in (now.state, before.state) and RUNNING not in (now.state, before.state):
        return _again(before, now)
    if before.state == RUNNING:
        return before.cause or now.cause or _PLANNED.get(now.state) or _PLANNED.get(after.state, GROWTH)
    if now.state in _PLANNED and not now.cause and before.state in _DOWN:
        return _PLANNED[now.state]
    if before.state == "restart" or (now.state == "detect" and before.state in _DOWN):
        return _again(before, now)
    return ""


def _again(before: Interval, now: Interval) -> str:
    return now.cause if now.cause != before.cause else AGAIN


def impairments(intervals: Sequence[Interval]) -> list[tuple[float, str]]:
    """Return when something struck that the job ran on with (a node turned slow, storage was away), and what, s."""
    return [(now.end_s, now.cause) for now, after in pairwise(intervals)
            if now.state == after.state == RUNNING and now.cause]


def down_by_cause(found: Sequence[Interruption]) -> list[tuple[str, float, int]]:
    """Return (cause, seconds down, times), largest first."""
    sums: dict[str, tuple[float, int]] = {}
    for one in found:
        down_s, times = sums.get(one.cause, (0.0, 0))
        sums[one.cause] = down_s + one.end_s - one.start_s, times + 1
    return sorted(((cause, *value) for cause, value in sums.items()), key=lambda item: -item[1])

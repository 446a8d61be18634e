"""A trial as a trace that Perfetto and Chrome open: the job's state, what interrupted it, and what it had done by then.

Format: the JSON object form of the Trace Event Format ("Trace Event Format", Google, 2016): complete events (X), instants (i),
counters (C) and metadata (M), times in whole microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.errors import UserError
from simulator.files import check_place, write_whole
from simulator.montecarlo import Study
from simulator.report.episodes import LABELS, RUNNING, Episode, episodes, impairments, interruptions, merged

_PROCESS, _STATES, _EVENTS = 1, 1, 2
_KEPT = ("time_s", "ettr", "interruptions", "checkpoints")


def check_trace(file: Path) -> None:
    """Raise UserError where a trace cannot be written, before the work is done."""
    if file.suffix.lower() != ".json":
        raise UserError(f"{file}: found the ending {file.suffix!r}; allowed: .json")
    check_place(file)


def write_trace(study: Study, file: Path) -> None:
    """Write the trace of the trial nearest to P50, whole or not at all; raise UserError where that is not possible."""
    events = trace(study.scenario.name, episodes(study)[0])
    head = {key: value for key, value in events.items() if key != "traceEvents"}
    lines = ",\n".join(json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in events["traceEvents"])
    text = f'{json.dumps(head, ensure_ascii=False)[:-1]}, "traceEvents": [\n{lines}\n]}}\n'
    write_whole(file, lambda partial: partial.write_text(text, encoding="utf-8"))


def trace(name: str, episode: Episode) -> dict[str, Any]:
    """Return the trace of a trial, ready for JSON; events in order of time.

    Parameters
    ----------
    name : str
        Of the scenario.
    episode : Episode
        The trial.
    """
    trial, row = int(episode.row["trial"]), episode.row
    title = f"{name}, trial {trial} (nearest to {' and '.join(episode.names)})"
    head = [_meta("process_name", 0, name=title), _meta("thread_name", _STATES, name="job state"),
            _meta("thread_name", _EVENTS, name="interruptions"), _meta("thread_sort_index", _STATES, sort_index=1),
            _meta("thread_sort_index", _EVENTS, sort_index=2)]
    events = sorted([*_states(episode), *_strikes(episode), *_counters(episode)], key=lambda event: event["ts"])
    known = {key: value for key, value in row.items() if key in _KEPT or (key.startswith("time_") and value)}
    return {"displayTimeUnit": "ms", "otherData": {"scenario": name, "trial": trial, **known}, "traceEvents": head + events}


def _us(seconds: float) -> int:
    """Return whole microseconds; what ends where another begins still does after rounding."""
    return round(seconds * 1e6)


def _meta(kind: str, thread: int, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "cat": "__metadata", "ts": 0, "pid": _PROCESS, "tid": thread, "args": args}


def _states(episode: Episode) -> Iterator[dict[str, Any]]:
    for interval in merged(episode.intervals):
        start, end = _us(interval.start_s), _us(interval.end_s)
        if end > start:
            args: dict[str, Any] = {"stretch": interval.stretch + 1, "hours": (end - start) / 3.6e9}
            if interval.cause:
                args["ended_by" if interval.state == RUNNING else "cause"] = interval.cause
            yield {"ph": "X", "name": LABELS.get(interval.state, interval.state), "cat": "state", "ts": start, "dur": end - start,
                   "pid": _PROCESS, "tid": _STATES, "args": args}


def _strikes(episode: Episode) -> Iterator[dict[str, Any]]:
    for one in interruptions(episode.intervals):
        yield _instant(one.cause, "interruption", one.start_s, {"cause": one.cause, "down_s": round(one.end_s - one.start_s, 6)})
    for at_s, cause in impairments(episode.intervals):
        yield _instant(cause, "impairment", at_s, {"cause": cause})


def _instant(name: str, kind: str, at_s: float, args: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "i", "s": "t", "name": name, "cat": kind, "ts": _us(at_s), "pid": _PROCESS, "tid": _EVENTS, "args": args}


def _counters(episode: Episode) -> Iterator[dict[str, Any]]:
    """Yield hours run, the share of time run and interruptions so far; at the start and where the state changes."""
    for name, value in (("hours run", 0.0), ("share of time run", 1.0), ("interruptions", 0.0)):
        yield _counter(name, 0, value)
    run = 0
    for interval in merged(episode.intervals):
        start, end = _us(interval.start_s), _us(interval.end_s)
        if end > start:
            run += end - start if interval.state == RUNNING else 0
            yield _counter("hours run", end, run / 3.6e9)
            yield _counter("share of time run", end, run / end)
    for count, one in enumerate(interruptions(episode.intervals), start=1):
        yield _counter("interruptions", _us(one.start_s), count)


def _counter(name: str, at: int, value: float) -> dict[str, Any]:
    return {"ph": "C", "name": name, "cat": "progress", "ts": at, "pid": _PROCESS, "tid": 0, "args": {"value": value}}

"""A trace of jobs: a CSV file with a row a job, read whole or refused with file, line and column."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from simulator.columns import MAX_CSV_BYTES
from simulator.errors import UserError, unknown_name
from simulator.files import open_file
from simulator.units import shorten

REQUIRED = ("job_id", "submit_time", "accelerators", "duration")
OPTIONAL = ("walltime", "priority", "class", "user")
COLUMNS = REQUIRED + OPTIONAL


class TraceJob(NamedTuple):
    """One row; times in s, `submit_s` from the first row of the trace where it is written as a date."""

    name: str
    submit_s: float
    accelerators: int
    duration_s: float
    walltime_s: float | None
    priority: int | None
    class_: str | None


class _Cell:
    """A cell and its place, for messages."""

    def __init__(self, file: str, line: int, column: str, text: str) -> None:
        self.place, self.column, self.text = f"{file}:{line}", column, text.strip()

    def refuse(self, allowed: str) -> UserError:
        return UserError(f"{self.place}: {self.column}: found {shorten(self.text)}; allowed: {allowed}")

    def number(self, allowed: str, *, above: float) -> float:
        try:
            value = float(self.text)
        except ValueError:
            raise self.refuse(allowed) from None
        if not math.isfinite(value) or value < 0.0 or value <= above:
            raise self.refuse(allowed)
        return value

    def whole(self, low: int, high: int, allowed: str) -> int:
        try:
            value = int(self.text)
        except ValueError:
            raise self.refuse(allowed) from None
        if not low <= value <= high:
            raise self.refuse(allowed)
        return value


def read_trace(file: str, most: int, classes: Sequence[str] = ()) -> tuple[TraceJob, ...]:
    """Return the jobs of a trace in order of submission.

    Parameters
    ----------
    file : str
        CSV with a header: `job_id, submit_time, accelerators, duration` and any of `walltime, priority, class, user`.
        Times in seconds; `submit_time` in all rows may be an ISO 8601 date instead, counted from the earliest.
    most : int
        Accelerators of the cluster.
    classes : sequence of str
        Names that a `class` may have; empty: any.

    Raises
    ------
    UserError
        With file, line, column, what was found and what is allowed.
    """
    try:
        with io.TextIOWrapper(open_file(file, MAX_CSV_BYTES), encoding="utf-8-sig", newline="") as stream:
            return _read(csv.reader(stream, strict=True), file, most, classes)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; allowed: a trace of jobs (CSV)") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "found bytes that are no UTF-8"
        raise UserError(f"{file}: cannot be read: {reason}; allowed: a trace of jobs (CSV, UTF-8)") from None


def _read(reader: Any, file: str, most: int, classes: Sequence[str]) -> tuple[TraceJob, ...]:
    jobs: list[TraceJob] = []
    lines: dict[str, int] = {}
    header: list[str] = []
    dated: bool | None = None
    try:
        for row in reader:
            line: int = reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = _header(row, f"{file}:{line}")
                continue
            if len(row) != len(header):
                raise UserError(f"{file}:{line}: found {len(row)} cells; allowed: {len(header)}, as the header has")
            cells = {name: _Cell(file, line, name, text) for name, text in zip(header, row, strict=True)}
            submit_s, is_date = _submit(cells["submit_time"], dated)
            dated = is_date
            job = _job(cells, submit_s, most, classes)
            if job.name in lines:
                raise cells["job_id"].refuse(f"each job once; it is already on line {lines[job.name]}")
            lines[job.name] = line
            jobs.append(job)
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: not valid CSV: {error}") from None
    if not jobs:
        raise UserError(f"{file}: found no jobs; allowed: a header {','.join(REQUIRED)} and a row a job")
    first_s = min(job.submit_s for job in jobs) if dated else 0.0
    return tuple(sorted((job._replace(submit_s=job.submit_s - first_s) for job in jobs), key=lambda job: job.submit_s))


def _header(row: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in row]
    for i, name in enumerate(names):
        if name not in COLUMNS:
            raise UserError(f"{place}: {unknown_name('column', name, COLUMNS)}")
        if name in names[:i]:
            raise UserError(f"{place}: found the column {name!r} a second time; allowed: each once")
    lacking = [name for name in REQUIRED if name not in names]
    if lacking:
        raise UserError(f"{place}: missing column {lacking[0]!r}; allowed: {', '.join(REQUIRED)}, and any of "
                        f"{', '.join(OPTIONAL)}")
    return names


def _submit(cell: _Cell, dated: bool | None) -> tuple[float, bool]:
    """Return the time of submission and whether it is a date; all rows write it the same way."""
    allowed = {None: "seconds, or a date such as 2024-03-01T12:00:00", True: "a date, as in the rows before",
               False: "seconds, as in the rows before"}[dated]
    if dated is not True:
        try:
            return cell.number(allowed, above=-1.0), False
        except UserError:
            if dated is False:
                raise
    try:
        date = datetime.fromisoformat(cell.text)
    except ValueError:
        raise cell.refuse(allowed) from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp(), True


def _job(cells: dict[str, _Cell], submit_s: float, most: int, classes: Sequence[str]) -> TraceJob:
    filled = {name: cell for name, cell in cells.items() if cell.text}
    if "job_id" not in filled:
        raise cells["job_id"].refuse("a name")
    name = filled["class"].text if "class" in filled else None
    if name is not None and classes and name not in classes:
        raise UserError(f"{cells['class'].place}: class: {unknown_name('class of jobs', name, classes)}")
    return TraceJob(
        name=filled["job_id"].text,
        submit_s=submit_s,
        accelerators=cells["accelerators"].whole(1, most, f"a whole number from 1 to the {most} of the cluster"),
        duration_s=cells["duration"].number("seconds above 0", above=0.0),
        walltime_s=filled["walltime"].number("seconds above 0, or nothing", above=0.0) if "walltime" in filled else None,
        priority=(filled["priority"].whole(0, 10**9, "a whole number from 0, or nothing")
                  if "priority" in filled else None),
        class_=name,
    )

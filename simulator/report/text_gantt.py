"""The step on the terminal: a Gantt chart in characters, one row a pipeline stage, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from simulator.performance import StepEstimate
from simulator.performance.schedule import BACKWARD, FORWARD, WEIGHT, Schedule
from simulator.report.lanes import COLOURS, Lanes, disagreement, headline, left_out, seconds_text, windows

_MOST_ROWS, _WIDEST, _NARROWEST = 16, 160, 24
_GAP = " ┊ "
# Characters differ too, for terminals without colour and readers who do not see it.
_MIXED = ("▓", f"{COLOURS['backward']} on {COLOURS['forward']}", "mixed")
_SIGNS = {
    FORWARD: ("░", f"white on {COLOURS['forward']}", "forward"),
    BACKWARD: ("█", COLOURS["backward"], "backward"),
    WEIGHT: ("▒", f"white on {COLOURS['weight gradient']}", "weight gradient"),
}
_ENDINGS = {
    "data-parallel exchange": ("D", f"black on {COLOURS['data-parallel exchange']}"),
    "optimizer": ("O", f"white on {COLOURS['optimizer']}"),
    "offload": ("H", f"black on {COLOURS['offload']}"),
    "waiting for the slowest": ("S", f"black on {COLOURS['waiting for the slowest']}"),
}
Cell = tuple[str, str]
_IDLE: Cell = (" ", "")


def busy_shares(schedule: Schedule, stage: int, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each cell between `edges` (s) in which a stage does each kind of block, array [kind, cell]."""
    found = np.empty((3, len(edges) - 1))
    for kind in (FORWARD, BACKWARD, WEIGHT):
        mine = (schedule.stage == stage) & (schedule.block == kind)
        ends = (schedule.end_s + schedule.send_s)[mine]
        # Seconds of this kind up to each edge: whole blocks before it, and the part of the one it cuts.
        starts = schedule.start_s[mine]
        done = np.concatenate(([0.0], np.cumsum(ends - starts)))
        before = np.searchsorted(starts, edges, side="right")
        last = np.concatenate(([0.0], ends))[before]
        found[kind] = np.diff(done[before] - np.maximum(0.0, last - edges)) / np.diff(edges)
    return found


def _cells(shown: Lanes, stage: int, start: float, end: float, width: int) -> list[Cell]:
    """Return one row from `start` to `end`; a cell shows what fills most of it."""
    edges = np.linspace(start, end, width + 1)
    shares = busy_shares(shown.schedule, stage, edges)
    cells = []
    for i, (forward, backward, weight) in enumerate(shares.T):
        middle = 0.5 * (edges[i] + edges[i + 1])
        span = next((s for s in shown.ending if s.start_s <= middle < s.end_s), None)
        if span is not None:
            cells.append(_ENDINGS[span.name])
        elif forward + backward + weight < 0.5:
            cells.append(_IDLE)
        elif max(forward, backward, weight) >= 0.7 * (forward + backward + weight):
            cells.append(_SIGNS[int(np.argmax((forward, backward, weight)))][:2])
        else:
            cells.append(_MIXED[:2])
    return cells


@dataclass(frozen=True)
class TextGantt:
    """The chart of one step, as wide as the console that prints it."""

    shown: Lanes
    estimate: StepEstimate

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, rows, axis and legend."""
        stages = self.shown.schedule.stages
        margin = len(f"stage {stages} ")
        width = max(_NARROWEST, min(_WIDEST, options.max_width) - margin)
        drawn = windows(self.shown, 3.0 * width)
        room = width - len(_GAP) * (len(drawn) - 1)
        whole = sum(end - start for start, end in drawn)
        widths = [round(room * (end - start) / whole) for start, end in drawn]
        widths[-1] = room - sum(widths[:-1])
        yield Text("\nThe step, one row a pipeline stage" if stages > 1 else "\nThe step", style="bold")
        yield Text(headline(self.shown, self.estimate))
        used: set[Cell] = set()
        for stage in _rows(stages):
            if stage is None:
                yield Text(f"{'...':>{margin - 1}} {stages - _MOST_ROWS} stages between are left out")
                continue
            row = Text(f"stage {stage + 1:<{margin - 6}}")
            for i, ((start, end), columns) in enumerate(zip(drawn, widths, strict=True)):
                row.append(_GAP if i else "")
                for cell in _cells(self.shown, stage, start, end, columns):
                    row.append(*cell)
                    used.add(cell)
            yield row
        yield Text(" " * margin + _GAP.join(_axis(*window, columns) for window, columns in zip(drawn, widths, strict=True)))
        yield _legend(used)
        for note in (left_out(self.shown, drawn), disagreement(self.shown)):
            if note:
                yield Text(note[0].upper() + note[1:] + ".")


def _rows(stages: int) -> Iterator[int | None]:
    """Yield the stages to show; None stands for those left out."""
    if stages <= _MOST_ROWS:
        yield from range(stages)
        return
    yield from range(_MOST_ROWS // 2)
    yield None
    yield from range(stages - _MOST_ROWS // 2, stages)


def _axis(start: float, end: float, width: int) -> str:
    """Return the times at both ends of a window."""
    left, right = seconds_text(start) if start else "0", seconds_text(end)
    return f"{left}{right:>{max(0, width - len(left))}}" if len(left) + len(right) < width else f"{right:>{width}}"


def _legend(used: set[Cell]) -> Text:
    """Return what the characters mean."""
    signs = [(*_SIGNS[FORWARD],), (*_SIGNS[BACKWARD],), (*_SIGNS[WEIGHT],), _MIXED]
    entries = [*signs, *((*sign, name) for name, sign in _ENDINGS.items())]
    text = Text()
    for sign, style, name in entries:
        if (sign, style) in used:
            text.append(sign * 2, style)
            text.append(f" {name}   ")
    if _IDLE in used:
        text.append("blank: bubble")
    return text

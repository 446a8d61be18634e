"""What a Gantt chart of a step shows, for the picture and for the terminal: spans by stage, the end of the step, time windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.performance import StepEstimate
from simulator.performance.schedule import BACKWARD, FORWARD, WEIGHT, Schedule, batch_s

# Okabe and Ito's palette, which colour-blind readers tell apart (https://jfly.uni-koeln.de/color/).
COLOURS = {
    "forward": "#0072B2", "recompute": "#A84300", "backward": "#E69F00", "weight gradient": "#009E73", "send": "#56B4E9",
    "data-parallel exchange": "#CC79A7", "optimizer": "#222222", "offload": "#F0E442", "waiting for the slowest": "#BBBBBB",
}
PHASES = {
    "gemm_s": "matrix products", "attention_s": "attention", "memory_s": "memory-bound operators",
    "launch_s": "waiting for kernel launches", "tensor_s": "tensor-parallel collectives",
    "context_s": "context-parallel collectives", "expert_s": "expert all-to-alls", "pipeline_s": "pipeline transfers",
    "data_s": "data-parallel collectives", "bubble_s": "pipeline bubble and imbalance", "optimizer_s": "optimizer",
    "offload_s": "offload to the host", "late_s": "waiting for the slowest",
}
BLOCKS = {FORWARD: "forward", BACKWARD: "backward", WEIGHT: "weight gradient"}
_WINDOW_BLOCKS, _HEAD_SHARE = 320.0, 0.6


class Span(NamedTuple):
    """A stretch of time in which a stage does one thing."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Lanes:
    """One step as it is drawn.

    Attributes
    ----------
    schedule : Schedule
        Blocks of every stage.
    ending : tuple of Span
        What all stages do after the last block: exchange, optimizer, offload, waiting for slower accelerators.
    closed_s : float
        What the closed form of the estimate says of the blocks' time, s.
    """

    schedule: Schedule
    ending: tuple[Span, ...]
    closed_s: float

    @property
    def total_s(self) -> float:
        """End of the step, s."""
        return self.ending[-1].end_s if self.ending else self.schedule.makespan_s


class Phase(NamedTuple):
    """A phase of a step: name of its field, how it is called, seconds on the mean accelerator that nothing hides."""

    key: str
    label: str
    time_s: float


def phases(estimate: StepEstimate) -> list[Phase]:
    """Return the phases that take any time; they add up to the wall time of the step."""
    seconds = estimate.phases_s | {"late_s": estimate.step_time_s - estimate.step.time_s}
    return [Phase(key, label, seconds[key]) for key, label in PHASES.items() if seconds[key] > 1e-9 * estimate.step_time_s]


def bytes_text(number: float) -> str:
    """Return bytes as people write them: 3 digits, decimal prefix."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.3g} {prefix}B"
        number /= 1000.0
    return f"{number:.3g} PB"


def seconds_text(seconds: float) -> str:
    """Return seconds as people write them: 3 digits, milliseconds or microseconds where short."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 0.0995:
            return f"{seconds * factor:,.0f} {unit}" if seconds * factor >= 999.5 else f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def lanes(schedule: Schedule, estimate: StepEstimate) -> Lanes:
    """Return what is drawn of an estimate: its schedule, then what nothing hides of exchange, optimizer and offload."""
    step, closed_s = estimate.step, batch_s(schedule, estimate)
    seconds = {
        "data-parallel exchange": step.time_s - closed_s - step.optimizer_s - step.offload_s,  # and its copies
        "optimizer": step.optimizer_s, "offload": step.offload_s,
        "waiting for the slowest": estimate.step_time_s - step.time_s,
    }
    at, ending = schedule.makespan_s, []
    for name, value in seconds.items():
        if value > 1e-9 * step.time_s:
            ending.append(Span(name, at, at + value))
            at += value
    return Lanes(schedule, tuple(ending), closed_s)


def headline(shown: Lanes, estimate: StepEstimate) -> str:
    """Return a line on the step: its time, its bubble, its schedule."""
    s = shown.schedule
    if s.stages == 1:
        return f"step {seconds_text(estimate.step_time_s)}, no pipeline, {_many(s.microbatches, 'microbatch', 'es')}"
    chunks = f" of {s.chunks} chunks" if s.chunks > 1 else ""
    return (f"step {seconds_text(estimate.step_time_s)}, bubble and imbalance "
            f"{estimate.step.bubble_s / estimate.step_time_s:.1%}; {s.kind}, {s.stages} stages{chunks}, "
            f"{_many(s.microbatches, 'microbatch', 'es')}")


def _many(number: int, word: str, ending: str) -> str:
    return f"{number:,} {word}{ending if number != 1 else ''}"


def windows(shown: Lanes, blocks: float = _WINDOW_BLOCKS) -> tuple[tuple[float, float], ...]:
    """Return the stretches of time to draw: all of a short step, beginning and end of a long one.

    Parameters
    ----------
    shown : Lanes
        The step.
    blocks : float
        Forward blocks that fit side by side.
    """
    s = shown.schedule
    first = (s.stage == 0) & (s.block == BACKWARD)
    back_s = float(s.end_s[first].min())  # the first microbatch has come back
    ending_s = shown.total_s - s.makespan_s
    width_s = max(blocks * float(np.median(s.times.forward_s)), 2.6 * back_s) + ending_s
    if width_s > 0.8 * shown.total_s:
        return ((0.0, shown.total_s),)
    head_s = _HEAD_SHARE * (width_s - ending_s)
    return (0.0, head_s), (shown.total_s - (width_s - head_s), shown.total_s)


def left_out(shown: Lanes, drawn: tuple[tuple[float, float], ...]) -> str:
    """Return a sentence on what the windows leave out, or nothing."""
    if len(drawn) < 2:
        return ""
    (_, before), (after, _) = drawn
    return f"{seconds_text(after - before)} in the middle left out, where the pattern repeats"


def disagreement(shown: Lanes) -> str:
    """Return a sentence where the explicit schedule is more than 0.5 % off the estimate's closed form, or nothing."""
    off = shown.schedule.makespan_s / shown.closed_s - 1.0
    if abs(off) < 0.005:
        return ""
    return (f"block by block the pipeline takes {seconds_text(shown.schedule.makespan_s)}, by the estimate "
            f"{seconds_text(shown.closed_s)}")

"""The picture of a step: a Gantt chart, one row a pipeline stage, over time and bytes by parallel dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.files import check_picture, check_place, write_whole
from simulator.performance import StepEstimate
from simulator.performance.dimensions import Dimension
from simulator.performance.schedule import BACKWARD, FORWARD, WEIGHT
from simulator.report.lanes import (
    BLOCKS,
    COLOURS,
    Lanes,
    bytes_text,
    disagreement,
    headline,
    left_out,
    phases,
    seconds_text,
    windows,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _DPI = 13.0, 150
_ROW = 0.8  # of a stage's row, its blocks
_SEEN = 0.001  # of the chart's width, the narrowest thing to draw
_COMPUTE, _EXCHANGE, _WAIT, _UPDATE = "#0072B2", "#CC79A7", "#BBBBBB", "#222222"
_PHASE_COLOURS = {"gemm_s": _COMPUTE, "attention_s": _COMPUTE, "memory_s": _COMPUTE, "launch_s": _COMPUTE, "bubble_s": _WAIT,
                  "late_s": _WAIT, "optimizer_s": _UPDATE, "offload_s": _UPDATE}


def check_plot(path: Path) -> None:
    """Raise UserError where a picture cannot be written, before the work is done."""
    check_picture(path)
    check_place(path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all, in the format of its name."""
    form = check_picture(path)
    write_whole(path, lambda partial: figure.savefig(partial, format=form, dpi=_DPI))


def step_figure(title: str, layout: str, estimate: StepEstimate, shown: Lanes, dims: Sequence[Dimension]) -> Figure:
    """Return the picture of a step.

    Parameters
    ----------
    title : str
        First line: the model and where it runs.
    layout : str
        Second line.
    estimate : StepEstimate
        Times and bytes.
    shown : Lanes
        Its schedule.
    dims : sequence of Dimension
        Its parallel dimensions.
    """
    from matplotlib.figure import Figure

    bars = max(len(phases(estimate)), len(dims))
    chart, below = min(8.5, max(1.0, 0.28 * shown.schedule.stages)), 0.27 * bars
    figure = Figure(figsize=(_WIDTH, chart + below + 2.9), layout="constrained")
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[chart + 1.8, below + 1.1]))
    upper.suptitle(title, fontsize=12, fontweight="bold", x=0.008, ha="left")
    _gantt(upper, layout, estimate, shown)
    left, right = lower.subplots(1, 2, width_ratios=[1.25, 1.0])
    _time_bars(left, estimate, bars)
    _byte_bars(right, dims, bars)
    return figure


def _gantt(figure: Any, layout: str, estimate: StepEstimate, shown: Lanes) -> None:
    s, drawn = shown.schedule, windows(shown)
    width = sum(end - start for start, end in drawn)
    axes = figure.subplots(1, len(drawn), sharey=True, squeeze=False,
                           width_ratios=[end - start for start, end in drawn])[0]
    for ax, (start, end) in zip(axes, drawn, strict=True):
        draw_window(ax, shown, start, end, width)
    if len(axes) > 1:  # the usual sign of a broken axis
        tear: dict[str, Any] = {"marker": [(-0.5, -1), (0.5, 1)], "markersize": 9, "linestyle": "none", "color": "k",
                                "clip_on": False}
        axes[0].plot([1], [0], transform=axes[0].transAxes, **tear)
        axes[1].plot([0], [0], transform=axes[1].transAxes, **tear)
    every = max(1, -(-s.stages // 32))
    axes[0].set_yticks(range(0, s.stages, every), [str(i + 1) for i in range(0, s.stages, every)])
    axes[0].set_ylim(s.stages - 0.5, -0.5)
    axes[0].set_ylabel("pipeline stage" if s.stages > 1 else "stage")
    axes[0].set_title(f"{layout}\n{headline(shown, estimate)}", loc="left", fontsize=10)
    notes = [note for note in (left_out(shown, drawn), disagreement(shown)) if note]
    axes[0].set_xlabel("; ".join(["time (s)", *notes]), loc="left")
    _legend(figure, shown, width)


def draw_window(ax: Axes, shown: Lanes, start: float, end: float, width: float) -> None:
    """Draw a stretch of a step in its axes, in a chart of `width` seconds."""
    _rows(ax, shown, start, end, width)
    _numbers(ax, shown, start, end)
    ax.set_xlim(start, end)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _rows(ax: Axes, shown: Lanes, start: float, end: float, width: float) -> None:
    """Draw what all stages do from `start` to `end`, in a chart of `width` seconds; a send too short to see joins its block."""
    from matplotlib.collections import PolyCollection

    s = shown.schedule
    rectangles: list[Any] = []
    colours: list[Any] = []

    def add(stage: Any, left: Any, right: Any, colour: Any) -> None:
        y = np.asarray(stage, dtype=float)
        low, high = y - _ROW / 2.0, y + _ROW / 2.0
        rectangles.append(np.stack([np.stack([left, left, right, right], axis=-1), np.stack([low, high, high, low], axis=-1)],
                                   axis=-1))
        colours.append(np.broadcast_to(colour, (len(y), 3)))

    seen = (s.end_s + s.send_s > start) & (s.start_s < end)
    send = seen & (s.send_s > _SEEN * width)
    ends = np.where(send, s.end_s, s.end_s + s.send_s)
    add(s.stage[send], s.end_s[send], s.end_s[send] + s.send_s[send], _rgb(COLOURS["send"]))
    for kind, name in BLOCKS.items():
        for chunk in range(s.chunks):
            found = seen & (s.block == kind) & (s.chunk == chunk)
            add(s.stage[found], s.start_s[found], ends[found], _shade(COLOURS[name], chunk, s.chunks))
    again = s.times.recompute_s[s.stage, s.chunk]
    found = seen & (s.block == BACKWARD) & (again > _SEEN * width)
    add(s.stage[found], s.start_s[found], s.start_s[found] + again[found], _rgb(COLOURS["recompute"]))
    for span in shown.ending:
        every = np.arange(s.stages)
        add(every, np.full(s.stages, span.start_s), np.full(s.stages, span.end_s), _rgb(COLOURS[span.name]))
    ax.add_collection(PolyCollection(list(np.concatenate(rectangles)), facecolors=np.concatenate(colours), edgecolors="white",
                                     linewidths=0.5 if float(np.median(s.times.forward_s)) > 0.004 * width else 0.0))


def _numbers(ax: Axes, shown: Lanes, start: float, end: float) -> None:
    """Write microbatches into the blocks that are wide enough."""
    s = shown.schedule
    wide = (s.end_s - s.start_s > 0.016 * (end - start)) & (s.start_s >= start) & (s.end_s <= end)
    if s.stages > 32:
        return
    again = np.where(s.block == BACKWARD, s.times.recompute_s[s.stage, s.chunk], 0.0)
    for i in np.flatnonzero(wide):
        ax.text((s.start_s[i] + again[i] + s.end_s[i]) / 2.0, s.stage[i], str(s.microbatch[i] + 1), fontsize=7.5, ha="center",
                va="center_baseline", color="white" if s.block[i] != BACKWARD and s.chunk[i] == 0 else "black")


def _rgb(colour: str) -> Any:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def _shade(colour: str, chunk: int, chunks: int) -> Any:
    """Return a colour, lighter for later chunks."""
    light = 0.6 * chunk / max(1, chunks - 1)
    return (1.0 - light) * _rgb(colour) + light


def _legend(figure: Any, shown: Lanes, width: float) -> None:
    patches = legend_patches(shown, width)
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9,
                  handlelength=1.2, columnspacing=1.4)


def legend_patches(shown: Lanes, width: float) -> list[Any]:
    """Return what a legend of a chart of `width` seconds shows."""
    from matplotlib.patches import Patch

    s = shown.schedule
    names = ["forward", "backward"]
    if s.times.recompute_s.max() > _SEEN * width:
        names.insert(1, "recompute")
    if (s.block == WEIGHT).any():
        names.append("weight gradient")
    if s.send_s.max() > _SEEN * width:
        names.append("send")
    names += [span.name for span in shown.ending if span.end_s - span.start_s > _SEEN * width]
    patches = [Patch(facecolor=COLOURS[n], label=n) for n in names]
    if s.chunks > 1:
        patches.append(Patch(facecolor=_shade(COLOURS[BLOCKS[FORWARD]], s.chunks - 1, s.chunks), label="later chunks lighter"))
    if s.stages > 1:
        patches.append(Patch(facecolor="white", edgecolor="#BBBBBB", label="bubble"))
    return patches


def _time_bars(ax: Axes, estimate: StepEstimate, places: int) -> None:
    rows = phases(estimate)
    _bars(ax, [row.label for row in rows], [row.time_s for row in rows],
          [_PHASE_COLOURS.get(row.key, _EXCHANGE) for row in rows],
          [f"{seconds_text(row.time_s)}  ({row.time_s / estimate.step_time_s:.1%})" for row in rows], places)
    ax.set_title("Time on the mean accelerator, exposed (s)", loc="left", fontsize=10, fontweight="bold")


def _byte_bars(ax: Axes, dims: Sequence[Dimension], places: int) -> None:
    ax.set_title("Sent by one accelerator in a step (GB)", loc="left", fontsize=10, fontweight="bold")
    if not dims:
        ax.text(0.0, 0.5, "nothing: one accelerator", fontsize=9)
        ax.set_axis_off()
        return
    _bars(ax, [f"{d.name}, {d.ranks} ranks" for d in dims], [d.sent_bytes / 1e9 for d in dims], [_EXCHANGE] * len(dims),
          [f"{bytes_text(d.sent_bytes)}, {d.link} busy {d.link_share:.1%}" for d in dims], places)


def _bars(ax: Axes, names: list[str], values: list[float], colours: list[str], labels: list[str], places: int) -> None:
    """Draw horizontal bars, in the first of `places` rows."""
    ax.barh(range(len(names)), values, color=colours, height=0.7)
    for i, (value, label) in enumerate(zip(values, labels, strict=True)):
        ax.annotate(label, (value, i), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(places - 0.4, -0.6)
    ax.set_xlim(0.0, 1.7 * max([*values, 1e-12]))
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="x", labelsize=9)

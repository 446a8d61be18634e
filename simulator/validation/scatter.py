"""The picture of a validation: predicted over published step time, one point a row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulator.validation.calibration import errors
from simulator.validation.rows import Case
from simulator.validation.throughput import statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
_MARKS = "osD^vPX"
_LONGEST_NAME = 44


def save_scatter(cases: list[Case], file: Path, kind: str = "png") -> None:
    """Write the picture."""
    scatter_figure(cases).savefig(file, dpi=130, format=kind)


def scatter_figure(cases: list[Case]) -> Figure:
    """Return the picture: predicted against measured time above, error below, both over measured time."""
    from matplotlib.figure import Figure

    found, measured = errors(cases), np.array([case.measured_s for case in cases])
    figure = Figure(figsize=(8.5, 8.5), layout="constrained")
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    span = np.array([measured.min() * 0.8, measured.max() * 1.25])
    top.plot(span, span, color="0.3", linewidth=0.8)
    top.fill_between(span, 0.9 * span, 1.1 * span, color="0.9", zorder=0, label="within 10 %")
    for i, source in enumerate(sorted({case.source for case in cases})):
        mine = np.array([case.source == source for case in cases])
        style = {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKS[i % len(_MARKS)], "alpha": 0.8}
        short = source if len(source) <= _LONGEST_NAME else source[: _LONGEST_NAME - 1] + "…"
        label = f"{short} ({mine.sum()}): {np.abs(found[mine]).mean():.1%}"
        top.scatter(measured[mine], (measured * (1.0 + found))[mine], s=22, label=label, **style)
        low.scatter(measured[mine], 100.0 * found[mine], s=22, **style)
    s = statistics(found)
    top.set(xscale="log", yscale="log", ylabel="predicted step time (s)",
            title=f"{len(cases)} step times: mean absolute error {s['mean_absolute_error']:.1%}, median {s['median']:.1%}, "
                  f"bias {s['bias']:+.1%}")
    top.legend(fontsize=8, loc="upper left", title="source (rows): mean absolute error", title_fontsize=8)
    low.axhspan(-10, 10, color="0.9", zorder=0)
    low.axhline(0.0, color="0.3", linewidth=0.8)
    low.set(xscale="log", xlabel="published step time (s)", ylabel="error (%)")
    return figure

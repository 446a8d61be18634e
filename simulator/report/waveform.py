"""The views of a step's power: a picture, tables for the terminal, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.performance.smoothing import Smoothing
from simulator.performance.waveform import BAND_HZ, SAMPLE_S, Description, Power, Shape, Waveform, describe, spectrum
from simulator.report.lanes import seconds_text
from simulator.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 13.0, 6.6
_LINE, _FILL, _MEAN, _PEAK, _TROUGH = "#0072B2", "#D3E4EF", "#222222", "#B5400A", "#009E73"  # of Okabe and Ito's palette
_PREFIXES = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def prefixed(value: float, unit: str) -> str:
    """Return a value with three digits and the prefix that suits it."""
    prefix, factor = _prefix(value)
    return f"{value / factor:.3g} {prefix}{unit}"


def _prefix(value: float) -> tuple[str, float]:
    return next(((name, factor) for name, factor in _PREFIXES if abs(value) >= 0.9995 * factor), _PREFIXES[-1])


def waveform_figure(waveform: Waveform, title: str = "") -> Figure:
    """Return the picture of a step's power: one accelerator, the cluster, and the cluster's spectrum.

    Parameters
    ----------
    waveform : Waveform
        A step.
    title : str
        First line, such as the model and what it runs on.
    """
    from matplotlib.figure import Figure

    found = describe(waveform)
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    figure.suptitle(title.replace("$", r"\$"), fontsize=12, fontweight="bold", x=0.008, ha="left")
    grid = figure.add_gridspec(2, 2, width_ratios=[3.4, 1.0], height_ratios=[1.0, 1.25])
    top, bottom, right = (figure.add_subplot(place) for place in (grid[0, 0], grid[1, 0], grid[:, 1]))
    stages = len(waveform.stages)
    which = f"One accelerator, stage {stages // 2 + 1} of {stages}" if stages > 1 else "One accelerator"
    draw_power(top, waveform.accelerator, found.accelerator, which)
    draw_power(bottom, waveform.cluster, found.cluster,
               f"Cluster: {waveform.accelerators:,} accelerator{'s' if waveform.accelerators > 1 else ''}, hosts and network")
    top.tick_params(labelbottom=False)
    bottom.set_xlabel(f"time (s), a step takes {seconds_text(waveform.period_s)}", loc="left")
    draw_spectrum(right, waveform.cluster, found.cluster)
    return figure


def draw_power(ax: Axes, power: Power, d: Shape, name: str) -> None:
    """Draw power against time, with its peak, mean and trough."""
    prefix, factor = _prefix(d.peak_w)
    watts = power.power_w / factor
    ax.stairs(watts, power.edges_s, fill=True, color=_FILL, baseline=0.0)
    ax.stairs(watts, power.edges_s, color=_LINE, linewidth=1.0 if watts.size < 500 else 0.5, baseline=None)
    levels = [("peak", d.peak_w, _PEAK), ("mean", d.mean_w, _MEAN), ("trough", d.trough_w, _TROUGH)]
    for _, value, colour in levels:
        ax.axhline(value / factor, color=colour, linewidth=0.9, linestyle="--")
    least = 0.06 * 1.08 * d.peak_w  # between labels, of the axis
    places = [max(d.peak_w, d.mean_w + least), d.mean_w, min(d.trough_w, d.mean_w - least)]
    for (label, value, colour), place in zip(levels, places, strict=True):
        ax.annotate(f"{label} {prefixed(value, 'W')}", (1.0, place / factor), xycoords=("axes fraction", "data"), xytext=(4, 0),
                    textcoords="offset points", fontsize=8.5, va="center", color=colour)
    ramp = d.ramps[0]
    up, down = prefixed(ramp.rise_w_per_s, "W/s"), prefixed(ramp.fall_w_per_s, "W/s")
    ax.set_title(f"{name}\nswing {prefixed(d.swing_w, 'W')} ({d.swing_w / d.mean_w:.0%} of the mean); "
                 f"ramp over {ramp.window_s:g} s {up} up, {down} down", loc="left", fontsize=10)
    ax.set_xlim(0.0, power.period_s)
    ax.set_ylim(0.0, 1.08 * d.peak_w / factor)
    ax.set_ylabel(f"power ({prefix}W)")
    ax.spines[["top", "right"]].set_visible(False)


def draw_spectrum(ax: Axes, power: Power, d: Shape) -> None:
    """Draw the harmonics of a step's power, and the band that grids are sensitive to."""
    frequency, amplitude = spectrum(power)
    prefix, factor = _prefix(float(amplitude.max()))
    low, high = min(BAND_HZ[0], frequency[0]) / 1.3, max(BAND_HZ[1], frequency[min(3, frequency.size - 1)]) * 1.3
    ax.axvspan(*BAND_HZ, color="#EEEEEE", zorder=0)
    ax.vlines(frequency, 0.0, amplitude / factor, color=_LINE, linewidth=1.2 if frequency.size < 150 else 0.7)
    title = f"Spectrum of the cluster\n{d.band_share:.0%} of variance in {BAND_HZ[0]:g}-{BAND_HZ[1]:g} Hz"
    if d.dominant_w > 0.0:
        ax.plot([d.dominant_hz], [d.dominant_w / factor], "o", color=_PEAK, markersize=4)
        leftish = np.log(d.dominant_hz / low) < 0.5 * np.log(high / low)
        ax.annotate(f"{d.dominant_hz:.3g} Hz, {prefixed(d.dominant_w, 'W')}", (d.dominant_hz, d.dominant_w / factor),
                    xytext=(4 if leftish else -4, 5), textcoords="offset points", fontsize=8.5, color=_PEAK,
                    ha="left" if leftish else "right")
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(0.0, 1.1 * max(float(amplitude.max()) / factor, 1e-12))
    ax.set_xlabel("frequency (Hz)", loc="left")
    ax.set_ylabel(f"amplitude ({prefix}W)")
    ax.set_title(title, loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


def waveform_view(waveform: Waveform, found: Description, ways: Sequence[Smoothing] = ()) -> Group:
    """Return tables of a step's power, and of what it costs to smooth it."""
    stages = len(waveform.stages)
    table = plain_table("\nPower of a step", "", "one accelerator", "cluster")
    rows = [_cells(found.accelerator), _cells(found.cluster)]
    for name, one, all_of_them in zip(rows[0], rows[0].values(), rows[1].values(), strict=True):
        table.add_row(name, one, all_of_them)
    which = f"One accelerator: of stage {stages // 2 + 1} of {stages}. " if stages > 1 else ""
    note = f"{which}Cluster: {waveform.accelerators:,} accelerators, hosts, network; replicas in step."
    parts: list[RenderableType] = [table, Text(note, style="dim")]
    return Group(*parts, _smoothing_table(ways, found.cluster)) if ways else Group(*parts)


def _cells(d: Shape) -> dict[str, str]:
    cells = {"mean": prefixed(d.mean_w, "W"), "peak": prefixed(d.peak_w, "W"), "trough": prefixed(d.trough_w, "W"),
             "swing": f"{prefixed(d.swing_w, 'W')} ({d.swing_w / d.mean_w:.0%})"}
    for ramp in d.ramps:
        up, down = (prefixed(r, "W/s") for r in (ramp.rise_w_per_s, ramp.fall_w_per_s))
        cells[f"ramp over {ramp.window_s:g} s, up / down"] = f"{up} / {down}"
    dominant = f"{d.dominant_hz:.3g} Hz, {prefixed(d.dominant_w, 'W')}" if d.dominant_w > 0.0 else "none"
    return cells | {"dominant frequency, amplitude": dominant,
                    f"variance in {BAND_HZ[0]:g} to {BAND_HZ[1]:g} Hz": f"{d.band_share:.0%}",
                    f"peak / mean over {SAMPLE_S:g} s": f"{d.peak_to_mean:.3f}"}


def _smoothing_table(ways: Sequence[Smoothing], before: Shape) -> Table:
    priced = any(way.usd_per_h is not None for way in ways)
    window_s = before.ramps[0].window_s
    table = plain_table("\nWhat smoothing the cluster costs: energy, no time", "", "energy", "swing left",
                        f"ramp ({window_s:g} s)", "store", "flow", *(["USD/h"] if priced else []))
    for way in ways:
        name = f"floor at {way.setting:.0%}" if way.method == "floor" else (
            f"storage, {seconds_text(way.setting)} mean")
        # Less than a millionth is what rounding leaves of a flat line.
        swing_w = way.swing_w if way.swing_w > 1e-6 * way.mean_w else 0.0
        steepest_w = max(way.ramps[0].rise_w_per_s, way.ramps[0].fall_w_per_s) if swing_w else 0.0
        store = (f"{prefixed(way.capacity_j / 3600.0, 'Wh')}", prefixed(way.flow_w, "W")) if way.method == "storage" else ("", "")
        price = [f"{way.usd_per_h:,.2f}" if way.usd_per_h is not None else ""] if priced else []
        table.add_row(name, f"+{way.extra_share:.2%}", prefixed(swing_w, "W"), prefixed(steepest_w, "W/s"), *store, *price)
    return table


def waveform_json(waveform: Waveform, found: Description, ways: Sequence[Smoothing] = ()) -> dict[str, Any]:
    """Return the numbers in SI, ready for JSON."""
    return {
        "step_s": waveform.period_s, "stages": len(waveform.stages), "accelerators": waveform.accelerators,
        "accelerator": _shape_json(found.accelerator), "cluster": _shape_json(found.cluster),
        "smoothing": [way._asdict() | {"swing_w": way.swing_w, "ramps": [r._asdict() for r in way.ramps]} for way in ways],
    }


def _shape_json(d: Shape) -> dict[str, Any]:
    return d._asdict() | {"swing_w": d.swing_w, "ramps": [ramp._asdict() for ramp in d.ramps]}

"""The picture of a run: the trials nearest to P50 and P95 as calendars of states, and what took the rest of the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.accounting import STATES
from simulator.montecarlo import Study
from simulator.report.episodes import LABELS, RUNNING, Episode, Interval, down_by_cause, episodes, interruptions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _ROW_IN, _BAR_IN = 13.0, 0.21, 0.34  # inches: of the picture, of a calendar's row, of a pair of bars
_ROW = 0.82  # of a calendar's row, its band
_SEEN = 0.0012  # of a row's length, the shortest outage that is drawn at its own length
_MOST_ROWS, _MOST_CAUSES, _LONGEST, _WIDEST = 17, 8, 36, 120  # the last two: letters of a cause, of the name
# Okabe and Ito's palette, which colour-blind readers tell apart; running is pale, so that what is short is seen on it.
COLOURS = {RUNNING: "#D3E4EF", "checkpoint_stall": "#009E73", "network_stall": "#222222", "detect": "#E69F00",
           "wait_for_spares": "#CC79A7", "restart": "#B5400A", "maintenance": "#0072B2",
           "curtailed": "#F0E442"}
_TRIALS = ("#3B4A57", "#9FB0BC")
_HOUR_S, _DAY_S = 3600.0, 86400.0
# Length of a row, s; what a row is called; unit of the axis, s, and its name; ticks, in units.
_ROWS: tuple[tuple[float, str, float, str, float], ...] = (
    (_HOUR_S, "hour of the run", 60.0, "minute", 10.0),
    (6 * _HOUR_S, "six hours of the run", _HOUR_S, "hour", 1.0),
    (_DAY_S, "day of the run", _HOUR_S, "hour", 2.0),
    (7 * _DAY_S, "week of the run", _DAY_S, "day", 1.0),
    (28 * _DAY_S, "four weeks of the run", _DAY_S, "day", 2.0),
    (364 * _DAY_S, "52 weeks of the run", _DAY_S, "day", 28.0),
)
# What a category of time is called, where its column does not say it well.
_CATEGORIES = {"straggler": "waiting for the slowest", "lost": "work lost and redone", "checkpoint_stall": "checkpoint stall",
               "checkpoint_slowdown": "slowed by checkpoints", "degraded": "slowed by nodes, hour, season",
               "reduced": "slowed by missing replicas", "throttled": "slowed by rule or cap"}


def timeline_figure(study: Study) -> Figure:
    """Return the picture of a study's representative trials."""
    from matplotlib.figure import Figure

    shown = episodes(study)
    row = row_length(max(episode.time_s for episode in shown))
    rows = [int(np.ceil(episode.time_s / row[0] - 1e-9)) for episode in shown]
    lost, causes = _lost(shown), _causes(shown)
    chart = [max(0.5, _ROW_IN * n) for n in rows]
    places = max(3, len(lost[0]), len(causes[0]))
    upper_in, lower_in = sum(chart) + 0.55 * len(chart) + 1.1, _BAR_IN * places + 0.95
    figure = Figure(figsize=(_WIDTH, upper_in + lower_in), layout="constrained")
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[upper_in, lower_in]))
    upper.suptitle(_plain(study.scenario.name, _WIDEST), fontsize=12, fontweight="bold", x=0.008, ha="left")
    axes = upper.subplots(len(shown), 1, height_ratios=chart, squeeze=False)[:, 0]
    widened = [calendar_axes(ax, episode, row, n) for ax, episode, n in zip(axes, shown, rows, strict=True)]
    seen = _length(_SEEN * row[0])
    note = f"; what is shorter than {seen} is drawn {seen} long" if any(widened) else ""
    axes[-1].set_xlabel(f"{row[3]}s{note}", loc="left", fontsize=9)
    _legend(upper, shown)
    left, right = lower.subplots(1, 2)
    _bars(left, "Time that is not productive (hours)", *lost, places)
    _bars(right, "Hours down, by what interrupted the job", *causes, places)
    if len(shown) > 1:
        from matplotlib.patches import Patch

        patches = [Patch(facecolor=colour, label=" and ".join(e.names)) for colour, e in zip(_TRIALS, shown, strict=False)]
        lower.legend(handles=patches, loc="outside lower center", ncols=2, frameon=False, fontsize=9, handlelength=1.2)
    return figure


def row_length(time_s: float) -> tuple[float, str, float, str, float]:
    """Return length and names of a calendar's rows: the shortest of which a run does not need too many."""
    for row in _ROWS:
        if time_s <= _MOST_ROWS * row[0]:
            return row
    longest, _, unit, name, tick = _ROWS[-1]
    times = int(np.ceil(time_s / (_MOST_ROWS * longest)))
    return times * longest, f"{52 * times} weeks of the run", unit, name, times * tick


def pieces(intervals: Sequence[Interval], row_s: float, seen_s: float) -> Iterator[tuple[int, float, float, str]]:
    """Yield (row, start, end, state) of what is drawn on a calendar, s from the start of its row; running time lies below all.

    An outage shorter than `seen_s` is drawn that long, its states in proportion.
    """
    total_s = intervals[-1].end_s
    yield from ((*part, RUNNING) for part in _cut(0.0, total_s, row_s))
    for running, group in groupby(intervals, key=lambda interval: interval.state == RUNNING):
        if running:
            continue
        outage = list(group)
        start_s, end_s = outage[0].start_s, outage[-1].end_s
        wider = max(1.0, seen_s / (end_s - start_s))
        from_s = max(0.0, min(start_s, total_s - wider * (end_s - start_s)))
        for interval in outage:
            left, right = (from_s + wider * (at_s - start_s) for at_s in (interval.start_s, interval.end_s))
            yield from ((*part, interval.state) for part in _cut(left, min(right, total_s), row_s))


def _cut(start_s: float, end_s: float, row_s: float) -> Iterator[tuple[int, float, float]]:
    """Yield (row, start, end) of a span, cut where rows end."""
    row = int(start_s // row_s)
    while start_s < end_s:
        stop_s = min(end_s, (row + 1) * row_s)
        yield row, start_s - row * row_s, stop_s - row * row_s
        start_s, row = stop_s, row + 1


def running_share(intervals: Sequence[Interval], row_s: float, rows: int) -> np.ndarray:
    """Return the share of each row's time in which the job runs, shape (rows,)."""
    run_s = np.zeros(rows)
    for interval in intervals:
        if interval.state == RUNNING:
            for row, start_s, end_s in _cut(interval.start_s, interval.end_s, row_s):
                run_s[min(row, rows - 1)] += end_s - start_s
    length_s = np.full(rows, row_s)
    length_s[-1] = intervals[-1].end_s - (rows - 1) * row_s
    share: np.ndarray = run_s / length_s
    return share


def calendar_axes(ax: Axes, episode: Episode, row: tuple[float, str, float, str, float], rows: int) -> bool:
    """Draw one trial; return whether outages were drawn longer than they are."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    row_s, called, unit_s, _, tick = row
    drawn = list(pieces(episode.intervals, row_s, _SEEN * row_s))
    boxes = [[(a / unit_s, y - _ROW / 2), (a / unit_s, y + _ROW / 2), (b / unit_s, y + _ROW / 2), (b / unit_s, y - _ROW / 2)]
             for y, a, b, _ in drawn]
    ax.add_collection(PolyCollection(boxes, facecolors=[to_rgb(COLOURS[state]) for *_, state in drawn], linewidths=0.0))
    for y, share in enumerate(running_share(episode.intervals, row_s, rows)):
        ax.annotate(_percent(share), (1.0, y), xycoords=("axes fraction", "data"), xytext=(5, 0), textcoords="offset points",
                    fontsize=7.5, va="center")
    ax.annotate("running", (1.0, 1.0), xycoords="axes fraction", xytext=(5, 5), textcoords="offset points", fontsize=8)
    every = max(1, -(-rows // 13))
    ax.set_yticks(range(0, rows, every), [str(i + 1) for i in range(0, rows, every)], fontsize=8)
    ax.set_xticks(np.arange(0.0, row_s / unit_s + 0.5 * tick, tick))
    ax.set_xlim(0.0, row_s / unit_s)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_ylabel(called if rows >= 6 else called.removesuffix(" of the run"), fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    r = episode.row
    share = r["time_productive_s"] / r["time_s"]
    stops = r["interruptions"]
    ax.set_title(f"{' and '.join(episode.names)}: trial {r['trial']:.0f}, {_length(r['time_s'])}, {stops:,.0f} "
                 f"interruption{'' if stops == 1 else 's'}, {_percent(share)} productive, effective-time ratio {r['ettr']:.3f}",
                 loc="left", fontsize=10)
    return any(not running and seconds < _SEEN * row_s for running, seconds in _outages(episode.intervals))


def _outages(intervals: Sequence[Interval]) -> Iterator[tuple[bool, float]]:
    """Yield whether the job runs, and for how long, s."""
    for running, group in groupby(intervals, key=lambda interval: interval.state == RUNNING):
        yield running, sum(interval.end_s - interval.start_s for interval in group)


def _percent(share: float) -> str:
    """Return a share; all or nothing only where it is."""
    return f"{100 * share:.0f} %" if share in (0.0, 1.0) else f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def _length(seconds: float) -> str:
    """Return a time as people say it."""
    for unit_s, name in ((_DAY_S, "days"), (_HOUR_S, "hours"), (60.0, "min")):
        if seconds >= 2.0 * unit_s:
            return f"{seconds / unit_s:,.1f} {name}" if seconds < 100 * unit_s else f"{seconds / unit_s:,.0f} {name}"
    return f"{seconds:.0f} s"


def _legend(figure: Any, shown: Sequence[Episode]) -> None:
    patches = legend_patches(shown)
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9,
                  handlelength=1.2, columnspacing=1.4)


def legend_patches(shown: Sequence[Episode]) -> list[Any]:
    """Return what a legend of the states of some trials shows."""
    from matplotlib.patches import Patch

    found = {interval.state for episode in shown for interval in episode.intervals} | {RUNNING}
    return [Patch(facecolor=COLOURS[state], label=label) for state, label in LABELS.items() if state in found]


Bars = tuple[list[str], list[list[float]], list[list[str]]]


def _lost(shown: Sequence[Episode]) -> Bars:
    """Return names, hours and labels of the categories of time that are not productive, for each trial."""
    names = [name for name in ("straggler", "throttled", *STATES) if name != "productive"]
    hours = {name: [e.row[f"time_{name}_s"] / _HOUR_S for e in shown] for name in names}
    chosen = sorted((name for name in names if max(hours[name]) * _HOUR_S > 0.5), key=lambda name: -max(hours[name]))
    return ([_CATEGORIES.get(name) or LABELS[name] for name in chosen], [hours[name] for name in chosen],
            [[f"{_hours(hours[name][i])}  ({_percent(hours[name][i] * _HOUR_S / e.row['time_s'])})" for i, e in enumerate(shown)]
             for name in chosen])


def _causes(shown: Sequence[Episode]) -> Bars:
    """Return names, hours and labels of what interrupted the job, for each trial; what is small is summed up."""
    found = [{cause: (down_s, times) for cause, down_s, times in down_by_cause(interruptions(e.intervals))} for e in shown]
    none = (0.0, 0)
    order = sorted({cause for one in found for cause in one}, key=lambda cause: -max(one.get(cause, none)[0] for one in found))
    names = order if len(order) <= _MOST_CAUSES else order[: _MOST_CAUSES - 1]
    rows = [[one.get(cause, none) for one in found] for cause in names]
    if rest := order[len(names):]:
        names = [*names, f"{len(rest)} other causes"]
        rows.append([(sum(one.get(c, none)[0] for c in rest), sum(one.get(c, none)[1] for c in rest)) for one in found])
    return ([_plain(name, _LONGEST) for name in names],
            [[down_s / _HOUR_S for down_s, _ in row] for row in rows],
            [[f"{_hours(down_s / _HOUR_S)}, {times:,} time{'' if times == 1 else 's'}" for down_s, times in row] for row in rows])


def _plain(text: str, longest: int) -> str:
    """Return text that others wrote, cut where too long, so that nothing in it is taken for mathematics."""
    return (text if len(text) <= longest else f"{text[:longest - 1]}…").replace("$", r"\$")


def _hours(value: float) -> str:
    return f"{value:,.0f} h" if value >= 99.5 else f"{value:.3g} h" if value >= 1.0 or not value else _length(value * _HOUR_S)


def _bars(ax: Axes, title: str, names: list[str], values: list[list[float]], labels: list[list[str]], places: int) -> None:
    """Draw horizontal bars, one a trial for each name, in the first of `places` rows."""
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    if not names:
        ax.text(0.0, 0.9, "none", fontsize=9, va="top", transform=ax.transAxes)
        ax.set_axis_off()
        return
    trials = len(values[0])
    height = 0.8 / max(trials, 1.4)
    for i in range(trials):
        at = np.arange(len(names)) + (i - (trials - 1) / 2) * height
        ax.barh(at, [row[i] for row in values], color=_TRIALS[i], height=height)
        for y, row, text in zip(at, values, labels, strict=True):
            ax.annotate(text[i], (row[i], y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7.5)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(places - 0.4, -0.6)
    ax.set_xlim(0.0, 1.45 * max(max(row) for row in values))
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="x", labelsize=9)
    ax.tick_params(axis="y", length=0)

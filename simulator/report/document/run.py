"""The sections on what happens in a run, and in one of its steps."""

from __future__ import annotations

import math
from collections import Counter

from simulator.errors import UserError
from simulator.performance import longest
from simulator.performance.search import describe
from simulator.report import plots
from simulator.report.document.model import Paragraph, Section, Table, small, wide
from simulator.report.episodes import LABELS, Episode, down_by_cause, episodes, interruptions
from simulator.report.lanes import bytes_text, phases, seconds_text
from simulator.report.loading import SavedStudy
from simulator.report.style import amount, digits, percent
from simulator.report.timeline import row_length

_MOST_CAUSES = 10


def run_section(study: SavedStudy) -> Section:
    """Return the timelines of the trials nearest to P50 and P95, and what interrupted them."""
    section, shown = Section("A median run and a late one"), episodes(study)
    for episode in shown:
        r, names = episode.row, " and ".join(episode.names)
        rows = math.ceil(episode.time_s / row_length(episode.time_s)[0] - 1e-9)
        section.blocks.append(wide(
            f"timeline-{episode.names[0].lower()}",
            f"Calendar of the run nearest to {names} of the wall time; stops too short to see are drawn longer.",
            f"Timeline of trial {r['trial']:.0f}, nearest to {names}: {amount(r['time_s'], 'time_s', 4)}, "
            f"{r['interruptions']:,.0f} interruptions, {percent(r['time_productive_s'] / r['time_s'])} productive.",
            plots.timeline, study, episode.names[0], height=1.2 + 0.22 * rows))
    section.blocks += [_state_table(shown), _cause_table(shown)]
    return section


def _state_table(shown: list[Episode]) -> Table:
    """Return hours by state of each trial, as its timeline has them."""
    sums: list[Counter[str]] = []
    for episode in shown:
        hours: Counter[str] = Counter()
        for interval in episode.intervals:
            hours[interval.state] += (interval.end_s - interval.start_s) / 3600.0  # type: ignore[assignment]
        sums.append(hours)
    names = [" and ".join(e.names) for e in shown]
    rows = [[label, *(f"{hours[state]:,.1f}" for hours in sums)] for state, label in LABELS.items()
            if any(hours[state] for hours in sums)]
    rows.append(["all", *(f"{e.time_s / 3600.0:,.1f}" for e in shown)])
    return Table("Hours by state of the job", ("", *names), rows)


def _cause_table(shown: list[Episode]) -> Table:
    found = [{cause: (down_s, times) for cause, down_s, times in down_by_cause(interruptions(e.intervals))} for e in shown]
    causes = sorted({cause for one in found for cause in one}, key=lambda c: -max(one.get(c, (0.0, 0))[0] for one in found))
    rows = [[cause, *(f"{one.get(cause, (0.0, 0))[0] / 3600.0:,.1f} h, {one.get(cause, (0.0, 0))[1]:,} times" for one in found)]
            for cause in causes[:_MOST_CAUSES]]
    title = "What interrupted the job, and for how long" + (
        f" (the first {_MOST_CAUSES} of {len(causes)} causes)" if len(causes) > _MOST_CAUSES else "")
    return Table(title, ("", *(" and ".join(e.names) for e in shown)), rows)


def step_section(study: SavedStudy) -> Section:
    """Return the step: its schedule, its operators under the roofline, other sizes, its time and its memory."""
    section = Section("One training step")
    try:
        main = longest(study.estimates)
    except UserError as error:
        section.blocks.append(Paragraph(f"The step cannot be worked out again with the catalog of this version: {_flat(error)}"))
        return section
    head = (f"A step takes {seconds_text(main.step_time_s)} at MFU {main.mfu:.1%}, with layout {describe(main.layout)}; what is "
            "not known is at its central value.")
    section.blocks.append(Paragraph(head))
    stages = main.layout.pipeline
    section.blocks.append(wide("step", "Schedule of the main stretch's step, a row a pipeline stage.", f"Gantt chart. {head}",
                               plots.gantt, study, height=min(6.0, 1.6 + 0.2 * stages)))
    found = plots.steps.operators(study)
    said = "; ".join(f"{o.name} {o.flops_per_s / 1e12:,.0f} TFLOP/s" for o in found)
    section.blocks.append(small(
        "roofline", "Operators of a layer, forward, under the roofs of the accelerator: what its data sheet says, and what large "
        "products reach in training.", f"Roofline: {said}.", plots.roofline, study, height=3.9))
    sizes = plots.steps.sizes(study)
    if len(sizes) > 1:
        said = "; ".join(f"{s.accelerators:,}: {digits(s.tokens_per_s / 1e6)} million tokens/s" for s in sizes)
        section.blocks.append(small(
            "scaling", "Throughput with more or fewer replicas of the same layout and the same batch, by the step model alone, "
            "without failures; percentages: tokens an accelerator, this scenario 100 %.", f"Scaling curve. {said}.",
            plots.scaling, study, height=3.9))
    rows = [[p.label, seconds_text(p.time_s), f"{100 * p.time_s / main.step_time_s:.1f} %"] for p in phases(main)]
    section.blocks.append(Table("Time of a step on the mean accelerator", ("", "time", "share"), rows))
    memory = [[name.replace("_", " "), bytes_text(value)] for name, value in main.memory._asdict().items() if value]
    section.blocks.append(Table("Memory of the fullest accelerator, of "
                                f"{bytes_text(study.scenario.cluster.accelerator.memory_bytes)}", ("", "bytes"), memory))
    return section


def power_section(study: SavedStudy) -> Section | None:
    """Return the power of the cluster during a step; None where the catalog does not know the accelerator's."""
    from simulator.performance.waveform import describe as shape_of
    from simulator.performance.waveform import step_waveform
    from simulator.report.waveform import prefixed

    try:
        central = study.scenario.central()
        waveform = step_waveform(central, longest(study.estimates))
    except UserError:
        return None
    d = shape_of(waveform).cluster
    section = Section("Power")
    said = (f"mean {prefixed(d.mean_w, 'W')}, peak {prefixed(d.peak_w, 'W')}, trough {prefixed(d.trough_w, 'W')}, "
            f"{d.band_share:.0%} of the variance between 0.1 and 20 Hz")
    section.blocks.append(wide("power", "Power of the cluster during a step, replicas in step.",
                               f"Power waveform of the cluster: {said}.", plots.power, study, height=3.6))
    section.blocks.append(small("power-spectrum", "Its spectrum; the grey band is where grids and generators are sensitive.",
                                f"Spectrum of the cluster's power: largest at {d.dominant_hz:.3g} Hz, "
                                f"{prefixed(d.dominant_w, 'W')}; {d.band_share:.0%} of the variance between 0.1 and 20 Hz.",
                                plots.power_spectrum, study))
    rows = [["mean", prefixed(d.mean_w, "W")], ["peak", prefixed(d.peak_w, "W")], ["trough", prefixed(d.trough_w, "W")],
            ["swing", f"{prefixed(d.swing_w, 'W')} ({d.swing_w / d.mean_w:.0%} of the mean)"],
            *([f"ramp over {r.window_s:g} s", f"{prefixed(r.rise_w_per_s, 'W/s')} up, {prefixed(r.fall_w_per_s, 'W/s')} down"]
              for r in d.ramps),
            ["mean over the run, at the meter", amount(float(study.column("power_mean_w").mean()), "power_mean_w")]]
    section.blocks.append(Table("Power of the cluster during steps, before cooling and distribution", ("", ""), rows))
    return section


def _flat(error: UserError) -> str:
    return " ".join(str(error).split())

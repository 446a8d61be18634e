"""From studies to a document."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.report.document.background import (
    assumption_section,
    input_section,
    inputs,
    provenance_section,
    validation_section,
)
from simulator.report.document.comparison import comparison_section
from simulator.report.document.model import Document
from simulator.report.document.outcome import breakdown_section, driver_section, outcome_section
from simulator.report.document.run import power_section, run_section, step_section
from simulator.report.document.summary import summary_section
from simulator.report.loading import SavedStudy
from simulator.report.plots.validation import checked

_LONGEST_NAME = 40


def build(studies: Sequence[SavedStudy], command: str) -> Document:
    """Return the report of a study; of several, the first in full, and all side by side.

    Parameters
    ----------
    studies : sequence of SavedStudy
        One or more.
    command : str
        That makes this report again.
    """
    first, found = studies[0], inputs(studies[0])
    measured = checked(first)
    sections = [summary_section(first, measured)]
    if len(studies) > 1:
        sections.append(comparison_section(studies, names_of(studies)))
    sections += [outcome_section(first), breakdown_section(first), driver_section(first), run_section(first), step_section(first)]
    power = power_section(first)
    if power is not None:
        sections.append(power)
    sections += [input_section(first, found), assumption_section(first, found), validation_section(first, measured),
                 provenance_section(list(studies), command)]
    p = first.provenance
    others = f", beside {len(studies) - 1} other stud{'y' if len(studies) == 2 else 'ies'}" if len(studies) > 1 else ""
    subtitle = (f"{len(first):,} simulated runs, seed {first.scenario.monte_carlo.seed}, "
                f"{str(p.get('time', 'at an unknown time'))[:10]}{others}")
    return Document(first.scenario.name, subtitle, sections)


def names_of(studies: Sequence[SavedStudy]) -> list[str]:
    """Return what studies are called: their scenarios' names where these differ, else their folders', else numbered."""
    for names in ([s.scenario.name for s in studies], [s.folder.resolve().name for s in studies]):
        short = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME - 1]}…" for name in names]
        if len(set(short)) == len(short):
            return short
    return [f"{i}: {name}" for i, name in enumerate(short, start=1)]

"""How far the step model is from what was measured on the hardware that a study runs on."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.report.style import SERIES, plain, styled
from simulator.validation.calibration import errors
from simulator.validation.rows import accelerator_of, read_case, read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.montecarlo import Study
    from simulator.validation.rows import Case

_MARKS = "osD^vPX"


class Checked(NamedTuple):
    """Rows of published step times, and the errors of the model there: predicted over measured, less one."""

    cases: list[Case]
    errors: np.ndarray


def checked(study: Study) -> Checked:
    """Return the shipped rows measured on accelerators of the study's hardware generation, and the errors today."""
    return _checked(study.scenario.cluster.accelerator.generation)


@cache
def _checked(generation: str) -> Checked:
    cases = [read_case(row) for row in read_rows() if accelerator_of(row).generation == generation]
    return Checked(cases, errors(cases))


@styled(size=(5.3, 4.0))
def validation(study: Study, *, ax: Axes | None = None) -> Axes:
    """Draw predicted over published step times of the study's hardware generation, a point a row.

    Parameters
    ----------
    study : Study
    ax : Axes, optional
    """
    assert ax is not None
    found = checked(study)
    generation = study.scenario.cluster.accelerator.generation
    if not found.cases:
        ax.text(0.5, 0.5, f"no published step time on {generation}", ha="center", transform=ax.transAxes)
        ax.set_axis_off()
        return ax
    measured = np.array([case.measured_s for case in found.cases])
    ax.axhspan(-10.0, 10.0, color="#ECECEC", zorder=0, label="within 10 %")
    ax.axhline(0.0, color="#444444", linewidth=0.8)
    for i, source in enumerate(sorted({case.source for case in found.cases})):
        mine = np.array([case.source == source for case in found.cases])
        ax.plot(measured[mine], 100.0 * found.errors[mine], linestyle="none", marker=_MARKS[i % len(_MARKS)], markersize=5,
                alpha=0.8, color=SERIES[i % len(SERIES)], label=f"{plain(source, 34)} ({mine.sum()})")
    ax.set_xscale("log")
    ax.set_xlabel("published step time (s)")
    ax.set_ylabel("predicted over published, less one (%)")
    most = 1.15 * max(12.0, 100.0 * float(np.abs(found.errors).max()))
    ax.set_ylim(-most, most * 1.6)
    ax.legend(loc="upper left", fontsize=7.5)
    ax.set_title(f"{len(found.cases)} step times on {generation}: mean error {np.abs(found.errors).mean():.1%}")
    return ax


__all__ = ["Checked", "checked", "validation"]

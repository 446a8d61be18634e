"""What happens in a run: the calendar of a representative trial; and how estimates settle with more trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import unknown_name
from simulator.report.style import styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.montecarlo import Study


@styled(size=(9.0, 4.2))
def timeline(study: Study, which: str = "P50", *, ax: Axes | None = None) -> Axes:
    """Draw the trial nearest to P50 or to P95 as a calendar of states.

    Parameters
    ----------
    study : Study
    which : str
        "P50" or "P95".
    ax : Axes, optional

    Raises
    ------
    ValueError
        `which` is neither.
    """
    from simulator.report.episodes import episodes
    from simulator.report.timeline import calendar_axes, legend_patches, row_length

    assert ax is not None
    shown = [episode for episode in episodes(study) if which.upper() in episode.names]
    if not shown:
        raise ValueError(unknown_name("trial", which, ("P50", "P95")))
    row = row_length(shown[0].time_s)
    calendar_axes(ax, shown[0], row, int(np.ceil(shown[0].time_s / row[0] - 1e-9)))
    ax.set_xlabel(f"{row[3]}s", loc="left", fontsize=9)
    patches = legend_patches(shown)
    ax.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=len(patches), handlelength=1.2,
              columnspacing=1.4)
    return ax


@styled(size=(6.5, 3.4))
def convergence(study: Study, column: str = "time_s", *, ax: Axes | None = None) -> Axes:
    """Draw P50 and P95 of a result, with their 95 % intervals, against the number of trials."""
    from simulator.montecarlo.convergence import parse_target
    from simulator.report.convergence import panel
    from simulator.report.plots.outcomes import known

    assert ax is not None
    panel(ax, column, known(study, column), [parse_target(f"{column} {q} 1%") for q in ("p50", "p95")], asked=False)
    ax.set_xlabel("trials")
    return ax

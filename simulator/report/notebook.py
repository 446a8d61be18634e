"""Results in a notebook: tables in place of what the terminal prints, and plots at `.plot`.

What is shown lies above what it is shown of, so the classes cannot know it: `simulator.api` calls `register`, which gives them
`_repr_html_` and `plot`, as libraries give pandas' classes accessors.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text

from simulator import html
from simulator.montecarlo import Study
from simulator.planning.compare import Comparison
from simulator.planning.deadline import DeadlineChoice
from simulator.planning.forecast import Forecast
from simulator.planning.levers import LeverStudy
from simulator.planning.plan import Plan
from simulator.planning.sensitivity import Sensitivity
from simulator.planning.sweep import SweepResult
from simulator.report import plots
from simulator.report.afford import BudgetAnswer, budget_view, deadline_view
from simulator.report.compare import compare_figure, compare_view
from simulator.report.energy import EnergyReport, daily_figure, energy_view
from simulator.report.forecast import forecast_figure, forecast_view
from simulator.report.levers import levers_figure, levers_view
from simulator.report.plan import front_figure, plan_view
from simulator.report.sensitivity import sensitivity_view, tornado_figure
from simulator.report.sweep import sweep_view
from simulator.report.sweep_plot import sweep_figure
from simulator.report.waveform import waveform_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100
_COLUMNS = 100  # of what has no table
_OF_STUDIES = ("overlay",)  # plots of several studies: functions of simulator.report.plots only


class StudyPlots:
    """Plots of a study: `study.plot.distribution("cost_usd")`, and so on; each returns its matplotlib axes."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __repr__(self) -> str:
        return f"plots of {self._study.scenario.name}: {', '.join(_plot_names())}"


def _plot_names() -> list[str]:
    return [name for name in plots.__all__ if name not in _OF_STUDIES]


def _method(plot: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plot)
    def drawn(self: StudyPlots, *args: Any, **kwargs: Any) -> Any:
        return plot(self._study, *args, **kwargs)

    return drawn


for _name in _plot_names():
    setattr(StudyPlots, _name, _method(getattr(plots, _name)))


def markup(view: Any) -> str:
    """Return what the terminal prints (a group of tables and lines of text) as HTML, all text escaped."""
    return f"<div>{''.join(_parts(view))}</div>"


def _parts(view: Any) -> Iterator[str]:
    if isinstance(view, Group):
        for part in view.renderables:
            yield from _parts(part)
    elif isinstance(view, Table):
        if view.title:
            yield html.heading(_plain(view.title).strip())
        cells = [[_plain(cell) for cell in column.cells] for column in view.columns]
        left = [i for i, column in enumerate(view.columns) if column.justify != "right"]
        yield html.table([_plain(column.header) for column in view.columns], list(zip(*cells, strict=True)), left)
    elif isinstance(view, Text | str):
        text = _plain(view)
        bold = isinstance(view, Text) and "bold" in str(view.style)
        yield html.heading(text.strip()) if bold else html.line(text)
    else:
        yield html.text_block(_printed(view))


def _plain(cell: Any) -> str:
    if isinstance(cell, Text):
        return cell.plain
    return cell if isinstance(cell, str) else _printed(cell).strip()


def _printed(view: ConsoleRenderable) -> str:
    out = io.StringIO()
    Console(file=out, width=_COLUMNS, force_terminal=False, color_system=None, force_jupyter=False).print(view)
    return out.getvalue().strip("\n")


def picture(figure: Figure) -> Figure:
    """Return a figure that a notebook shows as a PNG when it ends a cell, whether pyplot runs there or not."""
    def png() -> bytes:
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=_DPI)
        return out.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure


def _plot_energy(report: EnergyReport, what: str = "day") -> Figure:
    """Return the picture of the mean day and the bill by month ("day"), or of a step's power ("step")."""
    from simulator.errors import UserError, unknown_name

    if what not in ("day", "step"):
        raise UserError(unknown_name("picture", what, ("day", "step")))
    return daily_figure(report) if what == "day" else waveform_figure(report.waveform, report.scenario.name)


def _plot_forecast(found: Forecast) -> Figure:
    """Return the picture of frontier training by year, with the runs that were published."""
    from simulator.planning.frontier import published_runs

    return forecast_figure(found, published_runs())


def _plot_sweep(found: SweepResult, column: str = "cost_usd") -> Figure:
    """Return the picture of a result over what was swept."""
    return sweep_figure(found, column)


def _show_deadline(choice: DeadlineChoice) -> Group:
    smallest = choice.smallest
    name = smallest.scenario.name.removesuffix(f", {smallest.fit.accelerators:,}")
    return deadline_view(smallest.scenario.model_copy(update={"name": name}), choice)


# Class -> what the terminal shows of it, and its picture.
_SHOWN: dict[type, tuple[Callable[[Any], Any], Callable[..., Figure] | None]] = {
    Comparison: (compare_view, compare_figure),
    SweepResult: (lambda found: sweep_view(found, "cost_usd"), _plot_sweep),
    Sensitivity: (sensitivity_view, tornado_figure),
    Plan: (plan_view, front_figure),
    LeverStudy: (levers_view, levers_figure),
    EnergyReport: (energy_view, _plot_energy),
    BudgetAnswer: (budget_view, None),
    DeadlineChoice: (_show_deadline, None),
    Forecast: (lambda found: forecast_view(found, (), rows=False, origin_given=False), _plot_forecast),
}


def _shown(view: Callable[[Any], Any]) -> Callable[[Any], str]:
    return lambda self: markup(view(self))


def _drawn(figure: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(figure)
    def plot(self: Any, *args: Any, **kwargs: Any) -> Figure:
        return picture(figure(self, *args, **kwargs))

    return plot


def register() -> None:
    """Give results their tables and plots; again changes nothing."""
    Study.plot = property(StudyPlots)
    for kind, (view, figure) in _SHOWN.items():
        kind._repr_html_ = _shown(view)  # type: ignore[attr-defined]
        if figure is not None:
            kind.plot = _drawn(figure)  # type: ignore[attr-defined]

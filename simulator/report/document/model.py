"""What a report is made of, whatever it is written as: sections of paragraphs, lists, tables and pictures, all in plain text."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.report.style import SMALL, WIDE, in_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.montecarlo import Study

_DPI = {"svg": 72, "png": 115}
_PAD_IN = 0.06  # around a plot, inches


@dataclass(frozen=True)
class Paragraph:
    """Running text; `strong` for what a reader must see."""

    text: str
    strong: bool = False
    kind: str = "paragraph"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: Sequence[str]
    kind: str = "items"


@dataclass(frozen=True)
class Code:
    """Lines to paste."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Table:
    """A table: text in the columns named in `left`, numbers (right) in the others; `folded` where few will read it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int] = frozenset({0})
    folded: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Picture:
    """A figure, drawn when it is needed.

    Attributes
    ----------
    name : str
        Of its file.
    caption : str
        What it shows, in plain words.
    alt : str
        The same for those who do not see it, with its main numbers.
    draw : callable
    wide : bool
        Too wide to stand beside another.
    form : str
        "svg", or "png" for a figure of thousands of shapes.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    wide: bool = False
    form: str = "svg"
    kind: str = "picture"

    def render(self, form: str, dpi: int | None = None) -> bytes:
        """Return the figure as SVG or PNG."""
        with in_style():
            figure = self.draw()
            out = io.BytesIO()
            figure.savefig(out, format=form, dpi=dpi or _DPI[form],
                           metadata={"Date": None, "Creator": None} if form == "svg" else None)
        return out.getvalue()


Block = Paragraph | Items | Code | Table | Picture


@dataclass
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Name that links to it."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())

    def groups(self) -> list[list[Block]]:
        """Return blocks; small pictures that follow one another, and tables, together, to stand side by side."""
        found: list[list[Block]] = []
        for block in self.blocks:
            beside = found[-1][0] if found else None
            if (isinstance(block, Picture) and isinstance(beside, Picture) and not (block.wide or beside.wide)) or (
                    isinstance(block, Table) and isinstance(beside, Table) and not (block.folded or beside.folded)):
                found[-1].append(block)
            else:
                found.append([block])
        return found


@dataclass
class Document:
    """A report: title, a line below it, the answer first."""

    title: str
    subtitle: str
    sections: list[Section]

    def pictures(self) -> list[Picture]:
        """Return all pictures in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]


def small(name: str, caption: str, alt: str, plot: Callable[..., Axes], study: Study | Sequence[Study], *args: Any,
          height: float = SMALL[1]) -> Picture:
    """Return the picture of one plot in axes of the usual size."""
    return Picture(name, caption, alt, lambda: _figure((SMALL[0], height), plot, study, *args))


def wide(name: str, caption: str, alt: str, plot: Callable[..., Axes], study: Study, *args: Any,
         height: float = WIDE[1]) -> Picture:
    """Return the picture of one plot of thousands of shapes, as wide as the page."""
    return Picture(name, caption, alt, lambda: _figure((WIDE[0], height), plot, study, *args), wide=True, form="png")


def _figure(size: tuple[float, float], plot: Callable[..., Axes], *args: Any) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    plot(*args, ax=figure.add_axes((0.2, 0.15, 0.76, 0.76)))
    _fit(figure)
    return figure


def _fit(figure: Figure) -> None:
    """Let axes and all around them fill the figure: what a layout engine does, in one pass instead of several."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer: Any = FigureCanvasAgg(figure).get_renderer()
    around = figure.get_tightbbox(renderer).transformed(figure.dpi_scale_trans).transformed(figure.transFigure.inverted())
    places = [ax.get_position() for ax in figure.axes]
    x0, x1, y0, y1 = (f(getattr(p, side) for p in places) for f, side in ((min, "x0"), (max, "x1"), (min, "y0"), (max, "y1")))
    across, up = _PAD_IN / figure.get_size_inches()
    left, low = x0 - around.x0 + across, y0 - around.y0 + up
    wider = (1.0 - left - (around.x1 - x1) - across) / (x1 - x0)
    higher = (1.0 - low - (around.y1 - y1) - up) / (y1 - y0)
    for ax, p in zip(figure.axes, places, strict=True):
        ax.set_position((left + wider * (p.x0 - x0), low + higher * (p.y0 - y0), wider * p.width, higher * p.height))

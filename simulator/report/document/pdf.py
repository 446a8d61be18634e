"""The report as PDF, laid out here: no browser, no system library."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.report.document.model import Block, Code, Document, Items, Paragraph, Picture, Section, Table

if TYPE_CHECKING:
    from fpdf import FPDF

_MARGIN, _FOOT = 15.0, 16.0  # mm
_SANS, _MONO = "DejaVu", "Mono"
_INK, _SOFT, _MARK, _LINE, _STRONG = (27, 31, 36), (85, 96, 107), (0, 69, 107), (190, 196, 202), (232, 241, 247)
_DPI = {True: 120, False: 150}  # of wide pictures, of small ones
_GAP = 4.0
_MOST_ROWS = 80


def pdf(document: Document) -> bytes:
    """Return the report as PDF: pictures with alternative texts, an outline, tables that go on with their heads repeated."""
    page = _page(document)
    for section in document.sections:
        _section(page, section)
    return bytes(page.output())


def _page(document: Document) -> FPDF:
    import matplotlib as mpl
    from fpdf import FPDF

    logging.getLogger("fontTools").setLevel(logging.ERROR)

    class Report(FPDF):
        """Pages with their number and the report's title below."""

        def footer(self) -> None:
            self.set_y(-_FOOT + 4.0)
            self.set_font(_SANS, size=7.5)
            self.set_text_color(*_SOFT)
            self.cell(self.epw - 20.0, 4.0, _line(document.title, 110))
            self.cell(20.0, 4.0, f"{self.page_no()} / {{nb}}", align="R")

    page = Report(format="A4")
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for family, style, file in ((_SANS, "", "DejaVuSans"), (_SANS, "B", "DejaVuSans-Bold"), (_SANS, "I", "DejaVuSans-Oblique"),
                                (_MONO, "", "DejaVuSansMono")):
        page.add_font(family, style, fonts / f"{file}.ttf")
    page.set_margins(_MARGIN, _MARGIN, _MARGIN)
    page.set_auto_page_break(True, _FOOT)
    page.set_title(document.title)
    page.set_creator("clustercost")
    page.set_lang("en")
    page.add_page()
    page.set_font(_SANS, "B", 17)
    page.set_text_color(*_INK)
    page.multi_cell(0, 8, _line(document.title), new_x="LMARGIN", new_y="NEXT", align="L")
    page.set_font(_SANS, size=9)
    page.set_text_color(*_SOFT)
    page.multi_cell(0, 5, _line(document.subtitle), new_x="LMARGIN", new_y="NEXT", align="L")
    return page


def _line(text: str, longest: int = 10_000) -> str:
    """Return text in one line, without characters that no font draws."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= longest else f"{plain[:longest - 1]}…"


def _room(page: FPDF, height: float) -> None:
    """Go to the next page where less than `height` mm are left."""
    if page.get_y() + height > page.h - _FOOT:
        page.add_page()


def _section(page: FPDF, section: Section) -> None:
    first = section.blocks[0]
    _room(page, 28.0 + (0.5 * page.epw if isinstance(first, Picture) else 20.0))
    page.ln(5)
    page.start_section(section.title)
    page.set_font(_SANS, "B", 13)
    page.set_text_color(*_MARK)
    page.multi_cell(0, 7, _line(section.title), new_x="LMARGIN", new_y="NEXT", align="L")
    page.set_draw_color(*_LINE)
    page.line(_MARGIN, page.get_y(), page.w - _MARGIN, page.get_y())
    page.ln(2.5)
    for group in section.groups():
        if isinstance(group[0], Picture):
            _pictures(page, [block for block in group if isinstance(block, Picture)])
        else:
            for block in group:
                _block(page, block)


def _block(page: FPDF, block: Block) -> None:
    page.set_text_color(*_INK)
    if isinstance(block, Paragraph):
        page.set_font(_SANS, size=10.5 if block.strong else 9)
        if block.strong:
            page.set_fill_color(*_STRONG)
        page.multi_cell(0, 5.6 if block.strong else 4.6, _line(block.text), fill=block.strong, align="L", new_x="LMARGIN",
                        new_y="NEXT", padding=2 if block.strong else 0)
        page.ln(2)
    elif isinstance(block, Items):
        page.set_font(_SANS, size=9)
        for item in block.items:
            page.set_x(_MARGIN)
            page.cell(4, 4.6, "•")
            page.multi_cell(page.epw - 4, 4.6, _line(item), align="L", new_x="LMARGIN", new_y="NEXT")
            page.ln(0.7)
        page.ln(1.5)
    elif isinstance(block, Code):
        page.set_font(_MONO, size=7.5)
        page.set_fill_color(244, 246, 248)
        for line in block.text.splitlines():
            page.multi_cell(0, 4.2, _line(line), fill=True, align="L", new_x="LMARGIN", new_y="NEXT")
        page.ln(2)
    elif isinstance(block, Table):
        _table(page, block)


def _table(page: FPDF, table: Table) -> None:
    """Draw a table; of one that few will read, say where it is instead."""
    if table.folded:
        page.set_font(_SANS, "I", 8)
        page.multi_cell(0, 4.4, _line(f"{table.title}: {len(table.rows):,} rows, in the report as HTML or Markdown."), align="L",
                        new_x="LMARGIN", new_y="NEXT")
        page.ln(1.5)
        return
    from fpdf.enums import TableBordersLayout, TextEmphasis
    from fpdf.fonts import FontFace

    _room(page, 24.0 if len(table.rows) > 14 else min(9.0 + 5.2 * (len(table.rows) + 1), 120.0))
    page.set_font(_SANS, "B", 9)
    page.multi_cell(0, 5, _line(table.title), align="L", new_x="LMARGIN", new_y="NEXT")
    page.set_font(_SANS, size=7.8)
    page.set_draw_color(*_LINE)
    page.set_fill_color(255, 255, 255)
    shown = list(table.rows)[:_MOST_ROWS]
    widths = _widths(page, table, shown)
    head = any(table.head)
    with page.table(borders_layout=TableBordersLayout.HORIZONTAL_LINES, col_widths=widths, width=min(page.epw, sum(widths)),
                    text_align=tuple("LEFT" if i in table.left else "RIGHT" for i in range(len(table.head))), align="LEFT",
                    line_height=4.2, padding=(0.5, 1.2), first_row_as_headings=head,
                    headings_style=FontFace(emphasis=TextEmphasis.B, color=_SOFT)) as drawn:
        for cells in ([table.head] if head else []) + shown:
            row = drawn.row()
            for cell in cells:
                row.cell(_line(cell))
    page.ln(3)


def _widths(page: FPDF, table: Table, rows: Sequence[Sequence[str]]) -> list[float]:
    """Return widths of columns, mm: what their texts need; the widest share what the others leave."""
    lines = [table.head, *rows]
    wanted = [max(page.get_string_width(_line(row[i])) for row in lines) * 1.08 + 3.4 for i in range(len(table.head))]
    left = page.epw
    for taken, i in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        wanted[i] = min(wanted[i], left / (len(wanted) - taken))
        left -= wanted[i]
    return wanted


def _lines(page: FPDF, width: float, text: str) -> int:
    """Return the lines that a text takes."""
    found: Any = page.multi_cell(width, 3.6, _line(text), dry_run=True, output="LINES")
    return len(found)


def _pictures(page: FPDF, pictures: list[Picture]) -> None:
    """Draw pictures, two beside each other where they are small, with their captions."""
    from PIL import Image

    columns = 1 if pictures[0].wide else 2
    width = (page.epw - _GAP * (columns - 1)) / columns
    for first in range(0, len(pictures), columns):
        row = pictures[first:first + columns]
        images = [Image.open(io.BytesIO(picture.render("png", _DPI[picture.wide]))).convert("RGB") for picture in row]
        heights = [min(width * image.height / image.width, page.eph - 30.0) for image in images]
        page.set_font(_SANS, size=7.5)
        lines = [_lines(page, width, picture.caption) for picture in row]
        _room(page, max(heights) + 3.6 * max(lines) + 4.0)
        top = page.get_y()
        for i, (picture, image, height) in enumerate(zip(row, images, heights, strict=True)):
            x = _MARGIN + i * (width + _GAP)
            page.image(image, x=x, y=top, w=height * image.width / image.height, h=height, alt_text=_line(picture.alt))
            page.set_xy(x, top + max(heights) + 1.0)
            page.set_text_color(*_SOFT)
            page.multi_cell(width, 3.6, _line(picture.caption), align="L")
        page.set_xy(_MARGIN, top + max(heights) + 3.6 * max(lines) + 4.0)

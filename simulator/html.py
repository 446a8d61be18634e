"""Small tables for notebooks: all text escaped, no colours of their own, so that they read on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_LEFT, _RIGHT = "text-align:left", "text-align:right;white-space:nowrap"
_KEPT = f"{_LEFT};white-space:pre-wrap"  # indents are
_BAR = 16  # characters of a whole


def heading(name: str, rest: str = "") -> str:
    """Return a name in bold, and what is said after it."""
    return f"<div style='{_KEPT}'><b>{escape(name)}</b>{escape(rest)}</div>"


def line(text: str) -> str:
    """Return a line of text."""
    return f"<div style='{_KEPT}'>{escape(text) or '&nbsp;'}</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """Return a table.

    Parameters
    ----------
    head : sequence of str
        Names of the columns; all empty: no head.
    rows : iterable of sequence of str
        The first cell names its row.
    left : iterable of int
        Columns of text; the others are numbers, on the right.
    """
    texts = frozenset(left)

    def cells(row: Sequence[str], bold: bool) -> str:
        names = ("th" if bold or i == 0 else "td" for i in range(len(row)))
        return "".join(f"<{name} style='{_KEPT if i in texts else _RIGHT}'>{escape(str(cell))}</{name}>"
                       for i, (name, cell) in enumerate(zip(names, row, strict=True)))

    top = f"<thead><tr>{cells(head, True)}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{cells(row, False)}</tr>" for row in rows)
    return f"<table>{top}<tbody>{body}</tbody></table>"


def folded(title: str, inside: str) -> str:
    """Return markup that a click unfolds; `inside` is markup, the title is text."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def text_block(text: str) -> str:
    """Return lines as they are, in letters of one width."""
    return f"<pre style='{_LEFT};overflow-x:auto;line-height:1.25'>{escape(text)}</pre>"


def bar(share: float) -> str:
    """Return a bar of a share, 0 to 1."""
    return "█" * round(_BAR * min(max(share, 0.0), 1.0))

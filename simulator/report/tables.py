"""The one look of tables on the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text


def plain_table(title: str, *columns: str) -> Table:
    """Return a table without lines: first column left, numbers right; a later column without a name holds bars, left."""
    text = Text(title)  # names are no markup
    table = Table(title=text, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or not column else "right")
    return table

"""CSV files with a header: lines with their place, columns by name, numbers; one QuantityError for anything wrong."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from simulator.errors import unknown_name
from simulator.files import open_file
from simulator.units import QuantityError, shorten

MAX_CSV_BYTES = 200_000_000  # a million rows of 200 characters


def csv_lines(file: str, content: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the place ("file:line") and the cells of each line that is not empty.

    Parameters
    ----------
    file : str
        UTF-8, with or without a byte order mark.
    content : str
        What the file should hold, for messages.

    Raises
    ------
    QuantityError
        With file, line, what was found and what is allowed.
    """
    try:
        with io.TextIOWrapper(open_file(file, MAX_CSV_BYTES), encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield f"{file}:{reader.line_num}", cells
    except FileNotFoundError:
        raise QuantityError(f"{file}: no such file; allowed: a CSV file of {content}") from None
    except csv.Error as error:
        raise QuantityError(f"{file}:{reader.line_num}: not valid CSV: {error}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, QuantityError):
            raise
        reason = getattr(error, "strerror", None) or "found bytes that are no UTF-8"
        raise QuantityError(f"{file}: cannot be read: {reason}; allowed: a CSV file (UTF-8)") from None


def find_column(header: list[str], name: str | None, default: int, place: str) -> int:
    """Return the place of a column in the header; raise QuantityError where it is unknown or twice there."""
    if name is None:
        return default
    if header.count(name) > 1:
        raise QuantityError(f"{place}: found the column {name!r} twice; allowed: once")
    if name not in header:
        raise QuantityError(f"{place}: {unknown_name('column', name, header)}")
    return header.index(name)


def cell_number(text: str, place: str, column: str) -> float:
    """Return the number in a cell; raise QuantityError where it is none or not finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise QuantityError(f"{place}: {column}: found {shorten(text.strip())}; allowed: a number")
    return value


def csv_column(file: str, name: str | None, most: int) -> list[float]:
    """Return the numbers of one column; without a name, of the only one.

    Raises
    ------
    QuantityError
        No such file or column, a cell that is no number, no numbers or more than `most`.
    """
    header: list[str] = []
    found: list[float] = []
    which = 0
    for place, cells in csv_lines(file, "numbers"):
        if not header:
            header = [cell.strip() for cell in cells]
            if name is None and len(header) > 1:
                raise QuantityError(f"{place}: found {len(header)} columns; allowed: with `column`, one of "
                                    f"{', '.join(header[:8])}")
            which = find_column(header, name, 0, place)
            continue
        if len(cells) != len(header):
            raise QuantityError(f"{place}: found {len(cells)} cells; allowed: {len(header)}, as the header has")
        if len(found) == most:
            raise QuantityError(f"{place}: found more than {most} values; allowed: fewer")
        found.append(cell_number(cells[which], place, header[which]))
    return found

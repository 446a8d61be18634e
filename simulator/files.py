"""Files are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from simulator.errors import UserError

PICTURES = (".png", ".svg", ".pdf")


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `file` and rename it; UserError where that is not possible, with nothing left behind."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        write(partial)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error


def check_picture(file: Path) -> str:
    """Return the format of a picture by its name; raise UserError for one that is not drawn."""
    if file.suffix.lower() not in PICTURES:
        raise UserError(f"{file}: found the ending {file.suffix!r}; allowed: {', '.join(PICTURES)}")
    return file.suffix.lower()[1:]


def check_place(file: Path) -> None:
    """Raise UserError where there is no folder to write a file to, before the work is done."""
    folder = file.absolute().parent
    if file.is_dir():
        raise UserError(f"{file}: is a folder; allowed: a file")
    if not folder.is_dir():
        raise UserError(f"{file}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{file}: the folder {folder} is not writable")

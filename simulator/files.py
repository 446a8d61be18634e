"""Files are written whole or not at all, and only what is a file is read."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from simulator.errors import UserError

_log = logging.getLogger("clustercost")
PICTURES = (".png", ".svg", ".pdf")


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `file` and rename it; UserError where that is not possible, with nothing left behind."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        write(partial)
        partial.replace(file)
        _log.info("wrote %s", file)
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


def open_file(file: str | os.PathLike[str], most_bytes: int) -> BinaryIO:
    """Open a file to read; a pipe, a device or a folder (which could hang or never end) is refused without waiting for it.

    Raises
    ------
    OSError
        No such file, not readable, no regular file (`strerror` says so), or more than `most_bytes`.
    ValueError
        A name that no file can have.
    """
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "found a folder", os.fspath(file))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "found a pipe or a device", os.fspath(file))
        if found.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"found more than {most_bytes} bytes", os.fspath(file))
        _log.info("reading %s (%d bytes)", os.fspath(file), found.st_size)
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise

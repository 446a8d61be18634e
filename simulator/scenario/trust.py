"""Which files a scenario may name: those beside it, so that one from a stranger reads nothing else of this machine.

A file named in a scenario file (`extends`, `csv`, `trace`) must lie in the folder of the file that the user named, or in the
working folder, at any depth and after links are followed; hidden files and folders are never among them. CLUSTERCOST_FOLDERS
adds folders. What the user writes (on the command line, or as a mapping in Python) is not checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from simulator.errors import UserError
from simulator.scenario.reading import Document, Path, dotted, place

FOLDERS = "CLUSTERCOST_FOLDERS"


def check_named_files(document: Document, file: str, top: str, more: tuple[tuple[Path, str], ...] = ()) -> None:
    """Raise UserError where a scenario file names a file outside the folders it may read.

    Parameters
    ----------
    document : Document
        What `file` holds.
    file : str
        The scenario file; names in it are relative to its folder.
    top : str
        The file that the user named, which `file` is or which extends it.
    more : tuple
        Path and name of files that it names beside those of all scenario files.
    """
    for path, name in (*_named(document.data, ()), *more):
        target = FilePath(os.path.realpath(os.path.join(os.path.dirname(file), name)))
        folders = _folders(top)
        if not any(_within(target, folder) for folder in folders):
            where, written = place(document.positions, path)
            shown = ", ".join(str(folder) for folder in folders)
            raise UserError(f"{where}: {dotted(written)}: found {name!r}, outside the folders that this file may read, or "
                            f"hidden there; allowed: files in {shown}; the variable {FOLDERS} adds folders")


def _named(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the path and the name of every file that a document names."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = (*path, key)
            if isinstance(item, str) and (key == "csv" or here in (("extends",), ("jobs", "trace"), ("load", "trace"))):
                if "\0" not in item:  # no file has such a name, which whoever opens it says
                    yield here, item
            else:
                yield from _named(item, here)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _named(item, (*path, i))


def _folders(top: str) -> list[FilePath]:
    """Return the folders of a scenario; the working folder unless it holds all that the user has."""
    found = [FilePath(os.path.realpath(os.path.dirname(top) or "."))]
    here = FilePath(os.path.realpath("."))
    if not FilePath(os.path.realpath(os.path.expanduser("~"))).is_relative_to(here):
        found.append(here)
    found += [FilePath(os.path.realpath(folder)) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    return list(dict.fromkeys(found))


def _within(target: FilePath, folder: FilePath) -> bool:
    return target.is_relative_to(folder) and not any(part.startswith(".") for part in target.relative_to(folder).parts)

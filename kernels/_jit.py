"""The one decorator of all kernels: compiled, cached, IEEE arithmetic."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.core.config

config: Any = numba.core.config  # untyped, and changed at run time
F = TypeVar("F", bound=Callable[..., Any])


@cache
def cache_folder() -> str:
    """Return the folder of compiled kernels: one for each state of the source files.

    numba looks only at the file a kernel is written in, and would go on using one whose callee, in another file, has changed.
    NUMBA_CACHE_DIR goes first, then the package's own folder, then the user's cache where the installation is read-only.
    """
    here = Path(__file__).parent
    digest = blake2b(digest_size=8)
    for source in sorted(here.glob("*.py")):
        digest.update(source.read_bytes())
    user = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "clustercost"
    temporary = Path(tempfile.gettempdir()) / f"clustercost-{os.environ.get('USER', 'user')}"
    given = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    for base in (*given, here / "__pycache__", user, temporary):
        folder = base / f"kernels-{digest.hexdigest()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return str(temporary)


def kernel(function: F) -> F:
    """Compile with numba on first call, cache on disk, release the interpreter; plain Python under NUMBA_DISABLE_JIT=1."""
    return _compiled(function)


def bare(function: F) -> F:
    """Compile like `kernel`, without counting references: for kernels that make no array and are handed many, over and over."""
    return _compiled(function, _nrt=False)


def inlined(function: F) -> F:
    """Compile like `bare`, and into each caller: for what is called often with many arrays, which a call would copy."""
    return _compiled(function, _nrt=False, inline="always")


def _compiled(function: F, **options: bool | str) -> F:
    njit: Any = numba.njit  # its published types do not know all options
    before = config.CACHE_DIR
    config.CACHE_DIR = cache_folder()  # read by numba when it decorates; other packages keep theirs
    try:
        return cast(F, njit(cache=True, error_model="numpy", nogil=True, **options)(function))
    finally:
        config.CACHE_DIR = before

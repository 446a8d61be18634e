"""The one decorator of all kernels: compiled, cached, IEEE arithmetic."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def _choose_cache_folder() -> None:
    """Give numba a folder it can write, also where the installation is read-only."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    here = Path(__file__).parent
    if os.access(here, os.W_OK):
        return
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "clustercost" / "numba"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        base = Path(tempfile.gettempdir()) / f"clustercost-numba-{os.getuid()}"
    os.environ["NUMBA_CACHE_DIR"] = str(base)


_choose_cache_folder()

import numba  # noqa: E402  (after the cache folder is known)


def kernel(function: F) -> F:
    """Compile with numba on first call and cache on disk; plain Python under NUMBA_DISABLE_JIT=1."""
    return cast(F, numba.njit(cache=True, error_model="numpy")(function))

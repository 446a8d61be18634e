"""Compiled, pure functions on scalars and arrays: the numbers of a training step and of a run.

Nothing here reads a file, keeps state or knows a scenario. Parameter packs are NamedTuples of floats.
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_compiled"]


def is_compiled() -> bool:
    """Return whether the kernels of a run lie compiled in numba's cache (or need no compiling); those of a search may not."""
    import numba

    from kernels.run import run_job
    from kernels.step import step_time

    if getattr(numba.config, "DISABLE_JIT", False):
        return True
    functions: list[Any] = [run_job, step_time]
    return all(_has_index(function._cache) for function in functions)


def _has_index(cache: Any) -> bool:
    from pathlib import Path

    folder, name = Path(cache.cache_path), cache._impl.filename_base
    return any(folder.glob(f"{name}*.nbi"))

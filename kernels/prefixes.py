"""Beginnings of prompts that a replica keeps: the least recently used one goes first.

One list a replica, in the order of last use, over all beginnings there are (Kwon et al., vLLM, SOSP 23, section 4.4, shared
prefix; vLLM's automatic prefix caching drops the least recently used blocks that no request refers to).
"""

from __future__ import annotations

import numpy as np

from kernels._jit import bare
from kernels.serving_packs import Replicas


@bare
def _take(r: Replicas, k: int, g: int) -> None:
    """Take a beginning out of the list."""
    newer, older = r.newer[k, g], r.older[k, g]
    if newer >= 0:
        r.older[k, newer] = older
    else:
        r.newest[k] = older
    if older >= 0:
        r.newer[k, older] = newer
    else:
        r.oldest[k] = newer


@bare
def _lead(r: Replicas, k: int, g: int) -> None:
    """Put a beginning that is not in the list at its end of last use."""
    r.older[k, g] = r.newest[k]
    r.newer[k, g] = -1
    if r.newest[k] >= 0:
        r.newer[k, r.newest[k]] = g
    else:
        r.oldest[k] = g
    r.newest[k] = g


@bare
def use(r: Replicas, k: int, g: int, sizes: np.ndarray, capacity: float) -> bool:
    """Return whether a replica has a beginning; it has it from now on, unless it is larger than all that is kept.

    Parameters
    ----------
    g : int
        The beginning.
    sizes : ndarray, shape (groups,)
        Tokens of each.
    capacity : float
        Tokens of beginnings that are kept.
    """
    if r.present[k, g] > 0:
        _take(r, k, g)
        _lead(r, k, g)
        return True
    if sizes[g] > capacity:
        return False
    while r.stored[k] + sizes[g] > capacity:
        last = r.oldest[k]
        _take(r, k, last)
        r.present[k, last] = 0
        r.stored[k] -= sizes[last]
    _lead(r, k, g)
    r.present[k, g] = 1
    r.stored[k] += sizes[g]
    return False


@bare
def forget(r: Replicas, k: int) -> None:
    """Empty what a replica keeps."""
    g = r.newest[k]
    while g >= 0:
        r.present[k, g] = 0
        g = r.older[k, g]
    r.newest[k], r.oldest[k], r.stored[k] = -1, -1, 0.0

"""Random streams keyed by (seed, trial, purpose): the same on any worker, in any order."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, trial: int, purpose: str) -> np.random.Generator:
    """Return the generator of one purpose of one trial (Philox, counter-based: Salmon et al., SC'11).

    The key is a hash, so that neighbouring seeds and trials share nothing, and a purpose added later moves no other.
    """
    text = f"{seed}/{trial}/{purpose}".encode()
    key = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))

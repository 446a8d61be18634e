"""Random streams keyed by (seed, trial, purpose): the same on any worker, in any order."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence


class _Key(ISeedSequence):
    """Hands a key to Philox as it is: `Philox(key=...)` would first ask the system for entropy that nobody uses."""

    def __init__(self, key: np.ndarray) -> None:
        self._key = key

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """Return the key, two words of 64 bits."""
        return self._key


def stream(seed: int, trial: int, purpose: str) -> np.random.Generator:
    """Return the generator of one purpose of one trial (Philox, counter-based: Salmon et al., SC'11).

    The key is a hash, so that neighbouring seeds and trials share nothing, and a purpose added later moves no other.
    """
    text = f"{seed}/{trial}/{purpose}".encode()
    key = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(_Key(key)))  # type: ignore[arg-type]

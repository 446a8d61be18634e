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


def _key(seed: int, trial: int, purpose: str) -> np.ndarray:
    """Return two words: a hash, so that neighbouring seeds and trials share nothing, and a purpose added later moves no other."""
    text = f"{seed}/{trial}/{purpose}".encode()
    return np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), dtype=np.uint64)


def stream(seed: int, trial: int, purpose: str) -> np.random.Generator:
    """Return the generator of one purpose of one trial (Philox, counter-based: Salmon et al., SC'11)."""
    return np.random.Generator(np.random.Philox(_Key(_key(seed, trial, purpose))))  # type: ignore[arg-type]


class Streams:
    """The streams of one trial after another, in generators that are kept, one for each purpose.

    A generator costs less to set to another key than to make, with the C interface that compiled code asks it for. One trial
    at a time may use them.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[np.random.Generator, Any]] = {}

    def __call__(self, seed: int, trial: int, purpose: str, luck: str = "") -> np.random.Generator:
        """Return what `stream` does, for other luck of this name where one is given; what it gave before is void."""
        named = f"{luck}: {purpose}" if luck else purpose
        if purpose not in self._kept:
            made = stream(seed, trial, named)
            self._kept[purpose] = made, made.bit_generator.state
            return made
        kept, start = self._kept[purpose]
        start["state"]["key"][:] = _key(seed, trial, named)
        kept.bit_generator.state = start
        return kept

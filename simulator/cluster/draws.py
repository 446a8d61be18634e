"""Random times of one purpose, drawn in blocks from its own stream."""

from __future__ import annotations

import numpy as np

from simulator.fields import Distribution

_BLOCK = 256


class Draws:
    """Successive draws of a recovery time: a constant, or a distribution on its own stream."""

    def __init__(self, value: float | Distribution, rng: np.random.Generator | None) -> None:
        self._value, self._rng = value, rng
        self._block: list[float] = []

    def next(self) -> float:
        """Return the next time, s."""
        if not isinstance(self._value, Distribution):
            return self._value
        if not self._block:
            assert self._rng is not None
            self._block = self._value.draw(self._rng, _BLOCK).tolist()[::-1]
        return self._block.pop()

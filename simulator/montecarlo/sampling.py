"""What is not known, drawn once a trial: random, Latin hypercube or Sobol numbers, mirrored, correlated, and inverted.

The draw of a trial is a function of scenario, seed and number of the trial alone: order, chunks and workers change nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np

from simulator.fields import Distribution, Record, map_distributions
from simulator.montecarlo.streams import Streams, stream
from simulator.scenario import QueueScenario, Scenario, ServingScenario
from simulator.scenario.lifecycle import LifecycleScenario
from simulator.scenario.monte_carlo import correlated, normal_correlations, uncertain

_BITS = 30  # of a Sobol number: 2^30 points
_BLOCK = 256  # Sobol points made at once; a power of two
_LEAST = 2.0**-54  # uniform numbers stay this far from 0 and 1, where some quantiles are infinite
R = TypeVar("R", bound=Record)


class Inputs:
    """Draws what is not known in a scenario or jobs file.

    Attributes
    ----------
    paths : tuple of str
        Of all distributions drawn once a trial, sorted; the dimensions of a point in this order.
    distributions : dict
        By path, in the order of the scenario.
    """

    def __init__(self, scenario: Scenario | QueueScenario | ServingScenario | LifecycleScenario) -> None:
        self.distributions: dict[str, Distribution] = uncertain(scenario)
        self.paths = tuple(sorted(self.distributions))
        self._how = scenario.monte_carlo
        self._parts = frozenset(path.split(".")[0] for path in self.paths)
        together = correlated(self._how)
        self._together = [self.paths.index(path) for path in together]
        self._mix = np.linalg.cholesky(normal_correlations(self._how, together)) if together else np.empty((0, 0))
        self._sobol: _Sobol | None = None
        self._streams = Streams()

    def point(self, trial: int) -> np.ndarray:
        """Return the independent uniform numbers of a trial, shape (paths,), in the order of `paths`."""
        number, mirrored = divmod(trial, 2) if self._how.antithetic else (trial, 0)
        u = self._plain(number)
        return 1.0 - u if mirrored else u

    def _plain(self, number: int) -> np.ndarray:
        """Return a point before it is mirrored."""
        seed = self._how.seed
        if self._how.sampling == "sobol":
            if self._sobol is None:
                self._sobol = _Sobol(len(self.paths), seed)
            return self._sobol.point(number)
        u = np.array([self._streams(seed, number, path).random() for path in self.paths])
        if self._how.sampling == "random":
            return u
        strata = -(-self._how.trials // 2) if self._how.antithetic else self._how.trials
        design, place = divmod(number, strata)
        return (np.array([_order(seed, path, strata, design)[place] for path in self.paths]) + u) / strata

    def values(self, point: np.ndarray) -> dict[str, float]:
        """Return the values of a point by path, in the order of the scenario; SI.

        Parameters
        ----------
        point : ndarray, shape (paths,)
            Independent uniform numbers; correlations are put in here.
        """
        u = np.clip(point, _LEAST, 1.0 - _LEAST)
        if self._together:
            from scipy.special import ndtr, ndtri

            u[self._together] = ndtr(self._mix @ ndtri(u[self._together]))
        by_path = dict(zip(self.paths, u, strict=True))
        return {path: float(one.quantile(by_path[path])) for path, one in self.distributions.items()}

    def draw(self, trial: int) -> dict[str, float]:
        """Return the values of a trial by path, in the order of the scenario; SI."""
        return self.values(self.point(trial)) if self.paths else {}

    def placed(self, scenario: R, values: dict[str, float]) -> R:
        """Return the scenario with values by path in place of its distributions; parts without one are the same objects."""
        return map_distributions(scenario, lambda path, _: values[path], only=self._parts) if values else scenario


@lru_cache(maxsize=128)
def _order(seed: int, path: str, strata: int, design: int) -> np.ndarray:
    """Return the stratum of each trial for one path, shape (strata,): a permutation (McKay, Beckman and Conover 1979).

    Trials beyond the number asked for begin another design.
    """
    return stream(seed, design, f"strata {path}").permutation(strata).astype(np.int32)


class _Sobol:
    """Scrambled Sobol points by number, made a block at a time.

    scipy's scrambling: a random lower triangular matrix and a digital shift (Matousek, J. Complexity 14, 1998), which has the
    variance of Owen's nested scrambling for smooth functions.
    """

    def __init__(self, dimensions: int, seed: int) -> None:
        self._dimensions, self._seed = dimensions, seed
        self._start()

    def _start(self) -> None:
        from scipy.stats import qmc

        seed = int(stream(self._seed, 0, "sobol").integers(2**62))
        self._engine = qmc.Sobol(self._dimensions, scramble=True, bits=_BITS, seed=seed)
        self._next, self._first, self._block = 0, 0, np.empty((0, self._dimensions))

    def point(self, number: int) -> np.ndarray:
        """Return point `number`, shape (dimensions,): always the same, whatever was asked for before."""
        first = number - number % _BLOCK
        if self._block.size == 0 or first != self._first:
            if first < self._next:
                self._start()
            if first > self._next:
                self._engine.fast_forward(first - self._next)
            # The middle of a cell of the finest grid, so that none is 0.
            self._block = self._engine.random(_BLOCK) + 0.5**(_BITS + 1)
            self._first, self._next = first, first + _BLOCK
        return self._block[number - first].copy()

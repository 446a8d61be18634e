"""Which of the numbers that are not known is worth measuring better: a tornado, and Sobol indices with luck as one more input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import Trials
from simulator.montecarlo.variance import COLUMNS
from simulator.planning.paired import paired_difference
from simulator.planning.rows import Design, run_rows
from simulator.planning.sobol import Indices, check_samples, sobol_indices
from simulator.scenario import Scenario
from simulator.scenario.monte_carlo import uncertain

LUCK = "luck"
LOW, HIGH = 0.1, 0.9
TRIALS, SAMPLES = 100, 512
WORTH = 0.1  # of the variance, from which knowing an input is worth it: a standard deviation 5 % smaller
MATTERS = 0.05  # of the variance
_MOST_TRIALS = 100_000
_LUCKS = 2**20  # trials from which a run of the Sobol design takes its luck: hardly any two share it by chance
_EXAMPLE = "pricing: {rental: {price: {triangular: [2 USD/h, 2.5 USD/h, 4 USD/h]}}}"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Swing:
    """What one input does to the mean of a result, all others at their central values.

    Attributes
    ----------
    path : str
    values : tuple of float
        Its P10, central value and P90, SI.
    low, high : float
        Mean of the result with the input at P10 and at P90.
    change, half : float
        High less low, run by run with the same luck, and half of its 95 % interval.
    """

    path: str
    values: tuple[float, float, float]
    low: float
    high: float
    change: float
    half: float


@dataclass(frozen=True)
class Tornado:
    """One result: inputs by what they change, the largest first.

    Attributes
    ----------
    central : float
        Mean with all inputs at their central values; NaN where the result is not known.
    luck : tuple of float
        P10 and P90 of single runs there.
    """

    column: str
    central: float
    luck: tuple[float, float]
    swings: tuple[Swing, ...]


@dataclass(frozen=True)
class Sensitivity:
    """What `sensitivity` finds; `tornados` and `indices` by column, in the order asked for.

    Attributes
    ----------
    together : tuple of str
        Groups of correlated inputs, as they are named in `indices`.
    trials, samples, runs : int
        Runs of each arm of the tornado, base points of the Sobol design, and all runs.
    unfinished : tuple of str
        Why runs did not finish, which are left out with those that are compared with them.
    """

    scenario: Scenario
    tornados: dict[str, Tornado]
    indices: dict[str, Indices]
    together: tuple[str, ...]
    trials: int
    samples: int
    runs: int
    unfinished: tuple[str, ...] = ()


def sensitivity(scenario: Scenario, columns: Sequence[str] = COLUMNS, trials: int = TRIALS, samples: int = SAMPLES,
                seed: int | None = None, workers: int | None = 1, progress: Progress | None = None) -> Sensitivity:
    """Return what each input that is not known does to results; the same with any number of workers.

    Parameters
    ----------
    scenario : Scenario
        Its sampling method is not used.
    columns : sequence of str
        Columns of `trials.parquet`.
    trials : int
        Runs of each arm of the tornado: trials 0, 1, ... of the scenario, so that all arms share their luck.
    samples : int
        Base points of the Sobol design, a power of two; it takes samples (groups + 3) runs.
    seed : int, optional
        Instead of the scenario's.
    progress : callable, optional
        Called with the number of runs that came back since the last call.

    Raises
    ------
    UserError
        Nothing is uncertain, too few trials or samples, a column that is no result, a run that cannot be planned, or more
        than one run in a hundred that does not finish.
    """
    check_samples(samples)
    if not 2 <= trials <= _MOST_TRIALS:
        raise UserError(f"--trials: found {trials:,}; allowed: 2 to {_MOST_TRIALS:,}")
    changes = {} if seed is None else {"seed": seed}
    held = Trials(scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update=changes)}))
    paths = held.inputs.paths
    if not paths:
        raise UserError(f"{scenario.name}: nothing is uncertain, so nothing is worth measuring better; allowed: a distribution "
                        f"in place of any number that is not known well, such as {_EXAMPLE} (docs/scenario.md)")
    runs, unfinished = 0, list[str]()

    def results(values: np.ndarray, lucks: np.ndarray) -> np.ndarray:
        nonlocal runs
        runs += lucks.size
        count = None if progress is None else lambda part, _: progress(next(iter(part.values())).size)
        found, problems = run_rows(Design(held.settled, values, lucks, tuple(columns)), held, workers=workers, progress=count)
        unfinished.extend(problems[run] for run in sorted(problems))
        return found

    def evaluate(points: np.ndarray) -> np.ndarray:
        values = [held.inputs.values(point) for point in points[:, 1:]]
        lucks = np.minimum(points[:, 0] * _LUCKS, _LUCKS - 1).astype(int)
        return results(np.array([[by_path[path] for path in paths] for by_path in values]), lucks)

    tornados = _tornados(held, columns, trials, results)
    groups = _groups(scenario)
    # Luck goes first: two rows that differ in it alone are neighbours, and share a plan.
    number = 1 + int(stream(held.scenario.monte_carlo.seed, 0, "sensitivity").integers(2**31 - 2))
    indices = sobol_indices(evaluate, (LUCK, *paths), samples, number, (LUCK, *groups))
    together = tuple(dict.fromkeys(group for group, path in zip(groups, paths, strict=True) if group != path))
    return Sensitivity(held.scenario, tornados, dict(zip(columns, indices, strict=True)), together, trials, samples, runs,
                       tuple(unfinished))


def runs_of(scenario: Scenario, trials: int, samples: int) -> int:
    """Return how many runs `sensitivity` takes."""
    groups = _groups(scenario)
    return trials * (1 + 2 * len(groups)) + samples * (len(set(groups)) + 3)


def _tornados(held: Trials, columns: Sequence[str], trials: int,
              results: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> dict[str, Tornado]:
    """Run all arms, each with the same luck: the centre, then each input at P10 and at P90."""
    paths = held.inputs.paths
    centre = np.array([held.uncertain[path].central() for path in paths])
    ends = np.array([held.uncertain[path].quantile(np.array([LOW, HIGH])) for path in paths])  # (paths, 2)
    arms = np.tile(centre, (1 + 2 * len(paths), 1))
    for i, pair in enumerate(ends):
        arms[1 + 2 * i:3 + 2 * i, i] = pair
    found = results(np.repeat(arms, trials, axis=0), np.tile(np.arange(trials), len(arms)))
    found = found.reshape(len(arms), trials, len(columns))
    values = [(float(low), float(middle), float(high)) for (low, high), middle in zip(ends, centre, strict=True)]
    return {column: _tornado(column, paths, values, found[:, :, k]) for k, column in enumerate(columns)}


def _tornado(column: str, paths: Sequence[str], values: Sequence[tuple[float, float, float]], found: np.ndarray) -> Tornado:
    """Return the tornado of one result, shape (arms, trials); trials that did not finish in some arm are left out of all."""
    whole = ~np.isnan(found).any(axis=0)
    if whole.any():
        found = found[:, whole]
    base, low, high = found[0], found[1::2], found[2::2]
    changes = [paired_difference(*ends) for ends in zip(high, low, strict=True)]
    swings = [Swing(path, values[i], float(low[i].mean()), float(high[i].mean()), changes[i].mean, changes[i].half)
              for i, path in enumerate(paths)]
    swings.sort(key=lambda swing: -abs(swing.change))
    spread = np.quantile(base, [LOW, HIGH])
    return Tornado(column, float(base.mean()), (float(spread[0]), float(spread[1])), tuple(swings))


def _groups(scenario: Scenario) -> list[str]:
    """Return the group of each path, in their sorted order: itself, or with the paths that correlations tie to it.

    Indices need inputs that know nothing of each other: those that do are one input together.
    """
    tied = {path: {path} for path in sorted(uncertain(scenario))}
    for given in scenario.monte_carlo.correlations:
        both = tied[given.between[0]] | tied[given.between[1]]
        tied.update(dict.fromkeys(both, both))
    return [" + ".join(sorted(tied[path])) for path in tied]


def advice(column: str, found: Indices) -> str:
    """Return in one line what is worth measuring better for a result.

    Named is the input of the largest first-order index: the share of the variance that goes, in the mean, when it is known. What
    does not matter has a total index below 5 %, its interval included (Saltelli et al., "Global Sensitivity Analysis: The
    Primer", 2008, section 1.2.14: settings "factor prioritization" and "factor fixing", FROM MEMORY).
    """
    if not found.varies:
        return f"{column}: {'not known' if np.isnan(found.mean) else 'does not vary; there is nothing to measure'}"
    first, half, total = found.first[1:], found.first_half[1:], found.total[1:]
    names, luck = found.names[1:], min(1.0, max(0.0, float(found.total[0])))
    idle = [name for name, upper in zip(names, total + found.total_half[1:], strict=True) if upper < MATTERS]
    best = int(np.argmax(first))
    rest = f"; does not matter: {', '.join(idle)}" if idle else ""
    if first[best] >= WORTH and first[best] > half[best]:
        low, high = (min(1.0, max(0.0, float(first[best] + side * half[best]))) for side in (-1.0, 1.0))
        return (f"{column}: measure {names[best]}: knowing it takes {min(1.0, float(first[best])):.0%} of the variance away "
                f"({low:.0%} to {high:.0%}); with all inputs known, luck leaves {luck:.0%}{rest}")
    if 1.0 - luck - float(found.total_half[0]) > WORTH:
        return (f"{column}: no single input is worth measuring alone; all together take {1.0 - luck:.0%} of the variance "
                f"away, and {names[int(np.argmax(total))]} has the largest total index{rest}")
    return f"{column}: luck rules, with {luck:.0%} of the variance; measuring better does not help"

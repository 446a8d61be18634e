"""How much of a result's variance comes from not knowing, and how much from luck.

Values of what is not known are drawn, and with each the run is played several times with other luck: a one-way analysis of
variance with random effects (Searle, Casella and McCulloch, "Variance Components", 1992, chapter 3, FROM MEMORY).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.errors import UserError, unknown_name
from simulator.montecarlo.trials import Trials
from simulator.scenario import Scenario

COLUMNS = ("time_s", "energy_j", "cost_usd", "carbon_kg")
OUTER, INNER = 100, 4
Row = dict[str, float]


@dataclass(frozen=True)
class Shares:
    """Where the variance of one result comes from.

    Attributes
    ----------
    column : str
    mean, std : float
        Of the result, in its unit.
    unknown : float
        Share of the variance that would go if all were known; the rest is luck. NaN where nothing varies.
    low, high : float
        95 % interval of that share.
    outer, inner : int
        Draws of what is not known, and runs with each.
    """

    column: str
    mean: float
    std: float
    unknown: float
    low: float
    high: float
    outer: int
    inner: int

    @property
    def luck(self) -> float:
        """Share of the variance that is left when all is known."""
        return 1.0 - self.unknown


class NestedTrials:
    """Runs of a scenario in groups that share what is not known.

    Run `number` has draw `number // inner`, and of it the luck `number % inner`; the first of a draw is the study's own trial of
    that number. A run is a function of scenario, seed and number alone.
    """

    def __init__(self, scenario: Scenario, inner: int, seed: int | None = None) -> None:
        # Draws must know nothing of each other: intervals rest on it.
        changes = {"sampling": "random", "antithetic": False, **({} if seed is None else {"seed": seed})}
        self.trials = Trials(scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update=changes)}))
        self.inner = inner

    def run(self, number: int) -> Row:
        """Return the row of one run."""
        draw, replicate = divmod(number, self.inner)
        luck = f"replicate {replicate}" if replicate else ""
        return self.trials.run_with(self.trials.inputs.draw(draw), draw, luck).row


def variance_shares(scenario: Scenario, columns: Sequence[str] = COLUMNS, outer: int = OUTER, inner: int = INNER,
                    seed: int | None = None, progress: Callable[[int], None] | None = None) -> list[Shares]:
    """Return where the variance of results comes from.

    Parameters
    ----------
    scenario : Scenario
    columns : sequence of str
        Columns of `trials.parquet`.
    outer, inner : int
        Draws of what is not known, at least 3, and runs with each, at least 2.
    seed : int, optional
        Instead of the scenario's.
    progress : callable, optional
        Called with the number of runs done.

    Raises
    ------
    UserError
        Too few draws or runs, or a column that is no result.
    """
    if outer < 3 or inner < 2:
        raise UserError(f"found {outer} draws of {inner} runs each; allowed: at least 3 draws of at least 2 runs")
    nested = NestedTrials(scenario, inner, seed)
    found: dict[str, np.ndarray] = {}
    for number in range(outer * inner):
        row = nested.run(number)
        if not found:
            check_columns(columns, row)
            found = {column: np.empty((outer, inner)) for column in columns}
        for column, values in found.items():
            values[divmod(number, inner)] = row[column]
        if progress is not None:
            progress(number + 1)
    known = not nested.trials.uncertain
    return [shares_of(column, values, known=known) for column, values in found.items()]


def check_columns(columns: Sequence[str], row: Row) -> None:
    """Raise UserError for a column that is not in the rows."""
    for column in columns:
        if column not in row:
            raise UserError(unknown_name("column", column, row))


def shares_of(column: str, values: np.ndarray, *, known: bool = False) -> Shares:
    """Return the shares of one result.

    The variance of not knowing is (MSB - MSW) / inner, that of luck MSW, with the mean squares between and within draws; a
    negative one counts as zero. The interval is a jackknife over draws of log(MSB / MSW), which nearly holds for skewed results,
    where the F interval of normal ones does not (Arvesen and Schmitz, Biometrics 26, 1970, FROM MEMORY; docs/model.md).

    Parameters
    ----------
    column : str
    values : ndarray, shape (outer, inner)
    known : bool
        Nothing is unknown, so all variance is luck.
    """
    outer, inner = values.shape
    means, within = values.mean(axis=1), values.var(axis=1, ddof=1)
    between = inner * float(means.var(ddof=1))
    luck = float(within.mean())
    unknown = 0.0 if known else max(0.0, (between - luck) / inner)
    total = unknown + luck
    tiny = (1e-12 * float(np.abs(values).max())) ** 2  # rounding
    share = unknown / total if total > tiny else math.nan
    low, high = share, share
    if not known and total > tiny and luck > tiny:
        low, high = _share_interval(means, within, inner)
    return Shares(column, float(values.mean()), math.sqrt(total), share, low, high, outer, inner)


def _share_interval(means: np.ndarray, within: np.ndarray, inner: int) -> tuple[float, float]:
    """Return the 95 % interval of the share that is not known."""
    from scipy.special import stdtrit

    n = means.size
    centred = means - means.mean()
    others = ((centred**2).sum() - centred**2 - centred**2 / (n - 1)) / (n - 2)  # variance of the means without each
    without = np.log(inner * others / ((within.sum() - within) / (n - 1)))
    pseudo = n * math.log(inner * float(means.var(ddof=1)) / float(within.mean())) - (n - 1) * without
    half = float(stdtrit(n - 1, 0.975)) * float(pseudo.std(ddof=1)) / math.sqrt(n)
    ratios = [math.exp(float(pseudo.mean()) + side * half) for side in (-1.0, 1.0)]
    low, high = (max(0.0, (ratio - 1.0) / (ratio + inner - 1.0)) for ratio in ratios)
    return low, high


def variance_table(shares: Sequence[Shares]) -> str:
    """Return the shares as a table for the terminal."""
    first = shares[0]
    lines = [f"{'Variance':<16}{'std':>9}{'not knowing':>13}{'95 %':>14}{'luck':>6}"]
    for one in shares:
        relative = f"{one.std / abs(one.mean):.2%}" if one.mean else f"{one.std:.3g}"
        if math.isnan(one.unknown):
            lines.append(f"{one.column:<16}{relative:>9}{'-':>13}{'':>14}{'-':>6}")
            continue
        interval = f"{one.low:.0%} to {one.high:.0%}"
        lines.append(f"{one.column:<16}{relative:>9}{one.unknown:>13.0%}{interval:>14}{one.luck:>6.0%}")
    return "\n".join([*lines, f"{first.outer} draws of what is not known, {first.inner} runs with each;",
                      "std as a share of the mean"])

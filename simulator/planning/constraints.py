"""What a plan must meet: chances, means, and the peak of power; read from goals and from text, judged on trials.

    P(time <= 60 days) >= 0.9        chance constraint: this share of all runs at least
    P(availability >= 99 %) >= 0.8   the same with a limit from below
    mean(energy) <= 30 GWh           of the mean over runs
    availability >= 99 %             the same: a column alone stands for its mean
    peak_power <= 20 MW              one number, without a trial

Columns are those of trials.parquet, with or without their unit (`time` is `time_s`), and two more: `availability`, the share of a
run's time in which it does not wait for spare nodes, and `peak_power`, the power of the facility while the hungriest step runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from simulator.cluster.plan import KINDS as _FAILURE_KINDS
from simulator.errors import UserError, unknown_name
from simulator.fields import file_key
from simulator.scenario import Scenario
from simulator.units import QuantityError, parse_quantity, shorten

AVAILABILITY, PEAK_POWER = "availability", "peak_power_w"
_WAITING = "time_wait_for_spares_s"
DEADLINE_CHANCE, BUDGET_CHANCE = 0.9, 0.8  # where goals give a limit and no chance
# Kinds of quantity by the end of a column's name, longest first.
_KINDS = (("_usd", "money"), ("_kg", "carbon_mass"), ("_s", "time"), ("_j", "energy"), ("_w", "power"))
_PLAIN = ("availability", "ettr", "mfu", "contract_share_hourly", "checkpoints", "interruptions", "water_l", "water_site_l",
          "water_grid_l", *(f"interruptions_{kind.replace('-', '_')}" for kind in _FAILURE_KINDS))
_TIMES = ((86400.0, "days"), (3600.0, "h"), (1.0, "s"))
_SUMS = ((1e9, "B USD"), (1e6, "M USD"), (1.0, "USD"))
_POWERS = ((1e6, "MW"), (1e3, "kW"), (1.0, "W"))
_CHANCE = re.compile(r"^P\s*\(\s*(?P<inside>.*)\)\s*>=\s*(?P<chance>\S.*?)\s*$", re.IGNORECASE)
_MEAN = re.compile(r"^mean\s*\(\s*(?P<column>[A-Za-z_]\w*)\s*\)\s*(?P<rest>.*)$", re.IGNORECASE)
_LIMIT = re.compile(r"^(?P<column>[A-Za-z_]\w*)\s*(?P<sign><=|>=)\s*(?P<limit>\S.*?)\s*$")
_FORMS = "'P(time <= 60 days) >= 0.9', 'mean(energy) <= 30 GWh', 'availability >= 99 %' or 'peak_power <= 20 MW'"

Columns = Mapping[str, np.ndarray]
Verdict = Literal["met", "open", "broken"]


@dataclass(frozen=True)
class Constraint:
    """One condition.

    Attributes
    ----------
    column : str
        As in rows of results, or `AVAILABILITY` or `PEAK_POWER`.
    at_most : bool
        The limit is from above.
    limit : float
        SI.
    chance : float or None
        Share of runs that must keep the limit; None: their mean must.
    text : str
        As it was given.
    """

    column: str
    at_most: bool
    limit: float
    chance: float | None
    text: str

    def kept(self, values: np.ndarray) -> np.ndarray:
        """Return whether each value keeps the limit; NaN does not."""
        return values <= self.limit if self.at_most else values >= self.limit


class Judgement(NamedTuple):
    """How a candidate stands to a constraint.

    Attributes
    ----------
    value, low, high : float
        The chance, or the mean in SI, with its interval.
    verdict : str
        `met` or `broken` where the whole interval says so, else `open`.
    shortfall : float
        How far the value is from what is asked: in chance, or as a share of the limit; not above 0 where it is met.
    """

    value: float
    low: float
    high: float
    verdict: Verdict
    shortfall: float


def column_name(text: str) -> str:
    """Return the column of a name with or without its unit; the unit is checked, not whether a run has the column."""
    if text in ("peak_power", PEAK_POWER):
        return PEAK_POWER
    if text in _PLAIN:
        return text
    if any(text.endswith(end) for end, _ in _KINDS):
        return text
    for short in (f"{text}{end}" for end, _ in _KINDS):
        if short in _known():
            return short
    raise UserError(unknown_name("result", text, sorted({AVAILABILITY, "peak_power", *map(file_key, _known()), *_PLAIN})))


def is_known(column: str) -> bool:
    """Whether any run may have a column; others depend on the scenario, and on how they are spelt."""
    return column in (*_known(), *_PLAIN, PEAK_POWER)


@lru_cache(maxsize=1)
def _known() -> tuple[str, ...]:
    """Return the columns that results may have."""
    from simulator.accounting.ledger import STATES
    from simulator.accounting.rates import IT_POWER

    return ("time_s", "cost_usd", "energy_j", "carbon_kg", "carbon_operational_kg", "carbon_market_kg", "carbon_embodied_kg",
            "power_mean_w", "above_cap_j", "supply_grid_j", "time_straggler_s", "time_throttled_s",
            *(f"time_{name}_s" for name in STATES), *(f"cost_{name}_usd" for name in STATES),
            *(f"energy_{name}_j" for name in IT_POWER), "cost_spares_usd", "cost_electricity_usd")


def parse_constraint(text: str, where: str = "--subject-to") -> Constraint:
    """Return the constraint of a text; raise UserError with what is allowed where it cannot be read."""
    try:
        return _parsed(text.strip())
    except (UserError, QuantityError) as error:
        raise UserError(f"{where}: {shorten(text)}: {error}") from None


def _parsed(text: str) -> Constraint:
    if match := _CHANCE.match(text):
        column, at_most, limit = _limit(match["inside"].strip())
        chance = parse_quantity(_number(match["chance"]), "ratio")
        if not 0.0 < chance < 1.0:
            raise UserError(f"found the chance {match['chance']}; allowed: more than 0 and less than 1")
        return Constraint(column, at_most, limit, None if column == PEAK_POWER else chance, text)
    if match := _MEAN.match(text):
        text_inside = f"{match['column']} {match['rest']}"
        return Constraint(*_limit(text_inside), None, text)
    return Constraint(*_limit(text), None, text)


def _limit(text: str) -> tuple[str, bool, float]:
    """Return column, whether the limit is from above, and the limit."""
    match = _LIMIT.match(text)
    if match is None:
        raise UserError(f"found {shorten(text)}; allowed: {_FORMS}")
    column = column_name(match["column"])
    kind = next((kind for end, kind in _KINDS if column.endswith(end) and column not in _PLAIN), "ratio")
    return column, match["sign"] == "<=", parse_quantity(_number(match["limit"]), kind)


def _number(text: str) -> float | str:
    """Return a bare number as one: a quantity without a unit has to come as a number."""
    try:
        return float(text)
    except ValueError:
        return text


def goal_constraints(scenario: Scenario) -> tuple[Constraint, ...]:
    """Return the constraints of a scenario's goals."""
    goals, found = scenario.central().goals, []
    if goals.deadline_s is not None:
        chance = DEADLINE_CHANCE if goals.deadline_chance is None else goals.deadline_chance
        found.append(Constraint("time_s", True, goals.deadline_s, chance,
                                f"P(time <= {_plain(goals.deadline_s, _TIMES)}) >= {chance:g}"))
    if goals.budget_usd is not None:
        chance = BUDGET_CHANCE if goals.budget_chance is None else goals.budget_chance
        found.append(Constraint("cost_usd", True, goals.budget_usd, chance,
                                f"P(cost <= {_plain(goals.budget_usd, _SUMS)}) >= {chance:g}"))
    if goals.peak_power_w is not None:
        found.append(Constraint(PEAK_POWER, True, goals.peak_power_w, None,
                                f"peak_power <= {_plain(goals.peak_power_w, _POWERS)}"))
    return tuple(found)


def _plain(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Return a quantity as a file may write it, in the largest unit of which there is one at least."""
    factor, unit = next(((f, u) for f, u in units if value >= f), units[-1])
    return f"{value / factor:g} {unit}"


def with_derived(columns: Columns, peak_power_w: float) -> dict[str, np.ndarray]:
    """Return the columns of trials with `availability` and `peak_power_w` beside them."""
    time_s = np.asarray(columns["time_s"], dtype=float)
    return {**columns, AVAILABILITY: 1.0 - columns[_WAITING] / time_s, PEAK_POWER: np.full(time_s.shape, peak_power_w)}


def judge(constraint: Constraint, columns: Columns, error: float = 0.05) -> Judgement:
    """Return how the trials of a candidate stand to a constraint.

    Parameters
    ----------
    constraint : Constraint
    columns : mapping
        As `with_derived` returns it; arrays of shape (trials,).
    error : float
        Chance, each way, that `met` or `broken` is wrong: a bound of Clopper and Pearson for a chance (Biometrika 26, 1934;
        exact), of Student's t for a mean.

    Raises
    ------
    UserError
        Results have no such column.
    """
    if constraint.column not in columns:
        raise UserError(f"{constraint.text}: this scenario has no result {constraint.column!r}; allowed: "
                        f"{', '.join(sorted(columns)[:12])}, ... (the columns of trials.parquet)")
    values = columns[constraint.column]
    if constraint.chance is not None:
        hits = int(constraint.kept(values).sum())
        low, high = binomial_bounds(hits, values.size, error)
        value = hits / values.size
        verdict: Verdict = "met" if low >= constraint.chance else "broken" if high < constraint.chance else "open"
        return Judgement(value, low, high, verdict, constraint.chance - value)
    value = float(np.mean(values))
    if math.isnan(value):
        return Judgement(value, -math.inf, math.inf, "broken", math.inf)
    half = 0.0 if constraint.column == PEAK_POWER else t_half(values, error)
    over = (value - constraint.limit) * (1.0 if constraint.at_most else -1.0)
    verdict = "met" if over + half <= 0.0 else "broken" if over - half > 0.0 else "open"
    return Judgement(value, value - half, value + half, verdict, over / abs(constraint.limit) if constraint.limit else over)


def binomial_bounds(hits: int, trials: int, error: float) -> tuple[float, float]:
    """Return the one-sided bounds of Clopper and Pearson, each wrong with `error` at most."""
    from scipy.special import betaincinv

    low = float(betaincinv(hits, trials - hits + 1, error)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1.0 - error)) if hits < trials else 1.0
    return low, high


def t_half(values: np.ndarray, error: float) -> float:
    """Return how far the mean may be off on one side with `error`, by Student's t; infinite for one value."""
    from scipy.special import stdtrit

    n = values.size
    if n < 2:
        return math.inf
    return float(stdtrit(n - 1, 1.0 - error) * values.std(ddof=1) / math.sqrt(n))


"""From a date to a cluster: the smallest and the cheapest number of accelerators that finishes a run in time, with some chance.

Sizes are whole nodes with a layout that gives all data-parallel ranks equal work. Of sizes about 2 % apart those stay whose
steps are faster than those of all smaller ones; among them the chance rises with the size until failures overtake it, so the
smallest is found in growing strides and by bisection. All sizes have the same luck (common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.cluster import plan_run
from simulator.errors import UserError
from simulator.montecarlo.points import points_of, run_points
from simulator.montecarlo.statistics import share_with_interval
from simulator.performance import estimate_steps
from simulator.planning.costs import with_layout
from simulator.scenario import Layout, Scenario

CHANCE = 0.9
TRIALS = 200
_APART = 1.02  # one size and the next
_SPAN = 64.0  # sizes up to so many times what would do if steps were as efficient as now
_FEWER = 4.0  # and down to this part of it
_LARGER = 6  # sizes above the smallest that are tried for a lower cost
_MOST = 1 << 21  # accelerators
COLUMNS = ("time_s", "cost_usd", "energy_j", "accelerator_s")


@dataclass(frozen=True)
class Fit:
    """A number of accelerators with its fastest layout; `time_s` is the time of all steps, without what stops a run."""

    accelerators: int
    layout: Layout
    recompute: Any
    time_s: float
    mfu: float

    @property
    def accelerator_s(self) -> float:
        """What all steps take of the cluster, accelerator-seconds."""
        return self.accelerators * self.time_s


@dataclass(frozen=True)
class Tried:
    """A size and its trials.

    Attributes
    ----------
    scenario : Scenario
        Ready to run.
    chance : dict
        Probability to finish by the deadline, and its 95 % interval `low`, `high`.
    columns : dict of ndarray, shape (trials,)
        Results, SI; NaN where a trial did not finish.
    problem : str
        Why one did not; empty where all did.
    """

    fit: Fit
    scenario: Scenario
    chance: dict[str, float]
    columns: dict[str, np.ndarray]
    problem: str = ""

    def mean(self, column: str) -> float:
        """Return the mean of a result over the trials that finished."""
        values = self.columns[column]
        return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan

    def quantile(self, column: str, q: float) -> float:
        """Return a quantile of a result over the trials that finished."""
        values = self.columns[column]
        return float(np.nanquantile(values, q)) if np.isfinite(values).any() else math.nan


@dataclass(frozen=True)
class DeadlineChoice:
    """What was tried, in order of size, and of it the smallest and the cheapest that meet the deadline."""

    deadline_s: float
    chance: float
    tried: tuple[Tried, ...]
    smallest: Tried
    cheapest: Tried


def fit(scenario: Scenario, accelerators: int) -> Fit | None:
    """Return a number of accelerators with its fastest layout; None where none fits, or gives all ranks equal work."""
    sized = with_layout(_resized(scenario, accelerators), even=True)
    if sized is None:
        return None
    estimates = estimate_steps(sized)
    assert isinstance(sized.training.layout, Layout)
    return Fit(accelerators, sized.training.layout, sized.training.recompute,
               sum(e.batch.steps * e.step_time_s for e in estimates), max(estimates, key=lambda e: e.batch.steps).mfu)


def sizes(per_node: int, low: float, high: float) -> list[int]:
    """Return whole nodes between two numbers of accelerators, about 2 % apart: of those close together the roundest."""
    found: dict[int, int] = {}
    nodes, last = max(1, math.floor(low / per_node)), math.ceil(high / per_node)
    while nodes <= last:
        close = range(nodes, min(max(nodes, math.floor(nodes * _APART)), last) + 1)
        best = max(close, key=_roundness)
        found[best] = best * per_node
        nodes = close.stop
    return [found[key] for key in sorted(found)]


def _roundness(number: int) -> int:
    """Return the largest power of two that divides a number."""
    return number & -number


def faster_sizes(scenario: Scenario, deadline_s: float) -> list[Fit]:
    """Return the sizes that may be chosen, smallest first: each has faster steps than all smaller ones.

    Raises
    ------
    UserError
        The scenario has no size of cluster that could train it.
    """
    central = scenario.central()
    per_node = central.cluster.accelerator.accelerators_per_node
    start = with_layout(central)
    known = start if start is not None else central
    now_s = sum(e.batch.steps * e.step_time_s for e in estimate_steps(known))  # raises where nothing fits
    ideal = central.cluster.accelerators * now_s / deadline_s
    found: list[Fit] = []
    for accelerators in sizes(per_node, ideal / _FEWER, min(ideal * _SPAN, _MOST)):
        one = fit(central, accelerators)
        if one is not None and (not found or one.time_s < found[-1].time_s):
            found.append(one)
    if not found:
        raise UserError(f"--deadline: no number of {central.cluster.accelerator.name} gives all data-parallel ranks equal work; "
                        "allowed: a batch of a round number of sequences")
    return found


def plan_for_deadline(scenario: Scenario, deadline_s: float, *, chance: float = CHANCE, trials: int = TRIALS,
                      workers: int | None = 1) -> DeadlineChoice:
    """Return the smallest and the cheapest number of accelerators with which a run finishes in time.

    Parameters
    ----------
    scenario : Scenario
        Its model, tokens and batch; of its cluster all but the number of accelerators and, with it, of spare nodes.
    deadline_s : float
    chance : float
        Probability to finish by then.
    trials : int
        Of each size; a quarter of them where that is enough to rule it out.
    workers : int, optional
        Processes; the answer is the same with any number.

    Raises
    ------
    UserError
        No size finishes in time, with the best that was found; or the cluster grows, so that it has no one size.
    """
    if scenario.cluster.growth:
        raise UserError("--deadline: found cluster.growth; allowed: a cluster that keeps its size")
    plan_run(scenario.central())  # raises what is wrong with every size
    fits = faster_sizes(scenario, deadline_s)
    tried: dict[int, Tried] = {}

    def meets(i: int) -> bool:
        if i not in tried:
            tried[i] = _run(scenario, fits[i], deadline_s, chance, trials, workers)
        return tried[i].chance["probability"] >= chance

    high = _smallest(fits, meets, tried, deadline_s, chance)
    dearest = fits[high].accelerator_s
    others = sorted((i for i in range(high + 1, len(fits)) if fits[i].accelerator_s < 1.02 * dearest),
                    key=lambda i: fits[i].accelerator_s)[:_LARGER]
    met = [tried[i] for i in (high, *others) if meets(i)]
    cheapest = min(met, key=lambda one: (one.mean("cost_usd"), one.fit.accelerators))
    return DeadlineChoice(deadline_s, chance, tuple(tried[i] for i in sorted(tried)), tried[high], cheapest)


def _smallest(fits: list[Fit], meets: Callable[[int], bool], tried: dict[int, Tried], deadline_s: float, chance: float) -> int:
    """Return the first size that meets the deadline; raise UserError where none does.

    From the first whose steps alone are fast enough, in growing strides; then by bisection. Where a stride makes it slower,
    failures have overtaken the faster steps, and what lies between is tried one by one.
    """
    def time_s(i: int) -> float:
        values = tried[i].columns["time_s"]
        return float(np.quantile(np.where(np.isnan(values), np.inf, values), chance, method="higher"))

    last = len(fits) - 1
    before, here, stride = -1, next((i for i, one in enumerate(fits) if one.time_s <= deadline_s), last), 1
    passed = [before]
    while not meets(here):
        slower = before >= 0 and not time_s(here) < time_s(before)
        if slower or here == last:
            for i in range(passed[-2] + 1 if len(passed) > 1 else here, here):
                if meets(i):
                    return i
            best = min(tried, key=time_s)
            raise _impossible(tried[best], time_s(best), deadline_s, chance)
        passed.append(here)
        before, here, stride = here, min(here + stride, last), 2 * stride
    low = before + 1
    while low < here:
        middle = (low + here) // 2
        low, here = (low, middle) if meets(middle) else (middle + 1, here)
    meets(here)
    return here


def _run(scenario: Scenario, one: Fit, deadline_s: float, chance: float, trials: int, workers: int | None) -> Tried:
    sized = _resized(scenario, one.accelerators)
    training = sized.training.model_copy(update={"layout": one.layout, "recompute": one.recompute})
    goals = sized.goals.model_copy(update={"deadline_s": deadline_s})
    ready = sized.model_copy(update={"training": training, "goals": goals, "name": f"{scenario.name}, {one.accelerators:,}"})
    columns, problem = _trials(ready, 0, trials // 4 or trials, workers)
    share = _in_time(columns, deadline_s)
    if share["high"] >= chance and columns["time_s"].size < trials:  # where it does not do, a quarter of the trials says so
        rest, other = _trials(ready, columns["time_s"].size, trials, workers)
        columns, problem = {name: np.append(columns[name], rest[name]) for name in COLUMNS}, problem or other
        share = _in_time(columns, deadline_s)
    return Tried(one, ready, share, columns, problem)


def _in_time(columns: dict[str, np.ndarray], deadline_s: float) -> dict[str, float]:
    times_s = columns["time_s"]
    return share_with_interval(int((times_s <= deadline_s).sum()), times_s.size)


def _trials(scenario: Scenario, first: int, last: int, workers: int | None) -> tuple[dict[str, np.ndarray], str]:
    """Return results of trials from `first` up to `last`, and why one did not finish."""
    try:
        rows = run_points(points_of([scenario], last - first, first=first), workers=workers)
        return {name: rows.column(name)[0] for name in COLUMNS}, rows.problems.get(0, "")
    except UserError as error:  # not one trial finished
        return {name: np.full(last - first, np.nan) for name in COLUMNS}, str(error)


def _impossible(best: Tried, time_s: float, deadline_s: float, chance: float) -> UserError:
    which = f"{best.fit.accelerators:,} x {best.scenario.cluster.accelerator.name}"
    if not math.isfinite(time_s):
        return UserError(f"--deadline: {which}: {best.problem}")
    return UserError(f"--deadline: found {deadline_s / 86400.0:,.3g} days; allowed: about {time_s / 86400.0:,.3g} days or more: "
                     f"of all sizes {which} are the fastest, which finish in that with a chance of {chance:.0%}")


def _resized(scenario: Scenario, accelerators: int) -> Scenario:
    """Return the scenario on so many accelerators, with the same share of spare nodes: as many fail, as many are repaired."""
    cluster = scenario.cluster
    spares = {name: math.ceil(getattr(cluster, name) * accelerators / cluster.accelerators)
              for name in ("spares", "warm_spares", "cold_spares")}
    return scenario.model_copy(update={"cluster": cluster.model_copy(update={"accelerators": accelerators, **spares})})

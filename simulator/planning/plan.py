"""The constrained search: `clustercost plan`. Prune by the step kernel, race on the simulator, zoom into ranges, confirm."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.points import PointRows, points_of, run_points
from simulator.performance import estimate_steps
from simulator.planning.axes import Axis, check_design, check_values, design_points
from simulator.planning.constraints import PEAK_POWER, Constraint, Judgement, is_known, judge
from simulator.planning.layouts import why_it_loses
from simulator.planning.least import RESULTS
from simulator.planning.pareto import beaten, front
from simulator.planning.race import FIRST, INDIFFERENCE, Entry, Gap, Race
from simulator.planning.space import Space, finer, gridded, key_of, step_of
from simulator.planning.zoom import Vertex, best_of_range
from simulator.scenario import Scenario
from simulator.scenario.planning import Objective

MAX_CANDIDATES = 5_000
FRONT = ("time_s", "cost_usd", "carbon_kg")
_CONFIRMATIONS = 5  # choices that fresh trials may refute, one after the other
_TWO_SIDED = 0.025
_FEW = 500  # trials that are run in this process

Say = Callable[[str], None]


@dataclass(frozen=True)
class Confirmed:
    """The choice in trials that the search has not seen.

    Attributes
    ----------
    rows : dict of ndarray, shape (trials,)
    judgements : list of Judgement
        One for each constraint, with 95 % intervals.
    """

    rows: dict[str, np.ndarray]
    judgements: list[Judgement]

    @property
    def trials(self) -> int:
        """Trials run."""
        return self.rows["time_s"].size

    @property
    def holds(self) -> bool:
        """Whether all constraints look met in these trials too."""
        return all(j.shortfall <= 0.0 for j in self.judgements)


@dataclass
class Plan:
    """A choice, and why.

    Attributes
    ----------
    scenario : Scenario
        As given.
    axes : list of Axis
    race : Race
        All candidates that could be planned, with their trials.
    impossible : list of (dict, str)
        Changes that give no scenario, and why.
    choice : Entry or None
        None: nothing meets the constraints.
    certain : bool
        All constraints are met for certain (95 %) in the trials of the search; else they only look met.
    confirmed : Confirmed or None
        Fresh trials of the choice.
    vertices : dict
        Path of a range -> where its response surface is least.
    surface : list of Entry
        What was simulated for that.
    """

    scenario: Scenario
    minimise: Objective
    axes: list[Axis]
    race: Race
    impossible: list[tuple[dict[str, Any], str]]
    choice: Entry | None = None
    certain: bool = True
    confirmed: Confirmed | None = None
    vertices: dict[str, Vertex] = field(default_factory=dict)
    surface: list[Entry] = field(default_factory=list)

    @property
    def objective(self) -> str:
        """Column whose mean is least."""
        return self.race.objective

    @property
    def simulated(self) -> list[Entry]:
        """All candidates with trials."""
        return [entry for entry in (*self.race.entries, *self.surface) if entry.trials]

    @property
    def brute_force_trials(self) -> int:
        """Trials of all these candidates, each with as many as one has at most."""
        return (len(self.race.entries) + len(self.surface)) * self.race.most

    @property
    def resolved(self) -> Scenario | None:
        """The chosen scenario, ready to run."""
        return None if self.choice is None else self.choice.candidate.scenario.model_copy(update={"plan": None})

    def runner_up(self) -> tuple[Entry, Gap] | None:
        """Return the best other candidate, and how much more it takes (95 %); without trials at the least.

        One that may lead, where there is one; else one that does not meet the constraints and takes more, if any.
        """
        if self.choice is None:
            return None
        gaps = [(e, self.race.gap(e, self.choice, _TWO_SIDED)) for e in self.race.entries if e is not self.choice]
        able = [(e, gap) for e, gap in gaps if gap.mean > -math.inf and not e.barred
                and (not e.trials or self.race.acceptable(e))]
        return min(able or [(e, gap) for e, gap in gaps if e.trials and gap.mean > 0.0],
                   key=lambda pair: (pair[1].mean, not pair[0].trials), default=None)

    def nearest(self) -> Entry | None:
        """Return the candidate nearest to meeting the constraints, of those that take less than the choice, or of all."""
        below = math.inf if self.choice is None else self._takes(self.choice)
        found = [e for e in self.race.entries if e is not self.choice and self.unmet(e) and self._takes(e) < below]
        return min(found, key=lambda e: (max(j.shortfall for _, j in self.unmet(e)), self._takes(e)), default=None)

    def _takes(self, entry: Entry) -> float:
        """Return the mean of the objective; without trials at the least."""
        if entry.trials:
            return self.race.mean(entry, self.objective)
        bound = entry.candidate.least.bound(self.objective)
        return math.inf if bound is None else float(bound.mean())

    def unmet(self, entry: Entry) -> list[tuple[Constraint, Judgement]]:
        """Return the constraints that keep an entry from being chosen, and how it stands to them (each way with 95 %).

        Without trials, of the candidate's least and its peak.
        """
        found = []
        for c in self.race.constraints:
            columns = entry.rows
            if not entry.trials:
                least = entry.candidate.least
                bound = np.array([entry.candidate.peak_power_w]) if c.column == PEAK_POWER else least.bound(c.column)
                if bound is None or (c.column != PEAK_POWER and not c.at_most):
                    continue
                columns = {c.column: np.broadcast_to(bound, (self.race.most,)) if least.exact else bound}
            judged = judge(c, columns)
            sure = judged.verdict == "met" or not (entry.trials >= self.race.most or judged.shortfall > 0.0)
            if not sure or entry.barred.startswith(c.text):
                found.append((c, judged))
        return found if entry.trials or entry.barred else []

    def meets(self, entry: Entry) -> bool:
        """Whether an entry with trials may be chosen for all that they say."""
        return not entry.barred and self.race.acceptable(entry)

    def why_steps(self, entry: Entry) -> str:
        """Return in which phases the steps of an entry with another layout take longer than those of the choice; else ""."""
        if self.choice is None:
            return ""
        mine, best = (estimate_steps(e.candidate.scenario.central()) for e in (entry, self.choice))
        if mine[0].layout == best[0].layout or [e.batch for e in mine] != [e.batch for e in best]:
            return ""
        behind_s = [(a.step_time_s - b.step_time_s) * a.batch.steps for a, b in zip(mine, best, strict=True)]
        most = int(np.argmax(behind_s))
        return (f"{why_it_loses(mine[most].step, best[most].step)} (share of a step of "
                f"{mine[most].batch.tokens_per_step / 1e6:,.4g} M tokens)")

    def fates(self) -> Counter[str]:
        """Return how many candidates fell for which reason."""
        found: Counter[str] = Counter()
        for _, why in self.impossible:
            found[f"impossible: {why.splitlines()[0]}"] += 1
        for entry in self.race.entries:
            if entry is not self.choice:
                found[self._fate(entry)] += 1
        return found

    def _fate(self, entry: Entry) -> str:
        simulated = f"in {'trials' if entry.trials else 'no trial, at the least'}"
        if entry.barred:
            return (entry.barred.split(":")[0] if entry.barred.startswith(("does not", "unknown"))
                    else f"breaks {entry.barred} {simulated}")
        if self.choice is None:
            return "not sure to meet the constraints"
        if self.race.fate(entry, self.choice) == "beaten":
            return f"more {self.minimise}{' in trials' if entry.trials else ' without a failure: never simulated'}"
        if entry.trials and not self.race.acceptable(entry):
            return "not sure to meet the constraints"
        return f"as good within {self.race.indifference:.1%}, or not told apart"

    def means(self, entries: Sequence[Entry]) -> np.ndarray:
        """Return days, dollars and tonnes in SI, shape (entries, 3)."""
        return np.array([[self.race.mean(entry, column) for column in FRONT] for entry in entries]).reshape(-1, len(FRONT))

    def on_front(self) -> list[tuple[Entry, bool]]:
        """Return what was simulated, and whether nothing else beats it in days, dollars and tonnes at once; in order of days."""
        shown = self.simulated
        values = self.means(shown)
        order = np.lexsort(values.T[::-1])
        marks = front(values) if shown else np.empty(0, dtype=bool)
        return [(shown[i], bool(marks[i])) for i in order]


def search(scenario: Scenario, axes: Sequence[Axis], minimise: Objective, constraints: Sequence[Constraint], *,
           confirm: int | None = None, indifference: float = INDIFFERENCE, workers: int | None = 1, dask: bool | str = False,
           say: Say = lambda text: None) -> Plan:
    """Return the choice with the least mean of an objective that meets all constraints.

    Parameters
    ----------
    scenario : Scenario
        `monte_carlo.trials` is the most that one candidate gets; its seed is that of all.
    axes : sequence of Axis
        What varies; a list, or a range.
    minimise : str
        `time`, `cost`, `energy` or `carbon`.
    constraints : sequence of Constraint
    confirm : int, optional
        Fresh trials of the choice; as many as one candidate gets where it is left out.
    indifference : float
        Candidates this near to the best, as a share of its mean, are as good.
    workers, dask
        As for `run_study`; the choice is the same with any number.
    say : callable
        Called with what is being done.

    Raises
    ------
    UserError
        An axis or a value is wrong; too many candidates; no candidate can be planned; results lack a column.
    """
    most = scenario.monte_carlo.trials
    grid = [gridded(axis, step_of(axis, scenario)) for axis in axes]
    if (count := check_design(grid, "grid", None)) > MAX_CANDIDATES:
        raise UserError(f"found {count:,} candidates; allowed: at most {MAX_CANDIDATES:,}: fewer values, or ranges")
    points = design_points(grid)
    check_values(scenario, grid, points)
    space = Space(scenario, minimise, min(FIRST, most))

    def run(scenarios: Sequence[Scenario], trials: int, first: int) -> PointRows:
        points = points_of(scenarios, trials, scenario.monte_carlo.seed, first=first)
        alone = trials * len(scenarios) < _FEW  # processes would take longer to start
        return run_points(points, workers=1 if alone else workers, dask=False if alone else dask)

    race = Race(RESULTS[minimise], constraints, most, run, indifference)
    plan = Plan(scenario, minimise, list(axes), race, [])
    say(f"{len(points):,} candidates: layouts, memory, least time, cost and energy")
    _add(plan, space, points)
    if not race.entries:
        raise UserError(f"no candidate can run; the first one: {plan.impossible[0][1]}")
    _check_columns(race)
    say("race")
    race.run()
    for axis in axes:
        if axis.continuous:
            say(f"zoom into {axis.path}")
            _zoom(plan, space, axis)
    _choose(plan, most if confirm is None else confirm, say)
    say("front of days, dollars and tonnes")
    _complete_front(plan)
    return plan


def _check_columns(race: Race) -> None:
    """Raise UserError for a constraint on what runs do not have, from one trial where its name does not tell."""
    if all(is_known(c.column) for c in race.constraints):
        return
    race.used += 1
    rows = race.rows_of([race.entries[0].candidate], 1, 0)[0]
    if isinstance(rows, str):  # told when the race comes to it
        return
    for c in race.constraints:
        judge(c, rows)


def _add(plan: Plan, space: Space, points: Sequence[dict[str, Any]]) -> list[Entry]:
    """Let points take part that are not yet in the race; keep why the others cannot."""
    known = {key_of(entry.candidate.changes) for entry in plan.race.entries} | {key_of(changes) for changes, _ in plan.impossible}
    found = []
    for changes in points:
        if key_of(changes) in known:
            continue
        try:
            found.append(space.candidate(changes))
        except UserError as error:
            plan.impossible.append((dict(changes), str(error)))
    return plan.race.add(found)


def _zoom(plan: Plan, space: Space, axis: Axis) -> None:
    """Look closer at a range around the leader."""
    step = step_of(axis, plan.scenario)
    leader = plan.race.leader()
    if leader is None:
        return
    if not step:
        _surface(plan, space, axis, leader)
        return
    tried = {float(value) for value in gridded(axis, step).values}
    while leader is not None:
        values = finer(sorted(tried), float(leader.candidate.changes[axis.path]), step)
        if not values:
            return
        tried |= {float(value) for value in values}
        _add(plan, space, [{**leader.candidate.changes, axis.path: value} for value in values])
        leader = plan.race.run()


def _surface(plan: Plan, space: Space, axis: Axis, leader: Entry) -> None:
    """Fit the response surface of a range around the leader; its vertex is the favourite."""
    start = axis.number(leader.candidate.changes[axis.path])
    if start is None or axis.low <= 0.0:
        return
    known: dict[float, Entry] = {}
    racing = {key_of(entry.candidate.changes): entry for entry in plan.race.entries}

    def changes_at(value: float) -> dict[str, Any]:
        share = math.log(value / axis.low) / math.log(axis.high / axis.low)
        ratio = Axis(axis.path, (), axis.low, axis.high, log=True)
        return {**leader.candidate.changes, axis.path: ratio.at(min(max(share, 0.0), 1.0))}

    def evaluate(values: np.ndarray, trials: int) -> np.ndarray | None:
        try:
            for value in values.tolist():
                if value not in known:
                    changes = changes_at(value)
                    known[value] = racing.get(key_of(changes)) or Entry(space.candidate(changes))
        except UserError:
            return None
        entries = [known[value] for value in values.tolist()]
        for first in sorted({entry.trials for entry in entries}):
            plan.race.extend([entry for entry in entries if entry.trials == first], trials)
        if any(entry.trials < trials for entry in entries):
            return None
        return np.stack([entry.rows[plan.objective][:trials] for entry in entries])

    found = best_of_range(evaluate, start, axis.low, axis.high, plan.race.most)
    plan.surface += [entry for entry in known.values() if entry.trials and entry not in plan.race.entries]
    if found is None:
        return
    plan.vertices[axis.path] = found
    _add(plan, space, [changes_at(found.value)])
    best = next((e for e in plan.race.entries if key_of(e.candidate.changes) == key_of(changes_at(found.value))), None)
    if best is not None:
        plan.race.extend([best], leader.trials)
        plan.race.favourite = best
        plan.race.run()


def _choose(plan: Plan, confirm: int, say: Say) -> None:
    """Settle the choice: the leader that fresh trials do not refute."""
    race = plan.race
    for _ in range(_CONFIRMATIONS):
        leader = race.leader()
        plan.certain = leader is not None
        if leader is None:  # nothing is sure; what looks as if it met them all
            looks = [e for e in race.entries if e.trials and not e.barred
                     and all(j.shortfall <= 0.0 for j in race.judgements(e))]
            leader = min(looks, key=lambda e: e.mean(race.objective), default=None)
        plan.choice, plan.confirmed = leader, None
        if leader is None:
            return
        plan.certain = plan.certain and all(j.verdict == "met" for j in race.judgements(leader, 0.05))
        if not confirm:
            return
        say(f"confirm {leader.candidate.label}")
        race.used += confirm
        rows = race.rows_of([leader.candidate], confirm, race.most)[0]
        if isinstance(rows, str):
            leader.barred = f"does not finish: {rows}"
        else:
            plan.confirmed = Confirmed(rows, [judge(c, rows, _TWO_SIDED) for c in race.constraints])
            if plan.confirmed.holds:
                return
            leader.barred = next(f"{c.text} (in fresh trials)" for c, j in
                                 zip(race.constraints, plan.confirmed.judgements, strict=True) if j.shortfall > 0.0)
        race.run()
    plan.choice = None


def _complete_front(plan: Plan) -> None:
    """Simulate, with few trials, what may be on the front though it cannot be the choice: nothing simulated beats its least."""
    race = plan.race
    for entry in race.entries:
        if entry.trials or entry.barred:
            continue
        bounds = [entry.candidate.least.bound(column) for column in FRONT]
        row = np.array([math.nan if bound is None else bound.mean() for bound in bounds])
        values = plan.means(plan.simulated)
        if np.isnan(row).all() or not beaten(row, values):
            race.extend([entry], race.rounds[0])


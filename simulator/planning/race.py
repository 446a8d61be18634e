"""A race of candidates on the simulator: all with the same luck, the best first, the worse ones dropped as soon as trials tell.

Rounds double the trials of those still in the race. All comparisons are of the same trials (common random numbers), by
Student's t of paired differences. Their levels are corrected by Bonferroni for all candidates, all rounds and all constraints,
so that the chance to drop the best one is about `ERROR` at most in each race: the races of Maron and Moore (Artificial
Intelligence Review 11, 1997) with the t of Birattari et al. (GECCO 2002) in place of Hoeffding's bound. Constraints are judged
by exact binomial bounds, as where the best of constrained systems is selected (Andradottir and Kim, Naval Research Logistics
57, 2010). All FROM MEMORY.

Nothing that the leader beats is lost: should the leader turn out to break a constraint, those that only it beat are back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.points import PointRows
from simulator.planning.constraints import PEAK_POWER, Constraint, Judgement, judge, t_half, with_derived
from simulator.planning.least import RESULTS
from simulator.planning.space import Candidate
from simulator.scenario import Scenario

ERROR = 0.05  # chance that a race drops the best
FINAL_ERROR = 0.05  # chance that a constraint of the choice is called met and is not, where all trials were run
FIRST = 16  # trials of the first round
INDIFFERENCE = 0.005  # of the leader's mean: candidates this near are as good
# Totals that leave out what is unknown: what they must have.
_NEEDED = {"carbon_kg": ("carbon_operational_kg", "carbon_embodied_kg")}
_BATCH = 8  # candidates that begin together; fixed, so that workers change nothing

Run = Callable[[Sequence[Scenario], int, int], PointRows]  # scenarios, trials of each, number of the first
Fate = Literal["racing", "barred", "beaten"]


class Gap(NamedTuple):
    """A mean paired difference to the leader: how much more, and half of its interval at the level asked for."""

    mean: float
    half: float


@dataclass(eq=False)
class Entry:
    """A candidate in the race.

    Attributes
    ----------
    rows : dict of ndarray, shape (trials,)
        Results so far, by column.
    barred : str
        Why it can never be chosen: it breaks a constraint, or does not finish; empty for all others.
    looked : tuple of int and bool
        Whether it may lead, and after how many trials that was worked out.
    """

    candidate: Candidate
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    barred: str = ""
    looked: tuple[int, bool] = (0, False)

    @property
    def trials(self) -> int:
        """Trials run."""
        return self.rows["time_s"].size if self.rows else 0

    def mean(self, column: str) -> float:
        """Return the mean of a result so far; NaN without trials, or where it is unknown."""
        return float(self.rows[column].mean()) if column in self.rows else math.nan


class Race:
    """Candidates, their trials so far, and who leads.

    Parameters
    ----------
    objective : str
        Column whose mean is least.
    constraints : sequence of Constraint
    trials : int
        Of each candidate, at most.
    run : callable
        Runs trials of scenarios.
    indifference : float
        Share of the leader's mean by which candidates may differ and be as good.
    """

    def __init__(self, objective: str, constraints: Sequence[Constraint], trials: int, run: Run,
                 indifference: float = INDIFFERENCE) -> None:
        self.objective, self.constraints, self.most = objective, tuple(constraints), trials
        self.indifference = indifference
        self.entries: list[Entry] = []
        self.favourite: Entry | None = None  # leads where it may, unless another is better for certain
        self.used = 0
        self._run = run
        self.rounds = [min(FIRST, trials)]
        while self.rounds[-1] < trials:
            self.rounds.append(min(2 * self.rounds[-1], trials))

    @property
    def level(self) -> float:
        """Chance that one comparison may be wrong, so that all together are wrong with `ERROR` at most."""
        return ERROR / (max(1, len(self.entries)) * len(self.rounds) * (1 + len(self.constraints)))

    def add(self, candidates: Sequence[Candidate]) -> list[Entry]:
        """Let candidates take part; those whose least or peak breaks a constraint are barred without a trial."""
        new = [Entry(candidate) for candidate in candidates]
        self.entries += new
        for entry in new:
            entry.barred = self._barred_at_once(entry)
        return new

    def _barred_at_once(self, entry: Entry) -> str:
        """Return which constraint is broken whatever the luck: the peak of power, or a limit from above that a bound is over."""
        least = entry.candidate.least
        for c in self.constraints:
            if c.column == PEAK_POWER:
                if not c.kept(np.array([entry.candidate.peak_power_w]))[0]:
                    return c.text
                continue
            bound = least.bound(c.column) if c.at_most else None
            if bound is None:
                continue
            if least.exact:
                if bound[0] > c.limit:
                    return c.text
            elif judge(c, {c.column: bound}, self.level).verdict == "broken":
                return c.text
        return ""

    def judgements(self, entry: Entry, error: float | None = None) -> list[Judgement]:
        """Return how an entry with trials stands to each constraint."""
        return [judge(c, entry.rows, self.level if error is None else error) for c in self.constraints]

    def acceptable(self, entry: Entry) -> bool:
        """Whether an entry may lead: it looks as if it met all constraints; once all trials were run, with `FINAL_ERROR`."""
        if entry.barred or not entry.trials:
            return False
        if entry.looked[0] != entry.trials:
            judged = self.judgements(entry, FINAL_ERROR)
            able = all(j.verdict == "met" if entry.trials >= self.most else j.shortfall <= 0.0 for j in judged)
            entry.looked = entry.trials, able
        return entry.looked[1]

    def leader(self) -> Entry | None:
        """Return the entry with the least mean among those that may lead; the earlier of equals."""
        able = [entry for entry in self.entries if self.acceptable(entry)]
        longest = max(self.entries, key=lambda e: e.trials, default=None)
        least = min(able, key=lambda entry: self.mean(entry, self.objective, longest), default=None)
        if self.favourite is None or least is None or not self.acceptable(self.favourite):
            return least
        gap = self.gap(self.favourite, least, self.level)
        return least if gap.mean > gap.half else self.favourite

    def mean(self, entry: Entry, column: str, longest: Entry | None = None) -> float:
        """Return the mean of a result as all trials of the race would have it, whatever trials this entry had.

        Ratio estimator (Cochran, "Sampling Techniques", chapter 6, FROM MEMORY): the mean over the entry's trials, times what the
        entry with the most trials has in all of them over what it has in the same. Draws of a price then count for all alike.
        """
        longest = longest or max(self.entries, key=lambda e: e.trials)
        same, whole = longest.rows.get(column, np.empty(0))[:entry.trials], longest.rows.get(column, np.empty(0))
        mean = entry.mean(column)
        return mean * float(whole.mean() / same.mean()) if same.size and same.mean() > 0.0 else mean

    def gap(self, entry: Entry, leader: Entry, error: float) -> Gap:
        """Return how much more an entry takes than the leader; without trials, how much more at the least (-inf: unknown)."""
        theirs = leader.rows[self.objective]
        if entry.trials:
            mine = entry.rows[self.objective]
        else:
            bound = entry.candidate.least.bound(self.objective)
            if bound is None:
                return Gap(-math.inf, 0.0)
            mine = np.broadcast_to(bound, theirs.shape) if entry.candidate.least.exact else bound
        n = min(mine.size, theirs.size)
        differences = mine[:n] - theirs[:n]
        return Gap(float(differences.mean()), t_half(differences, error))

    def fate(self, entry: Entry, leader: Entry | None) -> Fate:
        """Return whether an entry is in the race, out of it, or beaten by this leader."""
        if entry.barred:
            return "barred"
        if leader is None or entry is leader:
            return "racing"
        gap = self.gap(entry, leader, self.level)
        return "beaten" if gap.mean - gap.half > 0.0 else "racing"

    def racing(self) -> list[Entry]:
        """Return the entries in the race, in order of what they are expected to take."""
        leader = self.leader()
        found = [entry for entry in self.entries if self.fate(entry, leader) == "racing"]
        return sorted(found, key=lambda entry: entry.candidate.least.expected[self.objective])

    def run(self) -> Entry | None:
        """Run rounds until one is left, or all left are as good, or trials are used up; return the leader, None: none can."""
        while True:
            for trials in self.rounds:
                self._round(trials)
                if self._settled():
                    break
            # Who came back when a leader fell has fewer trials than the others.
            if self._settled() or all(entry.trials >= self.most for entry in self.racing()):
                return self.leader()

    def _round(self, trials: int) -> None:
        """Run trials of all in the race up to a number, a batch at a time, the best first."""
        waiting = [entry for entry in self.racing() if entry.trials < trials]
        while waiting:
            first = waiting[0].trials
            batch = [entry for entry in waiting if entry.trials == first][:_BATCH]
            self.extend(batch, trials)
            waiting = [entry for entry in self.racing() if entry.trials < trials]

    def _settled(self) -> bool:
        """Whether all in the race but the leader are as good as it, and its constraints are met for certain."""
        leader = self.leader()
        if leader is None:
            return not self.racing()
        if leader.trials < self.most and any(j.verdict != "met" for j in self.judgements(leader)):
            return False
        near = self.indifference * abs(leader.mean(self.objective))
        for entry in self.racing():
            if entry is not leader:
                gap = self.gap(entry, leader, self.level)
                if not -gap.mean + gap.half <= near:
                    return False
        return True

    def extend(self, entries: Sequence[Entry], trials: int) -> None:
        """Run trials of entries that have equally many, up to a number; bar those that do not finish or break a constraint."""
        first = entries[0].trials
        count = trials - first
        if count <= 0:
            return
        self.used += count * len(entries)
        found = self.rows_of([entry.candidate for entry in entries], count, first)
        for entry, rows in zip(entries, found, strict=True):
            if isinstance(rows, str):
                entry.barred = f"does not finish: {rows}"
                continue
            entry.rows = {name: np.concatenate([entry.rows[name], values]) if entry.rows else values
                          for name, values in rows.items() if not entry.rows or name in entry.rows}
            if any(math.isnan(entry.mean(column)) for column in _NEEDED.get(self.objective, (self.objective,))):
                entry.barred = f"unknown {self.objective}: site or prices lack a value"
                continue
            broken = [c.text for c, j in zip(self.constraints, self.judgements(entry), strict=True) if j.verdict == "broken"]
            entry.barred = broken[0] if broken else ""

    def rows_of(self, candidates: Sequence[Candidate], trials: int, first: int) -> list[dict[str, np.ndarray] | str]:
        """Return the rows of new trials of each candidate, or why it has none."""
        try:
            found = self._run([c.scenario for c in candidates], trials, first)
        except UserError as error:  # none of them can run
            return [str(error)] * len(candidates)
        if found.interrupted:
            raise KeyboardInterrupt
        # A column that only some candidates have (owned hardware beside rented) is NaN in the others, and left out there.
        return [found.problems[i] if i in found.problems else
                with_derived({name: values[i] for name, values in found.columns.items()
                              if not np.isnan(values[i]).all() or name in RESULTS.values()}, c.peak_power_w)
                for i, c in enumerate(candidates)]

"""One trial: one random history of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import simpy

from kernels.job import CHECKPOINTS as CHECKPOINTS_PLACE
from kernels.job import NOW, STEP
from kernels.meter import BEYOND
from simulator.accounting import STATES, Bill, Rates, State, make_bill, settle
from simulator.accounting.rates import IT_POWER
from simulator.accounting.supply import Conditions
from simulator.cluster.history import History
from simulator.cluster.job import job
from simulator.cluster.orders import conditions
from simulator.cluster.plan import KINDS, PATIENCE, PATIENCE_S, RunPlan
from simulator.errors import UserError

_HITS = tuple(f"interruptions_{kind.replace('-', '_')}" for kind in KINDS)
_LOG_ROWS = 50_000


class RunDoesNotFinish(UserError):
    """A run gets nowhere: it was ended far beyond the time that its steps take."""


@dataclass
class TrialResult:
    """One row of results (SI, names with units), and the intervals where they were kept.

    `bill` is what it drew by the hour, where the scenario has a calendar, else in one bin; `periods` are the seconds by state and
    stretch with the rates under which they were spent.

    An interval is (start_s, end_s, state, stretch, cause): contiguous, so that every second of the trial has one state.
    """

    row: dict[str, float]
    bill: Bill
    periods: list[tuple[np.ndarray, Rates]]
    intervals: list[tuple[float, float, str, int, str]] = field(default_factory=list)


def run_trial(plan: RunPlan, stream: Callable[[str], np.random.Generator], *, keep_intervals: bool = False,
              by_kind: bool = False) -> TrialResult:
    """Simulate one history to its end.

    Parameters
    ----------
    plan : RunPlan
        Of a scenario without open distributions.
    stream : callable
        Purpose -> generator of this trial.
    keep_intervals : bool
        Keep the timeline.
    by_kind : bool
        Keep joules by hour and kind (`simulator.accounting.hourly`), not by hour alone.

    Raises
    ------
    RunDoesNotFinish
        It is far beyond the time that its steps take.
    """
    log_rows = _LOG_ROWS if keep_intervals else 0
    history = _whole_history(plan, stream, log_rows, by_kind)
    while keep_intervals and history.log.lines.used[0] == log_rows:  # the log was full: the same trial again, with more room
        log_rows *= 4
        history = _whole_history(plan, stream, log_rows, by_kind)
    periods = [(seconds, p.rates) for p, seconds in history.periods()]
    spare_node_s = float(history.nodes.hot_node_s[0])
    bill = _bill(history, periods, spare_node_s)
    row = settle(periods, spare_node_s, bill)
    counted = history.hazards.counted
    row["interruptions"] = float(counted.sum()) + history.windows
    hits = np.bincount(plan.kinds, counted, len(KINDS)).tolist()
    row |= dict(zip(_HITS, hits, strict=True))
    row["interruptions_planned"] += history.windows
    row["checkpoints"] = float(history.state[CHECKPOINTS_PLACE])
    return TrialResult(row, bill, periods, _intervals(history) if keep_intervals else [])


def _bill(history: History, periods: list[tuple[np.ndarray, Rates]], spare_node_s: float) -> Bill:
    """Return the bill: by the hour where there is a calendar, else of the whole run at once."""
    supply, spare_node_w = history.base.supply, periods[-1][1].spare_node_w
    if history.met is not None:
        return make_bill(supply, history.met, history.log.meter.bins, spare_node_w)
    it_j = sum((rates.it_w.reshape(len(IT_POWER), -1) @ seconds.ravel() for seconds, rates in periods), np.zeros(len(IT_POWER)))
    wall_s = sum(float(seconds.sum()) for seconds, _ in periods)
    return make_bill(supply, supply.conditions(), np.array([[*it_j, wall_s, spare_node_s]]), spare_node_w)


def _whole_history(plan: RunPlan, stream: Callable[[str], np.random.Generator], log_rows: int, by_kind: bool) -> History:
    """Return a history that came to its end before its calendar did."""
    until_s = plan.horizon_s
    while True:
        met = None
        if plan.supply.calendar is not None:
            met = conditions(plan, until_s, lambda i: stream(f"curtailment {i}"))
        history = _history(plan, stream, met, log_rows, by_kind)
        if history.log.meter.marks[BEYOND] == 0.0:
            return history
        until_s *= 1.5  # the same trial again, with a longer calendar


def _history(plan: RunPlan, stream: Callable[[str], np.random.Generator], met: Conditions | None, log_rows: int,
             by_kind: bool) -> History:
    """Return a history that came to its end."""
    env = simpy.Environment()
    history = History(plan, stream, met, log_rows=log_rows, by_kind=by_kind)
    ideal_s = float(np.diff(plan.job.first_step) @ plan.job.step_s)
    env.run(until=env.process(job(env, history, PATIENCE * ideal_s + PATIENCE_S)))
    if not history.done:
        _give_up(history)
    return history


def _give_up(history: History) -> None:
    """Say why a run gets nowhere: far beyond the time its steps take it is ended."""
    history.close()
    plan, now_s = history.base, float(history.state[NOW])
    done = float(history.state[STEP]) / plan.steps
    waiting, paused = (sum(float(seconds[state].sum()) for _, seconds in history.periods()) / now_s
                       for state in (State.WAIT_FOR_SPARES, State.CURTAILED))
    why = (f"{waiting:.0%} of the time went to waiting for spare nodes; the job is interrupted every {plan.mtbf_s / 3600:.3g} h "
           "on average: give more spares, shorter repair or restart, or fewer failures")
    if paused > waiting:
        why = (f"it was paused {paused:.0%} of the time: give a higher power cap, or events and rules that leave it more; its "
               f"slowest clock takes {plan.powers_w[-1] / 1e3:,.4g} kW of IT power")
    raise RunDoesNotFinish(f"the run does not finish: after {now_s / 86400:,.0f} days, {PATIENCE:.0f} times what its steps "
                           f"take, {done:.1%} is done and {why}")


def _intervals(history: History) -> list[tuple[float, float, str, int, str]]:
    """Return the kept intervals; in a running one nobody knows yet what of it a failure will take back."""
    rows = history.log.lines.rows[: history.log.lines.used[0]]
    names = [c.name for c in history.base.components]
    found = []
    for start_s, end_s, state, stretch, component in rows.tolist():
        name = "running" if int(state) == State.PRODUCTIVE else STATES[int(state)]
        found.append((start_s, end_s, name, int(stretch), names[int(component)] if component >= 0 else ""))
    return found

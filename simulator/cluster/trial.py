"""One trial: one random history of the run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from simulator.accounting import Ledger, State, settle
from simulator.cluster.draws import Draws
from simulator.cluster.failures import failures
from simulator.cluster.job import Job
from simulator.cluster.plan import RunPlan
from simulator.cluster.repair import Pool
from simulator.errors import UserError
from simulator.fields import Distribution

_PATIENCE = 20.0
_PATIENCE_S = 30 * 86400.0
PARTS = ("detection", "replacement", "initialisation", "repair")


@dataclass
class TrialResult:
    """One row of results (SI, names with units), and the intervals where they were kept."""

    row: dict[str, float]
    intervals: list[tuple[float, float, str, int]] = field(default_factory=list)


def _give_up(env: simpy.Environment, job: Job) -> Generator[simpy.Event, Any, None]:
    """End a run that gets nowhere: far beyond the time its steps take, it says so instead of going on for ever."""
    ideal_s = job.ideal_s()
    yield env.timeout(_PATIENCE * ideal_s + _PATIENCE_S)
    done = job.durable / float(job.plan.first_step[-1])
    waiting = sum(job.ledger.totals(State.WAIT_FOR_SPARES)) / env.now
    raise UserError(
        f"the run does not finish: after {env.now / 86400:,.0f} days, {_PATIENCE:.0f} times what its steps take, {done:.1%} "
        f"is done and {waiting:.0%} of the time went to waiting for spare nodes; the job is interrupted every "
        f"{job.plan.mtbf_s / 3600:.3g} h on average: give more spares, shorter repair or restart, or fewer failures")


def run_trial(plan: RunPlan, stream: Callable[[str], np.random.Generator], *, keep_intervals: bool = False) -> TrialResult:
    """Simulate one history to its end.

    Parameters
    ----------
    plan : RunPlan
        Of a scenario without open distributions.
    stream : callable
        Purpose -> generator of this trial.
    keep_intervals : bool
        Keep the timeline.
    """
    env = simpy.Environment()
    ledger = Ledger(len(plan.step_s), keep_intervals=keep_intervals)
    times = {}
    for part in PARTS:
        value = getattr(plan.recovery, f"{part}_s")
        times[part] = Draws(value, stream(part) if isinstance(value, Distribution) else None)
    pool = Pool(env, plan.spare_nodes, plan.repair_crew, times["repair"])
    job = Job(env, plan, pool, ledger, times)
    process = env.process(job.run())
    if plan.components:
        env.process(failures(env, plan, pool, process, stream("failures")))
    env.process(_give_up(env, job))
    env.run(until=process)
    row = settle(ledger.close(), pool.close(), plan.rates)
    row["interruptions"] = float(sum(job.interruptions))
    for kind in ("hardware", "software", "planned"):
        row[f"interruptions_{kind}"] = float(
            sum(n for n, c in zip(job.interruptions, plan.components, strict=True) if c.kind == kind))
    row["checkpoints"] = job.checkpoints
    return TrialResult(row, ledger.intervals or [])

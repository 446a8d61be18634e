"""The job: run on, be struck, detect, replace, restart, run on, until the last step's checkpoint is durable."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import simpy

from kernels.progress import advance, work_s
from simulator.accounting import Ledger, State
from simulator.cluster.draws import Draws
from simulator.cluster.failures import Strike
from simulator.cluster.plan import RunPlan
from simulator.cluster.repair import Pool


def _cause(interrupt: simpy.Interrupt) -> Strike:
    strike: Strike = interrupt.cause  # type: ignore[assignment]
    return strike


class Job:
    """State of one training job; `run` is its SimPy process."""

    def __init__(self, env: simpy.Environment, plan: RunPlan, pool: Pool, ledger: Ledger, times: dict[str, Draws]) -> None:
        self.env, self.plan, self.pool, self.ledger, self.times = env, plan, pool, ledger, times
        self.durable = 0.0  # steps that a restart would find
        self.interruptions = [0] * len(plan.components)
        self.checkpoints = 0.0
        self._bounds = plan.first_step.tolist()
        self._step_s = plan.step_s.tolist()
        self._last = len(self._step_s) - 1
        self._cost = plan.checkpoint

    def run(self) -> Generator[simpy.Event, Any, None]:
        """Run from the last durable checkpoint until struck; recover; again, until done."""
        while True:
            step = self.durable
            start_s = self.env.now
            whole = self._advance(step, math.inf)
            try:
                yield self.env.timeout(whole.time_s)
            except simpy.Interrupt as interrupt:
                reached = self._advance(step, self.env.now - start_s)
                stretch = self._book(step, start_s, reached)
                yield from self._recover(_cause(interrupt), reached.step, stretch)
            else:
                self._book(step, start_s, whole)
                return

    def _advance(self, step: float, horizon_s: float) -> Any:
        plan, cost = self.plan, self._cost
        return advance(horizon_s, step, 0.0, step, step, 0.0, plan.first_step, plan.step_s, plan.every, cost.stall_s,
                       cost.persist_s, cost.slowdown)

    def _stretch(self, step: float) -> int:
        """Return the stretch of the batch schedule a step lies in."""
        stretch = 0
        while stretch < self._last and step >= self._bounds[stretch + 1]:
            stretch += 1
        return stretch

    def _book(self, start: float, start_s: float, reached: Any) -> int:
        """Book a running interval, steps to `durable` as productive and those beyond as lost; return its last stretch."""
        ledger, stretch = self.ledger, self._stretch(reached.step)
        durable = reached.durable
        if start >= self._bounds[stretch]:  # all within one stretch
            step_s = self._step_s[stretch]
            ledger.add(State.PRODUCTIVE, stretch, (durable - start) * step_s)
            ledger.add(State.LOST, stretch, (reached.step - durable) * step_s)
        else:
            self._book_work(State.PRODUCTIVE, start, durable)
            self._book_work(State.LOST, durable, reached.step)
        ledger.add(State.LOST, stretch, reached.partial_s)
        ledger.add(State.CHECKPOINT_STALL, stretch, reached.stall_s)
        ledger.add(State.CHECKPOINT_SLOWDOWN, stretch, reached.slowdown_s)
        self.durable = durable
        self.checkpoints += reached.checkpoints
        ledger.note(start_s, self.env.now, "running", stretch)
        return stretch

    def _book_work(self, state: State, start: float, end: float, sign: float = 1.0) -> None:
        """Book steps that may span stretches; sign -1 takes them back."""
        for stretch, step_s in enumerate(self._step_s):
            low, high = max(start, self._bounds[stretch]), min(end, self._bounds[stretch + 1])
            if high > low:
                self.ledger.add(state, stretch, sign * (high - low) * step_s)

    def _recover(self, strike: Strike, reached_step: float, stretch: int) -> Generator[simpy.Event, Any, None]:
        """Recover from a strike, and from those that fall into the recovery."""
        if strike.kind == "planned" and reached_step > self.durable:
            # A planned stop saves first; work since the last checkpoint is kept if nothing strikes meanwhile.
            start_s, planned = self.env.now, strike
            try:
                yield self.env.timeout(self._cost.stall_s + self._cost.persist_s)
            except simpy.Interrupt as interrupt:
                self._count(planned)
                strike = _cause(interrupt)
            else:
                self._book_work(State.LOST, self.durable, reached_step, sign=-1.0)
                self._book_work(State.PRODUCTIVE, self.durable, reached_step)
                self.durable = reached_step
                self.checkpoints += 1.0
            self.ledger.add(State.CHECKPOINT_STALL, stretch, self.env.now - start_s)
            self.ledger.note(start_s, self.env.now, "checkpoint_stall", stretch)
        while True:
            self._count(strike)
            detect_s = 0.0 if strike.kind == "planned" else self.times["detection"].next()
            restart_s = self._cost.load_s + self.times["initialisation"].next()
            if strike.kind == "hardware":
                restart_s += self.times["replacement"].next()
            start_s = ready_s = self.env.now
            try:
                if self.pool.missing:
                    ready_s = math.inf
                    yield self.env.timeout(detect_s)
                    if self.pool.missing:
                        yield self.pool.whole()
                    ready_s = self.env.now
                    yield self.env.timeout(restart_s)
                else:  # nothing to decide in between: one wait
                    yield self.env.timeout(detect_s + restart_s)
            except simpy.Interrupt as interrupt:
                self._book_recovery(start_s, start_s + detect_s, ready_s, stretch)
                strike = _cause(interrupt)
            else:
                self._book_recovery(start_s, start_s + detect_s, ready_s, stretch)
                return

    def _book_recovery(self, start_s: float, detected_s: float, ready_s: float, stretch: int) -> None:
        """Book a recovery, whole or cut short: detection, then waiting for spares until ready, then restart."""
        now = self.env.now
        if ready_s <= detected_s <= now and self.ledger.intervals is None:  # the common case, without the loop below
            self.ledger.add(State.DETECT, stretch, detected_s - start_s)
            self.ledger.add(State.RESTART, stretch, now - detected_s)
            return
        ready_s = max(ready_s, detected_s)
        for state, from_s, to_s in ((State.DETECT, start_s, detected_s), (State.WAIT_FOR_SPARES, detected_s, ready_s),
                                    (State.RESTART, ready_s, now)):
            if from_s < now and to_s > from_s:
                end_s = min(to_s, now)
                self.ledger.add(state, stretch, end_s - from_s)
                self.ledger.note(from_s, end_s, state.name.lower(), stretch)

    def _count(self, strike: Strike) -> None:
        self.interruptions[strike.component] += 1
        if strike.kind == "hardware":
            self.pool.lose_from_job(strike.nodes)

    def ideal_s(self) -> float:
        """Return the time of all steps without a failure or checkpoint, s."""
        return float(work_s(self._bounds[-1], self.plan.first_step, self.plan.step_s))

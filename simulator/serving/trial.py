"""One trial of a serving file: the requests of one history, served block by block, as a row of results."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from simulator.serving.defences import defended
from simulator.serving.fleet import Fleet
from simulator.serving.histogram import upper_s
from simulator.serving.load import Demand, Traffic, demand
from simulator.serving.plan import ServePlan, Stream
from simulator.serving.results import HOSTILE, KINDS, Counts, Meter, row_of, sums_of
from simulator.serving.threats import attacked

_SAMPLES = 288
_LEAST_SAMPLE_S = 1.0
_DRAIN_S = 60.0  # between looks whether all that came is served
Change = Callable[[Demand], Demand]


@dataclass
class ServeResult:
    """A row of results; the fleet over time; latencies by bin; and sums that a test compares.

    Attributes
    ----------
    row : dict
        SI, names with units.
    timeline, latencies : dict of ndarray
        Columns, a row a sample of time, and a row a bin that is not empty.
    honest : dict
        Counts, promises kept and latencies of honest requests, as in the row.
    balance : dict
        Of the whole history: what the fleet booked and what its requests did.
    """

    row: dict[str, float]
    timeline: dict[str, np.ndarray]
    latencies: dict[str, np.ndarray]
    honest: dict[str, float]
    balance: dict[str, float]


def run_serve_trial(plan: ServePlan, stream: Stream, change: Change | None = None) -> ServeResult:
    """Serve the requests of one history, honest and hostile, from replicas without any until none is left.

    Parameters
    ----------
    plan : ServePlan
    stream : callable
        Purpose -> generator of this trial.
    change : callable, optional
        Changes the requests before they are served, after the file's attack and defences.
    """
    asked = defended(plan.scenario, attacked(plan, demand(plan.scenario, stream), stream), stream)
    return _Trial(plan, stream, asked if change is None else change(asked)).run()


class _Trial:
    def __init__(self, plan: ServePlan, stream: Stream, asked: Demand) -> None:
        self.plan, self.asked, self.stream, load = plan, asked, stream, plan.scenario.load
        self.env = simpy.Environment()
        slo = plan.scenario.slo
        self.counts = Counts(len(plan.scenario.serving.tiers) + 1, (load.warm_up_s, load.duration_s), slo.first_token_s,
                             slo.per_token_s)
        self.fleet = Fleet(self.env, plan, asked.beginnings, self.counts.add)
        self.meters: list[Meter] = []
        self.samples: list[tuple[float, ...]] = []
        self.came = self.refused = 0

    def run(self) -> ServeResult:
        """Return the result."""
        load = self.plan.scenario.load
        self.fleet.strikes(self.stream)
        self.env.process(self._sample())
        for at_s in (load.warm_up_s, load.duration_s):
            self.env.process(self._read_meter(at_s))
        self.env.run(until=self.env.process(self._serve()))
        first, last = self.meters
        honest = sums_of(self.counts, np.arange(self.counts.groups - 1), last.time_s - first.time_s)
        return ServeResult(row_of(self.plan, self.counts, last.less(first)), self._timeline(), self._latencies(), honest,
                           self._balance())

    def _serve(self) -> Generator[simpy.Event, Any, None]:
        """Hand blocks of requests to the fleet; then wait until they are served, at most as long again as they came."""
        load, fleet = self.plan.scenario.load, self.fleet
        for until_s, traffic in self.asked.blocks:
            fleet.take(self._asked(traffic))
            if until_s > self.env.now:
                yield self.env.timeout(until_s - self.env.now)
            fleet.reach()
        if load.duration_s > self.env.now:
            yield self.env.timeout(load.duration_s - self.env.now)
        yield self.env.timeout(0.0)  # after the meter of this time
        end_s = 2.0 * load.duration_s + _DRAIN_S
        fleet.reach()
        while fleet.inside() and self.env.now < end_s:
            yield self.env.timeout(_DRAIN_S)
            fleet.reach()
        fleet.settle()
        fleet.take(Traffic(*(values[:0] for values in fleet.traffic)))
        self.unfinished = fleet.requests
        self.gone = dict(self.counts.all_gone)  # without those that are given up now
        self.counts.add(fleet.requests._replace(used_s=fleet.used_so_far_s()), fleet.traffic,
                        np.arange(fleet.requests.state.size))

    def _asked(self, traffic: Traffic) -> Traffic:
        """Return the requests that reach the fleet; the others are counted."""
        self.came += traffic.size
        self.refused += int(traffic.refused.sum())
        if not traffic.refused.any():
            return traffic
        self.counts.refuse(traffic.where(traffic.refused))
        return traffic.where(~traffic.refused)

    def _read_meter(self, at_s: float) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(at_s)
        self.meters.append(self._meter())

    def _meter(self) -> Meter:
        fleet, r = self.fleet, self.fleet.replicas
        fleet.settle()
        weight = fleet.weight
        room = (self.plan.costs.capacity + self.plan.costs.kept)[self.plan.pools]
        group = self.counts.group_of(fleet.traffic)
        used_s = self.counts.used_s + np.bincount(group, fleet.used_so_far_s(), self.counts.groups)
        return Meter(self.env.now, fleet.on_s, float(r.busy_s @ weight), float(r.dynamic_j.sum()), float(r.batch_s @ weight),
                     float(r.filled_s.sum()), float(r.busy_s @ room), float(r.made.sum()), float(r.worked.sum()),
                     float(r.sought.sum()), float(r.found.sum()), float(fleet.failures), float(fleet.starts), used_s)

    def _sample(self) -> Generator[simpy.Event, Any, None]:
        """Note what the fleet does, again and again."""
        every_s = max(self.plan.scenario.load.duration_s / _SAMPLES, _LEAST_SAMPLE_S)
        fleet, before, came = self.fleet, self._meter(), 0
        while self.env.now + every_s <= self.plan.scenario.load.duration_s * (1.0 + 1e-9):
            yield self.env.timeout(every_s)
            now, total = self._meter(), self.came - self.refused - (fleet.requests.state.size - fleet.following)
            d = now.less(before)
            energy_j = self.plan.power.on_w * d.on_s + self.plan.power.per_j * d.dynamic_j
            self.samples.append((self.env.now, (total - came) / every_s, d.made / every_s, energy_j / every_s,
                                 d.batch_s / d.busy_s if d.busy_s else 0.0, d.busy_s / d.on_s if d.on_s else 0.0,
                                 float(fleet.replicas.queued.sum()), float(fleet.ready())))
            before, came = now, total

    def _timeline(self) -> dict[str, np.ndarray]:
        names = ("time_s", "arrivals_per_s", "tokens_per_s", "power_w", "batch", "utilisation", "queued", "replicas_up")
        return dict(zip(names, np.array(self.samples).reshape(-1, len(names)).T, strict=True))

    def _latencies(self) -> dict[str, np.ndarray]:
        names = np.array([*(tier.name for tier in self.plan.scenario.serving.tiers), HOSTILE])
        group, kind, place = np.nonzero(self.counts.bins)
        return {"group": names[group], "kind": np.array(KINDS)[kind], "upper_s": upper_s(place),
                "count": self.counts.bins[group, kind, place]}

    def _balance(self) -> dict[str, float]:
        """Return both sides of what is conserved: requests, tokens, accelerator-seconds, and Little's law of the batches."""
        r, q, gone = self.fleet.replicas, self.unfinished, self.gone
        weight = self.fleet.weight
        running = self.fleet.inside()
        here = np.flatnonzero(q.state == 2)
        made_here = (r.iterations[q.replica[here]] - q.begun[here]) * self.plan.costs.tokens[r.pool[q.replica[here]]]
        inside = np.flatnonzero((q.state == 1) | (q.state == 2))
        return {"came": float(self.came), "refused": float(self.refused), "gone": gone["requests"], "running": float(running),
                "made": float(r.made.sum() + made_here.sum()), "made_requests": gone["made"] + float(made_here.sum()),
                "worked": float(r.worked.sum()), "worked_requests": gone["worked"],
                "busy_s": float(r.busy_s @ weight), "used_s": float(self.counts.used_s.sum()),
                "batch_s": float(r.batch_s.sum()),
                "inside_s": gone["inside_s"] + float(r.clock_s[q.replica[inside]].sum()),
                "on_s": self.fleet.on_s}

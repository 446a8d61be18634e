"""All that a trial of a jobs file needs: facts of each class, jobs that are given, failure rates; and the drawing of the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from simulator.catalog.records import FailureComponent, Recovery
from simulator.cluster.queue_power import QueuePower, queue_power
from simulator.cluster.queue_work import Rhythm
from simulator.errors import UserError
from simulator.fields import Distribution
from simulator.scenario import JobClass, QueueScenario
from simulator.scenario.queueing import GivenJob, Scheduler
from simulator.scenario.traces import TraceJob, read_trace

Stream = Callable[[str], np.random.Generator]
# What a component's kind does to a job here; kinds that slow jobs but stop none are left out.
STOPS = {"hardware": "hardware", "preemption": "hardware", "software": "software", "corruption": "software",
         "loss-spike": "software", "planned": "planned"}
_MOST_JOBS, _MOST_FAILURES = 5_000_000, 1_000_000
_BLOCK = 4096


class Spec(NamedTuple):
    """One job as it is submitted; `kind` is an index of the plan's classes, `request_s` the time it asks for."""

    name: str
    kind: int
    submit_s: float
    nodes: int
    accelerators: int
    duration_s: float
    request_s: float
    priority: int


class Kind(NamedTuple):
    """What the jobs of a class have in common."""

    name: str
    rhythm: Rhythm
    restart_s: Any  # s, or a distribution drawn at every restart; None: as the failure profile says
    walltime_factor: float
    longest_s: float
    priority: int

    def request_s(self, work_s: float) -> float:
        """Return the time such a job asks for: its factor times what it needs, within the limit where that is enough."""
        needed_s = self.rhythm.span_s(work_s)
        return max(needed_s, min(self.walltime_factor * needed_s, self.longest_s))


@dataclass(frozen=True)
class QueuePlan:
    """A jobs file ready to run; rates over all nodes, spares included."""

    scheduler: Scheduler
    kinds: tuple[Kind, ...]
    classes: tuple[JobClass, ...]
    fixed: tuple[Spec, ...]
    nodes: int
    spare_nodes: int
    accelerators_per_node: int
    repair_crew: int
    components: tuple[FailureComponent, ...]
    rates_per_s: np.ndarray
    recovery: Recovery
    horizon_s: float
    warm_up_s: float
    usd_per_accelerator_s: float
    power: QueuePower


def plan_queue(scenario: QueueScenario, trace: tuple[TraceJob, ...] | None = None) -> QueuePlan:
    """Return the plan of a jobs file without open distributions; `trace` is read where it is not given.

    Raises UserError for a trace that is wrong, and for a price that is unknown.
    """
    cluster, failures = scenario.cluster, scenario.failures
    trace = trace_of(scenario) if trace is None else trace
    nodes = cluster.nodes + cluster.spares
    components = tuple(c for c in failures.components if c.rate_per_s > 0.0 and c.kind in STOPS)
    _check_failures(components, nodes, scenario.horizon_s)
    kinds = _kinds(scenario, trace)
    return QueuePlan(
        scheduler=scenario.scheduler,
        kinds=kinds,
        classes=scenario.jobs.classes,
        fixed=_fixed(scenario, kinds, trace),
        nodes=nodes,
        spare_nodes=cluster.spares,
        accelerators_per_node=cluster.accelerator.accelerators_per_node,
        repair_crew=cluster.repair_crew,
        components=components,
        rates_per_s=np.array([c.rate_per_s * nodes / c.blast_radius for c in components]),
        recovery=failures.recovery,
        horizon_s=scenario.horizon_s,
        warm_up_s=scenario.warm_up_s,
        usd_per_accelerator_s=scenario.pricing.rental.price_for(cluster.accelerator),
        power=queue_power(scenario),
    )


def _check_failures(components: tuple[FailureComponent, ...], nodes: int, horizon_s: float) -> None:
    """Raise UserError for so many failures that their simulation would not end."""
    found = sum(c.rate_per_s * nodes / c.blast_radius for c in components) * horizon_s
    if not found <= _MOST_FAILURES:
        raise UserError(f"found {found:.3g} failures in the horizon of {horizon_s / 86400.0:.3g} days; allowed: at most "
                        f"{_MOST_FAILURES:,}")


def trace_of(scenario: QueueScenario) -> tuple[TraceJob, ...]:
    """Return the jobs of the scenario's trace, none where it has none."""
    if scenario.jobs.trace is None:
        return ()
    return read_trace(scenario.jobs.trace, scenario.cluster.accelerators, [c.name for c in scenario.jobs.classes])


def _kinds(scenario: QueueScenario, trace: tuple[TraceJob, ...]) -> tuple[Kind, ...]:
    """Return the classes of the file; then those that only `trace` or `given` name, with nothing but a name."""
    kinds = [
        Kind(c.name, Rhythm(c.checkpoint_interval_s or math.inf, c.checkpoint_time_s),
             c.restart_s, c.walltime_factor, c.longest_s or math.inf, c.priority)
        for c in scenario.jobs.classes
    ]
    known = {kind.name for kind in kinds}
    named: tuple[GivenJob | TraceJob, ...] = (*scenario.jobs.given, *trace)
    for name in [job.class_ or "other" for job in named]:
        if name not in known:
            known.add(name)
            kinds.append(Kind(name, Rhythm(), None, 1.0, math.inf, 0))
    return tuple(kinds)


def _fixed(scenario: QueueScenario, kinds: tuple[Kind, ...], trace: tuple[TraceJob, ...]) -> tuple[Spec, ...]:
    """Return the jobs that are the same in every trial."""
    per_node = scenario.cluster.accelerator.accelerators_per_node
    places = {kind.name: i for i, kind in enumerate(kinds)}
    specs = []
    jobs: tuple[GivenJob | TraceJob, ...] = (*scenario.jobs.given, *trace)
    for i, job in enumerate(jobs):
        kind = kinds[places[job.class_ or "other"]]
        request_s = kind.request_s(job.duration_s) if job.walltime_s is None else job.walltime_s
        specs.append(Spec(job.name or f"job {i + 1}", places[kind.name], job.submit_s, -(-job.accelerators // per_node),
                          job.accelerators, job.duration_s, request_s,
                          kind.priority if job.priority is None else job.priority))
    return tuple(specs)


def draw_jobs(plan: QueuePlan, stream: Stream) -> list[Spec]:
    """Return the jobs of a trial in order of submission: the fixed ones and those of classes that arrive at random.

    Each class draws from its own streams, so another scheduler or another class meets the same jobs.
    """
    jobs = [spec for spec in plan.fixed if spec.submit_s < plan.horizon_s]
    for kind, job_class in enumerate(plan.classes):
        if job_class.arrivals_per_s:
            jobs += _arrivals(plan, kind, job_class, stream)
    return sorted(jobs, key=lambda spec: spec.submit_s)


def _arrivals(plan: QueuePlan, kind: int, job_class: JobClass, stream: Stream) -> list[Spec]:
    rate = float(job_class.arrivals_per_s or 0.0)
    if rate * plan.horizon_s > _MOST_JOBS:
        raise UserError(f"jobs.classes.{kind}.arrivals: found some {rate * plan.horizon_s:,.0f} jobs until the horizon; "
                        f"allowed: at most {_MOST_JOBS:,}")
    name, times = job_class.name, stream(f"jobs {job_class.name} arrivals")
    submits: list[np.ndarray] = []
    last_s = 0.0
    while last_s < plan.horizon_s:
        submits.append(last_s + np.cumsum(times.standard_exponential(_BLOCK)) / rate)
        last_s = float(submits[-1][-1])
    submit_s = np.concatenate(submits)
    submit_s = submit_s[submit_s < plan.horizon_s]
    sizes = job_class.mix()
    weights = np.array([size.weight for size in sizes])
    picks = np.searchsorted(np.cumsum(weights)[:-1] / weights.sum(), stream(f"jobs {name} sizes").random(submit_s.size),
                            side="right")
    duration_s = _durations(job_class, stream(f"jobs {name} durations"), submit_s.size)
    facts, per_node = plan.kinds[kind], plan.accelerators_per_node
    return [
        Spec(f"{name} {i + 1}", kind, at_s, -(-sizes[pick].accelerators // per_node), sizes[pick].accelerators, work_s,
             facts.request_s(work_s), facts.priority)
        for i, (at_s, pick, work_s) in enumerate(zip(submit_s.tolist(), picks.tolist(), duration_s.tolist(), strict=True))
    ]


def _durations(job_class: JobClass, rng: np.random.Generator, count: int) -> np.ndarray:
    duration = job_class.duration_s
    values = duration.draw(rng, count) if isinstance(duration, Distribution) else np.full(count, float(duration or 0.0))
    return values if job_class.longest_s is None else np.minimum(values, job_class.longest_s)

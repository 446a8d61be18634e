"""One trial of a jobs file: one history of the queue up to the horizon, as a row of results and a table of jobs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from simulator.catalog.records import FailureComponent
from simulator.cluster.draws import Draws
from simulator.cluster.queue import Queue, arrivals, strikes
from simulator.cluster.queue_job import Cause, Job, Setting, Stop
from simulator.cluster.queue_plan import STOPS, QueuePlan, Spec, Stream, draw_jobs
from simulator.cluster.queue_power import energy_row, job_energy_j
from simulator.cluster.queue_work import CATEGORIES

_TIMES = ("detection", "diagnosis", "replacement", "initialisation", "warm_up", "repair")
_CLOSED = Stop("closed")
QUANTILES = (0.5, 0.95)


@dataclass
class QueueResult:
    """A row of results (SI, names with units), and one column a property of jobs."""

    row: dict[str, float]
    jobs: dict[str, list[Any]]


def run_queue_trial(plan: QueuePlan, stream: Stream) -> QueueResult:
    """Simulate one history from an empty cluster to the horizon.

    Parameters
    ----------
    plan : QueuePlan
        Of a scenario without open distributions.
    stream : callable
        Purpose -> generator of this trial.
    """
    env = simpy.Environment()
    times = {name: Draws(getattr(plan.recovery, f"{name}_s"), stream(name)) for name in _TIMES}
    restarts = tuple(None if kind.restart_s is None else Draws(kind.restart_s, stream(f"restart {kind.name}"))
                     for kind in plan.kinds)
    queue = Queue(env, plan)
    setting = Setting(times, restarts, plan.recovery.initialisation_per_node_s, plan.warm_up_s, [0.0] * len(CATEGORIES),
                      plan.scheduler.preempted == "checkpoint")
    jobs: list[Job] = []

    def submit(spec: Spec) -> None:
        jobs.append(Job(len(jobs), spec, plan.kinds[spec.kind], queue, setting))
        queue.submit(jobs[-1])

    env.process(arrivals(env, draw_jobs(plan, stream), submit))
    if plan.components:
        env.process(strikes(env, plan, queue, _causes(plan, times, stream), stream("failures")))
    env.run(until=plan.horizon_s)
    for job in list(queue.running.values()):
        job.stop(_CLOSED)
    while env.peek() <= plan.horizon_s:  # the stops, and what else falls on the very end
        env.step()
    queue.nodes.count()
    return QueueResult(_row(plan, queue, jobs, setting.node_s), _table(plan, jobs))


def _causes(plan: QueuePlan, times: dict[str, Draws], stream: Stream) -> list[Cause]:
    """Return what each component does; detection and repair of its own draw from their own streams."""
    def own(component: FailureComponent, part: str) -> Draws:
        value = getattr(component, f"{part}_s")
        return times[part] if value is None else Draws(value, stream(f"{part} {component.name}"))

    return [Cause(STOPS[c.kind], c.blast_radius, own(c, "detection"), own(c, "repair")) for c in plan.components]


def _row(plan: QueuePlan, queue: Queue, jobs: list[Job], node_s: list[float]) -> dict[str, float]:
    """Return the results of the trial; node-seconds by category sum to `node_s` (a test holds them to 1e-9)."""
    nodes, spent = queue.nodes, dict(zip(CATEGORIES, node_s, strict=True))
    window_s = plan.horizon_s - plan.warm_up_s
    total, held = plan.nodes * window_s, sum(node_s)
    usd_per_node_s = plan.usd_per_accelerator_s * plan.accelerators_per_node
    row = {
        "time_s": window_s, "node_s": total,
        **{f"node_{name}_s": value for name, value in spent.items()},
        "node_idle_s": nodes.idle_node_s, "node_repair_s": nodes.repair_node_s,
        "utilisation": held / total,
        "utilisation_productive": spent["productive"] / total,
        "goodput": spent["productive"] / held if held else math.nan,
        "failures": float(queue.failures),
        "interruptions": float(sum(job.interruptions for job in jobs)),
        "preemptions": float(sum(job.preemptions for job in jobs)),
        "cost_usd": usd_per_node_s * total,
        "cost_jobs_usd": usd_per_node_s * held,
        "cost_idle_usd": usd_per_node_s * (nodes.idle_node_s + nodes.repair_node_s),
        **energy_row(plan.power, spent, nodes.idle_node_s, window_s),
    }
    counted = [job for job in jobs if job.spec.submit_s >= plan.warm_up_s]
    row.update(_group(plan, counted, ""))
    for i, kind in enumerate(plan.kinds):
        row.update(_group(plan, [job for job in counted if job.spec.kind == i], f"class {kind.name} "))
    return row


def _group(plan: QueuePlan, jobs: list[Job], prefix: str) -> dict[str, float]:
    """Return counts, queue times, accelerator-time and cost of a group of jobs submitted after the warm-up."""
    held_s = sum(job.held_node_s for job in jobs) * plan.accelerators_per_node
    waits_s = np.array([wait_s(job, plan.horizon_s) for job in jobs])
    found = {
        "jobs": float(len(jobs)),
        "jobs_completed": float(sum(job.outcome == "completed" for job in jobs)),
        "jobs_waiting": float(sum(job.outcome == "queued" for job in jobs)),
        "restarts": float(sum(job.restarts for job in jobs)),
        "held_accelerator_s": held_s,
        "held_usd": held_s * plan.usd_per_accelerator_s,
        "held_j": sum(job_energy_j(plan.power, job.node_s) for job in jobs),
        "queue_mean_s": float(waits_s.mean()) if jobs else math.nan,
        **{f"queue_p{round(100 * q)}_s": float(np.quantile(waits_s, q)) if jobs else math.nan for q in QUANTILES},
    }
    return {f"{prefix}{name}": value for name, value in found.items()}


def wait_s(job: Job, horizon_s: float) -> float:
    """Return the time from submission to the first start; of a job that has not started, its wait so far."""
    return (horizon_s if job.starts == 0 else job.first_start_s) - job.spec.submit_s


def _table(plan: QueuePlan, jobs: list[Job]) -> dict[str, list[Any]]:
    """Return one column a property, one row a job in order of submission."""
    rate = plan.usd_per_accelerator_s
    held_s = [job.held_node_s * plan.accelerators_per_node for job in jobs]
    return {
        "job": [job.spec.name for job in jobs],
        "class": [job.kind.name for job in jobs],
        "priority": [job.spec.priority for job in jobs],
        "accelerators": [job.spec.accelerators for job in jobs],
        "nodes": [job.spec.nodes for job in jobs],
        "submit_s": [job.spec.submit_s for job in jobs],
        "start_s": [job.first_start_s for job in jobs],
        "end_s": [job.end_s for job in jobs],
        "queue_s": [wait_s(job, plan.horizon_s) for job in jobs],
        "requeue_s": [job.requeue_s + (plan.horizon_s - job.waiting_since_s if job.starts and job.outcome == "queued" else 0)
                      for job in jobs],
        "run_s": [sum(job.seconds) for job in jobs],
        **{f"{name}_s": [job.seconds[i] for job in jobs] for i, name in enumerate(CATEGORIES)},
        "restarts": [job.restarts for job in jobs],
        "interruptions": [job.interruptions for job in jobs],
        "preemptions": [job.preemptions for job in jobs],
        "accelerator_hours": [s / 3600.0 for s in held_s],
        "cost_usd": [s * rate for s in held_s],
        "energy_j": [job_energy_j(plan.power, job.node_s) for job in jobs],
        "outcome": [job.outcome for job in jobs],
    }

"""All that a trial needs, computed once: steps, checkpoint costs, failure rates, recovery times and rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.accounting import Rates, run_rates
from simulator.catalog.records import FailureComponent, Recovery
from simulator.cluster.checkpoints import CheckpointCost, checkpoint_cost, interval_s
from simulator.performance import StepEstimate, estimate_steps
from simulator.performance.estimate import mfu_precision
from simulator.performance.hardware import peak_flops_per_s
from simulator.scenario import Scenario
from simulator.workload import parameters


@dataclass(frozen=True)
class RunPlan:
    """A scenario ready to run; arrays as `kernels.progress.advance` takes them."""

    estimates: tuple[StepEstimate, ...]
    first_step: np.ndarray  # (stretches + 1,)
    step_s: np.ndarray  # (stretches,)
    every: np.ndarray  # (stretches,) steps between checkpoints
    checkpoint: CheckpointCost
    job_nodes: int
    spare_nodes: int
    repair_crew: int
    components: tuple[FailureComponent, ...]
    component_rates_per_s: np.ndarray  # over all nodes, spares included
    recovery: Recovery
    rates: Rates

    @property
    def mtbf_s(self) -> float:
        """Mean time between interruptions of the job, s (infinity without failures)."""
        return _mtbf_s(self.component_rates_per_s, self.job_nodes, self.spare_nodes)


def _mtbf_s(rates_per_s: np.ndarray, job_nodes: int, spare_nodes: int) -> float:
    total = float(rates_per_s.sum()) * job_nodes / (job_nodes + spare_nodes)
    return 1.0 / total if total > 0.0 else np.inf


def plan_run(scenario: Scenario, estimates: tuple[StepEstimate, ...] | None = None) -> RunPlan:
    """Return the plan of a scenario without open distributions.

    `estimates` are reused where given: only when nothing they depend on was drawn anew. Raises UserError for a layout that
    does not fit or a value that is unknown.
    """
    estimates = estimate_steps(scenario) if estimates is None else estimates
    cluster = scenario.cluster
    count = parameters(scenario.model).total
    nodes = cluster.nodes + cluster.spares
    components = tuple(c for c in scenario.failures.components if c.rate_per_s > 0.0)
    rates = np.array([c.rate_per_s * nodes / c.blast_radius for c in components])
    cost = checkpoint_cost(scenario, count)
    tau = interval_s(scenario, cost, _mtbf_s(rates, cluster.nodes, cluster.spares))
    step_s = np.array([e.step_time_s for e in estimates])
    steps = np.array([float(e.batch.steps) for e in estimates])
    shortest = np.maximum(1.0, np.ceil(cost.persist_s / step_s))  # one write is done before the next begins
    every = np.maximum(shortest, np.minimum(np.round(tau / step_s), steps.sum()))
    peak = peak_flops_per_s(cluster.accelerator, mfu_precision(scenario.training.precision))
    return RunPlan(
        estimates=estimates,
        first_step=np.concatenate([[0.0], np.cumsum(steps)]),
        step_s=step_s,
        every=every,
        checkpoint=cost,
        job_nodes=cluster.nodes,
        spare_nodes=cluster.spares,
        repair_crew=cluster.repair_crew,
        components=components,
        component_rates_per_s=rates,
        recovery=scenario.failures.recovery,
        rates=run_rates(scenario, estimates, count, peak),
    )

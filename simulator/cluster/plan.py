"""All that a trial needs, computed once: steps, checkpoint costs, failure rates, recovery times and rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import get_args

import numpy as np

from kernels.events import Hazards
from kernels.hazards import alias_table
from kernels.job import Job
from kernels.pipeline import microbatch_count
from simulator.accounting import Rates, State, Supply, rated_w, repriced, run_rates, supply
from simulator.catalog.records import FailureComponent, FailureKind
from simulator.cluster.checkpoints import CheckpointCost, checkpoint_cost, interval_s
from simulator.cluster.laws import Laws, component_laws, recovery_laws
from simulator.cluster.orders import LIMITS, Rules, rules
from simulator.errors import UserError
from simulator.performance import StepEstimate, estimate_steps, longest
from simulator.performance.estimate import mfu_precision
from simulator.performance.hardware import needed, peak_flops_per_s
from simulator.scenario import Scenario
from simulator.scenario.operations import Copies

KINDS: tuple[str, ...] = get_args(FailureKind)
PATIENCE = 20.0  # a run is given up after so many times what its steps take,
PATIENCE_S = 365 * 86400.0  # and this: a short run may wait long for one repair, whose times have a long tail
_LONGEST_S = 1000 * 365 * 86400.0
_MOST_FAILURES, _MOST_WINDOWS = 5_000_000, 200_000  # some seconds of a trial
# Kinds that stop the job each time; what they cost decides how often to save.
_STOPPING = ("hardware", "software", "planned", "corruption", "loss-spike", "preemption")


@dataclass(frozen=True)
class RunPlan:
    """A scenario ready to run: packs and arrays as `kernels.run` takes them.

    Attributes
    ----------
    job, hazards
        Packs of kernels; the arrays of `hazards` that are written are empty here.
    spare_nodes : tuple of int
        Hot, warm and cold.
    evict_after_s : float
        Until a slow node is left out; infinity: never.
    per_node_s : float
        Of initialisation, for each node.
    windows : tuple of float or None
        Maintenance: from one to the next, and how long, s.
    growth : tuple of (float, RunPlan)
        When the job has more nodes, and its plan from then on.
    rated_w : float
        IT power that all nodes may take.
    supply, rules
        Where power comes from, and what bounds it.
    slower : tuple of RunPlan
        The same at lower and lower clocks, where rules may ask for it.
    """

    estimates: tuple[StepEstimate, ...]
    job: Job
    hazards: Hazards
    checkpoint: CheckpointCost
    job_nodes: int
    spare_nodes: tuple[int, int, int]
    repair_crew: int
    components: tuple[FailureComponent, ...]
    mtbf_s: float
    evict_after_s: float
    per_node_s: float
    windows: tuple[float, float] | None
    growth: tuple[tuple[float, RunPlan], ...]
    rates: Rates
    rated_w: float
    supply: Supply
    rules: Rules
    slower: tuple[RunPlan, ...]

    @property
    def every(self) -> np.ndarray:
        """Steps between durable checkpoints, by stretch."""
        return self.job.every

    @property
    def first_step(self) -> np.ndarray:
        """First step of each stretch, then the number of all steps."""
        return self.job.first_step

    @property
    def step_s(self) -> np.ndarray:
        """Step time of each stretch, s."""
        return self.job.step_s

    @property
    def nodes(self) -> int:
        """All nodes, spares included."""
        return self.job_nodes + sum(self.spare_nodes)

    @cached_property
    def kinds(self) -> np.ndarray:
        """Index in `KINDS` of each component, shape (components,)."""
        return np.array([KINDS.index(c.kind) for c in self.components], dtype=np.int64)

    @cached_property
    def levels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Step times, intervals and watts of this plan and its slower forms, as `kernels.clock.Clock` takes them."""
        return self.levels_metered(by_kind=False)

    def levels_metered(self, *, by_kind: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the same, with watts by kind where they are wanted."""
        plans = (self, *self.slower)
        return (np.stack([p.job.step_s for p in plans]), np.stack([p.job.every for p in plans]),
                np.stack([p.rates.metered_w(by_kind) for p in plans]))

    @cached_property
    def powers_w(self) -> np.ndarray:
        """`full_w` of this plan and its slower forms, falling."""
        return np.array([p.full_w for p in (self, *self.slower)])

    @cached_property
    def full_w(self) -> float:
        """IT power of the cluster while the job runs, idle hot spares included: that of the hungriest stretch, W."""
        running_w = self.rates.it_w[:, State.PRODUCTIVE].sum(axis=0).max()
        return float(running_w) + self.spare_nodes[0] * self.rates.spare_node_w

    @property
    def horizon_s(self) -> float:
        """How far bins of the calendar reach at first: a tenth over the time of all steps, and three days."""
        return 1.1 * float(np.diff(self.job.first_step) @ self.job.step_s) + 3.0 * 86400.0

    @property
    def steps(self) -> float:
        """Steps of the whole training."""
        return float(self.first_step[-1])


def _check_length(scenario: Scenario, estimates: tuple[StepEstimate, ...]) -> None:
    """Raise UserError for a run so long, or with so much that may happen in it, that its simulation would not end."""
    ideal_s = sum(e.step_time_s * e.batch.steps for e in estimates)
    if not 0.0 < ideal_s <= _LONGEST_S:
        raise UserError(f"found steps of {estimates[0].step_time_s:.3g} s, {ideal_s / 86400.0:.3g} days together; allowed: "
                        f"more than 0 and at most {_LONGEST_S / 86400.0:,.0f} days")
    nodes, windows = scenario.cluster.nodes, scenario.cluster.maintenance
    rate = sum(c.rate_per_s * nodes / c.blast_radius * (1.0 + c.burst) for c in scenario.failures.components)
    for what, often, most in (("failures", rate, _MOST_FAILURES),
                              ("maintenance windows", 1.0 / windows.every_s if windows else 0.0, _MOST_WINDOWS)):
        found = often * (PATIENCE * ideal_s + PATIENCE_S)
        if not found <= most:
            raise UserError(f"found {often * 86400.0:.3g} {what} a day, {found:.3g} in {PATIENCE:.0f} times the "
                            f"{ideal_s / 86400.0:.3g} days of all steps and a year, after which a run is given up; allowed: at "
                            f"most {most:,}")


def _mtbf_s(scenario: Scenario) -> float:
    """Return the mean time between stops of the job, with the mean life where a rate changes with age, s."""
    nodes = scenario.cluster.nodes
    rate = sum(c.rate_per_s * nodes / c.blast_radius * (1.0 + (c.burst if c.kind == "hardware" else 0.0))
               for c in scenario.failures.components if c.kind in _STOPPING)
    return 1.0 / rate if rate > 0.0 else math.inf


@lru_cache(maxsize=32)
def _frailty(shape: float, nodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return alias table and frailty of each node: the middle of each of n equal shares of a gamma distribution, mean 1."""
    if shape <= 0.0:
        return np.empty(0), np.empty(0), np.empty(0)
    from scipy.stats import gamma

    weights = gamma.ppf((np.arange(nodes) + 0.5) / nodes, shape)
    weights = np.random.default_rng(0).permutation(weights / weights.mean())  # lemons stand anywhere, the same in every trial
    shares, aliases = np.empty(nodes), np.empty(nodes)
    alias_table(weights, shares, aliases)
    return shares, aliases, weights


def _hazards(scenario: Scenario, components: tuple[FailureComponent, ...], nodes: int) -> Hazards:
    laws = Laws()
    recovery_laws(laws, scenario.failures.recovery)
    rows, own = [], []
    for c in components:
        count = nodes / c.blast_radius
        per_life = (c.rate_per_s * math.gamma(1.0 + 1.0 / c.shape))**c.shape  # the mean life of a new one is 1 / rate
        rows.append([count * per_life, c.shape, float(KINDS.index(c.kind)), float(c.blast_radius), c.burst,
                     c.burst_spread_s, float(c.burst_domain), float(c.rollback), c.notice_s])
        own.append(component_laws(laws, c))
    table, choices = laws.table()
    shares, aliases, frailty = _frailty(float(scenario.failures.frailty), nodes)
    empty = np.empty(0)
    return Hazards(np.array(rows).reshape(-1, 9), np.array(own, dtype=np.int64).reshape(-1, 5), table, choices,
                   scenario.failures.age_s, shares, aliases, frailty, float(scenario.cluster.quarantine_after), empty, empty,
                   np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), empty)


def _copies(copies: Copies | None, step_s: float) -> tuple[float, float, float]:
    """Return steps between copies (0: none), seconds each stalls, seconds to restart from one."""
    if copies is None:
        return 0.0, 0.0, 0.0
    return float(max(1, round(copies.interval_s / step_s))), copies.stall_s, copies.load_s


def _microbatches(estimates: tuple[StepEstimate, ...]) -> float:
    """Return the microbatches of a data-parallel replica in a step of the longest stretch."""
    e = longest(estimates)
    return float(microbatch_count(e.batch.sequences, float(e.layout.data), float(e.layout.microbatch)))


def _job(scenario: Scenario, estimates: tuple[StepEstimate, ...], cost: CheckpointCost, tau_s: float) -> Job:
    cluster, layout = scenario.cluster, estimates[0].layout
    step_s = np.array([e.step_time_s for e in estimates])
    steps = np.array([float(e.batch.steps) for e in estimates])
    shortest = np.maximum(1.0, np.ceil(cost.persist_s / step_s))  # one write is done before the next begins
    every = np.maximum(shortest, np.minimum(np.round(tau_s / step_s), steps.sum()))
    typical_s = float(step_s @ steps / steps.sum())
    memory, local = scenario.checkpoint.memory, scenario.checkpoint.local
    elastic = cluster.elasticity
    return Job(
        np.concatenate([[0.0], np.cumsum(steps)]), step_s, every, cost.stall_s, cost.persist_s, cost.slowdown, cost.load_s,
        *_copies(memory, typical_s), float(memory.nodes) if memory else 0.0, *_copies(local, typical_s),
        nodes=float(cluster.nodes), replicas=float(max(1, layout.data)), shrinks=float(elastic.action != "wait"),
        microbatches=_microbatches(estimates) if elastic.action == "shrink" else 0.0,
        patience_s=elastic.patience_s, least_share=elastic.least, day_swing=cluster.variation.day_swing,
        year_swing=cluster.variation.year_swing)


def plan_run(scenario: Scenario, estimates: tuple[StepEstimate, ...] | None = None, *,
             usual: tuple[StepEstimate, ...] | None = None) -> RunPlan:
    """Return the plan of a scenario without open distributions.

    `estimates` are reused where given: only when nothing they depend on was drawn anew. Raises UserError for a layout that
    does not fit or a value that is unknown. `usual` are the estimates at the usual clock, where this is a slower one.
    """
    estimates = estimate_steps(scenario) if estimates is None else estimates
    cluster, recovery = scenario.cluster, scenario.failures.recovery
    components = tuple(c for c in scenario.failures.components if c.rate_per_s > 0.0)
    _check_length(scenario, estimates)
    cost = checkpoint_cost(scenario, estimates[0].batch)
    mtbf_s = _mtbf_s(scenario)
    later = tuple((step.at_s, plan_run(_grown(scenario, step.accelerators)))
                  for step in sorted(cluster.growth, key=lambda g: g.at_s))
    spares = (cluster.spares, cluster.warm_spares, cluster.cold_spares)
    most = max([cluster.nodes, *(plan.job_nodes for _, plan in later)]) + sum(spares)
    peak = peak_flops_per_s(cluster.accelerator, mfu_precision(scenario.training.precision))
    rated = rated_w(scenario)
    bound = rules(scenario, rated)
    return RunPlan(
        estimates=estimates,
        job=_job(scenario, estimates, cost, interval_s(scenario, cost, mtbf_s)),
        hazards=_hazards(scenario, components, most),
        checkpoint=cost,
        job_nodes=cluster.nodes,
        spare_nodes=spares,
        repair_crew=cluster.repair_crew,
        components=components,
        mtbf_s=mtbf_s,
        evict_after_s=cluster.slow_nodes.detection_s if cluster.slow_nodes.action == "evict" else math.inf,
        per_node_s=recovery.initialisation_per_node_s,
        windows=(cluster.maintenance.every_s, cluster.maintenance.duration_s) if cluster.maintenance else None,
        growth=later,
        rates=run_rates(scenario, estimates, peak, cost.size_bytes, usual),
        rated_w=rated,
        supply=supply(scenario, rated),
        rules=bound,
        slower=_slower_plans(scenario, estimates) if bound.any else (),
    )


def _slower_plans(scenario: Scenario, usual: tuple[StepEstimate, ...]) -> tuple[RunPlan, ...]:
    """Return plans at lower and lower clocks; what a clock does not change is as in the usual one."""
    layout = scenario.training.layout if not isinstance(scenario.training.layout, str) else usual[0].layout
    fixed = scenario.model_copy(update={"training": scenario.training.model_copy(update={"layout": layout})})
    return tuple(plan_run(slow, usual=usual) for slow in _slower(fixed))


def _slower(scenario: Scenario) -> Iterator[Scenario]:
    """Yield the scenario with lower and lower limits of its accelerators' power, and no rules."""
    usual_w = scenario.cluster.power_limit_w or needed(scenario.cluster.accelerator, "tdp_w")
    lowest_w = needed(scenario.cluster.accelerator, "idle_power_w")
    facility = scenario.facility.model_copy(update={"power_cap_w": None, "oversubscription": 0.0, "curtailment": ()})
    for share in LIMITS:
        if share * usual_w > lowest_w:
            cluster = scenario.cluster.model_copy(update={"power_limit_w": share * usual_w, "growth": ()})
            yield scenario.model_copy(update={"cluster": cluster, "facility": facility, "policies": ()})


def reprice(plan: RunPlan, scenario: Scenario) -> RunPlan:
    """Return a plan at the prices and the facility of another scenario that is otherwise the same."""
    later = tuple((at_s, reprice(other, _grown(scenario, other.rates.accelerators))) for at_s, other in plan.growth)
    slower = zip(plan.slower, _slower(scenario), strict=True) if plan.slower else ()
    return replace(plan, rates=repriced(plan.rates, scenario, plan.checkpoint.size_bytes), growth=later,
                   supply=supply(scenario, plan.rated_w).with_grids_of(plan.supply), rules=rules(scenario, plan.rated_w),
                   slower=tuple(reprice(other, slow) for other, slow in slower))


def _grown(scenario: Scenario, accelerators: int) -> Scenario:
    """Return the scenario with the cluster as it is after it has grown: more data-parallel replicas."""
    layout = scenario.training.layout
    cluster = scenario.cluster.model_copy(update={"accelerators": accelerators, "growth": ()})
    training = scenario.training if isinstance(layout, str) else scenario.training.model_copy(
        update={"layout": layout.model_copy(update={"data": 0})})
    return scenario.model_copy(update={"cluster": cluster, "training": training})

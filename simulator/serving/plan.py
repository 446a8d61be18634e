"""All that a trial of a serving file needs and that luck does not change: costs of iterations, power, prices, failures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kernels.serving_packs import Costs
from simulator.catalog.records import FailureComponent, Recovery
from simulator.errors import UserError
from simulator.performance.hardware import needed, node_power
from simulator.scenario.serving import ServingScenario
from simulator.serving.costs import costs, kinds
from simulator.serving.tiers import with_tiers

# What takes a replica down; components that only slow a training job leave it up.
_STOPS = ("hardware", "software", "planned", "preemption")


class FleetPower(NamedTuple):
    """What a fleet draws at the meter: watts of an accelerator that is on, and joules for each that it draws above idle."""

    on_w: float
    per_j: float
    carbon_kg_per_j: float


@dataclass(frozen=True)
class ServePlan:
    """A serving file without open distributions, ready to run.

    Attributes
    ----------
    pools : ndarray, shape (replicas,)
        Pool of each replica that may ever be up.
    tiers : ndarray, shape (replicas, tiers)
        1 where a replica takes requests of a tier.
    own : ndarray, shape (replicas,)
        True where a replica is of one tier alone: it is never scaled.
    starts : ndarray, shape (replicas,)
        True where it is up when the time begins.
    failures_per_s : ndarray, shape (components, pools)
        Of a replica.
    """

    scenario: ServingScenario
    costs: Costs
    pools: np.ndarray
    tiers: np.ndarray
    own: np.ndarray
    starts: np.ndarray
    power: FleetPower
    usd_per_accelerator_s: float
    components: tuple[FailureComponent, ...]
    failures_per_s: np.ndarray
    recovery: Recovery


def plan_serving(scenario: ServingScenario) -> ServePlan:
    """Return the plan of a serving file; UserError where a model does not fit, or a value is nowhere to be had."""
    scenario = with_tiers(scenario)
    serving, accelerator = scenario.serving, scenario.serving.accelerator
    found = kinds(scenario)
    pool, prompts = serving.pool, serving.prompts
    many = pool.replicas if serving.autoscale is None else serving.autoscale.most
    more = 0 if prompts is None else prompts.replicas
    pools = np.repeat([0, 1], [many, more])
    tiers = np.ones((pools.size, len(serving.tiers)), np.int64)
    first = 0
    own = np.zeros(pools.size, bool)
    for tier, facts in enumerate(serving.tiers):
        if facts.replicas:
            rows = slice(first, first + facts.replicas)
            tiers[rows] = 0
            own[rows] = True
            first += facts.replicas
            tiers[:many, tier] = 0
            tiers[rows, tier] = 1
    components = tuple(c for c in scenario.failures.components if c.rate_per_s > 0.0 and c.kind in _STOPS)
    nodes = np.array([kind.accelerators / accelerator.accelerators_per_node for kind in found])
    return ServePlan(
        scenario=scenario, costs=costs(scenario, found), pools=pools, tiers=tiers, own=own,
        starts=(pools == 1) | (np.arange(pools.size) < pool.replicas),
        power=fleet_power(scenario), usd_per_accelerator_s=price(scenario), components=components,
        failures_per_s=np.array([c.rate_per_s * nodes for c in components]).reshape(len(components), len(found)),
        recovery=scenario.failures.recovery,
    )


def price(scenario: ServingScenario) -> float:
    """Return what an accelerator costs a second; UserError where neither file nor catalog says it."""
    given = scenario.pricing.price_usd_per_accelerator_s
    found = scenario.serving.accelerator.on_demand_usd_per_accelerator_s if given is None else given
    if found is None:
        raise UserError(f"pricing.price: the catalog has no on-demand price of {scenario.serving.accelerator.name}; give one, "
                        "such as price: 2.5 USD/h")
    return float(found)


def fleet_power(scenario: ServingScenario) -> FleetPower:
    """Return the power of a fleet: accelerators, their share of nodes and of the fabric, all times the PUE.

    A node's power is linear in what its accelerators draw (`node_power`), so that two points of it tell all.
    """
    accelerator, site, pue = scenario.serving.accelerator, scenario.facility.site, scenario.facility.needed_pue()
    idle_w = needed(accelerator, "idle_power_w")

    def watts(accelerator_w: float) -> float:
        return accelerator_w + float(node_power(accelerator, accelerator_w).total_w) / accelerator.accelerators_per_node

    carbon = math.nan if site is None or site.carbon_intensity_kgco2e_per_j is None else site.carbon_intensity_kgco2e_per_j
    on_w, slope = watts(idle_w), watts(idle_w + 1.0) - watts(idle_w)
    return FleetPower(pue * (on_w + scenario.serving.fabric.power_w), pue * slope, carbon)


Stream = Callable[[str], np.random.Generator]

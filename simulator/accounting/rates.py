"""What one second in each state takes: watts by component, dollars, kilograms and litres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from simulator.accounting.capital import Holding, Terms, holding_of, terms_of
from simulator.accounting.dollars import factor_of
from simulator.accounting.ledger import State
from simulator.accounting.supply import supply
from simulator.performance import StepEstimate
from simulator.performance.hardware import needed, node_power, phase_power, storage_power_w
from simulator.scenario import Cluster, Scenario

ACCELERATOR_POWER = ("compute", "communication", "idle")
IT_POWER = (*ACCELERATOR_POWER, "host", "network", "storage")
KEPT_CHECKPOINTS = 2  # the durable one and the one being written


@dataclass(frozen=True)
class Rates:
    """Rates of a run, for the whole job.

    Attributes
    ----------
    power_w : ndarray, shape (3, states, stretches)
        Power of the job's accelerators by `ACCELERATOR_POWER`, state and stretch.
    host_w : ndarray, shape (states, stretches)
        The rest of the job's nodes: hosts, fans, losses of supplies; they follow what the accelerators draw.
    network_w, storage_w, spare_node_w : float
        The job's network, its checkpoint storage, one idle spare node with its host.
    """

    accelerators: int
    spare_accelerators: int
    power_w: np.ndarray
    host_w: np.ndarray
    network_w: float
    storage_w: float
    spare_node_w: float
    embodied_kg_per_s: float | None
    holding: Holding
    terms: Terms
    storage_usd_per_s: float
    straggler_factors: np.ndarray
    model_flops_per_step: np.ndarray
    step_s: np.ndarray
    usual_step_s: np.ndarray
    peak_flops_per_s: float

    @cached_property
    def it_w(self) -> np.ndarray:
        """IT power of the job by `IT_POWER`, state and stretch, shape (6, states, stretches), W."""
        every = np.ones_like(self.host_w)
        return np.concatenate([self.power_w, [self.host_w, self.network_w * every, self.storage_w * every]])

    def metered_w(self, by_kind: bool) -> np.ndarray:
        """Return IT power as a meter books it, shape (kinds, states, stretches), W: by kind, or all kinds as one."""
        return self.it_w if by_kind else self.all_w

    @cached_property
    def all_w(self) -> np.ndarray:
        """IT power of the job, all kinds together, shape (1, states, stretches), W."""
        return self.it_w.sum(axis=0, keepdims=True)


def run_rates(scenario: Scenario, estimates: tuple[StepEstimate, ...], peak_flops_per_s: float, checkpoint_bytes: float,
              usual: tuple[StepEstimate, ...] | None = None) -> Rates:
    """Return the rates of a scenario whose steps have been estimated; raise UserError for what is unknown.

    `usual` are the estimates at the usual limit of power, where these are of a lower one.
    """
    cluster, accelerator = scenario.cluster, scenario.cluster.accelerator
    accelerator_w = _accelerator_power(cluster, estimates)
    nodes = cluster.accelerators / accelerator.accelerators_per_node
    idle_w = needed(accelerator, "idle_power_w")
    return Rates(
        accelerators=cluster.accelerators,
        spare_accelerators=(cluster.spares + cluster.warm_spares + cluster.cold_spares) * accelerator.accelerators_per_node,
        power_w=accelerator_w * cluster.accelerators,
        host_w=node_power(accelerator, accelerator_w.sum(axis=0)).total_w * nodes,
        network_w=cluster.fabric.power_w * cluster.accelerators if cluster.nodes > 1 else 0.0,
        storage_w=storage_power_w(scenario.checkpoint.storage_bandwidth_bytes_per_s),
        spare_node_w=accelerator.accelerators_per_node * idle_w + node_power(accelerator, idle_w).total_w,
        **_paid(scenario, checkpoint_bytes),
        straggler_factors=np.array([e.straggler_factor for e in estimates]),
        model_flops_per_step=np.array([e.step.model_flops for e in estimates]) * cluster.accelerators,
        step_s=np.array([e.step_time_s for e in estimates]),
        usual_step_s=np.array([e.step_time_s for e in usual or estimates]),
        peak_flops_per_s=peak_flops_per_s,
    )


def _paid(scenario: Scenario, checkpoint_bytes: float) -> dict[str, Any]:
    """Return the rates that follow from prices and places alone."""
    stored_bytes = checkpoint_bytes * KEPT_CHECKPOINTS + (scenario.pricing.dataset_bytes or 0.0)
    return {"embodied_kg_per_s": _embodied_kg_per_s(scenario), "holding": holding_of(scenario), "terms": terms_of(scenario),
            "storage_usd_per_s": scenario.pricing.storage_usd_per_byte_s * stored_bytes}


def repriced(rates: Rates, scenario: Scenario, checkpoint_bytes: float) -> Rates:
    """Return rates at the prices and the place of a scenario that is otherwise the same: no second takes more or less power."""
    return replace(rates, **_paid(scenario, checkpoint_bytes))


def _accelerator_power(cluster: Cluster, estimates: tuple[StepEstimate, ...]) -> np.ndarray:
    """Return watts of one accelerator, shape (3, states, stretches)."""
    watts = phase_power(cluster.accelerator, cluster.power_limit_w)
    waiting_w = watts.stall_w
    power = np.zeros((len(ACCELERATOR_POWER), len(State), len(estimates)))
    power[2, State.CHECKPOINT_STALL] = waiting_w
    power[2, State.DETECT] = waiting_w  # ranks spin in a collective until the failure is known
    power[2, State.RESTART] = watts.idle_w
    power[2, State.WAIT_FOR_SPARES] = watts.idle_w
    power[2, State.MAINTENANCE] = watts.idle_w
    power[2, State.CURTAILED] = watts.idle_w
    power[2, State.NETWORK_STALL] = waiting_w
    for stretch, e in enumerate(estimates):
        behind_s = e.step_time_s - e.step.time_s  # waiting for the slowest
        running = np.array([e.energy.compute_j, e.energy.communication_j, e.energy.bubble_j + waiting_w * behind_s])
        for state in (State.PRODUCTIVE, State.LOST, State.CHECKPOINT_SLOWDOWN, State.REDUCED, State.DEGRADED):
            power[:, state, stretch] = running / e.step_time_s
    return power


def _embodied_kg_per_s(scenario: Scenario) -> float | None:
    """Return embodied carbon of one accelerator with its share of the node, spread over its life; None where it is unknown."""
    accelerator, carbon = scenario.cluster.accelerator, scenario.carbon
    if accelerator.embodied_kgco2e is None:
        return None
    node_kg = carbon.embodied_node_kgco2e / accelerator.accelerators_per_node
    return (accelerator.embodied_kgco2e + node_kg) / carbon.embodied_life_s


def rated_w(scenario: Scenario) -> float:
    """Return the IT power of all nodes with every accelerator at its limit, spares included, W."""
    cluster, accelerator = scenario.cluster, scenario.cluster.accelerator
    tdp_w = needed(accelerator, "tdp_w")
    nodes = cluster.nodes + cluster.spares + cluster.warm_spares + cluster.cold_spares
    node_w = accelerator.accelerators_per_node * tdp_w + node_power(accelerator, tdp_w).total_w
    network_w = cluster.fabric.power_w * cluster.accelerators if cluster.nodes > 1 else 0.0
    return float(nodes * node_w + network_w + storage_power_w(scenario.checkpoint.storage_bandwidth_bytes_per_s))


def prices(scenario: Scenario) -> tuple[float, float]:
    """Return USD per accelerator-second and USD per joule at the meter, when the run begins; rent includes electricity."""
    dollars = factor_of(scenario)
    price = supply(scenario, rated_w(scenario)).mean_price_usd_per_j()
    return sum(holding_of(scenario).usd_per_s().values()) * dollars, price * dollars

"""What a cluster of jobs draws: watts of a node by what its job does, idle nodes, network; at the meter."""

from __future__ import annotations

import math
from typing import NamedTuple

from simulator.cluster.queue_work import CATEGORIES
from simulator.performance.hardware import knows_power, needed, node_power, phase_power
from simulator.scenario import QueueScenario


class QueuePower(NamedTuple):
    """Watts at the plug, and what the place makes of them; NaN where the catalog does not know.

    Attributes
    ----------
    node_w : tuple of float
        Of one node, by `CATEGORIES`: computing draws the file's share of the accelerators' limit, all else what waiting draws.
    idle_node_w, network_w : float
        Of a node without a job, and of the network of all.
    """

    node_w: tuple[float, ...]
    idle_node_w: float
    network_w: float
    pue: float
    carbon_kg_per_j: float


def queue_power(scenario: QueueScenario) -> QueuePower:
    """Return the watts of a jobs file without open distributions."""
    cluster, facility = scenario.cluster, scenario.facility
    accelerator, site = cluster.accelerator, facility.site
    pue = math.nan if facility.effective_pue is None else facility.effective_pue
    carbon = math.nan if site is None or site.carbon_intensity_kgco2e_per_j is None else site.carbon_intensity_kgco2e_per_j
    if not knows_power(accelerator) or accelerator.host_power_w is None:
        return QueuePower((math.nan,) * len(CATEGORIES), math.nan, math.nan, pue, carbon)

    def node_w(accelerator_w: float) -> float:
        return accelerator.accelerators_per_node * accelerator_w + float(node_power(accelerator, accelerator_w).total_w)

    busy_w = node_w(scenario.jobs.power * needed(accelerator, "tdp_w"))
    waiting_w = node_w(phase_power(accelerator).stall_w)
    by_category = tuple(busy_w if name in ("productive", "lost") else waiting_w for name in CATEGORIES)
    network_w = cluster.fabric.power_w * cluster.accelerators if cluster.nodes > 1 else 0.0
    return QueuePower(by_category, node_w(needed(accelerator, "idle_power_w")), network_w, pue, carbon)


def energy_row(power: QueuePower, node_s: dict[str, float], idle_node_s: float, window_s: float) -> dict[str, float]:
    """Return energy at the meter by who draws it, and its carbon by place; nodes in repair are off.

    Categories sum to `energy_j`.
    """
    jobs_j = power.pue * sum(w * node_s[name] for w, name in zip(power.node_w, CATEGORIES, strict=True))
    row = {"energy_jobs_j": jobs_j, "energy_idle_j": power.pue * power.idle_node_w * idle_node_s,
           "energy_network_j": power.pue * power.network_w * window_s}
    row["energy_j"] = sum(row.values())
    row["carbon_operational_kg"] = power.carbon_kg_per_j * row["energy_j"]
    return {name: math.nan if math.isnan(value) else value for name, value in row.items()}


def job_energy_j(power: QueuePower, node_s: list[float]) -> float:
    """Return the energy of one job at the meter, its nodes alone, from its node-seconds by `CATEGORIES`."""
    return power.pue * sum(w * s for w, s in zip(power.node_w, node_s, strict=True))

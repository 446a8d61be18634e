"""What a checkpoint costs, and how often to take one."""

from __future__ import annotations

from typing import NamedTuple

from kernels.memory import MASTER_BYTES
from simulator.performance.ettr import async_blocked_s, daly_interval_s, young_interval_s
from simulator.scenario import Scenario
from simulator.workload import StepBatch, parameters, recipe_pack


class CheckpointCost(NamedTuple):
    """Seconds a checkpoint stalls the job, until it is durable after that, to load it; and its bytes."""

    stall_s: float
    persist_s: float
    slowdown: float
    load_s: float
    size_bytes: float


def checkpoint_bytes(scenario: Scenario, batch: StepBatch) -> float:
    """Return the bytes of a checkpoint: the step model's terms of memory that are state, over all ranks.

    Weights in use, master weights and optimizer state once each; gradients are not saved (docs/reference/checkpoint.csv, sizing
    rules: 12 to 14 bytes a parameter; BLOOM's 2.3 TB are 13).
    """
    recipe = recipe_pack(scenario.training, scenario.model, batch)
    weights = recipe.element_bytes if recipe.element_bytes < MASTER_BYTES else 0.0  # in fp32 the master weights are in use
    return parameters(scenario.model).total * (weights + MASTER_BYTES + recipe.optimizer_state_bytes)


def checkpoint_cost(scenario: Scenario, batch: StepBatch) -> CheckpointCost:
    """Return the cost of a checkpoint, from its size and the bandwidths.

    Synchronous: the job stalls while storage is written. Asynchronous: it stalls for the copy from device to host, and
    storage is written beside the computing. Loads do not shrink (docs/reference/reliability.md; one reader a data-parallel group,
    then broadcast, MegaScale NSDI'24 section 4.4).
    """
    policy = scenario.checkpoint
    size = checkpoint_bytes(scenario, batch)
    write_s = size / policy.storage_bandwidth_bytes_per_s
    load_s = size / (policy.load_bandwidth_bytes_per_s or policy.storage_bandwidth_bytes_per_s)
    if policy.mode == "sync":
        return CheckpointCost(write_s, 0.0, 0.0, load_s, size)
    snapshot_s = size / scenario.cluster.accelerators / policy.snapshot_bandwidth_bytes_per_s
    return CheckpointCost(snapshot_s, write_s, policy.persist_slowdown, load_s, size)


def interval_s(scenario: Scenario, cost: CheckpointCost, mtbf_s: float) -> float:
    """Return computing time between checkpoints: as given, or Young's or Daly's optimum, never shorter than one write.

    `auto` is Daly's higher order. `simulated` starts there; `simulator.montecarlo.intervals` searches on.
    """
    chosen = scenario.checkpoint.interval_s
    if not isinstance(chosen, str):
        return max(float(chosen), cost.persist_s)
    blocked_s = float(async_blocked_s(cost.stall_s, cost.persist_s, cost.slowdown))
    best_s = young_interval_s(blocked_s, mtbf_s) if chosen == "young" else daly_interval_s(blocked_s, mtbf_s)
    return max(float(best_s), cost.persist_s)

"""What a checkpoint costs, and how often to take one."""

from __future__ import annotations

import math
from typing import NamedTuple

from simulator.accounting.rates import CHECKPOINT_BYTES_PER_PARAMETER
from simulator.scenario import Scenario


class CheckpointCost(NamedTuple):
    """Seconds a checkpoint stalls the job, until it is durable after that, to load it; and its bytes."""

    stall_s: float
    persist_s: float
    slowdown: float
    load_s: float
    size_bytes: float


def checkpoint_cost(scenario: Scenario, parameters: float) -> CheckpointCost:
    """Return the cost of a checkpoint, from its size and the bandwidths.

    Synchronous: the job stalls while storage is written. Asynchronous: it stalls for the copy from device to host, and
    storage is written beside the computing. Loads do not shrink (docs/reference/reliability.md; one reader a data-parallel group,
    then broadcast, MegaScale NSDI'24 section 4.4).
    """
    policy = scenario.checkpoint
    size = parameters * CHECKPOINT_BYTES_PER_PARAMETER
    write_s = size / policy.storage_bandwidth_bytes_per_s
    load_s = size / (policy.load_bandwidth_bytes_per_s or policy.storage_bandwidth_bytes_per_s)
    if policy.mode == "sync":
        return CheckpointCost(write_s, 0.0, 0.0, load_s, size)
    snapshot_s = size / scenario.cluster.accelerators / policy.snapshot_bandwidth_bytes_per_s
    return CheckpointCost(snapshot_s, write_s, policy.persist_slowdown, load_s, size)


def daly_interval_s(blocked_s: float, mtbf_s: float) -> float:
    """Return Daly's higher-order optimum of computing time between checkpoints, s.

    Source: Daly, FGCS 22(3), 2006, equation 37: sqrt(2 d M) (1 + sqrt(d / 2M) / 3 + d / 18M) - d below d = 2M, else M.
    """
    if not math.isfinite(mtbf_s):
        return math.inf
    if blocked_s >= 2.0 * mtbf_s:
        return mtbf_s
    root = math.sqrt(blocked_s / (2.0 * mtbf_s))
    return math.sqrt(2.0 * blocked_s * mtbf_s) * (1.0 + root / 3.0 + root * root / 9.0) - blocked_s


def interval_s(scenario: Scenario, cost: CheckpointCost, mtbf_s: float) -> float:
    """Return computing time between checkpoints: as given, or Daly's optimum, never shorter than one write."""
    chosen = scenario.checkpoint.interval_s
    if isinstance(chosen, str):
        chosen = daly_interval_s(cost.stall_s + cost.slowdown * cost.persist_s, mtbf_s)
    return max(float(chosen), cost.persist_s)

"""What iterations of a pool of replicas take, as tables for the fleet: made once a scenario from the kernels of one iteration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.iteration import (
    Replica,
    Software,
    body,
    cache_bytes_per_token,
    cache_tokens,
    context_token,
    ends,
    prompt_key,
    weights_bytes,
)
from kernels.packs import Device, Network
from kernels.power import PowerModel
from kernels.serving_packs import PROMPTS, TOKENS, WHOLE, Costs
from kernels.stragglers import expected_maximum
from kernels.transformer import Architecture
from simulator.catalog.records import ModelRecord
from simulator.errors import UserError
from simulator.performance.hardware import device, generation, needed, network, power_model
from simulator.scenario.serving import Pool, Serving, ServingScenario
from simulator.workload.architecture import architecture

# Bytes of a parameter; 4-bit formats have a scale of 8 or 16 bits for each 16 to 128 of them.
_WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.53, "int4": 0.53}
_CACHE_BYTES = {"bf16": 2.0, "fp8": 1.0}
# vLLM of 2025, the same for all hardware and models: fitted by `clustercost validate serving --calibrate` (docs/validation.md),
# the time of the host for a request apart, which is FROM MEMORY (bookkeeping in Python; the fit cannot tell it from sampling).
SOFTWARE = Software(overhead_s=1.19e-3, request_s=5e-6, logit_bytes=1109.0, scaling_s=17.1e-6, expert_8_efficiency=0.652,
                    unpack_demand=0.237)

_NO_BEGINNINGS = np.zeros(0)
_ALL_TOKENS = 1e18  # a window that nothing fills


@dataclass(frozen=True)
class Kind:
    """One kind of replica: what kernels take, and what it holds."""

    pool: Pool
    architecture: Architecture
    device: Device
    network: Network
    replica: Replica
    power: PowerModel
    capacity: float  # tokens of context

    @property
    def accelerators(self) -> int:
        """Accelerators of a replica."""
        return self.pool.tensor * self.pool.pipeline


def product_precision(serving: Serving) -> tuple[str, float]:
    """Return in which precision products run, and whether activations are scaled for it: weights alone may be narrower."""
    peaks = serving.accelerator.peak_flops
    if serving.weights in ("fp8", "fp4") and serving.weights in peaks:
        return serving.weights, 1.0
    return "bf16", 0.0


def kind_of(model: ModelRecord, serving: Serving, pool: Pool, year: int | None, path: str) -> Kind:
    """Return a kind of replica; UserError where the model does not fit, or the catalog lacks a value."""
    a, accelerator, count = architecture(model), serving.accelerator, pool.tensor * pool.pipeline
    precision, scaled = product_precision(serving)
    unpacked = float(serving.weights != precision)
    replica = Replica(float(pool.tensor), float(pool.pipeline), float(pool.expert), _WEIGHT_BYTES[serving.weights],
                      _CACHE_BYTES[serving.cache], serving.memory_share, scaled, unpacked,
                      float(expected_maximum(float(pool.expert))), SOFTWARE)
    capacity = float(cache_tokens(a, replica, accelerator.memory_bytes))
    if capacity < 1.0:
        held = weights_bytes(a, replica)
        raise UserError(f"{path}: weights of {held / 1e9:,.0f} GB leave no room for a cache in {serving.memory_share:.0%} of the "
                        f"{count * accelerator.memory_bytes / 1e9:,.0f} GB of {count} {accelerator.name}; allowed: a larger "
                        "tensor or pipeline, or narrower weights")
    g = generation(accelerator)
    rates = device(accelerator, precision, g.era(year), g, serving.power_limit_w)
    power = power_model(accelerator, serving.power_limit_w, g)
    if g.serving_memory_efficiency is not None:
        rates = rates._replace(memory_bytes_per_s=accelerator.memory_bandwidth_bytes_per_s * g.serving_memory_efficiency)
    if g.serving_memory_demand is not None:
        power = power._replace(memory=g.serving_memory_demand)
    return Kind(pool, a, rates, network(accelerator, serving.fabric, count), replica, power, capacity)


def kinds(scenario: ServingScenario) -> list[Kind]:
    """Return the kinds of replicas: the pool, and that of prompts where there is one."""
    model, serving, year = scenario.model, scenario.serving, scenario.year
    found = [kind_of(model, serving, serving.pool, year, "serving.pool")]
    if serving.prompts is not None:
        found.append(kind_of(model, serving, serving.prompts, year, "serving.prompts"))
    return found


def drafted(serving: Serving) -> tuple[float, float, float]:
    """Return tokens a request gets in an iteration, its rows, and by how much drafting makes the iteration longer.

    (1 - acceptance^(drafts + 1)) / (1 - acceptance) tokens on average (Leviathan et al., arXiv:2211.17192, equation 1).
    """
    s = serving.speculation
    if s is None:
        return 1.0, 1.0, 0.0
    tokens = s.drafts + 1.0 if s.acceptance >= 1.0 else (1.0 - s.acceptance ** (s.drafts + 1)) / (1.0 - s.acceptance)
    return tokens, 1.0 + s.drafts, s.drafts * s.draft_time


def costs(scenario: ServingScenario, found: list[Kind], beginnings: np.ndarray = _NO_BEGINNINGS) -> Costs:
    """Return the tables of all pools; `beginnings` are tokens with which the prompts of each group begin, shape (groups,)."""
    serving = scenario.serving
    tokens, rows_each, drafting = drafted(serving)
    rows = max(int(k.pool.requests * rows_each + k.pool.chunk) for k in found) + 2
    most = max(k.pool.requests for k in found) + max(k.pool.chunk for k in found) + 2
    tables = {name: np.zeros((len(found), size)) for name, size in
              (("rows_s", rows), ("rows_j", rows), ("sampled_s", most), ("sampled_j", most))}
    for p, k in enumerate(found):
        watts = (k.power.tdp_w - k.power.idle_w) * k.accelerators
        plain = k.pool is serving.prompts or serving.speculation is None
        for n in range(1, rows):
            part = body(k.architecture, k.device, k.network, k.replica, k.power, float(n))
            longer = 1.0 if plain else 1.0 + drafting
            tables["rows_s"][p, n], tables["rows_j"][p, n] = part.time_s * longer, part.demand_s * longer * watts
        for n in range(1, most):
            part = ends(k.architecture, k.device, k.replica, k.power, float(n) * (1.0 if plain else rows_each))
            tables["sampled_s"][p, n], tables["sampled_j"][p, n] = part.time_s, part.demand_s * watts
    one = [context_token(k.architecture, k.device, k.replica, k.power) for k in found]
    key = [prompt_key(k.architecture, k.device, k.replica, k.power) for k in found]
    rated_w = np.array([(k.power.tdp_w - k.power.idle_w) * k.accelerators for k in found])
    split = len(found) > 1
    prefixes = serving.prefix_cache
    kept_share = prefixes.capacity if prefixes is not None else 0.0
    capacity = np.array([k.capacity for k in found])
    kept = np.floor(kept_share * capacity) * np.array([0.0, 1.0] if split else [1.0])  # tokens come to a pool of tokens with all
    return Costs(
        **tables,
        context_s=np.array([x.time_s for x in one]),
        context_j=np.array([x.demand_s for x in one]) * rated_w,
        window=np.array([k.architecture.window or _ALL_TOKENS for k in found]),
        window_share=np.array([k.architecture.window_share for k in found]),
        key_s=np.array([x.time_s for x in key]),
        key_j=np.array([x.demand_s for x in key]) * rated_w,
        limit_w=np.array([(k.power.limit_w - k.power.idle_w) * k.accelerators for k in found]),
        tokens=np.array([tokens] + [1.0] * (len(found) - 1)),
        draft_rows=np.array([rows_each] + [1.0] * (len(found) - 1)),
        capacity=capacity - kept,
        kept=kept,
        most=np.array([k.pool.requests for k in found]),
        chunk=np.array([float(k.pool.chunk) for k in found]),
        role=np.array([TOKENS, PROMPTS] if split else [WHOLE]),
        weight=np.array([float(k.accelerators) for k in found]),
        longest=float((capacity - kept).min()),
        beginnings=beginnings,
        affinity=float(prefixes.slack) if prefixes is not None and prefixes.routing == "affinity" else -1.0,
        transfer_s=_transfer_s(scenario, found) if split else 0.0,
    )


def _transfer_s(scenario: ServingScenario, found: list[Kind]) -> float:
    """Return the time to send a token's keys and values from a replica of prompts to one of tokens, over all their NICs."""
    tokens, prompts = found
    nic = needed(scenario.serving.accelerator, "nic_bandwidth_bytes_per_s") * scenario.serving.fabric.efficiency
    per_token = cache_bytes_per_token(prompts.architecture, prompts.replica)
    return float(per_token / (min(tokens.accelerators, prompts.accelerators) * nic))

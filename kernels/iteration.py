"""One iteration of continuous batching: a token of each running request, and a piece of the prompts that wait.

The same products, attention, point-wise operators and collectives as a training step (`kernels.layer`), forward, with weights
and cache in bytes of their own. Iteration-level batching: Yu et al., Orca (OSDI 22); pieces of prompts among decodes: Agrawal et
al., Sarathi-Serve (OSDI 24, arXiv:2403.02310); paged cache: Kwon et al., vLLM (SOSP 23, arXiv:2309.06180).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kernels._jit import kernel
from kernels.collectives import all_reduce_time_s
from kernels.packs import Device, Network
from kernels.power import PowerModel
from kernels.roofline import tiled_flops
from kernels.transformer import Architecture, count_parameters, score_dim

_ACTIVATION_BYTES = 2.0
_ROUTING_LAUNCHES = 6.0  # of a mixture of experts: vLLM's fused layer, FROM MEMORY
_SCALED_PRODUCTS = 4.0  # of a layer
# Output tiles of products with few rows, beside those of training: rows, columns, rate over that of the largest (CUTLASS and
# Triton pad to 16 rows, FROM MEMORY). Such products wait for their weights, so the rates hardly matter.
_FLAT_TILES = ((32.0, 128.0, 0.45), (16.0, 128.0, 0.3))


class Software(NamedTuple):
    """What an engine's kernels and its host add, the same for all hardware."""

    overhead_s: float  # of the host, per iteration: scheduling, launch of the graph
    request_s: float  # of the host, per request that gets a token: bookkeeping, detokenisation, streaming
    logit_bytes: float  # moved per logit to draw a token
    scaling_s: float  # of a product in 8 or 4 bits, beside it: scaling of its input
    expert_8_efficiency: float  # rate of fused experts in 8 or 4 bits over that of plain products
    unpack_demand: float  # power of unpacking weights while they stream, above idle over the TDP's


class Replica(NamedTuple):
    """How one copy of a model is held and run."""

    tensor: float
    pipeline: float
    expert: float  # ranks of the tensor group over which routed experts are spread; 1: every expert is split over all
    weight_bytes: float  # per parameter
    cache_bytes: float  # per element of keys and values
    memory_share: float  # of an accelerator's memory that weights and cache may fill
    scaled: float  # 1 where activations are scaled to 8 bits before each product
    unpacked: float  # 1 where weights are narrower than what products take
    busiest: float  # mean of the largest of `expert` standard normal draws
    software: Software


class Weights(NamedTuple):
    """Weights as a product reads them."""

    bytes: float  # per parameter
    unpack_demand: float  # power beside that of reading them


_PLAIN = Weights(_ACTIVATION_BYTES, 0.0)


class Part(NamedTuple):
    """Seconds of a part of an iteration, and the power it asks of an accelerator: seconds x demand above idle over the TDP's."""

    time_s: float
    demand_s: float


@kernel
def cache_bytes_per_token(a: Architecture, replica: Replica) -> float:
    """Return bytes of keys and values one token of context holds, over all layers and accelerators of a replica.

    Latent attention keeps its latents, on every rank (DeepSeek-V2, arXiv:2405.04434, section 2.1); where there are fewer
    key-value heads than tensor ranks each rank keeps one.
    """
    if a.mla > 0.0:
        return a.layers * (a.mla_key_value_rank + a.mla_rope_dim) * replica.cache_bytes * replica.tensor
    return a.layers * 2.0 * max(a.key_value_heads, replica.tensor) * a.head_dim * replica.cache_bytes


@kernel
def weights_bytes(a: Architecture, replica: Replica) -> float:
    """Return bytes of the weights of a replica over all its accelerators; embedding and head are kept in 16 bits."""
    p = count_parameters(a)
    ends = p.embedding * (2.0 - a.tied_embeddings)
    return (p.total - ends) * replica.weight_bytes + ends * _ACTIVATION_BYTES


@kernel
def cache_tokens(a: Architecture, replica: Replica, memory_bytes: float) -> float:
    """Return how many tokens of context fit into a replica beside its weights; 0 or less where weights alone do not fit."""
    room = replica.memory_share * memory_bytes * replica.tensor * replica.pipeline - weights_bytes(a, replica)
    return math.floor(room / cache_bytes_per_token(a, replica))


@kernel
def _plus(x: Part, y: Part) -> Part:
    return Part(x.time_s + y.time_s, x.demand_s + y.demand_s)


@kernel
def _times(n: float, x: Part) -> Part:
    return Part(n * x.time_s, n * x.demand_s)


@kernel
def _flops(batch: float, m: float, n: float, k: float, d: Device) -> float:
    """Return FLOPs of products with whole tiles, over the best tile."""
    found = tiled_flops(batch, m, n, k, d.fill_depth, d.processors)
    for rows, columns, rate in _FLAT_TILES:
        tiles = max(d.processors, batch * math.ceil(m / rows) * math.ceil(n / columns))
        found = min(found, 2.0 * tiles * rows * columns / rate * (k + d.fill_depth))
    return found


@kernel
def _weights(replica: Replica) -> Weights:
    return Weights(replica.weight_bytes, replica.unpacked * replica.software.unpack_demand)


@kernel
def _product(batch: float, m: float, n: float, k: float, rate: float, w: Weights, power: PowerModel, d: Device) -> Part:
    """Return products C[m, n] = A[m, k] B[k, n]; units and memory work at the same time, each asks for power while it is busy."""
    if batch <= 0.0 or m <= 0.0:
        return Part(0.0, 0.0)
    arithmetic_s = _flops(batch, m, n, k, d) / rate
    weights_s = batch * w.bytes * k * n / d.memory_bytes_per_s
    traffic_s = weights_s + batch * _ACTIVATION_BYTES * (m * k + m * n) / d.memory_bytes_per_s
    useful_s = 2.0 * batch * m * n * k / rate
    return Part(max(arithmetic_s, traffic_s) + d.launch_latency_s,
                power.gemm * useful_s + power.memory * traffic_s + w.unpack_demand * weights_s)


@kernel
def _stream(moved_bytes: float, launches: float, power: PowerModel, d: Device) -> Part:
    """Return memory-bound operators."""
    traffic_s = moved_bytes / d.memory_bytes_per_s
    return Part(traffic_s + launches * d.launch_latency_s, power.memory * traffic_s)


@kernel
def context_token(a: Architecture, d: Device, replica: Replica, power: PowerModel) -> Part:
    """Return what a token of context costs each time a request reads it: all layers that see all of it.

    The cache is read once for a key-value head's group of queries; in the space of latents arithmetic may take longer
    (DeepSeek-V2, arXiv:2405.04434, section 2.1.2: expansions are absorbed into queries and output).
    """
    traffic_s = cache_bytes_per_token(a, replica) / replica.tensor / d.memory_bytes_per_s / replica.pipeline
    dim = score_dim(a)
    if a.mla > 0.0:
        dim = a.mla_key_value_rank + 0.5 * a.mla_rope_dim
    flops = 4.0 * a.layers * a.heads / replica.tensor * dim / replica.pipeline
    arithmetic_s = flops / d.attention_flops_per_s
    return Part(max(traffic_s, arithmetic_s), power.memory * traffic_s + power.gemm * arithmetic_s)


@kernel
def prompt_key(a: Architecture, d: Device, replica: Replica, power: PowerModel) -> Part:
    """Return what a pair of a prompt's token and a key that it sees costs (Dao, arXiv:2307.08691, section 4.1), all layers."""
    flops = 4.0 * a.layers * a.heads / replica.tensor * (score_dim(a) + d.softmax_depth)
    time_s = flops / d.attention_flops_per_s / replica.pipeline
    return Part(time_s, power.gemm * time_s)


@kernel
def _feed_forward(a: Architecture, d: Device, replica: Replica, power: PowerModel, rows: float, moe: float) -> Part:
    """Return one layer's feed-forward block.

    Of routed experts, those that some token chose are read: E (1 - (1 - k / E)^rows) where tokens choose independently. Where
    ranks hold whole experts all wait for the one with the most to read; how many of its experts a rank needs is taken as normal.
    """
    w, rate, gates = _weights(replica), d.gemm_flops_per_s, a.ffn_matrices - 1.0
    if moe <= 0.0:
        width = a.ffn_hidden / replica.tensor
        return _plus(_product(1.0, rows, gates * width, a.hidden, rate, w, power, d),
                     _product(1.0, rows, a.hidden, width, rate, w, power, d))
    touched = a.experts * (1.0 - (1.0 - a.experts_per_token / a.experts) ** rows)
    each = max(1.0, rows * a.experts_per_token / touched)
    local, width = touched / replica.expert, a.expert_hidden / (replica.tensor / replica.expert)
    spread = math.sqrt(local * (1.0 - touched / a.experts))
    local = min(a.experts / replica.expert, local + replica.busiest * spread)
    fused = replica.software.expert_8_efficiency if replica.scaled > 0.0 else 1.0
    slow = Weights(w.bytes / fused, w.unpack_demand)
    found = _plus(_product(local, each, gates * width, a.hidden, fused * rate, slow, power, d),
                  _product(local, each, a.hidden, width, fused * rate, slow, power, d))
    found = _plus(found, _product(1.0, rows, a.experts, a.hidden, d.gemm_flops_per_s_16, _PLAIN, power, d))
    # Softmax and choice, sort by expert, spread, join.
    moved = 4.0 * rows * a.experts_per_token * a.hidden * _ACTIVATION_BYTES / replica.tensor
    found = _plus(found, _stream(moved, _ROUTING_LAUNCHES, power, d))
    if a.shared_hidden > 0.0:
        width = a.shared_hidden / replica.tensor
        found = _plus(found, _product(1.0, rows, gates * width, a.hidden, rate, w, power, d))
        found = _plus(found, _product(1.0, rows, a.hidden, width, rate, w, power, d))
    return found


@kernel
def _projections(a: Architecture, d: Device, replica: Replica, power: PowerModel, rows: float) -> Part:
    """Return the products before and after attention in one layer."""
    heads, w, rate = a.heads / replica.tensor, _weights(replica), d.gemm_flops_per_s
    if a.mla <= 0.0:
        width = (heads + 2.0 * max(a.key_value_heads / replica.tensor, 1.0)) * a.head_dim
        return _plus(_product(1.0, rows, width, a.hidden, rate, w, power, d),
                     _product(1.0, rows, a.hidden, heads * a.head_dim, rate, w, power, d))
    each = heads * (a.mla_nope_dim + a.mla_rope_dim)
    first = a.mla_query_rank if a.mla_query_rank > 0.0 else each
    found = _product(1.0, rows, first + a.mla_key_value_rank + a.mla_rope_dim, a.hidden, rate, w, power, d)
    if a.mla_query_rank > 0.0:
        found = _plus(found, _product(1.0, rows, each, a.mla_query_rank, rate, w, power, d))
    # Queries into the space of latents and results back: one small product a head.
    found = _plus(found, _product(heads, rows, a.mla_key_value_rank, a.mla_nope_dim, rate, w, power, d))
    found = _plus(found, _product(heads, rows, a.mla_value_dim, a.mla_key_value_rank, rate, w, power, d))
    return _plus(found, _product(1.0, rows, a.hidden, heads * a.mla_value_dim, rate, w, power, d))


@kernel
def _pointwise(a: Architecture, d: Device, replica: Replica, power: PowerModel, rows: float) -> Part:
    """Return norms with residuals, rotary embedding and writes to the cache, activations, scaling to 8 bits: all layers.

    Bytes moved as in `kernels.layer`, compiled.
    """
    inner = (a.layers - a.moe_layers) * a.ffn_hidden
    inner += a.moe_layers * (a.experts_per_token * a.expert_hidden + a.shared_hidden)
    heads = (a.heads + 2.0 * a.key_value_heads) * a.head_dim
    values = a.layers * (4.0 * a.norms_per_layer * a.hidden + 3.0 * heads / replica.tensor) + 3.0 * inner / replica.tensor
    launches = a.layers * (2.0 + a.norms_per_layer)
    if replica.scaled > 0.0:  # read in 16 bits, written in 8, before each of four products
        values += 1.5 * (a.layers * (2.0 * a.hidden + a.heads * a.head_dim / replica.tensor) + inner / replica.tensor)
        launches += _SCALED_PRODUCTS * a.layers
    waits_s = replica.scaled * _SCALED_PRODUCTS * a.layers * replica.software.scaling_s
    found = _stream(rows * _ACTIVATION_BYTES * values, launches, power, d)
    return _plus(found, Part(waits_s, power.bubble * waits_s))


@kernel
def _network(a: Architecture, net: Network, replica: Replica, power: PowerModel, rows: float) -> Part:
    """Return the collectives of the tensor group and the sends between stages, all layers.

    Ranks of the group hold all tokens alike, so those with whole experts add up their results as those with parts of them do.
    """
    buffer = rows * a.hidden * _ACTIVATION_BYTES
    time_s = 2.0 * a.layers * all_reduce_time_s(buffer, replica.tensor, 1.0, net)
    if replica.pipeline > 1.0:
        inside = replica.tensor * replica.pipeline <= net.domain
        rate = net.scale_up_bytes_per_s if inside else net.nic_bytes_per_s
        time_s += (replica.pipeline - 1.0) * (buffer / rate + (net.scale_up_latency_s if inside else net.nic_latency_s))
    return Part(max(0.0, time_s), power.communication * max(0.0, time_s))


@kernel
def body(a: Architecture, d: Device, net: Network, replica: Replica, power: PowerModel, rows: float) -> Part:
    """Return what `rows` tokens take in all layers, attention's reading of keys apart, and what the host adds.

    With a pipeline the batch is cut into as many parts as there are stages, which follow each other: an iteration passes all
    layers with the rows of one part.
    """
    if rows <= 0.0:
        return Part(0.0, 0.0)
    each = rows / replica.pipeline
    found = _times(a.layers, _projections(a, d, replica, power, each))
    found = _plus(found, _times(a.layers - a.moe_layers, _feed_forward(a, d, replica, power, each, 0.0)))
    if a.moe_layers > 0.0:
        found = _plus(found, _times(a.moe_layers, _feed_forward(a, d, replica, power, each, 1.0)))
    found = _plus(found, _pointwise(a, d, replica, power, each))
    found = _plus(found, _network(a, net, replica, power, each))
    # Attention is split over keys and joined (flash decoding).
    waits_s = 2.0 * a.layers * d.launch_latency_s + replica.software.overhead_s
    return _plus(found, Part(waits_s, power.bubble * waits_s))


@kernel
def ends(a: Architecture, d: Device, replica: Replica, power: PowerModel, requests: float) -> Part:
    """Return what it takes to draw the next token of `requests`: the head, sampling, and the host for each of them.

    Logits are gathered, and every rank draws from all of them (vLLM, FROM MEMORY).
    """
    if requests <= 0.0:
        return Part(0.0, 0.0)
    each, vocabulary = requests / replica.pipeline, a.vocabulary / replica.tensor
    found = _product(1.0, each, vocabulary, a.hidden, d.gemm_flops_per_s_16, _PLAIN, power, d)
    found = _plus(found, _stream(replica.software.logit_bytes * each * a.vocabulary, 2.0, power, d))
    host_s = requests * replica.software.request_s
    return _plus(found, Part(host_s, power.bubble * host_s))

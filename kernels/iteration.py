"""One iteration of continuous batching: a token of each running request, and a piece of the prompts that wait.

The same products, attention, point-wise operators and collectives as a training step (`kernels.layer`), forward, with weights
and cache in bytes of their own. Iteration-level batching: Yu et al., Orca (OSDI 22); pieces of prompts among decodes: Agrawal et
al., Sarathi-Serve (OSDI 24, arXiv:2403.02310); paged cache: Kwon et al., vLLM (SOSP 23, arXiv:2309.06180).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from kernels._jit import kernel
from kernels.collectives import all_reduce_time_s, all_to_all_time_s
from kernels.packs import Device, Network
from kernels.power import PowerModel
from kernels.roofline import tiled_flops
from kernels.transformer import Architecture, count_parameters, score_dim

_ACTIVATION_BYTES = 2.0
_LOGIT_BYTES = 12.0  # of sampling: logits in fp32 written, read for softmax and for the draw
_ROUTING_LAUNCHES = 6.0  # of a mixture of experts: vLLM's fused layer, FROM MEMORY


class Replica(NamedTuple):
    """How one copy of a model is held and run."""

    tensor: float
    pipeline: float
    expert: float  # ranks of the tensor group over which routed experts are spread; 1: every expert is split over all
    weight_bytes: float  # per parameter
    cache_bytes: float  # per element of keys and values
    memory_share: float  # of an accelerator's memory that weights and cache may fill
    scaled: float  # 1 where activations are scaled to 8 bits before each product
    overhead_s: float  # of the host, per iteration: scheduling, launch of the graph
    request_s: float  # of the host, per request that gets a token: sampling, detokenisation, streaming


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
def _product(batch: float, m: float, n: float, k: float, rate: float, weight_bytes: float, power: PowerModel, d: Device) -> Part:
    """Return products C[m, n] = A[m, k] B[k, n]; units and memory work at the same time, each asks for power while it is busy."""
    if batch <= 0.0 or m <= 0.0:
        return Part(0.0, 0.0)
    arithmetic_s = tiled_flops(batch, m, n, k, d.fill_depth, d.processors) / rate
    traffic_s = batch * (weight_bytes * k * n + _ACTIVATION_BYTES * (m * k + m * n)) / d.memory_bytes_per_s
    useful_s = 2.0 * batch * m * n * k / rate
    return Part(max(arithmetic_s, traffic_s) + d.launch_latency_s, power.gemm * useful_s + power.memory * traffic_s)


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

    Of routed experts, those that some token chose are read: E (1 - (1 - k / E)^rows) where tokens choose independently.
    """
    w, rate, gates = replica.weight_bytes, d.gemm_flops_per_s, a.ffn_matrices - 1.0
    if moe <= 0.0:
        width = a.ffn_hidden / replica.tensor
        return _plus(_product(1.0, rows, gates * width, a.hidden, rate, w, power, d),
                     _product(1.0, rows, a.hidden, width, rate, w, power, d))
    touched = a.experts * (1.0 - (1.0 - a.experts_per_token / a.experts) ** rows)
    each = max(1.0, rows * a.experts_per_token / touched)
    local, width = touched / replica.expert, a.expert_hidden / (replica.tensor / replica.expert)
    found = _plus(_product(local, each, gates * width, a.hidden, rate, w, power, d),
                  _product(local, each, a.hidden, width, rate, w, power, d))
    found = _plus(found, _product(1.0, rows, a.experts, a.hidden, d.gemm_flops_per_s_16, _ACTIVATION_BYTES, power, d))
    # Softmax and choice, sort by expert, spread, join.
    spread = 4.0 * rows * a.experts_per_token * a.hidden * _ACTIVATION_BYTES / replica.tensor
    found = _plus(found, _stream(spread, _ROUTING_LAUNCHES, power, d))
    if a.shared_hidden > 0.0:
        width = a.shared_hidden / replica.tensor
        found = _plus(found, _product(1.0, rows, gates * width, a.hidden, rate, w, power, d))
        found = _plus(found, _product(1.0, rows, a.hidden, width, rate, w, power, d))
    return found


@kernel
def _projections(a: Architecture, d: Device, replica: Replica, power: PowerModel, rows: float) -> Part:
    """Return the products before and after attention in one layer."""
    heads, w, rate = a.heads / replica.tensor, replica.weight_bytes, d.gemm_flops_per_s
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
        launches += 4.0 * a.layers
    return _stream(rows * _ACTIVATION_BYTES * values, launches, power, d)


@kernel
def _network(a: Architecture, net: Network, replica: Replica, power: PowerModel, rows: float) -> Part:
    """Return the collectives of tensor and expert groups and the sends between stages, all layers."""
    buffer = rows * a.hidden * _ACTIVATION_BYTES
    reduce_s = all_reduce_time_s(buffer, replica.tensor, 1.0, net)
    time_s = 2.0 * a.layers * reduce_s
    if replica.expert > 1.0 and a.moe_layers > 0.0:  # in place of the all-reduce after the experts
        sent = rows / replica.tensor * a.experts_per_token * a.hidden * _ACTIVATION_BYTES
        time_s += a.moe_layers * (2.0 * all_to_all_time_s(sent, sent, replica.expert, 1.0, net) - reduce_s)
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
    waits_s = 2.0 * a.layers * d.launch_latency_s + replica.overhead_s
    return _plus(found, Part(waits_s, power.bubble * waits_s))


@kernel
def ends(a: Architecture, d: Device, replica: Replica, power: PowerModel, requests: float) -> Part:
    """Return what it takes to draw the next token of `requests`: the head, sampling, and the host for each of them."""
    if requests <= 0.0:
        return Part(0.0, 0.0)
    each, vocabulary = requests / replica.pipeline, a.vocabulary / replica.tensor
    found = _product(1.0, each, vocabulary, a.hidden, d.gemm_flops_per_s_16, _ACTIVATION_BYTES, power, d)
    found = _plus(found, _stream(_LOGIT_BYTES * each * vocabulary, 2.0, power, d))
    host_s = requests * replica.request_s
    return _plus(found, Part(host_s, power.bubble * host_s))

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
_SCORE_TOKENS = 128.0  # keys that a fused kernel takes at once (`kernels.roofline`)


class Replica(NamedTuple):
    """How one copy of a model is held and run."""

    tensor: float
    pipeline: float
    expert: float  # ranks of the tensor group over which routed experts are spread; 1: every expert is split over all
    weight_bytes: float  # per parameter
    cache_bytes: float  # per element of keys and values
    memory_share: float  # of an accelerator's memory that weights and cache may fill
    overhead_s: float  # of the host, per iteration: scheduling, sampling, detokenisation


class Iteration(NamedTuple):
    """What one iteration takes, and what an accelerator draws for it above idle."""

    time_s: float
    products_s: float
    attention_s: float
    memory_s: float
    network_s: float
    overhead_s: float
    dynamic_j: float  # of one accelerator, above idle power


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
def _product(batch: float, m: float, n: float, k: float, rate: float, weight_bytes: float, power: PowerModel, d: Device
             ) -> tuple[float, float]:
    """Return seconds and demand-seconds (above idle, over the TDP's) of products C[m, n] = A[m, k] B[k, n].

    Units and memory work at the same time; each draws its part of the demand while it is busy.
    """
    if batch <= 0.0 or m <= 0.0:
        return 0.0, 0.0
    arithmetic_s = tiled_flops(batch, m, n, k, d.fill_depth, d.processors) / rate
    useful_s = 2.0 * batch * m * n * k / rate
    traffic_s = batch * (weight_bytes * k * n + _ACTIVATION_BYTES * (m * k + m * n)) / d.memory_bytes_per_s
    return max(arithmetic_s, traffic_s) + d.launch_latency_s, power.gemm * useful_s + power.memory * traffic_s


@kernel
def _decode_attention(a: Architecture, d: Device, replica: Replica, power: PowerModel, queries: float, context: float
                      ) -> tuple[float, float]:
    """Return seconds and demand-seconds of one layer's attention of `queries` tokens that see `context` keys in all.

    The cache is read once; with few queries a key that is all there is.
    """
    if queries <= 0.0:
        return 0.0, 0.0
    heads = a.heads / replica.tensor
    keys = context
    if a.window > 0.0:
        keys = a.window_share * min(context, queries * a.window) + (1.0 - a.window_share) * context
    traffic_s = keys * cache_bytes_per_token(a, replica) / a.layers / replica.tensor / d.memory_bytes_per_s
    dim = score_dim(a)
    if a.mla > 0.0:  # in the space of latents (DeepSeek-V2, section 2.1.2: expansions are absorbed into queries and output)
        dim = a.mla_key_value_rank + 0.5 * a.mla_rope_dim
    arithmetic_s = 4.0 * keys * heads * dim / d.attention_flops_per_s
    demand = power.memory * traffic_s + power.gemm * arithmetic_s
    return max(traffic_s, arithmetic_s) + 2.0 * d.launch_latency_s, demand  # split over keys, then joined (flash decoding)


@kernel
def _prompt_attention(a: Architecture, d: Device, replica: Replica, power: PowerModel, tokens: float, keys: float
                      ) -> tuple[float, float]:
    """Return seconds and demand-seconds of one layer's attention of `tokens` of a prompt that see `keys` each on average."""
    if tokens <= 0.0:
        return 0.0, 0.0
    seen = keys
    if a.window > 0.0:
        seen = a.window_share * min(keys, a.window) + (1.0 - a.window_share) * keys
    flops = 4.0 * tokens * (seen + 0.5 * _SCORE_TOKENS) * a.heads / replica.tensor * (score_dim(a) + d.softmax_depth)
    time_s = flops / d.attention_flops_per_s
    return time_s + d.launch_latency_s, power.gemm * time_s


@kernel
def _feed_forward(a: Architecture, d: Device, replica: Replica, power: PowerModel, rows: float, rate: float, moe: float
                  ) -> tuple[float, float]:
    """Return seconds and demand-seconds of one layer's feed-forward block.

    Of routed experts, those that some token chose are read: E (1 - (1 - k / E)^rows) where tokens choose independently.
    """
    w = replica.weight_bytes
    if moe <= 0.0:
        width = a.ffn_hidden / replica.tensor
        up, up_w = _product(1.0, rows, (a.ffn_matrices - 1.0) * width, a.hidden, rate, w, power, d)
        down, down_w = _product(1.0, rows, a.hidden, width, rate, w, power, d)
        return up + down, up_w + down_w
    touched = a.experts * (1.0 - (1.0 - a.experts_per_token / a.experts) ** rows)
    each = max(1.0, rows * a.experts_per_token / touched)
    split = replica.tensor / replica.expert
    local, width = touched / replica.expert, a.expert_hidden / split
    up, up_w = _product(local, each, (a.ffn_matrices - 1.0) * width, a.hidden, rate, w, power, d)
    down, down_w = _product(local, each, a.hidden, width, rate, w, power, d)
    router, router_w = _product(1.0, rows, a.experts, a.hidden, d.gemm_flops_per_s_16, _ACTIVATION_BYTES, power, d)
    time_s, demand = up + down + router, up_w + down_w + router_w
    if a.shared_hidden > 0.0:
        width = a.shared_hidden / replica.tensor
        up, up_w = _product(1.0, rows, (a.ffn_matrices - 1.0) * width, a.hidden, rate, w, power, d)
        down, down_w = _product(1.0, rows, a.hidden, width, rate, w, power, d)
        time_s, demand = time_s + up + down, demand + up_w + down_w
    return time_s, demand


@kernel
def _projections(a: Architecture, d: Device, replica: Replica, power: PowerModel, rows: float) -> tuple[float, float]:
    """Return seconds and demand-seconds of the products before and after attention in one layer."""
    heads, w, rate = a.heads / replica.tensor, replica.weight_bytes, d.gemm_flops_per_s
    if a.mla <= 0.0:
        width = (heads + 2.0 * max(a.key_value_heads / replica.tensor, 1.0)) * a.head_dim
        first, first_w = _product(1.0, rows, width, a.hidden, rate, w, power, d)
        last, last_w = _product(1.0, rows, a.hidden, heads * a.head_dim, rate, w, power, d)
        return first + last, first_w + last_w
    query = a.mla_query_rank if a.mla_query_rank > 0.0 else heads * (a.mla_nope_dim + a.mla_rope_dim)
    time_s, demand = _product(1.0, rows, query + a.mla_key_value_rank + a.mla_rope_dim, a.hidden, rate, w, power, d)
    if a.mla_query_rank > 0.0:
        more, more_w = _product(1.0, rows, heads * (a.mla_nope_dim + a.mla_rope_dim), a.mla_query_rank, rate, w, power, d)
        time_s, demand = time_s + more, demand + more_w
    # Queries into the space of latents and results back: one small product a head.
    more, more_w = _product(heads, rows, a.mla_key_value_rank, a.mla_nope_dim, rate, w, power, d)
    back, back_w = _product(heads, rows, a.mla_value_dim, a.mla_key_value_rank, rate, w, power, d)
    last, last_w = _product(1.0, rows, a.hidden, heads * a.mla_value_dim, rate, w, power, d)
    return time_s + more + back + last, demand + more_w + back_w + last_w


@kernel
def iteration(a: Architecture, d: Device, net: Network, replica: Replica, power: PowerModel, decodes: float, context: float,
              prompt: float, prompt_keys: float) -> Iteration:
    """Return what one iteration of a replica takes.

    Parameters
    ----------
    decodes, context : float
        Requests that get their next token, and the tokens of context they have in all.
    prompt, prompt_keys : float
        Tokens of prompts worked off, and the keys each of them sees on average.

    With a pipeline the batch is cut into as many parts as there are stages, which follow each other: an iteration passes all
    layers with the rows of one part.
    """
    parts = replica.pipeline
    rows = (decodes + prompt) / parts
    if rows <= 0.0:
        return Iteration(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    project, project_w = _projections(a, d, replica, power, rows)
    dense, dense_w = _feed_forward(a, d, replica, power, rows, d.gemm_flops_per_s, 0.0)
    routed, routed_w = 0.0, 0.0
    if a.moe_layers > 0.0:
        routed, routed_w = _feed_forward(a, d, replica, power, rows, d.gemm_flops_per_s, 1.0)
    decode, decode_w = _decode_attention(a, d, replica, power, decodes / parts, context / parts)
    read, read_w = _prompt_attention(a, d, replica, power, prompt / parts, prompt_keys)

    # Norms with residuals, rotary embedding and writes to the cache, activation: bytes moved as in `kernels.layer`, compiled.
    inner = (a.layers - a.moe_layers) * a.ffn_hidden
    inner += a.moe_layers * (a.experts_per_token * a.expert_hidden + a.shared_hidden)
    moved = rows * _ACTIVATION_BYTES * (a.layers * (4.0 * a.norms_per_layer * a.hidden
                                                    + 3.0 * (a.heads + 2.0 * a.key_value_heads) * a.head_dim / replica.tensor)
                                        + 3.0 * inner / replica.tensor)
    memory_s = moved / d.memory_bytes_per_s + a.layers * (2.0 + a.norms_per_layer) * d.launch_latency_s

    logits = decodes / parts + (1.0 if prompt > 0.0 else 0.0)
    vocabulary = a.vocabulary / replica.tensor
    head, head_w = _product(1.0, logits, vocabulary, a.hidden, d.gemm_flops_per_s_16, _ACTIVATION_BYTES, power, d)
    sampling_s = _LOGIT_BYTES * logits * vocabulary / d.memory_bytes_per_s

    buffer = rows * a.hidden * _ACTIVATION_BYTES
    network_s = 2.0 * a.layers * all_reduce_time_s(buffer, replica.tensor, 1.0, net)
    if replica.expert > 1.0 and a.moe_layers > 0.0:
        sent = rows / replica.tensor * a.experts_per_token * a.hidden * _ACTIVATION_BYTES
        network_s += a.moe_layers * (2.0 * all_to_all_time_s(sent, sent, replica.expert, 1.0, net)
                                     - all_reduce_time_s(buffer, replica.tensor, 1.0, net))
    if replica.pipeline > 1.0:
        beside = buffer / net.scale_up_bytes_per_s if replica.tensor * replica.pipeline <= net.domain else buffer / net.nic_bytes_per_s
        network_s += (replica.pipeline - 1.0) * (beside + net.nic_latency_s)

    others = a.layers - a.moe_layers
    products_s = a.layers * project + others * dense + a.moe_layers * routed + head
    attention_s = a.layers * (decode + read)
    memory_s += sampling_s
    passed_s = products_s + attention_s + memory_s + max(0.0, network_s)
    time_s = passed_s + replica.overhead_s
    demand_s = a.layers * (project_w + decode_w + read_w) + others * dense_w + a.moe_layers * routed_w + head_w
    # Stages of a pipeline work on other parts at the same time, each on its share of the layers.
    demand_s += power.memory * (moved / d.memory_bytes_per_s + sampling_s) + power.communication * max(0.0, network_s)
    demand_s += power.bubble * replica.overhead_s
    dynamic_j = min(power.limit_w - power.idle_w, (power.tdp_w - power.idle_w) * demand_s / time_s) * time_s
    return Iteration(time_s, products_s, attention_s, memory_s, max(0.0, network_s), replica.overhead_s, dynamic_j)

"""One training step: time by phase, FLOPs and bytes, from shapes, layout and hardware.

The mean over pipeline stages is priced operator by operator; what the mean stage waits for the slowest one, and for the
pipeline to fill and drain, is the bubble. So the phases of a `Step` add up to its time.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.collectives import Network, all_reduce_time_s, all_to_all_time_s, gather_time_s, send_time_s
from kernels.memory import GRADIENT_BYTES, shard_parameters
from kernels.pipeline import batch_time_s, microbatch_count, slowest_stage_s
from kernels.roofline import attention_time_s, gemm_time_s, stream_time_s
from kernels.transformer import (
    Architecture,
    attended_keys,
    count_parameters,
    model_flops_per_token,
    score_dim,
)

# Compute lost while a collective runs beside it: DeepSeek-V3 (arXiv:2412.19437, s3.2.2) gives 20 of 132 SMs to it.
OVERLAP_COST = 20.0 / 132.0
ADAM_TRAFFIC_BYTES = 30.0  # per parameter: reads gradient, master, two moments; writes master, moments, weight


class Device(NamedTuple):
    """One accelerator: rates it reaches (peak times efficiency)."""

    gemm_flops_per_s: float  # in the training precision
    gemm_flops_per_s_16: float  # in bf16 or fp16 (or the training precision where wider): head and unfused attention
    attention_flops_per_s: float
    gemm_half_depth: float
    memory_bytes_per_s: float
    launch_latency_s: float


class Recipe(NamedTuple):
    """What one step computes."""

    sequences: float
    sequence: float
    element_bytes: float
    recompute: float  # 0 none, 1 selective, 2 full
    flash: float  # 1 fused attention


class Layout(NamedTuple):
    """Sizes of the parallel groups; ranks are ordered tensor, context, data, pipeline, innermost first."""

    tensor: float
    pipeline: float
    chunks: float
    context: float
    expert: float
    data: float
    microbatch: float
    zero: float
    sequence_parallel: float
    overlap_data: float
    overlap_expert: float


class LayerTime(NamedTuple):
    """Seconds of one layer and one microbatch on one rank, forward and backward together, recomputation included."""

    gemm_s: float
    attention_s: float
    memory_s: float
    tensor_s: float
    context_s: float
    expert_s: float


class Step(NamedTuple):
    """One step on the mean accelerator; phases add up to `time_s`."""

    time_s: float
    gemm_s: float
    attention_s: float
    memory_s: float
    optimizer_s: float
    tensor_s: float
    context_s: float
    expert_s: float
    pipeline_s: float
    data_s: float
    bubble_s: float
    model_flops: float  # per accelerator
    hardware_flops: float


@kernel
def _attention_gemms_s(a: Architecture, d: Device, tokens: float, tensor: float, element_bytes: float) -> float:
    rate, depth, bw, lat = d.gemm_flops_per_s, d.gemm_half_depth, d.memory_bytes_per_s, d.launch_latency_s
    if a.mla > 0.0:
        qk = a.mla_nope_dim + a.mla_rope_dim
        heads = a.heads / tensor
        first = a.mla_query_rank if a.mla_query_rank > 0.0 else heads * qk
        time = gemm_time_s(tokens, first + a.mla_key_value_rank + a.mla_rope_dim, a.hidden, rate, depth, bw,
                           element_bytes, lat) + _latent_expansion_s(a, d, tokens, tensor, element_bytes)
        return time + gemm_time_s(tokens, a.hidden, heads * a.mla_value_dim, rate, depth, bw, element_bytes, lat)
    qkv = (a.heads + 2.0 * max(a.key_value_heads, tensor)) * a.head_dim / tensor
    return gemm_time_s(tokens, qkv, a.hidden, rate, depth, bw, element_bytes, lat) + gemm_time_s(
        tokens, a.hidden, a.heads * a.head_dim / tensor, rate, depth, bw, element_bytes, lat
    )


@kernel
def _latent_expansion_s(a: Architecture, d: Device, tokens: float, tensor: float, element_bytes: float) -> float:
    """Return the forward time of MLA's up-projections from the latents."""
    heads = a.heads / tensor
    time = gemm_time_s(tokens, heads * (a.mla_nope_dim + a.mla_value_dim), a.mla_key_value_rank, d.gemm_flops_per_s,
                       d.gemm_half_depth, d.memory_bytes_per_s, element_bytes, d.launch_latency_s)
    if a.mla_query_rank > 0.0:
        time += gemm_time_s(tokens, heads * (a.mla_nope_dim + a.mla_rope_dim), a.mla_query_rank, d.gemm_flops_per_s,
                            d.gemm_half_depth, d.memory_bytes_per_s, element_bytes, d.launch_latency_s)
    return time


@kernel
def _ffn_gemms_s(a: Architecture, d: Device, rows: float, width: float, element_bytes: float) -> float:
    rate, depth, bw, lat = d.gemm_flops_per_s, d.gemm_half_depth, d.memory_bytes_per_s, d.launch_latency_s
    up = gemm_time_s(rows, (a.ffn_matrices - 1.0) * width, a.hidden, rate, depth, bw, element_bytes, lat)
    return up + gemm_time_s(rows, a.hidden, width, rate, depth, bw, element_bytes, lat)


@kernel
def _attention_core_s(a: Architecture, d: Device, r: Recipe, lay: Layout) -> tuple[float, float]:
    """Return (arithmetic, memory-bound) seconds of scores, softmax and values of one layer, forward."""
    dim = score_dim(a)
    heads = a.heads / lay.tensor
    queries = r.sequence / lay.context
    keys = attended_keys(a, r.sequence)
    if r.flash > 0.0:
        seen = keys - 0.5 * keys * keys / r.sequence  # causal mask: half of a full window, all of a short one
        return attention_time_s(lay.microbatch, queries, seen, heads, dim, d.attention_flops_per_s,
                                d.launch_latency_s), 0.0
    batch = lay.microbatch * heads
    scores = gemm_time_s(batch * queries, keys, dim, d.gemm_flops_per_s_16, d.gemm_half_depth, d.memory_bytes_per_s,
                         r.element_bytes, d.launch_latency_s)
    values = gemm_time_s(batch * queries, dim, keys, d.gemm_flops_per_s_16, d.gemm_half_depth, d.memory_bytes_per_s,
                         r.element_bytes, d.launch_latency_s)
    # Scale, mask and softmax (read, write) and dropout (read, write and a byte of mask): 4.5 passes over the scores.
    traffic = 4.5 * r.element_bytes * batch * queries * keys
    return scores + values, stream_time_s(traffic, d.memory_bytes_per_s, 2.0, d.launch_latency_s)


@kernel
def _pointwise_s(a: Architecture, d: Device, r: Recipe, lay: Layout, tokens: float, width: float) -> float:
    """Return seconds of norms, residuals, rotary embedding and activation of one layer, forward."""
    rows = tokens / lay.tensor if lay.sequence_parallel > 0.0 else tokens
    elements = 10.0 * rows * a.hidden  # per norm read and write, per residual two reads and a write
    elements += tokens / lay.tensor * (2.0 * (a.heads + a.key_value_heads) * a.head_dim + a.ffn_matrices * width)
    return stream_time_s(elements * r.element_bytes, d.memory_bytes_per_s, 6.0, d.launch_latency_s)


@kernel
def layer_time(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout, moe: float) -> LayerTime:
    """Return the time of one layer for one microbatch, forward, backward and recomputation, seconds by phase."""
    tokens = lay.microbatch * r.sequence / lay.context
    projections = _attention_gemms_s(a, d, tokens, lay.tensor, r.element_bytes)
    width = a.ffn_hidden
    routed_bytes = 0.0
    if moe > 0.0:
        # Each rank of the expert group holds experts / expert of them and gets its share of everyone's tokens.
        width = a.shared_hidden + a.experts_per_token * a.expert_hidden
        rows = tokens / lay.tensor * a.experts_per_token * lay.expert / a.experts
        local = a.experts / lay.expert
        ffn = local * _ffn_gemms_s(a, d, rows, a.expert_hidden, r.element_bytes) - (local - 1.0) * 2.0 * d.launch_latency_s
        ffn += gemm_time_s(tokens / lay.tensor, a.experts, a.hidden, d.gemm_flops_per_s_16, d.gemm_half_depth,
                           d.memory_bytes_per_s, r.element_bytes, d.launch_latency_s)
        if a.shared_hidden > 0.0:
            ffn += _ffn_gemms_s(a, d, tokens, a.shared_hidden / lay.tensor, r.element_bytes)
        routed_bytes = tokens / lay.tensor * a.experts_per_token * a.hidden * r.element_bytes
    else:
        ffn = _ffn_gemms_s(a, d, tokens, a.ffn_hidden / lay.tensor, r.element_bytes)
    core_s, softmax_s = _attention_core_s(a, d, r, lay)
    pointwise_s = _pointwise_s(a, d, r, lay, tokens, width)

    again_gemm = 1.0 if r.recompute >= 2.0 else 0.0
    again_core = 1.0 if (r.recompute >= 2.0 or (r.recompute >= 1.0 and r.flash <= 0.0)) else 0.0
    again_pointwise = 1.0 if r.recompute >= 1.0 else 0.0
    backward_core = 2.5 if r.flash > 0.0 else 2.0  # FlashAttention-2 rebuilds the scores (arXiv:2307.08691, s4.1)
    gemm_s = (3.0 + again_gemm) * (projections + ffn)
    if a.mla > 0.0 and r.recompute == 1.0:
        gemm_s += _latent_expansion_s(a, d, tokens, lay.tensor, r.element_bytes)
    attention_s = (1.0 + backward_core + again_core) * core_s
    memory_s = (3.0 + again_pointwise) * pointwise_s + (3.0 + again_core) * softmax_s

    # Tensor parallelism: two all-reduces forward, two backward (Megatron-LM); the same bytes with sequence parallelism.
    row_bytes = tokens * a.hidden * r.element_bytes
    tensor_s = (4.0 + 2.0 * again_gemm) * all_reduce_time_s(row_bytes, lay.tensor, 1.0, net)
    kv_bytes = 2.0 * tokens * lay.context * max(a.key_value_heads, lay.tensor) * a.head_dim / lay.tensor * r.element_bytes
    context_s = (3.0 + again_core) * gather_time_s(kv_bytes, lay.context, lay.tensor, net)
    expert_s = 0.0
    if moe > 0.0 and lay.expert > 1.0:
        expert_s = (4.0 + 2.0 * again_gemm) * all_to_all_time_s(routed_bytes, lay.expert, 1.0, net)
        if lay.overlap_expert > 0.0:
            expert_s = max(expert_s - gemm_s - attention_s, OVERLAP_COST * expert_s)
    return LayerTime(gemm_s, attention_s, memory_s, tensor_s, context_s, expert_s)


@kernel
def _mean_layer(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout) -> LayerTime:
    share = a.moe_layers / a.layers
    if share <= 0.0:
        return layer_time(a, d, net, r, lay, 0.0)
    e = layer_time(a, d, net, r, lay, 1.0)
    if share >= 1.0:
        return e
    f = layer_time(a, d, net, r, lay, 0.0)
    rest = 1.0 - share
    return LayerTime(share * e.gemm_s + rest * f.gemm_s, share * e.attention_s + rest * f.attention_s,
                     share * e.memory_s + rest * f.memory_s, share * e.tensor_s + rest * f.tensor_s,
                     share * e.context_s + rest * f.context_s, share * e.expert_s + rest * f.expert_s)


@kernel
def _head_time(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout) -> LayerTime:
    """Return the time of embedding, output matrix and loss for one microbatch, forward and backward."""
    tokens = lay.microbatch * r.sequence / lay.context
    gemm_s = 3.0 * gemm_time_s(tokens, a.vocabulary / lay.tensor, a.hidden, d.gemm_flops_per_s_16, d.gemm_half_depth,
                               d.memory_bytes_per_s, r.element_bytes, d.launch_latency_s)
    # Loss in fp32: logits cast, exponentials, gradient: 20 bytes a logit; embedding rows read, and their gradient.
    traffic = 20.0 * tokens * a.vocabulary / lay.tensor + 4.0 * r.element_bytes * tokens * a.hidden
    memory_s = stream_time_s(traffic, d.memory_bytes_per_s, 6.0, d.launch_latency_s)
    tensor_s = 2.0 * all_reduce_time_s(tokens * a.hidden * r.element_bytes, lay.tensor, 1.0, net)
    return LayerTime(gemm_s, 0.0, memory_s, tensor_s, 0.0, 0.0)


@kernel
def _total_s(t: LayerTime) -> float:
    return t.gemm_s + t.attention_s + t.memory_s + t.tensor_s + t.context_s + t.expert_s


@kernel
def _exposed_data_s(a: Architecture, net: Network, r: Recipe, lay: Layout, microbatches: float,
                    pass_s: float) -> float:
    """Return exposed time of gradient and weight collectives in a step, seconds, the cost of their overlap included.

    `pass_s` is one microbatch, forward and backward, on the mean stage. ZeRO-3 gathers weights twice and reduces
    gradients in every microbatch; otherwise one exchange a step hides behind the last backward and the first forward.
    """
    dense, routed = shard_parameters(a, lay.tensor, lay.pipeline, lay.expert)
    replicas = lay.data * lay.context
    stride = lay.tensor
    expert_replicas = max(1.0, replicas * lay.tensor / lay.expert)
    expert_stride = min(lay.expert, lay.data * lay.context * lay.tensor)
    weights_s = gather_time_s(r.element_bytes * dense, replicas, stride, net) + gather_time_s(
        r.element_bytes * routed, expert_replicas, expert_stride, net)
    if lay.zero >= 3.0:
        gradients_s = gather_time_s(r.element_bytes * dense, replicas, stride, net) + gather_time_s(
            r.element_bytes * routed, expert_replicas, expert_stride, net)
        total_s = microbatches * (2.0 * weights_s + gradients_s)
        window_s = microbatches * pass_s
        unhidden_s = total_s / (3.0 * microbatches * a.layers / lay.pipeline)  # the first layer's gather
    else:
        gradients_s = gather_time_s(GRADIENT_BYTES * dense, replicas, stride, net) + gather_time_s(
            GRADIENT_BYTES * routed, expert_replicas, expert_stride, net)
        # Without ZeRO gradients are all-reduced; with it reduced to their owners, and the new weights gathered.
        total_s = (weights_s if lay.zero >= 1.0 else gradients_s) + gradients_s
        window_s = pass_s
        unhidden_s = total_s / (2.0 * a.layers / lay.pipeline)
    if lay.overlap_data <= 0.0:
        return total_s
    hidden_s = min(total_s - unhidden_s, window_s)
    return total_s - hidden_s + OVERLAP_COST * hidden_s


@kernel
def step_time(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout) -> Step:
    """Return one training step, before stragglers.

    Parameters
    ----------
    a, d, net, r, lay
        Model, accelerator, network, batch and layout. `r.sequences` may be any multiple of data x microbatch; a remainder
        costs a whole microbatch.

    Returns
    -------
    Step
        Seconds by phase on the mean accelerator, and FLOPs per accelerator.
    """
    microbatches = microbatch_count(r.sequences, lay.data, lay.microbatch)
    layer = _mean_layer(a, d, net, r, lay)
    head = _head_time(a, d, net, r, lay)
    layers = a.layers / lay.pipeline
    ends = 1.0 / lay.pipeline
    mean_stage_s = layers * _total_s(layer) + ends * _total_s(head)
    slowest_s = slowest_stage_s(a.layers, lay.pipeline, _total_s(layer), _total_s(head))

    send_s = 0.0
    if lay.pipeline > 1.0:
        rows = lay.microbatch * r.sequence / lay.context * a.hidden * r.element_bytes
        if lay.sequence_parallel > 0.0:
            rows /= lay.tensor
        distance = lay.tensor * lay.context * lay.data
        send_s = send_time_s(rows, distance, net)
    batch_s = batch_time_s(microbatches, lay.pipeline, lay.chunks, slowest_s, send_s)
    pipeline_s = 2.0 * lay.chunks * send_s * microbatches if lay.pipeline > 1.0 else 0.0
    bubble_s = max(0.0, batch_s - pipeline_s - microbatches * mean_stage_s)
    data_s = _exposed_data_s(a, net, r, lay, microbatches, mean_stage_s)

    dense, routed = shard_parameters(a, lay.tensor, lay.pipeline, lay.expert)
    updated = dense + routed
    if lay.zero >= 1.0:
        updated = dense / (lay.data * lay.context) + routed / max(1.0, lay.data * lay.context * lay.tensor / lay.expert)
    optimizer_s = stream_time_s(ADAM_TRAFFIC_BYTES * updated, d.memory_bytes_per_s, 1.0, d.launch_latency_s)

    gemm_s = microbatches * (layers * layer.gemm_s + ends * head.gemm_s)
    attention_s = microbatches * layers * layer.attention_s
    memory_s = microbatches * (layers * layer.memory_s + ends * head.memory_s)
    tensor_s = microbatches * (layers * layer.tensor_s + ends * head.tensor_s)
    context_s = microbatches * layers * layer.context_s
    expert_s = microbatches * layers * layer.expert_s
    time_s = (gemm_s + attention_s + memory_s + tensor_s + context_s + expert_s + pipeline_s + bubble_s + data_s
              + optimizer_s)
    accelerators = lay.tensor * lay.context * lay.data * lay.pipeline
    model_flops = r.sequences * r.sequence * model_flops_per_token(a, r.sequence) / accelerators
    p = count_parameters(a)
    scores = 4.0 * a.layers * a.heads * score_dim(a) * attended_keys(a, r.sequence)
    again = 0.0  # FLOPs a token recomputed
    if r.recompute >= 2.0:
        again = 2.0 * (p.matrix - p.embedding) + scores
    elif r.recompute >= 1.0:
        if r.flash <= 0.0:
            again = scores
        if a.mla > 0.0:  # the latents' up-projections
            again += 2.0 * a.layers * a.heads * (a.mla_query_rank * (a.mla_nope_dim + a.mla_rope_dim)
                                                 + a.mla_key_value_rank * (a.mla_nope_dim + a.mla_value_dim))
    hardware_flops = model_flops + r.sequences * r.sequence * again / accelerators
    return Step(time_s, gemm_s, attention_s, memory_s, optimizer_s, tensor_s, context_s, expert_s, pipeline_s, data_s,
                bubble_s, model_flops, hardware_flops)

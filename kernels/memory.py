"""Bytes on the fullest accelerator, by term.

Mixed-precision training: weights in use, fp32 gradients, fp32 master weights, optimizer state (Rajbhandari et al., ZeRO,
arXiv:1910.02054, section 3.1, with gradients accumulated in fp32 as Megatron-LM does).
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.packs import Layout, Recipe
from kernels.pipeline import largest_stage, microbatches_in_flight, stages_of
from kernels.transformer import Architecture, count_parameters

GRADIENT_BYTES = 4.0
MASTER_BYTES = 4.0
# CUDA context, communicator buffers and workspaces. FROM MEMORY: 2-4 GB reported by nvidia-smi in NCCL jobs.
RESERVED_BYTES = 2.5e9
# Memory that the caching allocator holds and cannot use, share of activations. FROM MEMORY: a few per cent where shapes repeat.
FRAGMENTATION = 0.02

UNFUSED_LOSS_BYTES = 20.0  # memory traffic per logit above which a loss keeps fp32 results


class Memory(NamedTuple):
    """Bytes on the fullest accelerator."""

    weights: float
    gradients: float
    master_weights: float
    optimizer: float
    activations: float
    buffers: float
    fragmentation: float
    total: float


@kernel
def sharded_over(lay: Layout) -> tuple[float, float]:
    """Return over how many ranks ZeRO shards replicated weights, and routed experts'."""
    replicas = lay.data * lay.context
    expert_replicas = max(1.0, replicas * lay.tensor / lay.expert)
    shard = lay.shard if lay.shard > 0.0 else replicas
    return shard, max(1.0, min(expert_replicas, shard * lay.tensor / lay.expert))


@kernel
def shard_parameters(a: Architecture, lay: Layout, vocabulary_multiple: float) -> tuple[float, float]:
    """Return the parameters of the fullest rank: those replicated over data ranks, and routed experts' parameters."""
    p = count_parameters(a)
    dense = a.layers * p.attention + (a.layers - a.moe_layers) * p.dense_ffn + a.moe_layers * (p.shared + p.router)
    dense += a.layers * a.norms_per_layer * a.norm_vectors * a.hidden
    multiple = vocabulary_multiple * lay.tensor
    embedding = -(-a.vocabulary // multiple) * multiple * a.hidden
    positions = a.learned_positions * a.hidden
    stages = stages_of(a.layers, lay)
    one = dense / a.layers
    if lay.pipeline <= 1.0:
        held = dense + embedding * (2.0 - a.tied_embeddings) + positions
    else:
        held = max(stages.fullest_middle * one, stages.first * one + embedding + positions, stages.last * one + embedding)
    share = max(stages.first, stages.fullest_middle, stages.last) / a.layers
    routed = share * a.moe_layers * a.experts * p.expert / lay.expert
    return held / lay.tensor, routed


@kernel
def layer_kept_bytes(a: Architecture, moe: float, r: Recipe, lay: Layout) -> tuple[float, float]:
    """Return bytes kept from forward to backward by one layer for one token: whole rows, and what tensor ranks split.

    Every input of every operator is kept (Korthikanti et al., arXiv:2205.05198, equation 1, without the masks of dropout),
    less what is computed again. Without sequence parallelism, rows of the residual stream are whole on every tensor rank.
    """
    e = r.kept_bytes
    if r.input_only > 0.0:
        return e * a.hidden, 0.0
    qkv = (a.heads + 2.0 * a.key_value_heads) * a.head_dim
    latents = 0.0
    context = a.heads * a.head_dim
    if a.mla > 0.0:
        qkv = a.heads * (2.0 * (a.mla_nope_dim + a.mla_rope_dim) + a.mla_value_dim)
        latents = a.mla_query_rank + a.mla_key_value_rank + a.mla_rope_dim  # inputs of the expansions
        context = a.heads * a.mla_value_dim
    width, routed = a.ffn_hidden, 0.0
    if moe > 0.0:
        width = a.shared_hidden + a.experts_per_token * a.expert_hidden * r.expert_load
        routed = a.experts_per_token * a.hidden * r.expert_load
    pointwise = 1.0 - r.again_pointwise
    gated = a.ffn_matrices - 2.0
    rows = 2.0 + 2.0 * pointwise  # inputs of both norms, and their outputs
    if r.fusion <= 0.0:  # a norm in fp32 keeps its cast input instead, an RMS norm one result more
        rows += 2.0 * pointwise * (4.0 / e - 1.0) + (2.0 * pointwise if a.norm_vectors <= 1.0 else 0.0)
    split = (qkv * (1.0 - r.again_query_key_value) + latents + context + routed
             + (a.ffn_matrices - 1.0) * width * (1.0 - r.again_ffn_up) + width * pointwise)
    if r.fusion <= 0.0:
        split += gated * width * pointwise  # the activated gate, beside its product
    if r.flash <= 0.0:
        split += 2.5 * a.heads * r.sequence * (1.0 - r.again_attention)  # 5 a s^2 b bytes at two bytes an element
    return e * rows * a.hidden, e * split


@kernel
def _layer_activations(a: Architecture, r: Recipe, lay: Layout) -> float:
    """Return bytes that the mean layer keeps of one microbatch."""
    tokens = lay.microbatch * r.sequence / lay.context
    share = a.moe_layers / a.layers
    rows, split = layer_kept_bytes(a, 0.0, r, lay)
    if share > 0.0:
        moe_rows, moe_split = layer_kept_bytes(a, 1.0, r, lay)
        rows, split = (1.0 - share) * rows + share * moe_rows, (1.0 - share) * split + share * moe_split
    if lay.sequence_parallel > 0.0:
        rows /= lay.tensor
    return tokens * (rows + split / lay.tensor)


@kernel
def _everything_kept(r: Recipe) -> Recipe:
    """Return the recipe without recomputation, as one rebuilt layer is held."""
    return Recipe(r.sequences, r.sequence, r.element_bytes, r.element_bytes, r.flash, r.fusion, r.loss_bytes, 0.0, 0.0, 0.0,
                  0.0, 0.0, 0.0, 0.0, r.scaling_bytes, r.gradient_bytes, r.gather_bytes, r.optimizer_traffic_bytes,
                  r.optimizer_state_bytes, r.optimizer_flops, r.activation_offload, r.optimizer_offload,
                  r.vocabulary_multiple, r.expert_load)


@kernel
def activation_bytes(a: Architecture, r: Recipe, lay: Layout, microbatches: float) -> float:
    """Return bytes of activations at the fullest point of the schedule, the first stage's, before offload."""
    held = largest_stage(a.layers, lay) * microbatches_in_flight(microbatches, lay.pipeline, lay.chunks)
    return _layer_activations(a, r, lay) * held


@kernel
def memory_bytes(a: Architecture, r: Recipe, lay: Layout, microbatches: float) -> Memory:
    """Return the bytes of each term on the fullest accelerator.

    ZeRO stage 1 shards optimizer and master weights over data-parallel ranks, 2 gradients too, 3 weights too (then the fp32
    weights are the only lasting ones). Experts are replicated over data x context x tensor / expert ranks.
    """
    dense, routed = shard_parameters(a, lay, r.vocabulary_multiple)
    shard, expert_shard = sharded_over(lay)
    over = dense / shard + routed / expert_shard
    whole = dense + routed
    owned = over if lay.zero >= 1.0 else whole
    on_device = 1.0 - r.optimizer_offload
    weights = r.element_bytes * whole
    if lay.zero >= 3.0 and lay.pipeline <= 1.0:
        weights = r.element_bytes * over * r.optimizer_offload  # of master weights on the host, their shard in use
    elif r.element_bytes >= 4.0:
        weights -= r.element_bytes * owned * on_device  # the master weights are in use
    gradients = GRADIENT_BYTES * (over if lay.zero >= 2.0 and lay.pipeline <= 1.0 else whole)
    master = MASTER_BYTES * owned * on_device
    optimizer = r.optimizer_state_bytes * owned * on_device

    largest = largest_stage(a.layers, lay)
    activations = activation_bytes(a, r, lay, microbatches)
    layer = _layer_activations(a, r, lay)
    if r.activation_offload > 0.0:  # two layers stay: one in use, one on its way
        activations = max((1.0 - r.activation_offload) * activations, min(activations, 2.0 * layer))
    tokens = lay.microbatch * r.sequence / lay.context
    if r.input_only > 0.0:  # one layer is rebuilt whole for its backward pass
        activations += _layer_activations(a, _everything_kept(r), lay)
    # Logits on the last stage: in the element type and, where the loss is not fused, a result and a gradient in fp32.
    logits = 0.0
    if lay.pipeline <= 1.0:
        logits = tokens * a.vocabulary / lay.tensor * (r.element_bytes + (8.0 if r.loss_bytes > UNFUSED_LOSS_BYTES else 0.0))
    gathered = 2.0 * r.element_bytes * whole / largest if lay.zero >= 3.0 and lay.pipeline <= 1.0 else 0.0
    buffers = RESERVED_BYTES + logits + gathered
    fragmentation = FRAGMENTATION * activations
    return Memory(weights, gradients, master, optimizer, activations, buffers, fragmentation,
                  weights + gradients + master + optimizer + activations + buffers + fragmentation)

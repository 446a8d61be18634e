"""Bytes on the fullest accelerator, by term.

Mixed-precision Adam: 2 bytes of weights and 4 of gradients a parameter, 12 of master weights and moments (Rajbhandari et
al., ZeRO, arXiv:1910.02054, section 3.1, with gradients accumulated in fp32 as Megatron-LM does).
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.pipeline import layers_per_stage, microbatches_in_flight
from kernels.transformer import Architecture, count_parameters, layer_activation_bytes_per_token

OPTIMIZER_BYTES = 12.0
GRADIENT_BYTES = 4.0
# CUDA context, communicator buffers and workspaces. FROM MEMORY: 2-4 GB reported by nvidia-smi in NCCL jobs.
RESERVED_BYTES = 3e9


class Memory(NamedTuple):
    """Bytes on the fullest accelerator."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    buffers: float
    total: float


@kernel
def shard_parameters(a: Architecture, tensor: float, pipeline: float, expert: float) -> tuple[float, float]:
    """Return the parameters of the fullest rank: those replicated over data ranks, and routed experts' parameters."""
    p = count_parameters(a)
    stage_layers = layers_per_stage(a.layers, pipeline)
    share = stage_layers / a.layers
    dense = a.layers * p.attention + (a.layers - a.moe_layers) * p.dense_ffn + a.moe_layers * (p.shared + p.router)
    ends = p.embedding if pipeline > 1.0 else p.embedding * (2.0 - a.tied_embeddings)
    # A stage that holds the embedding holds fewer layers where they do not divide evenly: the larger of both.
    if stage_layers * pipeline > a.layers:
        held = max(share * dense, (share - 1.0 / a.layers) * dense + ends)
    else:
        held = share * dense + ends
    routed = share * a.moe_layers * a.experts * p.expert / expert
    return held / tensor, routed


@kernel
def memory_bytes(a: Architecture, tensor: float, pipeline: float, chunks: float, context: float, expert: float,
                 data: float, zero: float, sequence_parallel: float, microbatch: float, microbatches: float,
                 sequence: float, element_bytes: float, kept_bytes: float, recompute: float, flash: float) -> Memory:
    """Return the bytes of each term on the fullest accelerator.

    `kept_bytes` is the size of an activation kept for the backward pass, `element_bytes` that of weights and buffers.
    `zero` is the ZeRO stage: 1 shards the optimizer over data-parallel ranks, 2 gradients too, 3 weights too. Experts are
    replicated over data x context x tensor / expert ranks.
    """
    dense, routed = shard_parameters(a, tensor, pipeline, expert)
    replicas = data * context
    expert_replicas = max(1.0, data * context * tensor / expert)
    over = dense / replicas + routed / expert_replicas
    whole = dense + routed
    weights = element_bytes * (over if zero >= 3.0 else whole)
    gradients = GRADIENT_BYTES * (over if zero >= 2.0 else whole)
    optimizer = OPTIMIZER_BYTES * (over if zero >= 1.0 else whole)

    tokens = microbatch * sequence / context
    dense_layer = layer_activation_bytes_per_token(a, 0.0, recompute, flash, sequence, kept_bytes)
    moe_layer = layer_activation_bytes_per_token(a, 1.0, recompute, flash, sequence, kept_bytes)
    moe_share = a.moe_layers / a.layers
    layer = tokens * ((1.0 - moe_share) * dense_layer + moe_share * moe_layer)
    split = tensor
    if sequence_parallel <= 0.0 and tensor > 1.0:
        whole_rows = tokens * kept_bytes * a.hidden * (1.0 if recompute >= 2.0 else 4.0 - 2.0 * min(recompute, 1.0))
        layer = (layer - whole_rows) / tensor + whole_rows
        split = 1.0
    else:
        layer = layer / tensor
    stage_layers = layers_per_stage(a.layers, pipeline)
    activations = layer * stage_layers * microbatches_in_flight(microbatches, pipeline, chunks)
    if recompute >= 2.0:  # one layer is rebuilt whole for its backward pass
        rebuilt = layer_activation_bytes_per_token(a, 1.0 if moe_share > 0.0 else 0.0, 0.0, flash, sequence, element_bytes)
        activations += tokens * rebuilt / split

    # Logits in the element type and once in fp32, on the last stage; a gathered layer where weights are sharded.
    logits = tokens * a.vocabulary / tensor * (element_bytes + 4.0) if pipeline <= 1.0 else 0.0
    gathered = 2.0 * element_bytes * whole / stage_layers if zero >= 3.0 else 0.0
    buffers = RESERVED_BYTES + logits + gathered
    return Memory(weights, gradients, optimizer, activations, buffers,
                  weights + gradients + optimizer + activations + buffers)

"""Parameter packs of a training step: NamedTuples of floats, so that kernels take them by value."""

from __future__ import annotations

from typing import NamedTuple


class Device(NamedTuple):
    """One accelerator: rates it reaches (peak x efficiency x clock)."""

    gemm_flops_per_s: float  # in the training precision
    gemm_flops_per_s_16: float  # in bf16 or fp16 (or the training precision where wider): head, router, unfused attention
    attention_flops_per_s: float  # fused, forward
    memory_bytes_per_s: float
    launch_latency_s: float  # idle gap between two dependent kernels
    host_latency_s: float  # time of the host to issue one kernel
    fill_depth: float  # inner dimension whose multiplication takes as long as prologue and epilogue of a tile
    softmax_depth: float  # head dimension whose products take as long as one exponential
    processors: float  # units among which output tiles are dealt (streaming multiprocessors)
    overlap_cost: float  # compute lost, as a share of the time that a collective runs beside it
    host_link_bytes_per_s: float


class Network(NamedTuple):
    """The levels that collectives see: bandwidths are what a large collective reaches, per accelerator and direction."""

    domain: float  # accelerators in a scale-up domain
    scale_up_bytes_per_s: float
    scale_up_latency_s: float
    torus: float  # dimensions of the scale-up torus; 0 where it is switched
    scale_up_reduces: float  # 1 where scale-up switches reduce
    nic_bytes_per_s: float
    nic_latency_s: float
    nic_reduces: float  # 1 where scale-out switches reduce
    rails: float  # 1 where a leaf joins accelerators of equal place in their nodes
    leaf: float  # accelerators below one leaf
    leaf_oversubscription: float
    pod: float  # accelerators within which only the leaf layer is oversubscribed
    oversubscription: float


class Recipe(NamedTuple):
    """What one step computes, and with which software."""

    sequences: float
    sequence: float
    element_bytes: float  # activations and weights in use
    kept_bytes: float  # inputs of matrix products kept for the backward pass
    flash: float  # 1 fused attention
    fusion: float  # of point-wise operators: 0 none, 1 kernels fused by hand, 2 compiled
    loss_bytes: float  # memory traffic of the loss per logit, forward and backward
    again_query_key_value: float  # shares computed again in the backward pass, 0 to 1
    again_attention: float
    again_output: float
    again_ffn_up: float
    again_ffn_down: float
    again_pointwise: float
    input_only: float  # 1 where a layer keeps nothing but its input
    scaling_bytes: float  # memory traffic per scaled element of fp8 and fp4 products; 0 in wider formats
    gradient_bytes: float  # per parameter, as reduced over data-parallel ranks
    gather_bytes: float  # per parameter, as sharded weights are gathered
    optimizer_traffic_bytes: float  # per updated parameter
    optimizer_state_bytes: float  # per parameter, master weights apart
    optimizer_flops: float  # per updated parameter
    activation_offload: float
    optimizer_offload: float
    vocabulary_multiple: float
    expert_load: float  # tokens of the busiest expert rank over the mean, as computed


class Layout(NamedTuple):
    """Sizes of the parallel groups; ranks are ordered tensor, context, data, pipeline, innermost first."""

    tensor: float
    pipeline: float
    chunks: float  # model chunks a stage; more than 1 is the interleaved schedule
    context: float
    expert: float
    data: float
    microbatch: float
    zero: float
    shard: float  # ranks of data x context among which ZeRO shards; 0: all of them
    first_layers: float  # layers of the first and last stage; 0: balanced
    last_layers: float
    zero_bubble: float
    context_method: float  # 0 all-gather, 1 ring, 2 Ulysses
    sequence_parallel: float
    overlap_tensor: float  # shares of a dimension's collectives that may hide behind compute
    overlap_context: float
    overlap_expert: float
    overlap_data: float
    overlap_pipeline: float
    expert_nodes: float  # nodes one token is sent to at most; 0: no limit


class Step(NamedTuple):
    """One step on the mean accelerator; phases add up to `time_s`."""

    time_s: float
    gemm_s: float
    attention_s: float
    memory_s: float
    launch_s: float
    optimizer_s: float
    offload_s: float
    tensor_s: float
    context_s: float
    expert_s: float
    pipeline_s: float
    data_s: float
    bubble_s: float
    model_flops: float  # per accelerator
    hardware_flops: float
    tensor_bytes: float  # sent by one accelerator in a step, by dimension
    context_bytes: float
    expert_bytes: float
    pipeline_bytes: float
    data_bytes: float
    forward_s: float  # one microbatch on the mean stage, forward
    backward_s: float  # and backward, recomputation included
    weight_gradient_s: float  # of the backward pass, what no other stage waits for

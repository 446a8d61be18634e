"""One training step: time by phase, FLOPs and bytes, from shapes, layout and hardware.

The mean over pipeline stages is priced operator by operator; what the mean stage waits for the slowest one, and for the
pipeline to fill and drain, is the bubble. So the phases of a `Step` add up to its time.
"""

from __future__ import annotations

from kernels._jit import kernel
from kernels.collectives import leaves_domain, send_time_s
from kernels.exchange import data_exchange
from kernels.layer import Pass, Passes, head_passes, layer_passes, mix, total_s
from kernels.memory import activation_bytes, shard_parameters, sharded_over
from kernels.packs import Device, Layout, Network, Recipe, Step
from kernels.pipeline import batch_time_s, microbatch_count, stages_of
from kernels.roofline import stream_time_s
from kernels.transformer import Architecture, attended_keys, count_parameters, model_flops_per_token, score_dim


@kernel
def _mean_layer(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout) -> tuple[Passes, float, float, float]:
    share = a.moe_layers / a.layers
    if share <= 0.0:
        return layer_passes(a, d, net, r, lay, 0.0)
    e, tensor, context, expert = layer_passes(a, d, net, r, lay, 1.0)
    if share >= 1.0:
        return e, tensor, context, expert
    f, tensor, context, _ = layer_passes(a, d, net, r, lay, 0.0)
    rest = 1.0 - share
    mean = Passes(mix(e.forward, share, f.forward, rest), mix(e.backward, share, f.backward, rest),
                  share * e.weight_gradient_s + rest * f.weight_gradient_s)
    return mean, tensor, context, share * expert


@kernel
def _pipeline(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout, layer: Passes, head: Passes,
              microbatches: float) -> tuple[float, float, float]:
    """Return seconds of the batch, exposed seconds of sends in it, and bytes sent by an accelerator of a middle stage."""
    layer_s = total_s(layer.forward) + total_s(layer.backward)
    head_s = total_s(head.forward) + total_s(head.backward)
    stages = stages_of(a.layers, lay)
    if lay.pipeline <= 1.0:
        return microbatches * (stages.first * layer_s + head_s), 0.0, 0.0
    last = stages.last * layer_s + head_s
    slowest = max(stages.first * layer_s, stages.fullest_middle * layer_s, last)
    saved = 0.0
    if lay.zero_bubble > 0.0:  # one gradient of weights while filling, and as many while draining as there are microbatches for
        fills = 1.0 + min(1.0, (microbatches - 1.0) / (lay.pipeline - 1.0))
        saved = fills * a.layers * layer.weight_gradient_s * (1.0 - 1.0 / lay.pipeline)
    rows = lay.microbatch * r.sequence / lay.context * a.hidden * r.element_bytes / lay.tensor  # each tensor rank sends a part
    one = send_time_s(rows, lay.tensor * lay.context * lay.data, net)
    exposed = 2.0 * one * (1.0 - lay.overlap_pipeline * (1.0 - d.overlap_cost))
    batch = batch_time_s(microbatches, lay.chunks, lay.pipeline, slowest, a.layers * layer_s + head_s, saved, exposed)
    return batch, microbatches * lay.chunks * exposed, 2.0 * lay.chunks * microbatches * rows


@kernel
def _optimizer(a: Architecture, d: Device, r: Recipe, lay: Layout) -> tuple[float, float]:
    """Return seconds of the update on the accelerator, and of moving gradients and weights where it is on the host."""
    dense, routed = shard_parameters(a, lay, r.vocabulary_multiple)
    updated = dense + routed
    if lay.zero >= 1.0:
        shard, expert_shard = sharded_over(lay)
        updated = dense / shard + routed / expert_shard
    arithmetic_s = updated * r.optimizer_flops / d.gemm_flops_per_s_16
    if r.optimizer_offload > 0.0:  # the host's memory is slower than its link to the accelerator, and moves more
        moved = updated * (4.0 + r.element_bytes + r.optimizer_traffic_bytes)
        return arithmetic_s, moved / d.host_link_bytes_per_s
    return stream_time_s(r.optimizer_traffic_bytes * updated, 1.0, d) + arithmetic_s, 0.0


@kernel
def hardware_flops_per_token(a: Architecture, r: Recipe) -> float:
    """Return FLOPs of one token with what is computed again (HFU; Korthikanti et al., arXiv:2205.05198, section 6.3)."""
    scores = 4.0 * a.layers * a.heads * score_dim(a) * attended_keys(a, r.sequence)
    p = count_parameters(a)
    width = a.ffn_matrices * a.hidden * ((a.layers - a.moe_layers) * a.ffn_hidden
                                         + a.moe_layers * (a.experts_per_token * a.expert_hidden + a.shared_hidden))
    up = width * (a.ffn_matrices - 1.0) / a.ffn_matrices + a.moe_layers * p.router
    output = a.layers * a.heads * (a.mla_value_dim if a.mla > 0.0 else a.head_dim) * a.hidden
    first = p.matrix - p.embedding - width - a.moe_layers * p.router - output
    if a.mla > 0.0 and r.input_only <= 0.0:  # only the latents' up-projections are computed again
        first = a.layers * a.heads * (a.mla_query_rank * (a.mla_nope_dim + a.mla_rope_dim)
                                      + a.mla_key_value_rank * (a.mla_nope_dim + a.mla_value_dim))
    again = (r.again_query_key_value * first + r.again_output * output + r.again_ffn_up * up
             + r.again_ffn_down * width / a.ffn_matrices)
    return model_flops_per_token(a, r.sequence) + 2.0 * again + r.again_attention * scores


@kernel
def step_time(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout) -> Step:
    """Return one training step, before stragglers.

    Parameters
    ----------
    a, d, net, r, lay
        Model, accelerator, network, recipe and layout. `r.sequences` may be any multiple of data x microbatch; a remainder
        costs a whole microbatch.

    Returns
    -------
    Step
        Seconds by phase on the mean accelerator, FLOPs and bytes per accelerator.
    """
    m = microbatch_count(r.sequences, lay.data, lay.microbatch)
    layer, tensor_bytes, context_bytes, expert_bytes = _mean_layer(a, d, net, r, lay)
    head = head_passes(a, d, net, r, lay)
    layers, ends = a.layers / lay.pipeline, 1.0 / lay.pipeline
    forward, backward = mix(layer.forward, layers, head.forward, ends), mix(layer.backward, layers, head.backward, ends)
    forward_s, backward_s = total_s(forward), total_s(backward)
    batch_s, pipeline_s, pipeline_bytes = _pipeline(a, d, net, r, lay, layer, head, m)
    bubble_s = max(0.0, batch_s - pipeline_s - m * (forward_s + backward_s))

    nic_bytes = pipeline_bytes / m  # of one microbatch, also those that hide
    if leaves_domain(lay.expert, 1.0, net):
        nic_bytes += layers * expert_bytes
    if leaves_domain(lay.context, lay.tensor, net):
        nic_bytes += layers * context_bytes
    busy_s = nic_bytes / net.nic_bytes_per_s
    exchange = data_exchange(a, d, net, r, lay, m, forward_s, backward_s, busy_s)
    optimizer_s, offload_s = _optimizer(a, d, r, lay)
    if r.activation_offload > 0.0:  # out while computing forward, in while computing backward
        moved = r.activation_offload * activation_bytes(a, r, lay, 1.0) / d.host_link_bytes_per_s
        offload_s += m * (max(0.0, moved - forward_s) + max(0.0, moved - backward_s))

    both: Pass = mix(forward, m, backward, m)
    time_s = (m * (forward_s + backward_s) + pipeline_s + bubble_s + exchange.exposed_s + exchange.copies_s + optimizer_s
              + offload_s)
    ranks = lay.tensor * lay.context * lay.data * lay.pipeline
    tokens = r.sequences * r.sequence / ranks
    return Step(time_s, both.gemm_s, both.attention_s, both.memory_s + exchange.copies_s, both.launch_s, optimizer_s, offload_s,
                both.tensor_s, both.context_s, both.expert_s, pipeline_s, exchange.exposed_s, bubble_s,
                tokens * model_flops_per_token(a, r.sequence), tokens * hardware_flops_per_token(a, r),
                m * layers * tensor_bytes, m * layers * context_bytes, m * layers * expert_bytes, pipeline_bytes,
                exchange.sent_bytes, forward_s, backward_s,
                layers * layer.weight_gradient_s + ends * head.weight_gradient_s)

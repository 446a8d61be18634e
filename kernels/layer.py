"""One transformer layer, and the two ends of the model, for one microbatch on one rank: forward and backward.

Each matrix product is priced three times, forward, gradient of its input, gradient of its weights, with the shapes it has.
Point-wise operators are counted in bytes they move, fused by a compiler or one by one.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.collectives import all_reduce_time_s, all_to_all_time_s, gather_time_s
from kernels.packs import Device, Layout, Network, Recipe
from kernels.roofline import ATTENTION_BACKWARD, attention_time_s, gemm_time_s, stream_time_s
from kernels.transformer import Architecture, attended_keys, score_dim, seen_keys

_GRADIENT_WRITE = 8.0  # weight gradients are added to fp32 sums: read and written
# Passes over unfused scores: scale, mask and softmax in one kernel (read, write), dropout (read, write, a byte of mask);
# backward dropout (read, write, mask) and softmax (two reads, a write). Megatron-LM's fused kernels, FROM MEMORY.
_SCORE_PASSES, _SCORE_PASSES_BACK = 4.5, 5.5

# Compute lost while an all-to-all runs beside it: DeepSeek-V3 (arXiv:2412.19437, s3.2.2) gives 20 of 132 processors to it.
EXPERT_OVERLAP_COST = 20.0 / 132.0


class Pass(NamedTuple):
    """Seconds of one direction through one layer."""

    gemm_s: float
    attention_s: float
    memory_s: float
    launch_s: float  # waiting for the host to issue kernels
    tensor_s: float
    context_s: float
    expert_s: float


class Passes(NamedTuple):
    """Both directions, recomputation in the backward one, and how much of that is gradients of weights."""

    forward: Pass
    backward: Pass
    weight_gradient_s: float


class Linear(NamedTuple):
    """A matrix product of a layer: three times, and the elements that fp8 scales in each direction."""

    forward_s: float
    input_s: float
    weight_s: float
    scaled_forward: float
    scaled_backward: float


@kernel
def total_s(p: Pass) -> float:
    """Return the seconds of one direction."""
    return p.gemm_s + p.attention_s + p.memory_s + p.launch_s + p.tensor_s + p.context_s + p.expert_s


@kernel
def mix(x: Pass, x_times: float, y: Pass, y_times: float) -> Pass:
    """Return a weighted sum of two."""
    return Pass(x_times * x.gemm_s + y_times * y.gemm_s, x_times * x.attention_s + y_times * y.attention_s,
                x_times * x.memory_s + y_times * y.memory_s, x_times * x.launch_s + y_times * y.launch_s,
                x_times * x.tensor_s + y_times * y.tensor_s, x_times * x.context_s + y_times * y.context_s,
                x_times * x.expert_s + y_times * y.expert_s)


@kernel
def _linear(batch: float, rows: float, width: float, depth: float, flops_per_s: float, r: Recipe, d: Device) -> Linear:
    """Return the times of Y[rows, width] = X[rows, depth] W[depth, width] and of its two gradients."""
    e = r.element_bytes
    return Linear(gemm_time_s(batch, rows, width, depth, flops_per_s, e, e, d),
                  gemm_time_s(batch, rows, depth, width, flops_per_s, e, e, d),
                  gemm_time_s(batch, depth, width, rows, flops_per_s, _GRADIENT_WRITE, e, d),
                  batch * depth * (rows + width), batch * rows * width)


@kernel
def _sum(x: Linear, y: Linear) -> Linear:
    return Linear(x.forward_s + y.forward_s, x.input_s + y.input_s, x.weight_s + y.weight_s,
                  x.scaled_forward + y.scaled_forward, x.scaled_backward + y.scaled_backward)


@kernel
def _query_key_value(a: Architecture, d: Device, r: Recipe, lay: Layout, tokens: float) -> Linear:
    """Return the products before attention; with latent attention the compression and both expansions."""
    rate = d.gemm_flops_per_s
    heads = a.heads / lay.tensor
    if a.mla <= 0.0:
        width = (heads + 2.0 * max(a.key_value_heads / lay.tensor, 1.0)) * a.head_dim
        return _linear(1.0, tokens, width, a.hidden, rate, r, d)
    query = heads * (a.mla_nope_dim + a.mla_rope_dim)
    first = a.mla_query_rank if a.mla_query_rank > 0.0 else query
    found = _linear(1.0, tokens, first + a.mla_key_value_rank + a.mla_rope_dim, a.hidden, rate, r, d)
    return _sum(found, latent_expansion(a, d, r, lay, tokens))


@kernel
def latent_expansion(a: Architecture, d: Device, r: Recipe, lay: Layout, tokens: float) -> Linear:
    """Return the up-projections from MLA's latents (DeepSeek-V2, arXiv:2405.04434, section 2.1)."""
    heads = a.heads / lay.tensor
    found = _linear(1.0, tokens, heads * (a.mla_nope_dim + a.mla_value_dim), a.mla_key_value_rank, d.gemm_flops_per_s, r, d)
    if a.mla_query_rank > 0.0:
        found = _sum(found, _linear(1.0, tokens, heads * (a.mla_nope_dim + a.mla_rope_dim), a.mla_query_rank,
                                    d.gemm_flops_per_s, r, d))
    return found


@kernel
def _experts(a: Architecture, d: Device, r: Recipe, lay: Layout, tokens: float, up: bool) -> Linear:
    """Return one half of the routed and shared experts: `up` with gate and router, or down."""
    # Each rank of the expert group holds experts / expert of them, as one grouped product, and gets its share of all tokens.
    local = a.experts / lay.expert
    rows = tokens / lay.tensor * a.experts_per_token * lay.expert / a.experts * r.expert_load
    gates = a.ffn_matrices - 1.0
    if up:
        found = _sum(_linear(local, rows, gates * a.expert_hidden, a.hidden, d.gemm_flops_per_s, r, d),
                     _linear(1.0, tokens / lay.tensor, a.experts, a.hidden, d.gemm_flops_per_s_16, r, d))
    else:
        found = _linear(local, rows, a.hidden, a.expert_hidden, d.gemm_flops_per_s, r, d)
    if a.shared_hidden > 0.0:
        width = a.shared_hidden / lay.tensor
        found = _sum(found, _linear(1.0, tokens, gates * width, a.hidden, d.gemm_flops_per_s, r, d) if up
                     else _linear(1.0, tokens, a.hidden, width, d.gemm_flops_per_s, r, d))
    return found


@kernel
def _attention_core(a: Architecture, d: Device, r: Recipe, lay: Layout) -> tuple[float, float, float, float]:
    """Return seconds of scores, softmax and values of one layer: arithmetic forward, backward, memory forward, backward."""
    dim = score_dim(a)
    heads, queries = a.heads / lay.tensor, r.sequence / lay.context
    if lay.context_method >= 2.0:  # Ulysses: whole sequences of fewer heads
        heads, queries = heads / lay.context, r.sequence
    if r.flash > 0.0:
        pieces = lay.context if lay.context_method == 1.0 else 1.0
        time_s = attention_time_s(lay.microbatch, queries, seen_keys(a, r.sequence), pieces, heads, dim, d)
        return time_s, ATTENTION_BACKWARD * time_s, 0.0, 0.0
    keys = attended_keys(a, r.sequence)
    batch, e, rate = lay.microbatch * heads, r.element_bytes, d.gemm_flops_per_s_16
    both = gemm_time_s(batch, queries, keys, dim, rate, e, e, d) + gemm_time_s(batch, queries, dim, keys, rate, e, e, d)
    scores = e * batch * queries * keys
    return both, 2.0 * both, stream_time_s(_SCORE_PASSES * scores, 2.0, d), stream_time_s(_SCORE_PASSES_BACK * scores, 2.0, d)


@kernel
def _pointwise(a: Architecture, r: Recipe, lay: Layout, tokens: float, width: float, routed: float
               ) -> tuple[float, float, float]:
    """Return bytes moved forward and backward, and kernels a direction, of norms, residuals, rotary embedding, activation.

    Compiled: a norm is fused with the residual before it (two reads, two writes; backward three reads, one write). Kernels
    fused by hand: a norm is a kernel (read, write; backward four reads, one write) and a residual another. Eager PyTorch:
    autocast runs a layer norm in fp32, with casts around it (16 bytes an element more, 22 backward); an RMS norm is a chain of
    casts, squares, means and products (32 and 64), a rotary embedding in fp32 another (26 and 26).
    """
    e = r.element_bytes
    rows = tokens / lay.tensor if lay.sequence_parallel > 0.0 else tokens
    gated = 1.0 if a.ffn_matrices >= 3.0 else 0.0
    rotary = tokens / lay.tensor * (a.heads + a.key_value_heads) * a.head_dim * (1.0 if a.learned_positions <= 0.0 else 0.0)
    inner = tokens / lay.tensor * width
    spread = 4.0 * e * tokens / lay.tensor * routed * a.hidden  # permutation of tokens to experts and back
    norms = a.norms_per_layer * rows * a.hidden
    if r.fusion >= 2.0:
        forward = norms * 4.0 * e + rotary * 2.0 * e + inner * (2.0 + gated) * e + spread
        backward = norms * 4.0 * e + rotary * 2.0 * e + inner * (3.0 + 2.0 * gated) * e + spread
        return forward, backward, 2.0 + a.norms_per_layer
    chain, chain_back, turn = 0.0, 0.0, 0.0
    apart = 0.0 if r.fusion >= 1.0 else gated  # gate and product in two kernels
    if r.fusion <= 0.0:
        turn = 26.0
        chain, chain_back = (32.0, 64.0) if a.norm_vectors <= 1.0 else (16.0, 22.0)
    forward = norms * (5.0 * e + chain) + rotary * (2.0 * e + turn) + inner * (2.0 + gated + 2.0 * apart) * e + spread
    backward = norms * (8.0 * e + chain_back) + rotary * (2.0 * e + turn) + inner * (3.0 + 2.0 * gated + 4.0 * apart) * e + spread
    return forward, backward, 3.0 + a.norms_per_layer * (2.0 + chain / 4.0)


@kernel
def _context(a: Architecture, net: Network, r: Recipe, lay: Layout, tokens: float, core_s: float, core_back_s: float
             ) -> tuple[float, float, float]:
    """Return exposed seconds of context parallelism, forward and backward, and bytes an accelerator sends in both."""
    if lay.context <= 1.0:
        return 0.0, 0.0, 0.0
    keys = 2.0 * max(a.key_value_heads, lay.tensor) * a.head_dim / lay.tensor
    if a.mla > 0.0:
        keys = a.heads / lay.tensor * (a.mla_nope_dim + a.mla_rope_dim + a.mla_value_dim)
    sent = tokens * keys * r.element_bytes  # keys and values of one rank
    if lay.context_method >= 2.0:
        queries = a.heads / lay.tensor * 2.0 * score_dim(a)  # queries, and the result
        moved = sent + tokens * queries * r.element_bytes
        forward = all_to_all_time_s(moved, moved, lay.context, lay.tensor, net)
        backward, total = forward, 2.0 * moved * (lay.context - 1.0) / lay.context
    else:  # keys and values go round once forward; backward again, and their gradients too
        forward = gather_time_s(sent * lay.context, lay.context, lay.tensor, net)
        backward, total = 2.0 * forward, 3.0 * sent * (lay.context - 1.0)
    hidden = min(lay.overlap_context * forward, core_s)
    hidden_back = min(lay.overlap_context * backward, core_back_s)
    return forward - hidden, backward - hidden_back, total


@kernel
def layer_passes(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout, moe: float
                 ) -> tuple[Passes, float, float, float]:
    """Return one layer for one microbatch, and the bytes an accelerator sends for tensor, context and expert groups.

    Parameters
    ----------
    a, d, net, r, lay
        Model, accelerator, network, recipe and layout.
    moe : float
        1 for a mixture-of-experts layer.
    """
    tokens = lay.microbatch * r.sequence / lay.context
    first = _query_key_value(a, d, r, lay, tokens)
    context_dim = a.heads * (a.mla_value_dim if a.mla > 0.0 else a.head_dim) / lay.tensor
    output = _linear(1.0, tokens, a.hidden, context_dim, d.gemm_flops_per_s, r, d)
    routed = 0.0
    if moe > 0.0:
        width, routed = a.shared_hidden + a.experts_per_token * a.expert_hidden * r.expert_load, a.experts_per_token
        up, down = _experts(a, d, r, lay, tokens, True), _experts(a, d, r, lay, tokens, False)
    else:
        width = a.ffn_hidden
        up = _linear(1.0, tokens, (a.ffn_matrices - 1.0) * width / lay.tensor, a.hidden, d.gemm_flops_per_s, r, d)
        down = _linear(1.0, tokens, a.hidden, width / lay.tensor, d.gemm_flops_per_s, r, d)
    core, core_back, softmax, softmax_back = _attention_core(a, d, r, lay)
    moved, moved_back, launches = _pointwise(a, r, lay, tokens, width, routed)
    products = _sum(_sum(first, output), _sum(up, down))
    again = first.forward_s * r.again_query_key_value
    if a.mla > 0.0 and r.input_only <= 0.0:  # what is rebuilt of latent attention are the expansions
        again = latent_expansion(a, d, r, lay, tokens).forward_s * r.again_query_key_value
    again += output.forward_s * r.again_output + up.forward_s * r.again_ffn_up + down.forward_s * r.again_ffn_down

    pointwise_s = stream_time_s(moved, launches, d)
    memory = pointwise_s + softmax + products.scaled_forward * r.scaling_bytes / d.memory_bytes_per_s
    memory_back = (stream_time_s(moved_back, 2.0 * launches, d) + softmax_back + r.again_pointwise * pointwise_s
                   + r.again_attention * softmax
                   + products.scaled_backward * r.scaling_bytes / d.memory_bytes_per_s)
    gemm_back = products.input_s + products.weight_s + again
    core_back += r.again_attention * core

    kernels = launches + 5.0 + (2.0 if r.scaling_bytes > 0.0 else 0.0) * 4.0
    launch = max(0.0, kernels * d.host_latency_s - products.forward_s - core - memory)
    launch_back = max(0.0, (2.5 + r.again_pointwise) * kernels * d.host_latency_s - gemm_back - core_back - memory_back)

    tensor, tensor_back, hidden, hidden_back, tensor_bytes = _tensor(a, d, net, r, lay, tokens, products.forward_s, gemm_back)
    context, context_back, context_bytes = _context(a, net, r, lay, tokens, core, core_back)
    # Experts hide behind the products that tensor parallelism leaves, not behind attention where a ring hides there.
    beside = core if lay.overlap_context <= 0.0 else 0.0
    beside_back = core_back if lay.overlap_context <= 0.0 else 0.0
    expert, expert_back, expert_bytes = _expert(a, net, r, lay, tokens, moe, products.forward_s - hidden + beside,
                                                gemm_back - hidden_back + beside_back)
    passes = Passes(Pass(products.forward_s, core, memory, launch, tensor, context, expert),
                    Pass(gemm_back, core_back, memory_back, launch_back, tensor_back, context_back, expert_back),
                    products.weight_s)
    return passes, tensor_bytes, context_bytes, expert_bytes


@kernel
def _tensor(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout, tokens: float, gemm_s: float,
            gemm_back_s: float) -> tuple[float, float, float, float, float]:
    """Return exposed and hidden seconds of tensor parallelism in one layer, forward and backward, and bytes sent in both.

    Two all-reduces a direction (Megatron-LM, arXiv:1909.08053); with sequence parallelism the same bytes as gathers and
    scatters, and its inputs gathered once more beside the backward products (Korthikanti et al., arXiv:2205.05198, section
    4.2.2). What is computed again is reduced again. All but the first piece of a decomposed product may be hidden
    (asynchronous tensor parallelism, arXiv:2410.06511, section 2.2).
    """
    if lay.tensor <= 1.0:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    buffer = tokens * a.hidden * r.element_bytes
    again = 0.5 * (r.again_query_key_value + r.again_output + r.again_ffn_up + r.again_ffn_down) if r.input_only > 0.0 else 0.0
    gathers = 0.0
    if lay.sequence_parallel > 0.0:
        one = 2.0 * gather_time_s(buffer, lay.tensor, 1.0, net)
        gathers = d.overlap_cost * one
    else:
        one = all_reduce_time_s(buffer, lay.tensor, 1.0, net)
    forward, backward = 2.0 * one, (2.0 + again) * one
    may = lay.overlap_tensor * (1.0 - 1.0 / lay.tensor)
    hidden, hidden_back = min(may * forward, gemm_s), min(may * backward, gemm_back_s)
    cost = 1.0 - d.overlap_cost
    sent = (4.0 + again) * 2.0 * (lay.tensor - 1.0) / lay.tensor * buffer
    return forward - cost * hidden, backward - cost * hidden_back + gathers, hidden, hidden_back, sent


@kernel
def _expert(a: Architecture, net: Network, r: Recipe, lay: Layout, tokens: float, moe: float, busy_s: float, busy_back_s: float
            ) -> tuple[float, float, float]:
    """Return exposed seconds of the experts' all-to-alls in one layer, forward and backward, and bytes sent in both."""
    if moe <= 0.0 or lay.expert <= 1.0:
        return 0.0, 0.0, 0.0
    sent = tokens / lay.tensor * a.experts_per_token * a.hidden * r.element_bytes * r.expert_load
    once = sent
    if lay.expert_nodes > 0.0:
        once = sent * min(1.0, lay.expert_nodes / a.experts_per_token)
    forward = 2.0 * all_to_all_time_s(sent, once, lay.expert, 1.0, net)
    backward = forward * (1.0 + r.again_ffn_up) if r.input_only > 0.0 else forward
    hidden, hidden_back = min(lay.overlap_expert * forward, busy_s), min(lay.overlap_expert * backward, busy_back_s)
    cost = 1.0 - EXPERT_OVERLAP_COST
    total = sent * (lay.expert - 1.0) / lay.expert * (2.0 + 2.0 * backward / forward)
    return forward - cost * hidden, backward - cost * hidden_back, total


@kernel
def head_passes(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout) -> Passes:
    """Return embedding, output matrix and loss for one microbatch; the vocabulary is padded to the recipe's multiple."""
    tokens = lay.microbatch * r.sequence / lay.context
    multiple = r.vocabulary_multiple * lay.tensor
    vocabulary = -(-a.vocabulary // multiple) * multiple / lay.tensor
    product = _linear(1.0, tokens, vocabulary, a.hidden, d.gemm_flops_per_s_16, r, d)
    rows = 2.0 * r.element_bytes * tokens * a.hidden  # of the embedding, read and written
    loss = r.loss_bytes * tokens * vocabulary
    reduce = all_reduce_time_s(tokens * a.hidden * r.element_bytes, lay.tensor, 1.0, net)
    forward = Pass(product.forward_s, 0.0, stream_time_s(0.5 * loss + rows, 3.0, d), 0.0, reduce, 0.0, 0.0)
    backward = Pass(product.input_s + product.weight_s, 0.0, stream_time_s(0.5 * loss + rows, 3.0, d), 0.0, reduce, 0.0, 0.0)
    return Passes(forward, backward, product.weight_s)

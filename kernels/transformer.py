"""Parameters, FLOPs and activations of a decoder-only transformer.

Covers multi-head, grouped-query and multi-head latent attention, plain and gated feed-forward, mixture of experts with
shared experts, sliding windows. Sources: Narayanan et al. 2021 (arXiv:2104.04473) appendix; DeepSeek-V2
(arXiv:2405.04434) section 2.1; Chowdhery et al. 2022 (PaLM, arXiv:2204.02311) appendix B for model FLOPs.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel


class Architecture(NamedTuple):
    """A decoder-only transformer; every field a float, counts included."""

    layers: float
    hidden: float
    heads: float
    key_value_heads: float
    head_dim: float
    ffn_hidden: float
    ffn_matrices: float  # 3 where gated, else 2
    vocabulary: float
    tied_embeddings: float  # 1 or 0
    learned_positions: float
    qkv_bias: float
    output_bias: float
    ffn_bias: float
    norm_vectors: float  # 2 for layer norm (scale and shift), 1 for RMS norm
    norms_per_layer: float
    moe_layers: float
    experts: float
    experts_per_token: float
    expert_hidden: float
    shared_hidden: float
    mla: float  # 1 with latent attention
    mla_query_rank: float
    mla_key_value_rank: float
    mla_rope_dim: float
    mla_nope_dim: float
    mla_value_dim: float
    window: float  # tokens seen by a sliding-window layer
    window_share: float  # share of layers with the window


class Parameters(NamedTuple):
    """Parameter counts; per layer where named so."""

    total: float
    active: float  # used for one token, embeddings included
    matrix: float  # weights that multiply every token once: active without look-ups, biases and norms, with the head
    attention: float  # one layer
    dense_ffn: float  # one dense layer
    expert: float  # one routed expert
    shared: float  # shared experts of one layer
    router: float  # one layer
    embedding: float  # token table


@kernel
def attention_parameters(a: Architecture) -> float:
    """Return the weights and biases of one layer's attention."""
    if a.mla > 0.0:
        query_dim = a.heads * (a.mla_nope_dim + a.mla_rope_dim)
        if a.mla_query_rank > 0.0:
            query = a.hidden * a.mla_query_rank + a.mla_query_rank * query_dim + a.mla_query_rank
        else:
            query = a.hidden * query_dim
        compress = a.hidden * (a.mla_key_value_rank + a.mla_rope_dim) + a.mla_key_value_rank
        expand = a.mla_key_value_rank * a.heads * (a.mla_nope_dim + a.mla_value_dim)
        return query + compress + expand + a.heads * a.mla_value_dim * a.hidden
    qkv = (a.heads + 2.0 * a.key_value_heads) * a.head_dim
    output = a.heads * a.head_dim * a.hidden
    return a.hidden * qkv + output + a.qkv_bias * qkv + a.output_bias * a.hidden


@kernel
def ffn_parameters(a: Architecture, width: float) -> float:
    """Return the weights and biases of a feed-forward block of the given width."""
    return a.ffn_matrices * a.hidden * width + a.ffn_bias * ((a.ffn_matrices - 1.0) * width + a.hidden)


@kernel
def count_parameters(a: Architecture) -> Parameters:
    """Return the parameter counts of the whole model."""
    attention = attention_parameters(a)
    dense = ffn_parameters(a, a.ffn_hidden)
    expert = ffn_parameters(a, a.expert_hidden)
    shared = 0.0
    if a.shared_hidden > 0.0:
        shared = ffn_parameters(a, a.shared_hidden)
    router = a.hidden * a.experts
    norm = a.norm_vectors * a.hidden
    embedding = a.vocabulary * a.hidden
    head = (1.0 - a.tied_embeddings) * embedding
    common = (
        a.layers * (attention + a.norms_per_layer * norm)
        + (a.layers - a.moe_layers) * dense
        + a.moe_layers * (router + shared)
        + embedding
        + head
        + a.learned_positions * a.hidden
        + norm
    )
    total = common + a.moe_layers * a.experts * expert
    active = common + a.moe_layers * a.experts_per_token * expert
    routed_width = a.experts_per_token * a.expert_hidden + a.shared_hidden
    matrix = (
        a.layers * _attention_matrices(a)
        + a.ffn_matrices * a.hidden * ((a.layers - a.moe_layers) * a.ffn_hidden + a.moe_layers * routed_width)
        + a.moe_layers * router
        + embedding  # once, as the head: tied or not
    )
    return Parameters(total, active, matrix, attention, dense, expert, shared, router, embedding)


@kernel
def _attention_matrices(a: Architecture) -> float:
    if a.mla > 0.0:  # without the norms of both latents
        return attention_parameters(a) - a.mla_query_rank - a.mla_key_value_rank
    return a.hidden * (2.0 * a.heads + 2.0 * a.key_value_heads) * a.head_dim


@kernel
def score_dim(a: Architecture) -> float:
    """Return the mean of the per-head widths of the two attention products (query-key, probability-value)."""
    if a.mla > 0.0:
        return 0.5 * (a.mla_nope_dim + a.mla_rope_dim + a.mla_value_dim)
    return a.head_dim


@kernel
def attended_keys(a: Architecture, sequence: float) -> float:
    """Return the mean over layers of the keys in reach of a query, without the causal mask."""
    window = min(a.window, sequence) if a.window > 0.0 else sequence
    return a.window_share * window + (1.0 - a.window_share) * sequence


@kernel
def seen_keys(a: Architecture, sequence: float) -> float:
    """Return the mean over layers and queries of the keys that the causal mask leaves: half of a full window."""
    window = min(a.window, sequence) if a.window > 0.0 else sequence
    return a.window_share * (window - 0.5 * window * window / sequence) + (1.0 - a.window_share) * 0.5 * sequence


@kernel
def model_flops_per_token(a: Architecture, sequence: float) -> float:
    """Return model FLOPs of training one token, forward and backward, without recomputation.

    6 x matrix weights + 12 x layers x heads x head_dim x sequence (PaLM, arXiv:2204.02311, appendix B: the causal mask
    is not credited).
    """
    scores = 12.0 * a.layers * a.heads * score_dim(a) * attended_keys(a, sequence)
    return 6.0 * count_parameters(a).matrix + scores

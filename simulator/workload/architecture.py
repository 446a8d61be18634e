"""A catalog model as the kernels take it."""

from __future__ import annotations

from functools import lru_cache

from kernels.transformer import Architecture, Parameters, count_parameters
from simulator.catalog.records import LatentAttention, MixtureOfExperts, ModelRecord

_NO_EXPERTS = MixtureOfExperts.model_construct(layers=0, experts=0, experts_per_token=0, expert_hidden=0, shared_hidden=0)
_NO_MLA = LatentAttention.model_construct(query_rank=0, key_value_rank=0, rope_dim=0, nope_dim=0, value_dim=0)


def architecture(model: ModelRecord) -> Architecture:
    """Return the kernel's parameter pack of a model."""
    moe = model.mixture_of_experts or _NO_EXPERTS
    mla = model.latent_attention or _NO_MLA
    return Architecture(
        layers=float(model.layers),
        hidden=float(model.hidden),
        heads=float(model.heads),
        key_value_heads=float(model.key_value_heads or model.heads),
        head_dim=float(model.head_dim or model.hidden // model.heads),
        ffn_hidden=float(model.ffn_hidden),
        ffn_matrices=3.0 if model.gated else 2.0,
        vocabulary=float(model.vocabulary),
        tied_embeddings=float(model.tied_embeddings),
        learned_positions=float(model.learned_positions),
        qkv_bias=float(model.attention_bias != "none"),
        output_bias=float(model.attention_bias == "all"),
        ffn_bias=float(model.ffn_bias),
        norm_vectors=2.0 if model.norm == "layernorm" else 1.0,
        norms_per_layer=float(model.norms_per_layer),
        moe_layers=float(moe.layers),
        experts=float(moe.experts),
        experts_per_token=float(moe.experts_per_token),
        expert_hidden=float(moe.expert_hidden),
        shared_hidden=float(moe.shared_hidden),
        mla=float(model.latent_attention is not None),
        mla_query_rank=float(mla.query_rank),
        mla_key_value_rank=float(mla.key_value_rank),
        mla_rope_dim=float(mla.rope_dim),
        mla_nope_dim=float(mla.nope_dim),
        mla_value_dim=float(mla.value_dim),
        window=float(model.sliding_window),
        window_share=float(model.sliding_window_share),
    )


@lru_cache(maxsize=64)
def _parameters(arch: Architecture) -> Parameters:
    return Parameters(*count_parameters(arch))


def parameters(model: ModelRecord) -> Parameters:
    """Return the parameter counts of a model."""
    return _parameters(architecture(model))

"""Published models as kernel inputs, and devices and networks that the tests share."""

from __future__ import annotations

from typing import Any

from kernels.collectives import Network
from kernels.step import Device, Layout, Recipe
from kernels.transformer import Architecture

EMPTY = dict.fromkeys(Architecture._fields, 0.0)


def model(**fields: float) -> Architecture:
    """Return an architecture; what is not given is 0, except two norms a layer and RMS norm."""
    values = EMPTY | {"norms_per_layer": 2.0, "norm_vectors": 1.0}
    return Architecture(**{**values, **{name: float(value) for name, value in fields.items()}})


GPT3_175B = model(
    layers=96, hidden=12288, heads=96, key_value_heads=96, head_dim=128, ffn_hidden=4 * 12288, ffn_matrices=2,
    vocabulary=50257, tied_embeddings=1, learned_positions=2048, qkv_bias=1, output_bias=1, ffn_bias=1, norm_vectors=2,
)  # fmt: skip
LLAMA_405B = model(
    layers=126, hidden=16384, heads=128, key_value_heads=8, head_dim=128, ffn_hidden=53248, ffn_matrices=3,
    vocabulary=128256,
)  # fmt: skip
MIXTRAL_8X7B = model(
    layers=32, hidden=4096, heads=32, key_value_heads=8, head_dim=128, ffn_hidden=14336, ffn_matrices=3,
    vocabulary=32000, moe_layers=32, experts=8, experts_per_token=2, expert_hidden=14336,
)  # fmt: skip
DEEPSEEK_V3 = model(
    layers=61, hidden=7168, heads=128, key_value_heads=128, head_dim=128, ffn_hidden=18432, ffn_matrices=3,
    vocabulary=129280, moe_layers=58, experts=256, experts_per_token=8, expert_hidden=2048, shared_hidden=2048, mla=1,
    mla_query_rank=1536, mla_key_value_rank=512, mla_rope_dim=64, mla_nope_dim=128, mla_value_dim=128,
)  # fmt: skip
# A mixture of experts with every bias there is, which no published model has all of.
BIASED_MOE = model(
    layers=6, hidden=96, heads=6, key_value_heads=2, head_dim=16, ffn_hidden=200, ffn_matrices=3, vocabulary=1000,
    learned_positions=128, qkv_bias=1, output_bias=1, ffn_bias=1, norm_vectors=2, moe_layers=4, experts=5,
    experts_per_token=2, expert_hidden=40, shared_hidden=24,
)  # fmt: skip
LATENT_WITHOUT_QUERY_RANK = DEEPSEEK_V3._replace(mla_query_rank=0.0, tied_embeddings=1.0, layers=27.0, moe_layers=26.0)
SMALL_GPT = model(
    layers=4, hidden=256, heads=8, key_value_heads=8, head_dim=32, ffn_hidden=1024, ffn_matrices=2, vocabulary=1000,
    tied_embeddings=1,
)  # fmt: skip
MODELS = {
    "gpt3": GPT3_175B, "llama": LLAMA_405B, "mixtral": MIXTRAL_8X7B, "deepseek": DEEPSEEK_V3, "biased": BIASED_MOE,
    "latent": LATENT_WITHOUT_QUERY_RANK, "small": SMALL_GPT,
}  # fmt: skip

DEVICE = Device(
    gemm_flops_per_s=700e12, gemm_flops_per_s_16=600e12, attention_flops_per_s=400e12, gemm_half_depth=300.0,
    memory_bytes_per_s=2.8e12, launch_latency_s=4e-6,
)  # fmt: skip
NETWORK = Network(
    domain=8.0, scale_up_bytes_per_s=360e9, scale_up_latency_s=3e-6, nic_bytes_per_s=45e9, nic_latency_s=8e-6,
    pod=256.0, oversubscription=7.0,
)  # fmt: skip


def recipe(**fields: float) -> Recipe:
    values: dict[str, Any] = {"sequences": 512.0, "sequence": 4096.0, "element_bytes": 2.0, "recompute": 0.0, "flash": 1.0}
    return Recipe(**(values | fields))


def layout(**fields: float) -> Layout:
    values: dict[str, Any] = dict.fromkeys(Layout._fields, 1.0)
    values |= {"zero": 0.0, "sequence_parallel": 0.0, "overlap_data": 0.0, "overlap_expert": 0.0}
    return Layout(**(values | fields))

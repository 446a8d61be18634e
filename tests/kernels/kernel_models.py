"""Published models as kernel inputs; device, network, recipes and layouts that the tests share."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from kernels.packs import Device, Layout, Network, Recipe, Step
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
    gemm_flops_per_s=700e12, gemm_flops_per_s_16=600e12, attention_flops_per_s=400e12, memory_bytes_per_s=2.8e12,
    launch_latency_s=2e-6, host_latency_s=6e-6, fill_depth=300.0, softmax_depth=30.0, processors=132.0, overlap_cost=0.2,
    host_link_bytes_per_s=50e9,
)  # fmt: skip
NETWORK = Network(
    domain=8.0, scale_up_bytes_per_s=360e9, scale_up_latency_s=3e-6, torus=0.0, scale_up_reduces=0.0, nic_bytes_per_s=45e9,
    nic_latency_s=8e-6, nic_reduces=0.0, rails=0.0, leaf=64.0, leaf_oversubscription=1.0, pod=256.0, oversubscription=7.0,
)  # fmt: skip
RATES = ("gemm_flops_per_s", "gemm_flops_per_s_16", "attention_flops_per_s", "memory_bytes_per_s", "host_link_bytes_per_s")
DEVICE_LATENCIES = ("launch_latency_s", "host_latency_s")
BANDWIDTHS = ("scale_up_bytes_per_s", "nic_bytes_per_s")
LATENCIES = ("scale_up_latency_s", "nic_latency_s")
AGAIN = tuple(name for name in Recipe._fields if name.startswith("again_"))
OVERLAPS = tuple(name for name in Layout._fields if name.startswith("overlap_"))
NONE = dict.fromkeys((*AGAIN, "input_only"), 0.0)
SELECTIVE = NONE | {"again_pointwise": 1.0}
FULL = dict.fromkeys(NONE, 1.0)
PLAIN = {
    "sequences": 512.0, "sequence": 4096.0, "element_bytes": 2.0, "kept_bytes": 2.0, "flash": 1.0, "fusion": 1.0,
    "loss_bytes": 8.0, "scaling_bytes": 0.0, "gradient_bytes": 4.0, "gather_bytes": 2.0, "optimizer_traffic_bytes": 30.0,
    "optimizer_state_bytes": 8.0, "optimizer_flops": 0.0, "activation_offload": 0.0, "optimizer_offload": 0.0,
    "vocabulary_multiple": 1.0, "expert_load": 1.0,
}  # fmt: skip
# Seconds of a step that add up to its time: all fields between the time and the FLOPs.
PHASES = Step._fields[1 : Step._fields.index("model_flops")]
SIZES = ("tensor", "pipeline", "chunks", "context", "expert", "data", "microbatch")


def recipe(**fields: float) -> Recipe:
    """Return a bf16 recipe with fused attention, kernels fused by hand, Adam, and nothing computed again."""
    values: dict[str, Any] = NONE | PLAIN
    return Recipe(**(values | fields))


def layout(**fields: float) -> Layout:
    """Return a layout; what is not given is 1 for a size, and off otherwise."""
    values: dict[str, Any] = {name: float(name in SIZES) for name in Layout._fields}
    return Layout(**(values | fields))


def faster(d: Device, gain: float, *rates: str) -> Device:
    """Return a device whose rates (all of them where none is named) are `gain` times as high, its latencies unchanged."""
    return d._replace(**{name: getattr(d, name) * gain for name in rates or RATES})


flags = st.sampled_from([0.0, 1.0])
powers = st.integers(0, 3).map(lambda e: float(2**e))
names = st.sampled_from(sorted(MODELS))
gains = st.floats(1.0, 10.0)
shares = st.sampled_from([0.0, 0.5, 1.0])
partial = st.builds(lambda *again: NONE | dict(zip(AGAIN, again, strict=True)), *[flags] * len(AGAIN))
recipes = st.builds(
    lambda again, **fields: recipe(**(again | fields)),
    st.one_of(st.sampled_from([NONE, SELECTIVE, FULL]), partial),
    sequences=st.sampled_from([64.0, 512.0, 2048.0]), sequence=st.sampled_from([1024.0, 8192.0]),
    kept_bytes=st.sampled_from([1.0, 2.0]), flash=flags, fusion=st.sampled_from([0.0, 1.0, 2.0]),
    loss_bytes=st.sampled_from([8.0, 28.0]), scaling_bytes=st.sampled_from([0.0, 6.0]),
    gradient_bytes=st.sampled_from([2.0, 4.0]), gather_bytes=st.sampled_from([1.0, 2.0]),
    optimizer_traffic_bytes=st.sampled_from([18.0, 30.0]), optimizer_state_bytes=st.sampled_from([0.0, 8.0]),
    optimizer_flops=st.sampled_from([0.0, 1e5]), activation_offload=shares, optimizer_offload=flags,
    vocabulary_multiple=st.sampled_from([1.0, 128.0]), expert_load=st.sampled_from([1.0, 1.4]),
)  # fmt: skip


def _possible(lay: Layout) -> Layout:
    """Return the nearest layout that a scenario may ask for."""
    if lay.pipeline <= 1.0:
        return lay._replace(chunks=1.0, zero_bubble=0.0, first_layers=0.0, last_layers=0.0)
    return lay._replace(chunks=1.0) if lay.zero_bubble > 0.0 else lay


layouts = st.builds(
    Layout, tensor=powers, pipeline=powers, chunks=st.sampled_from([1.0, 2.0]), context=powers, expert=powers,
    data=st.sampled_from([8.0, 64.0]), microbatch=st.sampled_from([1.0, 2.0]), zero=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
    shard=st.sampled_from([0.0, 4.0]), first_layers=st.sampled_from([0.0, 1.0]), last_layers=st.sampled_from([0.0, 1.0]),
    zero_bubble=flags, context_method=st.sampled_from([0.0, 1.0, 2.0]), sequence_parallel=flags, overlap_tensor=shares,
    overlap_context=shares, overlap_expert=shares, overlap_data=shares, overlap_pipeline=shares,
    expert_nodes=st.sampled_from([0.0, 1.0, 4.0]),
).map(_possible)  # fmt: skip

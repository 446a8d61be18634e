from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.transformer import (
    Architecture,
    attended_keys,
    count_parameters,
    model_flops_per_token,
    score_dim,
    seen_keys,
)
from tests.kernels.kernel_models import BIASED_MOE, DEEPSEEK_V3, GPT3_175B, LLAMA_405B, MIXTRAL_8X7B, MODELS, model

Tensors = list[tuple[str, tuple[int, ...]]]


def feed_forward(a: Architecture, kind: str, width: int) -> Tensors:
    h = int(a.hidden)
    tensors: Tensors = []
    names = ["gate", "up"] if a.ffn_matrices == 3 else ["up"]
    for name in names:
        tensors.append((f"{kind}.matrix.{name}", (h, width)))
        if a.ffn_bias:
            tensors.append((f"{kind}.bias.{name}", (width,)))
    tensors.append((f"{kind}.matrix.down", (width, h)))
    if a.ffn_bias:
        tensors.append((f"{kind}.bias.down", (h,)))
    return tensors


def attention(a: Architecture) -> Tensors:
    h, n = int(a.hidden), int(a.heads)
    if a.mla:
        qr, kr = int(a.mla_query_rank), int(a.mla_key_value_rank)
        nope, rope, value = int(a.mla_nope_dim), int(a.mla_rope_dim), int(a.mla_value_dim)
        tensors: Tensors = []
        if qr:
            tensors += [("attn.matrix.q_a", (h, qr)), ("attn.norm.q_a", (qr,))]
        tensors += [
            ("attn.matrix.q_b", (qr or h, n * (nope + rope))),
            ("attn.matrix.kv_a", (h, kr + rope)),
            ("attn.norm.kv_a", (kr,)),
            ("attn.matrix.kv_b", (kr, n * (nope + value))),
            ("attn.matrix.o", (n * value, h)),
        ]
        return tensors
    d, kv = int(a.head_dim), int(a.key_value_heads)
    tensors = []
    for name, heads in (("q", n), ("k", kv), ("v", kv)):
        tensors.append((f"attn.matrix.{name}", (h, heads * d)))
        if a.qkv_bias:
            tensors.append((f"attn.bias.{name}", (heads * d,)))
    tensors.append(("attn.matrix.o", (n * d, h)))
    if a.output_bias:
        tensors.append(("attn.bias.o", (h,)))
    return tensors


def enumerate_tensors(a: Architecture) -> Tensors:
    """List every tensor of the model, as a framework's state dictionary would."""
    h, vocabulary = int(a.hidden), int(a.vocabulary)
    norm = [("norm", (h,))] * int(a.norm_vectors)
    tensors: Tensors = [("embedding", (vocabulary, h))]
    if not a.tied_embeddings:
        tensors.append(("head", (vocabulary, h)))
    if a.learned_positions:
        tensors.append(("positions", (int(a.learned_positions), h)))
    for layer in range(int(a.layers)):
        tensors += attention(a)
        for _ in range(int(a.norms_per_layer)):
            tensors += norm
        if layer < a.layers - a.moe_layers:
            tensors += feed_forward(a, "dense", int(a.ffn_hidden))
        else:
            tensors.append(("router.matrix", (h, int(a.experts))))
            for _ in range(int(a.experts)):
                tensors += feed_forward(a, "expert", int(a.expert_hidden))
            if a.shared_hidden:
                tensors += feed_forward(a, "shared", int(a.shared_hidden))
    return tensors + norm


def size(tensors: Tensors, *kinds: str) -> int:
    return sum(prod(shape) for name, shape in tensors if not kinds or name.startswith(kinds))


@pytest.mark.parametrize("name", MODELS)
def test_counts_match_an_enumeration_of_every_tensor(name: str) -> None:
    a = MODELS[name]
    tensors = enumerate_tensors(a)
    p = count_parameters(a)
    used = int(a.experts_per_token) / (a.experts or 1)
    expert = size(tensors, "expert")
    assert p.total == pytest.approx(size(tensors), rel=1e-14)
    assert p.active == pytest.approx(size(tensors) - expert + used * expert, rel=1e-14)
    table = "embedding" if a.tied_embeddings else "head"
    once = size(tensors, table, "attn.matrix", "dense.matrix", "shared.matrix", "router.matrix")
    assert p.matrix == pytest.approx(once + used * size(tensors, "expert.matrix"), rel=1e-14)
    assert p.attention * a.layers == pytest.approx(size(tensors, "attn"), rel=1e-14)
    assert p.dense_ffn * (a.layers - a.moe_layers) == pytest.approx(size(tensors, "dense"), rel=1e-14)
    assert p.expert * a.moe_layers * a.experts == pytest.approx(expert, rel=1e-14)
    assert p.shared * a.moe_layers == pytest.approx(size(tensors, "shared"), rel=1e-14)
    assert p.router * a.moe_layers == pytest.approx(size(tensors, "router"), rel=1e-14)
    assert p.embedding == size(tensors, "embedding")


@pytest.mark.parametrize(
    ("a", "published"),
    [(GPT3_175B, 174.6e9), (LLAMA_405B, 405.85e9), (DEEPSEEK_V3, 671.03e9), (MIXTRAL_8X7B, 46.7e9)],
    ids=["gpt3", "llama", "deepseek", "mixtral"],
)
def test_published_totals(a: Architecture, published: float) -> None:
    assert count_parameters(a).total == pytest.approx(published, rel=5e-4)


@pytest.mark.parametrize(
    ("a", "published"), [(DEEPSEEK_V3, 37e9), (MIXTRAL_8X7B, 12.9e9)], ids=["deepseek", "mixtral"]
)
def test_published_active(a: Architecture, published: float) -> None:
    assert count_parameters(a).active == pytest.approx(published, rel=2e-2)


def test_tying_saves_one_table_and_no_arithmetic() -> None:
    free, tied = (count_parameters(BIASED_MOE._replace(tied_embeddings=t)) for t in (0.0, 1.0))
    assert free.total - tied.total == free.embedding
    assert free.matrix == tied.matrix


@given(
    st.integers(1, 40), st.integers(1, 16), st.integers(1, 8), st.integers(1, 64), st.integers(1, 4), st.booleans(),
    st.booleans(), st.integers(0, 8), st.integers(1, 64),
)  # fmt: skip
def test_counts_of_any_shape(
    layers: int, heads: int, kv: int, dim: int, ratio: int, gated: bool, tied: bool, experts: int, vocabulary: int
) -> None:
    a = model(
        layers=layers, hidden=heads * dim, heads=heads, key_value_heads=min(kv, heads), head_dim=dim,
        ffn_hidden=ratio * 8, ffn_matrices=3 if gated else 2, vocabulary=vocabulary, tied_embeddings=tied,
        moe_layers=layers // 2 if experts else 0, experts=experts, experts_per_token=min(experts, 2),
        expert_hidden=4 if experts else 0, qkv_bias=tied, ffn_bias=gated, output_bias=not tied,
    )  # fmt: skip
    p = count_parameters(a)
    assert p.total == size(enumerate_tensors(a))
    assert p.matrix <= p.active + (0.0 if not tied else 1e-9)
    assert p.active <= p.total


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sequence", [1.0, 2048.0, 131072.0])
def test_model_flops(name: str, sequence: float) -> None:
    a = MODELS[name]
    # Two multiply-add matrix products a layer and head over every key, three passes.
    widths = (a.mla_nope_dim + a.mla_rope_dim, a.mla_value_dim) if a.mla else (a.head_dim, a.head_dim)
    scores = 3 * a.layers * a.heads * sum(2 * sequence * w for w in widths)
    expected = 6 * count_parameters(a).matrix + scores
    assert model_flops_per_token(a, sequence) == pytest.approx(expected, rel=1e-14)
    if not a.mla:
        assert scores == pytest.approx(12 * a.layers * a.heads * a.head_dim * sequence)


def test_llama_flops_are_those_of_its_paper() -> None:
    # arXiv:2407.21783 section 3: 3.8e25 FLOPs for 15.6T tokens, at sequences of 8,192.
    assert 15.6e12 * model_flops_per_token(LLAMA_405B, 8192.0) == pytest.approx(3.8e25, rel=0.08)


@pytest.mark.parametrize(("window", "share"), [(0.0, 0.0), (128.0, 1.0), (128.0, 0.75), (9999.0, 0.5)])
def test_windows(window: float, share: float) -> None:
    a = MODELS["small"]._replace(window=window, window_share=share)
    reach = [min(window or 1024, 1024) if layer < share * a.layers else 1024 for layer in range(int(a.layers))]
    assert attended_keys(a, 1024.0) == pytest.approx(sum(reach) / len(reach))


@pytest.mark.parametrize(("window", "share"), [(0.0, 0.0), (128.0, 1.0), (128.0, 0.75), (9999.0, 0.5), (300.0, 0.25)])
def test_the_causal_mask_leaves_what_a_count_over_queries_leaves(window: float, share: float) -> None:
    """Keys before a query, no more than the window, in each layer; a query sees half of itself in the limit of many."""
    a = MODELS["small"]._replace(window=window, window_share=share)
    counts = [sum(min(i + 0.5, window if layer < share * 4 and window else 1024) for i in range(1024)) for layer in range(4)]
    assert seen_keys(a, 1024.0) == pytest.approx(sum(counts) / 4 / 1024, rel=1e-3)


def test_score_dim_of_latent_attention_is_the_mean_of_both_products() -> None:
    assert score_dim(DEEPSEEK_V3) == (192 + 128) / 2
    assert score_dim(GPT3_175B) == 128.0

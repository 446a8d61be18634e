from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.memory import RESERVED_BYTES, Memory, memory_bytes, shard_parameters
from kernels.transformer import Architecture, count_parameters, layer_activation_bytes_per_token
from tests.kernels.kernel_models import DEEPSEEK_V3, LLAMA_405B, MIXTRAL_8X7B, MODELS, SMALL_GPT

BASE: dict[str, float] = {
    "tensor": 1, "pipeline": 1, "chunks": 1, "context": 1, "expert": 1, "data": 1, "zero": 0, "sequence_parallel": 0,
    "microbatch": 1, "microbatches": 8, "sequence": 512, "element_bytes": 2, "kept_bytes": 2, "recompute": 0, "flash": 1,
}  # fmt: skip
powers = st.integers(0, 4).map(lambda e: float(2**e))
layouts = st.fixed_dictionaries(
    {
        "tensor": powers, "pipeline": powers, "chunks": st.sampled_from([1.0, 2.0]), "context": powers, "data": powers,
        "zero": st.sampled_from([0.0, 1.0, 2.0, 3.0]), "sequence_parallel": st.sampled_from([0.0, 1.0]),
        "microbatch": st.sampled_from([1.0, 2.0]), "recompute": st.sampled_from([0.0, 1.0, 2.0]),
        "flash": st.sampled_from([0.0, 1.0]),
    }
)  # fmt: skip
names = st.sampled_from(sorted(MODELS))


def memory(a: Architecture, **fields: float) -> Memory:
    values: dict[str, Any] = {name: float(value) for name, value in (BASE | fields).items()}
    return memory_bytes(a, **values)


def stored(a: Architecture) -> float:
    """Return the parameters kept as states: all but norms and learned positions, which are left out as too few."""
    p = count_parameters(a)
    norms = (a.layers * a.norms_per_layer + 1) * a.norm_vectors * a.hidden + a.learned_positions * a.hidden
    return p.total - norms


@pytest.mark.parametrize("name", MODELS)
def test_shard_of_one_rank_is_the_whole_model(name: str) -> None:
    a = MODELS[name]
    dense, routed = shard_parameters(a, 1.0, 1.0, 1.0)
    assert dense + routed == pytest.approx(stored(a), rel=1e-12)
    assert routed == pytest.approx(a.moe_layers * a.experts * count_parameters(a).expert)
    if a.hidden > 1000.0:  # what is left out does not matter in a model of any size
        assert stored(a) == pytest.approx(count_parameters(a).total, rel=1e-3)


@pytest.mark.parametrize(("zero", "replicas"), [(z, n) for z in (0, 1, 2, 3) for n in (1, 4, 64)])
def test_states_by_zero_stage(zero: int, replicas: int) -> None:
    """ZeRO, arXiv:1910.02054, section 3.1, with fp32 gradients: 2 + 4 + 12 bytes, each term over N once sharded."""
    n = stored(SMALL_GPT)
    m = memory(SMALL_GPT, zero=zero, data=replicas)
    shares = [1 / replicas if zero >= stage else 1.0 for stage in (3, 2, 1)]
    states = [n * per * share for per, share in zip((2, 4, 12), shares, strict=True)]
    assert [m.weights, m.gradients, m.optimizer] == pytest.approx(states)
    assert m.weights + m.gradients + m.optimizer <= 18 * n * (1 + 1e-12)


def test_replicas_are_data_times_context() -> None:
    split = memory(SMALL_GPT, zero=2, data=4, context=2)
    assert split.optimizer == memory(SMALL_GPT, zero=2, data=8).optimizer
    assert split.gradients == memory(SMALL_GPT, zero=2, context=8).gradients


def test_experts_are_sharded_over_the_ranks_left_to_them() -> None:
    # 16 data ranks x tensor 2 in groups of 8 experts: one expert of a layer each, on 4 ranks.
    m = memory(MIXTRAL_8X7B, tensor=2, data=16, expert=8, zero=1)
    p = count_parameters(MIXTRAL_8X7B)
    routed = 32 * p.expert
    dense = (stored(MIXTRAL_8X7B) - 8 * routed) / 2
    assert m.weights == pytest.approx(2 * (dense + routed))
    assert m.optimizer == pytest.approx(12 * (dense / 16 + routed / 4))


def test_uneven_stages_hold_whole_layers() -> None:
    # 126 layers over 16: a middle stage has 8 layers, the first 7 and the token table.
    p = count_parameters(LLAMA_405B)
    layer = p.attention + p.dense_ffn
    dense, routed = shard_parameters(LLAMA_405B, 8.0, 16.0, 1.0)
    assert dense == pytest.approx(max(8 * layer, 7 * layer + p.embedding) / 8)
    assert routed == 0.0
    even, _ = shard_parameters(LLAMA_405B, 1.0, 14.0, 1.0)
    assert even == pytest.approx(9 * layer + p.embedding)


@given(names, layouts)
def test_total_is_the_sum_of_the_terms(name: str, fields: dict[str, float]) -> None:
    m = memory(MODELS[name], **fields)
    assert m.total == pytest.approx(sum(m[:-1]), rel=1e-12)
    assert min(m) >= 0.0
    assert m.buffers >= RESERVED_BYTES


@given(names, layouts)
def test_more_tensor_ranks_need_no_more(name: str, fields: dict[str, float]) -> None:
    less, more = memory(MODELS[name], **fields), memory(MODELS[name], **(fields | {"tensor": fields["tensor"] * 2}))
    assert all(b <= a * (1.0 + 1e-12) for a, b in zip(less, more, strict=True))


@given(names, layouts)
def test_states_shrink_with_every_zero_stage_and_rank(name: str, fields: dict[str, float]) -> None:
    a = MODELS[name]
    states = [sum(memory(a, **(fields | {"zero": z}))[:3]) for z in (0.0, 1.0, 2.0, 3.0)]
    assert states == sorted(states, reverse=True)
    wider = sum(memory(a, **(fields | {"data": fields["data"] * 2.0}))[:3])
    assert wider <= sum(memory(a, **fields)[:3]) * (1.0 + 1e-12)


@given(names, layouts)
def test_whole_total_shrinks_with_zero_where_layers_are_many(name: str, fields: dict[str, float]) -> None:
    # Stage 3 gathers two layers at a time, so it pays where a stage has more than a few.
    a = MODELS[name]
    fields = fields | {"pipeline": 1.0, "data": fields["data"] * 2.0}
    stages = (0.0, 1.0, 2.0) if a.layers < 5 else (0.0, 1.0, 2.0, 3.0)
    totals = [memory(a, **(fields | {"zero": z})).total for z in stages]
    assert totals == sorted(totals, reverse=True)


@given(names, layouts)
def test_recomputation_and_fused_attention_save_activations(name: str, fields: dict[str, float]) -> None:
    a = MODELS[name]
    kept = [memory(a, **(fields | {"recompute": r})).activations for r in (0.0, 1.0)]
    assert kept[1] <= kept[0]
    whole, shared = (memory(a, **(fields | {"sequence_parallel": s})).activations for s in (0.0, 1.0))
    assert shared <= whole * (1.0 + 1e-12)


@pytest.mark.parametrize(("recompute", "whole_rows"), [(0.0, 4), (1.0, 2)])
def test_activations_by_hand(recompute: float, whole_rows: int) -> None:
    """A pipeline of 2 with 8 microbatches holds 2; tensor ranks split all but `whole_rows` inputs of a layer."""
    a, tokens = SMALL_GPT, 2 * 512
    layer = tokens * layer_activation_bytes_per_token(a, 0.0, recompute, 1.0, 512.0, 2.0)
    m = memory(a, tensor=4, pipeline=2, microbatch=2, recompute=recompute, sequence_parallel=1)
    assert m.activations == pytest.approx(layer / 4 * 2 * 2)
    kept_whole = whole_rows * 2 * tokens * a.hidden
    m = memory(a, tensor=4, pipeline=2, microbatch=2, recompute=recompute)
    assert m.activations == pytest.approx(((layer - kept_whole) / 4 + kept_whole) * 2 * 2)


def test_korthikanti_tensor_parallel_layer() -> None:
    """Equation 2, s b h (10 + 24/t + 5 a s / (h t)), without two dropout masks: 8 in place of 10."""
    a, t = SMALL_GPT, 4
    per_token = 8 * a.hidden + 24 * a.hidden / t + 5 * a.heads * 512 / t
    assert memory(a, tensor=t, flash=0).activations == pytest.approx(512 * a.layers * per_token)


def test_full_recomputation_keeps_inputs_and_one_layer() -> None:
    a = DEEPSEEK_V3
    one = layer_activation_bytes_per_token(a, 1.0, 0.0, 1.0, 512.0, 2.0)
    m = memory(a, tensor=4, recompute=2, sequence_parallel=1)
    assert m.activations == pytest.approx(512 * (61 * 2 * a.hidden + one) / 4)


def test_kept_activations_may_be_of_another_width() -> None:
    wide, narrow = (memory(SMALL_GPT, tensor=4, kept_bytes=width) for width in (2, 1.5))
    assert narrow.activations == pytest.approx(0.75 * wide.activations)
    assert narrow._replace(activations=0.0, total=0.0) == wide._replace(activations=0.0, total=0.0)
    # Fully recomputed, only the inputs of layers are kept: the layer rebuilt is in the working type.
    wide, narrow = (memory(SMALL_GPT, recompute=2, kept_bytes=width) for width in (2, 1.5))
    assert wide.activations - narrow.activations == pytest.approx(0.5 * 512 * SMALL_GPT.hidden * SMALL_GPT.layers)


def test_buffers() -> None:
    logits = 512 * 1000 * 6
    assert memory(SMALL_GPT).buffers == RESERVED_BYTES + logits
    assert memory(SMALL_GPT, pipeline=2).buffers == RESERVED_BYTES
    gathered = memory(SMALL_GPT, pipeline=2, zero=3).buffers - RESERVED_BYTES
    assert gathered == pytest.approx(2 * memory(SMALL_GPT, pipeline=2).weights / 2)

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.memory import (
    FRAGMENTATION,
    RESERVED_BYTES,
    Memory,
    activation_bytes,
    layer_kept_bytes,
    memory_bytes,
    shard_parameters,
    sharded_over,
)
from kernels.packs import Layout, Recipe
from kernels.pipeline import largest_stage
from kernels.transformer import Architecture, count_parameters
from tests.kernels.kernel_models import (
    AGAIN,
    DEEPSEEK_V3,
    FULL,
    GPT3_175B,
    LLAMA_405B,
    MIXTRAL_8X7B,
    MODELS,
    NONE,
    SELECTIVE,
    SMALL_GPT,
    layout,
    layouts,
    names,
    recipe,
    recipes,
)

SLACK = 1.0 + 1e-12
SHORT = recipe(sequence=512.0)
STATES = ("weights", "gradients", "master_weights", "optimizer")


def memory(a: Architecture, r: Recipe = SHORT, microbatches: float = 8.0, **fields: float) -> Memory:
    return Memory(*memory_bytes(a, r, layout(**fields), microbatches))


def states(m: Memory) -> float:
    return sum(getattr(m, name) for name in STATES)


def stored(a: Architecture) -> float:
    """Return the parameters kept as states: all but the last norm, which is left out."""
    return count_parameters(a).total - a.norm_vectors * a.hidden


def kept(a: Architecture, moe: float = 0.0, r: Recipe = SHORT, **fields: float) -> float:
    """Return bytes that a layer keeps of one token on one rank."""
    return sum(layer_kept_bytes(a, moe, r, layout(**fields)))


# Weights, gradients, optimizer.


@pytest.mark.parametrize("name", MODELS)
def test_the_shard_of_one_rank_is_the_whole_model(name: str) -> None:
    a = MODELS[name]
    dense, routed = shard_parameters(a, layout(), 1.0)
    assert dense + routed == pytest.approx(stored(a), rel=1e-12)
    assert routed == pytest.approx(a.moe_layers * a.experts * count_parameters(a).expert)


def test_adam_keeps_18_bytes_a_parameter() -> None:
    """2 of weights, 4 of gradients, 4 of master weights, 8 of moments (ZeRO, arXiv:1910.02054, has gradients of 2)."""
    m = memory(SMALL_GPT)
    per = [getattr(m, name) / stored(SMALL_GPT) for name in STATES]
    assert per == pytest.approx([2, 4, 4, 8])


@pytest.mark.parametrize(("zero", "replicas"), [(z, n) for z in (0, 1, 2, 3) for n in (1, 4, 64)])
def test_each_zero_stage_divides_one_more_term(zero: int, replicas: int) -> None:
    """ZeRO-3 keeps no weights beside the master weights: what it gathers is cast from them."""
    n = stored(SMALL_GPT)
    m = memory(SMALL_GPT, zero=zero, data=replicas)
    over = [1 / replicas if zero >= stage else 1.0 for stage in (3, 2, 1, 1)]
    over[0] = 0.0 if zero >= 3 else over[0]
    expected = [n * per * share for per, share in zip((2, 4, 4, 8), over, strict=True)]
    assert [getattr(m, name) for name in STATES] == pytest.approx(expected)


def test_stages_of_a_pipeline_keep_gathered_weights_and_summed_gradients() -> None:
    even, odd = (memory(SMALL_GPT, zero=z, data=8.0, pipeline=2.0) for z in (1.0, 3.0))
    assert odd == even


def test_fp32_weights_are_their_own_masters() -> None:
    r, n = recipe(sequence=512.0, element_bytes=4.0, kept_bytes=4.0), stored(SMALL_GPT)
    assert memory(SMALL_GPT, r).weights == 0.0
    assert states(memory(SMALL_GPT, r)) == pytest.approx(16 * n)
    assert memory(SMALL_GPT, r, zero=1, data=4).weights == pytest.approx(4 * n * 3 / 4)
    assert memory(SMALL_GPT, r, zero=3, data=4).weights == 0.0


@pytest.mark.parametrize("element", [2.0, 4.0])
@pytest.mark.parametrize("zero", [0.0, 1.0, 3.0])
def test_an_optimizer_on_the_host_leaves_weights_and_gradients(element: float, zero: float) -> None:
    r, n = recipe(sequence=512.0, element_bytes=element, kept_bytes=element, optimizer_offload=1.0), stored(SMALL_GPT)
    m = memory(SMALL_GPT, r, zero=zero, data=4)
    assert (m.master_weights, m.optimizer) == (0.0, 0.0)
    assert m.weights == pytest.approx(element * n / (4 if zero == 3.0 else 1))
    assert m.gradients == memory(SMALL_GPT, zero=zero, data=4).gradients


@pytest.mark.parametrize("state", [0.0, 2.0, 4.0, 8.0])
def test_optimizers_keep_their_state(state: float) -> None:
    m = memory(SMALL_GPT, recipe(sequence=512.0, optimizer_state_bytes=state))
    assert m.optimizer == pytest.approx(state * stored(SMALL_GPT))
    assert m.master_weights == pytest.approx(4 * stored(SMALL_GPT))


def test_replicas_are_data_times_context() -> None:
    split = memory(SMALL_GPT, zero=2, data=4, context=2)
    assert split.optimizer == memory(SMALL_GPT, zero=2, data=8).optimizer
    assert split.gradients == memory(SMALL_GPT, zero=2, context=8).gradients


def test_hybrid_sharding_divides_by_the_shard_alone() -> None:
    one, many = (memory(SMALL_GPT, zero=3, data=data, shard=8) for data in (8.0, 512.0))
    assert states(one) == states(many) == states(memory(SMALL_GPT, zero=3, data=8))
    assert sharded_over(layout(data=512.0, shard=8.0)) == (8.0, 8.0)
    assert sharded_over(layout(data=64.0, tensor=2.0, shard=8.0, expert=4.0)) == (8.0, 4.0)
    assert sharded_over(layout(data=64.0, shard=8.0, expert=16.0)) == (8.0, 1.0)


def test_experts_are_sharded_over_the_ranks_left_to_them() -> None:
    # 16 data ranks x tensor 2 in groups of 8 experts: one expert of a layer each, on 4 ranks.
    m = memory(MIXTRAL_8X7B, tensor=2, data=16, expert=8, zero=1)
    p = count_parameters(MIXTRAL_8X7B)
    routed = 32 * p.expert
    dense = (stored(MIXTRAL_8X7B) - 8 * routed) / 2
    assert m.weights == pytest.approx(2 * (dense + routed))
    assert m.master_weights + m.optimizer == pytest.approx(12 * (dense / 16 + routed / 4))


def test_the_fullest_stage_counts() -> None:
    # 126 layers over 16: a middle stage has 8 layers, the first 7 and the token table.
    p = count_parameters(LLAMA_405B)
    layer = p.attention + p.dense_ffn + 2 * LLAMA_405B.hidden
    dense, routed = shard_parameters(LLAMA_405B, layout(tensor=8.0, pipeline=16.0), 1.0)
    assert dense == pytest.approx(max(8 * layer, 7 * layer + p.embedding) / 8)
    assert routed == 0.0
    assert shard_parameters(LLAMA_405B, layout(pipeline=14.0), 1.0)[0] == pytest.approx(9 * layer + p.embedding)
    # 126 over 48: some stage has 3.
    assert shard_parameters(LLAMA_405B, layout(pipeline=48.0), 1.0)[0] >= 3 * layer


def test_vocabularies_are_padded_to_a_multiple_on_every_tensor_rank() -> None:
    padded, _ = shard_parameters(SMALL_GPT, layout(tensor=8.0), 128.0)
    plain, _ = shard_parameters(SMALL_GPT, layout(tensor=8.0), 1.0)
    assert padded - plain == pytest.approx((1024 - 1000) * 256 / 8)


@given(names, recipes, layouts, st.sampled_from([1.0, 8.0]))
def test_total_is_the_sum_of_the_terms(name: str, r: Recipe, lay: Layout, microbatches: float) -> None:
    m = Memory(*memory_bytes(MODELS[name], r, lay, microbatches))
    assert m.total == pytest.approx(sum(m[:-1]), rel=1e-12)
    assert min(m) >= 0.0
    assert m.buffers >= RESERVED_BYTES
    assert m.fragmentation == FRAGMENTATION * m.activations


@given(names, recipes, layouts)
def test_states_shrink_with_every_zero_stage_and_rank(name: str, r: Recipe, lay: Layout) -> None:
    a = MODELS[name]
    found = [states(Memory(*memory_bytes(a, r, lay._replace(zero=z), 8.0))) for z in (0.0, 1.0, 2.0, 3.0)]
    assert all(after <= before * SLACK for before, after in pairwise(found))
    wider = states(Memory(*memory_bytes(a, r, lay._replace(data=lay.data * 2.0), 8.0)))
    assert wider <= states(Memory(*memory_bytes(a, r, lay, 8.0))) * SLACK


@given(names, recipes, layouts)
def test_more_tensor_ranks_need_no_more(name: str, r: Recipe, lay: Layout) -> None:
    r = r._replace(vocabulary_multiple=1.0 / 64.0)  # so small that no group pads the vocabulary
    less, more = (memory_bytes(MODELS[name], r, lay._replace(tensor=lay.tensor * t), 8.0) for t in (1.0, 2.0))
    assert all(b <= a * SLACK for a, b in zip(less, more, strict=True))


# Activations.


@pytest.mark.parametrize("sequence", [512.0, 2048.0])
def test_activations_of_a_plain_gpt_are_those_of_korthikanti(sequence: float) -> None:
    """arXiv:2205.05198, equation 1, s b h (34 + 5 a s / h), without the byte of each of two dropout masks over s b h."""
    h, heads = GPT3_175B.hidden, GPT3_175B.heads
    unfused = recipe(sequence=sequence, flash=0.0)
    assert kept(GPT3_175B, r=unfused) == pytest.approx(34 * h - 2 * h + 5 * heads * sequence)
    assert kept(GPT3_175B, r=recipe(sequence=sequence)) == pytest.approx(32 * h)


def test_korthikanti_tensor_parallel_layers() -> None:
    """Equation 2, s b h (10 + 24 / t + 5 a s / (h t)), two masks less; equation 4 with sequence parallelism: all over t."""
    a, t = SMALL_GPT, 4
    unfused = SHORT._replace(flash=0.0)
    split = 24 * a.hidden / t + 5 * a.heads * 512 / t
    assert memory(a, unfused, tensor=t).activations == pytest.approx(512 * a.layers * (8 * a.hidden + split))
    shared = memory(a, unfused, tensor=t, sequence_parallel=1.0)
    assert shared.activations == pytest.approx(512 * a.layers * (8 * a.hidden / t + split))


def test_full_recomputation_keeps_2_s_b_h_and_one_layer() -> None:
    assert kept(GPT3_175B, r=recipe(**FULL)) == 2 * GPT3_175B.hidden
    a = DEEPSEEK_V3
    one = (3 * kept(a) + 58 * kept(a, 1.0)) / 61
    m = memory(a, recipe(sequence=512.0, **FULL), tensor=4, sequence_parallel=1)
    assert m.activations == pytest.approx(512 * (61 * 2 * a.hidden + one) / 4)


def test_selective_recomputation_keeps_inputs_and_outputs_of_matrix_products() -> None:
    """Two inputs of the layer's blocks, q, k, v, context, up: (2 + 3 + 1 + 4) h elements; scores where they are not named."""
    h = GPT3_175B.hidden
    assert kept(GPT3_175B, r=recipe(**SELECTIVE)) == pytest.approx(2 * 10 * h)
    unfused = recipe(sequence=2048.0, flash=0.0, **(SELECTIVE | {"again_attention": 1.0}))
    assert kept(GPT3_175B, r=unfused) == pytest.approx(2 * 10 * h)


@pytest.mark.parametrize(
    ("again", "freed"),
    [("again_query_key_value", 3), ("again_attention", 0), ("again_output", 0), ("again_ffn_up", 4), ("again_ffn_down", 0),
     ("again_pointwise", 2 + 4)],
)  # fmt: skip
def test_what_is_computed_again_is_not_kept(again: str, freed: float) -> None:
    """Outputs of the projection, of the first feed-forward product, of norms and activation: in multiples of h elements."""
    h = GPT3_175B.hidden
    assert kept(GPT3_175B) - kept(GPT3_175B, r=SHORT._replace(**{again: 1.0})) == pytest.approx(2 * freed * h)


def test_eager_norms_keep_wide_inputs_and_eager_gates_their_result() -> None:
    eager = SHORT._replace(fusion=0.0)
    h = GPT3_175B.hidden
    assert kept(GPT3_175B, r=eager) - kept(GPT3_175B) == pytest.approx(2 * (4 - 2) * h)  # two layer norms
    h, f = LLAMA_405B.hidden, LLAMA_405B.ffn_hidden
    assert kept(LLAMA_405B, r=eager) - kept(LLAMA_405B) == pytest.approx(2 * (4 - 2) * h + 2 * 2 * h + 2 * f)
    assert kept(LLAMA_405B, r=SHORT._replace(fusion=2.0)) == kept(LLAMA_405B)


def test_experts_keep_a_copy_of_each_routed_token() -> None:
    a = MIXTRAL_8X7B
    dense, routed = (kept(a, moe, recipe(**SELECTIVE)) for moe in (0.0, 1.0))
    width = a.experts_per_token * a.expert_hidden
    assert routed - dense == 2.0 * (2.0 * (width - a.ffn_hidden) + a.experts_per_token * a.hidden)
    busy = kept(a, 1.0, recipe(expert_load=1.5, **SELECTIVE))
    assert busy - routed == pytest.approx(0.5 * 2.0 * (2.0 * width + a.experts_per_token * a.hidden))


def test_latent_attention_keeps_latents_and_expanded_keys_or_latents_alone() -> None:
    a = DEEPSEEK_V3
    rest = 4 * a.hidden + 128 * 128 + 2 * a.ffn_hidden + a.ffn_hidden
    latents = 1536 + 512 + 64  # inputs of the expansions
    assert kept(a) == pytest.approx(2.0 * (rest + latents + 128 * (192 + 192 + 128)))
    again = SHORT._replace(again_query_key_value=1.0)
    assert kept(a, r=again) == pytest.approx(2.0 * (rest + latents))


@given(names, recipes, layouts, st.sampled_from(AGAIN))
def test_more_recomputation_keeps_no_more(name: str, r: Recipe, lay: Layout, again: str) -> None:
    a = MODELS[name]
    r = r._replace(**(NONE | {"kept_bytes": 2.0}))
    less = activation_bytes(a, r._replace(**{again: 1.0}), lay, 8.0)
    assert less <= activation_bytes(a, r, lay, 8.0) * SLACK
    assert activation_bytes(a, r._replace(**FULL), lay, 8.0) <= less * SLACK


@given(names, recipes, layouts)
def test_sequence_parallelism_keeps_no_more(name: str, r: Recipe, lay: Layout) -> None:
    whole, shared = (activation_bytes(MODELS[name], r, lay._replace(sequence_parallel=s), 8.0) for s in (0.0, 1.0))
    assert shared <= whole * SLACK


def test_microbatches_in_flight_multiply_activations() -> None:
    one = memory(SMALL_GPT, pipeline=2, microbatches=1.0).activations
    assert memory(SMALL_GPT, pipeline=2).activations == pytest.approx(2.0 * one)
    assert memory(SMALL_GPT, pipeline=2, chunks=2).activations == pytest.approx(2.5 * one)
    assert memory(SMALL_GPT, pipeline=2, zero_bubble=1).activations == pytest.approx(2.0 * one)
    assert memory(SMALL_GPT, pipeline=2, context=2).activations == pytest.approx(one)
    assert memory(SMALL_GPT, pipeline=2, microbatch=2).activations == pytest.approx(4.0 * one)
    assert one == pytest.approx(512 * kept(SMALL_GPT) * 2)


def test_uneven_stages_hold_what_the_fullest_holds() -> None:
    lay = layout(pipeline=4.0, first_layers=1.0, last_layers=1.0)
    assert largest_stage(8.0, lay) == 3.0
    a = SMALL_GPT._replace(layers=8.0)
    assert activation_bytes(a, SHORT, lay, 1.0) == pytest.approx(3 * 512 * kept(a))


def test_kept_activations_may_be_of_another_width() -> None:
    wide, narrow = (memory(SMALL_GPT, SHORT._replace(kept_bytes=width), tensor=4) for width in (2, 1.5))
    assert narrow.activations == pytest.approx(0.75 * wide.activations)
    assert states(narrow) == states(wide)
    # Fully recomputed, only the inputs of layers are kept: the layer rebuilt is in the working type.
    full = recipe(sequence=512.0, **FULL)
    wide, narrow = (memory(SMALL_GPT, full._replace(kept_bytes=width)) for width in (2, 1.5))
    assert wide.activations - narrow.activations == pytest.approx(0.5 * 512 * SMALL_GPT.hidden * SMALL_GPT.layers)


@pytest.mark.parametrize(("offload", "layers_left"), [(0.0, 96), (0.5, 48), (0.99, 2), (1.0, 2)])
def test_offloaded_activations_leave_two_layers(offload: float, layers_left: float) -> None:
    m = memory(GPT3_175B, recipe(sequence=512.0, activation_offload=offload))
    assert m.activations == pytest.approx(512 * kept(GPT3_175B) * layers_left)


def test_offload_never_needs_more_than_is_there() -> None:
    a = SMALL_GPT._replace(layers=1.0)
    assert memory(a, SHORT._replace(activation_offload=1.0)).activations == memory(a).activations


# Buffers and fragmentation.


def test_logits_are_kept_where_there_is_no_pipeline() -> None:
    logits = 512 * 1000
    assert memory(SMALL_GPT).buffers == RESERVED_BYTES + 2 * logits
    assert memory(SMALL_GPT, SHORT._replace(loss_bytes=28.0)).buffers == RESERVED_BYTES + (2 + 4 + 4) * logits
    assert memory(SMALL_GPT, tensor=4).buffers == pytest.approx(RESERVED_BYTES + 2 * logits / 4)
    assert memory(SMALL_GPT, pipeline=2).buffers == RESERVED_BYTES


def test_full_sharding_holds_two_gathered_layers() -> None:
    gathered = memory(SMALL_GPT, data=8, zero=3).buffers - memory(SMALL_GPT, data=8).buffers
    assert gathered == pytest.approx(2 * 2 * stored(SMALL_GPT) / SMALL_GPT.layers)
    assert memory(SMALL_GPT, data=8, pipeline=2, zero=3).buffers == memory(SMALL_GPT, data=8, pipeline=2).buffers


def test_fragmentation_is_a_share_of_activations() -> None:
    m = memory(SMALL_GPT)
    assert m.fragmentation / m.activations == FRAGMENTATION == 0.02

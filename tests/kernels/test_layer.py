from __future__ import annotations

import pytest
from hypothesis import given

from kernels.collectives import all_reduce_time_s, all_to_all_time_s, gather_time_s
from kernels.layer import EXPERT_OVERLAP_COST, Pass, Passes, head_passes, layer_passes, mix, total_s
from kernels.packs import Device, Layout, Network, Recipe
from kernels.transformer import Architecture
from tests.kernels.kernel_models import (
    AGAIN,
    DEEPSEEK_V3,
    DEVICE,
    FULL,
    GPT3_175B,
    LLAMA_405B,
    MIXTRAL_8X7B,
    MODELS,
    NETWORK,
    SELECTIVE,
    layout,
    layouts,
    names,
    recipe,
    recipes,
)

SLACK = 1.0 + 1e-12
T = 4096.0


def passes(a: Architecture, r: Recipe, lay: Layout, moe: float = 0.0, d: Device = DEVICE, net: Network = NETWORK) -> Passes:
    forward, backward, weights = layer_passes(a, d, net, r, lay, moe)[0]
    return Passes(Pass(*forward), Pass(*backward), weights)


def sent(a: Architecture, r: Recipe, lay: Layout, moe: float = 0.0) -> tuple[float, float, float]:
    _, tensor, context, expert = layer_passes(a, DEVICE, NETWORK, r, lay, moe)
    return tensor, context, expert


# Tensor parallelism.


def test_two_all_reduces_a_direction() -> None:
    one = all_reduce_time_s(T * 16384 * 2, 8.0, 1.0, NETWORK)
    p = passes(LLAMA_405B, recipe(), layout(tensor=8.0))
    assert (p.forward.tensor_s, p.backward.tensor_s) == pytest.approx((2 * one, 2 * one))
    assert sent(LLAMA_405B, recipe(), layout(tensor=8.0))[0] == pytest.approx(4 * 2 * 7 / 8 * T * 16384 * 2)


def test_what_is_computed_again_is_reduced_again() -> None:
    one = all_reduce_time_s(T * 16384 * 2, 8.0, 1.0, NETWORK)
    assert passes(LLAMA_405B, recipe(**FULL), layout(tensor=8.0)).backward.tensor_s == pytest.approx(4 * one)
    assert passes(LLAMA_405B, recipe(**SELECTIVE), layout(tensor=8.0)).backward.tensor_s == pytest.approx(2 * one)
    # Transformers that stop before the last product spare one of the two.
    spared = recipe(**(FULL | {"again_ffn_down": 0.0}))
    assert passes(LLAMA_405B, spared, layout(tensor=8.0)).backward.tensor_s == pytest.approx(3.5 * one)


def test_sequence_parallelism_sends_gathers_and_scatters_and_gathers_inputs_beside_products() -> None:
    """Korthikanti et al., section 4.2.2: the inputs that are gathered once more cost what they slow the products down."""
    one = gather_time_s(T * 16384 * 2, 8.0, 1.0, NETWORK)
    p = passes(LLAMA_405B, recipe(), layout(tensor=8.0, sequence_parallel=1.0))
    assert p.forward.tensor_s == pytest.approx(4 * one)
    assert p.backward.tensor_s == pytest.approx((4 + 2 * DEVICE.overlap_cost) * one)


def test_all_but_a_piece_of_asynchronous_tensor_parallelism_hides() -> None:
    sync, asynchronous = (passes(LLAMA_405B, recipe(), layout(tensor=8.0, overlap_tensor=x)) for x in (0.0, 1.0))
    left = 1 - 7 / 8 * (1 - DEVICE.overlap_cost)
    assert asynchronous.forward.tensor_s == pytest.approx(left * sync.forward.tensor_s)
    assert asynchronous.backward.tensor_s == pytest.approx(left * sync.backward.tensor_s)


def test_tensor_collectives_hide_behind_no_more_than_the_products() -> None:
    slow = NETWORK._replace(scale_up_bytes_per_s=1e9)
    shown, hidden = (passes(LLAMA_405B, recipe(), layout(tensor=8.0, overlap_tensor=x), net=slow) for x in (0.0, 1.0))
    assert shown.forward.tensor_s - hidden.forward.tensor_s == pytest.approx(0.8 * shown.forward.gemm_s)
    assert shown.backward.tensor_s - hidden.backward.tensor_s == pytest.approx(0.8 * shown.backward.gemm_s)


def test_few_key_value_heads_are_copied_to_every_tensor_rank() -> None:
    """8 key and value heads over 8 and 16 ranks: one each; projections of narrower shards stop shrinking there."""
    lone = LLAMA_405B._replace(ffn_hidden=1.0, heads=0.0)
    d = DEVICE._replace(fill_depth=0.0, launch_latency_s=0.0)
    eight, sixteen = (passes(lone, recipe(), layout(tensor=t), d=d).forward.gemm_s for t in (8.0, 16.0))
    assert eight == pytest.approx(sixteen, rel=1e-4)


# Context parallelism.


@pytest.mark.parametrize("method", [0.0, 1.0])
def test_keys_and_values_go_round_and_their_gradients_come_back(method: float) -> None:
    """8 key-value heads, keys and values of 128, of 512 tokens a rank; backward again, with gradients."""
    lay = layout(context=8.0, context_method=method)
    rank = 512 * 2 * 8 * 128 * 2
    one = gather_time_s(8.0 * rank, 8.0, 1.0, NETWORK)
    p = passes(LLAMA_405B, recipe(), lay)
    assert (p.forward.context_s, p.backward.context_s) == pytest.approx((one, 2 * one))
    assert sent(LLAMA_405B, recipe(), lay)[1] == pytest.approx(3 * 7 * rank)


def test_ulysses_exchanges_heads_for_tokens() -> None:
    lay = layout(context=8.0, context_method=2.0)
    moved = 512 * (2 * 8 + 2 * 128) * 128 * 2  # keys, values, queries, result
    one = all_to_all_time_s(moved, moved, 8.0, 1.0, NETWORK)
    p = passes(LLAMA_405B, recipe(), lay)
    assert (p.forward.context_s, p.backward.context_s) == pytest.approx((one, one))
    assert sent(LLAMA_405B, recipe(), lay)[1] == pytest.approx(2 * moved * 7 / 8)


def test_latent_attention_exchanges_expanded_keys_and_values() -> None:
    one = gather_time_s(4096 * 128 * (128 + 64 + 128) * 2, 8.0, 1.0, NETWORK)
    assert passes(DEEPSEEK_V3, recipe(), layout(context=8.0)).forward.context_s == pytest.approx(one)


def test_a_ring_with_overlap_is_no_slower_than_one_without() -> None:
    shown, hidden = (total_s(passes(LLAMA_405B, recipe(sequence=131072.0), layout(context=16.0, context_method=1.0,
                                                                                  overlap_context=x)).forward)
                     for x in (0.0, 1.0))  # fmt: skip
    assert hidden < shown


def test_context_exchanges_hide_behind_attention_alone() -> None:
    slow = NETWORK._replace(scale_up_bytes_per_s=1e8)
    lay = layout(context=8.0, context_method=1.0)
    shown, hidden = (passes(LLAMA_405B, recipe(), lay._replace(overlap_context=x), net=slow) for x in (0.0, 1.0))
    assert shown.forward.context_s - hidden.forward.context_s == pytest.approx(shown.forward.attention_s)


@pytest.mark.parametrize("method", [0.0, 1.0, 2.0])
def test_context_ranks_share_attention(method: float) -> None:
    d = DEVICE._replace(launch_latency_s=0.0)
    whole = passes(LLAMA_405B, recipe(sequence=65536.0), layout(), d=d).forward.attention_s
    part = passes(LLAMA_405B, recipe(sequence=65536.0), layout(context=8.0, context_method=method), d=d).forward.attention_s
    assert part == pytest.approx(whole / 8, rel=2e-2)
    assert part >= whole / 8 * (1 - 1e-12)


# Experts.


def test_two_all_to_alls_a_direction() -> None:
    lay = layout(tensor=2.0, expert=8.0, data=8.0)
    each = T / 2 * 2 * 4096 * 2
    one = all_to_all_time_s(each, each, 8.0, 1.0, NETWORK)
    p = passes(MIXTRAL_8X7B, recipe(), lay, 1.0)
    assert (p.forward.expert_s, p.backward.expert_s) == pytest.approx((2 * one, 2 * one))
    assert sent(MIXTRAL_8X7B, recipe(), lay, 1.0)[2] == pytest.approx(4 * each * 7 / 8)
    assert passes(MIXTRAL_8X7B, recipe(**FULL), lay, 1.0).backward.expert_s == pytest.approx(4 * one)
    assert passes(MIXTRAL_8X7B, recipe(), lay, 0.0).forward.expert_s == 0.0


def test_hidden_all_to_alls_cost_the_processors_that_they_take() -> None:
    lay = layout(expert=8.0, data=8.0)
    shown, hidden = (passes(MIXTRAL_8X7B, recipe(), lay._replace(overlap_expert=x), 1.0) for x in (0.0, 1.0))
    assert hidden.forward.expert_s == pytest.approx(EXPERT_OVERLAP_COST * shown.forward.expert_s)
    assert pytest.approx(20 / 132) == EXPERT_OVERLAP_COST


def test_a_limit_of_nodes_spares_nics() -> None:
    """DeepSeek-V3: 8 experts on at most 4 nodes: half the bytes leave a node."""
    lay = layout(expert=64.0, data=64.0)
    net = NETWORK._replace(nic_latency_s=0.0, scale_up_latency_s=0.0)
    free, limited, more = (passes(DEEPSEEK_V3, recipe(), lay._replace(expert_nodes=n), 1.0, net=net).forward.expert_s
                           for n in (0.0, 4.0, 16.0))  # fmt: skip
    assert limited == pytest.approx(free / 2)
    assert more == free


def test_a_busy_expert_rank_holds_up_all() -> None:
    lay = layout(expert=8.0, data=8.0)
    even, uneven = (passes(MIXTRAL_8X7B, recipe(expert_load=x), lay, 1.0).forward for x in (1.0, 1.5))
    assert uneven.expert_s > 1.4 * even.expert_s
    assert even.gemm_s < uneven.gemm_s < 1.5 * even.gemm_s
    assert uneven.attention_s == even.attention_s


def test_spread_experts_do_the_work_of_all() -> None:
    """Each of 8 ranks holds one expert and gets its share of all ranks' tokens: the same products for a rank."""
    d = DEVICE._replace(launch_latency_s=0.0, memory_bytes_per_s=1e30)
    one, eight = (passes(MIXTRAL_8X7B, recipe(), layout(expert=x, data=8.0), 1.0, d=d).forward.gemm_s for x in (1.0, 8.0))
    assert eight == pytest.approx(one, rel=1e-2)


# Waiting for the host, point-wise operators, narrow formats.


def test_a_slow_host_sets_the_pace_of_small_kernels() -> None:
    """Fused by hand: norm and residual twice, rotary embedding, activation and loss of them, four products and attention."""
    slow = DEVICE._replace(host_latency_s=1.0)
    p = passes(LLAMA_405B, recipe(), layout(), d=slow)
    kernels = 3 + 2 * 2 + 5
    assert p.forward.launch_s + p.forward.gemm_s + p.forward.attention_s + p.forward.memory_s == pytest.approx(kernels)
    assert p.backward.launch_s + p.backward.gemm_s + p.backward.attention_s + p.backward.memory_s == pytest.approx(2.5 * kernels)
    assert passes(LLAMA_405B, recipe(), layout(), d=DEVICE._replace(host_latency_s=0.0)).forward.launch_s == 0.0


@given(names, recipes, layouts)
def test_fewer_passes_over_memory_from_eager_to_compiled(name: str, r: Recipe, lay: Layout) -> None:
    eager, fused, compiled = (passes(MODELS[name], r._replace(fusion=f), lay) for f in (0.0, 1.0, 2.0))
    assert eager.forward.memory_s > fused.forward.memory_s > compiled.forward.memory_s
    assert eager.backward.memory_s > fused.backward.memory_s > compiled.backward.memory_s


def test_scaling_to_fp8_costs_memory_time() -> None:
    """Both operands of four products are scaled forward, the gradient of the result backward."""
    plain, scaled = (passes(GPT3_175B, recipe(scaling_bytes=s), layout()) for s in (0.0, 4.0))
    h = 12288
    shapes = [(h, 3 * h), (h, h), (h, 4 * h), (4 * h, h)]
    forward = sum(k * (T + n) for k, n in shapes)
    backward = sum(T * n for _, n in shapes)
    assert scaled.forward.memory_s - plain.forward.memory_s == pytest.approx(4 * forward / DEVICE.memory_bytes_per_s)
    assert scaled.backward.memory_s - plain.backward.memory_s == pytest.approx(4 * backward / DEVICE.memory_bytes_per_s)
    assert scaled.forward.gemm_s == plain.forward.gemm_s


@given(names, recipes, layouts)
def test_each_operator_computed_again_costs_its_forward_pass(name: str, r: Recipe, lay: Layout) -> None:
    """And nothing in the forward pass, nor in gradients of weights."""
    a, d = MODELS[name], DEVICE._replace(host_latency_s=0.0)
    lay = lay._replace(tensor=1.0, context=1.0, expert=1.0)
    none = passes(a, r._replace(**dict.fromkeys((*AGAIN, "input_only"), 0.0)), lay, d=d)
    full = passes(a, r._replace(**FULL), lay, d=d)
    assert full.forward == none.forward
    assert full.weight_gradient_s == none.weight_gradient_s
    assert full.backward.gemm_s - none.backward.gemm_s == pytest.approx(none.forward.gemm_s)
    assert full.backward.attention_s - none.backward.attention_s == pytest.approx(none.forward.attention_s)
    scaling = passes(a, r._replace(scaling_bytes=0.0), lay, d=d).forward.memory_s
    assert full.backward.memory_s - none.backward.memory_s == pytest.approx(scaling)


def test_the_output_matrix_is_three_products_and_the_loss_its_bytes() -> None:
    one = Passes(*head_passes(GPT3_175B, DEVICE, NETWORK, recipe(loss_bytes=8.0), layout()))
    wide = Passes(*head_passes(GPT3_175B, DEVICE, NETWORK, recipe(loss_bytes=28.0), layout()))
    extra = wide.forward.memory_s + wide.backward.memory_s - one.forward.memory_s - one.backward.memory_s
    assert extra == pytest.approx(20 * T * 50257 / DEVICE.memory_bytes_per_s)
    assert one.forward.tensor_s == 0.0
    split = Passes(*head_passes(GPT3_175B, DEVICE, NETWORK, recipe(), layout(tensor=8.0)))
    assert split.forward.tensor_s == pytest.approx(all_reduce_time_s(T * 12288 * 2, 8.0, 1.0, NETWORK))
    assert split.forward.gemm_s == pytest.approx(one.forward.gemm_s / 8, rel=0.1)


def test_mix_is_a_weighted_sum() -> None:
    x, y = Pass(1, 2, 3, 4, 5, 6, 7), Pass(7, 6, 5, 4, 3, 2, 1)
    assert mix(x, 2.0, y, 3.0) == tuple(2 * a + 3 * b for a, b in zip(x, y, strict=True))
    assert total_s(x) == 28.0

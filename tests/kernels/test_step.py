from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from kernels.packs import Device, Layout, Recipe, Step
from kernels.step import hardware_flops_per_token, step_time
from kernels.transformer import Architecture, count_parameters, model_flops_per_token
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
    NONE,
    PHASES,
    SELECTIVE,
    SMALL_GPT,
    layout,
    recipe,
)
from tests.kernels.slow import slow_gemm_s

# One device, operator by operator.


class Product(NamedTuple):
    """Y[rows, width] = X[rows, depth] W[depth, width], `batch` of them in one launch."""

    part: str  # of the layer, as recipes name it
    batch: float
    rows: float
    width: float
    depth: float
    sixteen: bool = False
    expansion: bool = False  # of latents


class Stream(NamedTuple):
    """A memory-bound operator: bytes read and written for each of some elements, forward and backward, and its kernels."""

    elements: float
    forward: float
    backward: float
    kernels: float


def products(a: Architecture, tokens: float, moe: bool) -> list[Product]:
    h, n, d = a.hidden, a.heads, a.head_dim
    if a.mla:
        query = n * (a.mla_nope_dim + a.mla_rope_dim)
        found = [Product("query_key_value", 1, tokens, (a.mla_query_rank or query) + a.mla_key_value_rank + a.mla_rope_dim, h),
                 Product("query_key_value", 1, tokens, n * (a.mla_nope_dim + a.mla_value_dim), a.mla_key_value_rank,
                         expansion=True)]  # fmt: skip
        if a.mla_query_rank:
            found.append(Product("query_key_value", 1, tokens, query, a.mla_query_rank, expansion=True))
        found.append(Product("output", 1, tokens, h, n * a.mla_value_dim))
    else:
        found = [Product("query_key_value", 1, tokens, (n + 2 * a.key_value_heads) * d, h),
                 Product("output", 1, tokens, h, n * d)]  # fmt: skip
    gates = a.ffn_matrices - 1
    if not moe:
        return [*found, Product("ffn_up", 1, tokens, gates * a.ffn_hidden, h), Product("ffn_down", 1, tokens, h, a.ffn_hidden)]
    rows = tokens * a.experts_per_token / a.experts
    found += [Product("ffn_up", a.experts, rows, gates * a.expert_hidden, h), Product("ffn_up", 1, tokens, a.experts, h, True),
              Product("ffn_down", a.experts, rows, h, a.expert_hidden)]  # fmt: skip
    if a.shared_hidden:
        found += [Product("ffn_up", 1, tokens, gates * a.shared_hidden, h), Product("ffn_down", 1, tokens, h, a.shared_hidden)]
    return found


def streams(a: Architecture, r: Recipe, tokens: float, moe: bool) -> list[Stream]:
    """Return norms with their residuals, rotary embedding, activation, and the way to the experts and back; 2 bytes each."""
    h = a.hidden
    width = a.shared_hidden + a.experts_per_token * a.expert_hidden if moe else a.ffn_hidden
    turned = 0 if a.learned_positions else tokens * (a.heads + a.key_value_heads) * a.head_dim
    gated = a.ffn_matrices == 3
    if r.fusion == 2:
        norm = Stream(tokens * h, 2 * (2 + 2), 2 * (3 + 1), 1)  # with the residual before it
        rotary, activation = Stream(turned, 2 * 2, 2 * 2, 1), Stream(tokens * width, 2 * 3, 2 * 5, 1)
    else:
        norm = Stream(tokens * h, 2 * (1 + 1) + 2 * (2 + 1), 2 * (4 + 1) + 2 * 3, 2)
        rotary, activation = Stream(turned, 2 * 2, 2 * 2, 1), Stream(tokens * width, 2 * 3, 2 * 5, 2)
    if not gated:
        activation = activation._replace(forward=2 * 2, backward=2 * 3)
    if r.fusion == 0:
        chain = (32, 64, 8) if a.norm_vectors == 1 else (16, 22, 4)  # casts, and an RMS norm in pieces
        norm = norm._replace(forward=norm.forward + chain[0], backward=norm.backward + chain[1], kernels=2 + chain[2])
        rotary = rotary._replace(forward=rotary.forward + 26, backward=rotary.backward + 26)
        if gated:
            activation = activation._replace(forward=activation.forward + 2 * 2, backward=activation.backward + 2 * 4)
    routed = Stream(tokens * (a.experts_per_token * h if moe else 0), 2 * 4, 2 * 4, 0)
    return [norm] * int(a.norms_per_layer) + [rotary, activation, routed]


def layer_seconds(a: Architecture, d: Device, r: Recipe, microbatch: float, moe: bool) -> dict[str, float]:
    """Return the seconds of one layer and microbatch on one device, by phase."""
    tokens, s, e = microbatch * r.sequence, r.sequence, 2.0
    dim = (a.mla_nope_dim + a.mla_rope_dim + a.mla_value_dim) / 2 if a.mla else a.head_dim

    def rate(p: Product) -> float:
        return d.gemm_flops_per_s_16 if p.sixteen else d.gemm_flops_per_s

    gemm = gemm_back = scaled = scaled_back = 0.0
    for p in products(a, tokens, moe):
        forward_s = slow_gemm_s(p.batch, p.rows, p.width, p.depth, rate(p), d)
        gemm += forward_s
        gemm_back += slow_gemm_s(p.batch, p.rows, p.depth, p.width, rate(p), d)
        gemm_back += slow_gemm_s(p.batch, p.depth, p.width, p.rows, rate(p), d, written=8.0)  # added to fp32 sums
        again = getattr(r, f"again_{p.part}")
        if again and not (a.mla and p.part == "query_key_value" and not p.expansion and not r.input_only):
            gemm_back += forward_s
        scaled += p.batch * (p.rows * p.depth + p.depth * p.width)
        scaled_back += p.batch * p.rows * p.width
    softmax = softmax_back = 0.0
    if r.flash:
        flops = 4 * microbatch * a.heads * s * (s / 2 + 64) * (dim + d.softmax_depth)
        core = flops / d.attention_flops_per_s + d.launch_latency_s
        core_back = 2.5 / 0.85 * core
    else:
        one = [slow_gemm_s(microbatch * a.heads, s, n, k, d.gemm_flops_per_s_16, d) for n, k in ((s, dim), (dim, s))]
        core, core_back = sum(one), 2 * sum(one)
        passes = [x * e * microbatch * a.heads * s * s / d.memory_bytes_per_s for x in (4.5, 5.5)]
        softmax, softmax_back = (x + 2 * d.launch_latency_s for x in passes)
    core_back += r.again_attention * core
    ways = streams(a, r, tokens, moe)
    kernels = sum(x.kernels for x in ways)
    point = sum(x.elements * x.forward for x in ways) / d.memory_bytes_per_s + kernels * d.launch_latency_s
    point_back = sum(x.elements * x.backward for x in ways) / d.memory_bytes_per_s + 2 * kernels * d.launch_latency_s
    memory = point + softmax + scaled * r.scaling_bytes / d.memory_bytes_per_s
    memory_back = point_back + softmax_back + r.again_pointwise * point + r.again_attention * softmax
    memory_back += scaled_back * r.scaling_bytes / d.memory_bytes_per_s
    issued = (kernels + 5 + (8 if r.scaling_bytes else 0)) * d.host_latency_s
    waits = max(0.0, issued - gemm - core - memory)
    waits += max(0.0, (2.5 + r.again_pointwise) * issued - gemm_back - core_back - memory_back)
    return {"gemm_s": gemm + gemm_back, "attention_s": core + core_back, "memory_s": memory + memory_back, "launch_s": waits}


def step_seconds(a: Architecture, d: Device, r: Recipe, microbatch: float) -> dict[str, float]:
    """Return the seconds of a step on one device, by phase: layers, output matrix and loss, optimizer."""
    phases = dict.fromkeys(PHASES, 0.0)
    tokens, h, v = microbatch * r.sequence, a.hidden, a.vocabulary
    for moe, layers in ((False, a.layers - a.moe_layers), (True, a.moe_layers)):
        if layers:
            for name, seconds in layer_seconds(a, d, r, microbatch, moe).items():
                phases[name] += layers * seconds
    phases["gemm_s"] += slow_gemm_s(1, tokens, v, h, d.gemm_flops_per_s_16, d) + slow_gemm_s(
        1, tokens, h, v, d.gemm_flops_per_s_16, d) + slow_gemm_s(1, h, v, tokens, d.gemm_flops_per_s_16, d, written=8.0)
    embedding = 2 * 2 * 2 * tokens * h  # rows read and written, and their gradients
    phases["memory_s"] += (r.loss_bytes * tokens * v + embedding) / d.memory_bytes_per_s + 6 * d.launch_latency_s
    for name in phases:
        phases[name] *= r.sequences / microbatch
    stored = count_parameters(a).total - a.norm_vectors * h
    phases["optimizer_s"] = r.optimizer_traffic_bytes * stored / d.memory_bytes_per_s + d.launch_latency_s
    phases["optimizer_s"] += r.optimizer_flops * stored / d.gemm_flops_per_s_16
    return phases


def assert_is_sum_of_operators(a: Architecture, r: Recipe, d: Device = DEVICE, microbatch: float = 2.0) -> Step:
    step = Step(*step_time(a, d, NETWORK, r, layout(microbatch=microbatch)))
    expected = step_seconds(a, d, r, microbatch)
    for phase in PHASES:
        assert getattr(step, phase) == pytest.approx(expected[phase], rel=1e-9, abs=1e-12 * step.time_s), phase
    assert step.time_s == pytest.approx(sum(expected.values()), rel=1e-9)
    return step


DENSE = {"small": SMALL_GPT, "gpt3": GPT3_175B, "llama": LLAMA_405B}


@pytest.mark.parametrize(("fusion", "flash"), itertools.product((0.0, 1.0, 2.0), (0.0, 1.0)))
@pytest.mark.parametrize("a", DENSE.values(), ids=DENSE)
def test_a_dense_model_on_one_device_is_the_sum_of_its_operators(a: Architecture, fusion: float, flash: float) -> None:
    for again in (NONE, SELECTIVE, FULL):
        assert_is_sum_of_operators(a, recipe(sequences=4.0, sequence=2048.0, flash=flash, fusion=fusion, **again))


@pytest.mark.parametrize("flash", [0.0, 1.0])
@pytest.mark.parametrize("a", [SMALL_GPT, LLAMA_405B], ids=["plain", "gated"])
def test_every_combination_of_recomputed_operators(a: Architecture, flash: float) -> None:
    for shares in itertools.product((0.0, 1.0), repeat=len(AGAIN)):
        again = dict(zip(AGAIN, shares, strict=True))
        assert_is_sum_of_operators(a, recipe(sequences=2.0, sequence=1024.0, flash=flash, **again))


@pytest.mark.parametrize("name", ["mixtral", "deepseek", "latent"])
@pytest.mark.parametrize("again", [NONE, SELECTIVE, SELECTIVE | {"again_query_key_value": 1.0}, FULL])
def test_experts_and_latents_on_one_device_are_the_sum_of_their_operators(name: str, again: dict[str, float]) -> None:
    for fusion, flash in itertools.product((0.0, 1.0, 2.0), (0.0, 1.0)):
        assert_is_sum_of_operators(MODELS[name], recipe(sequences=2.0, sequence=1024.0, flash=flash, fusion=fusion, **again))


def test_a_slow_host_a_wide_loss_fp8_and_another_optimizer() -> None:
    slow = DEVICE._replace(host_latency_s=1e-4)
    r = recipe(sequences=2.0, sequence=1024.0, scaling_bytes=6.0, loss_bytes=28.0, optimizer_traffic_bytes=22.0,
               optimizer_flops=3e4)  # fmt: skip
    for again in (NONE, SELECTIVE, FULL):
        assert assert_is_sum_of_operators(SMALL_GPT, r._replace(**again), slow).launch_s > 0.0


# FLOPs.


@pytest.mark.parametrize("s", [1024.0, 2048.0, 8192.0])
def test_full_recomputation_of_a_gpt_has_the_flops_of_narayanan(s: float) -> None:
    """arXiv:2104.04473, equation 3: F = 96 B s l h^2 (1 + s / 6h + V / 16 l h)."""
    h, layers, v = GPT3_175B.hidden, GPT3_175B.layers, GPT3_175B.vocabulary
    published = 96 * s * layers * h**2 * (1 + s / (6 * h) + v / (16 * layers * h))
    assert hardware_flops_per_token(GPT3_175B, recipe(sequence=s, **FULL)) * s == pytest.approx(published, rel=1e-12)


@pytest.mark.parametrize("a", [GPT3_175B, LLAMA_405B], ids=["gpt3", "llama"])
def test_model_flops_are_those_of_palm(a: Architecture) -> None:
    """arXiv:2204.02311, appendix B: 6 N + 12 L H Q T a token; N without look-ups, biases and norms."""
    n = a.layers * (a.hidden * a.head_dim * (2 * a.heads + 2 * a.key_value_heads) + a.ffn_matrices * a.hidden * a.ffn_hidden)
    n += a.vocabulary * a.hidden
    expected = 6 * n + 12 * a.layers * a.heads * a.head_dim * 2048
    assert model_flops_per_token(a, 2048.0) == pytest.approx(expected, rel=1e-12)
    r = recipe(sequences=64.0, sequence=2048.0)
    step = step_time(a, DEVICE, NETWORK, r, layout(tensor=4.0, pipeline=2.0, data=8.0))
    assert step.model_flops == pytest.approx(64 * 2048 / 64 * expected, rel=1e-12)
    assert step.hardware_flops == step.model_flops


def test_model_flops_are_those_of_korthikanti() -> None:
    """arXiv:2205.05198, appendix A: 72 B L s h^2 (1 + s / 6h + v / 12 h L)."""
    h, layers, v, s = GPT3_175B.hidden, GPT3_175B.layers, GPT3_175B.vocabulary, 2048.0
    published = 72 * layers * s * h**2 * (1 + s / (6 * h) + v / (12 * h * layers))
    assert model_flops_per_token(GPT3_175B, s) * s == pytest.approx(published, rel=1e-12)


def test_attention_computed_again_is_credited_one_forward_pass() -> None:
    """Scores and values once more are 4 B s^2 h L: 2s / 9h of 72 B L s h^2, where no recomputation has s / 6h.

    Korthikanti et al., appendix A, write s / 3h (FROM MEMORY), three forward passes more: their HFU is a little above this.
    """
    h, layers, v, s = GPT3_175B.hidden, GPT3_175B.layers, GPT3_175B.vocabulary, 2048.0
    r = recipe(sequence=s, flash=0.0, **(SELECTIVE | {"again_attention": 1.0}))
    once = 72 * layers * s * h**2 * (1 + 2 * s / (9 * h) + v / (12 * h * layers))
    assert hardware_flops_per_token(GPT3_175B, r) * s == pytest.approx(once, rel=1e-12)
    thrice = 72 * layers * s * h**2 * (1 + s / (3 * h) + v / (12 * h * layers))
    assert 0.98 * thrice < once < thrice


@pytest.mark.parametrize("name", MODELS)
def test_full_recomputation_is_a_forward_pass_without_the_head(name: str) -> None:
    a = MODELS[name]
    model = model_flops_per_token(a, 2048.0)
    again = hardware_flops_per_token(a, recipe(sequence=2048.0, **FULL)) - model
    assert again == pytest.approx(model / 3 - 2 * a.vocabulary * a.hidden, rel=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_recomputed_operators_add_up_to_full_recomputation(name: str) -> None:
    a = MODELS[name]
    base = hardware_flops_per_token(a, recipe(input_only=1.0))
    parts = [hardware_flops_per_token(a, recipe(input_only=1.0, **{again: 1.0})) - base for again in AGAIN]
    full = hardware_flops_per_token(a, recipe(**FULL))
    assert base + sum(parts) == pytest.approx(full, rel=1e-12)
    assert parts[AGAIN.index("again_pointwise")] == 0.0


@pytest.mark.parametrize("name", ["deepseek", "latent"])
def test_latents_expanded_again_count_in_time_and_flops(name: str) -> None:
    """The latents are multiplied by their up-projections once more, on every layer; not the projections to them."""
    a = MODELS[name]
    d = DEVICE._replace(fill_depth=0.0, launch_latency_s=0.0, memory_bytes_per_s=1e30, host_latency_s=0.0, processors=1.0)
    lay = layout(data=8.0)
    none, again = (step_time(a, d, NETWORK, recipe(again_query_key_value=x), lay) for x in (0.0, 1.0))
    weights = a.layers * a.heads * (a.mla_query_rank * (128 + 64) + a.mla_key_value_rank * (128 + 128))
    flops = 2 * weights * 512 * 4096 / 8
    assert again.gemm_s - none.gemm_s == pytest.approx(flops / d.gemm_flops_per_s)
    assert again.hardware_flops - none.hardware_flops == pytest.approx(flops)


# Pipeline, bytes, optimizer, offload.


def batch_of(a: Architecture, lay: Layout, **fields: float) -> Step:
    return Step(*step_time(a, DEVICE, NETWORK, recipe(**fields), lay))


def work_s(step: Step) -> float:
    return sum(getattr(step, p) for p in PHASES if p not in ("bubble_s", "pipeline_s", "optimizer_s", "data_s", "offload_s"))


def test_the_bubble_of_equal_stages_is_p_minus_1_over_m() -> None:
    a = GPT3_175B._replace(vocabulary=1.0)
    lay = layout(pipeline=8.0, overlap_pipeline=1.0)
    plain, halved = (batch_of(a, lay._replace(chunks=v), sequences=24.0) for v in (1.0, 2.0))
    assert plain.bubble_s == pytest.approx(7 / 24 * work_s(plain), rel=5e-3)
    assert halved.bubble_s == pytest.approx(plain.bubble_s / 2, rel=1e-2)


def test_interleaving_pays_at_few_microbatches_and_costs_sends() -> None:
    lay = layout(pipeline=8.0)
    for sequences in (8.0, 256.0):
        one, four = (batch_of(GPT3_175B, lay._replace(chunks=v), sequences=sequences) for v in (1.0, 4.0))
        assert four.pipeline_s == pytest.approx(4 * one.pipeline_s)
        assert four.time_s < one.time_s


@pytest.mark.parametrize(("microbatches", "fills"), [(1.0, 1.0), (4.0, 1 + 3 / 7), (8.0, 2.0), (64.0, 2.0)])
def test_zero_bubble_fills_with_the_gradients_that_there_are(microbatches: float, fills: float) -> None:
    """One microbatch waits for nobody's gradients of weights but its own; from p on each other stage saves two."""
    plain, filled = (batch_of(GPT3_175B, layout(pipeline=8.0, zero_bubble=z), sequences=microbatches) for z in (0.0, 1.0))
    most = fills * 7 * plain.weight_gradient_s
    assert 0.95 * most <= plain.time_s - filled.time_s <= most  # the head's are not counted, so a little is left


@pytest.mark.parametrize("microbatches", [1, 2, 3, 4, 8, 16])
def test_zero_bubble_is_no_shorter_than_its_longest_chain(microbatches: int) -> None:
    """Down all stages, every microbatch on the last, up again, and the last gradient of weights on the first."""
    lay = layout(pipeline=4.0, zero_bubble=1.0, overlap_pipeline=1.0)
    a, d = GPT3_175B._replace(vocabulary=1.0, layers=8.0), DEVICE._replace(overlap_cost=0.0)
    step = Step(*step_time(a, d, NETWORK, recipe(sequences=float(microbatches)), lay))
    forward, weights = step.forward_s, step.weight_gradient_s
    inputs = step.backward_s - weights
    chain = 3 * forward + microbatches * (forward + inputs) + 3 * inputs + weights
    busy = microbatches * (forward + inputs + weights) + 3 * (forward + inputs - weights)
    assert step.time_s - step.optimizer_s == pytest.approx(max(chain, busy), rel=1e-2)


def test_short_end_stages_make_room_for_the_head() -> None:
    a = LLAMA_405B
    balanced, full, even = (batch_of(a, layout(pipeline=16.0, **ends), sequences=64.0) for ends in (
        {}, {"first_layers": 7.0, "last_layers": 7.0}, {"first_layers": 7.875, "last_layers": 7.875}))  # fmt: skip
    assert full.time_s == balanced.time_s
    assert even.time_s != balanced.time_s


def test_a_stage_more_than_divides_the_layers_waits_for_the_fullest() -> None:
    """17 layers over 16 stages: one has two, and a batch takes as long as two layers a stage."""
    a = GPT3_175B._replace(layers=17.0, vocabulary=1.0)
    uneven = batch_of(a, layout(pipeline=16.0, overlap_pipeline=1.0), sequences=1024.0)
    even = batch_of(a._replace(layers=32.0), layout(pipeline=16.0, overlap_pipeline=1.0), sequences=1024.0)
    assert uneven.time_s - uneven.optimizer_s == pytest.approx(even.time_s - even.optimizer_s, rel=0.02)


def test_bytes_sent_by_hand() -> None:
    lay = layout(tensor=2.0, pipeline=2.0, context=2.0, data=2.0, chunks=2.0, zero=1.0)
    step = batch_of(SMALL_GPT, lay, sequences=64.0, sequence=1024.0)
    microbatches, rows = 32, 512 * 256 * 2
    assert step.pipeline_bytes == pytest.approx(2 * 2 * microbatches * rows / 2)
    assert step.tensor_bytes == pytest.approx(microbatches * 2 * 4 * 2 * 1 / 2 * rows)
    assert step.context_bytes == pytest.approx(microbatches * 2 * 3 * 512 * 2 * 8 * 32 / 2 * 2)
    assert step.expert_bytes == 0.0


def test_an_update_touches_what_a_rank_owns() -> None:
    a, d = SMALL_GPT, DEVICE._replace(launch_latency_s=0.0)
    times = [step_time(a, d, NETWORK, recipe(), layout(data=8.0, zero=z)).optimizer_s for z in (0.0, 1.0, 3.0)]
    assert times == pytest.approx([times[0], times[0] / 8, times[0] / 8])


def test_an_optimizer_on_the_host_moves_gradients_weights_and_its_state() -> None:
    """All that it reads and writes is priced at the link's rate, for a host's memory is not its bottleneck here."""
    stored = count_parameters(SMALL_GPT).total - SMALL_GPT.norm_vectors * SMALL_GPT.hidden
    step = batch_of(SMALL_GPT, layout(), optimizer_offload=1.0)
    assert step.offload_s == pytest.approx(stored * (4 + 2 + 30) / 50e9)
    assert step.optimizer_s == 0.0


def test_activations_leave_while_computing_and_wait_where_the_link_is_slow() -> None:
    fast, slow = (Step(*step_time(GPT3_175B, DEVICE._replace(host_link_bytes_per_s=link), NETWORK,
                                  recipe(sequences=4.0, activation_offload=0.5), layout())) for link in (1e15, 1e9))
    assert fast.offload_s == 0.0
    moved = 0.5 * 96 * 4096 * 32 * 12288 / 1e9
    assert slow.offload_s == pytest.approx(4 * (2 * moved - slow.forward_s - slow.backward_s))


def test_a_remainder_costs_a_whole_microbatch() -> None:
    times = [batch_of(SMALL_GPT, layout(data=8.0), sequences=s).gemm_s for s in (64.0, 65.0, 72.0)]
    assert times[0] < times[1] == times[2]


@pytest.mark.parametrize("a", [MIXTRAL_8X7B, DEEPSEEK_V3], ids=["all", "most"])
def test_layers_are_mixed_by_number(a: Architecture) -> None:
    r, lay = recipe(sequences=8.0), layout(expert=8.0, data=8.0)
    heads = step_time(a._replace(layers=1e-9, moe_layers=0.0), DEVICE, NETWORK, r, lay).gemm_s
    dense, experts = (step_time(a._replace(layers=1.0, moe_layers=m), DEVICE, NETWORK, r, lay).gemm_s - heads for m in (0.0, 1.0))
    whole = step_time(a, DEVICE, NETWORK, r, lay).gemm_s - heads
    assert whole == pytest.approx((a.layers - a.moe_layers) * dense + a.moe_layers * experts, rel=1e-6)

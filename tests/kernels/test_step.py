from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.step import ADAM_TRAFFIC_BYTES, Device, Layout, Recipe, Step, step_time
from kernels.transformer import Architecture, count_parameters, model_flops_per_token
from tests.kernels.kernel_models import DEEPSEEK_V3, DEVICE, GPT3_175B, LLAMA_405B, MODELS, NETWORK, SMALL_GPT, layout, recipe

PHASES = [name for name in Step._fields if name.endswith("_s") and name != "time_s"]
powers = st.integers(0, 3).map(lambda e: float(2**e))
names = st.sampled_from(sorted(MODELS))
gains = st.floats(1.0, 10.0)
flags = st.sampled_from([0.0, 1.0])
recipes = st.builds(
    Recipe,
    sequences=st.sampled_from([64.0, 512.0, 2048.0]),
    sequence=st.sampled_from([1024.0, 8192.0]),
    element_bytes=st.just(2.0),
    recompute=st.sampled_from([0.0, 1.0, 2.0]),
    flash=flags,
)
layouts = st.builds(
    Layout, tensor=powers, pipeline=powers, chunks=st.sampled_from([1.0, 2.0]), context=powers, expert=powers,
    data=st.sampled_from([8.0, 64.0]), microbatch=st.sampled_from([1.0, 2.0]), zero=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
    sequence_parallel=flags, overlap_data=flags, overlap_expert=flags,
)  # fmt: skip
SLACK = 1.0 + 1e-12


def gemm_s(d: Device, m: float, n: float, k: float, sixteen: bool = False) -> float:
    rate = d.gemm_flops_per_s_16 if sixteen else d.gemm_flops_per_s
    arithmetic = (2 * m * n * k + 2 * m * n * d.gemm_half_depth) / rate
    return max(arithmetic, 2.0 * (m * k + k * n + m * n) / d.memory_bytes_per_s) + d.launch_latency_s


def dense_on_one_device(a: Architecture, d: Device, r: Recipe, microbatch: float) -> dict[str, float]:
    """Sum a dense GQA or MHA model's step operator by operator, in two-byte elements, on one accelerator."""
    phases = {"gemm_s": 0.0, "attention_s": 0.0, "memory_s": 0.0}
    tokens, h, d_head = microbatch * r.sequence, a.hidden, a.head_dim
    matrices = [
        (h, (a.heads + 2 * a.key_value_heads) * d_head),
        (a.heads * d_head, h),
        (h, (a.ffn_matrices - 1) * a.ffn_hidden),
        (a.ffn_hidden, h),
    ]
    for _ in range(int(r.sequences / microbatch)):
        for _ in range(int(a.layers)):
            passes = 4 if r.recompute == 2 else 3
            phases["gemm_s"] += passes * sum(gemm_s(d, tokens, n, k) for k, n in matrices)
            # Norms: two of (read, write); residuals: two of (two reads, a write). Rotary: q and k read and written.
            # Activation: its inputs read and its output written.
            elements = (2 * 2 + 2 * 3) * tokens * h
            elements += tokens * (2 * (a.heads + a.key_value_heads) * d_head + a.ffn_matrices * a.ffn_hidden)
            pointwise = 2 * elements / d.memory_bytes_per_s + 6 * d.launch_latency_s
            phases["memory_s"] += (4 if r.recompute >= 1 else 3) * pointwise
            if r.flash:
                flops = 4 * microbatch * a.heads * r.sequence * (r.sequence / 2) * d_head
                one = flops / d.attention_flops_per_s + d.launch_latency_s
                phases["attention_s"] += (4.5 if r.recompute == 2 else 3.5) * one
            else:
                rows = microbatch * a.heads * r.sequence
                one = gemm_s(d, rows, r.sequence, d_head, True) + gemm_s(d, rows, d_head, r.sequence, True)
                again = 4 if r.recompute >= 1 else 3
                phases["attention_s"] += again * one
                softmax = 4.5 * 2 * rows * r.sequence / d.memory_bytes_per_s + 2 * d.launch_latency_s
                phases["memory_s"] += again * softmax
        phases["gemm_s"] += 3 * gemm_s(d, tokens, a.vocabulary, h, True)
        loss = 20 * tokens * a.vocabulary + 4 * 2 * tokens * h
        phases["memory_s"] += loss / d.memory_bytes_per_s + 6 * d.launch_latency_s
    stored = count_parameters(a).total - (a.layers * a.norms_per_layer + 1) * a.norm_vectors * h
    phases["optimizer_s"] = ADAM_TRAFFIC_BYTES * stored / d.memory_bytes_per_s + d.launch_latency_s
    return phases


@pytest.mark.parametrize("flash", [0.0, 1.0])
@pytest.mark.parametrize("recompute", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("a", [SMALL_GPT, LLAMA_405B], ids=["small", "llama"])
def test_one_device_is_the_sum_of_its_operators(a: Architecture, recompute: float, flash: float) -> None:
    r = recipe(sequences=8.0, sequence=2048.0, recompute=recompute, flash=flash)
    step = step_time(a, DEVICE, NETWORK, r, layout(microbatch=2.0))
    expected = dense_on_one_device(a, DEVICE, r, 2.0)
    for phase in PHASES:
        assert getattr(step, phase) == pytest.approx(expected.get(phase, 0.0), rel=1e-9, abs=1e-12 * step.time_s), phase
    assert step.time_s == pytest.approx(sum(expected.values()), rel=1e-9)


def test_experts_on_one_device_cost_their_matrices() -> None:
    """One layer of Mixtral: 8 experts of a quarter of the tokens each, as one grouped launch of two products."""
    a = MODELS["mixtral"]._replace(layers=1.0, moe_layers=1.0)
    r = recipe(sequences=1.0)
    lat = DEVICE.launch_latency_s
    experts = 8 * (gemm_s(DEVICE, 1024, 2 * 14336, 4096) - lat + gemm_s(DEVICE, 1024, 4096, 14336) - lat) + 2 * lat
    layer = gemm_s(DEVICE, 4096, 6144, 4096) + gemm_s(DEVICE, 4096, 4096, 4096) + experts + gemm_s(DEVICE, 4096, 8, 4096, True)
    head = gemm_s(DEVICE, 4096, 32000, 4096, True)
    assert step_time(a, DEVICE, NETWORK, r, layout()).gemm_s == pytest.approx(3 * (layer + head))


def test_latent_attention_on_one_device_costs_its_matrices() -> None:
    a = DEEPSEEK_V3._replace(layers=1.0, moe_layers=0.0)
    t = 4096
    shapes = [(7168, 1536 + 512 + 64), (1536, 128 * 192), (512, 128 * 256), (128 * 128, 7168), (7168, 2 * 18432), (18432, 7168)]
    layer = sum(gemm_s(DEVICE, t, n, k) for k, n in shapes)
    step = step_time(a, DEVICE, NETWORK, recipe(sequences=1.0), layout())
    assert step.gemm_s == pytest.approx(3 * (layer + gemm_s(DEVICE, t, 129280, 7168, True)))
    flops = 2 * 128 * (192 + 128) * t * t / 2
    assert step.attention_s == pytest.approx(3.5 * (flops / DEVICE.attention_flops_per_s + DEVICE.launch_latency_s))


@given(names, recipes, layouts)
def test_phases_add_up(name: str, r: Recipe, lay: Layout) -> None:
    step = step_time(MODELS[name], DEVICE, NETWORK, r, lay)
    assert step.time_s == pytest.approx(sum(getattr(step, phase) for phase in PHASES), rel=1e-12)
    assert min(step) >= 0.0
    assert len(PHASES) == 10


@given(names, recipes, layouts)
def test_flops(name: str, r: Recipe, lay: Layout) -> None:
    a = MODELS[name]
    step = step_time(a, DEVICE, NETWORK, r, lay)
    ranks = lay.tensor * lay.pipeline * lay.context * lay.data
    assert step.model_flops * ranks == pytest.approx(r.sequences * r.sequence * model_flops_per_token(a, r.sequence))
    # A forward pass is a third of model FLOPs; the head is not recomputed.
    forward = step.model_flops / 3 - 2 * a.vocabulary * a.hidden * r.sequences * r.sequence / ranks
    again = step.hardware_flops - step.model_flops
    if r.recompute == 2.0:
        assert again == pytest.approx(forward)
    else:
        assert -1e-6 <= again <= forward * SLACK
        assert (again > 0.0) == (r.recompute == 1.0 and (r.flash == 0.0 or a.mla > 0.0))


@pytest.mark.parametrize("name", ["deepseek", "latent"])
def test_latents_expanded_again_count_in_time_and_flops(name: str) -> None:
    """Selective recomputation multiplies the latents by their up-projections once more, on every layer."""
    a, d = MODELS[name], DEVICE._replace(gemm_half_depth=0.0, launch_latency_s=0.0, memory_bytes_per_s=1e30)
    none, again = (step_time(a, d, NETWORK, recipe(recompute=level), layout(data=8.0)) for level in (0.0, 1.0))
    weights = a.layers * a.heads * (a.mla_query_rank * (128 + 64) + a.mla_key_value_rank * (128 + 128))
    flops = 2 * weights * 512 * 4096 / 8
    assert again.gemm_s - none.gemm_s == pytest.approx(flops / d.gemm_flops_per_s)
    assert again.hardware_flops - none.hardware_flops == pytest.approx(flops)


@given(names, recipes, layouts, gains)
def test_better_hardware_is_never_slower(name: str, r: Recipe, lay: Layout, gain: float) -> None:
    a = MODELS[name]
    base = step_time(a, DEVICE, NETWORK, r, lay).time_s
    rates = [DEVICE.gemm_flops_per_s * gain, DEVICE.gemm_flops_per_s_16 * gain, DEVICE.attention_flops_per_s * gain]
    devices = [
        Device(*rates, *DEVICE[3:]),
        DEVICE._replace(attention_flops_per_s=rates[2]),
        DEVICE._replace(memory_bytes_per_s=DEVICE.memory_bytes_per_s * gain),
        DEVICE._replace(launch_latency_s=DEVICE.launch_latency_s / gain),
    ]
    networks = [
        NETWORK._replace(nic_bytes_per_s=NETWORK.nic_bytes_per_s * gain),
        NETWORK._replace(scale_up_bytes_per_s=NETWORK.scale_up_bytes_per_s * gain),
        NETWORK._replace(nic_latency_s=NETWORK.nic_latency_s / gain),
        NETWORK._replace(scale_up_latency_s=NETWORK.scale_up_latency_s / gain),
        NETWORK._replace(oversubscription=max(1.0, NETWORK.oversubscription / gain)),
    ]
    assert all(step_time(a, d, NETWORK, r, lay).time_s <= base * SLACK for d in devices)
    assert all(step_time(a, DEVICE, net, r, lay).time_s <= base * SLACK for net in networks)


@given(names, recipes, layouts)
def test_recomputation_costs_time(name: str, r: Recipe, lay: Layout) -> None:
    none, selective, full = (
        step_time(MODELS[name], DEVICE, NETWORK, r._replace(recompute=level), lay).time_s for level in (0.0, 1.0, 2.0)
    )
    assert none < selective < full


@given(names, recipes, layouts, st.floats(1e-3, 1e3))
def test_scaling_every_rate_scales_time(name: str, r: Recipe, lay: Layout, k: float) -> None:
    a = MODELS[name]
    d = Device(*(rate * k for rate in DEVICE[:3]), DEVICE.gemm_half_depth, DEVICE.memory_bytes_per_s * k,
               DEVICE.launch_latency_s / k)  # fmt: skip
    net = NETWORK._replace(
        scale_up_bytes_per_s=NETWORK.scale_up_bytes_per_s * k, scale_up_latency_s=NETWORK.scale_up_latency_s / k,
        nic_bytes_per_s=NETWORK.nic_bytes_per_s * k, nic_latency_s=NETWORK.nic_latency_s / k,
    )  # fmt: skip
    base, scaled = step_time(a, DEVICE, NETWORK, r, lay), step_time(a, d, net, r, lay)
    assert scaled.time_s * k == pytest.approx(base.time_s, rel=1e-9)
    for phase in PHASES:
        assert getattr(scaled, phase) * k == pytest.approx(getattr(base, phase), rel=1e-9, abs=1e-9 * base.time_s)
    assert scaled.model_flops == base.model_flops


@given(names, recipes, layouts)
def test_overlap_never_adds_time(name: str, r: Recipe, lay: Layout) -> None:
    shown = step_time(MODELS[name], DEVICE, NETWORK, r, lay._replace(overlap_data=0.0, overlap_expert=0.0))
    hidden = step_time(MODELS[name], DEVICE, NETWORK, r, lay._replace(overlap_data=1.0, overlap_expert=1.0))
    # Faster experts leave less to hide the gradients behind: the sum is what never grows.
    assert hidden.time_s <= shown.time_s * SLACK


def test_gradients_of_data_parallel_ranks() -> None:
    """Without overlap, over NICs: fp32 gradients all-reduced; from ZeRO-1 on reduced, and bf16 weights gathered."""
    stored = count_parameters(SMALL_GPT).total - 9 * SMALL_GPT.hidden
    net = NETWORK._replace(domain=1.0, oversubscription=1.0)
    step = step_time(SMALL_GPT, DEVICE, net, recipe(), layout(data=16.0))
    latency = 2 * 15 * net.nic_latency_s
    assert step.data_s == pytest.approx(15 / 16 * (4 + 4) * stored / net.nic_bytes_per_s + latency)
    sharded = step_time(SMALL_GPT, DEVICE, net, recipe(), layout(data=16.0, zero=1.0))
    assert sharded.data_s == pytest.approx(15 / 16 * (4 + 2) * stored / net.nic_bytes_per_s + latency)
    assert sharded.optimizer_s < step.optimizer_s
    full = step_time(SMALL_GPT, DEVICE, net, recipe(), layout(data=16.0, zero=3.0))
    microbatches = 512 / 16
    assert full.data_s == pytest.approx(microbatches * 3 * (15 / 16 * 2 * stored / net.nic_bytes_per_s + 15 * net.nic_latency_s))


def test_tensor_parallel_all_reduces() -> None:
    r = recipe(sequences=4.0, sequence=1024.0)
    ring = 7 / 8 * 1024 * 256 * 2 / NETWORK.scale_up_bytes_per_s + 7 * NETWORK.scale_up_latency_s
    for recompute, a_layer in ((0.0, 4), (1.0, 4), (2.0, 6)):
        step = step_time(SMALL_GPT, DEVICE, NETWORK, r._replace(recompute=recompute), layout(tensor=8.0))
        assert step.tensor_s == pytest.approx(4 * (4 * a_layer + 2) * 2 * ring)


def test_bubble_of_equal_stages() -> None:
    """GPT-3 over 8 stages with 24 microbatches and next to no head: (p - 1) / m of the work."""
    a = GPT3_175B._replace(vocabulary=1.0)
    lay = layout(pipeline=8.0, data=1.0)
    step = step_time(a, DEVICE, NETWORK._replace(nic_latency_s=0.0), recipe(sequences=24.0), lay)
    work = sum(getattr(step, p) for p in PHASES if p not in ("bubble_s", "optimizer_s", "data_s"))
    assert step.bubble_s == pytest.approx(7 / 24 * work, rel=2e-3)
    halved = step_time(a, DEVICE, NETWORK._replace(nic_latency_s=0.0), recipe(sequences=24.0), lay._replace(chunks=2.0))
    assert halved.bubble_s == pytest.approx(step.bubble_s / 2, rel=1e-2)


def test_a_remainder_costs_a_whole_microbatch() -> None:
    times = [step_time(SMALL_GPT, DEVICE, NETWORK, recipe(sequences=s), layout(data=8.0)).gemm_s for s in (64.0, 65.0, 72.0)]
    assert times[0] < times[1] == times[2]

"""An iteration of serving against a list of its operators in plain Python, bounds of the hardware, and what a cache holds."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.collectives import all_reduce_time_s
from kernels.iteration import (
    Replica,
    Software,
    body,
    cache_bytes_per_token,
    cache_tokens,
    context_token,
    ends,
    prompt_key,
    weights_bytes,
)
from kernels.power import PowerModel
from kernels.transformer import Architecture, count_parameters
from tests.kernels.kernel_models import DEEPSEEK_V3, DEVICE, LLAMA_405B, MODELS, NETWORK, RATES, faster
from tests.kernels.slow import SPLIT_COST, TILES, dealt

POWER = PowerModel(idle_w=100.0, tdp_w=700.0, limit_w=700.0, gemm=1.1, memory=0.6, communication=0.2, bubble=0.1, exponent=2.0,
                   floor=0.6)
SOFTWARE = Software(overhead_s=1e-3, request_s=2e-5, logit_bytes=12.0, scaling_s=1e-6, expert_8_efficiency=0.8, unpack_demand=0.1)
FLAT = ((32, 128, 0.45), (16, 128, 0.3))


def replica(**fields: Any) -> Replica:
    plain = {"tensor": 8.0, "pipeline": 1.0, "expert": 1.0, "weight_bytes": 2.0, "cache_bytes": 2.0, "memory_share": 0.9,
             "scaled": 0.0, "unpacked": 0.0, "busiest": 0.0, "software": SOFTWARE}
    return Replica(**{**plain, **fields})


def slow_product_s(m: float, n: float, k: float, rate: float, weight_bytes: float) -> float:
    """Return the time of one product: tiles of every shape dealt to processors, or memory where that takes longer."""
    found = []
    for rows, columns, relative in TILES:
        tiles = ceil(m / rows) * ceil(n / columns)
        whole = dealt(tiles, int(DEVICE.processors)) if tiles < 1e4 else ceil(tiles / DEVICE.processors)
        found.append(min(whole, SPLIT_COST * tiles / DEVICE.processors) * rows * columns / relative)
    for rows, columns, relative in FLAT:  # split over keys so that all processors have some
        tiles = max(DEVICE.processors, ceil(m / rows) * ceil(n / columns))
        found.append(tiles / DEVICE.processors * rows * columns / relative)
    arithmetic_s = min(found) * 2 * (k + DEVICE.fill_depth) * DEVICE.processors / rate
    traffic_s = (weight_bytes * k * n + 2.0 * m * (k + n)) / DEVICE.memory_bytes_per_s
    return max(arithmetic_s, traffic_s) + DEVICE.launch_latency_s


def slow_body_s(a: Architecture, r: Replica, rows: float) -> float:
    """Return the time of all layers of a dense model with grouped attention, operator by operator."""
    total = SOFTWARE.overhead_s
    width = (a.heads / r.tensor + 2 * max(a.key_value_heads / r.tensor, 1)) * a.head_dim
    products = [(width, a.hidden), (a.hidden, a.heads / r.tensor * a.head_dim),
                ((a.ffn_matrices - 1) * a.ffn_hidden / r.tensor, a.hidden), (a.hidden, a.ffn_hidden / r.tensor)]
    heads = (a.heads + 2 * a.key_value_heads) * a.head_dim
    values = 4 * a.norms_per_layer * a.hidden + 3 * heads / r.tensor + 3 * a.ffn_hidden / r.tensor
    for _ in range(int(a.layers)):
        total += sum(slow_product_s(rows, n, k, DEVICE.gemm_flops_per_s, r.weight_bytes) for n, k in products)
        total += rows * 2.0 * values / DEVICE.memory_bytes_per_s + (2 + a.norms_per_layer) * DEVICE.launch_latency_s
        total += 2 * DEVICE.launch_latency_s  # attention, split over keys and joined
        total += 2 * all_reduce_time_s(rows * a.hidden * 2.0, r.tensor, 1.0, NETWORK)
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([1.0, 2.0, 8.0]), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_dense_iteration_is_the_sum_of_its_operators(rows, tensor, weight_bytes):
    r = replica(tensor=tensor, weight_bytes=weight_bytes)
    found = body(LLAMA_405B, DEVICE, NETWORK, r, POWER, float(rows)).time_s
    assert found == pytest.approx(slow_body_s(LLAMA_405B, r, float(rows)), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(MODELS)), st.integers(1, 2000), st.sampled_from([1.0, 2.0]))
def test_no_iteration_is_faster_than_arithmetic_or_weights(name, rows, weight_bytes):
    a = MODELS[name]
    r = replica(tensor=1.0, weight_bytes=weight_bytes)
    p = count_parameters(a)
    head = a.vocabulary * a.hidden
    found = body(a, DEVICE, NETWORK, r, POWER, float(rows)).time_s
    assert found > 2.0 * (p.matrix - head) * rows / DEVICE.gemm_flops_per_s
    if a.moe_layers <= 0.0:
        assert found > (p.matrix - head) * weight_bytes / DEVICE.memory_bytes_per_s


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(MODELS)), st.integers(1, 1000), st.sampled_from(RATES[:4]))
def test_faster_hardware_makes_no_iteration_slower(name, rows, rate):
    r = replica(tensor=1.0)
    slow, fast = (body(MODELS[name], d, NETWORK, r, POWER, float(rows)).time_s for d in (DEVICE, faster(DEVICE, 2.0, rate)))
    assert fast <= slow * (1.0 + 1e-12)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_batch_is_worth_its_while(name):
    r = replica(tensor=1.0)
    one, many = (body(MODELS[name], DEVICE, NETWORK, r, POWER, n) for n in (1.0, 64.0))
    assert one.time_s <= many.time_s < 32.0 * one.time_s
    assert many.demand_s > 0.0


def test_experts_that_are_read_are_those_that_tokens_chose():
    rng = np.random.default_rng(0)
    e, k, rows = int(DEEPSEEK_V3.experts), int(DEEPSEEK_V3.experts_per_token), 40
    drawn = np.mean([np.unique(np.concatenate([rng.choice(e, k, replace=False) for _ in range(rows)])).size for _ in range(300)])
    assert e * (1.0 - (1.0 - k / e) ** rows) == pytest.approx(drawn, rel=0.01)
    # Where memory is the limit, an iteration takes as much longer as more experts are read.
    slow = DEVICE._replace(memory_bytes_per_s=1e9, launch_latency_s=0.0)
    one, more = (body(DEEPSEEK_V3, slow, NETWORK, replica(tensor=1.0), POWER, float(n)).time_s for n in (1, rows))
    p = count_parameters(DEEPSEEK_V3)
    expert_bytes = 3.0 * DEEPSEEK_V3.hidden * DEEPSEEK_V3.expert_hidden * 2.0
    assert (more - one) * 1e9 == pytest.approx(DEEPSEEK_V3.moe_layers * (drawn - k) * expert_bytes, rel=0.05)
    assert p.total * 2.0 > more * 1e9


def test_whole_experts_wait_for_the_rank_with_the_most():
    even, uneven = (body(DEEPSEEK_V3, DEVICE, NETWORK, replica(expert=8.0, busiest=b), POWER, 32.0).time_s for b in (0.0, 1.42))
    assert even < uneven < 2.0 * even


def test_a_token_of_llama_3_1_405b_holds_two_vectors_a_head_and_layer():
    assert cache_bytes_per_token(LLAMA_405B, replica()) == 126 * 2 * 8 * 128 * 2
    assert cache_bytes_per_token(LLAMA_405B, replica(tensor=16.0)) == 126 * 2 * 16 * 128 * 2  # a rank has one head at least
    assert cache_bytes_per_token(DEEPSEEK_V3, replica(tensor=1.0, cache_bytes=1.0)) == 61 * (512 + 64)


def test_what_weights_leave_is_cache():
    r = replica(weight_bytes=1.0)
    p = count_parameters(LLAMA_405B)
    embedding = 128256 * 16384
    assert weights_bytes(LLAMA_405B, r) == pytest.approx(p.total - 2 * embedding + 2 * embedding * 2.0)
    room = 0.9 * 8 * 80e9 - weights_bytes(LLAMA_405B, r)
    assert cache_tokens(LLAMA_405B, r, 80e9) == pytest.approx(room / (126 * 2 * 8 * 128 * 2), abs=1.0)
    assert cache_tokens(LLAMA_405B, replica(), 80e9) < 0.0  # 16 bits do not fit on eight of 80 GB


def test_a_token_of_context_costs_its_bytes_and_a_key_its_flops():
    found = context_token(LLAMA_405B, DEVICE, replica(), POWER)
    assert found.time_s == pytest.approx(126 * 2 * 8 * 128 * 2 / 8 / DEVICE.memory_bytes_per_s)
    key = prompt_key(LLAMA_405B, DEVICE, replica(), POWER)
    assert key.time_s == pytest.approx(4 * 126 * 128 / 8 * (128 + DEVICE.softmax_depth) / DEVICE.attention_flops_per_s)


def test_nothing_takes_no_time():
    assert body(LLAMA_405B, DEVICE, NETWORK, replica(), POWER, 0.0).time_s == 0.0
    assert ends(LLAMA_405B, DEVICE, replica(), POWER, 0.0).time_s == 0.0


@given(st.floats(1.0, 512.0))
def test_power_asked_is_within_what_units_and_memory_ask_for(requests):
    for part in (body(LLAMA_405B, DEVICE, NETWORK, replica(), POWER, requests),
                 ends(LLAMA_405B, DEVICE, replica(), POWER, requests)):
        assert 0.0 <= part.demand_s <= (POWER.gemm + POWER.memory) * part.time_s

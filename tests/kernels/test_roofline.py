from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.packs import Device
from kernels.roofline import attention_time_s, gemm_time_s, stream_time_s
from tests.kernels.kernel_models import DEVICE, faster
from tests.kernels.slow import slow_gemm_s

sizes = st.integers(1, 20_000).map(float)
batches = st.integers(1, 64).map(float)
gains = st.floats(1.0, 100.0)
devices = st.builds(
    lambda flops, memory, latency, depth, processors: DEVICE._replace(
        gemm_flops_per_s=flops, memory_bytes_per_s=memory, launch_latency_s=latency, fill_depth=depth, processors=processors),
    st.floats(1e12, 1e16), st.floats(1e10, 1e16), st.floats(0.0, 1e-4), st.floats(0.0, 2000.0),
    st.sampled_from([1.0, 8.0, 108.0, 132.0]),
)  # fmt: skip
ENDLESS = DEVICE._replace(memory_bytes_per_s=1e30, launch_latency_s=0.0, fill_depth=0.0)


def priced(d: Device, batch: float, m: float, n: float, k: float, written: float = 2.0, element: float = 2.0) -> float:
    return gemm_time_s(batch, m, n, k, d.gemm_flops_per_s, written, element, d)


@given(batches, sizes, sizes, sizes, devices, st.sampled_from([2.0, 4.0, 8.0]), st.sampled_from([2.0, 4.0]))
def test_gemm_is_its_tiles_dealt_to_processors(
    batch: float, m: float, n: float, k: float, d: Device, written: float, element: float
) -> None:
    expected = slow_gemm_s(batch, m, n, k, d.gemm_flops_per_s, d, written, element)
    assert priced(d, batch, m, n, k, written, element) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (7, 1, 9), (2, 8, 3)])
def test_traffic_is_every_element_once(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    read = {("a", i, x) for i in range(m) for x in range(k)} | {("b", x, j) for x in range(k) for j in range(n)}
    d = DEVICE._replace(memory_bytes_per_s=10.0, launch_latency_s=0.25)
    assert priced(d, 1.0, float(m), float(n), float(k), 8.0) == pytest.approx((2 * len(read) + 8 * m * n) / 10 + 0.25)


def test_whole_waves_of_the_largest_tile_run_at_the_full_rate() -> None:
    m, n, k = 256.0 * 12, 128.0 * 11, 4096.0  # 132 tiles
    assert priced(ENDLESS, 1.0, m, n, k) == pytest.approx(2 * m * n * k / 700e12, rel=1e-12)
    assert priced(ENDLESS, 3.0, m, n, k) == pytest.approx(6 * m * n * k / 700e12, rel=1e-12)


def test_a_tile_too_many_costs_less_than_a_wave() -> None:
    """A short last wave is split along the inner dimension, at 8 % of everything."""
    m, n = 256.0 * 12, 128.0 * 11
    assert priced(ENDLESS, 1.0, m, n + 1.0, 512.0) / priced(ENDLESS, 1.0, m, n, 512.0) == pytest.approx(1.08 * 144 / 132)


def test_half_the_rate_where_products_are_as_deep_as_the_fill() -> None:
    deep = priced(ENDLESS, 1.0, 4096.0, 4096.0, 300.0)
    assert priced(ENDLESS._replace(fill_depth=300.0), 1.0, 4096.0, 4096.0, 300.0) == pytest.approx(2.0 * deep)


@given(batches, sizes, sizes, sizes, devices)
def test_no_product_beats_the_peak_or_the_memory(batch: float, m: float, n: float, k: float, d: Device) -> None:
    time_s = priced(d, batch, m, n, k) * (1.0 + 1e-12)
    assert time_s >= 2 * batch * m * n * k / d.gemm_flops_per_s + d.launch_latency_s
    assert time_s >= 2 * batch * (m * k + k * n + m * n) / d.memory_bytes_per_s + d.launch_latency_s


@given(batches, sizes, sizes, sizes, devices, gains)
def test_gemm_is_monotone_in_every_size_and_rate(
    batch: float, m: float, n: float, k: float, d: Device, gain: float
) -> None:
    base = priced(d, batch, m, n, k)
    least = base * (1.0 - 1e-12)
    assert priced(d, batch * gain, m, n, k) >= least
    assert priced(d, batch, m * gain, n, k) >= least
    assert priced(d, batch, m, n + 1.0, k) >= least
    assert priced(d, batch, m, n, k + 1.0) >= least
    assert priced(d, batch, m, n, k, 8.0) >= least
    assert priced(faster(d, gain), batch, m, n, k) <= base
    assert priced(faster(d, gain, "memory_bytes_per_s"), batch, m, n, k) <= base
    assert priced(d._replace(launch_latency_s=d.launch_latency_s / gain), batch, m, n, k) <= base
    assert priced(d._replace(fill_depth=d.fill_depth / gain), batch, m, n, k) <= base


@given(batches, sizes, sizes, sizes, devices)
def test_grouping_products_is_never_slower_than_one_launch_each(
    batch: float, m: float, n: float, k: float, d: Device
) -> None:
    assert priced(d, batch, m, n, k) <= batch * priced(d, 1.0, m, n, k) * (1.0 + 1e-12)


@pytest.mark.parametrize("shape", [(0, 4, 4, 4), (2, 0, 4, 4), (2, 4, 0, 4), (2, 4, 4, 0)])
def test_an_empty_product_is_free(shape: tuple[int, int, int, int]) -> None:
    batch, m, n, k = map(float, shape)
    assert priced(DEVICE, batch, m, n, k) == 0.0


@pytest.mark.parametrize("sequence", [128, 1024, 8192])
def test_causal_attention_takes_whole_tiles_of_keys(sequence: int) -> None:
    """Count two products over every tile of 128 keys that a query touches, exponentials as 30 of the head dimension."""
    keys = sum(128 * ceil((i + 1) / 128) for i in range(sequence))
    d = DEVICE._replace(attention_flops_per_s=8e9, launch_latency_s=0.5)
    expected = 3 * 5 * 2 * 2 * keys * (64 + 30) / 8e9 + 0.5
    assert attention_time_s(3.0, float(sequence), sequence / 2, 1.0, 5.0, 64.0, d) == pytest.approx(expected, rel=1e-12)


def test_every_piece_of_a_ring_has_a_launch_and_a_tile_half_full() -> None:
    one, eight = (attention_time_s(1.0, 512.0, 2048.0, pieces, 8.0, 128.0, DEVICE) for pieces in (1.0, 8.0))
    flops = 4 * 512 * 7 * 64 * 8 * (128 + 30)
    assert eight - one == pytest.approx(flops / 400e12 + 7 * 2e-6)


@given(st.floats(1.0, 1e3), sizes, st.floats(0.0, 1e5), st.integers(1, 8).map(float), gains)
def test_attention_is_monotone(sequences: float, queries: float, keys: float, pieces: float, gain: float) -> None:
    base = attention_time_s(sequences, queries, keys, pieces, 8.0, 128.0, DEVICE)
    assert attention_time_s(sequences * gain, queries, keys, pieces, 8.0, 128.0, DEVICE) >= base
    assert attention_time_s(sequences, queries, keys * gain, pieces, 8.0, 128.0, DEVICE) >= base
    assert attention_time_s(sequences, queries, keys, pieces + 1.0, 8.0, 128.0, DEVICE) >= base
    assert attention_time_s(sequences, queries, keys, pieces, 8.0, 128.0, faster(DEVICE, gain)) <= base


@given(st.floats(0.0, 1e13), st.integers(0, 20), devices, gains)
def test_streams_are_bytes_and_launches(traffic: float, launches: int, d: Device, gain: float) -> None:
    base = stream_time_s(traffic, float(launches), d)
    assert base == pytest.approx(traffic / d.memory_bytes_per_s + sum([d.launch_latency_s] * launches))
    assert stream_time_s(traffic, float(launches), faster(d, gain)) <= base
    assert stream_time_s(traffic * gain, float(launches), d) >= base

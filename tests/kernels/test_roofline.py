from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.roofline import attention_time_s, gemm_time_s, stream_time_s

sizes = st.integers(1, 20_000).map(float)
rates = st.floats(1e9, 1e16)
faster = st.floats(1.0, 100.0)
latencies = st.floats(0.0, 1e-4)


def count_gemm(m: int, n: int, k: int) -> tuple[int, int]:
    """Count multiply-adds and elements of a matrix product by enumeration."""
    operations, touched = 0, set()
    for i in range(m):
        for j in range(n):
            for l in range(k):
                operations += 2
                touched |= {("a", i, l), ("b", l, j)}
            touched.add(("c", i, j))
    return operations, len(touched)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (7, 1, 9), (2, 8, 3)])
def test_gemm_counts_what_a_triple_loop_counts(shape: tuple[int, int, int]) -> None:
    operations, elements = count_gemm(*shape)
    m, n, k = map(float, shape)
    assert gemm_time_s(m, n, k, 10.0, 0.0, 1e30, 2.0, 0.25) == pytest.approx(operations / 10.0 + 0.25)
    assert gemm_time_s(m, n, k, 1e30, 0.0, 10.0, 2.0, 0.25) == pytest.approx(2.0 * elements / 10.0 + 0.25)


def test_gemm_reaches_half_its_rate_at_half_depth() -> None:
    deep = gemm_time_s(4096.0, 4096.0, 300.0, 1e14, 0.0, 1e30, 2.0, 0.0)
    assert gemm_time_s(4096.0, 4096.0, 300.0, 1e14, 300.0, 1e30, 2.0, 0.0) == pytest.approx(2.0 * deep)


@pytest.mark.parametrize("shape", [(0.0, 4.0, 4.0), (4.0, 0.0, 4.0), (4.0, 4.0, 0.0)])
def test_empty_gemm_is_free(shape: tuple[float, float, float]) -> None:
    assert gemm_time_s(*shape, 1.0, 1.0, 1.0, 2.0, 1.0) == 0.0


@given(sizes, sizes, sizes, rates, rates, st.sampled_from([1.0, 2.0, 4.0]), latencies, st.floats(0.0, 2000.0))
def test_gemm_reference(
    m: float, n: float, k: float, peak: float, bandwidth: float, width: float, latency: float, depth: float
) -> None:
    candidates = [2 * m * n * k * (1 + depth / k) / peak, width * sum((m * k, k * n, m * n)) / bandwidth]
    assert gemm_time_s(m, n, k, peak, depth, bandwidth, width, latency) == pytest.approx(max(candidates) + latency)


@given(sizes, sizes, sizes, rates, rates, faster, latencies)
def test_gemm_is_monotone(
    m: float, n: float, k: float, peak: float, bandwidth: float, gain: float, latency: float
) -> None:
    base = gemm_time_s(m, n, k, peak, 100.0, bandwidth, 2.0, latency)
    assert gemm_time_s(m, n, k, peak * gain, 100.0, bandwidth, 2.0, latency) <= base
    assert gemm_time_s(m, n, k, peak, 100.0, bandwidth * gain, 2.0, latency) <= base
    assert gemm_time_s(m, n, k, peak, 100.0, bandwidth, 1.0, latency) <= base
    assert gemm_time_s(m / gain, n, k, peak, 100.0, bandwidth, 2.0, latency) <= base * (1.0 + 1e-12)
    assert base >= latency


@pytest.mark.parametrize("shape", [(2, 3, 3, 2, 4), (1, 5, 5, 3, 8)])
def test_attention_is_two_gemms_per_head(shape: tuple[int, int, int, int, int]) -> None:
    sequences, queries, keys, heads, dim = shape
    operations = 0
    for _ in range(sequences * heads):
        operations += count_gemm(queries, keys, dim)[0] + count_gemm(queries, dim, keys)[0]
    assert attention_time_s(*map(float, shape), 8.0, 0.5) == pytest.approx(operations / 8.0 + 0.5)


@given(st.floats(0.0, 1e13), rates, st.integers(0, 20).map(float), latencies, faster)
def test_stream(traffic: float, bandwidth: float, launches: float, latency: float, gain: float) -> None:
    base = stream_time_s(traffic, bandwidth, launches, latency)
    assert base == pytest.approx(traffic / bandwidth + sum([latency] * int(launches)))
    assert stream_time_s(traffic, bandwidth * gain, launches, latency) <= base
    assert stream_time_s(traffic / gain, bandwidth, launches, latency) <= base

"""Time of one operator: the larger of its arithmetic and its memory traffic, plus a launch.

Source: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, with measured efficiencies in place of peaks.
"""

from __future__ import annotations

from kernels._jit import kernel


@kernel
def gemm_time_s(m: float, n: float, k: float, flops_per_s: float, half_depth: float, bytes_per_s: float,
                element_bytes: float, latency_s: float) -> float:
    """Return the time of C[m, n] = A[m, k] B[k, n], seconds.

    Parameters
    ----------
    m, n, k : float
        Dimensions; k is the inner one.
    flops_per_s : float
        Rate of a deep multiplication, peak times efficiency, FLOP/s.
    half_depth : float
        Inner dimension at which prologue and epilogue of an output tile cost as much as its multiplications.
    bytes_per_s : float
        Memory bandwidth that a streaming kernel reaches, bytes/s.
    element_bytes, latency_s : float
        Bytes of one element; launch latency, s.
    """
    if m <= 0.0 or n <= 0.0 or k <= 0.0:
        return 0.0
    arithmetic_s = 2.0 * m * n * (k + half_depth) / flops_per_s
    traffic_s = element_bytes * (m * k + k * n + m * n) / bytes_per_s
    return max(arithmetic_s, traffic_s) + latency_s


@kernel
def attention_time_s(sequences: float, queries: float, keys: float, heads: float, head_dim: float,
                     flops_per_s: float, latency_s: float) -> float:
    """Return the forward time of fused attention, seconds: 4 x sequences x queries x keys x heads x head_dim FLOPs.

    `keys` is the mean number of keys a query attends to (half the sequence where causal). Source: Dao, "FlashAttention-2",
    arXiv:2307.08691, section 4.1 (FLOPs); `flops_per_s` is peak times the measured efficiency of that kernel.
    """
    return 4.0 * sequences * queries * keys * heads * head_dim / flops_per_s + latency_s


@kernel
def stream_time_s(traffic_bytes: float, bytes_per_s: float, launches: float, latency_s: float) -> float:
    """Return the time of memory-bound operators that move `traffic_bytes` in `launches` kernels, seconds."""
    return traffic_bytes / bytes_per_s + launches * latency_s

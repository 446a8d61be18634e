"""Time of one operator: the larger of its arithmetic and its memory traffic, plus a launch.

Source: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, with measured efficiencies in place of peaks, and the
tile and wave quantisation of matrix products on parallel processors (NVIDIA, "Matrix Multiplication Background User's
Guide", sections 3 and 4, FROM MEMORY).
"""

from __future__ import annotations

import math

from kernels._jit import kernel
from kernels.packs import Device

# Output tiles of matrix products: rows, columns, and rate over that of the largest (less reuse of what a tile loads; NVIDIA's
# guide, figure 7, FROM MEMORY).
_TILES = ((256.0, 128.0, 1.0), (128.0, 128.0, 0.95), (128.0, 64.0, 0.85), (64.0, 64.0, 0.7))
# A product whose last wave is short is split along its inner dimension, at some cost (stream-K, arXiv:2301.03598, FROM MEMORY).
_SPLIT_COST = 1.08
_ATTENTION_TILE = 128.0  # keys that a fused kernel takes at once: FlashAttention-2, arXiv:2307.08691, section 3.3
# FlashAttention-2 does 2.5 times the forward's products backward (arXiv:2307.08691, section 4.1), at some 0.85 of its rate.
ATTENTION_BACKWARD = 2.5 / 0.85


@kernel
def tiled_flops(batch: float, m: float, n: float, k: float, fill_depth: float, processors: float) -> float:
    """Return FLOPs of C[m, n] = A[m, k] B[k, n] with whole tiles dealt to all processors in waves, over the best tile."""
    best = math.inf
    for rows, columns, rate in _TILES:
        tiles = batch * math.ceil(m / rows) * math.ceil(n / columns)
        waves = min(math.ceil(tiles / processors), _SPLIT_COST * tiles / processors)
        best = min(best, waves * rows * columns / rate)
    return 2.0 * best * processors * (k + fill_depth)


@kernel
def gemm_time_s(batch: float, m: float, n: float, k: float, flops_per_s: float, written_bytes: float, element_bytes: float,
                d: Device) -> float:
    """Return the time of `batch` products C[m, n] = A[m, k] B[k, n], seconds.

    Parameters
    ----------
    batch, m, n, k : float
        Number of products in one launch, and their dimensions; k is the inner one.
    flops_per_s : float
        Rate of a large, deep product, peak times efficiency, FLOP/s.
    written_bytes, element_bytes : float
        Traffic per element of C, and of A and B.
    d : Device
        Memory bandwidth, fill depth, processors and launch latency.
    """
    if batch <= 0.0 or m <= 0.0 or n <= 0.0 or k <= 0.0:
        return 0.0
    arithmetic_s = tiled_flops(batch, m, n, k, d.fill_depth, d.processors) / flops_per_s
    traffic_s = batch * (element_bytes * (m * k + k * n) + written_bytes * m * n) / d.memory_bytes_per_s
    return max(arithmetic_s, traffic_s) + d.launch_latency_s


@kernel
def attention_time_s(sequences: float, queries: float, keys: float, pieces: float, heads: float, head_dim: float,
                     d: Device) -> float:
    """Return the forward time of fused attention, seconds.

    4 x sequences x queries x keys x heads x head_dim FLOPs (Dao, "FlashAttention-2", arXiv:2307.08691, section 4.1); keys are
    taken in whole tiles, one more half full for each of `pieces`, and the exponential of a score costs as much as
    `softmax_depth` of head_dim (FlashAttention-3, arXiv:2407.08608, section 3: 3.9 against 989 TFLOP/s on an H100).

    Parameters
    ----------
    keys : float
        Mean keys a query attends to (half the sequence where causal).
    pieces : float
        Kernels over which the keys are spread (context ranks of a ring).
    """
    flops = 4.0 * sequences * queries * (keys + 0.5 * pieces * _ATTENTION_TILE) * heads * (head_dim + d.softmax_depth)
    return flops / d.attention_flops_per_s + pieces * d.launch_latency_s


@kernel
def stream_time_s(traffic_bytes: float, launches: float, d: Device) -> float:
    """Return the time of memory-bound operators that move `traffic_bytes` in `launches` kernels, seconds."""
    return traffic_bytes / d.memory_bytes_per_s + launches * d.launch_latency_s

"""Slow references in plain Python, written from the model's description; several test files check kernels against them."""

from __future__ import annotations

from math import ceil

from kernels.packs import Device

# Output tiles and their relative rates, and what splitting a short last wave costs, as docs/model.md lists them.
TILES = ((256, 128, 1.0), (128, 128, 0.95), (128, 64, 0.85), (64, 64, 0.7))
SPLIT_COST = 1.08


def dealt(tiles: int, processors: int) -> int:
    """Return the tiles of the busiest processor where they are dealt like cards."""
    hands = [0] * processors
    for tile in range(tiles):
        hands[tile % processors] += 1
    return max(hands)


def slow_gemm_s(batch: float, m: float, n: float, k: float, rate: float, d: Device, written: float = 2.0, element: float = 2.0
                ) -> float:
    """Return the time of a matrix product: every tile shape tried, tiles dealt one by one where that is feasible."""
    best = []
    for rows, columns, relative in TILES:
        tiles = batch * len(range(0, ceil(m), rows)) * len(range(0, ceil(n), columns))
        if tiles == int(tiles) and tiles < 1e4:
            whole = float(dealt(int(tiles), int(d.processors)))
        else:
            whole = float(ceil(tiles / d.processors))
        one_s = 2 * rows * columns * (k + d.fill_depth) / (relative * rate / d.processors)
        best.append(min(whole, SPLIT_COST * tiles / d.processors) * one_s)
    moved = batch * (element * m * k + element * k * n + written * m * n)
    return max(min(best), moved / d.memory_bytes_per_s) + d.launch_latency_s

"""Pipeline schedules: how long a batch of microbatches takes through stages, and how much of it is bubble.

Sources: Narayanan et al. 2021 (arXiv:2104.04473) section 2.2: 1F1B bubble (p - 1) (t_f + t_b), interleaved the same over v.
Qi et al. 2024 (arXiv:2401.10241) table 1: the zero-bubble schedule ZB-H1 fills with gradients of weights, (p - 1)
(t_f + t_b - 2 t_w) with t_b including t_w. Layers that do not divide evenly leave the end stages shorter, as in Llama 3
(arXiv:2407.21783 section 3.3.2).
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.packs import Layout


class Stages(NamedTuple):
    """Layers of the pipeline's stages: one first, `middle_stages`, one last (one stage: all in `first`)."""

    first: float
    middle: float  # mean of the middle stages
    last: float
    middle_stages: float
    fullest_middle: float


@kernel
def microbatch_count(sequences: float, data: float, microbatch: float) -> float:
    """Return the microbatches of one pipeline in a step; a remainder counts as a whole one."""
    return max(1.0, -(-sequences // (data * microbatch)))


@kernel
def stages_of(layers: float, lay: Layout) -> Stages:
    """Return the layers of each stage, as given, or balanced: the ceiling in the middle, the rest shared by the ends."""
    p = lay.pipeline
    if p <= 1.0:
        return Stages(layers, 0.0, 0.0, 0.0, 0.0)
    if lay.first_layers > 0.0 or lay.last_layers > 0.0:
        first = lay.first_layers if lay.first_layers > 0.0 else lay.last_layers
        last = lay.last_layers if lay.last_layers > 0.0 else lay.first_layers
        if p <= 2.0:
            return Stages(first, 0.0, layers - first, 0.0, 0.0)
        middle = (layers - first - last) / (p - 2.0)
        return Stages(first, middle, last, p - 2.0, -(-middle // 1.0))
    if p <= 2.0:
        first = -(-layers // 2.0)
        return Stages(first, 0.0, layers - first, 0.0, 0.0)
    fullest = -(-layers // p)
    end = 0.5 * (layers - fullest * (p - 2.0))
    if end < 0.0:  # too few layers are left to fill the middle: short ends, and long and short stages between
        end = layers // p
        return Stages(end, (layers - 2.0 * end) / (p - 2.0), end, p - 2.0, fullest)
    return Stages(end, fullest, end, p - 2.0, fullest)


@kernel
def largest_stage(layers: float, lay: Layout) -> float:
    """Return the layers of the stage that holds most."""
    s = stages_of(layers, lay)
    return max(s.first, s.fullest_middle, s.last)


@kernel
def batch_time_s(microbatches: float, chunks: float, stages: float, slowest_s: float, sum_s: float, saved_s: float,
                 transfer_s: float) -> float:
    """Return the time of a batch, seconds: every microbatch on the slowest stage, and once each of the others to fill.

    With chunks and fewer microbatches than stages, stages wait between chunks: (p + (m - 1) / v) in place of (m + (p - 1) / v).

    Parameters
    ----------
    microbatches, chunks, stages : float
        Microbatches per pipeline, model chunks per stage (1 unless interleaved), pipeline stages.
    slowest_s, sum_s : float
        Forward and backward of one microbatch, on the slowest stage and summed over all stages.
    saved_s : float
        What each other stage saves of its bubble (two gradients of weights with a zero-bubble schedule), summed.
    transfer_s : float
        Exposed transfers of one microbatch between two stages, forward and backward, for one chunk.
    """
    if chunks > 1.0 and microbatches < stages:  # a chunk waits for its microbatches to come through all stages
        return sum_s + stages * chunks * transfer_s + (microbatches - 1.0) * (slowest_s / chunks + transfer_s)
    fill_s = max(0.0, sum_s - slowest_s - saved_s) / chunks
    return microbatches * (slowest_s + chunks * transfer_s) + fill_s + (stages - 1.0) * transfer_s


@kernel
def microbatches_in_flight(microbatches: float, stages: float, chunks: float) -> float:
    """Return the microbatches whose activations the first stage holds (Korthikanti et al., arXiv:2205.05198, s4.2.3).

    ZB-H1 holds as many as 1F1B (arXiv:2401.10241, table 1).
    """
    if stages <= 1.0:
        return 1.0
    if chunks <= 1.0:
        return min(microbatches, stages)
    return min(microbatches, stages * (1.0 + (stages - 1.0) / (stages * chunks)))

"""Pipeline schedules: how long a batch of microbatches takes through stages, and how much of it is bubble.

Source: Narayanan et al. 2021 (arXiv:2104.04473) section 2.2: 1F1B bubble (p - 1) (t_f + t_b), interleaved the same over
v. Layers that do not divide evenly leave the end stages shorter, as in Llama 3 (arXiv:2407.21783 section 3.3.2).
"""

from __future__ import annotations

from kernels._jit import kernel


@kernel
def microbatch_count(sequences: float, data: float, microbatch: float) -> float:
    """Return the microbatches of one pipeline in a step; a remainder counts as a whole one."""
    return max(1.0, -(-sequences // (data * microbatch)))


@kernel
def layers_per_stage(layers: float, stages: float) -> float:
    """Return the layers of a middle stage: the ceiling, so that the two end stages (embedding, head) hold fewer."""
    return -(-layers // stages)


@kernel
def slowest_stage_s(layers: float, stages: float, layer_s: float, head_s: float) -> float:
    """Return the time of one microbatch on the slowest stage, seconds; the head is on the last stage."""
    if stages <= 1.0:
        return layers * layer_s + head_s
    middle = layers_per_stage(layers, stages)
    end = max(0.0, 0.5 * (layers - middle * (stages - 2.0)))  # 0 where too few layers are left to fill the middle
    return max(middle * layer_s, end * layer_s + head_s)


@kernel
def batch_time_s(microbatches: float, stages: float, chunks: float, stage_s: float, transfer_s: float) -> float:
    """Return the time of a batch, seconds.

    Parameters
    ----------
    microbatches, stages, chunks : float
        Microbatches per pipeline, pipeline stages, model chunks per stage (1 unless interleaved).
    stage_s : float
        Forward and backward of one microbatch on the slowest stage.
    transfer_s : float
        One exposed transfer between stages; each microbatch pays two (forward, backward) for each chunk.
    """
    if stages <= 1.0:
        return microbatches * stage_s
    busy_s = stage_s + 2.0 * chunks * transfer_s
    return microbatches * busy_s + (stages - 1.0) / chunks * busy_s


@kernel
def microbatches_in_flight(microbatches: float, stages: float, chunks: float) -> float:
    """Return the microbatches whose activations the first stage holds (Korthikanti et al., arXiv:2205.05198, s4.2.3)."""
    if stages <= 1.0:
        return 1.0
    if chunks <= 1.0:
        return min(microbatches, stages)
    return min(microbatches, stages * (1.0 + (stages - 1.0) / (stages * chunks)))

"""A training recipe as steps: how many, and how large."""

from __future__ import annotations

import math
from typing import NamedTuple

from simulator.scenario import Training

_ELEMENT_BYTES = {"fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 2.0, "fp4": 2.0}


class StepBatch(NamedTuple):
    """A stretch of equal steps."""

    steps: int
    tokens_per_step: float
    sequences: float
    sequence: float


def element_bytes(precision: str) -> float:
    """Return bytes of an activation or gathered weight: fp8 and fp4 recipes keep both in 16 bits."""
    return _ELEMENT_BYTES[precision]


def kept_bytes(precision: str) -> float:
    """Return bytes of an activation kept for the backward pass.

    fp8 recipes keep the quantised inputs of matrix products (DeepSeek-V3, arXiv:2412.19437, section 3.3.3).
    """
    return 1.0 if precision in ("fp8", "fp4") else _ELEMENT_BYTES[precision]


def step_batches(training: Training) -> tuple[StepBatch, ...]:
    """Return the batch schedule as stretches of whole steps; the last step of each may overshoot its tokens."""
    stretches = []
    start = 0.0
    for phase in training.batch_schedule:
        end = min(phase.until if phase.until is not None else training.tokens, training.tokens)
        steps = math.ceil((end - start) / phase.batch - 1e-9)
        if steps > 0:
            sequences = max(1.0, float(round(phase.batch / phase.sequence)))
            stretches.append(StepBatch(steps, phase.batch, sequences, float(phase.sequence)))
            start += steps * phase.batch
    return tuple(stretches)

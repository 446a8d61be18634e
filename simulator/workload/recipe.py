"""A training recipe as steps: how many, how large, and what one of them computes."""

from __future__ import annotations

import math
from typing import NamedTuple

from kernels.packs import Recipe
from simulator.catalog.records import ModelRecord
from simulator.scenario import Training

_ELEMENT_BYTES = {"fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 2.0, "fp4": 2.0}
NARROW = ("fp8", "fp4")
# Memory traffic per scaled element: read in 16 bits, written twice (as it is and transposed) in 8; per-tensor scales of the
# moment need one more read to find the largest (Transformer Engine's delayed scaling, torchao's tensor-wise scaling and
# DeepSeek-V3's blocks, arXiv:2412.19437 section 3.3; counts FROM MEMORY of their kernels).
_SCALING_BYTES = {"delayed": 4.0, "tensorwise": 6.0, "blockwise": 4.0}
# Of the loss, per logit, forward and backward. Fused: read, read, gradient written in place. One by one: cast to fp32,
# log-softmax, its gradient, cast back.
LOSS_BYTES = {"compiled": 8.0, "fused": 8.0, "eager": 28.0}
FUSION = {"eager": 0.0, "fused": 1.0, "compiled": 2.0}


class OptimizerCost(NamedTuple):
    """Memory traffic per updated parameter and state per parameter, bytes; master weights apart from the state."""

    traffic_bytes: float
    state_bytes: float


# Adam reads gradient, master weight and two moments in fp32 and writes master, moments and a 16-bit weight. 8-bit moments:
# Dettmers et al., arXiv:2110.02861. Muon keeps one momentum (Jordan et al. 2024). Adafactor keeps rows and columns of the
# second moment (Shazeer and Stern, arXiv:1804.04235) and reads the gradient twice.
OPTIMIZERS = {
    "adam": OptimizerCost(30.0, 8.0),
    "adamw": OptimizerCost(30.0, 8.0),
    "adamw-8bit": OptimizerCost(18.0, 2.0),
    "muon": OptimizerCost(22.0, 4.0),
    "adafactor": OptimizerCost(18.0, 0.0),
}


class StepBatch(NamedTuple):
    """A stretch of equal steps."""

    steps: int
    tokens_per_step: float
    sequences: float
    sequence: float


class Again(NamedTuple):
    """Shares of a layer's operators computed again in the backward pass, and whether only the layer's input is kept."""

    query_key_value: float = 0.0
    attention: float = 0.0
    output: float = 0.0
    ffn_up: float = 0.0
    ffn_down: float = 0.0
    pointwise: float = 0.0
    input_only: float = 0.0


def again(recompute: str | tuple[str, ...], fused: bool, latent: bool, compiled: bool) -> Again:
    """Return what a `recompute` setting computes again.

    Selective: all but matrix products and fused attention; unfused scores (Korthikanti et al., arXiv:2205.05198, section 5),
    and the expansions of latent attention (DeepSeek-V3, arXiv:2412.19437, section 3.2.3). A compiler rebuilds point-wise
    results rather than keep them, whatever is asked for (PyTorch's min-cut partitioner, FROM MEMORY).
    """
    if isinstance(recompute, tuple):
        return Again(**(dict.fromkeys(recompute, 1.0) | ({"pointwise": 1.0} if compiled else {})))
    if recompute == "full":
        return Again(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    if recompute == "selective":
        return Again(query_key_value=float(latent), attention=float(not fused), pointwise=1.0)
    return Again(pointwise=float(compiled))


def _newton_schulz_flops(model: ModelRecord) -> float:
    """Return FLOPs per parameter of Muon's five iterations on an n x m matrix: 4 n + 2 n^2 / m each (Jordan et al. 2024)."""
    n, m = sorted((float(model.hidden), float(model.ffn_hidden)))
    return 5.0 * (4.0 * n + 2.0 * n * n / m)


def recipe_pack(training: Training, model: ModelRecord, batch: StepBatch) -> Recipe:
    """Return the kernels' parameter pack of one batch."""
    narrow = training.precision in NARROW
    element = _ELEMENT_BYTES[training.precision]
    repeated = again(training.recompute, training.attention == "flash", model.latent_attention is not None,
                     training.elementwise == "compiled")
    cost = OPTIMIZERS[training.optimizer]
    return Recipe(
        sequences=batch.sequences,
        sequence=batch.sequence,
        element_bytes=element,
        # fp8 recipes keep the scaled inputs of matrix products (DeepSeek-V3, arXiv:2412.19437, section 3.3.3).
        kept_bytes=1.0 if narrow else element,
        flash=float(training.attention == "flash"),
        fusion=FUSION[training.elementwise],
        loss_bytes=LOSS_BYTES[training.elementwise],
        again_query_key_value=repeated.query_key_value,
        again_attention=repeated.attention,
        again_output=repeated.output,
        again_ffn_up=repeated.ffn_up,
        again_ffn_down=repeated.ffn_down,
        again_pointwise=repeated.pointwise,
        input_only=repeated.input_only,
        scaling_bytes=_SCALING_BYTES[training.scaling] if narrow else 0.0,
        gradient_bytes=2.0 if training.gradient_precision == "bf16" else 4.0,
        gather_bytes=1.0 if training.weight_gather_precision == "fp8" else element,
        optimizer_traffic_bytes=cost.traffic_bytes,
        optimizer_state_bytes=cost.state_bytes,
        optimizer_flops=_newton_schulz_flops(model) if training.optimizer == "muon" else 0.0,
        activation_offload=training.activation_offload,
        optimizer_offload=float(training.optimizer_offload),
        vocabulary_multiple=float(training.vocabulary_multiple),
        expert_load=training.expert_capacity or training.expert_imbalance,
    )


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

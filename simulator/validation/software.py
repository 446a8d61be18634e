"""What the software behind a published row does where the row does not say: facts of a framework and its time.

From the documentation and sources of each, FROM MEMORY. Nothing here belongs to a row.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Elementwise = Literal["compiled", "fused", "eager"]


class Software(NamedTuple):
    """Defaults of one framework in one year."""

    year: int | None  # of the software era; None: today's
    attention: Literal["flash", "unfused"] = "flash"
    elementwise: Elementwise = "compiled"
    loss_bytes: float = 8.0  # memory traffic per logit; 8: one fused kernel a direction
    whole_layers: bool = True  # full recomputation repeats a layer's last product too; PyTorch stops before it
    every_second_product: bool = False  # selective recomputation repeats every second matrix product
    whole_rows: bool = False  # no sequence parallelism where recomputation is full
    gradient_precision: Literal["fp32", "bf16"] = "fp32"
    overlap_data: float = 1.0  # share of sharded exchanges that may hide
    overlap_unsharded: float = 1.0  # the same of gradients all-reduced without sharding
    gathers_fp8: bool = False
    overlaps_model: bool = False  # tensor, context and pipeline transfers hide behind compute
    splits_by_stages: bool = False  # as many microbatches as stages, two chunks a stage where interleaved


ASSUMPTIONS = (
    "The era follows the year in a source's name (or in its arXiv number), for repositories without one the year of their "
    "benchmark (llm-foundry 2023, TorchTitan 2025); a source without a year has today's software.",
    "Megatron-LM until 2022, and where the notes say megatron-lm: unfused attention, kernels fused by hand, loss in fp32 one "
    "operator after the other, gradients all-reduced in fp32 after the backward pass where nothing is sharded, no sequence "
    "parallelism where recomputation is full (arXiv:2205.05198, section 6).",
    "llm-foundry: eager PyTorch under autocast, a fused loss (8 bytes a logit) beside two training metrics (cross-entropy and "
    "perplexity, each a log-softmax of the logits in 16 bits, 6 bytes), gradients reduced in bf16, and Composer's FSDP default "
    "BACKWARD_POST: a layer's weights are gathered after the backward pass of the next, so that one of three exchanges is "
    "never hidden.",
    "TorchTitan: compiled unless the notes say otherwise; selective recomputation repeats every second matrix product; fp8 "
    "weights are gathered in fp8; a pipeline takes as many microbatches as stages, and two chunks a stage where interleaved.",
    "NeMo, Megatron Bridge and Megatron Core: kernels fused by hand, and transfers of tensor, context (a ring) and pipeline "
    "groups overlap with compute, as their performance recipes have it. So does XLA on TPUs (Wang et al., ASPLOS 2023).",
    "Full recomputation in PyTorch stops before the last product of a layer, whose result nothing needs; in Megatron-LM it "
    "repeats the whole layer.",
    "A gated feed-forward goes with RMS norms and rotary embeddings, a plain one with layer norms and learned positions.",
    "Cells that are missing are taken from the catalog's model of that name; else key-value heads as heads, heads of 128, "
    "feed-forward width 4 x hidden (8/3 where gated), vocabulary 51,200, bf16, no recomputation, context 1.",
    "Tensor, pipeline, microbatch, chunks and sharding that are missing are the fastest that fit in memory, among powers of two "
    "within a node, divisors of the accelerators, divisors of a rank's batch up to 64, divisors of a stage's layers, and ZeRO "
    "1 or 3 (without a pipeline); one chunk where the notes say 1F1B and not interleaved.",
    "Where no step time is published it follows from tokens/s, else from TFLOP/s or MFU as 6 x parameters x tokens.",
)

_MEGATRON = Software(2022, attention="unfused", elementwise="fused", loss_bytes=28.0, whole_rows=True, overlap_unsharded=0.0)
_FOUNDRY = Software(2023, elementwise="eager", loss_bytes=20.0, whole_layers=False, gradient_precision="bf16",
                    overlap_data=2.0 / 3.0)
_NEMO = Software(None, elementwise="fused", overlaps_model=True)
_XLA = Software(None, overlaps_model=True)
_TITAN = Software(2025, whole_layers=False, every_second_product=True, gathers_fp8=True, splits_by_stages=True)


def year_of(source: str) -> int | None:
    """Return the year in a source's name: a year, an arXiv number, or a conference with two digits."""
    found = re.search(r"arXiv:(\d\d)\d\d\.\d", source)
    if found:
        return 2000 + int(found[1])
    found = re.search(r"\b(20[12]\d)\b", source)
    if found:
        return int(found[1])
    found = re.search(r"\b[A-Z][A-Za-z]{1,6}[ ']{1,2}(\d\d)\b", source)
    return 2000 + int(found[1]) if found else None


def software_of(source: str, notes: str, generation: str) -> Software:
    """Return what is known of the software behind a row, from its source, notes and hardware generation."""
    if "llm-foundry" in source:
        return _FOUNDRY
    if "torchtitan" in source.lower():
        if "no torch.compile" in notes or "eager" in notes:
            return _TITAN._replace(elementwise="eager", loss_bytes=28.0)
        return _TITAN
    year = year_of(source)
    if generation == "tpu":
        return _XLA._replace(year=year)
    if re.search(r"nemo\b|megatron[ -](bridge|core)", source.lower()):
        return _NEMO._replace(year=year)
    if "megatron-lm" in notes or (year is not None and year <= 2022):
        return _MEGATRON._replace(year=min(year or 2022, 2022))
    return Software(year)

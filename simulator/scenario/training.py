"""The recipe of a run: batches, precision, what is kept or recomputed, and the layout over the accelerators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from simulator.catalog.records import Precision
from simulator.errors import nearest
from simulator.fields import Count, CountOrZero, RatioFromOne, Record, Share, ShareOrBool, Tokens
from simulator.scenario.checks import FieldError, central
from simulator.units import QuantityError, shorten

# Operators of a layer whose outputs a recipe may recompute one by one, in the order of the forward pass.
OPERATORS = ("query_key_value", "attention", "output", "ffn_up", "ffn_down", "pointwise")
_RECOMPUTE = ("none", "selective", "full")


class _Recompute:
    """Annotation that reads `none`, `selective`, `full` or a list of operators: one validator, so one message."""

    def read(self, value: Any) -> str | tuple[str, ...]:
        """Return the name, or the operators in the order of the forward pass."""
        if not isinstance(value, list | tuple):
            if value in _RECOMPUTE:
                return str(value)
            raise QuantityError(f"found {shorten(value)}; allowed: {', '.join(_RECOMPUTE)} or a list of "
                                f"{', '.join(OPERATORS)}{self._guess(value)}")
        if not value:
            raise QuantityError(f"found []; allowed: none, or a list of {', '.join(OPERATORS)}")
        for i, name in enumerate(value):
            if name not in OPERATORS:
                guess = nearest(name, OPERATORS) if isinstance(name, str) else None
                raise FieldError(str(i), f"found {shorten(name)}; allowed: {', '.join(OPERATORS)}"
                                         + (f"; did you mean {guess!r}?" if guess else ""))
            if name in value[:i]:
                raise FieldError(str(i), f"found {name!r} a second time; allowed: each operator once")
        return tuple(name for name in OPERATORS if name in value)

    def _guess(self, value: Any) -> str:
        if not isinstance(value, str):
            return ""
        guess = nearest(value, (*_RECOMPUTE, *OPERATORS))
        shown = f"[{guess}]" if guess in OPERATORS else repr(guess)
        return f"; did you mean {shown}?" if guess else ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: list(value) if isinstance(value, tuple) else value))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        operators = {"type": "array", "items": {"enum": list(OPERATORS)}, "minItems": 1, "uniqueItems": True}
        return {"anyOf": [{"enum": list(_RECOMPUTE)}, operators]}


class BatchPhase(Record):
    """One stage of the batch schedule."""

    until: Tokens | None = Field(
        default=None, description="tokens trained when the next phase begins, rising; absent: the end, in the last phase only")
    batch: Tokens = Field(description="tokens per optimizer step")
    sequence: Count = Field(description="tokens per sequence")

    @model_validator(mode="after")
    def _batch_holds_a_sequence(self) -> BatchPhase:
        if central(self.batch) < self.sequence:
            raise FieldError("batch", f"found {central(self.batch):g} tokens; allowed: at least one sequence, "
                                      f"{self.sequence}")
        return self


def _may_hide(what: str) -> str:
    return f"share of the {what} that may hide behind compute"


class Layout(Record):
    """How the model is spread over the accelerators."""

    tensor: Count = Field(default=1, description="tensor-parallel ranks; divides the model's heads")
    pipeline: Count = Field(default=1, description="pipeline stages")
    virtual_pipeline: Count = Field(
        default=1, description="model chunks a stage; above 1 needs `interleaved`; 1 with `interleaved` means one layer a chunk")
    first_stage_layers: CountOrZero = Field(
        default=0, description="layers of the first stage; alone it holds for both ends, and other stages share the rest "
                               "equally; not with `interleaved`; 0: balanced, end stages shorter where layers do not divide "
                               "evenly")
    last_stage_layers: CountOrZero = Field(
        default=0, description="layers of the last stage, as `first_stage_layers`; 0: balanced")
    context: Count = Field(default=1, description="context-parallel ranks; divides the sequence")
    context_method: Literal["all-gather", "ring", "ulysses"] = Field(
        default="all-gather", description="keys and values are gathered, or passed around a ring, or heads exchanged for tokens "
                                          "(`ulysses`: `context` divides the heads of a tensor rank)")
    expert: Count = Field(default=1, description="ranks of tensor x context x data among which the experts are split")
    expert_nodes: CountOrZero = Field(
        default=0, description="nodes to which one token is sent at most (DeepSeek-V3, arXiv:2412.19437, section 2.1.2: 4); 0: "
                               "no limit")
    data: CountOrZero = Field(default=0, description="data-parallel ranks; 0: accelerators / (tensor x pipeline x context)")
    microbatch: Count = Field(default=1, description="sequences of a microbatch")
    zero: Literal[0, 1, 2, 3] = Field(default=1, description="ZeRO stage; 3 is fully sharded data parallel")
    shard: CountOrZero = Field(
        default=0, description="ranks of data x context among which ZeRO shards, replicated over the rest (HSDP); divides data "
                               "x context; 0: all")
    schedule: Literal["1f1b", "interleaved", "zero-bubble"] = Field(
        default="1f1b", description="of microbatches (docs/model.md); the last two need a pipeline above 1")
    sequence_parallel: bool = Field(
        default=True, description="norms and residuals are split over the tensor group (arXiv:2205.05198)")
    overlap_tensor: ShareOrBool = Field(default=0.0, description=_may_hide("collectives of the tensor group"))
    overlap_context: ShareOrBool = Field(default=0.0, description=_may_hide("exchanges of the context group"))
    overlap_expert: ShareOrBool = Field(default=0.0, description=_may_hide("all-to-alls of experts"))
    overlap_data: ShareOrBool = Field(default=1.0, description=_may_hide("collectives of gradients and sharded weights"))
    overlap_pipeline: ShareOrBool = Field(default=0.0, description=_may_hide("sends between stages"))

    @property
    def end_stages(self) -> tuple[int, int]:
        """Layers of the first and of the last stage, or (0, 0) where they are balanced; either follows the other."""
        return self.first_stage_layers or self.last_stage_layers, self.last_stage_layers or self.first_stage_layers

    @field_validator("zero", mode="before")
    @classmethod
    def _stage_is_no_boolean(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise QuantityError(f"found {value}; allowed: 0, 1, 2, 3")
        return value

    @model_validator(mode="after")
    def _schedule_fits(self) -> Layout:
        if self.schedule != "interleaved" and self.virtual_pipeline > 1:
            raise FieldError("virtual_pipeline", f"found {self.virtual_pipeline} with schedule {self.schedule!r}; "
                                                 "allowed: 1, or schedule: interleaved")
        if self.schedule != "1f1b" and self.pipeline == 1:
            raise FieldError("schedule", f"found {self.schedule!r} with pipeline 1; allowed: '1f1b', or a pipeline above 1")
        return self

    @model_validator(mode="after")
    def _end_stages_fit(self) -> Layout:
        for key, layers in (("first_stage_layers", self.first_stage_layers), ("last_stage_layers", self.last_stage_layers)):
            if layers and self.pipeline == 1:
                raise FieldError(key, f"found {layers} with pipeline 1; allowed: 0, or a pipeline above 1")
            if layers and self.schedule == "interleaved":
                raise FieldError(key, f"found {layers} with schedule 'interleaved'; allowed: 0, or schedule: 1f1b or "
                                      "zero-bubble")
        return self


def _layout_tag(value: Any) -> str:
    return "<auto>" if value == "auto" else "<mapping>"


LayoutOrAuto = Annotated[
    Annotated[Layout, Tag("<mapping>")] | Annotated[Literal["auto"], Tag("<auto>")], Discriminator(_layout_tag)
]


class Training(Record):
    """The recipe."""

    tokens: Tokens = Field(description="tokens to train on")
    batch_schedule: tuple[BatchPhase, ...] = Field(
        description="phases in order; or `batch` and `sequence` of a single phase beside `tokens`")
    precision: Precision = Field(default="bf16", description="of matrix products; the accelerator must have it")
    scaling: Literal["tensorwise", "delayed", "blockwise"] = Field(
        default="tensorwise", description="how fp8 and fp4 inputs are scaled; no effect in other precisions")
    gradient_precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="in which gradients are reduced over data-parallel ranks")
    weight_gather_precision: Literal["training", "fp8"] = Field(
        default="training", description="in which sharded weights are gathered: 16 bits (`training`), or `fp8` where "
                                        "`precision` is `fp8` or `fp4`")
    optimizer: Literal["adamw", "adam", "adamw-8bit", "muon", "adafactor"] = Field(
        default="adamw", description="its state and update: bytes and time, no effect on the number of steps")
    recompute: Annotated[str | tuple[str, ...], _Recompute()] = Field(
        default="selective", description="activations recomputed in the backward pass: none, `selective` (attention, "
                                         "arXiv:2205.05198), full layers, or those of the operators listed")
    attention: Literal["flash", "unfused"] = Field(
        default="flash", description="a fused kernel (FlashAttention, arXiv:2205.14135), or `unfused`: scores are written to "
                                     "memory")
    elementwise: Literal["compiled", "fused", "eager"] = Field(
        default="compiled", description="norms, rotary embedding, activation and loss: fused by a compiler (`compiled`), by "
                                        "hand as Megatron-LM's (`fused`), or one by one as PyTorch runs them (`eager`)")
    activation_offload: Share = Field(
        default=0.0, description="share of the activations kept, moved to host memory; needs the accelerator's "
                                 "`host_link_bandwidth`")
    optimizer_offload: bool = Field(
        default=False, description="state and update of the optimizer on the host; needs the accelerator's `host_link_bandwidth`")
    vocabulary_multiple: Count = Field(
        default=1, description="the vocabulary is padded to a multiple of this times `tensor`; Megatron-LM: 128")
    expert_imbalance: RatioFromOne = Field(default=1.0, description="tokens of the busiest expert rank over the mean")
    expert_capacity: RatioFromOne | None = Field(
        default=None, description="tokens that an expert takes over the mean: more are dropped, fewer padded; absent: all are "
                                  "taken")
    software_year: Count | None = Field(
        default=None, description="year of the code base, which selects the software era (`clustercost catalog generations "
                                  "ampere`); absent: the run's")
    layout: LayoutOrAuto = Field(default="auto", description="`auto`, the fastest that fits in memory; or a mapping")

    @model_validator(mode="before")
    @classmethod
    def _single_phase(cls, value: Any) -> Any:
        """Read `batch` and `sequence` as the short form of a schedule of one phase."""
        short = {"batch", "sequence"} & set(value) if isinstance(value, Mapping) else set()
        if not short:
            return value
        if "batch_schedule" in value:
            raise FieldError(min(short), f"found {min(short)!r} beside 'batch_schedule'; allowed: one of the two")
        if len(short) == 1:
            (lacking,) = {"batch", "sequence"} - short
            raise FieldError("", f"missing key {lacking!r} beside {min(short)!r}")
        rest = {key: item for key, item in value.items() if key not in short}
        return {**rest, "batch_schedule": [{"batch": value["batch"], "sequence": value["sequence"]}]}

    @model_validator(mode="after")
    def _untils_rise(self) -> Training:
        if not self.batch_schedule:
            raise FieldError("batch_schedule", "found []; allowed: at least one phase")
        *early, last = self.batch_schedule
        if last.until is not None:
            raise FieldError(f"batch_schedule.{len(early)}.until", "found 'until' in the last phase; allowed: none, it "
                                                                   "lasts to the end")
        reached = 0.0
        for i, phase in enumerate(early):
            if phase.until is None:
                raise FieldError(f"batch_schedule.{i}", "missing key 'until'; only the last phase has none")
            until = central(phase.until)
            if until <= reached:
                raise FieldError(f"batch_schedule.{i}.until", f"found {until:g} tokens; allowed: more than the phase "
                                                              f"before, {reached:g}")
            reached = until
        return self

    @model_validator(mode="after")
    def _gathers_what_it_computes_in(self) -> Training:
        if self.weight_gather_precision == "fp8" and self.precision not in ("fp8", "fp4"):
            raise FieldError("weight_gather_precision", f"found 'fp8' with precision {self.precision!r}; allowed: "
                                                        "'training', or precision: fp8 or fp4")
        return self

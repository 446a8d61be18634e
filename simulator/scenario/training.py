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

    until: Tokens | None = Field(default=None, description="tokens trained when the next phase begins; absent: the end")
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

    tensor: Count = 1
    pipeline: Count = 1
    virtual_pipeline: Count = Field(default=1, description="model chunks per stage; above 1 needs `interleaved`")
    first_stage_layers: CountOrZero = Field(default=0, description="layers of the first stage; 0: balanced")
    last_stage_layers: CountOrZero = Field(default=0, description="layers of the last stage; 0: balanced")
    context: Count = 1
    context_method: Literal["all-gather", "ring", "ulysses"] = Field(
        default="all-gather", description="how context ranks see the whole sequence: keys and values gathered, or passed "
                                          "around a ring, or heads exchanged for tokens")
    expert: Count = Field(default=1, description="share of the tensor x context x data pool that splits the experts")
    expert_nodes: CountOrZero = Field(default=0, description="nodes to which one token is sent at most; 0: no limit")
    data: CountOrZero = Field(default=0, description="0: accelerators / (tensor x pipeline x context)")
    microbatch: Count = Field(default=1, description="sequences")
    zero: Literal[0, 1, 2, 3] = Field(default=1, description="ZeRO stage; 3 is fully sharded data parallel")
    shard: CountOrZero = Field(default=0, description="data x context ranks among which ZeRO shards, replicated over the "
                                                      "rest (HSDP); 0: all")
    schedule: Literal["1f1b", "interleaved", "zero-bubble"] = "1f1b"
    sequence_parallel: bool = True
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
    precision: Precision = "bf16"
    scaling: Literal["tensorwise", "delayed", "blockwise"] = Field(
        default="tensorwise", description="how fp8 and fp4 inputs are scaled; no effect in other precisions")
    gradient_precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="in which gradients are reduced over data-parallel ranks")
    weight_gather_precision: Literal["training", "fp8"] = Field(
        default="training", description="in which sharded weights are gathered; training: 16 bits")
    optimizer: Literal["adamw", "adam", "adamw-8bit", "muon", "adafactor"] = "adamw"
    recompute: Annotated[str | tuple[str, ...], _Recompute()] = Field(
        default="selective", description="activations recomputed in the backward pass; or a list of operators")
    attention: Literal["flash", "unfused"] = "flash"
    elementwise: Literal["compiled", "fused", "eager"] = Field(
        default="compiled", description="norms, rotary embedding, activation and loss: fused by a compiler, kernels fused by "
                                        "hand (Megatron-LM, Transformer Engine), or one by one")
    activation_offload: Share = Field(default=0.0, description="share of kept activations moved to host memory")
    optimizer_offload: bool = Field(default=False, description="optimizer state and update on the host")
    vocabulary_multiple: Count = Field(
        default=1, description="the vocabulary is padded to a multiple of this times tensor")
    expert_imbalance: RatioFromOne = Field(default=1.0, description="tokens of the busiest expert rank over the mean")
    expert_capacity: RatioFromOne | None = Field(
        default=None, description="tokens that an expert takes over the mean: more are dropped, fewer padded")
    software_year: Count | None = Field(
        default=None, description="year of the code base, which selects the software era; absent: the year of the run")
    layout: LayoutOrAuto = "auto"

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

"""Rows of published training configurations as the kernels take them; see `software.ASSUMPTIONS` for what rows leave open."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from kernels.packs import Layout, Network, Recipe, Step
from kernels.step import step_time
from kernels.transformer import Architecture, count_parameters
from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, GenerationRecord, ModelRecord, SoftwareEra
from simulator.errors import UserError, unknown_name
from simulator.performance.estimate import Packs, layout_pack, mfu_precision
from simulator.performance.hardware import device, generation, network, peak_flops_per_s
from simulator.performance.search import price_all
from simulator.scenario import Layout as ScenarioLayout
from simulator.scenario import Training
from simulator.validation.software import Software, software_of
from simulator.workload import StepBatch, architecture, recipe_pack

NEEDED = ("id", "sequence", "accelerator", "accelerators")
_ZERO = {"none": 0.0, "ddp": 0.0, "zero-1": 1.0, "zero-2": 2.0, "zero-3": 3.0, "fsdp-grad-op": 2.0, "fsdp-full": 3.0,
         "fsdp": 3.0, "hsdp": 3.0}


@dataclass(frozen=True)
class Case:
    """One row: what the kernel takes, and what was measured (NaN where it was not)."""

    id: str
    source: str
    accelerator: AcceleratorRecord
    precision: str
    year: int | None
    architecture: Architecture
    network: Network
    recipe: Recipe
    layout: Layout
    memory_bytes: float
    measured_s: float

    def step(self, era: SoftwareEra | None = None, g: GenerationRecord | None = None) -> Step:
        """Return the predicted step; `era` and `g` replace the catalog's."""
        g = g or generation(self.accelerator)
        rates = device(self.accelerator, self.precision, era or g.era(self.year), g)
        return Step(*step_time(self.architecture, rates, self.network, self.recipe, self.layout))

    def mfu(self, step: Step) -> float:
        """Return a step's MFU against the 16-bit peak (fp32 and tf32: their own)."""
        return step.model_flops / step.time_s / peak_flops_per_s(self.accelerator, mfu_precision(self.precision))

    @property
    def feasible(self) -> bool:
        """Whether it fits in memory."""
        return self.memory_bytes <= self.accelerator.memory_bytes

    @property
    def parameters(self) -> float:
        """Parameters of the model."""
        return float(count_parameters(self.architecture)[0])


def read_rows(path: Path | None = None, shipped: str = "throughput.csv") -> list[dict[str, str]]:
    """Return the rows of a CSV in the shipped format (a shipped one where no path is given); UserError if unreadable."""
    try:
        text = (path.read_text(encoding="utf-8-sig") if path
                else (resources.files("simulator.validation") / "data" / shipped).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    rows = [{k.strip(): (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(text.splitlines())]
    missing = [key for key in NEEDED if not rows or key not in rows[0]]
    if missing:
        raise UserError(f"{path}: no rows, or no column {missing[0]!r}; needed: {', '.join(NEEDED)}")
    return rows


def _number(row: dict[str, str], key: str) -> float | None:
    """Return a cell as a number, None where it is empty; raise ValueError where it is something else."""
    text = row.get(key, "").replace(",", "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{key}: found {row[key]!r}; allowed: a number or nothing") from error
    if not 0.0 < value < 1e18:
        raise ValueError(f"{key}: found {row[key]!r}; allowed: a number above 0")
    return value


def _whole(row: dict[str, str], key: str) -> int | None:
    value = _number(row, key)
    if value is not None and value != int(value):
        raise ValueError(f"{key}: found {row[key]!r}; allowed: a whole number")
    return None if value is None else int(value)


def _choice(row: dict[str, str], key: str, allowed: tuple[str, ...]) -> str:
    value = row.get(key, "").lower()
    if value and value not in allowed:
        raise ValueError(f"{key}: {unknown_name('value', value, allowed)}")
    return value


def accelerator_of(row: dict[str, str]) -> AcceleratorRecord:
    """Return the accelerator of a row: by its catalog name, or the only one whose name has all words of the row's."""
    name = row["accelerator"].lower()
    names = catalog.names("accelerators")
    if name not in names:
        words = set(re.split(r"[\s_-]+", name))
        alike = [n for n in names if words <= set(n.split("-"))]
        name = alike[0] if len(alike) == 1 else name
    record = catalog.load("accelerators", name)
    nic = _number(row, "nic_gbps_per_accelerator")
    return record if nic is None else record.model_copy(update={"nic_bandwidth_bytes_per_s": nic * 1e9 / 8.0})


def model_of(row: dict[str, str]) -> ModelRecord:
    """Return the model of a row; raise ValueError where layers or hidden size are neither given nor known by name."""
    name = row.get("model", "").lower()
    layers, hidden = _whole(row, "layers"), _whole(row, "hidden")
    known = catalog.load("models", name) if name in catalog.names("models") else None
    if known and layers in (None, known.layers) and hidden in (None, known.hidden):
        given = {"heads": _whole(row, "heads"), "key_value_heads": _whole(row, "kv_heads"),
                 "ffn_hidden": _whole(row, "ffn_hidden"), "vocabulary": _whole(row, "vocab")}
        return known.model_copy(update={key: value for key, value in given.items() if value is not None})
    if layers is None or hidden is None:
        raise ValueError(f"{'layers' if layers is None else 'hidden'} is missing, and no model {name!r} is in the catalog")
    heads = _whole(row, "heads") or max(1, hidden // 128)
    gated = _choice(row, "gated_mlp", ("yes", "no")) == "yes"
    return ModelRecord(
        name=name or "model", layers=layers, hidden=hidden, heads=heads, key_value_heads=_whole(row, "kv_heads") or heads,
        ffn_hidden=_whole(row, "ffn_hidden") or (8 * hidden // 3 if gated else 4 * hidden), gated=gated,
        vocabulary=_whole(row, "vocab") or 51200, tied_embeddings=_choice(row, "tied_embeddings", ("yes", "no")) != "no",
        norm="rmsnorm" if gated else "layernorm", learned_positions=0 if gated else int(float(row["sequence"])))


def precision_of(row: dict[str, str]) -> str:
    """Return the training precision; fp16 and bf16 run at one rate."""
    precision = _choice(row, "precision", ("fp32", "tf32", "fp16", "bf16", "fp8", "fp4")) or "bf16"
    return "bf16" if precision == "fp16" else precision


def _recipe(row: dict[str, str], model: ModelRecord, software: Software, sequences: float) -> Recipe:
    sequence, precision = _whole(row, "sequence") or 0, precision_of(row)
    recompute = _choice(row, "recompute", ("none", "selective", "full")) or "none"
    tokens = sequence * sequences
    training = Training.model_validate({
        "tokens": tokens, "batch": tokens, "sequence": sequence, "precision": precision, "recompute": recompute,
        "attention": software.attention, "elementwise": software.elementwise,
        "gradient_precision": software.gradient_precision,
        "weight_gather_precision": "fp8" if precision == "fp8" and software.gathers_fp8 else "training",
        "activation_offload": 1.0 if _choice(row, "activation_offload", ("yes", "no")) == "yes" else 0.0})
    pack = recipe_pack(training, model, StepBatch(1, tokens, sequences, float(sequence)))
    pack = pack._replace(loss_bytes=software.loss_bytes)
    if recompute == "full" and not software.whole_layers:
        pack = pack._replace(again_ffn_down=0.0)
    if recompute == "selective" and software.every_second_product:
        # Of query, key, value, output, gate, up, down (without gate: query, key, value, output, up, down) the even ones.
        key_share = 1.0 / (model.heads / (model.key_value_heads or model.heads) + 2.0)
        pack = pack._replace(again_query_key_value=key_share, again_output=1.0, again_ffn_up=0.5 if model.gated else 0.0,
                             again_ffn_down=0.0 if model.gated else 1.0)
    return pack


def _divisors(number: int, limit: int) -> list[int]:
    return [n for n in range(1, min(number, limit) + 1) if number % n == 0]


def _chunks(row: dict[str, str], software: Software, layers: int, pipeline: int) -> list[int]:
    notes = row.get("notes", "").lower()
    given, interleaved = _whole(row, "virtual_pipeline"), "interleaved" in notes
    if given:
        return [given]
    if pipeline <= 1 or ("1f1b" in notes and not interleaved):
        return [1]
    if interleaved and software.splits_by_stages:
        return [2]
    chunks = _divisors(-(-layers // pipeline), layers)
    return [c for c in chunks if c > 1] or chunks if interleaved else chunks


def _microbatches(row: dict[str, str], software: Software, sequences: int, data: int, pipeline: int) -> list[int]:
    given, accumulated = _whole(row, "microbatch"), _whole(row, "gradient_accumulation")
    local = max(1, sequences // data)
    if given:
        return [given]
    if accumulated and local % accumulated == 0 and pipeline <= 1:
        return [local // accumulated]
    if software.splits_by_stages and pipeline > 1 and local % pipeline == 0:
        return [local // pipeline]
    return _divisors(local, 64)


def _layouts(row: dict[str, str], software: Software, model: ModelRecord, accelerator: AcceleratorRecord, sequences: int
             ) -> Iterator[Layout]:
    """Yield the layouts a row leaves open: one where all is published."""
    n, context = _whole(row, "accelerators") or 1, _whole(row, "context") or 1
    tensor, pipeline, data = (_whole(row, key) for key in ("tensor", "pipeline", "data"))
    tensors = [tensor] if tensor else [t for t in _divisors(model.heads, min(8, accelerator.scale_up_domain)) if t & (t - 1) == 0]
    pipelines = [pipeline] if pipeline else _divisors(n, model.layers)
    sharding = _choice(row, "sharding", tuple(_ZERO))
    notes = row.get("notes", "").lower()
    whole_rows = software.whole_rows and row.get("recompute") == "full"
    hides = float(software.overlaps_model)
    base = layout_pack(ScenarioLayout(), n, model.layers)._replace(
        context=context, context_method=hides, overlap_context=hides, overlap_pipeline=hides,
        overlap_tensor=max(hides, float("asynchronous tp" in notes or "async tp" in notes)))
    for t, p in itertools.product(tensors, pipelines):
        d = data or n // (t * p * context)
        if t * p * context * d != n:
            if tensor and pipeline:
                raise ValueError(f"tensor x pipeline x context x data is {t * p * context * d}, not the {n} accelerators")
            continue
        zeros = [_ZERO[sharding]] if sharding else [1.0] if p > 1 else [1.0, 3.0]
        for zero, chunks, microbatch in itertools.product(
                zeros, _chunks(row, software, model.layers, p), _microbatches(row, software, sequences, d, p)):
            yield base._replace(
                tensor=t, pipeline=p, data=d, zero=zero, chunks=chunks, microbatch=microbatch,
                shard=max(1.0, accelerator.scale_up_domain / t) if sharding == "hsdp" else 0.0,
                sequence_parallel=float(t > 1 and not whole_rows),
                overlap_data=software.overlap_data if zero > 0.0 else software.overlap_unsharded)


def sequences_of(row: dict[str, str]) -> int:
    """Return the sequences of a step: published, or microbatch x accumulation x data ranks; ValueError where neither is."""
    published = _whole(row, "global_batch_sequences")
    if published:
        return published
    microbatch, data, accumulated = (_whole(row, key) for key in ("microbatch", "data", "gradient_accumulation"))
    if microbatch and data:
        return microbatch * data * (accumulated or 1)
    raise ValueError("global_batch_sequences is missing, and so is microbatch or data")


def read_case(row: dict[str, str]) -> Case:
    """Return the case of a row; raise ValueError, or UserError with the nearest name, where it cannot be priced."""
    for key in NEEDED[1:]:
        if not row.get(key):
            raise ValueError(f"{key} is missing")
    model, sequences = model_of(row), sequences_of(row)
    accelerator, precision = accelerator_of(row), precision_of(row)
    software = software_of(row.get("source", ""), row.get("notes", ""), accelerator.generation)
    fabric = catalog.load("fabrics", "llama3-roce" if "RoCE" in row.get("notes", "") else "infiniband-fat-tree")
    g = generation(accelerator)
    found = Packs(architecture(model), device(accelerator, precision, g.era(software.year), g),
                  network(accelerator, fabric, _whole(row, "accelerators") or 1), _recipe(row, model, software, float(sequences)))
    options = list(_layouts(row, software, model, accelerator, sequences))
    if not options:
        raise ValueError("no tensor and pipeline sizes give the accelerators of this row")
    priced = price_all(np.array(options), found, accelerator.memory_bytes)
    # The fastest of those that fit; where none does, the smallest, marked as not feasible.
    fits = bool(np.isfinite(priced.times_s).any())
    best = int(np.argmin(priced.times_s if fits else priced.memories_bytes))
    return Case(row["id"], row.get("source", ""), accelerator, precision, software.year, found.architecture, found.network,
                found.recipe, options[best], float(priced.memories_bytes[best]),
                measured_time_s(row, model, sequences, accelerator, precision))


def measured_time_s(row: dict[str, str], model: ModelRecord, sequences: float, accelerator: AcceleratorRecord, precision: str
                    ) -> float:
    """Return the published step time, or what follows from tokens/s, TFLOP/s or MFU; NaN where nothing does."""
    published = _number(row, "step_time_s")
    if published:
        return published
    tokens = sequences * float(row["sequence"]) / float(row["accelerators"])
    rate = _number(row, "tokens_per_s_per_accelerator")
    if rate:
        return tokens / rate
    # 6 FLOPs a parameter and token, as papers that publish FLOP/s count them.
    flops = tokens * 6.0 * float(count_parameters(architecture(model))[1])
    tflops, mfu = _number(row, "model_tflops_per_accelerator"), _number(row, "mfu_percent")
    if tflops:
        return flops / (tflops * 1e12)
    return flops / (mfu / 100.0 * peak_flops_per_s(accelerator, mfu_precision(precision))) if mfu else float("nan")

"""Step times against published training configurations, and the calibration of a generation on them.

What a row does not publish is set by one rule for all rows of its source, given in `ASSUMPTIONS`; nothing is set by row.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from kernels.collectives import Network
from kernels.step import Layout, Recipe, step_time
from kernels.transformer import Architecture, count_parameters
from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, FabricRecord, GenerationRecord, ModelRecord
from simulator.errors import UserError
from simulator.performance.hardware import device, network
from simulator.workload import architecture

ASSUMPTIONS = (
    "Attention is unfused in rows of 2021 and 2022 and of Megatron-LM in MegaScale's table, else fused.",
    "Sequence parallelism is off where recomputation is full in rows of 2021 and 2022, else on.",
    "Unsharded data parallelism (sharding none) does not overlap gradients; ZeRO and FSDP do.",
    "`fsdp-grad-op` is priced as ZeRO-1: weights are gathered once a step.",
    "Microbatch 1 where not published; virtual stages: one layer each where the notes say interleaved; 1F1B otherwise.",
    "Narayanan et al. 2021 publish neither: microbatch 4 below 100 B parameters and 1 above, two chunks a stage.",
    "Where only TFLOP/s is published, the step time is 6 x parameters x tokens over it.",
)
FITTED = ("gemm_efficiency", "gemm_half_depth", "attention_efficiency", "memory_efficiency")
_LOW, _HIGH = (0.3, 0.0, 0.1, 0.6), (1.0, 400.0, 1.0, 0.9)
_RECOMPUTE = {"none": 0.0, "selective": 1.0, "full": 2.0}
_ZERO = {"none": 0.0, "zero-1": 1.0, "fsdp-grad-op": 1.0, "fsdp-full": 3.0}


@dataclass(frozen=True)
class Case:
    """One row: what the kernel takes, and what was measured."""

    id: str
    source: str
    accelerator: AcceleratorRecord
    precision: str
    architecture: Architecture
    network: Network
    recipe: Recipe
    layout: Layout
    measured_s: float

    def predicted_s(self, measured: GenerationRecord | None = None) -> float:
        """Return the predicted step time, s; `measured` replaces the catalog's efficiencies."""
        rates = device(self.accelerator, self.precision, measured)
        return float(step_time(self.architecture, rates, self.network, self.recipe, self.layout)[0])

    @property
    def parameters(self) -> float:
        """Parameters of the model."""
        return float(count_parameters(self.architecture)[0])


def _number(row: dict[str, str], key: str, default: float) -> float:
    return float(row[key]) if row.get(key) else default


def _architecture(row: dict[str, str]) -> Architecture:
    heads = int(row["heads"])
    return architecture(ModelRecord(
        name=row["model"], layers=int(row["layers"]), hidden=int(row["hidden"]), heads=heads,
        key_value_heads=int(row["kv_heads"] or heads), ffn_hidden=int(row["ffn_hidden"]), gated=row["gated_mlp"] == "yes",
        vocabulary=int(row["vocab"]), tied_embeddings=row["tied_embeddings"] != "no"))


def _layout(row: dict[str, str], old: bool, parameters: float) -> Layout:
    pipeline = _number(row, "pipeline", 1.0)
    megatron21 = row["id"].startswith("megatron21")
    chunks = _number(row, "virtual_pipeline", 0.0)
    if not chunks:
        chunks = 1.0
        if pipeline > 1 and megatron21:
            chunks = 2.0
        elif pipeline > 1 and "interleaved" in row["notes"]:
            chunks = float(-(-int(row["layers"]) // int(pipeline)))
    default_microbatch = (4.0 if parameters < 1e11 else 1.0) if megatron21 else 1.0
    zero = _ZERO[row["sharding"]]
    return Layout(
        tensor=_number(row, "tensor", 1.0), pipeline=pipeline, chunks=chunks, context=_number(row, "context", 1.0),
        expert=1.0, data=_number(row, "data", 1.0), microbatch=_number(row, "microbatch", default_microbatch), zero=zero,
        sequence_parallel=float(not (old and row["recompute"] == "full")), overlap_data=float(zero > 0), overlap_expert=0.0)


def read_cases(path: Path | None = None) -> list[Case]:
    """Return the cases of a CSV in the shipped format (the shipped one where no path is given); UserError if unreadable."""
    try:
        text = (path.read_text(encoding="utf-8") if path
                else (resources.files("simulator.validation") / "data" / "throughput.csv").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    cases = []
    for line, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        try:
            cases.append(_case(row))
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path or 'throughput.csv'}:{line}: {type(error).__name__}: {error}") from error
    return cases


def _case(row: dict[str, str]) -> Case:
    arch = _architecture(row)
    parameters = float(count_parameters(arch)[0])
    old = row["source"].startswith(("Narayanan", "Korthikanti"))
    unfused = old or row["source"].startswith("MegaScale")
    accelerator = catalog.load("accelerators", row["accelerator"])
    assert isinstance(accelerator, AcceleratorRecord)
    nic = _number(row, "nic_gbps_per_accelerator", 0.0) * 1e9 / 8.0
    if nic:
        accelerator = accelerator.model_copy(update={"nic_bandwidth_bytes_per_s": nic})
    n = int(row["accelerators"])
    fabric_name = "llama3-roce" if "RoCE" in row["notes"] else "infiniband-fat-tree"
    fabric = catalog.load("fabrics", fabric_name)
    assert isinstance(fabric, FabricRecord)
    recipe = Recipe(sequences=float(row["global_batch_sequences"]), sequence=float(row["sequence"]), element_bytes=2.0,
                    recompute=_RECOMPUTE[row["recompute"]], flash=float(not unfused))
    measured_s = _number(row, "step_time_s", 0.0)
    if not measured_s:
        tokens = recipe.sequences * recipe.sequence
        measured_s = 6.0 * parameters * tokens / n / (float(row["model_tflops_per_accelerator"]) * 1e12)
    precision = "bf16" if row["precision"] == "fp16" else row["precision"]
    return Case(row["id"], row["source"], accelerator, precision, arch, network(accelerator, fabric, n), recipe,
                _layout(row, old, parameters), measured_s)


def errors(cases: list[Case], measured: GenerationRecord | None = None) -> np.ndarray:
    """Return predicted over measured step time minus one, shape (cases,)."""
    return np.array([case.predicted_s(measured) / case.measured_s - 1.0 for case in cases])


def calibrate(cases: list[Case], start: GenerationRecord) -> GenerationRecord:
    """Return the efficiencies of one generation fitted to its cases.

    Minimises the soft-L1 norm (scale 5 %) of the logarithm of predicted over measured time, over `FITTED` within bounds
    (scipy.optimize.least_squares). Everything else stays as in `start`.
    """
    from scipy.optimize import least_squares

    def record(x: np.ndarray) -> GenerationRecord:
        return start.model_copy(update=dict(zip(FITTED, (float(v) for v in x), strict=True)))

    first = np.clip([getattr(start, name) for name in FITTED], np.array(_LOW) + 1e-3, np.array(_HIGH) - 1e-3)
    fit = least_squares(lambda x: np.log1p(errors(cases, record(x))), first, bounds=(_LOW, _HIGH), loss="soft_l1",
                        f_scale=0.05, x_scale=[0.1, 100.0, 0.1, 0.1])
    return record(fit.x)


def leave_one_source_out(cases: list[Case], start: GenerationRecord) -> dict[str, float]:
    """Return, by source, the mean absolute error on its rows of a fit that did not see them."""
    found = {}
    for source in sorted({case.source for case in cases}):
        held = [case for case in cases if case.source == source]
        rest = [case for case in cases if case.source != source]
        if rest:
            found[source] = float(np.abs(errors(held, calibrate(rest, start))).mean())
    return found


def statistics(values: np.ndarray) -> dict[str, float]:
    """Return count, mean absolute error, bias and worst error."""
    return {"rows": float(values.size), "mean_absolute_error": float(np.abs(values).mean()), "bias": float(values.mean()),
            "worst": float(values[np.argmax(np.abs(values))]) if values.size else math.nan}

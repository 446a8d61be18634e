"""Step times against published training configurations, and the calibration of a generation on them.

What a row does not publish is set by one rule for all rows of its source, given in `ASSUMPTIONS`; nothing is set by row.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from kernels.collectives import Network
from kernels.step import Layout, Recipe, Step, step_time
from kernels.transformer import Architecture, count_parameters
from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, GenerationRecord, ModelRecord
from simulator.errors import UserError
from simulator.performance.estimate import RECOMPUTE, mfu_precision, packed_memory
from simulator.performance.hardware import device, network, peak_flops_per_s
from simulator.workload import architecture, kept_bytes

ASSUMPTIONS = (
    "Attention is unfused in rows of 2021 and 2022 and of Megatron-LM in MegaScale's table, else fused.",
    "Sequence parallelism is off where recomputation is full in rows of 2021 and 2022, else on.",
    "Unsharded data parallelism (sharding none) does not overlap gradients; ZeRO and FSDP do.",
    "`fsdp-grad-op` is priced as ZeRO-1, weights gathered once a step, and remembered as ZeRO-2.",
    "A microbatch or virtual stages not published are the fastest that fit in memory; one chunk where the notes say 1F1B.",
    "Missing cells: key-value heads as heads, feed-forward width 4 x hidden, vocabulary 51,200, data what the other sizes "
    "leave, ZeRO-1, no recomputation, bf16.",
    "Where no step time is published it follows from tokens/s, else from TFLOP/s or MFU as 6 x parameters x tokens.",
)
FITTED = ("gemm_efficiency", "gemm_half_depth", "attention_efficiency", "memory_efficiency")
_LOW, _HIGH = (0.3, 0.0, 0.1, 0.6), (1.0, 400.0, 1.0, 0.9)
NEEDED = ("id", "layers", "hidden", "heads", "sequence", "accelerator", "accelerators", "global_batch_sequences")
_ZERO = {"none": 0.0, "zero-1": 1.0, "fsdp-grad-op": 1.0, "fsdp-full": 3.0}


@dataclass(frozen=True)
class Case:
    """One row: what the kernel takes, and what was measured (NaN where it was not)."""

    id: str
    source: str
    accelerator: AcceleratorRecord
    precision: str
    architecture: Architecture
    network: Network
    recipe: Recipe
    layout: Layout
    feasible: bool
    measured_s: float

    def predicted_s(self, measured: GenerationRecord | None = None) -> float:
        """Return the predicted step time, s; `measured` replaces the catalog's efficiencies."""
        rates = device(self.accelerator, self.precision, measured)
        return float(step_time(self.architecture, rates, self.network, self.recipe, self.layout)[0])

    def predicted_mfu(self) -> float:
        """Return the predicted MFU against the 16-bit peak."""
        rates = device(self.accelerator, self.precision)
        step = Step(*step_time(self.architecture, rates, self.network, self.recipe, self.layout))
        return step.model_flops / step.time_s / peak_flops_per_s(self.accelerator, mfu_precision(self.precision))

    @property
    def parameters(self) -> float:
        """Parameters of the model."""
        return float(count_parameters(self.architecture)[0])


def _number(row: dict[str, str], key: str, default: float) -> float:
    return float(row[key]) if row.get(key) else default


def _architecture(row: dict[str, str]) -> Architecture:
    heads, hidden = int(row["heads"]), int(row["hidden"])
    return architecture(ModelRecord(
        name=row.get("model") or "model", layers=int(row["layers"]), hidden=hidden, heads=heads,
        key_value_heads=int(row.get("kv_heads") or heads), ffn_hidden=int(row.get("ffn_hidden") or 4 * hidden),
        gated=row.get("gated_mlp") == "yes", vocabulary=int(row.get("vocab") or 51200),
        tied_embeddings=row.get("tied_embeddings") != "no"))


def _layouts(row: dict[str, str], old: bool, sequences: float) -> list[Layout]:
    """Return the layouts a row leaves open: one where all is published."""
    tensor, pipeline, context = (_number(row, key, 1.0) for key in ("tensor", "pipeline", "context"))
    n = float(row["accelerators"])
    data = _number(row, "data", n // (tensor * pipeline * context))
    if tensor * pipeline * context * data != n:
        raise ValueError(f"tensor x pipeline x context x data is {tensor * pipeline * context * data:.0f}, not the {n:.0f} "
                         "accelerators")
    stage = int(-(-int(row["layers"]) // int(pipeline)))
    chunks = [c for c in range(1, stage + 1) if stage % c == 0]
    if pipeline <= 1.0 or "1F1B" in row.get("notes", ""):
        chunks = [1]
    if row.get("virtual_pipeline"):
        chunks = [int(float(row["virtual_pipeline"]))]
    elif "interleaved" in row.get("notes", "") and pipeline > 1.0:
        chunks = [c for c in chunks if c > 1] or chunks
    local = max(1, int(sequences // data))
    microbatches = [b for b in range(1, min(local, 64) + 1) if local % b == 0]
    if row.get("microbatch"):
        microbatches = [int(float(row["microbatch"]))]
    zero = _ZERO[row.get("sharding") or "zero-1"]
    sequence_parallel = float(tensor > 1 and not (old and row.get("recompute") == "full"))
    return [Layout(tensor=tensor, pipeline=pipeline, chunks=float(c), context=context, expert=1.0, data=data,
                   microbatch=float(b), zero=zero, sequence_parallel=sequence_parallel, overlap_data=float(zero > 0),
                   overlap_expert=0.0) for c in chunks for b in microbatches]


def read_rows(path: Path | None = None) -> list[dict[str, str]]:
    """Return the rows of a CSV in the shipped format (the shipped one where no path is given); UserError if unreadable."""
    try:
        text = (path.read_text(encoding="utf-8") if path
                else (resources.files("simulator.validation") / "data" / "throughput.csv").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(text.splitlines())]
    missing = [key for key in NEEDED if not rows or key not in rows[0]]
    if missing:
        raise UserError(f"{path}: no rows, or no column {missing[0]!r}; needed: {', '.join(NEEDED)}")
    return rows


def read_case(row: dict[str, str]) -> Case:
    """Return the case of a row; raise ValueError, or UserError with the nearest name, where it cannot be priced."""
    for key in NEEDED[1:]:
        if not row.get(key):
            raise ValueError(f"{key} is missing")
    arch = _architecture(row)
    source = row.get("source", "")
    old = source.startswith(("Narayanan", "Korthikanti"))
    accelerator = catalog.load("accelerators", row["accelerator"])
    nic = _number(row, "nic_gbps_per_accelerator", 0.0) * 1e9 / 8.0
    if nic:
        accelerator = accelerator.model_copy(update={"nic_bandwidth_bytes_per_s": nic})
    fabric = catalog.load("fabrics", "llama3-roce" if "RoCE" in row.get("notes", "") else "infiniband-fat-tree")
    recipe = Recipe(sequences=float(row["global_batch_sequences"]), sequence=float(row["sequence"]), element_bytes=2.0,
                    recompute=RECOMPUTE[row.get("recompute") or "none"],
                    flash=float(not (old or source.startswith("MegaScale"))))
    precision = {"fp16": "bf16", "": "bf16"}.get(row.get("precision", ""), row.get("precision", ""))
    net = network(accelerator, fabric, int(row["accelerators"]))
    zero = 2.0 if row.get("sharding") == "fsdp-grad-op" else _ZERO[row.get("sharding") or "zero-1"]
    options = _layouts(row, old, recipe.sequences)
    needs = [packed_memory(arch, recipe, lay._replace(zero=zero), kept_bytes(precision)).total for lay in options]
    rates = device(accelerator, precision)
    # The fastest of those that fit; where none does, the smallest, marked as not feasible.
    fits = [lay for lay, need in zip(options, needs, strict=True) if need <= accelerator.memory_bytes]
    chosen = (min(fits, key=lambda lay: float(step_time(arch, rates, net, recipe, lay)[0])) if fits
              else options[int(np.argmin(needs))])
    return Case(row["id"], source, accelerator, precision, arch, net, recipe, chosen, bool(fits),
                _measured_s(row, arch, accelerator, recipe, precision))


def _measured_s(row: dict[str, str], arch: Architecture, accelerator: AcceleratorRecord, recipe: Recipe,
                precision: str) -> float:
    if row.get("step_time_s"):
        return float(row["step_time_s"])
    n, tokens = float(row["accelerators"]), recipe.sequences * recipe.sequence
    if row.get("tokens_per_s_per_accelerator"):
        return tokens / n / float(row["tokens_per_s_per_accelerator"])
    rate = _number(row, "model_tflops_per_accelerator", 0.0) * 1e12
    if not rate and row.get("mfu_percent"):
        rate = float(row["mfu_percent"]) / 100.0 * peak_flops_per_s(accelerator, mfu_precision(precision))
    return 6.0 * float(count_parameters(arch)[0]) * tokens / n / rate if rate else math.nan


def read_cases(path: Path | None = None) -> list[Case]:
    """Return the cases of a CSV that all must be readable; UserError with file and line otherwise."""
    cases = []
    for line, row in enumerate(read_rows(path), start=2):
        try:
            cases.append(read_case(row))
        except (KeyError, ValueError, TypeError, UserError) as error:
            raise UserError(f"{path or 'throughput.csv'}:{line}: {error}") from error
    return cases


def predictions(path: Path) -> list[dict[str, object]]:
    """Return id, predicted step time (s) and MFU (percent), feasible and error of each row of a CSV.

    `error` is predicted over published step time minus one; for a row that cannot be priced it says why.
    """
    found: list[dict[str, object]] = []
    for row in read_rows(path):
        line: dict[str, object] = {"id": row["id"], "predicted_step_time_s": "", "predicted_mfu_percent": "", "feasible": "",
                                   "error": ""}
        try:
            case = read_case(row)
            predicted = case.predicted_s()
            line.update(predicted_step_time_s=f"{predicted:.6g}", predicted_mfu_percent=f"{100 * case.predicted_mfu():.4g}",
                        feasible="yes" if case.feasible else "no")
            if case.measured_s == case.measured_s:
                line["error"] = f"{predicted / case.measured_s - 1.0:.4f}"
        except (KeyError, ValueError, TypeError, UserError) as error:
            line["error"] = str(error)
        found.append(line)
    return found


def predictions_csv(path: Path) -> str:
    """Return the predictions for a CSV, as CSV."""
    text = io.StringIO()
    lines = predictions(path)
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


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

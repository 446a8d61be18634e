"""Rows of measured serving: which model on what, in which batch, and what was measured.

Cells are read leniently: other names of columns, catalog names or those of model cards, "H100 x4"; only `model` and `accelerator`
are needed. What is not published is assumed by rule (`ASSUMED`), and a row that cannot be used has a plain reason.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, ModelRecord
from simulator.errors import UserError, unknown_name
from simulator.validation.energy_rows import accelerator_of, positive

# Columns, what they mean, and other names that are read.
COLUMNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "row": ("name of the row", ("name", "run", "id", "label")),
    "model": ("catalog name, or that of a model card", ("model_id", "model_name", "nickname")),
    "accelerator": ("catalog name, or H100, B200 ...; 'H100 x4' has their number as well", ("gpu", "gpu_model", "hardware")),
    "accelerators": ("of a replica, all of them tensor ranks; absent: 1",
                     ("tensor", "tensor_parallel", "tp", "num_gpus", "gpus", "n_gpus", "gpu_count", "num_accelerators")),
    "precision": ("of weights: bf16, fp8, int8, fp4, int4; absent: of the model's name, else bf16",
                  ("weights", "weight_precision", "dtype", "quantization")),
    "cache": ("of keys and values: bf16 or fp8; absent: bf16", ("kv_cache", "kv_precision", "cache_precision")),
    "expert": ("ranks over which whole experts are spread; absent: all of a mixture of experts",
               ("expert_parallel", "ep")),
    "batch": ("requests at a time; absent: tokens/s x time between tokens (Little), else what fits, at most 1,024",
              ("batch_size", "max_num_seqs", "concurrency", "requests", "avg_batch_size")),
    "prompt_tokens": ("mean; absent: 100", ("prompt", "input_tokens", "mean_prompt_tokens", "avg_input_len", "isl", "input_len")),
    "output_tokens": ("mean; absent: 500", ("output", "mean_output_tokens", "avg_output_len", "osl", "output_len",
                                            "avg_output_tokens")),
    "mean_context": ("tokens that a request holds on average; absent: prompt + 0.6 output", ("context", "mean_context_tokens")),
    "tokens_per_s_per_gpu": ("measured: output tokens a second and accelerator",
                             ("tok_s_per_gpu", "tok/s/gpu", "tokens_s_per_gpu", "throughput_per_gpu", "tokens_per_s_gpu",
                              "tokens_per_second_per_gpu", "tok_per_s_per_gpu", "tps_per_gpu")),
    "tokens_per_s": ("measured: of a replica, where that of an accelerator is not given",
                     ("tok_s", "tok/s", "throughput", "output_throughput_tokens_per_sec", "tokens_per_second", "tps")),
    "j_per_token": ("measured: accelerators alone, of an output token",
                    ("j/token", "j_token", "energy_per_token_joules", "energy_per_token_j", "energy_per_token",
                     "joules_per_token", "j_per_output_token")),
    "itl_ms": ("measured: time between tokens, ms", ("median_itl_ms", "itl", "itl_p50_ms", "itl_p50", "tpot_ms", "tpot",
                                                     "inter_token_latency_ms", "p50_itl_ms")),
    "power_w": ("measured: of an accelerator, W", ("w_per_gpu", "w/gpu", "power_w_per_gpu", "avg_power_watts", "gpu_power_w")),
    "role": ("fitted, or held out", ()),
    "source": ("", ("sources", "reference")),
    "note": ("", ("notes", "comment", "remarks")),
}
ASSUMED = {"prompt_tokens": 100.0, "output_tokens": 500.0}
# Mean context over prompt plus this share of the output: one half where all are alike, more where long answers stay longer.
CONTEXT_SHARE = 0.6
_PRECISIONS = (("fp8", r"fp8|f8|e4m3|w8a8"), ("fp4", r"fp4|mxfp4|nvfp4"), ("int4", r"int4|awq|gptq|w4a16|4.?bit"),
               ("int8", r"int8|w8a16|8.?bit"), ("bf16", r"bf16|bfloat16|fp16|float16|16.?bit|none|auto"))  # fmt: skip
# Models that share an architecture with one of the catalog.
_LIKE = {"deepseekr1": "deepseek-v3", "deepseekv31": "deepseek-v3", "llama3370b": "llama-3.1-70b"}


@dataclass(frozen=True)
class ServingRow:
    """One row as read; None where nothing is published, `reason` where it cannot be used.

    Attributes
    ----------
    batch : float or None
        As given, or by Little's law; None: what fits.
    tokens_per_s, j_per_token, itl_s, power_w : float or None
        Measured: of an accelerator, of a token over all accelerators, between two tokens, and of an accelerator.
    """

    row: str
    model: ModelRecord | None
    accelerator: AcceleratorRecord | None
    accelerators: int
    precision: str
    cache: str
    expert: int
    batch: float | None
    prompt: float
    output: float
    context: float
    tokens_per_s: float | None
    j_per_token: float | None
    itl_s: float | None
    power_w: float | None
    role: str
    source: str
    note: str
    reason: str


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def model_of(cell: str) -> tuple[ModelRecord | None, str]:
    """Return the model that a cell names: a catalog name, or one that begins so; else a reason.

    A model card's name (meta-llama/Llama-3.1-70B-Instruct-FP8) is that of the longest catalog name that it begins with.
    """
    if not cell:
        return None, "no model"
    names = catalog.names("models")
    plain = _plain(cell.rsplit("/", maxsplit=1)[-1]).removeprefix("meta")
    keys = {**{_plain(name): name for name in names}, **_LIKE}
    found = max((key for key in keys if plain.startswith(key)), key=len, default=None)
    if found is None or plain[len(found):len(found) + 1].isdigit():
        return None, unknown_name("model", cell, names)
    record = catalog.load("models", keys[found])
    assert isinstance(record, ModelRecord)
    return record, ""


def precision_of(*cells: str) -> str:
    """Return the precision of weights that the first cell with one names; else that in which the model was published."""
    for cell in cells:
        for name, pattern in _PRECISIONS:
            if re.search(pattern, cell.lower()):
                return name
    name = _plain("".join(cells))
    return "fp4" if "gptoss" in name else "fp8" if "deepseekv3" in name or "deepseekr1" in name else "bf16"


def read_serving_row(cells: dict[str, str]) -> ServingRow:
    """Return a row as read; nothing in it raises."""
    model, reason = model_of(cells.get("model", ""))
    before, text, after = re.fullmatch(r"(?:(\d+)\s*[x×*]\s*)?(.*?)(?:[\s,]*[x×*]\s*(\d+))?",
                                       cells.get("accelerator", ""), re.DOTALL).groups()  # type: ignore[union-attr]
    accelerator, why = accelerator_of(text)
    reason = reason or why
    count = int(positive(cells.get("accelerators")) or positive(before) or positive(after) or 1)
    prompt = positive(cells.get("prompt_tokens")) or ASSUMED["prompt_tokens"]
    output = positive(cells.get("output_tokens")) or ASSUMED["output_tokens"]
    each = positive(cells.get("tokens_per_s_per_gpu"))
    if each is None and (all_s := positive(cells.get("tokens_per_s"))):
        each = all_s / count
    itl_ms = positive(cells.get("itl_ms"))
    batch = positive(cells.get("batch"))
    if batch is None and each and itl_ms:
        batch = each * count * itl_ms / 1e3
    experts = model.mixture_of_experts.experts if model is not None and model.mixture_of_experts else 1
    spread = int(positive(cells.get("expert")) or (count if experts > 1 and experts % count == 0 else 1))
    if count % spread:
        reason = reason or f"expert: found {spread}; allowed: a divisor of the {count} accelerators"
    return ServingRow(
        cells.get("row") or f"{cells.get('model', '')} on {count} x {text}".strip(), model, accelerator, count,
        precision_of(cells.get("precision", ""), cells.get("model", "")),
        "fp8" if "8" in cells.get("cache", "") else "bf16", spread, batch, prompt, output,
        positive(cells.get("mean_context")) or prompt + CONTEXT_SHARE * output, each, positive(cells.get("j_per_token")),
        itl_ms / 1e3 if itl_ms else None, positive(cells.get("power_w")), cells.get("role") or "held out",
        cells.get("source", ""), cells.get("note", ""), reason)


def _key(name: str) -> str:
    """Return the column that a heading names."""
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    if plain in COLUMNS:
        return plain
    return next((key for key, (_, others) in COLUMNS.items() if plain in others), plain)


def read_serving_rows(path: Path | None = None) -> list[ServingRow]:
    """Return the rows of a CSV, the shipped one where no path is given; UserError where it cannot be read or lacks a column."""
    try:
        text = (path.read_text(encoding="utf-8-sig") if path
                else (resources.files("simulator.validation") / "data" / "serving.csv").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    table = []
    for cells in csv.DictReader(text.splitlines()):
        row: dict[str, str] = {}
        for name, cell in cells.items():
            if isinstance(cell, str) and cell.strip():
                row.setdefault(_key(name or ""), cell.strip())
        table.append(row)
    heads = [_key(name) for name in next(csv.reader(text.splitlines()), [])]
    missing = [key for key in ("model", "accelerator") if key not in heads]
    if missing or not table:
        found = f"no column {missing[0]!r} among {', '.join(heads)}" if missing and heads else "no rows"
        raise UserError(f"{path}: found {found}; needed: model, accelerator; known: {', '.join(COLUMNS)}")
    return [read_serving_row(row) for row in table]

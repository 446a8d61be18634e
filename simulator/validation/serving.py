"""Serving as measured: iterations of continuous batching by the fleet's kernels, row by row.

A row is a steady state: `batch` requests run, for each that ends another begins, so an iteration makes a token for each of them
and takes batch / output prompts in. Time between tokens, tokens a second and joules follow; energy is that of accelerators
alone, as ML.ENERGY counts.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kernels.iteration import Part, body, context_token, ends, prompt_key
from simulator import catalog
from simulator.catalog.records import FabricRecord
from simulator.errors import UserError
from simulator.scenario.serving import Pool, Serving
from simulator.serving.costs import Kind, kind_of
from simulator.validation.serving_rows import ServingRow, read_serving_rows

_HALF_TILE = 64.0  # keys that a fused kernel takes in vain at the end (`kernels.roofline`)
_MOST = 1024.0  # requests at a time where no batch is known: vLLM's default on large accelerators, FROM MEMORY
_FABRIC = "rail-optimised-fat-tree"


@dataclass(frozen=True)
class Iteration:
    """A mean iteration of a steady state."""

    batch: float
    time_s: float
    accelerator_w: float

    def tokens_per_s(self, accelerators: int) -> float:
        """Return tokens a second of one accelerator."""
        return self.batch / self.time_s / accelerators

    def j_per_token(self, accelerators: int) -> float:
        """Return joules of all accelerators for a token."""
        return self.accelerator_w * accelerators * self.time_s / self.batch


def row_kind(row: ServingRow) -> Kind:
    """Return the replica of a row; UserError where the model does not fit or the catalog lacks a value."""
    if row.reason or row.model is None or row.accelerator is None:
        raise UserError(row.reason or "no model, or no accelerator")
    pool = Pool(replicas=1, tensor=row.accelerators, expert=row.expert)
    serving = Serving(accelerator=row.accelerator, fabric=replica_fabric(), pool=pool, weights=row.precision, cache=row.cache)
    return kind_of(row.model, serving, pool, None, "accelerators")


@lru_cache(maxsize=1)
def replica_fabric() -> FabricRecord:
    """Return the fabric of replicas, which stay in a scale-up domain, so that it hardly matters."""
    record = catalog.load("fabrics", _FABRIC)
    assert isinstance(record, FabricRecord)
    return record


def steady(kind: Kind, batch: float, prompt: float, output: float, context: float) -> Iteration:
    """Return the mean iteration of `batch` requests of `prompt` and `output` tokens that hold `context` on average."""
    a, power = kind.architecture, kind.power
    where = (a, kind.device, kind.replica, power)
    prompts = batch / output * prompt  # rows
    seen = context if a.window <= 0.0 else context + a.window_share * (min(context, a.window) - context)
    parts = ((1.0, body(a, kind.device, kind.network, kind.replica, power, batch + prompts)), (1.0, ends(*where, batch)),
             (batch * seen, context_token(*where)), (prompts * (0.5 * prompt + _HALF_TILE), prompt_key(*where)))
    sum_of = Part(*(sum(times * part[i] for times, part in parts) for i in range(2)))
    above_w = (power.tdp_w - power.idle_w) * sum_of.demand_s / sum_of.time_s
    return Iteration(batch, sum_of.time_s, power.idle_w + min(power.limit_w - power.idle_w, above_w))


def row_batch(row: ServingRow, kind: Kind) -> tuple[float, str]:
    """Return a row's batch, and a remark where the cache sets it."""
    fits = max(1.0, math.floor(kind.capacity / row.context))
    if row.batch is None:
        return min(fits, _MOST), "batch not published: what fits"
    if row.batch > fits:
        return fits, f"a batch of {row.batch:,.0f} does not fit: {fits:,.0f} do"
    return row.batch, ""


@dataclass(frozen=True)
class ServingResult:
    """One row as predicted; errors are predicted over measured, less one."""

    row: str
    role: str
    accelerator: str
    batch: float | None = None
    context: float | None = None
    itl_ms: float | None = None
    predicted_itl_ms: float | None = None
    itl_error: float | None = None
    tokens_per_s_per_gpu: float | None = None
    predicted_tokens_per_s_per_gpu: float | None = None
    tokens_per_s_error: float | None = None
    j_per_token: float | None = None
    predicted_j_per_token: float | None = None
    j_per_token_error: float | None = None
    power_w: float | None = None
    predicted_power_w: float | None = None
    power_error: float | None = None
    source: str = ""
    remark: str = ""


RESULT_COLUMNS = tuple(field.name for field in fields(ServingResult))


def _error(predicted: float, measured: float | None) -> float | None:
    return predicted / measured - 1.0 if measured else None


def predict_serving_row(row: ServingRow) -> ServingResult:
    """Return a row's prediction; for one that cannot be predicted, a remark says why."""
    name = row.accelerator.name if row.accelerator is not None else ""
    try:
        kind = row_kind(row)
        batch, remark = row_batch(row, kind)
        found = steady(kind, batch, row.prompt, row.output, row.context)
    except UserError as error:
        return ServingResult(row.row, row.role, name, source=row.source, remark=" ".join(str(error).split()))
    tokens, joules = found.tokens_per_s(row.accelerators), found.j_per_token(row.accelerators)
    itl_s = row.itl_s
    return ServingResult(
        row.row, row.role, name, batch, row.context,
        itl_s * 1e3 if itl_s else None, found.time_s * 1e3, _error(found.time_s, itl_s),
        row.tokens_per_s, tokens, _error(tokens, row.tokens_per_s), row.j_per_token, joules, _error(joules, row.j_per_token),
        row.power_w, found.accelerator_w, _error(found.accelerator_w, row.power_w), row.source,
        "; ".join(filter(None, (remark, row.note))))


def predict_serving(cases: Path | None) -> list[ServingResult]:
    """Return the predictions of a CSV's rows, in its order; UserError where the file cannot be read."""
    return [predict_serving_row(row) for row in read_serving_rows(cases)]


def other_batches(rows: list[ServingRow]) -> list[tuple[str, float, float, float, float]]:
    """Return of rows whose batch is assumed: measured and predicted tokens/s per accelerator, at half and at twice the batch."""
    found = []
    for row in rows:
        if "batch assumed" in row.note and row.tokens_per_s and row.batch:
            kind = row_kind(row)
            now, half, twice = (
                steady(kind, row_batch(replace(row, batch=times * row.batch), kind)[0], row.prompt, row.output,
                       row.context).tokens_per_s(row.accelerators) for times in (1.0, 0.5, 2.0))
            found.append((row.row, row.tokens_per_s, now, half, twice))
    return found


QUANTITIES = {"tokens/s per accelerator": "tokens_per_s_error", "J/token": "j_per_token_error",
              "time between tokens": "itl_error", "W": "power_error"}


def groups(results: list[ServingResult]) -> dict[str, list[ServingResult]]:
    """Return results by what is summed up: all, fitted, held out, and fitted ones by hardware."""
    found = {"all rows": results, **{f"{role} rows": [r for r in results if r.role == role] for role in ("fitted", "held out")}}
    for name in dict.fromkeys(r.accelerator for r in results):
        found[name] = [r for r in results if r.accelerator == name]
    return {name: mine for name, mine in found.items() if mine}


def summary(results: list[ServingResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Return by group and quantity: rows, median absolute error, bias (median error) and the worst."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group, mine in groups(results).items():
        for quantity, field in QUANTITIES.items():
            errors = np.array([e for r in mine if (e := getattr(r, field)) is not None])
            if errors.size:
                found.setdefault(group, {})[quantity] = {
                    "rows": float(errors.size), "median": float(np.median(np.abs(errors))), "bias": float(np.median(errors)),
                    "worst": float(errors[np.argmax(np.abs(errors))])}
    return found


def predictions_csv(results: list[ServingResult]) -> str:
    """Return all columns as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RESULT_COLUMNS)
    for r in results:
        cells = [getattr(r, c) for c in RESULT_COLUMNS]
        writer.writerow(["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in cells])
    return text.getvalue()


def predictions_json(results: list[ServingResult]) -> dict[str, Any]:
    """Return rows and summary as JSON takes them."""
    return {"rows": [vars(r) for r in results], "summary": summary(results)}

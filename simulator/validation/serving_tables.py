"""Serving as measured and predicted, as tables: for the terminal, and in Markdown for docs/validation.md."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.text import Text

from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, ModelRecord
from simulator.scenario.serving import Narrow
from simulator.validation.energy import shown
from simulator.validation.energy_tables import markdown, table_of
from simulator.validation.serving import ServingResult, other_batches, summary
from simulator.validation.serving_fit import Calibration, Constants
from simulator.validation.serving_queries import (
    EPOCH_RANGE_WH,
    GEMINI_ACTIVE_WH,
    GEMINI_PUE,
    GEMINI_SHARES,
    GEMINI_WH,
    Estimate,
    dense_of,
    estimates,
    gemini_total_wh,
    node_w_per_accelerator,
    our_query,
    reasoning_ratios,
)
from simulator.validation.serving_rows import COLUMNS, read_serving_rows

_HEAD = ("row", "batch", "ms between tokens", "predicted", "error", "tokens/s/accelerator", "predicted", "error", "J/token",
         "predicted", "error", "W", "predicted")
_SUMMARY = ("rows", "quantity", "number", "median error, absolute", "median", "worst")
# Stand-ins for a model whose size is not published: model, accelerators, weights.
_STAND_INS: tuple[tuple[str, int, Narrow], ...] = (
    ("llama-3.1-8b", 1, "bf16"), ("gpt-oss-120b", 1, "fp4"), ("llama-3.1-70b", 4, "bf16"), ("qwen3-235b-a22b", 8, "fp8"),
    ("llama-3.1-405b", 8, "fp8"))
_ANSWER = 300.0  # tokens of a median answer, assumed


def _cells(r: ServingResult) -> tuple[str, ...]:
    tokens = "tokens_per_s_per_gpu"
    return (r.row, shown(r.batch, ",.0f"), shown(r.itl_ms), shown(r.predicted_itl_ms), shown(r.itl_error, "+.1%"),
            shown(getattr(r, tokens)), shown(getattr(r, f"predicted_{tokens}")), shown(r.tokens_per_s_error, "+.1%"),
            shown(r.j_per_token), shown(r.predicted_j_per_token), shown(r.j_per_token_error, "+.1%"),
            shown(r.power_w, ".0f"), shown(r.predicted_power_w, ".0f"))


def _summary_cells(results: list[ServingResult]) -> list[tuple[str, ...]]:
    return [(group, quantity, f"{s['rows']:.0f}", f"{s['median']:.1%}", f"{s['bias']:+.1%}", f"{s['worst']:+.1%}")
            for group, quantities in summary(results).items() for quantity, s in quantities.items()]


def serving_view(results: list[ServingResult]) -> Group:
    """Return predictions for the terminal: rows, what cannot be predicted, remarks, and errors in sum."""
    good = [r for r in results if r.predicted_itl_ms is not None]
    bad = [r for r in results if r.predicted_itl_ms is None]
    parts = []
    if good:
        parts.append(table_of("Serving: measured, predicted", _HEAD, [_cells(r) for r in good]))
    if bad:
        parts.append(table_of("Not predicted", ("row", "remark"), [(r.row, r.remark) for r in bad]))
    if any(r.remark for r in good):
        parts.append(table_of("Remarks", ("row", "remark"), [(r.row, r.remark) for r in good if r.remark]))
    if lines := _summary_cells(results):
        parts.append(table_of("Errors", _SUMMARY, lines, 2))
    return Group(*[item for part in parts for item in (part, Text(""))])


def _record(name: str) -> AcceleratorRecord:
    record = catalog.load("accelerators", name)
    assert isinstance(record, AcceleratorRecord)
    return record


def _estimate_cells(e: Estimate) -> tuple[str, ...]:
    model = dense_of(e.active_parameters)
    ours = our_query(model, e.accelerator, 8, e.output_tokens, e.pue, utilisation=e.utilisation)
    node_w = node_w_per_accelerator(e.accelerator, e.accelerator.tdp_w or 0.0)
    return (e.query, f"{e.published_wh:.3f}", f"{e.arithmetic_wh():.3f}", f"{e.arithmetic_wh(node_w):.3f}", f"{ours.all_wh:.3f}",
            f"{ours.all_wh / e.published_wh - 1.0:+.1%}", f"{ours.batch:.0f}", f"{ours.itl_ms:.0f}")


def epoch_rows() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows: Epoch's estimates, their arithmetic with the catalog's peak, with our node, and our model."""
    head = ("query", "published Wh", "their arithmetic, catalog's peak", "with our node at its most",
            "our model, 100 B dense on 8", "error", "at batch", "ms between tokens")
    return head, [_estimate_cells(e) for e in estimates()]


def gemini_rows() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows: stand-ins on H100 in Google's scopes, over batches."""
    head = ("stand-in, answers of 300 tokens, H100", "batch", "accelerators Wh", "our node, PUE 1.09",
            "Google's shares, PUE 1.09")
    rows: list[tuple[str, ...]] = []
    for name, tensor, weights in _STAND_INS:
        model = catalog.load("models", name)
        assert isinstance(model, ModelRecord)
        for batch in (16.0, 128.0):
            q = our_query(model, _record("h100-sxm-80gb"), tensor, _ANSWER, GEMINI_PUE, batch=batch, weights=weights)
            rows.append((f"{name} {weights} x{tensor}", f"{batch:.0f}", f"{q.accelerator_wh:.3f}", f"{q.all_wh:.3f}",
                         f"{gemini_total_wh(q.accelerator_wh):.3f}"))
    return head, rows


def gemini_sum() -> str:
    """Return what Google's shares add up to, in words."""
    own = GEMINI_WH * GEMINI_SHARES["accelerators"]
    return (f"Google: {GEMINI_WH} Wh a median prompt, {own:.3f} of it accelerators; with its shares of hosts and idle machines "
            f"and PUE {GEMINI_PUE} that is {gemini_total_wh(own):.3f}. Active accelerators alone: {GEMINI_ACTIVE_WH}.")


def queries_view() -> Group:
    """Return estimates of queries for the terminal."""
    return Group(table_of("Epoch's estimates of a query, Wh", *epoch_rows()), Text(""), Text(gemini_sum()), Text(""),
                 table_of("Queries of models of known size, Wh", *gemini_rows()))


def _constants(c: Constants) -> dict[str, float]:
    found = dict(c.software._asdict())
    for name, (efficiency, demand) in sorted(c.generations.items()):
        found |= {f"{name}.serving_memory_efficiency": efficiency, f"{name}.serving_memory_demand": demand}
    return found


def calibration_json(c: Calibration) -> dict[str, Any]:
    """Return a calibration as JSON takes it."""
    return {"constants": _constants(c.constants), "in_use": _constants(c.in_use), "held_out": [vars(h) for h in c.held_out],
            "lengths": [dict(zip(("prompt", "output", "itl", "j", "itl_fitted_again", "j_fitted_again"), row, strict=True))
                        for row in c.lengths]}


def calibration_markdown(c: Calibration) -> str:
    """Return constants, errors held out, and what assumed lengths matter."""
    used = _constants(c.in_use)
    return "\n\n".join((
        markdown(("constant", "fitted", "in use"), [(name, f"{value:.4g}", f"{used[name]:.4g}" if name in used else "-")
                                                    for name, value in _constants(c.constants).items()]),
        markdown(("left out", "rows", "time between tokens, fitted", "held out", "J/token, fitted", "held out"),
                 [(h.group, str(h.rows), *(f"{v:.1%}" for v in (h.fitted_itl, h.held_out_itl, h.fitted_j, h.held_out_j)))
                  for h in c.held_out]),
        markdown(("prompt", "answer", "time between tokens, constants in use", "J/token", "time, fitted again", "J/token"),
                 [(f"{p:.0f}", f"{o:.0f}", *(f"{v:.1%}" for v in rest)) for p, o, *rest in c.lengths])))


def serving_markdown(results: list[ServingResult], calibration: Calibration) -> dict[str, str]:
    """Return the tables of the document by name: rows, remarks, summary, batches, calibration, queries."""
    return {
        "rows": markdown(_HEAD, [_cells(r) for r in results]),
        "remarks": markdown(("row", "source", "remark"), [(r.row, r.source, r.remark) for r in results if r.remark]),
        "summary": markdown(_SUMMARY, _summary_cells(results)), "calibration": calibration_markdown(calibration),
        "batches": markdown(("row", "measured", "predicted", "half the batch", "twice, where it fits"), [
            (name, *(f"{v:,.0f}" for v in values)) for name, *values in other_batches(read_serving_rows())]),
        "epoch": markdown(*epoch_rows()), "gemini_sum": gemini_sum(), "gemini": markdown(*gemini_rows()),
        "reasoning": markdown(("replica", "J/token, thinking over chat", "batch of chat", "of thinking"), [
            (name, f"{ratio:.2f}", f"{chat:.0f}", f"{long:.0f}") for name, ratio, chat, long in reasoning_ratios()]),
        "columns": markdown(("column", "meaning", "also read as"), [
            (f"`{name}`", meaning, ", ".join(f"`{other}`" for other in others)) for name, (meaning, others) in COLUMNS.items()]),
        "range": f"{EPOCH_RANGE_WH[0]} (mini) to {EPOCH_RANGE_WH[1]} Wh (pessimistic)",
    }

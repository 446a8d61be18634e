"""Energy of a query as others estimate it: their arithmetic through this project's functions, and this project's model beside it.

Sizes of the models behind GPT-4o and Gemini are not published. What is compared is a method under its own assumptions, and
stand-ins of a size that is stated; neither says what those models are.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from importlib import resources

from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, ModelRecord
from simulator.performance.hardware import node_power, peak_flops_per_s
from simulator.scenario.serving import Narrow, Pool, Serving
from simulator.serving.costs import Kind, kind_of
from simulator.validation.serving import Iteration, replica_fabric, row_batch, row_kind, steady
from simulator.validation.serving_rows import ASSUMED, CONTEXT_SHARE, read_serving_rows
from simulator.workload import parameters

_J_PER_WH = 3600.0
_LONG = (200.0, 9000.0)  # tokens of prompt (FROM MEMORY) and answer of a thinking model on GPQA (serving.md)
# Google's median text prompt of August 2025: Wh in all, Wh of active accelerators alone, and what the shares of its parts are.
GEMINI_WH, GEMINI_ACTIVE_WH, GEMINI_PUE = 0.24, 0.10, 1.09
GEMINI_SHARES = {"accelerators": 0.58, "host": 0.25, "idle": 0.10, "overhead": 0.08}
# Over Epoch's cases: GPT-4o mini, and the pessimistic one.
EPOCH_RANGE_WH = (0.06, 1.3)


@dataclass(frozen=True)
class Estimate:
    """A published energy of a query, with what it assumes."""

    query: str
    accelerator: AcceleratorRecord
    active_parameters: float
    output_tokens: float
    utilisation: float
    node_w: float  # of an accelerator with its share of the node, at its most
    load: float
    pue: float
    published_wh: float

    def arithmetic_wh(self, node_w: float | None = None) -> float:
        """Return 2 x parameters x tokens over peak x utilisation, at load x node watts x PUE, with the catalog's peak."""
        flops = 2.0 * self.active_parameters * self.output_tokens
        busy_s = flops / (peak_flops_per_s(self.accelerator, "bf16") * self.utilisation)
        return busy_s * (node_w or self.node_w) * self.load * self.pue / _J_PER_WH


def estimates() -> list[Estimate]:
    """Return the shipped estimates."""
    text = (resources.files("simulator.validation") / "data" / "serving_queries.csv").read_text(encoding="utf-8")
    found = []
    for c in csv.DictReader(text.splitlines()):
        accelerator = catalog.load("accelerators", c["accelerator"])
        assert isinstance(accelerator, AcceleratorRecord)
        found.append(Estimate(c["query"], accelerator, *(float(c[key]) for key in (
            "active_parameters", "output_tokens", "utilisation", "node_w_per_accelerator", "load", "pue", "published_wh"))))
    return found


def node_w_per_accelerator(accelerator: AcceleratorRecord, accelerator_w: float) -> float:
    """Return watts at the plug of the node for each accelerator that draws so much."""
    return accelerator_w + float(node_power(accelerator, accelerator_w).total_w) / accelerator.accelerators_per_node


def dense_of(active_parameters: float, like: str = "mistral-large-2") -> ModelRecord:
    """Return a dense model of about so many parameters: a catalog model with another number of layers."""
    record = catalog.load("models", like)
    assert isinstance(record, ModelRecord)
    own = parameters(record)
    fixed = own.total - record.layers * (own.attention + own.dense_ffn)
    layers = round((active_parameters - fixed) / (own.attention + own.dense_ffn))
    return record.model_copy(update={"layers": layers, "name": f"{like} with {layers} layers"})


@dataclass(frozen=True)
class Query:
    """What this project's model says of a query: at the plug with PUE, and accelerators alone."""

    model: str
    batch: float
    utilisation: float  # 2 x active parameters x output tokens a second over peak
    itl_ms: float
    accelerator_wh: float
    all_wh: float


def _query(model: ModelRecord, kind: Kind, found: Iteration, accelerator: AcceleratorRecord, tokens: float, pue: float) -> Query:
    n = kind.accelerators
    joules = found.j_per_token(n) * tokens
    rate = 2.0 * parameters(model).active * found.tokens_per_s(n) / peak_flops_per_s(accelerator, "bf16")
    whole = node_w_per_accelerator(accelerator, found.accelerator_w) / found.accelerator_w * pue
    return Query(model.name, found.batch, rate, found.time_s * 1e3, joules / _J_PER_WH, joules * whole / _J_PER_WH)


def our_query(model: ModelRecord, accelerator: AcceleratorRecord, tensor: int, tokens: float, pue: float, *,
              utilisation: float | None = None, batch: float | None = None, weights: Narrow = "bf16") -> Query:
    """Return the energy of an answer of `tokens` after a short prompt: at a batch, or that at which utilisation is reached.

    Where the cache holds no batch of that utilisation, the one that it holds.
    """
    experts = model.mixture_of_experts is not None
    pool = Pool(replicas=1, tensor=tensor, expert=tensor if experts else 1)
    serving = Serving(accelerator=accelerator, fabric=replica_fabric(), pool=pool, weights=weights)
    kind = kind_of(model, serving, pool, None, model.name)
    prompt = ASSUMED["prompt_tokens"]
    context = prompt + CONTEXT_SHARE * tokens

    def at(requests: float) -> Query:
        return _query(model, kind, steady(kind, requests, prompt, tokens, context), accelerator, tokens, pue)

    most = kind.capacity / context
    if batch is not None or utilisation is None:
        return at(min(batch or most, most))
    from scipy.optimize import brentq

    if at(most).utilisation <= utilisation:
        return at(most)
    return at(brentq(lambda requests: at(requests).utilisation - utilisation, 1.0, most, xtol=0.01))


def reasoning_ratios() -> list[tuple[str, float, float, float]]:
    """Return J/token of long answers over that of chat: replica, ratio, batch of chat (best measured), of the long (what fits).

    Measured: 1.7 to 3.4 for the same size, precision and accelerators, thinking on GPQA with 9 k tokens against chat.
    """
    found = []
    for row in read_serving_rows():
        if row.row.startswith("qwen3-235b-a22b") and row.row.endswith("best") and row.batch is not None:
            long = replace(row, batch=None, prompt=_LONG[0], output=_LONG[1], context=_LONG[0] + CONTEXT_SHARE * _LONG[1])
            kind = row_kind(row)
            chat_j, long_j = (steady(kind, row_batch(r, kind)[0], r.prompt, r.output, r.context).j_per_token(r.accelerators)
                              for r in (row, long))
            found.append((row.row.removesuffix(" best"), long_j / chat_j, row.batch, row_batch(long, kind)[0]))
    return found


def gemini_total_wh(accelerator_wh: float) -> float:
    """Return a query's Wh in Google's scope from that of its accelerators: host, idle machines and PUE by its shares."""
    share = GEMINI_SHARES
    return accelerator_wh * (1.0 + (share["host"] + share["idle"]) / share["accelerators"]) * GEMINI_PUE

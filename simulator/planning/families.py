"""A family of models of all sizes: shapes as published families have them, in the style of a scenario's model.

Layers follow width as they do over the dense models of the catalog; heads are 64 wide in small models and 128 in others, eight or
a multiple of them, so that tensor parallelism divides them. What a model is made of (gated or not, width of the feed-forward,
key-value heads, vocabulary, embeddings) is that of the scenario's model.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from simulator import catalog
from simulator.catalog.records import ModelRecord
from simulator.workload import parameters

_STEP = 1.1  # from one size to the next; near its optimum the loss is flat
_SMALL = 2048  # narrower models have heads of 64: GPT-2, GPT-3 to 760M, Llama 3.2 1B in the catalog
_LARGEST = 1e14
# A gated feed-forward with three matrices of 8/3 the width has the parameters of two of four times (LLaMA, arXiv:2302.13971,
# section 2.2): for what a scaling law of dense models says nothing about (mixture of experts).
_GATED_RATIO = 8.0 / 3.0
_WIDEST = 8.0  # times the width; T5-11B's 64 is its own (arXiv:1910.10683, section 3.6), not a family's
_ROUND = 256  # to which feed-forward widths are rounded, as LLaMA's are


@lru_cache(maxsize=1)
def depth_trend() -> tuple[float, float]:
    """Return (slope, intercept) of log layers over log width: least squares over the dense models of the catalog."""
    models = [catalog.load("models", name) for name in catalog.names("models")]
    dense = sorted({(m.hidden, m.layers) for m in models if m.mixture_of_experts is None})
    width, depth = np.log(np.array(dense, dtype=float)).T
    slope, intercept = np.polyfit(width, depth, 1)
    return float(slope), float(intercept)


def family(model: ModelRecord) -> tuple[ModelRecord, ...]:
    """Return the models of a family, smallest first, about a tenth apart.

    Of the widths that give a size, the one whose layers are nearest to the trend is taken.
    """
    slope, intercept = depth_trend()
    widths = [512, 768, 1024, 1536, *range(_SMALL, 129 * 1024, 1024)]
    shapes = [_shape(model, hidden, 1) for hidden in widths]
    ones = np.array([parameters(shape).total for shape in shapes])
    layer = np.array([parameters(_resized(shape, 2)).total for shape in shapes]) - ones
    trend = np.exp(intercept + slope * np.log(np.array(widths, dtype=float)))
    smallest = ones[0] + layer[0] * (round(trend[0]) - 1)
    found: dict[tuple[int, int], ModelRecord] = {}
    for i in range(math.ceil(math.log(_LARGEST / smallest) / math.log(_STEP))):
        layers = _even(1.0 + (smallest * _STEP**i - ones) / layer)
        away = np.where(layers >= 4, np.abs(np.log(np.maximum(layers, 1.0) / trend)), np.inf)
        best = int(np.argmin(away))
        depth = int(layers[best])
        found.setdefault((widths[best], depth), _resized(shapes[best], depth))
    return tuple(sorted(found.values(), key=lambda m: parameters(m).total))


def _even(layers: np.ndarray) -> np.ndarray:
    """Return whole layers, in fours from 16 on: pipelines divide them."""
    return np.where(layers >= 16.0, 4.0 * np.round(layers / 4.0), np.round(layers))


def _shape(model: ModelRecord, hidden: int, layers: int) -> ModelRecord:
    head_dim = 64 if hidden < _SMALL else 128
    heads = hidden // head_dim
    dense = model.mixture_of_experts is None
    own = model.ffn_hidden / model.hidden
    ratio = own if dense and own <= _WIDEST else _GATED_RATIO if model.gated else 4.0
    grouped = math.gcd(heads, model.key_value_heads) if dense else math.gcd(heads, 8)
    return ModelRecord(
        layers=layers, hidden=hidden, heads=heads, head_dim=head_dim,
        key_value_heads=grouped if model.key_value_heads not in (0, model.heads) or not dense else 0,
        ffn_hidden=max(_ROUND, _ROUND * round(ratio * hidden / _ROUND)),
        gated=model.gated, vocabulary=model.vocabulary, tied_embeddings=model.tied_embeddings,
        learned_positions=model.learned_positions, attention_bias=model.attention_bias, ffn_bias=model.ffn_bias,
        norm=model.norm, norms_per_layer=model.norms_per_layer, sliding_window=model.sliding_window,
        sliding_window_share=model.sliding_window_share,
    )


def _resized(shape: ModelRecord, layers: int) -> ModelRecord:
    """Return a shape with so many layers, named after its size."""
    resized = shape.model_copy(update={"layers": layers})
    return resized.model_copy(update={"name": f"{short(parameters(resized).total)} parameters"})


def short(number: float) -> str:
    """Return a count with three digits and a letter: "70.6 B"."""
    for scale, letter in ((1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * scale:
            return f"{number / scale:.3g} {letter}"
    return f"{number:.3g}"

"""A number that is not known: how a file writes its distribution, and its quantiles, by which it is drawn.

Every draw is the quantile of one uniform number, so that pseudo-random, Latin hypercube, Sobol and mirrored numbers, correlation
and truncation work alike for all families.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simulator.columns import csv_column
from simulator.errors import unknown_name
from simulator.quantiles import moments, quantile, share, table_moments, table_quantile, table_share
from simulator.units import KINDS, QuantityError, format_quantity, parse_quantity, shorten

# Name of a distribution -> what its parameters are, in order.
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "triangular": ("low", "mode", "high"),
    "uniform": ("low", "high"),
    "normal": ("mean", "standard deviation"),
    "lognormal": ("median", "standard deviation of the logarithm"),
    "exponential": ("mean",),
    "beta_pert": ("low", "mode", "high"),
    "beta": ("alpha", "beta", "low", "high"),
    "choice": ("value", "..."),
    "empirical": ("csv, column, unit", "or values, unit"),
}
TRUNCATE = "truncate"
MAX_VALUES = 100_000
_RATIOS = {"lognormal": (1,), "beta_pert": (3,), "beta": (0, 1)}  # parameters that are pure numbers, whatever the field's unit
_LEAST = 1e-9  # of the probability that bounds must leave
_LEAST_AT_EVENTS = 0.01  # there kernels draw again what lies outside


class Distribution:
    """A number not known (epistemic) or not fixed (aleatory): name and SI parameters.

    Attributes
    ----------
    parameters : tuple of float
        As `DISTRIBUTIONS` orders them; the values of a choice, and of an empirical one in rising order.
    low, high : float
        What it is cut off at: the bounds of the field it stands in, and those of the file, `cut`.
    weights : tuple of float
        Of a choice; empty where all are alike.
    values, steps : ndarray, shape (n,)
        Of a choice: its values within bounds, rising, and the probability up to each. Of an empirical one: its values.
    """

    __slots__ = ("aleatory", "cut", "high", "kind", "low", "name", "parameters", "steps", "values", "weights")

    def __init__(self, name: str, parameters: tuple[float, ...], kind: str, low: float, aleatory: bool, high: float = math.inf,
                 *, weights: tuple[float, ...] = (), cut: tuple[float, float] | None = None) -> None:
        self.name, self.parameters, self.kind, self.aleatory = name, parameters, kind, aleatory
        self.weights, self.cut = weights, cut
        self.low, self.high = (low, high) if cut is None else (max(low, cut[0]), min(high, cut[1]))
        self.values = self.steps = np.empty(0)
        if name == "empirical":
            self.values = np.array(parameters)
        elif name == "choice":
            self.values, self.steps = self._choices()

    def _choices(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the values within bounds in rising order, and the probability up to each, shape (n,)."""
        values = np.array(self.parameters)
        weights = np.array(self.weights or np.ones(values.size))
        inside = (values >= self.low) & (values <= self.high) & (weights > 0.0)
        order = np.argsort(values[inside], kind="stable")
        steps = np.cumsum(weights[inside][order])
        return values[inside][order], steps / steps[-1] if steps.size else steps

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distribution) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"{self.name}{shorten(self.to_file()[self.name], 200)}"

    def _key(self) -> tuple[Any, ...]:
        return self.name, self.parameters, self.kind, self.low, self.high, self.aleatory, self.weights, self.cut

    def to_file(self) -> dict[str, Any]:
        """Return the mapping a scenario file writes; an empirical one holds its values."""
        written = [format_quantity(p, k) for p, k in zip(self.parameters, _kinds(self.name, len(self.parameters), self.kind),
                                                         strict=True)]
        content: Any = written
        if self.name == "empirical":
            unit = KINDS[self.kind][0]
            content = {"values": list(self.parameters), **({"unit": unit} if unit else {})}
        elif self.weights:
            content = {"values": written, "weights": list(self.weights)}
        if self.cut is None:
            return {self.name: content}
        return {self.name: content, TRUNCATE: [format_quantity(x, self.kind) if math.isfinite(x) else None for x in self.cut]}

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Return the quantiles of probabilities, any shape; SI, within bounds.

        The uniform number behind a draw: what rises in it rises in the draw.
        """
        u = np.asarray(u, dtype=float)
        if self.name == "choice":
            return self.values[np.minimum(np.searchsorted(self.steps, u, side="right"), self.values.size - 1)]
        found = (table_quantile(self.values, u, self.low, self.high) if self.name == "empirical"
                 else quantile(self.name, self.parameters, u, self.low, self.high))
        return np.clip(found, self.low, self.high)  # rounding at the ends

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return `size` draws by inversion, one uniform number each, shape (size,), SI."""
        return self.quantile(rng.random(size))

    def central(self) -> float:
        """Return the value a single deterministic estimate uses, within bounds.

        The mode of `triangular`, `beta_pert` and `normal`, the mean of `uniform` and `exponential`, else the median.
        """
        p = self.parameters
        if self.name == "choice":
            return float(np.mean(self.quantile(np.array([0.5 - 1e-9, 0.5 + 1e-9]))))  # between the two in the middle
        if self.name in ("triangular", "beta_pert", "normal"):
            return min(max(p[0] if self.name == "normal" else p[1], self.low), self.high)
        if self.name == "uniform":
            return (max(p[0], self.low) + min(p[1], self.high)) / 2.0
        if self.cut is None and self.name in ("lognormal", "exponential"):
            return p[0]
        return self.mean() if self.name == "exponential" else float(self.quantile(np.array([0.5]))[0])

    def mean(self) -> float:
        """Return the mean, in SI, of what is left between the bounds."""
        return self._moments()[0]

    def std(self) -> float:
        """Return the standard deviation, in SI, of what is left between the bounds."""
        return self._moments()[1]

    def support(self) -> tuple[float, float]:
        """Return the lowest and the highest value that may be drawn; infinite where there is none."""
        with np.errstate(divide="ignore"):
            low, high = self.quantile(np.array([0.0, 1.0])).tolist()
        return low, high

    def _moments(self) -> tuple[float, float]:
        if self.name == "choice":
            weights = np.diff(self.steps, prepend=0.0)
            mean = float(weights @ self.values)
            return mean, math.sqrt(float(weights @ (self.values - mean) ** 2))
        if self.name == "empirical":
            return table_moments(self.values, self.low, self.high)
        return moments(self.name, self.parameters, self.low, self.high)

    def kept(self) -> float:
        """Return the probability that the bounds leave."""
        if self.name == "choice":
            return float(self.values.size > 0)
        if self.name == "empirical":
            return table_share(self.values, self.low, self.high)
        return share(self.name, self.parameters, self.low, self.high)


def _kinds(name: str, count: int, kind: str) -> list[str]:
    """Return the kind of each parameter."""
    return ["ratio" if i in _RATIOS.get(name, ()) else kind for i in range(count)]


def is_distribution(value: Any) -> bool:
    """Whether a value of a file is a distribution: one value, although it is a mapping."""
    names = set(value) - {TRUNCATE} if isinstance(value, dict) else set()
    return len(names) == 1 and next(iter(names)) in DISTRIBUTIONS


def parse_distribution(value: dict[Any, Any], kind: str, low: float, aleatory: bool,
                       high: float = math.inf) -> Distribution:
    """Return the distribution that a mapping of one name, and perhaps `truncate`, describes.

    Raises
    ------
    QuantityError
        With what was found and what is allowed.
    """
    names = [key for key in value if key != TRUNCATE]
    if len(names) != 1:
        raise QuantityError(f"found {shorten(value)}; allowed: one distribution, such as {{uniform: [low, high]}}")
    name, raw = names[0], value[names[0]]
    if name not in DISTRIBUTIONS:
        raise QuantityError(unknown_name("distribution", str(name), DISTRIBUTIONS))
    weights: tuple[float, ...] = ()
    if name == "empirical":
        p = _empirical(raw, kind)
    elif name == "choice" and isinstance(raw, dict):
        p, weights = _weighted(raw, kind)
    else:
        p = _listed(name, raw, kind)
    cut = _cut(value[TRUNCATE], kind, low, high) if TRUNCATE in value else None
    values = {"normal": p[:1], "lognormal": p[:1], "exponential": p[:1], "beta": p[2:], "beta_pert": p[:3]}.get(name, p)
    if cut is None and (min(values) < low or max(values) > high):
        bounds = f"below {low:g}" + (f" or above {high:g}" if high < math.inf else "")
        raise QuantityError(f"{name} found {shorten(raw)}; allowed: no value {bounds} (SI)")
    found = Distribution(name, p, kind, low, aleatory, high, weights=weights, cut=cut)
    least = _LEAST_AT_EVENTS if aleatory and name != "choice" else _LEAST
    if found.kept() < least:
        raise QuantityError(f"{name} found {shorten(raw)}, of which {found.kept():.2g} lies within {found.low:g} to "
                            f"{found.high:g} (SI); allowed: a share of at least {least:g}")
    return found


def _listed(name: str, raw: Any, kind: str) -> tuple[float, ...]:
    """Return the parameters of a family given as a list."""
    wanted = DISTRIBUTIONS[name]
    raw = raw if isinstance(raw, list | tuple) else [raw]
    shape = int(name == "beta_pert" and len(raw) == 4)
    if (name == "choice" and not raw) or (name != "choice" and len(raw) != len(wanted) + shape):
        raise QuantityError(f"{name} has {len(raw)} values; allowed: [{', '.join(wanted)}]"
                            + (", and a shape above zero after them" if name == "beta_pert" else ""))
    p = tuple(parse_quantity(item, k) for item, k in zip(raw, _kinds(name, len(raw), kind), strict=True))
    ordered = {"triangular": p, "uniform": p, "beta_pert": p[:3], "beta": p[2:]}.get(name, ())
    if list(ordered) != sorted(ordered):
        rising = wanted[2:] if name == "beta" else wanted
        raise QuantityError(f"{name} found {shorten(raw)}; allowed: values in rising order [{', '.join(rising)}]")
    if name in ("normal", "lognormal") and p[1] < 0:
        raise QuantityError(f"{name} found {shorten(raw)}; allowed: a spread of zero or more around a valid value")
    above = {"lognormal": (0,), "exponential": (0,), "beta": (0, 1), "beta_pert": (3,) * shape}.get(name, ())
    for i in above:
        if p[i] <= 0:
            word = (*wanted, "shape")[i]
            raise QuantityError(f"{name} found {shorten(raw)}; allowed: {'an' if word == 'alpha' else 'a'} {word} above zero")
    return p


def _weighted(raw: dict[Any, Any], kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the values and the weights of a choice."""
    _check_keys(raw, ("values", "weights"))
    values, weights = raw.get("values"), raw.get("weights")
    if not isinstance(values, list | tuple) or not values:
        raise QuantityError(f"choice found values {shorten(values)}; allowed: a list of at least one")
    p = tuple(parse_quantity(item, kind) for item in values)
    if weights is None:
        return p, ()
    if not isinstance(weights, list | tuple) or len(weights) != len(values):
        raise QuantityError(f"choice found weights {shorten(weights)}; allowed: one for each of the {len(values)} values")
    w = tuple(parse_quantity(item, "ratio") for item in weights)
    if min(w) < 0.0 or max(w) <= 0.0:
        raise QuantityError(f"choice found weights {shorten(weights)}; allowed: none below zero and one above")
    return p, w


def _empirical(raw: Any, kind: str) -> tuple[float, ...]:
    """Return the values of an empirical distribution in rising order."""
    unit_si, example = KINDS[kind]
    if not isinstance(raw, dict) or ("csv" in raw) == ("values" in raw):
        raise QuantityError(f"empirical found {shorten(raw)}; allowed: {{csv: file, column: name, unit: unit}}, or values and "
                            "unit")
    _check_keys(raw, ("csv", "column", "unit") if "csv" in raw else ("values", "unit"))
    unit = raw.get("unit")
    if "csv" in raw:
        if not isinstance(raw["csv"], str) or not isinstance(raw.get("column", ""), str):
            raise QuantityError(f"empirical found {shorten(raw)}; allowed: names of a CSV file and of a column of it")
        values: Any = csv_column(raw["csv"], raw.get("column"), MAX_VALUES)
        unit = "" if unit is None and not unit_si else unit
    else:
        values = raw["values"]
    if not isinstance(values, list | tuple) or not 2 <= len(values) <= MAX_VALUES:
        count = len(values) if isinstance(values, list | tuple) else 0
        raise QuantityError(f"empirical found {count} values; allowed: 2 to {MAX_VALUES:,}")
    if unit is None and "values" in raw:
        return tuple(sorted(parse_quantity(item, kind) for item in values))
    if not isinstance(unit, str):
        raise QuantityError(f"empirical found the unit {shorten(unit)}; allowed: a unit, as in {example!r}")
    for item in values:
        if isinstance(item, bool) or not isinstance(item, int | float) or not math.isfinite(item):
            raise QuantityError(f"empirical found {shorten(item)}; allowed: a number of {unit}, which `unit` says")
    zero, one = (parse_quantity(f"{n} {unit}".strip(), kind) for n in (0, 1))
    return tuple((zero + np.sort(np.array(values, dtype=float)) * (one - zero)).tolist())


def _check_keys(raw: dict[Any, Any], allowed: tuple[str, ...]) -> None:
    for key in raw:
        if key not in allowed:
            raise QuantityError(unknown_name("key", str(key), allowed))


def _cut(raw: Any, kind: str, low: float, high: float) -> tuple[float, float]:
    """Return the bounds that a file sets; null is none."""
    if not isinstance(raw, list | tuple) or len(raw) != 2 or raw[0] is raw[1] is None:
        raise QuantityError(f"{TRUNCATE} found {shorten(raw)}; allowed: [low, high], one of which may be null")
    first = -math.inf if raw[0] is None else parse_quantity(raw[0], kind)
    last = math.inf if raw[1] is None else parse_quantity(raw[1], kind)
    if first >= last:
        raise QuantityError(f"{TRUNCATE} found {shorten(raw)}; allowed: a low bound below the high one")
    if (raw[0] is not None and first < low) or (raw[1] is not None and last > high):
        raise QuantityError(f"{TRUNCATE} found {shorten(raw)}; allowed: within {low:g} to {high:g} (SI)")
    return first, last

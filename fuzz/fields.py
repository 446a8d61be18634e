"""Values for every field of a scenario, made from the fields' own annotations: what is allowed, at its ends and beyond."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from simulator import catalog
from simulator.distributions import DISTRIBUTIONS
from simulator.fields import Quantity, Record, file_key
from simulator.scenario import QueueScenario, Scenario
from simulator.scenario.models import CATALOG
from simulator.scenario.series import Series
from simulator.scenario.series_profiles import Solar, Synthetic, Tariff, Wind
from simulator.units import KINDS

Path = tuple[str, ...]
_DEPTH = 4
_SIZES = (0.0, 5e-324, 1e-300, 1e-12, 1e-3, 0.5, 0.999, 1.0, 1.5, 2.0, 3.0, 7.0, 8.0, 64.0, 1000.0, 1e5, 1e7, 1e9, 1e12, 1e15,
          1e18, 1e21, 1e30, 1e100, 1e308, -1e-9, -1.0, -1e12, math.nan, math.inf)
_TIMES = ("2024-02-29", "2024-03-10T02:30", "1971-01-01", "2999-12-31T23:00", "2024-10-27T02:30+02:00", "2024-13-01")
_ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Europe/Atlantis")
_WORDS = ("auto", "x", "", "none", "default", "a" * 300, "<b>&\"'", "\u202e", "=1+1")


def paths(root: type[Record], path: Path = ()) -> Iterator[tuple[Path, Any, tuple[Any, ...]]]:
    """Yield path, annotation and metadata of all fields of a record and of the records within it."""
    for name, field in root.model_fields.items():
        here = (*path, file_key(name))
        yield here, field.annotation, tuple(field.metadata)
        if len(here) < _DEPTH:
            for option in _options(field.annotation):
                if isinstance(option, type) and issubclass(option, Record) and option is not Series:
                    yield from paths(option, here)


def _options(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def _quantities(annotation: Any, metadata: tuple[Any, ...]) -> list[Quantity]:
    found = [extra for extra in metadata if isinstance(extra, Quantity)]
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        return [*found, *_quantities(inner, tuple(extras))]
    for option in get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ():
        found += _quantities(option, ())
    return found


def _numbers(quantity: Quantity) -> st.SearchStrategy[Any]:
    """Return values of a quantity: a bare number or a text with its unit, mostly within bounds."""
    low, high = max(quantity.low, -1e18), min(quantity.high, 1e18)
    inside = [x for x in _SIZES if low <= x <= high and not (quantity.above and x == low)]
    number: st.SearchStrategy[Any] = st.one_of(
        *[st.sampled_from(inside or [low])] * 4, st.sampled_from((low, high)),
        st.integers(0, 5000).filter(lambda n: low <= n <= high) if high > 10 and low <= 1 else st.floats(low, high),
        st.sampled_from(_SIZES))
    if quantity.whole:
        number = number.map(lambda x: int(x) if math.isfinite(x) else x)
    unit = KINDS[quantity.kind][0]
    return number.map(lambda x: f"{x!r} {unit}") if unit else number


def _distributions(quantity: Quantity) -> st.SearchStrategy[Any]:
    """Return distributions, mostly with as many parameters as their kind has."""
    number, ratio = _numbers(quantity), st.sampled_from(_SIZES)
    rising = st.lists(number, min_size=4, max_size=4).map(lambda xs: sorted(xs, key=_size))

    def made(name: str, xs: list[Any], ratios: list[float], odd: bool) -> dict[str, Any]:
        size = len(DISTRIBUTIONS[name])
        found = {"lognormal": [xs[1], ratios[0]], "beta": [*ratios, *xs[:2]]}.get(name, xs[:size])
        return {name: found[:-1] if odd else found}

    name = st.sampled_from([name for name in DISTRIBUTIONS if name != "empirical"])
    plain = st.builds(made, name, rising, st.lists(ratio, min_size=2, max_size=2), st.integers(0, 15).map(lambda n: n == 0))
    tables = st.lists(st.sampled_from(_SIZES), min_size=1, max_size=5).map(
        lambda xs: {"empirical": {"values": xs, **({"unit": KINDS[quantity.kind][0]} if KINDS[quantity.kind][0] else {})}})
    cut = st.builds(lambda d, xs: {**d, "truncate": sorted(xs, key=_size)}, plain, st.lists(number, min_size=2, max_size=2))
    return st.one_of(plain, plain, cut, tables)


def _size(value: Any) -> float:
    try:
        return float(value.split()[0] if isinstance(value, str) else value)
    except (ValueError, IndexError):
        return 0.0


def _series(quantity: Quantity, path: Path) -> st.SearchStrategy[Any]:
    """Return series in each of their forms; those of rows may go back in time, or name a file."""
    number = _numbers(quantity)
    rows = st.lists(st.tuples(st.sampled_from(_TIMES), number), max_size=4).map(
        lambda xs: {"rows": sorted(list(x) for x in xs), "repeat": True})
    odd = st.sampled_from(({"csv": "/dev/zero", "unit": "W"}, {"csv": "x.csv", "unit": "USD/MWh"}, {"rows": "2024-01-01 1 2 3"}))
    forms = [record(kind, (*path, key)).map(lambda part, key=key: {key: part})
             for key, kind in (("synthetic", Synthetic), ("solar", Solar), ("wind", Wind), ("tariff", Tariff))]
    return st.one_of(rows, odd, number, number, *forms)


def values(annotation: Any, metadata: tuple[Any, ...], path: Path) -> st.SearchStrategy[Any]:
    """Return values for a field, mostly of the right kind."""
    choices: list[st.SearchStrategy[Any]] = []
    if path in CATALOG:
        choices += [st.sampled_from(catalog.names(CATALOG[path]))] * 3
    for quantity in _quantities(annotation, metadata):
        choices += [_numbers(quantity)] * 3
        if not quantity.whole:
            choices.append(_distributions(quantity))
        if type(quantity).__name__ == "SeriesOrQuantity":
            choices += [_series(quantity, path)] * 2
    for option in _options(annotation):
        origin = get_origin(option)
        if origin is Literal:
            choices += [st.sampled_from(get_args(option))] * 3
        elif option is bool:
            choices.append(st.booleans())
        elif option is str:
            choices.append(st.sampled_from((*_ZONES, *_WORDS)))
        elif origin is tuple and len(path) < _DEPTH + 2:
            choices.append(st.lists(values(get_args(option)[0], (), (*path, "0")), max_size=3))
        elif isinstance(option, type) and issubclass(option, Record) and option is not Series and len(path) < _DEPTH + 2:
            choices.append(record(option, path))
    if any("datetime" in str(option) for option in _options(annotation)):
        choices.append(st.sampled_from(_TIMES))
    if not choices:
        choices.append(st.sampled_from((*_WORDS, *_SIZES)))
    right, wrong = st.one_of(choices), st.sampled_from((None, "", [], {}, True, -1, [[1]], {"preset": "x"}))
    return st.integers(0, 24).flatmap(lambda n: wrong if n == 0 else right)


def record(kind: type[Record], path: Path) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings for a record: its required fields and any of the others."""
    def of(name: str) -> st.SearchStrategy[Any]:
        field = kind.model_fields[name]
        return values(field.annotation, tuple(field.metadata), (*path, file_key(name)))

    def keyed(part: dict[str, Any]) -> dict[str, Any]:
        return {file_key(name): value for name, value in part.items()}

    needed = {name: of(name) for name, field in kind.model_fields.items() if field.is_required()}
    others = {name: st.deferred(lambda name=name: of(name)) for name, field in kind.model_fields.items()
              if not field.is_required()}
    return st.builds(lambda a, b: keyed({**a, **b}), st.fixed_dictionaries(needed),
                     st.fixed_dictionaries({}, optional=dict(list(others.items())[:6])))


def _changes_of(root: type[Record]) -> st.SearchStrategy[list[tuple[Path, Any]]]:
    fields = list({path: (path, annotation, metadata) for path, annotation, metadata in paths(root)}.values())
    one = st.sampled_from(fields).flatmap(lambda field: st.tuples(st.just(field[0]), values(field[1], field[2], field[0])))
    return st.lists(one, min_size=1, max_size=3)


_OF_RUN, _OF_QUEUE = _changes_of(Scenario), _changes_of(QueueScenario)


def changes(queue: bool) -> st.SearchStrategy[list[tuple[Path, Any]]]:
    """Return lists of paths and the values to put there, of a training run or of a file of jobs."""
    return _OF_QUEUE if queue else _OF_RUN

"""What a sweep or a search varies: `--over path=values`, and the points of a design.

`path=4096,8192` lists values as files write them; `path=1..2` is a range, `path=1..2:5` five of its values, evenly spaced;
`log` at the end spaces both by ratio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from simulator.errors import UserError, unknown_name
from simulator.montecarlo.streams import stream
from simulator.planning.wording import short
from simulator.scenario import Scenario
from simulator.scenario.edits import edited
from simulator.scenario.paths import nearest_path, quantity_at
from simulator.scenario.reading import parse_document
from simulator.units import KINDS, QuantityError, format_quantity, parse_quantity, shorten

DESIGNS = ("grid", "zip", "latin-hypercube")
MAX_POINTS = 100_000
MAX_RUNS = 10_000_000  # points x trials
MAX_VALUES = 10_000  # of an axis
_TRIED = 20  # combinations, before a value that does not fit alone is refused
_END = r"[^,{}\[\]\"']+?"
_RANGE = re.compile(rf"\s*({_END})\s*\.\.\s*({_END})\s*(?::\s*(\d+))?\s*(\slog)?\s*")
_UNIT = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*([A-Za-z%/].*)")
_NOT_SWEPT = {"monte_carlo": "trials and seed are the same at all points: allowed are --trials and --seed"}


@dataclass(frozen=True)
class Axis:
    """What varies along one path of a scenario.

    Attributes
    ----------
    path : str
        Such as "cluster.accelerators".
    values : tuple
        In file form; empty for a range.
    low, high : float
        Ends of a range, SI; NaN for a list.
    log : bool
        The range is even in the logarithm.
    written : str
        Unit in which values of a range are written: that of its low end.
    """

    path: str
    values: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    written: str = ""

    @property
    def continuous(self) -> bool:
        """Whether it is a range, without a number of values."""
        return not self.values

    @property
    def unit(self) -> str:
        """The SI unit of its numbers; "" where it has none."""
        quantity = quantity_at(self.path)
        return KINDS[quantity.kind][0] if quantity is not None else ""

    def at(self, share: float) -> Any:
        """Return the value at a share of the way, 0 to 1, in file form: of the range, or of the list in its order."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        quantity = quantity_at(self.path)
        assert quantity is not None
        number = self.low * (self.high / self.low) ** share if self.log else self.low + (self.high - self.low) * share
        if quantity.whole:
            return round(number)
        if self.written:
            return f"{number / parse_quantity(f'1 {self.written}', quantity.kind):.10g} {self.written}"
        return format_quantity(float(f"{number:.12g}"), quantity.kind)

    def number(self, value: Any) -> float | None:
        """Return a value of this axis as an SI number; None for a name, a record or a distribution."""
        quantity = quantity_at(self.path)
        if quantity is None:
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        try:
            found = quantity.read(value)
        except QuantityError:
            return None
        return float(found) if isinstance(found, int | float) else None

    def to_file(self) -> dict[str, Any]:
        """Return what `axis_from_file` reads."""
        if self.values:
            return {"path": self.path, "values": list(self.values)}
        return {"path": self.path, "low": self.low, "high": self.high, "log": self.log,
                **({"written": self.written} if self.written else {})}


def axis_from_file(found: dict[str, Any]) -> Axis:
    """Return the axis that `to_file` wrote; may raise KeyError or TypeError."""
    return Axis(**{**found, "values": tuple(found.get("values", ()))})


def parse_axis(text: str, where: str = "--over") -> Axis:
    """Return the axis of `path=values`.

    Raises
    ------
    UserError
        No path or value, a range of what is no quantity, an end or a value that cannot be read, a value twice.
    """
    path, equals, right = text.partition("=")
    path = path.strip()
    if not equals or not path:
        raise UserError(f"{where}: found {shorten(text)}; allowed: PATH=VALUES, such as cluster.accelerators=4096,8192 or "
                        "facility.pue=1.1..1.4:4")
    place = f"{where} {path}"
    section = path.split(".")[0]
    if section in _NOT_SWEPT:
        raise UserError(f"{place}: cannot be varied; {_NOT_SWEPT[section]}")
    if match := _RANGE.fullmatch(right):
        return _range(path, match, place)
    try:
        values = parse_document(f"values: [{right}]", place).data
    except UserError:
        raise UserError(f"{place}: found {shorten(right)}; allowed: values as a file writes them with commas between, in quotes "
                        "where they hold a comma or a bracket") from None
    return listed(path, values["values"] if len(values) == 1 else [None], place)


def listed(path: str, values: Sequence[Any], where: str) -> Axis:
    """Return an axis of values; raise UserError where there are none, too many, or one twice."""
    if not values:
        raise UserError(f"{where}: found no values; allowed: at least one, such as {path}=1,2")
    if len(values) > MAX_VALUES:
        raise UserError(f"{where}: found {len(values):,} values; allowed: at most {MAX_VALUES:,}")
    if any(value is None for value in values):
        raise UserError(f"{where}: found an empty value; allowed: values with one comma between")
    axis = Axis(path, tuple(values))
    seen: dict[str, Any] = {}
    for value in values:
        number = axis.number(value)
        key = repr(value if number is None else number)
        if key in seen:
            again = "" if seen[key] == value else f" (as {shorten(value)})"
            raise UserError(f"{where}: found {shorten(seen[key])} twice{again}; allowed: each value once")
        seen[key] = value
    return axis


def _range(path: str, match: re.Match[str], where: str) -> Axis:
    """Return the axis of a range, or of the evenly spaced values in it."""
    first, last, count, log = match.groups()
    quantity = quantity_at(path)
    if quantity is None:
        guess = nearest_path(path)
        hint = f"; did you mean {guess}?" if guess else ""
        raise UserError(f"{where}: found the range {match[0].strip()}, but this path holds no quantity{hint}; allowed: a list")
    ends = []
    for end in (first, last):
        try:
            found = quantity.read(_scalar(end))
        except QuantityError as error:
            raise UserError(f"{where}: {error}") from None
        if not isinstance(found, int | float):
            raise UserError(f"{where}: found {end!r} as an end of a range; allowed: a quantity such as "
                            f"{KINDS[quantity.kind][1]!r}")
        ends.append(float(found))
    low, high = ends
    if low >= high:
        raise UserError(f"{where}: found {first} to {last}; allowed: a range that rises")
    if log and low <= 0.0:
        raise UserError(f"{where}: found a range from {first} with log; allowed: from above zero")
    unit = _UNIT.fullmatch(first)
    axis = Axis(path, (), low, high, bool(log), unit[1] if unit and quantity.kind != "temperature" else "")
    if count is None:
        return axis
    if not 2 <= int(count) <= MAX_VALUES:
        raise UserError(f"{where}: found {int(count):,} values; allowed: 2 to {MAX_VALUES:,}")
    values = [axis.at(share) for share in np.linspace(0.0, 1.0, int(count)).tolist()]
    return Axis(path, tuple(dict.fromkeys(values)))  # whole numbers of a short range come twice


def _scalar(text: str) -> Any:
    try:
        return parse_document(f"value: {text}", "").data["value"]
    except UserError:
        return text


def check_design(axes: Sequence[Axis], design: str, points: int | None, trials: int = 1) -> int:
    """Return how many points a design has, without making them.

    Raises
    ------
    UserError
        No axes, a path twice, a design unknown or not possible with these axes, more points or runs than allowed.
    """
    if design not in DESIGNS:
        raise UserError(f"--design: {unknown_name('design', design, DESIGNS)}")
    if not axes:
        raise UserError("found nothing to vary; allowed: at least one --over PATH=VALUES")
    paths = [axis.path for axis in axes]
    for path in paths:
        inside = [other for other in paths if other.startswith(f"{path}.")]
        if paths.count(path) > 1 or inside:
            again = f"and {inside[0]}, which lies within it" if inside else "twice"
            raise UserError(f"--over {path}: found {again}; allowed: each value of the scenario once")
    if design == "latin-hypercube":
        if points is None or points < 1:
            raise UserError(f"--design latin-hypercube: found {points or 'no'} points; allowed: --points N, of at least 1")
        count = points
    else:
        count = _count_listed(axes, design, points)
    if count > MAX_POINTS:
        found = " x ".join(str(len(axis.values)) for axis in axes) + " = " if design == "grid" and len(axes) > 1 else ""
        raise UserError(f"found {found}{count:,} points; allowed: at most {MAX_POINTS:,}, such as fewer values, or --design "
                        "latin-hypercube --points 1000")
    if count * trials > MAX_RUNS:
        raise UserError(f"found {count:,} points of {trials:,} trials; allowed: at most {MAX_RUNS:,} runs, such as --trials "
                        f"{max(1, MAX_RUNS // count):,}")
    return count


def _count_listed(axes: Sequence[Axis], design: str, points: int | None) -> int:
    if points is not None:
        raise UserError(f"--points: found {points} with --design {design}, whose values say how many; allowed: with "
                        "--design latin-hypercube")
    for axis in axes:
        if axis.continuous:
            raise UserError(f"--over {axis.path}: found a range without a number of values; allowed: LOW..HIGH:N, or --design "
                            "latin-hypercube --points N")
    counts = [len(axis.values) for axis in axes]
    if design == "grid":
        return math.prod(counts)
    if len(set(counts)) > 1:
        found = ", ".join(f"{axis.path} {len(axis.values)}" for axis in axes)
        raise UserError(f"--design zip: found lists of unequal length ({found}); allowed: one value of each for every point")
    return counts[0]


def design_points(axes: Sequence[Axis], design: str = "grid", points: int | None = None, seed: int = 1) -> list[dict[str, Any]]:
    """Return the points of a design: path -> value in file form; raise UserError as `check_design` does.

    A grid has the last axis run fastest. A Latin hypercube has `points` points, of which each stratum of each axis has one
    (McKay, Beckman and Conover, Technometrics 21, 1979); an axis that is added does not move the others.
    """
    count = check_design(axes, design, points)
    paths = [axis.path for axis in axes]
    if design == "latin-hypercube":
        columns = [[axis.at(share) for share in _strata(axis.path, count, seed)] for axis in axes]
        rows: Iterator[tuple[Any, ...]] = zip(*columns, strict=True)
    else:
        lists = [axis.values for axis in axes]
        rows = product(*lists) if design == "grid" else zip(*lists, strict=True)
    return [dict(zip(paths, row, strict=True)) for row in rows]


def _strata(path: str, count: int, seed: int) -> list[float]:
    """Return one number within each of `count` strata of 0 to 1, in random order."""
    random = stream(seed, 0, f"design {path}")
    found: list[float] = ((random.permutation(count) + random.random(count)) / count).tolist()
    return found


def check_values(scenario: Scenario, axes: Sequence[Axis], points: Sequence[dict[str, Any]], where: str = "--over") -> None:
    """Raise UserError for a path or value that no point can have: each is put into the scenario alone, then with the others.

    Of a range only the ends are tried: a value inside that does not fit is a problem of its point.
    """
    for axis in axes:
        for value in axis.values or (axis.at(0.0), axis.at(1.0)):
            try:
                edited(scenario, {axis.path: value}, f"{where} {axis.path}={short(value)}")
            except UserError as error:
                if not _fits_somewhere(scenario, axis, value, points):
                    guess = nearest_path(axis.path)
                    raise UserError(f"{error}" + (f" (the nearest path is {guess})" if guess else "")) from None


def _fits_somewhere(scenario: Scenario, axis: Axis, value: Any, points: Sequence[dict[str, Any]]) -> bool:
    """Return whether a value that does not fit alone does with others of the design."""
    if len(points[0]) == 1 or nearest_path(axis.path):
        return False
    having = [point for point in points if axis.continuous or point[axis.path] == value]
    for point in having[:: max(1, len(having) // _TRIED)][:_TRIED]:
        try:
            edited(scenario, point)
        except UserError:
            continue
        return True
    return False

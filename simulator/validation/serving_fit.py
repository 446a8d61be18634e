"""The calibration of serving: a few constants of the software and two of each hardware generation, on the rows marked `fitted`.

No constant belongs to a row or a model. What a set of rows does not use stays as it starts: without effect, or for a generation
without rows as the others' mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kernels.iteration import Software
from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, GenerationRecord, ModelRecord
from simulator.errors import UserError
from simulator.serving.costs import SOFTWARE, Kind
from simulator.validation.serving import Iteration, row_batch, row_kind, steady
from simulator.validation.serving_rows import ASSUMED, CONTEXT_SHARE, ServingRow, read_serving_rows

# Of the software: where a fit starts, and bounds. `request_s` is not fitted: the rows cannot tell it from sampling.
_SOFTWARE = {"overhead_s": (1e-3, 1e-4, 1e-2), "logit_bytes": (500.0, 12.0, 5000.0), "scaling_s": (5e-6, 1e-7, 1e-4),
             "expert_8_efficiency": (0.9, 0.1, 1.0), "unpack_demand": (0.1, 1e-3, 1.5)}
# Of a generation: share of bandwidth, and power of memory-bound work above idle over the TDP's.
_GENERATION = {"memory_efficiency": (0.85, 0.4, 0.95), "memory_demand": (0.8, 0.3, 1.0)}
_SCALE = 0.15  # of the soft-L1 norm: errors above count less than by their square
_PULL = 0.03  # toward the start, so that what rows do not tell does not wander
LENGTHS = ((50.0, 300.0), (200.0, 500.0), (300.0, 800.0), (100.0, 1000.0))


@dataclass(frozen=True)
class Constants:
    """A set of constants: of the software, and of each generation (efficiency, demand)."""

    software: Software
    generations: dict[str, tuple[float, float]]

    def of(self, generation: str) -> tuple[float, float]:
        """Return those of a generation; the mean of the others where no row told."""
        if generation in self.generations:
            return self.generations[generation]
        efficiency, demand = np.mean(list(self.generations.values()), axis=0)
        return float(efficiency), float(demand)


@dataclass(frozen=True)
class Case:
    """A row with its replica, made once."""

    row: ServingRow
    kind: Kind
    generation: str
    batch: float

    def iteration(self, constants: Constants) -> Iteration:
        """Return the row's mean iteration with other constants."""
        assert self.row.accelerator is not None
        efficiency, demand = constants.of(self.generation)
        kind = replace(
            self.kind, replica=self.kind.replica._replace(software=constants.software),
            device=self.kind.device._replace(
                memory_bytes_per_s=self.row.accelerator.memory_bandwidth_bytes_per_s * efficiency),
            power=self.kind.power._replace(memory=demand))
        return steady(kind, self.batch, self.row.prompt, self.row.output, self.row.context)

    def residuals(self, constants: Constants) -> list[float]:
        """Return logarithms of predicted over measured time between tokens and joules, those that were measured."""
        found, row = self.iteration(constants), self.row
        pairs = ((found.time_s, row.itl_s), (found.j_per_token(row.accelerators), row.j_per_token))
        return [math.log(predicted / measured) for predicted, measured in pairs if measured]


def cases_of(rows: list[ServingRow]) -> list[Case]:
    """Return the rows as cases; UserError where one cannot be predicted."""
    found = []
    for row in rows:
        kind = row_kind(row)
        assert row.accelerator is not None
        found.append(Case(row, kind, row.accelerator.generation, row_batch(row, kind)[0]))
    return found


def calibrate(cases: list[Case]) -> Constants:
    """Return constants fitted to cases.

    Minimises the soft-L1 norm of the logarithms of predicted over measured time between tokens and J/token
    (scipy.optimize.least_squares) over the logarithms of the constants, with a weak pull toward their start.
    """
    from scipy.optimize import least_squares

    names = sorted({case.generation for case in cases})
    bounds = np.log(np.array([*_SOFTWARE.values(), *(v for _ in names for v in _GENERATION.values())]))
    start, low, high = bounds.T

    def constants(x: np.ndarray) -> Constants:
        values = [float(v) for v in np.exp(x)]
        software = SOFTWARE._replace(**dict(zip(_SOFTWARE, values, strict=False)))
        own = values[len(_SOFTWARE):]
        return Constants(software, {name: (own[2 * i], own[2 * i + 1]) for i, name in enumerate(names)})

    def misfit(x: np.ndarray) -> np.ndarray:
        now = constants(x)
        return np.array([*(r for case in cases for r in case.residuals(now)), *(_PULL * (x - start))])

    return constants(least_squares(misfit, start, bounds=(low, high), loss="soft_l1", f_scale=_SCALE).x)


@dataclass(frozen=True)
class HeldOut:
    """Median absolute errors on rows of a group of a fit to all rows, and of one that did not see them."""

    group: str
    rows: int
    fitted_itl: float
    fitted_j: float
    held_out_itl: float
    held_out_j: float


def _medians(cases: list[Case], constants: Constants) -> tuple[float, float]:
    itl, joules = [], []
    for case in cases:
        found = case.iteration(constants)
        if case.row.itl_s:
            itl.append(found.time_s / case.row.itl_s - 1.0)
        if case.row.j_per_token:
            joules.append(found.j_per_token(case.row.accelerators) / case.row.j_per_token - 1.0)
    return _median(itl), _median(joules)


def _median(errors: list[float]) -> float:
    return float(np.median(np.abs(errors))) if errors else math.nan


def leave_out(cases: list[Case], all_in: Constants) -> list[HeldOut]:
    """Return errors with each model, and each accelerator, left out in turn."""
    found = []
    for names in ([_name(case.row.model) for case in cases], [_name(case.row.accelerator) for case in cases]):
        for group in dict.fromkeys(names) if len(set(names)) > 1 else ():
            mine = [case for case, name in zip(cases, names, strict=True) if name == group]
            rest = [case for case, name in zip(cases, names, strict=True) if name != group]
            found.append(HeldOut(group, len(mine), *_medians(mine, all_in), *_medians(mine, calibrate(rest))))
    return found


def _name(record: ModelRecord | AcceleratorRecord | None) -> str:
    return "" if record is None else record.name


def by_lengths(rows: list[ServingRow]) -> list[tuple[float, float, float, float, float, float]]:
    """Return for other assumed lengths: prompt, output, errors (time, J) with the constants in use, and with their own fit.

    Rows with lengths of their own keep them.
    """
    assumed = tuple(ASSUMED.values())
    found, shipped = [], in_use()
    for prompt, output in (assumed, *LENGTHS):
        context = prompt + CONTEXT_SHARE * output
        cases = cases_of([replace(row, prompt=prompt, output=output, context=context)
                          if (row.prompt, row.output) == assumed else row for row in rows])
        found.append((prompt, output, *_medians(cases, shipped), *_medians(cases, calibrate(cases))))
    return found


@dataclass(frozen=True)
class Calibration:
    """A fit with what it is worth."""

    constants: Constants
    in_use: Constants
    held_out: list[HeldOut]
    lengths: list[tuple[float, float, float, float, float, float]]


def calibration_of(path: Path | None) -> Calibration:
    """Return the fit to the rows of a CSV that are marked `fitted`, or to the shipped ones; UserError where there are too few."""
    rows = [row for row in read_serving_rows(path) if row.role == "fitted" and (row.itl_s or row.j_per_token)]
    if len({row.model.name for row in rows if row.model is not None}) < 2:
        raise UserError(f"{path}: found rows of less than two models whose role is 'fitted' and that have 'itl_ms' or "
                        "'j_per_token'; allowed: rows of two or more, so that one can be left out")
    cases = cases_of(rows)
    constants = calibrate(cases)
    return Calibration(constants, in_use(), leave_out(cases, constants), by_lengths(rows))


def in_use() -> Constants:
    """Return the constants of the project: `simulator.serving.costs.SOFTWARE` and those of the catalog's generations."""
    records = {name: catalog.load("generations", name) for name in catalog.names("generations")}
    return Constants(SOFTWARE, {
        name: (g.serving_memory_efficiency, g.serving_memory_demand) for name, g in records.items()
        if isinstance(g, GenerationRecord) and g.serving_memory_efficiency is not None and g.serving_memory_demand is not None})

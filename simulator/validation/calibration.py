"""The calibration of efficiencies: one set for a hardware generation and software era, on the shipped rows.

Fitted numbers belong to an era (`FITTED`); all else of a generation is a published or measured constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator import catalog
from simulator.catalog.records import GenerationRecord, SoftwareEra
from simulator.validation.rows import Case

FITTED = ("gemm_efficiency", "attention_efficiency", "fp8_efficiency")
_LOW, _HIGH = {"gemm_efficiency": 0.3, "attention_efficiency": 0.05, "fp8_efficiency": 0.4}, 1.0
# Constants of a generation or era that are not fitted, and the values tried instead to show what they matter.
TRIED = {"fill_depth": (200.0, 400.0), "overlap_cost": (0.3, 0.7), "softmax_depth": (0.0, 30.0),
         "memory_efficiency": (0.75, 0.95)}


@dataclass(frozen=True)
class Fit:
    """An era fitted to its rows."""

    generation: str
    era: SoftwareEra
    fitted: tuple[str, ...]
    cases: tuple[Case, ...]
    errors: np.ndarray
    held_out: dict[str, float]

    @property
    def at_bounds(self) -> tuple[str, ...]:
        """Fitted numbers that lie at a bound: the model lacks something there."""
        return tuple(name for name in self.fitted
                     if min(getattr(self.era, name) - _LOW[name], _HIGH - getattr(self.era, name)) < 1e-3)


def errors(cases: list[Case], era: SoftwareEra | None = None, g: GenerationRecord | None = None) -> np.ndarray:
    """Return predicted over measured step time minus one, shape (cases,); `era` and `g` replace the catalog's."""
    return np.array([case.step(era, g).time_s / case.measured_s - 1.0 for case in cases])


def used(cases: list[Case]) -> tuple[str, ...]:
    """Return the efficiencies that a set of rows can identify."""
    flash = any(case.recipe.flash > 0.0 for case in cases)
    narrow = any(case.precision in ("fp8", "fp4") for case in cases)
    return tuple(name for name, there in zip(FITTED, (True, flash, narrow), strict=True) if there)


def calibrate(cases: list[Case], start: SoftwareEra, g: GenerationRecord) -> SoftwareEra:
    """Return an era's efficiencies fitted to its rows.

    Minimises the soft-L1 norm (scale 4 %) of the logarithm of predicted over measured time within bounds
    (scipy.optimize.least_squares). What the rows do not use stays as in `start`.
    """
    from scipy.optimize import least_squares

    names = used(cases)

    def era(x: np.ndarray) -> SoftwareEra:
        return start.model_copy(update=dict(zip(names, (float(v) for v in x), strict=True)))

    low = np.array([_LOW[name] for name in names])
    first = np.clip([getattr(start, name) for name in names], low + 1e-3, _HIGH - 1e-3)
    fit = least_squares(lambda x: np.log1p(errors(cases, era(x), g)), first, bounds=(low, np.full(low.size, _HIGH)),
                        loss="soft_l1", f_scale=0.04, x_scale=0.1)
    return era(fit.x)


def leave_one_source_out(cases: list[Case], era: SoftwareEra, g: GenerationRecord, others: list[SoftwareEra]) -> dict[str, float]:
    """Return, by source, the mean absolute error on its rows of a fit that did not see them.

    The fit is the era's without that source; where the era has no other source, `others` stand in: the neighbouring era's fit
    (the mean where there are two neighbours), as for a row whose software is not known.
    """
    found = {}
    for source in sorted({case.source for case in cases}):
        held = [case for case in cases if case.source == source]
        rest = [case for case in cases if case.source != source]
        fits = [calibrate(rest, era, g)] if rest else others
        if fits:
            found[source] = float(np.mean([np.abs(errors(held, fit, g)).mean() for fit in fits]))
    return found


def eras_with_rows(cases: list[Case]) -> list[tuple[GenerationRecord, SoftwareEra, list[Case]]]:
    """Return each generation and era that has rows, with its rows."""
    found = []
    for name in sorted({case.accelerator.generation for case in cases}):
        g = catalog.load("generations", name)
        for era in g.eras:
            mine = [case for case in cases if case.accelerator.generation == name and g.era(case.year) is era]
            if mine:
                found.append((g, era, mine))
    return found


def fit_all(cases: list[Case]) -> list[Fit]:
    """Return a fit of each era that has rows."""
    fits = []
    found = eras_with_rows(cases)
    fitted = [calibrate(rows, era, g) for g, era, rows in found]
    for i, (g, _, rows) in enumerate(found):
        beside = [fitted[k] for k in (i - 1, i + 1) if 0 <= k < len(found) and found[k][0] is g]
        fits.append(Fit(g.name, fitted[i], used(rows), tuple(rows), errors(rows, fitted[i], g),
                        leave_one_source_out(rows, fitted[i], g, beside)))
    return fits


def sensitivity(cases: list[Case]) -> list[tuple[str, float, float]]:
    """Return (constant, value, mean absolute error of a new fit) for other values of what is not fitted."""
    found = []
    for name, values in TRIED.items():
        for value in values:
            all_errors = []
            for g, era, rows in eras_with_rows(cases):
                ours = g.model_copy(update={name: value} if name in type(g).model_fields else {})
                its = era.model_copy(update={name: value} if name in type(era).model_fields else {})
                all_errors.append(errors(rows, calibrate(rows, its, ours), ours))
            found.append((name, value, float(np.abs(np.concatenate(all_errors)).mean())))
    return found

"""Times and severities as rows of the table that kernels draw from."""

from __future__ import annotations

import numpy as np

from kernels.draws import CHOICE, COLUMNS, CONSTANT, EXPONENTIAL, LOGNORMAL, NORMAL, STEPS, TABLE, TRIANGULAR, UNIFORM
from simulator.catalog.records import FailureComponent, Recovery
from simulator.fields import Distribution

_KINDS = {"uniform": UNIFORM, "triangular": TRIANGULAR, "normal": NORMAL, "lognormal": LOGNORMAL, "exponential": EXPONENTIAL}
_TABLE_SIZE = 1025  # quantiles of a beta distribution, between which lines are drawn
_OWN = ("detection_s", "repair_s", "duration_s", "severity", "latency_s")  # in the order of `kernels.events`


def _listed(value: Distribution) -> tuple[float, int, list[float]]:
    """Return the kind of a distribution that a kernel draws from a list, the number of values, and the list."""
    if value.name == "choice":
        plain = not value.weights and len(value.parameters) == value.values.size
        return ((CHOICE, value.values.size, value.values.tolist()) if plain
                else (STEPS, value.values.size, [*value.steps.tolist(), *value.values.tolist()]))
    table = value.values if value.name == "empirical" else value.quantile(np.linspace(0.0, 1.0, _TABLE_SIZE))
    return TABLE, table.size, table.tolist()


class Laws:
    """A table under construction: rows of distributions, and the values of choices."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self.choices: list[float] = []

    def add(self, value: float | Distribution) -> int:
        """Add a constant or a distribution; return its row."""
        row = [0.0] * COLUMNS
        if isinstance(value, Distribution):
            row[4:] = [value.low, value.high]
            if value.name in ("choice", "empirical", "beta", "beta_pert"):
                law, count, listed = _listed(value)
                row[:3] = [law, float(len(self.choices)), float(count)]
                self.choices += listed
            else:
                row[: 1 + len(value.parameters)] = [_KINDS[value.name], *value.parameters]
        else:
            row[:2] = [CONSTANT, float(value)]
        self.rows.append(row)
        return len(self.rows) - 1

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows, shape (n, 6), and the values of choices."""
        return np.array(self.rows), np.array(self.choices or [0.0])


def recovery_laws(laws: Laws, recovery: Recovery) -> None:
    """Add the parts of a recovery in the order of `kernels.events`."""
    hot = recovery.replacement_s
    warm = hot if recovery.warm_replacement_s is None else recovery.warm_replacement_s
    cold = warm if recovery.cold_replacement_s is None else recovery.cold_replacement_s
    away = recovery.repair_s if recovery.quarantine_s is None else recovery.quarantine_s
    for part in (recovery.detection_s, recovery.diagnosis_s, hot, warm, cold, recovery.initialisation_s, recovery.warm_up_s,
                 recovery.repair_s, away):
        laws.add(part)


def component_laws(laws: Laws, component: FailureComponent) -> list[int]:
    """Add a component's own laws; return their rows, -1 where the recovery's hold."""
    return [-1 if (value := getattr(component, name)) is None else laws.add(value) for name in _OWN]

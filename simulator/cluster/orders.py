"""What power a run may take when: caps, curtailment, oversubscription and the operator's own rules, as orders in time.

An order is a choice among the plans of a run: 0 at full clock, then slower ones, and after the last a pause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernels.calendar import windows_above
from kernels.dispatch import LIMIT_W, SOLAR_W, TEMPERATURE, WIND_W, it_powers_w, overheads_w
from simulator.accounting.grid import Grid
from simulator.accounting.supply import Conditions, Supply
from simulator.errors import UserError
from simulator.scenario import Scenario
from simulator.scenario.facility import Curtailment
from simulator.scenario.policies import Policy

if TYPE_CHECKING:
    from simulator.cluster.plan import RunPlan

# Limits of an accelerator that a slowed run may be set to, as shares of the usual one; what none of them fits is a pause.
LIMITS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4)
_THRESHOLDS = (("price_above_usd_per_j", "price"), ("carbon_above_kgco2e_per_j", "carbon"),
               ("temperature_above_degc", "temperature"))


@dataclass(frozen=True)
class Rules:
    """What bounds the power of a run.

    Attributes
    ----------
    provided_w : float
        IT power that is provided for the job's nodes; infinity: all that they can take.
    """

    policies: tuple[Policy, ...]
    curtailment: tuple[Curtailment, ...]
    capped: bool
    provided_w: float

    @property
    def any(self) -> bool:
        """Whether there is any."""
        return bool(self.policies or self.curtailment or self.capped or np.isfinite(self.provided_w))


def rules(scenario: Scenario, rated_w: float) -> Rules:
    """Return the rules of a scenario whose nodes are rated at a power."""
    facility = scenario.facility
    provided_w = rated_w / facility.oversubscription if facility.oversubscription else np.inf
    return Rules(scenario.policies, facility.curtailment, facility.power_cap_w is not None, provided_w)


def windows(events: tuple[Curtailment, ...], grid: Grid, draw: Callable[[int], np.random.Generator]
            ) -> list[tuple[int, int, Curtailment]]:
    """Return first and last bin of each event, in whole bins: those at random come as a Poisson process and begin on the hour."""
    end_s = float(grid.edges_s[-1])
    found = []
    for i, event in enumerate(events):
        starts = [] if event.at_s is None else [event.at_s]
        if event.rate_per_s:
            rng, at_s = draw(i), 0.0
            while (at_s := at_s + float(rng.standard_exponential()) / event.rate_per_s) < end_s:
                starts.append(at_s)
        for start_s in starts:
            first = int(np.searchsorted(grid.edges_s, start_s - 1e-6))
            last = int(np.searchsorted(grid.edges_s, grid.edges_s[min(first, grid.edges_s.size - 1)] + event.duration_s - 1e-6))
            found.append((first, last, event))
    return found


def conditions(supply: Supply, bound: Rules, full_w: float, until_s: float,
               draw: Callable[[int], np.random.Generator]) -> Conditions:
    """Return the conditions of a trial up to a time.

    Parameters
    ----------
    full_w : float
        IT power of the cluster while the job runs at full clock.
    draw : callable
        Number of a kind of event -> generator of when it comes.
    """
    grid = supply.grid(until_s)
    table = supply.table(grid)
    events = windows(bound.curtailment, grid, draw)
    if not events:
        return Conditions(grid, table)
    table = table.copy()
    asked_w = full_w + np.array([sum(overheads_w(supply.overhead, full_w, t)) for t in table[:, TEMPERATURE].tolist()])
    payment = np.zeros(len(table))
    for first, last, event in events:
        rows = slice(first, last)
        table[rows, LIMIT_W] = np.minimum(table[rows, LIMIT_W], event.to * asked_w[rows])
        payment[rows] = np.maximum(payment[rows], event.payment_usd_per_j)
    return Conditions(grid, table, payment, asked_w)


def allowed_w(supply: Supply, bound: Rules, met: Conditions, full_w: float) -> np.ndarray:
    """Return the IT power that the cluster may take by bin, shape (n,), W."""
    n = len(met.table)
    allowed = np.full(n, bound.provided_w)
    if bound.capped or bound.curtailment:
        local_w = met.table[:, SOLAR_W] + met.table[:, WIND_W] + supply.plant.generator_w
        at_grid = np.empty(n)
        it_powers_w(supply.overhead, met.table[:, LIMIT_W] + local_w, np.ascontiguousarray(met.table[:, TEMPERATURE]), at_grid)
        allowed = np.minimum(allowed, at_grid)
    for policy in bound.policies:
        level_w = 0.0 if policy.action == "pause" else policy.to * full_w
        for first, last in _held(policy, met.grid):
            allowed[first:last] = np.minimum(allowed[first:last], level_w)
    return allowed


def _held(policy: Policy, grid: Grid) -> list[tuple[int, int]]:
    """Return first and last bin of each stretch in which a policy holds."""
    field, name = next((field, name) for field, name in _THRESHOLDS if getattr(policy, field) is not None)
    values = grid.values[name]
    if np.isnan(values).any():
        raise UserError(f"policies: {name} is unknown here; allowed: a rule on what the scenario gives or its site has")
    spans = windows_above(grid.edges_s, values, getattr(policy, field))
    places = np.searchsorted(grid.edges_s, spans)
    return [(int(a), int(b)) for (a, b), (start, end) in zip(places, spans, strict=True) if end - start >= policy.at_least_s]


def orders(plan: RunPlan, met: Conditions) -> tuple[np.ndarray, np.ndarray]:
    """Return the times at which the order changes, the first at 0, and the orders from then on, shape (m,) each."""
    allowed = allowed_w(plan.supply, plan.rules, met, plan.full_w)
    order = choices(allowed, tuple(p.full_w for p in (plan, *plan.slower)))
    first = np.concatenate([[0], np.flatnonzero(np.diff(order)) + 1])
    return met.grid.edges_s[first], order[first]


def choices(allowed: np.ndarray, powers_w: tuple[float, ...]) -> np.ndarray:
    """Return the order of each bin: the first plan, of falling powers, that takes no more than is allowed; else a pause."""
    return np.asarray((np.array(powers_w)[None, :] > allowed[:, None] * (1.0 + 1e-9)).sum(axis=1))

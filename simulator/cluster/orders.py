"""What power a run may take when: caps, curtailment, oversubscription and the operator's own rules, as orders in time.

An order is a choice among the plans of a run: 0 at full clock, then slower ones, and after the last a pause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernels.calendar import windows_above
from kernels.dispatch import SOLAR_W, TEMPERATURE, WIND_W, Limits, facility_powers_w, it_powers_w
from simulator.accounting.grid import Grid
from simulator.accounting.supply import Conditions
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
    known: dict[float, Known] = field(default_factory=dict, compare=False, repr=False)  # by the end of the bins

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


def conditions(plan: RunPlan, until_s: float, draw: Callable[[int], np.random.Generator]) -> Conditions:
    """Return the conditions of a trial up to a time.

    Parameters
    ----------
    plan : RunPlan
        At full clock.
    draw : callable
        Number of a kind of event -> generator of when it comes.
    """
    met = plan.supply.conditions(until_s)
    assert met.grid is not None
    events = windows(plan.rules.curtailment, met.grid, draw)
    if not plan.rules.curtailment:  # a trial that meets no event has the columns of those that do
        return met
    asked_w = _known(plan, met).asked_w
    limit_w, payment = met.limits.grid_w.copy(), np.zeros(len(met.table))
    for first, last, event in events:
        rows = slice(first, last)
        limit_w[rows] = np.minimum(limit_w[rows], event.to * asked_w[rows])
        payment[rows] = np.maximum(payment[rows], event.payment_usd_per_j)
    return replace(met, limits=Limits(limit_w, payment, asked_w), lowered=tuple((a, b) for a, b, _ in events))


def orders(plan: RunPlan, met: Conditions) -> tuple[np.ndarray, np.ndarray]:
    """Return the times at which the order changes, the first at 0, and the orders from then on, shape (m,) each; none without
    rules.
    """
    if not plan.rules.any or met.grid is None:
        return np.empty(0), np.empty(0, dtype=np.int64)
    known = _known(plan, met)
    order = known.order
    if met.lowered:
        order = order.copy()
        for first, last in met.lowered:
            rows = slice(first, last)
            order[rows] = _choices(plan, np.minimum(known.ruled_w[rows], _at_grid(plan, met, rows)))
    first_bins = np.concatenate([[0], np.flatnonzero(np.diff(order)) + 1])
    return met.grid.edges_s[first_bins], order[first_bins]


class Known(NamedTuple):
    """What is the same in all trials, bin by bin: power by rule, the order without events, the facility's power at full clock."""

    ruled_w: np.ndarray
    order: np.ndarray
    asked_w: np.ndarray


def _known(plan: RunPlan, met: Conditions) -> Known:
    assert met.grid is not None
    until_s = float(met.grid.edges_s[-1])
    if until_s not in plan.rules.known:
        usual = plan.supply.conditions(until_s)
        ruled_w, asked_w = _by_rule(plan, met), np.empty(len(met.table))
        facility_powers_w(plan.supply.overhead, plan.full_w, met.table[:, TEMPERATURE], asked_w)
        order = _choices(plan, np.minimum(ruled_w, _at_grid(plan, usual, slice(None))))
        plan.rules.known[until_s] = Known(ruled_w, order, asked_w)
    found: Known = plan.rules.known[until_s]
    return found


def _choices(plan: RunPlan, allowed_w: np.ndarray) -> np.ndarray:
    """Return the order of each bin: the first plan, of falling powers, that takes no more than is allowed; else a pause."""
    return np.searchsorted(-plan.powers_w, -allowed_w * (1.0 + 1e-9))


def _at_grid(plan: RunPlan, met: Conditions, rows: slice) -> np.ndarray:
    """Return the IT power that the grid, with what stands on site, can feed in some bins, W."""
    table = met.table[rows]
    own_w = table[:, SOLAR_W] + table[:, WIND_W] + plan.supply.plant.generator_w
    at_grid = np.empty(len(table))
    it_powers_w(plan.supply.overhead, met.limits.grid_w[rows] + own_w, table[:, TEMPERATURE], at_grid)
    return at_grid


def _by_rule(plan: RunPlan, met: Conditions) -> np.ndarray:
    """Return the IT power that the provided one and the operator's rules allow by bin, W."""
    assert met.grid is not None
    allowed = np.full(len(met.table), plan.rules.provided_w)
    for policy in plan.rules.policies:
        level_w = 0.0 if policy.action == "pause" else policy.to * plan.full_w
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

"""What a plan chooses from: candidates, each a whole scenario with its layout settled, its least and its peak of power."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.dispatch import TEMPERATURE, facility_powers_w
from simulator.cluster import RunPlan
from simulator.cluster.orders import orders
from simulator.errors import UserError
from simulator.montecarlo.trials import Trials
from simulator.performance.search import choose_layout
from simulator.planning.alternatives import at_site
from simulator.planning.axes import Axis, short
from simulator.planning.layouts import rank_layouts
from simulator.planning.least import Least, least
from simulator.scenario import Layout, Scenario
from simulator.scenario.edits import edited
from simulator.scenario.paths import quantity_at
from simulator.scenario.planning import Objective

SITE = "facility.site"
GRID = 7  # values of a range that are tried at first
# Parts of a scenario that decide which layout is best, by objective: prices where dollars do.
_LAYOUT_PARTS = ("year", "model", "training", "cluster")


@dataclass(frozen=True)
class Candidate:
    """One choice.

    Attributes
    ----------
    changes : dict
        Path -> value in file form: what makes it differ from the scenario that was given.
    scenario : Scenario
        Ready to run, with the layout and the interval that were searched for it.
    layout : Layout or None
        As the step kernel chose it; None where the scenario gives one.
    least : Least
    peak_power_w : float
        Of the facility.
    """

    changes: dict[str, Any]
    scenario: Scenario
    layout: Layout | None
    least: Least
    peak_power_w: float

    @property
    def label(self) -> str:
        """What makes it differ, in one line."""
        return label_of(self.changes)


def label_of(changes: Mapping[str, Any]) -> str:
    """Return changes in one line."""
    return ", ".join(f"{path.rsplit('.', 1)[-1] if '.' in path else path} {short(value)}" for path, value in changes.items())


def key_of(changes: Mapping[str, Any]) -> str:
    """Return changes as one text, to tell candidates apart."""
    return json.dumps(changes, sort_keys=True, default=str)


class Space:
    """Makes candidates of one scenario.

    Parameters
    ----------
    scenario : Scenario
    minimise : str
        What is least; it decides which layout is best where one is searched.
    first : int
        Trials whose draws the least of an uncertain scenario is worked out for.
    """

    def __init__(self, scenario: Scenario, minimise: Objective, first: int) -> None:
        self.scenario, self.minimise, self.first = scenario, minimise, first
        self._layouts: dict[str, Layout | str] = {}

    def candidate(self, changes: Mapping[str, Any]) -> Candidate:
        """Return the candidate of some changes; raise UserError, with why, where there is none: it does not fit together or in
        memory, or the catalog lacks a value.
        """
        scenario = changed(self.scenario, changes)
        layout = None
        if isinstance(scenario.training.layout, str):
            layout = self._layout(scenario)
            scenario = scenario.model_copy(update={"training": scenario.training.model_copy(update={"layout": layout})})
        trials = Trials(scenario)
        return Candidate(dict(changes), trials.settled, layout, least(trials, self.first), peak_power_w(trials.central))

    def _layout(self, scenario: Scenario) -> Layout:
        """Return the best layout of a scenario, searched once for all candidates that differ in other parts."""
        parts = (*_LAYOUT_PARTS, "facility", "pricing") if self.minimise != "time" else _LAYOUT_PARTS
        found = scenario.to_file()
        key = key_of({part: found.get(part) for part in parts} | {"spares": None})
        if key not in self._layouts:
            try:
                self._layouts[key] = self._searched(scenario.central())
            except UserError as error:
                self._layouts[key] = str(error)
        known = self._layouts[key]
        if isinstance(known, str):
            raise UserError(known)
        return known

    def _searched(self, central: Scenario) -> Layout:
        if self.minimise == "time":
            return choose_layout(central)
        by = self.minimise if self.minimise == "cost" else "energy"
        return rank_layouts(central, by, top=1).choices[0].layout


def changed(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """Return a scenario with other values at paths.

    As `simulator.scenario.edits.edited`, and: a site by name brings its intensity, price and PUE in place of the scenario's own
    (`at_site`), unless they are changed too.
    """
    site = changes.get(SITE)
    if isinstance(site, str):
        scenario = at_site(scenario, site)
        changes = {path: value for path, value in changes.items() if path != SITE}
    return edited(scenario, changes, "--over")


def peak_power_w(plan: RunPlan) -> float:
    """Return the power of the facility while the hungriest stretch runs with all nodes, idle hot spares included, W.

    Mean over a step, as meters and utilities see it. Where rules bound the power, at the fastest clock that they ever allow; with
    overheads, in the warmest hour.
    """
    found = 0.0
    for one in (plan, *(later for _, later in plan.growth)):
        met = one.supply.conditions(one.horizon_s if one.supply.calendar is not None else None)
        order = orders(one, met)[1]
        fastest = int(order.min()) if order.size else 0
        it_w = one.powers_w[fastest] if order.size and fastest < one.powers_w.size else 0.0 if order.size else one.full_w
        facility_w = np.empty(len(met.table))
        facility_powers_w(one.supply.overhead, float(it_w), met.table[:, TEMPERATURE], facility_w)
        found = max(found, float(facility_w.max()))
    return found


def step_of(axis: Axis, scenario: Scenario) -> int:
    """Return by how much the whole numbers of a range differ at least: a node of accelerators, else 1; 0: they are not whole."""
    quantity = quantity_at(axis.path)
    if quantity is None or not quantity.whole:
        return 0
    return scenario.cluster.accelerator.accelerators_per_node if axis.path == "cluster.accelerators" else 1


def gridded(axis: Axis, step: int) -> Axis:
    """Return an axis with the values that are tried at first: as listed, or `GRID` of a range.

    A short range of whole numbers is tried whole. Ranges from above zero are spaced by ratio, whole numbers from zero as 0 and
    then by ratio: choices differ by ratio, not by difference.
    """
    if not axis.continuous:
        return axis
    if step and axis.high - axis.low < GRID * step:
        return replace(axis, values=tuple(n for n in range(int(axis.low), int(axis.high) + 1) if n % step == 0))
    if axis.low > 0.0 or step:
        ratio = Axis(axis.path, (), max(axis.low, float(step)), axis.high, log=True)
        values = [ratio.at(share) for share in np.linspace(0.0, 1.0, GRID).tolist()]
        values = [0, *values] if axis.low <= 0.0 else values
    else:
        values = [axis.at(share) for share in np.linspace(0.0, 1.0, GRID).tolist()]
    if step > 1:
        values = [n for n in (step * round(value / step) for value in values) if axis.low <= n <= axis.high]
    return replace(axis, values=tuple(dict.fromkeys(values)))


def finer(tried: Sequence[float], best: float, step: int) -> list[int]:
    """Return whole numbers of a range to try next, between the best of those tried and its neighbours; empty: none is left.

    Up to three on each side, so that what is searched shrinks fourfold each time.
    """
    ordered = sorted(set(tried))
    place = ordered.index(best)
    found: list[int] = []
    for a, b in ((ordered[max(0, place - 1)], best), (best, ordered[min(len(ordered) - 1, place + 1)])):
        inside = step * np.unique(np.round(np.linspace(a, b, 5) / step).astype(int))
        found += [int(n) for n in inside if a < n < b]
    return found

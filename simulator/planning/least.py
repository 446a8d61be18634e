"""What a run takes at the least, from the step kernel and a run without failures; and what it may take with them.

The bound of a trial: the same draws of what is not known, but no failures, checkpoints, copies, maintenance, rules or slower
hours, and idle spare nodes without power. All that comes on top with these adds seconds and joules, so that no trial can be
below. Time is bounded so, but where a cluster grows; dollars, energy and carbon where they only ever accrue, at rates that do
not change with the hour: no calendar, no rules, no negative price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from simulator.accounting.supply import energy_price
from simulator.cluster import RunPlan, plan_run, run_trial
from simulator.fields import Distribution
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import Trials
from simulator.performance.ettr import async_blocked_s, daly_ettr
from simulator.scenario import Scenario
from simulator.scenario.series import Series

RESULTS = {"time": "time_s", "cost": "cost_usd", "energy": "energy_j", "carbon": "carbon_kg"}
_LEAST_SHARE = 1e-3  # of time that is productive, below which candidates are not told apart


@dataclass(frozen=True)
class Least:
    """What trials take at the least.

    Attributes
    ----------
    columns : dict of ndarray, shape (trials,)
        By `RESULTS`; one value each where nothing is uncertain, and then exact.
    bounded : frozenset of str
        Columns of which no trial can be below.
    exact : bool
        The same in every trial.
    expected : dict
        Mean of each column over the share of time that Daly's form says is productive: for the order of candidates alone.
    """

    columns: dict[str, np.ndarray]
    bounded: frozenset[str]
    exact: bool
    expected: dict[str, float]

    def bound(self, column: str) -> np.ndarray | None:
        """Return the bound of a column by trial, shape (1,) or (trials,); None where there is none."""
        return self.columns[column] if column in self.bounded and not np.isnan(self.columns[column]).any() else None


def least(trials: Trials, count: int) -> Least:
    """Return what the first `count` trials of a scenario take at the least; raise UserError where it cannot be planned."""
    uncertain = bool(trials.uncertain)
    rows = []
    for trial in range(count if uncertain else 1):
        realised = trials.inputs.placed(trials.settled, trials.inputs.draw(trial))
        plan = plan_run(without_failures(realised))
        plan = replace(plan, rates=replace(plan.rates, spare_node_w=0.0))
        rows.append(run_trial(plan, partial(stream, 0, 0)).row)  # nothing is drawn
    columns = {name: np.array([row[name] for row in rows]) for name in RESULTS.values()}
    share = max(productive_share(trials.central, trials.settled.central()), _LEAST_SHARE)
    return Least(columns, _bounded(trials.settled), not uncertain, {name: float(v.mean()) / share for name, v in columns.items()})


def without_failures(scenario: Scenario) -> Scenario:
    """Return a scenario in which nothing fails, nothing is saved, and nothing slows or stops the run."""
    still = scenario.cluster.variation.model_copy(update={"day_swing": 0.0, "year_swing": 0.0})
    cluster = scenario.cluster.model_copy(update={"maintenance": None, "variation": still})
    checkpoint = scenario.checkpoint.model_copy(update={"interval_s": "auto", "memory": None, "local": None})
    facility = scenario.facility.model_copy(update={"power_cap_w": None, "oversubscription": 0.0, "curtailment": ()})
    return scenario.model_copy(update={
        "failures": scenario.failures.model_copy(update={"components": ()}), "cluster": cluster, "checkpoint": checkpoint,
        "facility": facility, "policies": ()})


def _bounded(scenario: Scenario) -> frozenset[str]:
    """Return the columns whose bound holds for a scenario."""
    facility = scenario.facility
    if scenario.cluster.growth:
        return frozenset()
    ruled = bool(scenario.policies or facility.curtailment or facility.power_cap_w is not None or facility.oversubscription)
    central = scenario.central()
    price = energy_price(central)
    if scenario.calendar is not None or ruled or isinstance(price, Series) or _may_be_negative(scenario, price):
        return frozenset({"time_s"})
    return frozenset(RESULTS.values())


def _may_be_negative(scenario: Scenario, price: float) -> bool:
    """Whether electricity, or its carbon, may have a negative price or rate in a trial."""
    drawn = [d.support()[0] for path, d in scenario.uncertain().items() if path.startswith(("pricing.", "carbon.", "facility."))]
    return price < 0.0 or any(low < 0.0 for low in drawn)


def productive_share(plan: RunPlan, scenario: Scenario) -> float:
    """Return the share of time that is productive by Daly's form, an asynchronous write counted as longer rework."""
    if not math.isfinite(plan.mtbf_s):
        return 1.0
    weights = np.diff(plan.first_step) * plan.step_s
    tau_s = float(np.average(plan.every * plan.step_s, weights=weights))
    cost, recovery = plan.checkpoint, scenario.failures.recovery
    parts = (recovery.detection_s, recovery.diagnosis_s, recovery.replacement_s, recovery.initialisation_s, recovery.warm_up_s)
    restart_s = sum(part.mean() if isinstance(part, Distribution) else float(part) for part in parts)
    restart_s += recovery.initialisation_per_node_s * plan.job_nodes + cost.load_s + cost.persist_s
    blocked_s = async_blocked_s(cost.stall_s, cost.persist_s, cost.slowdown)
    return float(daly_ettr(tau_s, blocked_s, restart_s, plan.mtbf_s))

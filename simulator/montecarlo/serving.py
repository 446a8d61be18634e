"""Monte Carlo of a serving file: trials of the fleet, the study they make, and the smallest fleet that keeps its promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo.chunks import Part, RunChunk, columns_of, joined
from simulator.montecarlo.folder import saved, study_folder
from simulator.montecarlo.results import Results, numbered
from simulator.montecarlo.running import Outcome, Progress, run_parts
from simulator.montecarlo.sampling import Inputs
from simulator.montecarlo.statistics import describe
from simulator.montecarlo.streams import stream
from simulator.scenario import ServingScenario
from simulator.serving.plan import ServePlan, plan_serving
from simulator.serving.results import HOSTILE
from simulator.serving.tiers import with_tiers
from simulator.serving.trial import ServeResult, run_serve_trial

if TYPE_CHECKING:
    import pandas as pd

KEPT = 3  # trials whose timeline and latencies are kept; all trials are in the row of each
_MOST_REPLICAS = 4096
_ALONE = 1.2  # requests in a batch, below which more replicas help no more


class ServeTrials:
    """Runs trials of one serving file; keeps what does not change between them."""

    def __init__(self, scenario: ServingScenario) -> None:
        self.scenario = scenario
        self.inputs = Inputs(scenario)
        self.plan: ServePlan | None = None if self.inputs.paths else plan_serving(scenario)

    def run(self, trial: int) -> ServeResult:
        """Run one trial; its row starts with the trial's number and ends with the values drawn."""
        drawn = self.inputs.draw(trial)
        plan = plan_serving(self.inputs.placed(self.scenario, drawn)) if self.plan is None else self.plan
        result = run_serve_trial(plan, partial(stream, self.scenario.monte_carlo.seed, trial))
        result.row = numbered(trial, result.row, drawn)
        return result


def _parts_of(trials: ServeTrials) -> RunChunk:
    def run(chunk: range) -> Part:
        results = [(trial, trials.run(trial)) for trial in chunk]
        kept = [(trial, result) for trial, result in results if trial < KEPT]

        def table(name: str) -> dict[str, np.ndarray]:
            found: list[tuple[int, dict[str, np.ndarray]]] = [(trial, getattr(result, name)) for trial, result in kept]
            return joined([{"trial": np.full(next(iter(columns.values())).size, trial), **columns} for trial, columns in found])

        return {"trials": columns_of([result.row for _, result in results]), "timeline": table("timeline"),
                "latencies": table("latencies")}

    return run


def _parts(scenario: ServingScenario) -> RunChunk:
    return _parts_of(ServeTrials(scenario))


class ServeStudy(Results[ServingScenario]):
    """Results of a serving file: rows of trials, the fleet over time and latencies of the first ones."""

    def __init__(self, scenario: ServingScenario, outcome: Outcome) -> None:
        super().__init__(scenario, outcome)
        self._tables = {name: outcome.tables.get(name, {}) for name in ("timeline", "latencies")}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what is saved beside the trials, by name of the file."""
        import pandas as pd

        return {name: pd.DataFrame(columns) for name, columns in self._tables.items()}

    @property
    def groups(self) -> list[str]:
        """Prefixes of columns of each tier, and of hostile requests where there were any."""
        found = [f"tier {tier.name} " for tier in with_tiers(self.scenario).serving.tiers]
        return [*found, f"{HOSTILE} "] if f"{HOSTILE} requests" in self.columns else found

    def summary(self) -> dict[str, Any]:
        """Return means and quantiles over trials, in SI, ready for JSON; raise UserError where no trial finished."""
        return self._summary

    @cached_property
    def _summary(self) -> dict[str, Any]:
        if not len(self):
            raise UserError("no trial finished")
        own = [name for name in self.columns if name != "trial" and not name.startswith(tuple(self.groups))]
        return {
            **self.heading(),
            "results": {name: describe(self.column(name)) for name in own},
            "groups": {group.strip(): {name.removeprefix(group): describe(self.column(name))
                                       for name in self.columns if name.startswith(group)} for group in self.groups},
        }


def run_serve_study(scenario: ServingScenario, *, workers: int | None = 1, dask: bool | str = False,
                    folder: str | Path | None = None, until: Sequence[str] = (), progress: Progress | None = None) -> ServeStudy:
    """Run all trials of a serving file; parameters, errors and the promise of equal rows as for `run_study`."""
    trials = ServeTrials(scenario)
    with study_folder(scenario, folder, until, resume=False) as held:
        outcome = run_parts(_parts, scenario, _parts_of(trials), workers=workers, dask=dask, folder=held, until=until,
                            progress=progress)
        return saved(ServeStudy(scenario, outcome), held)


def with_replicas(scenario: ServingScenario, count: int) -> ServingScenario:
    """Return the scenario with a fixed number of replicas; those for prompts grow in proportion."""
    serving = scenario.serving
    changes: dict[str, Any] = {"pool": serving.pool.model_copy(update={"replicas": count}), "autoscale": None}
    if serving.prompts is not None:
        more = -(-serving.prompts.replicas * count // serving.pool.replicas)
        changes["prompts"] = serving.prompts.model_copy(update={"replicas": more})
    return scenario.model_copy(update={"serving": serving.model_copy(update=changes)})


def needed_replicas(scenario: ServingScenario) -> tuple[int, float]:
    """Return the smallest fixed fleet that keeps the promises of `slo` for its share of requests, and the share that it reaches.

    Doubling, then bisection, over all trials with the same requests and the same luck each time; more replicas are taken to keep
    more promises.

    Raises
    ------
    UserError
        No fleet does: promises are broken where requests are alone on their replicas.
    """
    target, tiers = float(scenario.slo.share), scenario.serving.tiers
    least = sum(tier.replicas for tier in tiers) + any(not tier.replicas for tier in tiers)
    low, high = least - 1, max(least, scenario.serving.pool.replicas)
    while (found := _kept(with_replicas(scenario, high)))[0] < target:
        if high >= _MOST_REPLICAS or found[1] < _ALONE:
            raise UserError(f"serve --size: {high:,} replicas keep the promises of {found[0]:.1%} of requests, {target:.1%} are "
                            "asked for; allowed: a later slo.first_token or slo.per_token, a smaller slo.share, or replicas of "
                            "more accelerators")
        low, high = high, min(2 * high, _MOST_REPLICAS)
    share = found[0]
    while high - low > 1:
        middle = (low + high) // 2
        reached = _kept(with_replicas(scenario, middle))[0]
        if reached >= target:
            high, share = middle, reached
        else:
            low = middle
    return high, share


def _kept(scenario: ServingScenario) -> tuple[float, float]:
    """Return the share of honest requests of all trials that had both promises, and how many were in a batch on average."""
    trials = ServeTrials(scenario)
    results = [trials.run(trial) for trial in range(scenario.monte_carlo.trials)]
    share = sum(found.honest["met"] for found in results) / max(1.0, sum(found.honest["requests"] for found in results))
    return share, max(found.row["batch_mean"] for found in results)

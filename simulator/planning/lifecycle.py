"""A model's life: training, experiments, fine-tunes and months of serving, by stage; and what its variants save or cost.

Training is a study of its file, serving a few fleets sized at a few loads, between which replicas are interpolated; what is not
known about the life is drawn once a trial, for all variants alike. Trial i takes the training run of trial i of each file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.montecarlo.chunks import Columns
from simulator.montecarlo.sampling import Inputs
from simulator.montecarlo.serving import ServeTrials, needed_replicas, with_replicas
from simulator.montecarlo.statistics import describe
from simulator.planning.paired import Difference, paired_difference
from simulator.scenario import ServingScenario, load_scenario, load_serving
from simulator.scenario.lifecycle import LifecycleScenario, LifeVariant
from simulator.serving.plan import plan_serving

MONTH_S = 365.25 / 12.0 * 86400.0
RESOURCES = ("cost_usd", "energy_j", "carbon_kg")
STAGES = ("training", "experiments", "extra", "fine-tunes", "serving")
_MOST_TRIALS = 200  # of a training file
Progress = Callable[[Columns, bool], None]


@dataclass(frozen=True)
class ServingCurve:
    """What it takes to serve requests at a rate, from fleets sized at some rates.

    Attributes
    ----------
    rate_per_s, replicas : ndarray, shape (levels,)
        Rates in rising order, and the fewest replicas that keep the promises there.
    request_j : ndarray, shape (levels,)
        Energy at the meter of a request, beside that of replicas that are on.
    replica_w, replica_usd_per_s : float
        Of a replica that is on, at the meter.
    carbon_kg_per_j, tokens : float
        Of the site; output tokens of a request.
    """

    rate_per_s: np.ndarray
    replicas: np.ndarray
    request_j: np.ndarray
    replica_w: float
    replica_usd_per_s: float
    carbon_kg_per_j: float
    tokens: float

    def needed(self, rate_per_s: np.ndarray) -> np.ndarray:
        """Return the replicas for a rate: straight lines between levels, in proportion above them, those of the first below."""
        inside = np.interp(rate_per_s, self.rate_per_s, self.replicas)
        above = self.replicas[-1] * rate_per_s / self.rate_per_s[-1]
        return np.ceil(np.where(rate_per_s > self.rate_per_s[-1], above, inside) - 1e-9)

    def month(self, requests: np.ndarray, peak: float | np.ndarray) -> dict[str, np.ndarray]:
        """Return dollars, energy and carbon of months with so many requests, of their shape; the fleet is sized for the peak."""
        rate = requests / MONTH_S
        on_s = self.needed(peak * rate) * MONTH_S
        energy_j = on_s * self.replica_w + requests * np.interp(rate, self.rate_per_s, self.request_j)
        return {"cost_usd": on_s * self.replica_usd_per_s, "energy_j": energy_j, "carbon_kg": energy_j * self.carbon_kg_per_j}


def serving_curve(scenario: ServingScenario, levels: Iterable[float], file: str, progress: Progress | None = None
                  ) -> ServingCurve:
    """Return the curve of a serving file: its fleet is sized at each level times its rate, over all its trials.

    Raises
    ------
    UserError
        A trace instead of a rate, or a level at which no fleet keeps the promises.
    """
    rate_per_s = scenario.load.rate_per_s
    if rate_per_s is None:
        raise UserError(f"{file}: load: found a trace; allowed in a life cycle: `rate`, which is scaled")
    rates: list[float] = []
    replicas: list[int] = []
    request_j: list[float] = []
    tokens: list[float] = []
    for level in levels:
        load = scenario.load.model_copy(update={"rate_per_s": level * rate_per_s})
        guess = max(1, round(replicas[-1] * level * rate_per_s / rates[-1])) if replicas else scenario.serving.pool.replicas
        sized = with_replicas(scenario.model_copy(update={"load": load}), guess)
        count = needed_replicas(sized)[0]
        trials = ServeTrials(with_replicas(sized, count))
        results = [trials.run(trial) for trial in range(scenario.monte_carlo.trials)]
        plan = plan_serving(scenario) if trials.plan is None else trials.plan
        came = sum(found.honest["requests"] for found in results)
        above_j = sum(r.row["energy_j"] - plan.power.on_w * r.row["accelerators_mean"] * r.row["time_s"] for r in results)
        rates.append(came / sum(r.row["time_s"] for r in results))
        replicas.append(count)
        request_j.append(above_j / came)
        tokens.append(sum(r.honest["tokens"] for r in results) / came)
        if progress is not None:
            progress({"trial": np.array([level])}, True)
    accelerators = float(plan.costs.weight[plan.pools].sum() / (plan.pools == 0).sum())
    return ServingCurve(np.array(rates), np.array(replicas, float), np.array(request_j), accelerators * plan.power.on_w,
                        accelerators * plan.usd_per_accelerator_s, plan.power.carbon_kg_per_j, float(np.mean(tokens)))


class Drawn(NamedTuple):
    """What is not known about a life, shape (trials,) each."""

    queries_per_user: np.ndarray
    users: np.ndarray
    growth: np.ndarray
    rebound: np.ndarray
    experiments: np.ndarray
    fine_tunes: np.ndarray  # share of a training run in a month
    peak: np.ndarray
    extra: np.ndarray  # (trials, ways)


def _drawn(scenario: LifecycleScenario) -> Drawn:
    inputs, rows = Inputs(scenario), []
    for trial in range(scenario.monte_carlo.trials):
        s = inputs.placed(scenario, inputs.draw(trial))
        tunes = 0.0 if s.fine_tunes is None else s.fine_tunes.per_month * s.fine_tunes.cost
        extra = [way.extra for way in s.ways()]
        rows.append((s.queries_per_user, s.users, s.growth, s.rebound, s.experiments, tunes, s.peak, *extra))
    table = np.array(rows, dtype=float)
    return Drawn._make([*table[:, :7].T, table[:, 7:]])


@dataclass(frozen=True)
class Life:
    """One way to serve the users of a life-cycle file.

    Attributes
    ----------
    stages : dict
        (stage, resource) -> ndarray, shape (trials,): over all months.
    monthly_usd, same_usd : ndarray, shape (trials, months)
        Serving and fine-tunes; with the demand that its cost brings, and with the base's demand.
    requests : ndarray, shape (trials, months)
    tokens : float
        Output tokens of a request.
    """

    way: LifeVariant
    stages: dict[tuple[str, str], np.ndarray]
    monthly_usd: np.ndarray
    same_usd: np.ndarray
    requests: np.ndarray
    tokens: float

    def total(self, resource: str) -> np.ndarray:
        """Return the sum of all stages, shape (trials,)."""
        return np.sum([self.stages[stage, resource] for stage in STAGES], axis=0)

    def before_usd(self) -> np.ndarray:
        """Return what is spent before the first month, shape (trials,)."""
        return np.sum([self.stages[stage, "cost_usd"] for stage in ("training", "experiments", "extra")], axis=0)


class LifecycleStudy:
    """The base and its variants, each a `Life`; first the base."""

    def __init__(self, scenario: LifecycleScenario, lives: list[Life], drawn: Drawn, curves: dict[str, ServingCurve]) -> None:
        self.scenario, self.lives, self.drawn, self.curves = scenario, lives, drawn, curves
        months = np.arange(scenario.months)
        self.users = drawn.users[:, None] * (1.0 + drawn.growth[:, None]) ** months

    @property
    def base(self) -> Life:
        """The whole."""
        return self.lives[0]

    def prices(self, life: Life) -> dict[str, np.ndarray]:
        """Return prices that cover all stages, shape (trials,): of a user and month, a request, and an output token."""
        total, requests = life.total("cost_usd"), life.requests.sum(axis=1)
        return {"cost_per_user_month_usd": total / self.users.sum(axis=1), "cost_per_query_usd": total / requests,
                "cost_per_token_usd": total / (requests * life.tokens)}

    def break_even(self, life: Life) -> np.ndarray:
        """Return the month by the end of which a variant has cost no more than the base for the same requests, shape (trials,).

        0: from the start; infinite: not within the months.
        """
        behind = life.before_usd() - self.base.before_usd()
        sums = behind[:, None] + np.cumsum(life.same_usd - self.base.same_usd, axis=1)
        even = np.concatenate([behind[:, None] <= 0.0, sums <= 0.0], axis=1)
        # It must last: the last month in which it was behind, and one more.
        last = np.where(even.all(axis=1), -1, even.shape[1] - 1 - np.argmin(even[:, ::-1], axis=1))
        return np.where(last == even.shape[1] - 1, np.inf, last + 1.0)

    def saved(self, life: Life, resource: str = "cost_usd") -> Difference:
        """Return what a variant costs less the base, with the demand it brings; paired."""
        return paired_difference(life.total(resource), self.base.total(resource))

    def eaten(self, life: Life) -> np.ndarray:
        """Return the share of a saving in serving that more requests eat, shape (trials,); NaN where nothing is saved."""
        same = (self.base.same_usd - life.same_usd).sum(axis=1)
        real = (self.base.monthly_usd - life.monthly_usd).sum(axis=1)
        return np.where(same > 0.0, 1.0 - real / np.where(same > 0.0, same, 1.0), np.nan)

    def summary(self) -> dict[str, Any]:
        """Return means and quantiles, in SI, ready for JSON."""
        return {"name": self.scenario.name, "trials": self.scenario.monte_carlo.trials, "seed": self.scenario.monte_carlo.seed,
                "months": self.scenario.months,
                "ways": {life.way.name: self._life(life) for life in self.lives}}

    def _life(self, life: Life) -> dict[str, Any]:
        even = self.break_even(life)
        found = even[np.isfinite(even)]
        serving = life.stages["serving", "cost_usd"] / life.total("cost_usd")
        stages = {resource: {stage: describe(life.stages[stage, resource]) for stage in STAGES} for resource in RESOURCES}
        curve = self.curves[str(life.way.serving)]
        more = {} if life is self.base else {
            "break_even_month": {"chance": found.size / even.size, **(describe(found) if found.size else {})},
            "less_base": {resource: _shown(self.saved(life, resource)) for resource in RESOURCES},
            "rebound_share": describe(self.eaten(life))}
        return {"total": {resource: describe(life.total(resource)) for resource in RESOURCES},
                "stages": stages,
                "serving_share": describe(serving), "requests": describe(life.requests.sum(axis=1)),
                **{name: describe(values) for name, values in self.prices(life).items()},
                "fleet": {"rate_per_s": curve.rate_per_s.tolist(), "replicas": curve.replicas.tolist()}, **more}


def _shown(found: Difference) -> dict[str, Any]:
    """Return a difference for JSON; empty where it is unknown."""
    known = np.isfinite([found.low, found.high]).all()
    return {} if np.isnan(found.mean) else {"mean": found.mean, "interval": [found.low, found.high] if known else None}


def run_lifecycle(scenario: LifecycleScenario, progress: Progress | None = None) -> LifecycleStudy:
    """Run the training studies, size the fleets, and put lives together.

    Raises
    ------
    UserError
        What is wrong with a named file, or a fleet that cannot keep its promises.
    """
    ways = scenario.ways()
    drawn = _drawn(scenario)
    serving = {str(way.serving): load_serving(str(way.serving)) for way in ways}
    runs = {str(way.training): _training(str(way.training), scenario.monte_carlo.trials) for way in ways}
    curves = {file: serving_curve(found, scenario.levels, file, progress) for file, found in serving.items()}
    base = curves[scenario.serving]
    first = _demand(scenario, drawn)[:, 0]
    reference = _per_request(base, first, drawn.peak)
    lives = [_life(scenario, way, drawn, runs, curves[str(way.serving)], drawn.extra[:, i], reference)
             for i, way in enumerate(ways)]
    return LifecycleStudy(scenario, lives, drawn, curves)


def _training(file: str, trials: int) -> dict[str, np.ndarray]:
    """Return dollars, energy and carbon of training runs, shape (trials,); again from the first where a study has fewer."""
    scenario = load_scenario(file)
    few = min(scenario.monte_carlo.trials, trials, _MOST_TRIALS)
    study = run_study(scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update={"trials": few})}))
    return {resource: np.resize(study.column(resource), trials) for resource in RESOURCES}


def _demand(scenario: LifecycleScenario, drawn: Drawn) -> np.ndarray:
    """Return the requests of each month before any rebound, shape (trials, months)."""
    first, growth = (values[:, None] for values in (drawn.queries_per_user * drawn.users, 1.0 + drawn.growth))
    grown: np.ndarray = first * growth ** np.arange(scenario.months)
    return grown


def _per_request(curve: ServingCurve, requests: np.ndarray, peak: np.ndarray) -> np.ndarray:
    return curve.month(requests, peak)["cost_usd"] / requests


def _life(scenario: LifecycleScenario, way: LifeVariant, drawn: Drawn, runs: dict[str, dict[str, np.ndarray]],
          curve: ServingCurve, extra: np.ndarray, reference_usd: np.ndarray) -> Life:
    run, base_run = runs[str(way.training)], runs[scenario.training]
    same = _demand(scenario, drawn)
    peak = drawn.peak[:, None]
    cheaper = _per_request(curve, same, peak) / reference_usd[:, None]
    requests = same * cheaper ** -drawn.rebound[:, None]
    served = curve.month(requests, peak)
    tunes_usd = (drawn.fine_tunes * run["cost_usd"])[:, None]
    stages: dict[tuple[str, str], np.ndarray] = {}
    for resource in RESOURCES:
        stages["training", resource] = run[resource]
        stages["experiments", resource] = drawn.experiments * run[resource]
        stages["extra", resource] = extra * base_run[resource]
        stages["fine-tunes", resource] = scenario.months * drawn.fine_tunes * run[resource]
        stages["serving", resource] = served[resource].sum(axis=1)
    same_usd = curve.month(same, peak)["cost_usd"] + tunes_usd
    return Life(way, stages, served["cost_usd"] + tunes_usd, same_usd, requests, curve.tokens)

"""What is measured, shared by the suite and the table."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import simpy

from kernels.progress import Progress, advance
from simulator.cluster import RunPlan, job, plan_run, run_trial
from simulator.montecarlo import run_study
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import Trials
from simulator.performance.estimate import Packs, packs
from simulator.performance.search import main_batch, search
from simulator.scenario import Scenario, load_scenario, scenario_from_mapping, serving_from_mapping
from simulator.scenario.electricity import Carbon, Electricity
from simulator.serving.plan import plan_serving
from simulator.serving.trial import run_serve_trial

SCENARIOS = Path(__file__).parent.parent / "scenarios"


def scenario(name: str = "llama3-405b") -> Scenario:
    """Return a ready scenario."""
    return load_scenario(SCENARIOS / f"{name}.yaml")


def flat_year() -> Scenario:
    """Return the year that `hourly-year` prices by the hour, at one price, without calendar, events or rules."""
    hourly = scenario("hourly-year")
    facility = hourly.facility.model_validate({"site": hourly.facility.site, "pue": 1.1})
    tariff = Electricity.model_validate({"price": "0.05 USD/kWh"})
    return hourly.model_copy(update={
        "calendar": None, "facility": facility, "policies": (), "carbon": Carbon(),
        "pricing": hourly.pricing.model_copy(update={"electricity": tariff})})


def hourly_year(*, rules: bool) -> Scenario:
    """Return the year priced by the hour, with its cap, events and rules or without them."""
    hourly = scenario("hourly-year")
    if rules:
        return hourly
    facility = hourly.facility.model_copy(update={"curtailment": (), "power_cap_w": None})
    return hourly.model_copy(update={"policies": (), "facility": facility})


def compiled_share(trials: Trials, count: int) -> float:
    """Return the share of a trial's time that passes in the compiled stretch, what it takes to call it included."""
    inside, run_job = [0.0], job.run_job

    def timed(*arguments: Any) -> bool:
        start_s = perf_counter()
        done = run_job(*arguments)
        inside[0] += perf_counter() - start_s
        return done

    job.run_job = timed  # type: ignore[assignment]
    try:
        start_s = perf_counter()
        for trial in range(count):
            trials.run(trial)
        return inside[0] / (perf_counter() - start_s)
    finally:
        job.run_job = run_job


def mean_interruptions(trials: Trials, count: int = 20) -> int:
    """Return the mean interruptions of the first trials, rounded."""
    return round(float(np.mean([trials.run(i).row["interruptions"] for i in range(count)])))


def bare_loop(failures: int, rng: np.random.Generator) -> float:
    """Return the end of the least that SimPy can tell of such a run: one process, two timeouts a failure."""
    env = simpy.Environment()

    def story() -> Generator[simpy.Event, Any, None]:
        up, down = rng.standard_exponential(failures), rng.standard_exponential(failures)
        for i in range(failures):
            yield env.timeout(up[i])
            yield env.timeout(down[i])

    env.run(until=env.process(story()))
    return float(env.now)


def reference_stream(trial: int) -> np.random.Generator:
    """Return the random stream of one bare loop."""
    return stream(1, trial, "bare loop")


def advance_whole_run(plan: RunPlan) -> Progress:
    """Advance a job from its first step to its last without a failure."""
    cost = plan.checkpoint
    return advance(math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, plan.first_step, plan.step_s, plan.every, cost.stall_s,
                   cost.persist_s, cost.slowdown)


def events_per_s(accelerators: int, least_s: float = 2.0) -> float:
    """Return interruptions simulated a second, of a job with Llama 3's failures on so many accelerators."""
    plan = plan_run(scenario_from_mapping({
        "name": "scale", "model": "gpt3-1.3b",
        "training": {"tokens": "300 B", "batch": accelerators * 2048, "sequence": 2048, "layout": {"microbatch": 1}},
        "cluster": {"accelerator": "h100-sxm-80gb", "accelerators": accelerators, "spares": accelerators // 400},
        "failures": {"preset": "llama3-2024", "recovery": {"detection": "5 s", "initialisation": "5 s", "replacement": "0 s",
                                                           "repair": "20 h"}},
        "checkpoint": {"interval": "1 min", "storage_bandwidth": "1 PB/s"},
        "facility": {"site": "usa", "pue": 1.1}}))
    steps = 3e7 / accelerators * 86400.0 / float(plan.step_s[0])  # some ten thousand events a trial, whatever the size
    plan = replace(plan, job=plan.job._replace(first_step=np.array([0.0, math.ceil(steps)])))
    run_trial(plan, partial(stream, 1, 0))
    start_s, events, trial = perf_counter(), 0.0, 1
    while perf_counter() - start_s < least_s:
        events += run_trial(plan, partial(stream, 1, trial)).row["interruptions"]
        trial += 1
    return events / (perf_counter() - start_s)


def large_search(model: str, accelerators: int, accelerator: str = "a100-sxm-80gb") -> Scenario:
    """Return a scenario whose layout is searched: a model of the catalog with a batch of 3,072 sequences of 2,048 tokens."""
    return scenario_from_mapping({
        "name": f"layouts of {model}", "model": model,
        "training": {"tokens": "300 B", "batch": 3072 * 2048, "sequence": 2048, "recompute": "full"},
        "cluster": {"accelerator": accelerator, "accelerators": accelerators},
        "checkpoint": {"storage_bandwidth": "1 TB/s"}})


def many_layouts(count: int) -> tuple[np.ndarray, Packs]:
    """Return legal layouts of a 1 T-parameter model on 3,072 accelerators, repeated until there are `count`."""
    scenario = large_search("gpt-1000b", 3072)
    rows = search(scenario).layouts
    return np.ascontiguousarray(np.resize(rows, (count, rows.shape[1]))), packs(scenario, main_batch(scenario))


def served_per_s(replicas: int = 64, rounds: int = 3) -> float:
    """Return requests a second that a fleet of Llama 3.1 70B serves, on one core, the whole trial counted; median of rounds."""
    plan = plan_serving(serving_from_mapping({
        "name": "chat", "model": "llama-3.1-70b",
        "serving": {"accelerator": "h100-sxm-80gb", "pool": {"replicas": replicas, "tensor": 4}},
        "load": {"rate": f"{4 * replicas} per s", "duration": "15 min", "prompt": {"lognormal": [500, 1.0]},
                 "output": {"lognormal": [250, 0.8]}},
        "facility": {"site": "usa", "pue": 1.1}}))
    run_serve_trial(plan, partial(stream, 1, 0))
    found = []
    for trial in range(1, rounds + 1):
        start_s = perf_counter()
        requests = run_serve_trial(plan, partial(stream, 1, trial)).row["requests"]
        found.append(requests / (perf_counter() - start_s))
    return float(np.median(found))


def study_s(trials: int, **where: Any) -> float:
    """Return the time of a whole study of Llama 3.1 405B: plan, start of workers, trials; `where` as for `run_study`."""
    found = scenario()
    found = found.model_copy(update={"monte_carlo": found.monte_carlo.model_copy(update={"trials": trials})})
    start_s = perf_counter()
    study = run_study(found, **where)
    taken_s = perf_counter() - start_s
    assert len(study) == trials
    return taken_s


def parallel_s(least_s: float, rounds: int, **places: dict[str, Any]) -> dict[str, float]:
    """Return the least time of a study of `least_s` in one process, here and in places that take turns.

    The least, because what else the machine does only adds; a round in which it is busy says nothing of the program.
    """
    trials = round(1.05 * least_s * 1000 / study_s(1000))  # too many rather than too few: of a thousand a part is the start
    taken: dict[str, list[float]] = {name: [] for name in ("serial", *places)}
    for _ in range(rounds):
        for name, where in (("serial", {}), *places.items()):
            taken[name].append(study_s(trials, **where))
    return {name: min(found) for name, found in taken.items()}

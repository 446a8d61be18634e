"""What is measured, shared by the suite and the table."""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import simpy

from kernels.progress import Progress, advance
from simulator.cluster import RunPlan
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import Trials
from simulator.performance.estimate import Packs, packs
from simulator.performance.search import main_batch, search
from simulator.scenario import Scenario, load_scenario, scenario_from_mapping

SCENARIO = Path(__file__).parent.parent / "scenarios" / "llama3-405b.yaml"


def scenario() -> Scenario:
    """Return the Llama 3.1 405B scenario."""
    return load_scenario(SCENARIO)


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

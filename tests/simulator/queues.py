"""Jobs files the queue tests share."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from simulator.cluster.queue_plan import plan_queue
from simulator.cluster.queue_trial import QueueResult, run_queue_trial
from simulator.montecarlo.streams import stream
from simulator.scenario import QueueScenario, queue_from_mapping

HOUR = 3600.0
BASE: dict[str, Any] = {
    "name": "test queue",
    "cluster": {"accelerator": "a100-sxm-80gb", "accelerators": 32},  # four nodes
    "failures": "none",
    "pricing": {"rental": {"price": "2 USD/h"}},
    "scheduler": {"policy": "fifo"},
    "jobs": {"given": [{"submit": "0 s", "accelerators": 8, "duration": "1 h"}]},
    "horizon": "10 days",
    "monte_carlo": {"trials": 4, "seed": 7},
}


def queue(**sections: Any) -> QueueScenario:
    """Return the base scenario with keys of its sections replaced."""
    data = copy.deepcopy(BASE)
    for name, change in sections.items():
        merge = isinstance(change, dict) and isinstance(data.get(name), dict) and name != "jobs"
        data[name] = {**data[name], **change} if merge else change
    return queue_from_mapping(data)


def given(*jobs: tuple[float, int, float], **facts: Any) -> dict[str, Any]:
    """Return a `jobs` section: (submit h, nodes, duration h) each, of a class with the facts."""
    return {"classes": [{"name": "c", **facts}],
            "given": [{"name": str(i), "submit": f"{t} h", "accelerators": 8 * nodes, "duration": f"{d} h", "class": "c"}
                      for i, (t, nodes, d) in enumerate(jobs)]}


def trial(scenario: QueueScenario, number: int = 0) -> QueueResult:
    """Return one trial."""
    return run_queue_trial(plan_queue(scenario), partial(stream, scenario.monte_carlo.seed, number))


def mixed(**sections: Any) -> QueueScenario:
    """Return a busy cluster of 20 nodes with two classes, failures and pre-emption."""
    return queue(**{
        "cluster": {"accelerators": 160, "spares": 1, "repair_crew": 2},
        "failures": {"components": [{"name": "node", "rate": "20 per 1000 days", "kind": "hardware"},
                                    {"name": "hang", "rate": "10 per 1000 days", "kind": "software"},
                                    {"name": "service", "rate": "5 per 1000 days", "kind": "planned"}],
                     "recovery": {"detection": {"lognormal": ["5 min", 0.8]}, "replacement": "2 min",
                                  "initialisation": "4 min", "repair": {"lognormal": ["8 h", 1.0]}}},
        "scheduler": {"policy": "backfill", "preemption": True, "preempted": "checkpoint", "protected": "30 min"},
        "jobs": {"classes": [
            {"name": "small", "arrivals": "50 per day", "sizes": [{"accelerators": 8}, {"accelerators": 16, "weight": 0.5}],
             "duration": {"lognormal": ["3 h", 1.0]}, "walltime_factor": 2},
            {"name": "large", "arrivals": "2 per day", "accelerators": 96, "duration": {"lognormal": ["6 h", 0.7]},
             "priority": 1, "checkpoint_interval": "1 h", "checkpoint_time": "2 min", "restart": "10 min"}]},
        "horizon": "20 days", "warm_up": "2 days", **sections})

"""Scenarios the run tests share."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from simulator.cluster import plan_run, run_trial
from simulator.montecarlo.streams import stream
from simulator.scenario import Scenario, scenario_from_mapping

BASE: dict[str, Any] = {
    "name": "test run",
    "model": "gpt3-1.3b",
    "training": {"tokens": "200 B", "batch": "1 M", "sequence": 2048, "recompute": "none",
                 "layout": {"microbatch": 4, "zero": 1}},
    "cluster": {"accelerator": "h100-sxm-80gb", "accelerators": 32, "spares": 4},
    "failures": {"components": [{"name": "node", "rate": "400 per 1000 days", "kind": "hardware"}],
                 "recovery": {"detection": "5 min", "replacement": "1 min", "initialisation": "2 min", "repair": "6 h"}},
    "checkpoint": {"interval": "30 min", "mode": "sync", "storage_bandwidth": "1 GB/s"},
    "facility": {"site": "usa", "pue": 1.2},
    "pricing": {"rental": {"price": "2 USD/h"}},
    "monte_carlo": {"trials": 20, "seed": 7},
}


def scenario(**sections: Any) -> Scenario:
    """Return the base scenario with keys of its sections replaced: `cluster={"spares": 0}`."""
    data = copy.deepcopy(BASE)
    for name, change in sections.items():
        data[name] = {**data[name], **change} if isinstance(change, dict) and isinstance(data.get(name), dict) else change
    if "batch_schedule" in data["training"]:
        data["training"] = {k: v for k, v in data["training"].items() if k not in ("batch", "sequence")}
    return scenario_from_mapping(data)


def rows(s: Scenario, trials: int, seed: int = 7) -> list[dict[str, float]]:
    """Return the rows of some trials."""
    plan = plan_run(s)
    return [run_trial(plan, partial(stream, seed, trial)).row for trial in range(trials)]

"""Serving files the tests share: a small model on small replicas, so that tables are made at once."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from simulator.montecarlo.streams import stream
from simulator.scenario import ServingScenario, serving_from_mapping
from simulator.serving.plan import plan_serving
from simulator.serving.trial import Change, ServeResult, run_serve_trial

BASE: dict[str, Any] = {
    "name": "test fleet", "model": "gpt3-1.3b",
    "serving": {"accelerator": "h100-sxm-80gb", "pool": {"replicas": 2, "requests": 8, "chunk": 64}},
    "load": {"rate": "4 per s", "duration": "60 s", "prompt": {"lognormal": [60, 0.5]}, "output": {"lognormal": [40, 0.7]}},
    "failures": "none", "facility": {"site": "usa", "pue": 1.1}, "pricing": {"price": "2 USD/h"},
    "monte_carlo": {"trials": 2, "seed": 3},
}


def fleet(**sections: Any) -> ServingScenario:
    """Return the base scenario with keys of its sections replaced; a section `serving.pool` is merged as well."""
    data = copy.deepcopy(BASE)
    for name, change in sections.items():
        old = data.get(name)
        data[name] = {**old, **change} if isinstance(change, dict) and isinstance(old, dict) else change
    if "pool" in sections.get("serving", {}):
        data["serving"]["pool"] = {**BASE["serving"]["pool"], **sections["serving"]["pool"]}
    return serving_from_mapping(data)


def served(scenario: ServingScenario, number: int = 0, change: Change | None = None) -> ServeResult:
    """Return one trial."""
    return run_serve_trial(plan_serving(scenario), partial(stream, scenario.monte_carlo.seed, number), change)

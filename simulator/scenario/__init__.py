"""Scenario files: YAML in, a validated immutable `Scenario` in SI out, or one clear `UserError`."""

from simulator.scenario.facility import Facility
from simulator.scenario.loading import (
    load_file,
    load_scenario,
    load_serving,
    queue_from_mapping,
    scenario_from_mapping,
    serving_from_mapping,
)
from simulator.scenario.models import (
    Checkpoint,
    Cluster,
    Goals,
    Scenario,
    Variation,
)
from simulator.scenario.monte_carlo import MonteCarlo
from simulator.scenario.pricing import Owned, Pricing, Rental
from simulator.scenario.queueing import JobClass, QueueScenario
from simulator.scenario.schema import json_schema, starter
from simulator.scenario.serving import ServingScenario
from simulator.scenario.training import OPERATORS, BatchPhase, Layout, Training

__all__ = [
    "OPERATORS",
    "BatchPhase",
    "Checkpoint",
    "Cluster",
    "Facility",
    "Goals",
    "JobClass",
    "Layout",
    "MonteCarlo",
    "Owned",
    "Pricing",
    "QueueScenario",
    "Rental",
    "Scenario",
    "ServingScenario",
    "Training",
    "Variation",
    "json_schema",
    "load_file",
    "load_scenario",
    "load_serving",
    "queue_from_mapping",
    "scenario_from_mapping",
    "serving_from_mapping",
    "starter",
]

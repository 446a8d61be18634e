"""Runs behind rows of published energy: from configuration alone to accelerator-hours, and watts by part.

A run that the project has a scenario of is simulated. Of another whose model and tokens are known, a step is priced with the
layout search. Of any other accelerator a reference step gives the watts: the model that the name gives, else a dense 70B.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from simulator import catalog
from simulator.catalog.records import AcceleratorRecord, ModelRecord
from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.performance import StepEstimate, estimate_steps
from simulator.performance.estimate import longest
from simulator.performance.hardware import node_power, storage_power_w
from simulator.performance.waveform import describe, step_waveform
from simulator.scenario import Scenario, load_scenario, scenario_from_mapping
from simulator.validation.energy_rows import EnergyRow
from simulator.workload import parameters

REFERENCE_MODEL = "llama-2-70b"
REFERENCE_ACCELERATORS = 512
_STORAGE = "10 GB/s"
TRIALS = 25


@dataclass(frozen=True)
class Known:
    """What is published of a run's configuration: a scenario of the project, or model, tokens and size."""

    run: str
    scenario: str
    model: str
    tokens: float
    accelerators: int
    batch: float
    sequence: int
    year: int | None
    hours: float | None  # accelerator-hours, published elsewhere than in the row
    source: str


@dataclass(frozen=True)
class Watts:
    """Mean watts of one accelerator of a run, and what is drawn for it beside; `hours` is None for a reference step.

    `all_w` is at the meter, spares and PUE included; `supply_efficiency` leads from the plug of a node to behind its supplies.
    """

    hours: float | None
    accelerator_w: float
    node_w: float
    around_w: float  # network, storage, idle spare nodes
    all_w: float
    idle_node_w: float
    supply_efficiency: float
    accelerators_per_node: int
    pue: float
    carbon_kg_per_kwh: float | None
    peak_to_mean: float | None
    simulated: bool  # of a scenario, whose PUE is that of the run
    remark: str


def known_runs() -> list[Known]:
    """Return the runs whose configuration is published."""
    text = (resources.files("simulator.validation") / "data" / "energy_runs.csv").read_text(encoding="utf-8")
    return [Known(r["run"], r["scenario"], r["model"], float(r["tokens"] or 0.0), int(r["accelerators"] or 0),
                  float(r["batch"] or 0.0), int(r["sequence"] or 0), int(r["year"]) if r["year"] else None,
                  float(r["hours"]) if r["hours"] else None, r["source"])
            for r in csv.DictReader(text.splitlines())]


def plain(name: str) -> str:
    """Return a name as letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def known_run(name: str) -> Known | None:
    """Return the known run whose name begins a row's; a digit that goes on makes it another ("llama 3 8b", "llama 3 8b1")."""
    mine = plain(name)
    found = [k for k in known_runs() if re.match(rf"{plain(k.run)}(?![0-9])", mine)]
    return max(found, key=lambda k: len(k.run), default=None)


def model_of(name: str) -> str | None:
    """Return the catalog's model that a row's name begins with, or None."""
    mine = plain(name)
    found = [m for m in catalog.names("models") if re.match(rf"{plain(m)}(?![0-9])", mine)]
    return max(found, key=len, default=None)


def _nearest_model(name: str) -> str:
    """Return the model whose size is nearest to the billions that a name gives, else the reference model."""
    found = re.search(r"(\d+(?:\.\d+)?)\s*([BT])\b", name)
    if model_of(name) or not found:
        return model_of(name) or REFERENCE_MODEL
    size = float(found[1]) * {"B": 1e9, "T": 1e12}[found[2]]
    dense = [m for m in catalog.names("models")
             if m.startswith(("llama", "gpt3", "palm")) and _model(m).mixture_of_experts is None]
    return min(dense, key=lambda m: abs(np.log(parameters(_model(m)).total / size)))


def _model(name: str) -> ModelRecord:
    record = catalog.load("models", name)
    assert isinstance(record, ModelRecord)
    return record


@lru_cache(maxsize=64)
def simulated(path: Path) -> Watts:
    """Return a scenario's medians over trials; UserError where it is missing or wrong."""
    scenario = load_scenario(path)
    trials = min(TRIALS, scenario.monte_carlo.trials)
    study = run_study(scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update={"trials": trials})}))
    seconds = study.column("accelerator_s")

    def watts(*names: str) -> float:
        return float(np.median(sum(study.column(f"energy_{name}_j") for name in names) / seconds))

    accelerator_w = watts("compute", "communication", "idle")
    estimate = longest(study.estimates)
    peak = describe(step_waveform(scenario.central(), estimate)).cluster.peak_to_mean
    return _watts(scenario.central(), float(np.median(seconds)) / 3600.0, accelerator_w, accelerator_w + watts("host"),
                  watts("network", "storage", "spares"), float(np.median(study.column("energy_j") / seconds)), peak,
                  f"scenario {path.name}")


def _watts(scenario: Scenario, hours: float | None, accelerator_w: float, node_w: float, around_w: float, all_w: float | None,
           peak: float | None, remark: str) -> Watts:
    a, site, pue = scenario.cluster.accelerator, scenario.facility.site, scenario.facility.effective_pue or 1.1
    idle_w = (a.idle_power_w or 0.0) + node_power(a, a.idle_power_w or 0.0).total_w / a.accelerators_per_node
    carbon = site.carbon_intensity_kgco2e_per_j if site is not None else None
    meter_w = all_w if all_w is not None else (node_w + around_w) * pue
    return Watts(hours, accelerator_w, node_w, around_w, meter_w, idle_w, a.supply_efficiency, a.accelerators_per_node, pue,
                 None if carbon is None else carbon * 3.6e6, peak, peak is not None, remark)


def _scenario(accelerator: AcceleratorRecord, model: str, n: int, tokens: float, batch: float, sequence: int, year: int | None
              ) -> Scenario:
    """Return a scenario of a run of which little is known: software of its year, the fastest layout, no failures."""
    old = year is not None and year <= 2021
    sequences = max(1, round(batch / sequence))
    mapping = {
        "name": model, "model": model, **({"year": year} if year else {}),
        "training": {"tokens": tokens, "batch": sequences * sequence, "sequence": sequence, "layout": "auto",
                     "precision": "fp16" if accelerator.generation == "volta" else "bf16",
                     **({"recompute": "full", "attention": "unfused", "elementwise": "fused"} if old else {}),
                     **({"elementwise": "fused"} if year is not None and 2021 < year <= 2023 else {})},
        "cluster": {"accelerator": {"preset": accelerator.name, "fan_share": accelerator.fan_share}, "accelerators": n,
                    "fabric": fabric_of(accelerator)},
        "checkpoint": {"interval": "1 h", "storage_bandwidth": _STORAGE},
        "facility": {"site": "usa", "pue": 1.1},
    }
    return scenario_from_mapping(mapping, f"reference step of {model}").central()


def fabric_of(accelerator: AcceleratorRecord) -> str:
    """Return the fabric of an accelerator's generation."""
    return {"volta": "infiniband-fat-tree-100g", "ampere": "infiniband-fat-tree-200g", "tpu": "tpu-ici-torus"}.get(
        accelerator.generation, "infiniband-fat-tree")


def _priced(scenario: Scenario, hours: bool, remark: str) -> Watts:
    """Return hours and watts of a step model alone: no failures, no checkpoints."""
    estimates = estimate_steps(scenario)
    main: StepEstimate = longest(estimates)
    cluster = scenario.cluster
    time_s = sum(e.batch.steps * e.step_time_s for e in estimates)
    waits_j = main.power.stall_w * (main.step_time_s - main.step.time_s)
    accelerator_w = (sum(main.energy) + waits_j) / main.step_time_s
    node_w = accelerator_w + node_power(cluster.accelerator, accelerator_w).total_w / cluster.accelerator.accelerators_per_node
    around_w = cluster.fabric.power_w * (cluster.nodes > 1)
    around_w += storage_power_w(scenario.checkpoint.storage_bandwidth_bytes_per_s) / cluster.accelerators
    taken_h = time_s * cluster.accelerators / 3600.0 if hours else None
    return _watts(scenario, taken_h, accelerator_w, node_w, around_w, None, None, remark)


@lru_cache(maxsize=256)
def _reference(accelerator: str, fans: float, model: str, n: int, tokens: float, batch: float, sequence: int, year: int | None,
               hours: bool) -> Watts:
    record = catalog.load("accelerators", accelerator)
    assert isinstance(record, AcceleratorRecord)
    record = record.model_copy(update={"fan_share": fans})
    size = n
    while True:
        try:
            found = _scenario(record, model, size, tokens, max(batch, size * sequence / 8.0), sequence, year)
            return _priced(found, hours, f"step of {model} on {size} {accelerator}, fastest layout")
        except UserError:
            if size >= 8 * n:
                raise
            size *= 2


def _size(row: EnergyRow, per_node: int) -> int:
    """Return how many accelerators a reference step has: the row's, in whole nodes and a power of two, at most 2,048."""
    wanted = min(2048.0, row.accelerators or REFERENCE_ACCELERATORS)
    return max(per_node, int(2 ** np.floor(np.log2(wanted))))


def watts_of(row: EnergyRow, folder: Path) -> Watts:
    """Return hours (where the configuration is known) and watts of a row's run.

    Raises UserError where the catalog lacks the accelerator's power, or nothing fits.
    """
    assert row.accelerator is not None
    known = known_run(row.run)
    if known and known.scenario:
        path = folder / f"{known.scenario}.yaml"
        if path.is_file():
            return simulated(path)
    name, fans = row.accelerator.name, row.accelerator.fan_share
    if known and known.model:
        found = _reference(name, fans, known.model, known.accelerators, known.tokens, known.batch, known.sequence, known.year,
                           True)
        return replace(found, remark=f"{found.remark}, no failures: a lower bound of hours ({known.source})")
    model, n = _nearest_model(row.run), _size(row, row.accelerator.accelerators_per_node)
    configured = bool(model_of(row.run) and row.tokens)
    return _reference(name, fans, model, n, row.tokens if configured and row.tokens else 1e12, 4194304.0, 2048, None, configured)

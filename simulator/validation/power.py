"""Watts against measurements: nodes by what their accelerators do, and time and energy under power limits.

Calibrated are the rest of a node and the demand of products, once a generation (the tables say on what), and nothing for a run.
"""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kernels.power import PowerModel, phase_powers, product_clock
from simulator import catalog
from simulator.catalog.records import AcceleratorRecord
from simulator.performance import estimate_steps
from simulator.performance.estimate import longest
from simulator.performance.hardware import generation, node_power
from simulator.scenario import load_scenario
from simulator.validation.energy_tables import markdown

# Zeus (You et al., NSDI 23), V100 of 250 W, medians over 58 training configurations of small models on one accelerator: cap,
# time and energy over those without a cap (docs/reference/power_model.md, section 3). 183 W without a cap.
ZEUS_TDP_W, ZEUS_MEAN_W = 250.0, 183.0
ZEUS = ((225.0, 1.013, 0.953), (200.0, 1.043, 0.897), (175.0, 1.067, 0.845), (150.0, 1.119, 0.806), (125.0, 1.190, 0.796),
        (100.0, 1.398, 0.840))


class Reading(NamedTuple):
    """One measurement, watts, and what the model says."""

    what: str
    measured_w: float
    predicted_w: float
    source: str
    used: str  # in which calibration, if any


def mlperf(benchmark: str, kind: str, system: str, column: str) -> float:
    """Return the mean of a column over runs of the MLPerf Training v4.0 power logs; `kind` is ac or dc."""
    text = (resources.files("simulator.validation") / "data" / "mlperf_power.csv").read_text(encoding="utf-8")
    found = [float(row[column]) for row in csv.DictReader(text.splitlines())
             if (row["benchmark"], row["kind"], row["system"]) == (benchmark, f"smc-{kind}-power", system)]
    return float(np.mean(found))


def node_w(accelerator: AcceleratorRecord, accelerator_w: float) -> float:
    """Return what a node draws at the plug while each of its accelerators draws `accelerator_w`."""
    return float(accelerator.accelerators_per_node * accelerator_w + node_power(accelerator, accelerator_w).total_w)


def _accelerator(name: str, **changes: float) -> AcceleratorRecord:
    record = catalog.load("accelerators", name)
    assert isinstance(record, AcceleratorRecord)
    return record.model_copy(update=changes)


def step_node_w(scenario: Path) -> float:
    """Return the mean power of a node in the step that a scenario spends most of its time in."""
    loaded = load_scenario(scenario).central()
    e = longest(estimate_steps(loaded))
    waits_j = e.power.stall_w * (e.step_time_s - e.step.time_s)
    return node_w(loaded.cluster.accelerator, (sum(e.energy) + waits_j) / e.step_time_s)


def readings(folder: Path) -> list[Reading]:
    """Return node powers, measured and modelled."""
    air = _accelerator("h100-sxm-80gb")
    immersed, a100 = air.model_copy(update={"fan_share": 0.0}), _accelerator("a100-sxm-80gb")
    dc = immersed.supply_efficiency
    logs = "MLPerf Training v4.0 logs, immersed H100"
    fitted = "rest of the node"
    bloom = "Luccioni et al., arXiv:2211.02001, FROM MEMORY"
    return [
        Reading("H100 node before its job, DC", mlperf("bert", "dc", "1xSMC", "p10"), dc * node_w(immersed, 70.0), logs, fitted),
        Reading("H100 node, plateau (LoRA, median), AC", mlperf("llama2_70b_lora", "ac", "1xSMC", "p50"), node_w(immersed, 700.0),
                logs, fitted),
        Reading("H100 node, plateau (LoRA, median), DC", mlperf("llama2_70b_lora", "dc", "1xSMC", "p50"),
                dc * node_w(immersed, 700.0), logs, ""),
        Reading("H100 node, GPT-3 on 64 nodes, mean AC", mlperf("gpt3", "ac", "64xSMC", "mean_node_W"),
                step_node_w(folder / "mlperf-gpt3-512.yaml"), logs, ""),
        Reading("H100 node, GPT-3 on 64 nodes, mean DC", mlperf("gpt3", "dc", "64xSMC", "mean_node_W"),
                dc * step_node_w(folder / "mlperf-gpt3-512.yaml"), logs, ""),
        Reading("H100 node in air, highest", 8400.0, node_w(air, 700.0), "Latif et al., arXiv:2412.08602", "fans"),
        Reading("H100 node in air, compute-heavy training", 7750.0, step_node_w(folder / "llama3-405b.yaml"),
                "Newkirk et al., arXiv:2506.14551: 76 % of 10.2 kW; here Llama 3 405B", ""),
        Reading("A100 node, idle", 1333.0, node_w(a100, 50.0), f"{bloom}: 64 kW on 48 nodes", fitted),
        Reading("A100 node, BLOOM", 3604.0, step_node_w(folder / "bloom-176b.yaml"),
                f"{bloom}: 64 + 109 kW on 48 nodes, pauses included", "products, in part"),
        Reading("V100 and its share of the node, GPT-3", 330.0, step_node_w(folder / "gpt3-175b.yaml") / 8.0,
                "Patterson et al., arXiv:2104.10350, Table 4", ""),
        Reading("V100 node, rated", 3500.0, node_w(_accelerator("v100-sxm2-32gb"), 300.0), "DGX-1, FROM MEMORY", fitted),
        Reading("TPU v3 and its share of the node, T5-11B", 310.0, step_node_w(folder / "t5-11b.yaml") / 4.0,
                "Patterson et al., arXiv:2104.10350, Table 4", "rest of the node, with Meena's 289 W"),
    ]


def readings_table(found: list[Reading]) -> str:
    """Return node powers in Markdown."""
    return markdown(("what", "measured W", "predicted W", "error", "source", "used to calibrate"), [
        (r.what, f"{r.measured_w:,.0f}", f"{r.predicted_w:,.0f}", f"{r.predicted_w / r.measured_w - 1.0:+.1%}", r.source, r.used)
        for r in found])


def zeus() -> list[tuple[float, float, float, float, float]]:
    """Return cap, time and energy measured by Zeus, and time and energy predicted, over those without a cap.

    The mix of phases follows from the uncapped mean alone: products at the limit, and beside them as much memory-bound time as
    gaps (small models on one accelerator); products, in which alone the clock matters, take what makes 183 W.
    """
    g, v100 = generation(_accelerator("v100-sxm2-32gb")), _accelerator("v100-sxm2-32gb")
    assert v100.idle_power_w is not None
    whole = PowerModel(v100.idle_power_w, ZEUS_TDP_W, ZEUS_TDP_W, g.gemm_demand, g.memory_demand, g.communication_demand,
                       g.bubble_demand, g.clock_exponent, g.voltage_floor)

    def mean_w(p: PowerModel) -> tuple[float, float]:
        w = phase_powers(p)
        return w.gemm_w, 0.5 * (w.memory_w + w.bubble_w)

    products_w, others_w = mean_w(whole)
    share = (ZEUS_MEAN_W - others_w) / (products_w - others_w)
    rows = []
    for cap, time, energy in ZEUS:
        p = whole._replace(limit_w=cap)
        slower = product_clock(whole) / product_clock(p)
        products_w, others_w = mean_w(p)
        joules = share * slower * products_w + (1.0 - share) * others_w
        rows.append((cap, time, energy, share * slower + 1.0 - share, joules / ZEUS_MEAN_W))
    return rows


def zeus_table() -> str:
    """Return the comparison with Zeus in Markdown."""
    return markdown(("cap W", "time x", "predicted", "error", "energy x", "predicted", "error"), [
        (f"{cap:.0f}", f"{t:.3f}", f"{pt:.3f}", f"{pt / t - 1.0:+.1%}", f"{e:.3f}", f"{pe:.3f}", f"{pe / e - 1.0:+.1%}")
        for cap, t, e, pt, pe in zeus()])


class Capped(NamedTuple):
    """A step under a limit, over the same without one."""

    limit_w: float
    time: float
    accelerator_w: float
    accelerator_j: float
    node_j: float


def capped(scenario: Path, limits_w: tuple[float, ...]) -> list[Capped]:
    """Return the longest step of a scenario under power limits."""
    loaded = load_scenario(scenario).central()

    def step(limit_w: float | None) -> tuple[float, float, float]:
        cluster = loaded.cluster.model_copy(update={"power_limit_w": limit_w})
        e = longest(estimate_steps(loaded.model_copy(update={"cluster": cluster})))
        joules = sum(e.energy) + e.power.stall_w * (e.step_time_s - e.step.time_s)
        return e.step_time_s, joules, node_w(cluster.accelerator, joules / e.step_time_s) * e.step_time_s

    time_s, accelerator_j, node_j = step(None)
    found = []
    for limit_w in limits_w:
        t, a, n = step(limit_w)
        found.append(Capped(limit_w, t / time_s, (a / t) / (accelerator_j / time_s), a / accelerator_j, n / node_j))
    return found


def capped_table(scenario: Path, limits_w: tuple[float, ...]) -> str:
    """Return steps under power limits in Markdown."""
    return markdown(("limit W", "step time x", "accelerator watts x", "energy of accelerators x", "energy of nodes x"), [
        (f"{c.limit_w:.0f}", *(f"{value:.3f}" for value in c[1:])) for c in capped(scenario, limits_w)])

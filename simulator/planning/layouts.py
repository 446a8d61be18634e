"""The best layouts of a scenario by time, cost or energy of a step, and why each loses to the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kernels.packs import Step
from simulator.accounting.rates import prices
from simulator.errors import UserError
from simulator.performance.estimate import PHASES, layout_pack, packs, price
from simulator.performance.hardware import knows_power, node_power, phase_power
from simulator.performance.search import Candidates, choose_layout, layout_of, main_batch, recomputing, search
from simulator.scenario import Layout, Scenario

Objective = Literal["time", "cost", "energy"]
OBJECTIVES: tuple[Objective, ...] = ("time", "cost", "energy")
_LABELS = {
    "gemm_s": "matrix products", "attention_s": "attention", "memory_s": "memory-bound operators", "launch_s": "kernel launches",
    "optimizer_s": "optimizer", "offload_s": "offload", "tensor_s": "tensor-parallel collectives",
    "context_s": "context-parallel collectives", "expert_s": "expert all-to-alls", "pipeline_s": "pipeline transfers",
    "data_s": "data-parallel collectives", "bubble_s": "pipeline bubble and imbalance",
}


@dataclass(frozen=True)
class LayoutChoice:
    """One layout and what a step of it takes, for the whole job.

    Attributes
    ----------
    layout : Layout
        As a scenario takes it.
    step : Step
        Phases on the mean accelerator, s.
    time_s, energy_j, cost_usd : float
        One step: wall time before stragglers; energy of accelerators, hosts and network at the meter; rent, or capital and
        electricity. Energy and cost are NaN where they were not asked for and the scenario or catalog cannot give them.
    memory_bytes : float
        On the fullest accelerator.
    loses : str
        What makes it worse than the best; empty for the best.
    """

    layout: Layout
    step: Step
    time_s: float
    energy_j: float
    cost_usd: float
    memory_bytes: float
    loses: str


@dataclass(frozen=True)
class Ranking:
    """The best layouts, best first; how many were looked at; and the best step with other recomputation, s (inf: none fits)."""

    choices: tuple[LayoutChoice, ...]
    legal: int
    fitting: int
    recomputing_s: dict[str, float]


def rank_layouts(scenario: Scenario, by: Objective = "time", top: int = 10) -> Ranking:
    """Return the best layouts of a scenario's model, cluster and main batch.

    Raises
    ------
    UserError
        Nothing fits in memory; or `by` asks for energy or cost and a price, power or PUE is not known.
    """
    found = search(scenario, energy=by == "energy" or knows_power(scenario.cluster.accelerator))
    if not np.isfinite(found.times_s).any():
        choose_layout(scenario)  # raises, and says what would help
    energies_j = _or_unknown(_energies_j, scenario, found, asked=by == "energy")
    costs_usd = _or_unknown(_costs_usd, scenario, found, asked=by == "cost")
    key = {"time": found.times_s, "cost": costs_usd, "energy": energies_j}[by]
    fits = np.flatnonzero(np.isfinite(found.times_s))
    order = fits[np.lexsort((found.memories_bytes[fits], found.times_s[fits], key[fits]))][:top]
    choices: list[LayoutChoice] = []
    for i in order:
        layout = layout_of(found.layouts[i])
        step, _ = price(packs(scenario, main_batch(scenario)),
                        layout_pack(layout, scenario.cluster.accelerators, scenario.model.layers))
        best = choices[0] if choices else None
        choices.append(LayoutChoice(layout, step, float(found.times_s[i]), float(energies_j[i]), float(costs_usd[i]),
                                    float(found.memories_bytes[i]), "" if best is None else why_it_loses(step, best.step)))
    others = [name for name in ("none", "selective", "full") if name != scenario.training.recompute]
    recomputing_s = {name: float(search(recomputing(scenario, name)).times_s.min()) for name in others}
    return Ranking(tuple(choices), found.times_s.size, fits.size, recomputing_s)


def _or_unknown(price: Callable[[Scenario, Candidates], np.ndarray], scenario: Scenario, found: Candidates, *, asked: bool
                ) -> np.ndarray:
    """Return a price of each layout, NaN where scenario and catalog cannot give it and it was not asked for."""
    try:
        return price(scenario, found)
    except UserError:
        if asked:
            raise
        return np.full(found.times_s.shape, np.nan)


def _energies_j(scenario: Scenario, found: Candidates) -> np.ndarray:
    """Return joules of a step of the whole job at the meter: accelerators, hosts and network, times PUE."""
    cluster, accelerator = scenario.cluster, scenario.cluster.accelerator
    if not knows_power(accelerator):
        phase_power(accelerator)  # raises, and says which value is missing
    pue = scenario.facility.needed_pue()
    # The rest of a node is affine in the watts of its accelerators.
    always_w = node_power(accelerator, 0.0).total_w / accelerator.accelerators_per_node
    follows = node_power(accelerator, 1.0).total_w / accelerator.accelerators_per_node - always_w
    always_w += cluster.fabric.power_w if cluster.nodes > 1 else 0.0
    return np.asarray((found.energies_j * (1.0 + follows) + always_w * found.times_s) * cluster.accelerators * pue)


def _costs_usd(scenario: Scenario, found: Candidates) -> np.ndarray:
    """Return dollars of a step of the whole job: rent, or capital and electricity."""
    capital_usd_per_s, usd_per_j = prices(scenario)
    costs_usd = capital_usd_per_s * scenario.cluster.accelerators * found.times_s
    return np.asarray(costs_usd + usd_per_j * _energies_j(scenario, found) if usd_per_j > 0.0 else costs_usd)


def why_it_loses(step: Step, best: Step) -> str:
    """Return the phases in which a step takes longer than the best one, largest first, and what it gains against that."""
    changes = {name: getattr(step, name) - getattr(best, name) for name in PHASES}
    scale = best.time_s
    worse = [f"{_LABELS[name]} +{value / scale:.1%}" for name, value in sorted(changes.items(), key=lambda kv: -kv[1])
             if value > 0.001 * scale][:2]
    better = [f"{_LABELS[name]} {value / scale:.1%}" for name, value in sorted(changes.items(), key=lambda kv: kv[1])
              if value < -0.001 * scale][:1]
    if not worse:
        return "the same time" if not better else f"only {better[0]}"
    return ", ".join(worse) + (f", against {better[0]}" if better else "")

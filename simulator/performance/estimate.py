"""Step estimates of a scenario: one for each stretch of its batch schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from kernels.memory import Memory, memory_bytes
from kernels.packs import Device, Network, Recipe, Step
from kernels.packs import Layout as LayoutPack
from kernels.pipeline import microbatch_count
from kernels.power import PhasePower, StepEnergy, step_energy
from kernels.step import step_time
from kernels.stragglers import slowdown
from kernels.transformer import Architecture
from simulator.errors import UserError
from simulator.performance.hardware import device, generation, knows_power, needed, network, peak_flops_per_s, phase_power
from simulator.scenario import Layout, Scenario
from simulator.workload import StepBatch, architecture, recipe_pack, step_batches

# Seconds of a `Step` that add up to its time.
PHASES = ("gemm_s", "attention_s", "memory_s", "launch_s", "optimizer_s", "offload_s", "tensor_s", "context_s", "expert_s",
          "pipeline_s", "data_s", "bubble_s")
_METHODS = {"all-gather": 0.0, "ring": 1.0, "ulysses": 2.0}


@dataclass(frozen=True)
class StepEstimate:
    """One step, deterministic: what it takes on the mean accelerator, and on the slowest.

    Attributes
    ----------
    batch : StepBatch
        Steps of this kind, tokens and sequences of each.
    layout : Layout
        As used, every size resolved.
    step : Step
        Phases in seconds, FLOPs per accelerator.
    memory : Memory
        Bytes by term on the fullest accelerator.
    power : PhasePower
        Watts of one accelerator by phase of this step; NaN where the catalog lacks its power.
    energy : StepEnergy
        Joules of one accelerator by kind of phase: `power` over the phases.
    straggler_factor : float
        Slowest of all over the mean: wall time of a step is step.time_s x this.
    mfu, hfu : float
        Model and hardware FLOPs utilisation of the nominal step.
    """

    batch: StepBatch
    layout: Layout
    step: Step
    memory: Memory
    power: PhasePower
    energy: StepEnergy
    straggler_factor: float
    mfu: float
    hfu: float

    @property
    def step_time_s(self) -> float:
        """Wall time of a step, stragglers included, s."""
        return self.step.time_s * self.straggler_factor

    @property
    def phases_s(self) -> dict[str, float]:
        """Seconds by phase on the mean accelerator; they add up to `step.time_s`."""
        return {name: value for name, value in self.step._asdict().items() if name in PHASES}

    def _repr_html_(self) -> str:
        from simulator.performance.shown import step_html

        return step_html(self)


class Packs(NamedTuple):
    """All that a layout is priced with, as the kernels take it."""

    architecture: Architecture
    device: Device
    network: Network
    recipe: Recipe


def longest(estimates: tuple[StepEstimate, ...]) -> StepEstimate:
    """Return the estimate of the stretch in which the run spends most of its time."""
    return max(estimates, key=lambda e: e.batch.steps * e.step_time_s)


def chunks_of(layout: Layout, layers: int) -> int:
    """Return model chunks per stage: as given, or one layer a chunk where the schedule is interleaved."""
    if layout.pipeline <= 1 or layout.schedule != "interleaved":
        return 1
    return layout.virtual_pipeline if layout.virtual_pipeline > 1 else -(-layers // layout.pipeline)


def layout_pack(layout: Layout, accelerators: int, layers: int) -> LayoutPack:
    """Return the kernel's parameter pack of a layout, the data-parallel size filled in."""
    return LayoutPack(
        tensor=float(layout.tensor),
        pipeline=float(layout.pipeline),
        chunks=float(chunks_of(layout, layers)),
        context=float(layout.context),
        expert=float(layout.expert),
        data=float(layout.data or accelerators // (layout.tensor * layout.pipeline * layout.context)),
        microbatch=float(layout.microbatch),
        zero=float(layout.zero),
        shard=float(layout.shard),
        first_layers=float(layout.first_stage_layers),
        last_layers=float(layout.last_stage_layers),
        zero_bubble=float(layout.schedule == "zero-bubble"),
        context_method=_METHODS[layout.context_method],
        sequence_parallel=float(layout.sequence_parallel and layout.tensor > 1),
        overlap_tensor=layout.overlap_tensor,
        overlap_context=layout.overlap_context,
        overlap_expert=layout.overlap_expert,
        overlap_data=layout.overlap_data,
        overlap_pipeline=layout.overlap_pipeline,
        expert_nodes=float(layout.expert_nodes),
    )


def packs(scenario: Scenario, batch: StepBatch) -> Packs:
    """Return a scenario's model, accelerator, network and recipe for one batch; UserError where the catalog lacks a value."""
    cluster, training = scenario.cluster, scenario.training
    if training.optimizer_offload or training.activation_offload:
        needed(cluster.accelerator, "host_link_bandwidth_bytes_per_s")
    return Packs(architecture(scenario.model),
                 device(cluster.accelerator, training.precision, generation(cluster.accelerator).era(scenario.software_year),
                        power_limit_w=cluster.power_limit_w),
                 network(cluster.accelerator, cluster.fabric, cluster.accelerators),
                 recipe_pack(training, scenario.model, batch))


@lru_cache(maxsize=4096)
def price(packs: Packs, layout: LayoutPack) -> tuple[Step, Memory]:
    """Return the step and the memory of a layout."""
    a, d, net, r = packs
    microbatches = microbatch_count(r.sequences, layout.data, layout.microbatch)
    return Step(*step_time(a, d, net, r, layout)), Memory(*memory_bytes(a, r, layout, microbatches))


def estimate_steps(scenario: Scenario) -> tuple[StepEstimate, ...]:
    """Return the estimate of each stretch of the batch schedule.

    Parameters
    ----------
    scenario : Scenario
        Without open distributions (see `Scenario.central` and `realise`).

    Raises
    ------
    UserError
        Does not fit in memory (which term, by how much, the nearest layouts that fit), or the catalog lacks a value.
    """
    from simulator.performance.search import choose_layout, refuse_oversize

    layout = scenario.training.layout
    chosen = choose_layout(scenario) if isinstance(layout, str) else layout
    pack = layout_pack(chosen, scenario.cluster.accelerators, scenario.model.layers)
    estimates = []
    for batch in step_batches(scenario.training):
        step, memory = price(packs(scenario, batch), pack)
        if memory.total > scenario.cluster.accelerator.memory_bytes:
            refuse_oversize(scenario, chosen, memory)
        estimates.append(_estimate(scenario, chosen, pack, batch, step, memory))
    return tuple(estimates)


def _estimate(scenario: Scenario, layout: Layout, pack: LayoutPack, batch: StepBatch, step: Step, memory: Memory
              ) -> StepEstimate:
    cluster = scenario.cluster
    power = PhasePower(*(math.nan,) * len(PhasePower._fields))
    if knows_power(cluster.accelerator):
        power = phase_power(cluster.accelerator, cluster.power_limit_w, step)
    peak = peak_flops_per_s(cluster.accelerator, mfu_precision(scenario.training.precision))
    if pack.data * pack.tensor * pack.pipeline * pack.context != cluster.accelerators:
        raise UserError(f"training.layout: uses {pack.data * pack.tensor * pack.pipeline * pack.context:.0f} accelerators; "
                        f"allowed: all {cluster.accelerators} of the cluster")
    return StepEstimate(
        batch=batch,
        layout=layout.model_copy(update={"data": int(pack.data), "virtual_pipeline": int(pack.chunks)}),
        step=step,
        memory=memory,
        power=power,
        energy=StepEnergy(*step_energy(power, step)),
        straggler_factor=float(slowdown(float(cluster.accelerators), cluster.variation.speed_spread,
                                        cluster.variation.jitter)),
        mfu=step.model_flops / step.time_s / peak,
        hfu=step.hardware_flops / step.time_s / peak,
    )


def mfu_precision(precision: str) -> str:
    """Return the precision whose peak MFU is counted against: 16 bits for fp8 and fp4 recipes, as is published."""
    return "bf16" if precision in ("fp8", "fp4") else precision

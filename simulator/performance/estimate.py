"""Step estimates of a scenario: one for each stretch of its batch schedule."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.memory import Memory, memory_bytes
from kernels.pipeline import microbatch_count
from kernels.power import StepEnergy, step_energy
from kernels.step import Layout as LayoutPack
from kernels.step import Recipe, Step, step_time
from kernels.stragglers import slowdown
from kernels.transformer import Architecture
from simulator.errors import UserError
from simulator.performance.hardware import device, network, peak_flops_per_s, power_model
from simulator.scenario import Layout, Scenario
from simulator.workload import StepBatch, architecture, element_bytes, kept_bytes, step_batches

RECOMPUTE = {"none": 0.0, "selective": 1.0, "full": 2.0}


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
    energy : StepEnergy
        Joules of one accelerator by kind of phase.
    straggler_factor : float
        Slowest of all over the mean: wall time of a step is step.time_s x this.
    mfu, hfu : float
        Model and hardware FLOPs utilisation of the nominal step.
    """

    batch: StepBatch
    layout: Layout
    step: Step
    memory: Memory
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
        return {name: value for name, value in self.step._asdict().items() if name.endswith("_s") and name != "time_s"}


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
        sequence_parallel=float(layout.sequence_parallel and layout.tensor > 1),
        overlap_data=float(layout.overlap_data),
        overlap_expert=float(layout.overlap_expert),
    )


def packed_memory(arch: Architecture, recipe: Recipe, pack: LayoutPack, kept: float) -> Memory:
    """Return the memory by term of kernel packs; `kept` is the bytes of an activation kept for the backward pass."""
    return Memory(*memory_bytes(
        arch, pack.tensor, pack.pipeline, pack.chunks, pack.context, pack.expert, pack.data, pack.zero,
        pack.sequence_parallel, pack.microbatch, microbatch_count(recipe.sequences, pack.data, pack.microbatch),
        recipe.sequence, recipe.element_bytes, kept, recipe.recompute, recipe.flash))


def recipe_pack(scenario: Scenario, batch: StepBatch, recompute: str) -> Recipe:
    """Return the kernel's parameter pack of one batch."""
    training = scenario.training
    return Recipe(batch.sequences, batch.sequence, element_bytes(training.precision), RECOMPUTE[recompute],
                  float(training.attention == "flash"))


def memory_of(scenario: Scenario, layout: Layout, batch: StepBatch, recompute: str) -> Memory:
    """Return the memory by term of a layout for one batch."""
    pack = layout_pack(layout, scenario.cluster.accelerators, scenario.model.layers)
    return packed_memory(architecture(scenario.model), recipe_pack(scenario, batch, recompute), pack,
                         kept_bytes(scenario.training.precision))


def step_of(scenario: Scenario, layout: Layout, batch: StepBatch, recompute: str) -> Step:
    """Return the step time by phase of a layout for one batch."""
    cluster = scenario.cluster
    return Step(*step_time(
        architecture(scenario.model), device(cluster.accelerator, scenario.training.precision),
        network(cluster.accelerator, cluster.fabric, cluster.accelerators), recipe_pack(scenario, batch, recompute),
        layout_pack(layout, cluster.accelerators, scenario.model.layers)))


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
    estimates = []
    for batch in step_batches(scenario.training):
        memory = memory_of(scenario, chosen, batch, scenario.training.recompute)
        if memory.total > scenario.cluster.accelerator.memory_bytes:
            refuse_oversize(scenario, chosen, batch, memory)
        estimates.append(_estimate(scenario, chosen, batch, memory))
    return tuple(estimates)


def _estimate(scenario: Scenario, layout: Layout, batch: StepBatch, memory: Memory) -> StepEstimate:
    cluster = scenario.cluster
    step = step_of(scenario, layout, batch, scenario.training.recompute)
    busy = step.gemm_s + step.attention_s
    waits = step.tensor_s + step.context_s + step.expert_s + step.pipeline_s + step.data_s
    energy = StepEnergy(*step_energy(power_model(cluster.accelerator), busy, step.memory_s + step.optimizer_s, waits,
                                     step.bubble_s))
    peak = peak_flops_per_s(cluster.accelerator, mfu_precision(scenario.training.precision))
    pack = layout_pack(layout, cluster.accelerators, scenario.model.layers)
    if pack.data * pack.tensor * pack.pipeline * pack.context != cluster.accelerators:
        raise UserError(f"training.layout: uses {pack.data * pack.tensor * pack.pipeline * pack.context:.0f} accelerators; "
                        f"allowed: all {cluster.accelerators} of the cluster")
    return StepEstimate(
        batch=batch,
        layout=layout.model_copy(update={"data": int(pack.data), "virtual_pipeline": int(pack.chunks)}),
        step=step,
        memory=memory,
        energy=energy,
        straggler_factor=float(slowdown(float(cluster.accelerators), cluster.variation.speed_spread,
                                        cluster.variation.jitter)),
        mfu=step.model_flops / step.time_s / peak,
        hfu=step.hardware_flops / step.time_s / peak,
    )


def mfu_precision(precision: str) -> str:
    """Return the precision whose peak MFU is counted against: 16 bits for fp8 and fp4 recipes, as is published."""
    return "bf16" if precision in ("fp8", "fp4") else precision

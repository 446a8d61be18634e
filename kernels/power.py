"""Accelerator power by phase, affine in the phase's activity.

P = P_idle + (P_max - P_idle) x activity (Fan, Weber, Barroso, ISCA 2007, equation 1), one measured activity a phase.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.packs import Step


class PowerModel(NamedTuple):
    """Watts of one accelerator at idle and at its limit, and activity (0 to 1) by phase."""

    idle_w: float
    limit_w: float
    gemm: float
    memory: float
    communication: float
    bubble: float


class PhasePower(NamedTuple):
    """Watts of one accelerator by what it does."""

    gemm_w: float
    attention_w: float
    memory_w: float
    communication_w: float  # waiting in an exposed collective
    bubble_w: float  # waiting for the pipeline or the host
    stall_w: float  # waiting for a checkpoint, a failure to be found, the slowest accelerator
    idle_w: float  # no process


class StepEnergy(NamedTuple):
    """Joules of one accelerator in one step; idle power during a phase counts to the phase."""

    compute_j: float
    communication_j: float
    bubble_j: float


@kernel
def phase_power_w(p: PowerModel, activity: float) -> float:
    """Return the power of one accelerator at an activity between 0 and 1, watts."""
    return p.idle_w + (p.limit_w - p.idle_w) * activity


@kernel
def phase_powers(p: PowerModel) -> PhasePower:
    """Return the power of one accelerator in every phase, watts."""
    gemm_w, bubble_w = phase_power_w(p, p.gemm), phase_power_w(p, p.bubble)
    return PhasePower(gemm_w, gemm_w, phase_power_w(p, p.memory), phase_power_w(p, p.communication), bubble_w, bubble_w, p.idle_w)


@kernel
def step_energy(w: PhasePower, step: Step) -> StepEnergy:
    """Return the energy of one accelerator over the phases of a step, joules."""
    waits_s = step.tensor_s + step.context_s + step.expert_s + step.pipeline_s + step.data_s
    return StepEnergy(
        w.gemm_w * step.gemm_s + w.attention_w * step.attention_s + w.memory_w * (step.memory_s + step.optimizer_s),
        w.communication_w * waits_s,
        w.bubble_w * (step.bubble_s + step.launch_s + step.offload_s),
    )

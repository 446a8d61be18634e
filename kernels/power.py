"""Accelerator power by phase, and the clock under a power limit.

Above idle, P = (TDP - idle) x demand of the phase x g(clock), after Fan, Weber, Barroso (ISCA 2007, equation 1) with a clock.
Dynamic power is a C V^2 f: with a voltage that rises in proportion to the clock, and some parts that do not follow, g = f^n with
n = 2.5 to 3; below the floor of the voltage g falls in proportion to f (power_model.md, item 7, FROM MEMORY). Products may
demand more than the limit; their clock is lowered until the limit is met.

The limit holds for a mean over some tens of milliseconds, in which products, memory-bound operators and collectives of a
microbatch alternate many times: what the others leave, products take. Waits that last (bubbles, gradients, stalls) leave it.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.packs import Step


class PowerModel(NamedTuple):
    """Watts of one accelerator, and what each kind of phase draws at full clock above idle, over what the TDP allows above it."""

    idle_w: float
    tdp_w: float
    limit_w: float  # at most tdp_w
    gemm: float  # may be over 1
    memory: float
    communication: float
    bubble: float
    exponent: float
    floor: float  # clock below which the voltage falls no further, over the full clock


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
def clock_power(clock: float, exponent: float, floor: float) -> float:
    """Return power above idle at a clock of 0 to 1, over that at full clock."""
    if clock >= floor:
        return clock**exponent
    return floor ** (exponent - 1.0) * clock


@kernel
def clock_under(share: float, exponent: float, floor: float) -> float:
    """Return the highest clock of 0 to 1 at which power above idle is at most `share` of that at full clock."""
    if share >= 1.0:
        return 1.0
    if share >= floor**exponent:
        return share ** (1.0 / exponent)
    return max(0.0, share) / floor ** (exponent - 1.0)


@kernel
def product_clock(p: PowerModel) -> float:
    """Return the clock at which products alone draw no more than the limit, over the full clock."""
    if p.gemm <= 0.0 or p.tdp_w <= p.idle_w:
        return 1.0
    return clock_under((p.limit_w - p.idle_w) / (p.tdp_w - p.idle_w) / p.gemm, p.exponent, p.floor)


@kernel
def phase_power_w(p: PowerModel, demand: float) -> float:
    """Return the power of a phase that fills the time over which the limit holds, watts."""
    return min(p.limit_w, p.idle_w + (p.tdp_w - p.idle_w) * demand)


@kernel
def phase_powers(p: PowerModel) -> PhasePower:
    """Return the power of one accelerator in every phase, each for itself, watts."""
    gemm_w, bubble_w = phase_power_w(p, p.gemm), phase_power_w(p, p.bubble)
    return PhasePower(gemm_w, gemm_w, phase_power_w(p, p.memory), phase_power_w(p, p.communication), bubble_w, bubble_w, p.idle_w)


@kernel
def step_power(p: PowerModel, step: Step) -> PhasePower:
    """Return the power of one accelerator in every phase of a step, watts.

    Products and attention take what memory-bound operators, collectives and launches of a microbatch leave of the limit, up to
    what they demand at the clock that the TDP allows them, lowered as `product_clock` is by a limit below the TDP.
    """
    w = phase_powers(p)
    products_s = step.gemm_s + step.attention_s
    others_s = step.memory_s + step.tensor_s + step.context_s + step.expert_s + step.launch_s
    if products_s <= 0.0:
        return w
    between_j = (w.memory_w * step.memory_s + w.communication_w * (step.tensor_s + step.context_s + step.expert_s)
                 + w.bubble_w * step.launch_s)
    span_w = p.tdp_w - p.idle_w
    at_tdp_w = min(p.idle_w + span_w * p.gemm, p.tdp_w + (p.tdp_w * others_s - between_j) / products_s)
    whole = PowerModel(p.idle_w, p.tdp_w, p.tdp_w, p.gemm, p.memory, p.communication, p.bubble, p.exponent, p.floor)
    lowered = clock_power(product_clock(p), p.exponent, p.floor) / clock_power(product_clock(whole), p.exponent, p.floor)
    left_w = p.limit_w + (p.limit_w * others_s - between_j) / products_s
    products_w = min(p.idle_w + (at_tdp_w - p.idle_w) * lowered, left_w)
    return PhasePower(products_w, products_w, w.memory_w, w.communication_w, w.bubble_w, w.stall_w, w.idle_w)


@kernel
def step_energy(w: PhasePower, step: Step) -> StepEnergy:
    """Return the energy of one accelerator over the phases of a step, joules."""
    waits_s = step.tensor_s + step.context_s + step.expert_s + step.pipeline_s + step.data_s
    return StepEnergy(
        w.gemm_w * step.gemm_s + w.attention_w * step.attention_s + w.memory_w * (step.memory_s + step.optimizer_s),
        w.communication_w * waits_s,
        w.bubble_w * (step.bubble_s + step.launch_s + step.offload_s),
    )

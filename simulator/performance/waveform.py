"""The power waveform of a training step: watts against time of one accelerator and of the whole synchronised cluster.

Every stage of the pipeline draws, block by block of its explicit schedule, the mean power of what the block does; between blocks
that of a bubble; then, as all stages and replicas are in step, that of waiting for the slowest accelerator, of the exposed
data-parallel exchange, of the optimizer and of offload. The time axis is that of the estimate, and so is the energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.layer import Pass, Passes, head_passes, layer_passes, mix, total_s
from kernels.packs import Layout as LayoutPack
from kernels.pipeline import microbatch_count
from kernels.power import PhasePower
from kernels.waveform import amplitudes, energy_j, moving_average, steepest, superpose, variance_w2
from simulator.performance.estimate import Packs, StepEstimate, layout_pack, packs
from simulator.performance.hardware import needed, node_power
from simulator.performance.schedule import FORWARD, Schedule, batch_s, step_schedule
from simulator.scenario import Scenario

Floats = NDArray[np.float64]
# Choukse et al. 2025, arXiv:2508.14318: utilities limit ramps, dynamic range and oscillation between 0.1 and 20 Hz.
BAND_HZ = (0.1, 20.0)
RAMP_WINDOWS_S = (0.1, 1.0)
SAMPLE_S = 2.0  # MLPerf's power logs have one sample every 2 s (../shared/data/power_model.md, section 2)
_MOST_HARMONICS, _FEWEST_HARMONICS = 1000, 40


class Power(NamedTuple):
    """Watts against time: `power_w[i]` from `edges_s[i]` to `edges_s[i + 1]`, again and again."""

    edges_s: Floats
    power_w: Floats

    @property
    def energy_j(self) -> float:
        """Energy of one step, joules."""
        return float(energy_j(self.edges_s, self.power_w))

    @property
    def period_s(self) -> float:
        """Length of the step, s."""
        return float(self.edges_s[-1])


class Beside(NamedTuple):
    """What hosts, supplies and network draw for each accelerator: a constant, and a share of what the accelerator draws."""

    fixed_w: float
    share: float


@dataclass(frozen=True)
class Waveform:
    """Power of one training step, all replicas in step.

    Attributes
    ----------
    stages : tuple of Power
        One accelerator of each pipeline stage.
    cluster : Power
        All accelerators, with what is drawn beside them.
    accelerators : int
        Of the job; every stage has as many.
    beside : Beside
        Hosts and network of the job.
    """

    stages: tuple[Power, ...]
    cluster: Power
    accelerators: int
    beside: Beside

    @property
    def period_s(self) -> float:
        """Wall time of the step, s."""
        return self.cluster.period_s

    @property
    def accelerator(self) -> Power:
        """One accelerator, of the stage in the middle."""
        return self.stages[len(self.stages) // 2]


class Ramp(NamedTuple):
    """Largest change between the means of two windows that follow each other, over their length."""

    window_s: float
    rise_w_per_s: float
    fall_w_per_s: float


class Shape(NamedTuple):
    """A waveform in numbers.

    Attributes
    ----------
    mean_w, peak_w, trough_w : float
        Over a step, W.
    deviation_w : float
        Root mean square of power less its mean, W.
    ramps : tuple of Ramp
        For each of `RAMP_WINDOWS_S`.
    dominant_hz, dominant_w : float
        Frequency and amplitude of the largest harmonic of the step, Hz and W; both 0 where power is constant.
    band_share : float
        Share of the variance in `BAND_HZ`, of at most 1000 harmonics; 0 where power is constant.
    peak_to_mean : float
        Of the average over `SAMPLE_S`.
    """

    mean_w: float
    peak_w: float
    trough_w: float
    deviation_w: float
    ramps: tuple[Ramp, ...]
    dominant_hz: float
    dominant_w: float
    band_share: float
    peak_to_mean: float

    @property
    def swing_w(self) -> float:
        """Peak less trough, W."""
        return self.peak_w - self.trough_w


class Description(NamedTuple):
    """One accelerator of the middle stage, and the cluster with hosts and network."""

    accelerator: Shape
    cluster: Shape


class Rectangles(NamedTuple):
    """Power from a start to an end, parallel arrays; where rectangles overlap, their powers add."""

    start_s: Floats
    end_s: Floats
    power_w: Floats


class _Exchange(NamedTuple):
    """The data-parallel exchange that nothing hides, with the copies into and out of its buffers."""

    time_s: float
    power_w: float
    each_layer: float  # 1 where weights are gathered or gradients scattered in every layer of every microbatch
    forward_share: float  # of it, what is spent on the way forward


def step_waveform(scenario: Scenario, estimate: StepEstimate) -> Waveform:
    """Return the power waveform of a step.

    Parameters
    ----------
    scenario : Scenario
        Without open distributions.
    estimate : StepEstimate
        One of the scenario's estimates.

    Returns
    -------
    Waveform
        Its mean over stages has the energy of `estimate.energy` and of waiting for the slowest accelerator, and the wall time
        of the step.

    Raises
    ------
    UserError
        The catalog lacks a power of the accelerator.
    """
    for field in ("idle_power_w", "tdp_w"):
        needed(scenario.cluster.accelerator, field)
    watts, accelerators = estimate.power, scenario.cluster.accelerators
    priced = packs(scenario, estimate.batch)
    pack = layout_pack(estimate.layout, accelerators, scenario.model.layers)
    schedule, exchange = step_schedule(scenario, estimate), _exchange(estimate, pack, watts)
    power = block_power(schedule, priced, pack, watts)
    if exchange.each_layer:
        parts = [_alone(schedule, power, exchange, scenario.model.layers)]
        exchange = exchange._replace(time_s=0.0)
    else:
        parts = _pipelined(schedule, power, batch_s(schedule, estimate), estimate.step.pipeline_s, watts)
    stages = []
    for found in parts:
        rows = _with_ending(found, estimate, exchange, watts)
        stages.append(Power(*superpose(*rows, float(rows.end_s[-1]))))
    beside = beside_accelerators(scenario)
    return Waveform(tuple(stages), cluster_power(tuple(stages), accelerators, beside), accelerators, beside)


def beside_accelerators(scenario: Scenario) -> Beside:
    """Return what is drawn beside the accelerators: nodes are affine in their power, the network is constant."""
    cluster, accelerator = scenario.cluster, scenario.cluster.accelerator
    idle_w, tdp_w = needed(accelerator, "idle_power_w"), needed(accelerator, "tdp_w")
    low, high = (float(node_power(accelerator, w).total_w) / accelerator.accelerators_per_node for w in (idle_w, tdp_w))
    share = (high - low) / (tdp_w - idle_w)
    return Beside(low - share * idle_w + (cluster.fabric.power_w if cluster.nodes > 1 else 0.0), share)


def cluster_power(stages: tuple[Power, ...], accelerators: int, beside: Beside) -> Power:
    """Return the power of all stages together, with what is drawn beside them."""
    edges, power = superpose(np.concatenate([s.edges_s[:-1] for s in stages]), np.concatenate([s.edges_s[1:] for s in stages]),
                             np.concatenate([s.power_w for s in stages]), stages[0].period_s)
    return Power(edges, accelerators * (power * ((1.0 + beside.share) / len(stages)) + beside.fixed_w))


def _pass_j(p: Pass, w: PhasePower) -> float:
    """Return the energy of one accelerator in one direction through a layer, joules."""
    return (w.gemm_w * p.gemm_s + w.attention_w * p.attention_s + w.memory_w * p.memory_s + w.bubble_w * p.launch_s
            + w.communication_w * (p.tensor_s + p.context_s + p.expert_s))


def _mean_layer(priced: Packs, pack: LayoutPack) -> Passes:
    """Return the layer in the mean of those with and without experts, as the step is priced."""
    a, d, net, r = priced
    share = a.moe_layers / a.layers
    kinds = [(weight, Passes(*layer_passes(a, d, net, r, pack, moe)[0])) for weight, moe in ((1.0 - share, 0.0), (share, 1.0))
             if weight > 0.0]
    (x, first), (y, last) = kinds[0], (kinds[1] if len(kinds) > 1 else (0.0, kinds[0][1]))
    return Passes(Pass(*mix(Pass(*first.forward), x, Pass(*last.forward), y)),
                  Pass(*mix(Pass(*first.backward), x, Pass(*last.backward), y)), 0.0)


def block_power(schedule: Schedule, priced: Packs, pack: LayoutPack, watts: PhasePower) -> Floats:
    """Return the mean power of every block of a schedule, W.

    The exposed collectives of tensor, context and expert groups are in the mean: they alternate with computing some times a
    layer. Gradients of weights apart from their block (zero bubble) take that block's mean power.
    """
    a, d, net, r = priced
    layer, head = _mean_layer(priced, pack), Passes(*head_passes(a, d, net, r, pack))
    ends = np.zeros_like(schedule.times.layers)
    ends[-1, -1] = 1.0
    mean = []
    for name in ("forward", "backward"):
        one, end = Pass(*getattr(layer, name)), Pass(*getattr(head, name))
        joules = schedule.times.layers * _pass_j(one, watts) + ends * _pass_j(end, watts)
        seconds = schedule.times.layers * total_s(one) + ends * total_s(end)
        mean.append(np.divide(joules, seconds, out=np.zeros_like(joules), where=seconds > 0.0))
    found: Floats = np.where(schedule.block == FORWARD, *(p[schedule.stage, schedule.chunk] for p in mean))
    return found


def _exchange(estimate: StepEstimate, pack: LayoutPack, watts: PhasePower) -> _Exchange:
    """Return the exchange; sharded weights or gradients without a pipeline go layer by layer (`kernels.exchange`)."""
    step, m = estimate.step, microbatch_count(float(estimate.batch.sequences), pack.data, pack.microbatch)
    copies_s = max(0.0, step.time_s - m * (step.forward_s + step.backward_s) - step.pipeline_s - step.bubble_s - step.data_s
                   - step.optimizer_s - step.offload_s)
    time_s = step.data_s + copies_s
    if time_s <= 1e-12 * step.time_s:
        return _Exchange(0.0, 0.0, 0.0, 0.0)
    power = (watts.communication_w * step.data_s + watts.memory_w * copies_s) / time_s
    # Weights once each way and gradients once, of equal size: a third of it forward (ZeRO-3); gradients alone (ZeRO-2).
    return _Exchange(time_s, power, float(pack.pipeline <= 1.0 and pack.zero >= 2.0), 1.0 / 3.0 if pack.zero >= 3.0 else 0.0)


def _alone(schedule: Schedule, power: Floats, exchange: _Exchange, layers: int) -> Rectangles:
    """Return a lone stage whose layers each wait for a part of the exchange."""
    forward = schedule.block == FORWARD
    share = np.where(forward, exchange.forward_share, 1.0 - exchange.forward_share) / schedule.microbatches
    lengths = np.stack([schedule.end_s - schedule.start_s, exchange.time_s * share], axis=1) / layers
    levels = np.stack([power, np.full_like(power, exchange.power_w)], axis=1)
    ends = np.cumsum(np.repeat(lengths[:, None, :], layers, axis=1).ravel())
    return Rectangles(np.concatenate([[0.0], ends[:-1]]), ends, np.repeat(levels[:, None, :], layers, axis=1).ravel())


def _pipelined(schedule: Schedule, power: Floats, closed_s: float, pipeline_s: float, w: PhasePower) -> list[Rectangles]:
    """Return every stage's blocks and sends above the power of a bubble, on the time axis of the estimate.

    The closed form of the pipeline is up to some per cent longer or shorter than the explicit schedule. The blocks keep their
    order and proportions and their energy; what they are stretched by draws the power of a bubble. The closed form gives every
    stage the sends of a middle one, and the sends that there are draw the energy of all of these. With block_i the power and t_i
    the time of a block, sums over stages p are then exact:
    sum (block_i t_i) + bubble_w (stretch - 1) sum t_i + (the rest) = p (energy of the blocks, sends and bubble of the estimate).
    """
    stretch = closed_s / schedule.makespan_s
    start, end, sent = (stretch * x for x in (schedule.start_s, schedule.end_s, schedule.end_s + schedule.send_s))
    total_send_s = stretch * float(schedule.send_s.sum())
    above = (power - w.bubble_w) / stretch
    send_above = (w.communication_w - w.bubble_w) * (schedule.stages * pipeline_s / total_send_s if total_send_s > 0.0 else 0.0)
    found = []
    for stage in range(schedule.stages):
        mine = schedule.stage == stage
        found.append(Rectangles(np.concatenate([[0.0], start[mine], end[mine]]),
                                np.concatenate([[closed_s], end[mine], sent[mine]]),
                                np.concatenate([[w.bubble_w], above[mine], np.full(mine.sum(), send_above)])))
    return found


def _with_ending(rows: Rectangles, estimate: StepEstimate, exchange: _Exchange, w: PhasePower) -> Rectangles:
    """Return a stage with what all stages do after their blocks: first they wait for the slowest accelerator."""
    step = estimate.step
    seconds = [estimate.step_time_s - step.time_s, exchange.time_s, step.optimizer_s, step.offload_s]
    ends = rows.end_s.max() + np.cumsum(seconds)
    return Rectangles(np.concatenate([rows.start_s, [rows.end_s.max()], ends[:-1]]), np.concatenate([rows.end_s, ends]),
                      np.concatenate([rows.power_w, [w.stall_w, exchange.power_w, w.memory_w, w.bubble_w]]))


def spectrum(power: Power) -> tuple[Floats, Floats]:
    """Return frequencies (Hz) and amplitudes (W) of the harmonics of a step, up to 20 Hz, 40 at least and 1000 at most."""
    many = int(np.clip(BAND_HZ[1] * power.period_s, _FEWEST_HARMONICS, _MOST_HARMONICS))
    return np.arange(1, many + 1) / power.period_s, amplitudes(power.edges_s, power.power_w, many)


def shape(power: Power) -> Shape:
    """Return a waveform in numbers."""
    mean = power.energy_j / power.period_s
    variance = float(variance_w2(power.edges_s, power.power_w))
    frequency, amplitude = spectrum(power)
    flat = variance <= 1e-18 * mean**2
    largest, inside = int(np.argmax(amplitude)), (frequency >= BAND_HZ[0]) & (frequency <= BAND_HZ[1])
    ramps = tuple(Ramp(window, *steepest(power.edges_s, power.power_w, window, window)) for window in RAMP_WINDOWS_S)
    return Shape(
        mean_w=mean, peak_w=float(power.power_w.max()), trough_w=float(power.power_w.min()), deviation_w=variance**0.5,
        ramps=ramps,
        dominant_hz=0.0 if flat else float(frequency[largest]), dominant_w=0.0 if flat else float(amplitude[largest]),
        band_share=0.0 if flat else float(np.sum(amplitude[inside] ** 2) / 2.0 / variance),
        peak_to_mean=float(moving_average(power.edges_s, power.power_w, SAMPLE_S)[1].max() / mean),
    )


def describe(waveform: Waveform) -> Description:
    """Return one accelerator and the cluster in numbers."""
    return Description(shape(waveform.accelerator), shape(waveform.cluster))

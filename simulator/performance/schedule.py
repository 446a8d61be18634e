"""The explicit schedule of one step: when every stage of a pipeline computes which microbatch.

Each stage follows a fixed order of blocks, as the frameworks do, and starts a block once what it needs has arrived:

- 1F1B: p - 1 - i forward blocks on stage i, then one forward and one backward in turn (Narayanan et al. 2021,
  arXiv:2104.04473, section 2.2.1; Megatron-LM, `schedules.py`).
- Interleaved: v chunks a stage, microbatches in groups of p, 2 (p - 1 - i) + (v - 1) p forward blocks first (section 2.2.2).
- Zero bubble, ZB-H1: the order of 1F1B, gradients of weights apart and i microbatches late on stage i, so that they fill the
  gaps of the end (Qi et al. 2024, arXiv:2401.10241, section 3.1; PyTorch's `ScheduleInterleavedZeroBubble`).

A send that nothing hides holds up the stage that sends. Stages may be uneven: `kernels.pipeline.batch_time_s` is the closed
form of the same schedules and takes every stage as slow as the slowest one in the steady state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.layer import Pass, Passes, head_passes, total_s
from kernels.packs import Layout as LayoutPack
from kernels.pipeline import Stages, microbatch_count, stages_of
from simulator.performance.estimate import Packs, StepEstimate, layout_pack, packs, price
from simulator.scenario import Scenario

FORWARD, BACKWARD, WEIGHT = 0, 1, 2
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Op(NamedTuple):
    """A block in a stage's order."""

    kind: int
    chunk: int
    microbatch: int


@dataclass(frozen=True)
class StageTimes:
    """Seconds of one microbatch, arrays [stage, chunk].

    Attributes
    ----------
    layers : ndarray
        Transformer layers; fractions where a model's layers are spread evenly.
    forward_s, backward_s : ndarray
        Backward includes recomputation and the gradients of weights.
    recompute_s, weight_gradient_s : ndarray
        Parts of `backward_s`.
    transfer_s : float
        One send to the next stage, what nothing hides.
    """

    layers: Floats
    forward_s: Floats
    backward_s: Floats
    recompute_s: Floats
    weight_gradient_s: Floats
    transfer_s: float


@dataclass(frozen=True)
class Schedule:
    """Blocks of one step on every stage, as parallel arrays in each stage's order.

    Attributes
    ----------
    kind : str
        1f1b, interleaved or zero-bubble.
    microbatches : int
        Of one pipeline in a step.
    times : StageTimes
        What the blocks take.
    stage, chunk, microbatch, block : ndarray
        Of each block; `block` is FORWARD, BACKWARD or WEIGHT.
    start_s, end_s : ndarray
        Of each block, s; a send that nothing hides follows its end.
    send_s : ndarray
        That send, s.
    """

    kind: str
    microbatches: int
    times: StageTimes
    stage: Integers
    chunk: Integers
    microbatch: Integers
    block: Integers
    start_s: Floats
    end_s: Floats
    send_s: Floats

    @property
    def stages(self) -> int:
        """Pipeline stages."""
        return self.times.forward_s.shape[0]

    @property
    def chunks(self) -> int:
        """Model chunks per stage."""
        return self.times.forward_s.shape[1]

    @property
    def makespan_s(self) -> float:
        """From the first block's start to the last one's end, s."""
        return float((self.end_s + self.send_s).max())

    @property
    def busy_s(self) -> Floats:
        """Seconds each stage computes or sends, array [stage]."""
        seconds = np.zeros(self.stages)
        np.add.at(seconds, self.stage, self.end_s + self.send_s - self.start_s)
        return seconds

    @property
    def idle_share(self) -> float:
        """Share of the stages' time in which they neither compute nor send."""
        return 1.0 - float(self.busy_s.sum()) / (self.stages * self.makespan_s)


def group_size(microbatches: int, stages: int) -> int:
    """Return microbatches that an interleaved stage passes through a chunk before it turns to the next chunk.

    The stages, or the fewest more that leave no last group smaller than that: Megatron-LM refuses smaller ones, since the
    stages would wait for each other.
    """
    if microbatches <= stages:
        return microbatches
    return next(g for g in range(stages, microbatches + 1) if microbatches % g == 0 or microbatches % g >= stages)


def _interleaved(forward: bool, chunks: int, microbatches: int, group: int) -> Iterator[Op]:
    for first in range(0, microbatches, group):
        for chunk in range(chunks):
            for microbatch in range(first, min(first + group, microbatches)):
                yield Op(FORWARD if forward else BACKWARD, chunk if forward else chunks - 1 - chunk, microbatch)


def stage_order(kind: str, stage: int, stages: int, microbatches: int, chunks: int = 1) -> list[Op]:
    """Return the blocks of one stage in the order in which it computes them.

    Parameters
    ----------
    kind : str
        1f1b, interleaved or zero-bubble.
    stage, stages : int
        Which stage, of how many.
    microbatches, chunks : int
        Microbatches of one pipeline, model chunks per stage (1 unless interleaved).
    """
    if kind == "interleaved":
        group = group_size(microbatches, stages)
        warm_up = 2 * (stages - 1 - stage) + (chunks - 1) * group
    else:
        group, warm_up = microbatches, stages - 1 - stage
    forward = list(_interleaved(True, chunks, microbatches, group))
    backward = list(_interleaved(False, chunks, microbatches, group))
    order = forward[:warm_up]
    late = stage  # microbatches by which gradients of weights follow
    for n, op in enumerate(backward):
        order += [*forward[warm_up + n:warm_up + n + 1], op]
        if kind == "zero-bubble" and n >= late:
            order.append(Op(WEIGHT, 0, n - late))
    if kind == "zero-bubble":
        order += [Op(WEIGHT, 0, n) for n in range(max(0, microbatches - late), microbatches)]
    return order


def build_schedule(kind: str, microbatches: int, times: StageTimes) -> Schedule:
    """Return start and end of every block of a step.

    Parameters
    ----------
    kind : str
        1f1b, interleaved or zero-bubble.
    microbatches : int
        Of one pipeline in a step.
    times : StageTimes
        Seconds of one microbatch on each stage and chunk.
    """
    stages, chunks = times.forward_s.shape
    apart = times.weight_gradient_s if kind == "zero-bubble" else np.zeros_like(times.backward_s)
    seconds = [times.forward_s.tolist(), (times.backward_s - apart).tolist(), apart.tolist()]
    orders = [stage_order(kind, i, stages, microbatches, chunks) for i in range(stages)]
    places, free = [0] * stages, [0.0] * stages
    last = stages * chunks - 1  # chunk c of stage i is the (c x stages + i)-th piece of the model
    arrived: list[list[list[float | None]]] = [[[None] * microbatches for _ in range(last + 1)] for _ in (FORWARD, BACKWARD)]
    arrived[FORWARD][0] = [0.0] * microbatches
    rows: list[tuple[int, int, int, int, float, float, float]] = []
    total = sum(map(len, orders))
    while len(rows) < total:
        before = len(rows)
        for i, order in enumerate(orders):
            while places[i] < len(order):
                kind_of, chunk, microbatch = order[places[i]]
                piece = chunk * stages + i
                ready = 0.0 if kind_of == WEIGHT else arrived[kind_of][piece][microbatch]
                if ready is None:
                    break
                start = max(free[i], ready)
                end = start + seconds[kind_of][i][chunk]
                to = piece + 1 if kind_of == FORWARD else piece - 1
                sends = kind_of != WEIGHT and 0 <= to <= last and stages > 1
                send = times.transfer_s if sends else 0.0
                if kind_of == FORWARD and piece == last:
                    arrived[BACKWARD][last][microbatch] = end
                elif kind_of != WEIGHT and 0 <= to <= last:
                    arrived[kind_of][to][microbatch] = end + send
                free[i] = end + send
                places[i] += 1
                rows.append((i, chunk, microbatch, kind_of, start, end, send))
        if len(rows) == before:
            raise RuntimeError(f"{kind} with {stages} stages, {chunks} chunks, {microbatches} microbatches waits for itself")
    rows.sort(key=lambda row: (row[0], row[4], row[5]))
    stage, chunk_of, microbatch_of, block, start_s, end_s, send_s = (np.array(column) for column in zip(*rows, strict=True))
    return Schedule(kind, microbatches, times, stage, chunk_of, microbatch_of, block, start_s, end_s, send_s)


def chunk_layers(stages: Stages, pipeline: int, chunks: int) -> Floats:
    """Return layers by stage and chunk, array [stage, chunk].

    Chunks are equal; what the end stages hold less is missing where embedding and output matrix are: in the first chunk of
    the first stage and the last chunk of the last (Llama 3, arXiv:2407.21783, section 3.3.2).
    """
    by_stage = np.full(pipeline, stages.middle)
    by_stage[0] = stages.first
    if pipeline > 1:
        by_stage[-1] = stages.last
    found = np.repeat(by_stage[:, None] / chunks, chunks, axis=1)
    full = by_stage.max() / chunks
    for stage, chunk in ((0, 0), (pipeline - 1, chunks - 1)):
        rest = by_stage[stage] - (chunks - 1) * full
        if pipeline > 1 and rest >= 0.0:
            found[stage] = full
            found[stage, chunk] = rest
    return found


def stage_times(priced: Packs, pack: LayoutPack) -> StageTimes:
    """Return seconds of one microbatch by stage and chunk: layers alike, embedding and output matrix on the last piece.

    The sums over stages are those of `kernels.step.step_time`.
    """
    step, _ = price(priced, pack)
    a, d, net, r = priced
    passes = Passes(*head_passes(a, d, net, r, pack))
    layers = chunk_layers(Stages(*stages_of(a.layers, pack)), int(pack.pipeline), int(pack.chunks))

    def spread(mean_s: float, head_s: float) -> Floats:
        found = layers * (mean_s * pack.pipeline - head_s) / a.layers
        found[-1, -1] += head_s
        return found

    kept = r._replace(again_query_key_value=0.0, again_attention=0.0, again_output=0.0, again_ffn_up=0.0, again_ffn_down=0.0,
                      again_pointwise=0.0, input_only=0.0)
    without, _ = price(priced._replace(recipe=kept), pack)
    sends = microbatch_count(r.sequences, pack.data, pack.microbatch) * pack.chunks
    return StageTimes(
        layers=layers,
        forward_s=spread(step.forward_s, total_s(Pass(*passes.forward))),
        backward_s=spread(step.backward_s, total_s(Pass(*passes.backward))),
        recompute_s=spread(max(0.0, step.backward_s - without.backward_s), 0.0),
        weight_gradient_s=spread(step.weight_gradient_s, passes.weight_gradient_s),
        transfer_s=step.pipeline_s / sends / 2.0,
    )


def step_schedule(scenario: Scenario, estimate: StepEstimate) -> Schedule:
    """Return the schedule of one estimate of a scenario."""
    priced = packs(scenario, estimate.batch)
    pack = layout_pack(estimate.layout, scenario.cluster.accelerators, scenario.model.layers)
    microbatches = int(microbatch_count(priced.recipe.sequences, pack.data, pack.microbatch))
    return build_schedule(estimate.layout.schedule, microbatches, stage_times(priced, pack))


def batch_s(schedule: Schedule, estimate: StepEstimate) -> float:
    """Return what the closed form says of the schedule's time, s."""
    step = estimate.step
    return schedule.microbatches * (step.forward_s + step.backward_s) + step.pipeline_s + step.bubble_s

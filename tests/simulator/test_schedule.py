"""The explicit schedule of a step, against closed forms, its own rules and the kernels' estimate."""

from pathlib import Path

import numpy as np
import pytest

from simulator.performance import estimate_steps
from simulator.performance.schedule import (
    BACKWARD,
    FORWARD,
    WEIGHT,
    Schedule,
    StageTimes,
    batch_s,
    build_schedule,
    group_size,
    stage_order,
    step_schedule,
)
from simulator.scenario import load_scenario

ROOT = Path(__file__).parents[2]


def equal(stages: int, chunks: int = 1, forward: float = 1.0, backward: float = 2.0, weight: float = 1.0, send: float = 0.0
          ) -> StageTimes:
    one = np.ones((stages, chunks)) / chunks
    return StageTimes(one, forward * one, backward * one, 0.0 * one, weight * one, send)


def uneven(stages: int, chunks: int = 1, send: float = 0.03) -> StageTimes:
    part = np.random.default_rng(3).uniform(0.5, 1.5, (stages, chunks))
    return StageTimes(part, part, 2.0 * part, 0.0 * part, 0.9 * part, send)


CASES = [("1f1b", 1, 5, 1), ("1f1b", 4, 9, 1), ("1f1b", 8, 3, 1), ("interleaved", 4, 8, 2), ("interleaved", 4, 9, 3),
         ("interleaved", 4, 2, 3), ("interleaved", 2, 7, 4), ("zero-bubble", 4, 9, 1), ("zero-bubble", 8, 3, 1)]


@pytest.mark.parametrize(("stages", "microbatches"), [(1, 4), (2, 2), (4, 8), (8, 3), (16, 100)])
def test_1f1b_takes_microbatches_plus_stages_less_one(stages, microbatches) -> None:
    found = build_schedule("1f1b", microbatches, equal(stages))
    assert found.makespan_s == pytest.approx(3.0 * (microbatches + stages - 1))
    assert found.idle_share == pytest.approx((stages - 1) / (microbatches + stages - 1))


@pytest.mark.parametrize(("stages", "chunks", "microbatches"), [(2, 2, 4), (4, 2, 8), (8, 4, 32), (16, 8, 16), (4, 4, 9)])
def test_interleaving_divides_the_bubble_by_the_chunks(stages, chunks, microbatches) -> None:
    found = build_schedule("interleaved", microbatches, equal(stages, chunks))
    assert found.makespan_s == pytest.approx(3.0 * (microbatches + (stages - 1) / chunks))


@pytest.mark.parametrize(("stages", "chunks", "microbatches"), [(4, 3, 2), (16, 8, 8), (4, 2, 1)])
def test_with_fewer_microbatches_than_stages_the_way_through_all_stages_counts(stages, chunks, microbatches) -> None:
    found = build_schedule("interleaved", microbatches, equal(stages, chunks))
    assert found.makespan_s == pytest.approx(3.0 * (stages + (microbatches - 1) / chunks))


@pytest.mark.parametrize(("stages", "microbatches"), [(2, 2), (4, 4), (8, 32), (16, 100)])
@pytest.mark.parametrize(("backward", "weight"), [(2.0, 1.0), (2.0, 0.6), (3.0, 1.0)])
def test_zb_h1_has_its_published_bubble(stages, microbatches, backward, weight) -> None:
    found = build_schedule("zero-bubble", microbatches, equal(stages, backward=backward, weight=weight))
    bubble = (stages - 1) * (1.0 + backward - 2.0 * weight)
    assert found.makespan_s == pytest.approx(microbatches * (1.0 + backward) + bubble)


def test_the_first_stage_of_1f1b_and_of_interleaving_warms_up_as_megatron_does() -> None:
    assert [op.kind for op in stage_order("1f1b", 0, 4, 8)].index(BACKWARD) == 4
    assert [op.kind for op in stage_order("1f1b", 3, 4, 8)].index(BACKWARD) == 1
    order = stage_order("interleaved", 0, 4, 8, 2)
    assert [op.kind for op in order].index(BACKWARD) == (4 - 1) * 2 + (2 - 1) * 4 + 1
    assert [(op.chunk, op.microbatch) for op in order[:9]] == [(c, m) for c in (0, 1) for m in range(4)] + [(0, 4)]
    assert group_size(120, 16) == 20  # 16 leave a last group of 8, smaller than the pipeline


@pytest.mark.parametrize(("kind", "stages", "microbatches", "chunks"), CASES)
def test_blocks_of_a_stage_never_overlap_and_all_are_there(kind, stages, microbatches, chunks) -> None:
    found = build_schedule(kind, microbatches, uneven(stages, chunks))
    kinds = 3 if kind == "zero-bubble" else 2
    for stage in range(stages):
        mine = found.stage == stage
        assert mine.sum() == kinds * chunks * microbatches
        assert (found.start_s[mine][1:] >= (found.end_s + found.send_s)[mine][:-1] - 1e-12).all()
    done = set(zip(found.stage, found.chunk, found.microbatch, found.block, strict=True))
    assert len(done) == len(found.stage)
    assert found.busy_s.sum() == pytest.approx(np.sum(found.end_s + found.send_s - found.start_s))


def times_of(found: Schedule, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start and arrival by piece of the model and microbatch."""
    mine = found.block == kind
    start = np.full((found.stages * found.chunks, found.microbatches), np.nan)
    arrival = start.copy()
    piece = (found.chunk * found.stages + found.stage)[mine]
    start[piece, found.microbatch[mine]] = found.start_s[mine]
    arrival[piece, found.microbatch[mine]] = (found.end_s + found.send_s)[mine]
    return start, arrival


@pytest.mark.parametrize(("kind", "stages", "microbatches", "chunks"), CASES)
def test_no_block_starts_before_what_it_needs_has_arrived(kind, stages, microbatches, chunks) -> None:
    found = build_schedule(kind, microbatches, uneven(stages, chunks))
    forward, forward_done = times_of(found, FORWARD)
    backward, backward_done = times_of(found, BACKWARD)
    assert (forward[1:] >= forward_done[:-1] - 1e-12).all()
    assert (backward[:-1] >= backward_done[1:] - 1e-12).all()
    assert (backward >= forward_done - 1e-12).all()
    if kind == "zero-bubble":
        weight, _ = times_of(found, WEIGHT)
        assert (weight >= backward_done - 1e-12).all()
    if stages > 1:  # a message takes its time
        assert (forward_done[:-1] - forward[:-1] > found.times.transfer_s).all()


@pytest.mark.parametrize("name", ["llama3-405b", "deepseek-v3", "gpt3-175b", "bloom-176b", "small-8gpu", "opt-175b"])
def test_the_schedule_is_near_the_estimate(name) -> None:
    # The estimate gives both ends of a pipeline the exposed sends of a middle stage, and lets the shorter ends delay nobody.
    scenario = load_scenario(ROOT / f"scenarios/{name}.yaml").central()
    for estimate in estimate_steps(scenario):
        found = step_schedule(scenario, estimate)
        if found.kind == "1f1b" or found.microbatches >= found.stages:
            assert found.makespan_s == pytest.approx(batch_s(found, estimate), rel=0.03)
        mean_s = (found.times.forward_s + found.times.backward_s).sum() / found.stages
        assert mean_s == pytest.approx(estimate.step.forward_s + estimate.step.backward_s)
        assert found.times.layers.sum() == pytest.approx(scenario.model.layers)
        assert (found.times.recompute_s <= found.times.backward_s).all()


def test_fewer_layers_on_the_end_stages_are_missing_beside_embedding_and_head() -> None:
    scenario = load_scenario(ROOT / "scenarios/llama3-405b.yaml").central()
    layers = step_schedule(scenario, estimate_steps(scenario)[-1]).times.layers
    assert layers[0].tolist() == [0.0] + 7 * [1.0]
    assert layers[-1].tolist() == 7 * [1.0] + [0.0]
    assert (layers[1:-1] == 1.0).all()

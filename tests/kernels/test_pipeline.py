from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.pipeline import batch_time_s, largest_stage, microbatch_count, microbatches_in_flight, stages_of
from tests.kernels.kernel_models import layout

Task = tuple[str, int, int, int]  # kind, stage, chunk, microbatch


def one_f_one_b(stage: int, stages: int, microbatches: int) -> list[Task]:
    """Return the order in which a stage works: warm-up forwards, then one forward one backward, then the rest."""
    warm_up = min(stages - 1 - stage, microbatches)
    order = [("F", stage, 0, m) for m in range(warm_up)]
    for m in range(microbatches - warm_up):
        order += [("F", stage, 0, warm_up + m), ("B", stage, 0, m)]
    return order + [("B", stage, 0, m) for m in range(microbatches - warm_up, microbatches)]


def interleaved(stage: int, stages: int, chunks: int, microbatches: int) -> list[Task]:
    """Return Megatron-LM's order: chunks take turns in groups of as many microbatches as there are stages."""
    turns = [(chunk, group * stages + m) for group in range(microbatches // stages) for chunk in range(chunks)
             for m in range(stages)]  # fmt: skip
    forward = [("F", stage, chunk, m) for chunk, m in turns]
    backward = [("B", stage, chunks - 1 - chunk, m) for chunk, m in turns]
    warm_up = min(len(forward), 2 * (stages - 1 - stage) + (chunks - 1) * stages)
    order = forward[:warm_up]
    for f, b in zip(forward[warm_up:], backward, strict=False):
        order += [f, b]
    return order + backward[len(forward) - warm_up :]


def simulate(orders: list[list[Task]], durations: list[tuple[float, float]], chunks: int = 1) -> float:
    """Return the end of the batch: every task starts when its stage is free and what it needs is there."""
    stages = len(orders)
    before = {task: order[i - 1] for order in orders for i, task in enumerate(order) if i}
    end: dict[Task, float] = {}

    def needs(task: Task) -> list[Task]:
        kind, stage, chunk, m = task
        parents = [before[task]] if task in before else []
        if kind == "F" and (stage > 0 or chunk > 0):
            parents.append(("F", stage - 1, chunk, m) if stage > 0 else ("F", stages - 1, chunk - 1, m))
        if kind == "B" and (stage, chunk) == (stages - 1, chunks - 1):
            parents.append(("F", stage, chunk, m))
        elif kind == "B":
            parents.append(("B", stage + 1, chunk, m) if stage < stages - 1 else ("B", 0, chunk + 1, m))
        return parents

    waiting = [task for order in orders for task in order]
    while waiting:
        later = []
        for task in waiting:
            parents = needs(task)
            if all(parent in end for parent in parents):
                start = max((end[parent] for parent in parents), default=0.0)
                end[task] = start + durations[task[1]][task[0] == "B"] / chunks
            else:
                later.append(task)
        assert len(later) < len(waiting), "deadlock"
        waiting = later
    return max(end.values())


def most_held(order: list[Task]) -> int:
    """Return the most microbatches (of a chunk) whose activations a stage holds at once."""
    held = most = 0
    for kind, *_ in order:
        held += 1 if kind == "F" else -1
        most = max(most, held)
    return most


@pytest.mark.parametrize(
    ("stages", "microbatches"),
    [(1, 5), (2, 1), (2, 7), (3, 4), (4, 4), (4, 16), (5, 3), (8, 8), (8, 32), (16, 2), (16, 40)],
)
def test_batch_time_is_that_of_a_simulated_1f1b(stages: int, microbatches: int) -> None:
    orders = [one_f_one_b(s, stages, microbatches) for s in range(stages)]
    expected = simulate(orders, [(1.0, 2.0)] * stages)
    assert batch_time_s(float(microbatches), 1.0, float(stages), 3.0, 3.0 * stages, 0.0, 0.0) == pytest.approx(expected)
    assert microbatches_in_flight(float(microbatches), float(stages), 1.0) == most_held(orders[0])


@pytest.mark.parametrize(
    ("stages", "chunks", "microbatches"), [(2, 2, 4), (2, 4, 6), (4, 2, 8), (4, 3, 12), (8, 2, 16), (8, 4, 8)]
)
def test_batch_time_is_that_of_a_simulated_interleaved_schedule(stages: int, chunks: int, microbatches: int) -> None:
    orders = [interleaved(s, stages, chunks, microbatches) for s in range(stages)]
    expected = simulate(orders, [(1.0, 2.0)] * stages, chunks)
    priced = batch_time_s(float(microbatches), float(chunks), float(stages), 3.0, 3.0 * stages, 0.0, 0.0)
    assert priced == pytest.approx(expected)
    held = microbatches_in_flight(float(microbatches), float(stages), float(chunks))
    assert most_held(orders[0]) / chunks == pytest.approx(held)


@pytest.mark.parametrize("microbatches", [4, 5, 64])
def test_a_slow_last_stage_sets_the_pace_and_the_others_fill_once(microbatches: int) -> None:
    expected = simulate([one_f_one_b(s, 4, microbatches) for s in range(4)], [(1.0, 2.0)] * 3 + [(1.5, 3.0)])
    assert batch_time_s(float(microbatches), 1.0, 4.0, 4.5, 13.5, 0.0, 0.0) == pytest.approx(expected)


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_a_slow_stage_elsewhere_is_priced_no_lower_than_it_is(slow: int) -> None:
    """Stages behind the slowest work while it goes on, so that the kernel's filling is an upper bound there, close to it."""
    durations = [(1.0, 2.0)] * 4
    durations[slow] = (1.5, 3.0)
    expected = simulate([one_f_one_b(s, 4, 64) for s in range(4)], durations)
    priced = batch_time_s(64.0, 1.0, 4.0, 4.5, 13.5, 0.0, 0.0)
    assert 64 * 4.5 <= expected <= priced <= 1.02 * expected


@given(st.integers(1, 512), st.integers(2, 64), st.sampled_from([1, 2, 4, 8]), st.floats(1e-4, 10.0))
def test_interleaving_divides_the_bubble(microbatches: int, stages: int, chunks: int, stage_s: float) -> None:
    work_s = microbatches * stage_s
    plain, split = (
        batch_time_s(float(microbatches), float(v), float(stages), stage_s, stages * stage_s, 0.0, 0.0) - work_s
        for v in (1, chunks)
    )
    assert plain == pytest.approx((stages - 1) * stage_s, abs=1e-9 * work_s)
    assert split == pytest.approx(plain / chunks, abs=1e-9 * work_s)


@given(st.integers(1, 64), st.integers(2, 64), st.floats(0.1, 2.0), st.floats(0.1, 2.0), st.floats(0.0, 2.0))
def test_zero_bubble_fills_with_gradients_of_weights(
    microbatches: int, stages: int, forward_s: float, input_s: float, weight_s: float
) -> None:
    """ZB-H1, arXiv:2401.10241, table 1: (p - 1)(t_f + t_b - t_w), t_b without t_w; never below no bubble at all."""
    stage_s = forward_s + input_s + weight_s
    saved = 2 * (stages - 1) * weight_s
    time_s = batch_time_s(float(microbatches), 1.0, float(stages), stage_s, stages * stage_s, saved, 0.0)
    bubble = max(0.0, (stages - 1) * (forward_s + input_s - weight_s))
    assert time_s == pytest.approx(microbatches * stage_s + bubble)


@given(st.integers(1, 64).map(float), st.integers(2, 16).map(float), st.sampled_from([1.0, 2.0, 4.0]))
def test_every_boundary_is_crossed_by_every_chunk_and_once_more_to_fill(
    microbatches: float, stages: float, chunks: float
) -> None:
    free, paid = (batch_time_s(microbatches, chunks, stages, 1.0, stages, 0.0, t) for t in (0.0, 0.125))
    many, few = max(microbatches, stages), min(microbatches, stages)
    rounds = chunks * many + (few - 1) if chunks > 1.0 else microbatches + (stages - 1)
    assert paid - free == pytest.approx(0.125 * rounds)


@pytest.mark.parametrize(("microbatches", "stages", "chunks"), [(8.0, 16.0, 8.0), (1.0, 4.0, 2.0), (16.0, 16.0, 8.0)])
def test_chunks_wait_where_microbatches_are_fewer_than_stages(microbatches: float, stages: float, chunks: float) -> None:
    """Exact for equal stages: (p + (m - 1) / v) in place of (m + (p - 1) / v), the same where m = p."""
    assert batch_time_s(microbatches, chunks, stages, 1.0, stages, 0.0, 0.0) == pytest.approx(
        stages + (microbatches - 1.0) / chunks)


def test_one_stage_has_neither_bubble_nor_more_than_one_microbatch() -> None:
    assert batch_time_s(7.0, 1.0, 1.0, 2.0, 2.0, 0.0, 0.0) == 14.0
    assert microbatches_in_flight(9.0, 1.0, 1.0) == 1.0


@pytest.mark.parametrize(("sequences", "expected"), [(64.0, 4.0), (65.0, 5.0), (1.0, 1.0), (0.0, 1.0)])
def test_a_remainder_is_a_whole_microbatch(sequences: float, expected: float) -> None:
    assert microbatch_count(sequences, 8.0, 2.0) == expected


def test_llama_405b_has_short_end_stages() -> None:
    """126 layers over 16 stages: 14 stages of 8, first and last of 7 (arXiv:2407.21783, section 3.3.2)."""
    assert stages_of(126.0, layout(pipeline=16.0)) == (7.0, 8.0, 7.0, 14.0, 8.0)
    assert largest_stage(126.0, layout(pipeline=16.0)) == 8.0


def test_end_stages_as_given() -> None:
    assert stages_of(61.0, layout(pipeline=16.0, first_layers=3.0, last_layers=2.0)) == (3.0, 4.0, 2.0, 14.0, 4.0)
    for given_end in ({"first_layers": 3.0}, {"last_layers": 3.0}):  # either follows the other
        assert stages_of(62.0, layout(pipeline=16.0, **given_end)) == (3.0, 4.0, 3.0, 14.0, 4.0)
    assert stages_of(10.0, layout(pipeline=2.0, first_layers=3.0)) == (3.0, 0.0, 7.0, 0.0, 0.0)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 3), st.integers(0, 3))
def test_stages_hold_all_layers_and_the_largest_its_share(layers: int, stages: int, first: int, last: int) -> None:
    lay = layout(pipeline=float(stages), first_layers=float(first), last_layers=float(last))
    if first + last + stages > layers:  # ends are given that leave the middle less than a layer each
        lay = lay._replace(first_layers=0.0, last_layers=0.0)
    s = stages_of(float(layers), lay)
    assert s.first + s.middle * s.middle_stages + s.last == pytest.approx(layers, rel=1e-12)
    assert min(s) >= 0.0
    assert s.middle_stages == max(0, stages - 2)
    # Some stage holds the mean rounded up: pigeonhole.
    assert largest_stage(float(layers), lay) >= max(len(range(s, layers, stages)) for s in range(stages))


@given(st.integers(1, 200), st.integers(2, 64), st.sampled_from([2, 4, 8]))
def test_interleaving_holds_more(microbatches: int, stages: int, chunks: int) -> None:
    held = microbatches_in_flight(float(microbatches), float(stages), float(chunks))
    # Korthikanti et al., section 4.2.3: a factor 1 + (p - 1) / (p v) on p microbatches.
    assert held == pytest.approx(min(microbatches, stages + (stages - 1) / chunks))
    assert held >= microbatches_in_flight(float(microbatches), float(stages), 1.0)

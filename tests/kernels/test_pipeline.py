from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.pipeline import batch_time_s, layers_per_stage, microbatches_in_flight, slowest_stage_s

Task = tuple[str, int, int]  # kind, stage, microbatch


def one_f_one_b(stage: int, stages: int, microbatches: int) -> list[Task]:
    """Return the order in which a stage works: warm-up forwards, then one forward one backward, then the rest."""
    warm_up = min(stages - 1 - stage, microbatches)
    order = [("F", stage, m) for m in range(warm_up)]
    for m in range(microbatches - warm_up):
        order += [("F", stage, warm_up + m), ("B", stage, m)]
    return order + [("B", stage, m) for m in range(microbatches - warm_up, microbatches)]


def simulate(durations: list[tuple[float, float]], microbatches: int) -> tuple[float, int]:
    """Return the end of the batch by the longest path through the task graph, and what stage 0 holds at most."""
    stages = len(durations)
    orders = [one_f_one_b(s, stages, microbatches) for s in range(stages)]
    before = {task: order[i - 1] for order in orders for i, task in enumerate(order) if i}
    end: dict[Task, float] = {}

    def needs(task: Task) -> list[Task]:
        kind, stage, m = task
        parents = [before[task]] if task in before else []
        if kind == "F" and stage > 0:
            parents.append(("F", stage - 1, m))
        if kind == "B":
            parents.append(("B", stage + 1, m) if stage < stages - 1 else ("F", stage, m))
        return parents

    waiting = [task for order in orders for task in order]
    while waiting:
        later = []
        for task in waiting:
            parents = needs(task)
            if all(parent in end for parent in parents):
                start = max((end[parent] for parent in parents), default=0.0)
                end[task] = start + durations[task[1]][task[0] == "B"]
            else:
                later.append(task)
        assert len(later) < len(waiting), "deadlock"
        waiting = later
    held = most = 0
    for kind, _, _ in orders[0]:
        held += 1 if kind == "F" else -1
        most = max(most, held)
    return max(end.values()), most


@pytest.mark.parametrize(
    ("stages", "microbatches"),
    [(1, 5), (2, 1), (2, 7), (3, 4), (4, 4), (4, 16), (5, 3), (8, 8), (8, 32), (16, 2), (16, 40)],
)
def test_batch_time_is_that_of_a_simulated_1f1b(stages: int, microbatches: int) -> None:
    forward_s, backward_s = 1.0, 2.0
    expected, held = simulate([(forward_s, backward_s)] * stages, microbatches)
    assert batch_time_s(float(microbatches), float(stages), 1.0, 3.0, 0.0) == pytest.approx(expected, rel=1e-12)
    assert microbatches_in_flight(float(microbatches), float(stages), 1.0) == held


@pytest.mark.parametrize("slow", [0, 1, 3])
def test_one_slow_stage_sets_the_pace(slow: int) -> None:
    """The kernel prices fill and drain of every stage as the slowest's: an upper bound, tight in a long batch."""
    durations = [(1.0, 2.0)] * 4
    durations[slow] = (1.5, 3.0)
    expected, _ = simulate(durations, 64)
    priced = batch_time_s(64.0, 4.0, 1.0, 4.5, 0.0)
    assert 64 * 4.5 <= expected <= priced <= 1.04 * expected


@given(st.integers(1, 512), st.integers(2, 64), st.sampled_from([1, 2, 4, 8]), st.floats(1e-4, 10.0))
def test_interleaving_divides_the_bubble(microbatches: int, stages: int, chunks: int, stage_s: float) -> None:
    work_s = microbatches * stage_s
    plain = batch_time_s(float(microbatches), float(stages), 1.0, stage_s, 0.0) - work_s
    split = batch_time_s(float(microbatches), float(stages), float(chunks), stage_s, 0.0) - work_s
    assert plain == pytest.approx((stages - 1) * stage_s, abs=1e-9 * work_s)
    assert split == pytest.approx(plain / chunks, abs=1e-9 * work_s)


@given(st.integers(1, 64).map(float), st.integers(2, 16).map(float), st.sampled_from([1.0, 2.0, 4.0]))
def test_transfers(microbatches: float, stages: float, chunks: float) -> None:
    # A microbatch pays a transfer forward and one backward a chunk; fill and drain cross every boundary once each way.
    extra = batch_time_s(microbatches, stages, chunks, 1.0, 0.125) - batch_time_s(microbatches, stages, chunks, 1.0, 0.0)
    assert extra == pytest.approx(0.125 * (2 * chunks * microbatches + 2 * (stages - 1)))


def test_one_stage_has_neither_bubble_nor_transfer() -> None:
    assert batch_time_s(7.0, 1.0, 1.0, 2.0, 99.0) == 14.0
    assert slowest_stage_s(10.0, 1.0, 2.0, 3.0) == 23.0
    assert microbatches_in_flight(9.0, 1.0, 1.0) == 1.0


def test_llama_405b_has_short_end_stages() -> None:
    # 126 layers over 16 stages: 14 stages of 8, first and last of 7, so that embedding and head fit.
    assert layers_per_stage(126.0, 16.0) == 8.0
    assert slowest_stage_s(126.0, 16.0, 1.0, 0.5) == 8.0
    assert slowest_stage_s(126.0, 16.0, 1.0, 1.5) == 8.5


@pytest.mark.parametrize(("layers", "stages"), [(96, 8), (61, 16), (9, 8), (33, 16), (17, 16), (126, 16), (3, 2)])
def test_slowest_stage_holds_at_least_its_share_rounded_up(layers: int, stages: int) -> None:
    """Some stage holds the ceiling of the mean: pigeonhole."""
    assert slowest_stage_s(float(layers), float(stages), 1.0, 0.0) >= max(len(range(s, layers, stages)) for s in range(stages))


@given(st.integers(1, 130), st.integers(1, 32), st.floats(0.0, 5.0))
def test_slowest_stage_is_no_faster_than_the_mean(layers: int, stages: int, head_s: float) -> None:
    mean = (layers + head_s) / stages
    slowest = slowest_stage_s(float(layers), float(stages), 1.0, head_s)
    assert slowest >= mean * (1.0 - 1e-12)
    assert slowest >= head_s
    if layers % stages == 0:
        assert slowest == pytest.approx(layers / stages + head_s)


@given(st.integers(1, 200), st.integers(2, 64), st.sampled_from([2, 4, 8]))
def test_interleaving_holds_more(microbatches: int, stages: int, chunks: int) -> None:
    held = microbatches_in_flight(float(microbatches), float(stages), float(chunks))
    # Korthikanti et al. 4.2.3: a factor 1 + (p - 1) / (p v) on p microbatches.
    assert held == pytest.approx(min(microbatches, stages + (stages - 1) / chunks))
    assert held >= microbatches_in_flight(float(microbatches), float(stages), 1.0)

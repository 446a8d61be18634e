"""Places of nodes: every node is in exactly one, spares leave in constant time, repairers work first come first served."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.nodes import (
    COLD,
    HOT,
    MISSING,
    OUT,
    RETURNS,
    WARM,
    WORKING,
    Nodes,
    fill,
    lose,
    next_return_s,
    remove_spare,
    take_returns,
    tick,
)
from tests.kernels.packs_of_runs import fleet


def assert_consistent(nodes: Nodes, job: int) -> None:
    """Every node is in the one place that its status names, and the counts are the numbers there."""
    n = nodes.status.size
    found: dict[int, list[int]] = {WORKING: np.flatnonzero(nodes.status == WORKING).tolist()}
    for kind in (HOT, WARM, COLD):
        found[kind] = nodes.stack[kind, : nodes.counts[kind]].tolist()
        assert [nodes.place[node] for node in found[kind]] == list(range(len(found[kind])))
    found[OUT] = nodes.return_node[: nodes.counts[RETURNS]].tolist()
    assert sorted(node for members in found.values() for node in members) == list(range(n))
    assert all(nodes.status[node] == kind for kind, members in found.items() for node in members)
    assert len(found[WORKING]) + nodes.counts[MISSING] == job
    assert next_return_s(nodes) == min(nodes.return_s[: nodes.counts[RETURNS]], default=np.inf)


actions = st.lists(st.tuples(st.sampled_from(["lose", "returns", "fill"]), st.integers(0, 30), st.floats(0.0, 50.0),
                             st.floats(0.0, 100.0)), max_size=60)


@given(st.integers(1, 8), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2), actions)
def test_every_node_is_in_exactly_one_place(job, hot, warm, cold, crew, chosen) -> None:
    nodes, now_s = fleet(job, hot, warm, cold, crew), 0.0
    for action, node, later_s, repair_s in chosen:
        now_s += later_s
        if action == "lose":
            was = int(nodes.status[node % nodes.status.size])
            missing = int(nodes.counts[MISSING])
            worked = lose(nodes, node % nodes.status.size, now_s, repair_s)
            assert worked == (was == WORKING)
            assert nodes.counts[MISSING] == missing + (was == WORKING)
            assert nodes.status[node % nodes.status.size] == OUT
        elif action == "returns":
            take_returns(nodes, now_s)
            assert next_return_s(nodes) > now_s
        else:
            fill(nodes, now_s)
            assert nodes.counts[MISSING] == 0 or nodes.counts[HOT : COLD + 1].sum() == 0
        assert_consistent(nodes, job)


@given(st.integers(1, 6), st.integers(0, 5), actions)
def test_idle_spares_are_integrated_as_a_slow_integral_does(job, hot, chosen) -> None:
    """The kernel learns of returns late; the reference lets every node come back at its own time."""
    nodes, now_s = fleet(job, hot), 0.0
    changes: list[tuple[float, int]] = [(0.0, hot)]  # time, change of the number of hot spares
    out: dict[int, float] = {}

    def bring_back() -> None:
        """Let the reference follow what the kernel did: who is back stands by or works since the time it was due."""
        for node in [n for n, due_s in out.items() if due_s <= now_s]:
            due_s = out.pop(node)
            if nodes.status[node] == HOT:
                changes.append((due_s, 1))

    for action, which, later_s, repair_s in chosen:
        now_s += later_s
        node = which % nodes.status.size
        if action == "lose":
            was = nodes.status[node]
            lose(nodes, node, now_s, repair_s)
            if was != OUT:
                out[node] = now_s + repair_s
            if was == HOT:
                changes.append((now_s, -1))
        elif action == "returns":
            take_returns(nodes, now_s)
            bring_back()
        else:
            take_returns(nodes, now_s)
            bring_back()
            before = int(nodes.counts[HOT])
            fill(nodes, now_s)
            changes.append((now_s, int(nodes.counts[HOT]) - before))
    tick(nodes, now_s)
    expected = sum(change * (now_s - at_s) for at_s, change in changes)
    assert nodes.hot_node_s[0] == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 3), st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 60.0)), min_size=1, max_size=30))
def test_a_limited_crew_works_first_come_first_served(crew, jobs) -> None:
    nodes, now_s = fleet(len(jobs), crew=crew), 0.0
    free_s, expected = [0.0] * crew, {}
    for node, (later_s, repair_s) in enumerate(jobs):
        now_s += later_s
        lose(nodes, node, now_s, repair_s)
        start_s = max(now_s, heapq.heappop(free_s))  # the repairer who is free first
        heapq.heappush(free_s, start_s + repair_s)
        expected[node] = start_s + repair_s
    found = dict(zip(nodes.return_node.tolist(), nodes.return_s.tolist(), strict=True))
    assert found == pytest.approx(expected)


def test_without_a_limit_all_repairs_begin_at_once() -> None:
    nodes = fleet(3)
    for node in range(3):
        lose(nodes, node, 10.0, 5.0 + node)
    assert sorted(nodes.return_s.tolist()) == [15.0, 16.0, 17.0]


@pytest.mark.parametrize("leaving", range(5))
def test_a_spare_leaves_its_stack_and_the_last_takes_its_place(leaving: int) -> None:
    """Constant time: at most one other node is moved."""
    nodes = fleet(1, hot=5)
    before = nodes.stack[HOT].copy()
    remove_spare(nodes, 1 + leaving)
    assert (nodes.stack[HOT, :4] != before[:4]).sum() <= 1
    assert sorted(nodes.stack[HOT, :4].tolist()) == [n for n in range(1, 6) if n != 1 + leaving]


def test_the_readiest_spares_go_first_and_the_slowest_used_is_told() -> None:
    nodes = fleet(4, hot=1, warm=1, cold=1)
    assert fill(nodes, 0.0) == 0
    lose(nodes, 0, 1.0, 100.0)
    assert fill(nodes, 1.0) == HOT
    lose(nodes, 1, 2.0, 100.0)
    lose(nodes, 2, 2.0, 100.0)
    assert fill(nodes, 2.0) == COLD
    assert nodes.counts[:4].tolist() == [0, 0, 0, 0]
    lose(nodes, 3, 3.0, 100.0)
    assert fill(nodes, 3.0) == 0
    assert nodes.counts[MISSING] == 1


def test_a_node_that_comes_back_works_where_one_is_missing_and_else_stands_by() -> None:
    nodes = fleet(2, hot=1)
    for node, repair_s in ((0, 10.0), (1, 20.0)):
        lose(nodes, node, 0.0, repair_s)
    fill(nodes, 0.0)
    take_returns(nodes, 15.0)
    assert nodes.status.tolist() == [WORKING, OUT, WORKING]
    take_returns(nodes, 25.0)
    assert nodes.status.tolist() == [WORKING, HOT, WORKING]


def test_a_node_already_out_stays_as_it_is() -> None:
    nodes = fleet(2)
    assert lose(nodes, 0, 0.0, 10.0)
    assert not lose(nodes, 0, 5.0, 100.0)
    assert nodes.counts[MISSING] == 1
    assert next_return_s(nodes) == 10.0

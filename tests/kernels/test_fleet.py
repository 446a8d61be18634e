"""Kernels of a fleet against a slow twin that steps every iteration, against queueing theory, and what they conserve."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.fleet import advance, fail, iterations_s, iterations_until, settle
from kernels.serving_packs import DONE, PROMPTS, REJECTED, TOKENS, WHOLE, Costs, Replicas, Requests, new_replicas, new_requests
from tests.kernels.slow_fleet import Replica, requests_of, serve


def costs(pools: int = 1, rows: int = 400, **changes: Any) -> Costs:
    """Return costs of equal pools: 10 ms and 50 us a row, a little for context and prompts."""
    n = np.arange(rows + 1.0)
    plain = {
        "rows_s": 0.01 + 50e-6 * n, "rows_j": 5.0 + 0.1 * n, "sampled_s": 1e-5 * n, "sampled_j": 1e-3 * n,
        "context_s": 1e-6, "context_j": 1e-4, "window": 1e18, "window_share": 0.0, "key_s": 1e-8, "key_j": 1e-6,
        "limit_w": 1e12, "tokens": 1.0, "draft_rows": 1.0, "capacity": 1e9, "kept": 0.0, "most": 8, "chunk": 64.0,
        "role": WHOLE, "weight": 1.0, "longest": 1e9, "transfer_s": 0.0, "beginnings": np.zeros(0), "affinity": -1.0, **changes}
    alone = ("longest", "transfer_s", "beginnings", "affinity")

    def array(name: str, value: Any) -> Any:
        if name in alone:
            return value
        value = np.asarray(value)
        if name in ("rows_s", "rows_j", "sampled_s", "sampled_j"):
            return np.tile(value, (pools, 1))
        return np.resize(value, pools) if name in ("most", "role") else np.resize(value.astype(float), pools)

    return Costs(**{name: array(name, value) for name, value in plain.items()})


def fleet(pools: list[int], c: Costs, tiers: int = 1) -> Replicas:
    return new_replicas(np.array(pools), np.ones((len(pools), tiers)), int(c.most.max()), max(1, c.beginnings.size))


def drawn(n: int, rate: float, seed: int, *, tiers: int = 1, groups: int = 0) -> Requests:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n) if groups else np.full(n, -1)
    return new_requests(np.cumsum(rng.exponential(1.0 / rate, n)), rng.integers(1, 120, n), rng.integers(1, 60, n),
                        rng.integers(0, tiers, n), group)


def slow(c: Costs, q: Requests, pools: list[int], tiers: int, most_queued: float) -> tuple[list[Any], list[Replica]]:
    found = requests_of([q.arrival_s, q.prompt, q.output, q.tier, q.group])
    replicas = [Replica(pool, [deque() for _ in range(tiers)]) for pool in pools]
    serve(c, found, replicas, most_queued)
    return found, replicas


cases = st.fixed_dictionaries({
    "rate": st.sampled_from([1.0, 8.0, 30.0, 100.0]), "seed": st.integers(0, 10**6), "tiers": st.integers(1, 3),
    "shape": st.sampled_from([[0], [0, 0, 0], "split"]), "capacity": st.sampled_from([200.0, 400.0, 1e9]),
    "tokens": st.sampled_from([1.0, 2.5]), "groups": st.sampled_from([0, 5]), "affinity": st.sampled_from([-1.0, 0.0, 3.0]),
    "queue": st.sampled_from([2.0, math.inf]), "chunk": st.sampled_from([4.0, 64.0])})


def case_of(case: dict[str, Any]) -> tuple[Costs, Requests, list[int]]:
    split = case["shape"] == "split"
    beginnings = np.array([10.0, 20.0, 30.0, 40.0, 50.0]) if case["groups"] else np.zeros(0)
    tokens = case["tokens"]
    c = costs(2 if split else 1, tokens=[tokens, 1.0], draft_rows=[4.0 if tokens > 1.0 else 1.0, 1.0],
              role=[TOKENS, PROMPTS] if split else [WHOLE], capacity=case["capacity"], chunk=case["chunk"], transfer_s=1.234e-5,
              longest=case["capacity"], beginnings=beginnings, affinity=case["affinity"],
              kept=([0.0, 70.0] if split else [70.0]) if case["groups"] else 0.0)
    return c, drawn(60, case["rate"], case["seed"], tiers=case["tiers"], groups=case["groups"]), \
        [0, 0, 1] if split else case["shape"]


@settings(max_examples=60, deadline=None)
@given(cases)
def test_a_twin_that_steps_every_iteration_ends_requests_at_the_same_times(case):
    c, q, pools = case_of(case)
    expected, replicas = slow(c, q, pools, case["tiers"], case["queue"])
    r = fleet(pools, c, case["tiers"])
    advance(c, q, r, 0, math.inf, case["queue"])
    assert ((q.state == REJECTED) == [x.refused for x in expected]).all()
    np.testing.assert_allclose(q.end_s, [x.end_s for x in expected], rtol=1e-9)
    np.testing.assert_allclose(q.first_s, [x.first_s for x in expected], rtol=1e-9)
    assert (q.evictions == [x.evictions for x in expected]).all()
    np.testing.assert_allclose(r.busy_s, [x.busy_s for x in replicas], rtol=1e-9)
    np.testing.assert_allclose(r.dynamic_j, [x.dynamic_j for x in replicas], rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases, st.lists(st.floats(0.0, 30.0), max_size=4))
def test_tokens_time_and_requests_are_conserved_through_failures_and_evictions(case, strikes):
    c, q, pools = case_of(case)
    r = fleet(pools, c, case["tiers"])
    following = 0
    for i, at_s in enumerate(sorted(strikes)):
        following = advance(c, q, r, following, at_s, case["queue"])
        fail(c, q, r, i % len(pools), at_s)
        r.up[i % len(pools)] = 1
    advance(c, q, r, following, math.inf, case["queue"])
    assert np.isin(q.state, (DONE, REJECTED)).all()
    done = q.state == DONE
    np.testing.assert_allclose(q.made[done], q.output[done])
    np.testing.assert_allclose(r.made.sum(), q.made.sum())
    np.testing.assert_allclose(r.worked.sum(), q.worked.sum())
    np.testing.assert_allclose(r.busy_s.sum(), q.used_s.sum(), atol=1e-9)
    np.testing.assert_allclose(r.batch_s.sum(), q.inside_s.sum(), atol=1e-7)  # Little's law of the batches
    assert np.abs(r.held).max() < 1e-6
    assert np.abs(r.context).max() < 1e-6
    assert r.worked.sum() + r.found.sum() >= q.prompt[done].sum() - 1e-9
    once = done & (q.evictions == 0) & (q.group < 0)
    assert (q.worked[once] == q.prompt[once]).all()


@settings(max_examples=30, deadline=None)
@given(cases, st.floats(0.1, 20.0))
def test_looking_at_a_fleet_changes_nothing(case, at_s):
    ends = []
    for looks in (False, True):
        c, q, pools = case_of(case)
        r = fleet(pools, c, case["tiers"])
        following = advance(c, q, r, 0, at_s, case["queue"])
        if looks:
            settle(c, q, r, at_s)
            assert (r.clock_s[r.kind == 1] > at_s - 1.0).all()  # booked up to the iteration that runs
        advance(c, q, r, following, math.inf, case["queue"])
        ends.append(q.end_s)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-9)


@given(st.floats(1e-4, 1.0), st.floats(0.0, 1e-2), st.floats(0.0, 1e4))
def test_iterations_until_a_time_are_the_fewest_that_reach_it(first_s, growth_s, span_s):
    n = iterations_until(first_s, growth_s, span_s)
    assert n == 1.0 or iterations_s(first_s, growth_s, n) >= span_s * (1.0 - 1e-12)
    assert n == 1.0 or iterations_s(first_s, growth_s, n - 1.0) < span_s


def test_a_full_replica_serves_the_first_tier_first():
    c = costs(most=2)
    n = 40
    q = new_requests(np.linspace(0.0, 0.1, n), np.full(n, 10), np.full(n, 50), np.arange(n) % 2, np.full(n, -1))
    advance(c, q, fleet([0], c, 2), 0, math.inf, math.inf)
    assert np.nanmax(q.first_s[(q.tier == 0) & (np.arange(n) > 3)]) < np.nanmin(q.first_s[(q.tier == 1) & (np.arange(n) > 3)])


def test_a_beginning_that_is_kept_is_not_computed_again():
    c = costs(kept=100.0, beginnings=np.array([50.0, 80.0]))
    q = new_requests(np.array([0.0, 10.0, 20.0, 30.0]), np.full(4, 90), np.full(4, 2), np.zeros(4), np.array([0, 0, 1, 0]))
    r = fleet([0], c)
    advance(c, q, r, 0, math.inf, math.inf)
    assert q.shared.tolist() == [0.0, 50.0, 0.0, 0.0]  # 80 tokens drive out 50
    assert q.worked.tolist() == [90.0, 40.0, 90.0, 90.0]
    assert r.stored[0] == 50.0


def _mean_stay_s(arrival_s: np.ndarray, output: np.ndarray, servers: int, token_s: float) -> tuple[float, float]:
    """Return the mean time in the system and its standard error, from 20 batches; each request is a number of equal steps."""
    n = arrival_s.size
    rows = np.full(servers + 20, token_s)
    c = costs(rows=servers + 19, rows_s=rows, sampled_s=0.0 * rows, sampled_j=0.0 * rows, rows_j=rows, context_s=0.0,
              context_j=0.0, key_s=0.0, key_j=0.0, most=servers, chunk=servers + 10.0)
    q = new_requests(arrival_s, np.ones(n), output, np.zeros(n), np.full(n, -1))
    advance(c, q, fleet([0], c), 0, math.inf, math.inf)
    batches = (q.end_s - q.arrival_s)[n // 10:].reshape(20, -1).mean(axis=1)
    return float(batches.mean()), float(batches.std(ddof=1) / math.sqrt(20))


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_slot_is_an_m_m_1_queue(load):
    rng = np.random.default_rng(3)
    output = np.maximum(1.0, np.round(rng.exponential(2000.0, 200_000)))
    arrival_s = np.cumsum(rng.exponential(1.0, 200_000))
    mean, error = _mean_stay_s(arrival_s, output, 1, load / 2000.0)
    assert abs(mean - load / (1.0 - load)) < 4.0 * error + 2e-3


@pytest.mark.parametrize("servers", [2, 8])
def test_slots_with_equal_iterations_are_an_m_m_c_queue(servers):
    rng = np.random.default_rng(4)
    load = 0.8 * servers  # erlangs, service of 1 s
    output = np.maximum(1.0, np.round(rng.exponential(2000.0, 200_000)))
    arrival_s = np.cumsum(rng.exponential(1.0 / load, 200_000))
    mean, error = _mean_stay_s(arrival_s, output, servers, 1.0 / 2000.0)
    top = load**servers / math.factorial(servers) * servers / (servers - load)
    waits = top / (sum(load**k / math.factorial(k) for k in range(servers)) + top)  # Erlang's C
    assert abs(mean - (1.0 + waits / (servers - load))) < 4.0 * error + 2e-3


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
def test_one_slot_with_any_lengths_is_an_m_g_1_queue(sigma):
    rng = np.random.default_rng(5)
    output = np.maximum(1.0, np.round(2000.0 * np.exp(sigma * rng.standard_normal(200_000) - 0.5 * sigma**2)))
    arrival_s = np.cumsum(rng.exponential(1.0, 200_000))
    token_s = 0.7 / 2000.0
    mean, error = _mean_stay_s(arrival_s, output, 1, token_s)
    service_s = output * token_s
    waits_s = np.mean(service_s**2) / (2.0 * (1.0 - service_s.mean()))  # Pollaczek and Khinchine
    assert abs(mean - service_s.mean() - waits_s) < 4.0 * error + 5e-3

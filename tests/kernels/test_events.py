"""What an event does: which node it falls on, what it takes along, what follows, and what it never touches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kernels.events import (
    FLAP,
    HARDWARE,
    LATENCY,
    PREEMPTION,
    REPAIR,
    SOFTWARE,
    STORAGE,
    Hazards,
    draw_for,
    happen,
    next_event_s,
    replacement_law,
    start_clocks,
)
from kernels.nodes import HOT, MISSING, OUT, RETURNS, WORKING, Nodes
from tests.kernels.packs_of_runs import RECOVERY, component, fleet, hazards, luck

LAW_REPAIR, LAW_QUARANTINE = 7, 8


def events(h: Hazards, nodes: Nodes, until_s: float, seed: int = 1) -> list[tuple[float, int, int]]:
    """Let everything happen until a time: when, component (-1: the job was not touched), working nodes lost."""
    chance, found = luck(seed), []
    start_clocks(h, chance.when)
    while (now_s := next_event_s(h)) <= until_s:
        strike = happen(h, nodes, chance, now_s)
        found.append((now_s, strike.component, strike.lost_nodes))
        while nodes.counts[MISSING] > 0:  # all nodes are whole again before anything else happens
            node = int(np.flatnonzero(nodes.status == OUT)[0])
            nodes.status[node] = WORKING
            nodes.counts[MISSING] -= 1
        nodes.counts[RETURNS] = 0
    return found


def test_events_come_in_order_and_each_component_at_its_rate() -> None:
    h = hazards([component(SOFTWARE, 1e-3), component(SOFTWARE, 3e-3), component(SOFTWARE, 0.0)])
    found = events(h, fleet(8), 1e6)
    assert [t for t, *_ in found] == sorted(t for t, *_ in found)
    counts = np.bincount([c for _, c, _ in found], minlength=3)
    assert counts[:2] == pytest.approx([1000, 3000], abs=4 * math.sqrt(3000))
    assert counts[2] == 0


def test_superposed_components_are_one_poisson_process() -> None:
    found = events(hazards([component(SOFTWARE, 1e-3), component(FLAP, 3e-3)]), fleet(8), 1e6)
    assert stats.kstest(np.diff([t for t, *_ in found]), stats.expon(scale=250.0).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("kind", "share"), [(SOFTWARE, 0.75), (FLAP, 0.75), (HARDWARE, 0.75), (STORAGE, 1.0)])
def test_what_falls_on_spares_does_not_touch_the_job(kind, share) -> None:
    """Six nodes of eight work. Storage has no node."""
    h = hazards([component(kind, 1e-2)])
    touched = []
    for seed in range(2000):
        nodes = fleet(6, hot=2)
        chance = luck(seed)
        start_clocks(h, chance.when)
        touched.append(happen(h, nodes, chance, next_event_s(h)).component >= 0)
    assert np.mean(touched) == pytest.approx(share, abs=4 * math.sqrt(0.25 / 2000) * (share < 1))


def test_a_switch_takes_its_whole_domain_and_counts_who_worked() -> None:
    """Nodes 0 to 9 work, 10 and 11 stand by: the domain of 8 to 11 has two of each."""
    h = hazards([component(HARDWARE, 1e-2, blast=4.0)])
    seen = set()
    for seed in range(60):
        nodes, chance = fleet(10, hot=2), luck(seed)
        start_clocks(h, chance.when)
        strike = happen(h, nodes, chance, next_event_s(h))
        out = tuple(np.flatnonzero(nodes.status == OUT).tolist())
        seen.add((out, strike.lost_nodes))
    assert seen == {((0, 1, 2, 3), 4), ((4, 5, 6, 7), 4), ((8, 9, 10, 11), 2)}


def test_a_preempted_node_leaves_like_a_failed_one() -> None:
    nodes, chance, h = fleet(2), luck(1), hazards([component(PREEMPTION, 1.0)])
    start_clocks(h, chance.when)
    strike = happen(h, nodes, chance, next_event_s(h))
    assert (strike.kind, strike.lost_nodes, nodes.counts[MISSING]) == (PREEMPTION, 1, 1)


# Bursts.


@pytest.mark.parametrize("mean", [0.5, 2.0])
def test_followers_of_a_burst_are_geometric_in_number_with_the_stated_mean(mean: float) -> None:
    h = hazards([component(SOFTWARE, 1.0, burst=mean, spread_s=1.0, domain=4.0)])
    sizes = []
    for seed in range(3000):
        chance = luck(seed)
        h.follow_count[0] = 0
        start_clocks(h, chance.when)
        happen(h, fleet(8), chance, next_event_s(h))
        sizes.append(int(h.follow_count[0]))
    assert np.mean(sizes) == pytest.approx(mean, abs=4 * math.sqrt(mean * (1 + mean) / 3000))
    assert np.var(sizes) == pytest.approx(mean * (1 + mean), rel=0.15)


def test_followers_fall_in_the_same_domain_after_the_stated_delay_and_start_no_bursts() -> None:
    h = hazards([component(SOFTWARE, 1.0, burst=3.0, spread_s=60.0, domain=4.0)])
    delays = []
    for seed in range(1000):
        chance, nodes = luck(seed), fleet(10)
        h.follow_count[0] = 0
        start_clocks(h, chance.when)
        now_s = next_event_s(h)
        happen(h, nodes, chance, now_s)
        followers = h.follow_node[: h.follow_count[0]] // h.next_s.size
        assert len({node // 4 for node in followers.tolist()}) <= 1
        assert all(0 <= node < 10 for node in followers)
        delays += (h.follow_s[: h.follow_count[0]] - now_s).tolist()
        h.next_s[0] = np.inf
        before = int(h.follow_count[0])
        for left in range(before, 0, -1):
            assert h.follow_count[0] == left
            happen(h, nodes, chance, next_event_s(h))
        assert next_event_s(h) == np.inf
    assert stats.kstest(delays, stats.expon(scale=60.0).cdf).pvalue > 1e-3


# Frailty and quarantine.


def test_nodes_fail_in_proportion_to_their_frailty() -> None:
    frailty = np.array([1.0, 1.0, 2.0, 4.0])
    h = hazards([component(HARDWARE, 1e-3)], frailty=frailty)
    nodes = fleet(4)
    found = events(h, nodes, 8e6)
    counts = nodes.failures
    assert counts.sum() == len(found)
    assert stats.chisquare(counts, frailty / frailty.sum() * counts.sum()).pvalue > 1e-3


def test_a_node_that_failed_too_often_is_replaced_and_then_fails_like_any_other() -> None:
    """The lemon has 2.5 times the mean rate; once it is cured it is thinned to the mean."""
    frailty = np.array([1.0, 1.0, 1.0, 1.0, 4.0])
    h = hazards([component(HARDWARE, 1e-3)], frailty=frailty, quarantine_after=3.0)
    nodes = fleet(5)
    nodes.cured[4] = 1
    found = events(h, nodes, 4e6)
    hits = sum(lost for _, _, lost in found)
    # Rate 1e-3 in all; the lemon's half is thinned by its frailty of 2.5 to a fifth.
    assert hits == pytest.approx(4e6 * 1e-3 * (0.5 + 0.5 / 2.5), abs=4 * math.sqrt(2800))


def test_the_third_failure_sends_a_node_away_for_good() -> None:
    h = hazards([component(HARDWARE, 1.0)], quarantine_after=3.0)
    nodes, chance = fleet(1), luck(1)
    start_clocks(h, chance.when)
    away = []
    for _ in range(6):
        now_s = next_event_s(h)
        happen(h, nodes, chance, now_s)
        away.append(float(nodes.return_s[0]) - now_s)
        h.next_s[0] = nodes.return_s[0] + 1.0  # fails again as soon as it is back
    repair_s, quarantine_s = RECOVERY[LAW_REPAIR], RECOVERY[LAW_QUARANTINE]
    assert away == pytest.approx([repair_s, repair_s, quarantine_s] * 2)
    assert nodes.cured[0] == 1


def test_a_spare_that_came_back_may_fail_again() -> None:
    """Also while the job runs on and nobody has asked for it."""
    h = hazards([component(HARDWARE, 1.0)])
    nodes, chance = fleet(1), luck(1)
    start_clocks(h, chance.when)
    happen(h, nodes, chance, 0.0)
    nodes.counts[MISSING] = 0  # somebody else has taken its place
    happen(h, nodes, chance, RECOVERY[LAW_REPAIR] + 1.0)
    assert nodes.status[0] == OUT
    assert nodes.return_s[0] == pytest.approx(2 * RECOVERY[LAW_REPAIR] + 1.0)


# Laws.


def test_a_component_has_its_own_law_or_the_profiles() -> None:
    h = hazards([component(HARDWARE, 1.0), component(HARDWARE, 1.0)], own={(1, REPAIR): 77.0})
    rng = np.random.default_rng(1)
    assert [draw_for(h, c, REPAIR, LAW_REPAIR, rng) for c in (0, 1)] == [RECOVERY[LAW_REPAIR], 77.0]
    assert draw_for(h, 1, LATENCY, 0, rng) == RECOVERY[0]


def test_replacement_is_as_slow_as_the_slowest_spare_used() -> None:
    assert [RECOVERY[replacement_law(kind)] for kind in (0, HOT, 2, 3)] == [10.0, 10.0, 20.0, 40.0]

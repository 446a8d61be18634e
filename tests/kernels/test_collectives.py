from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.collectives import (
    Network,
    all_reduce_time_s,
    all_to_all_time_s,
    gather_time_s,
    members_inside,
    send_time_s,
)
from tests.kernels.kernel_models import NETWORK

powers = st.integers(0, 12).map(lambda e: float(2**e))
small_powers = st.integers(0, 4).map(lambda e: float(2**e))
volumes = st.floats(1.0, 1e11)
gains = st.floats(1.0, 20.0)
networks = st.builds(
    Network,
    domain=st.sampled_from([1.0, 4.0, 8.0, 64.0]),
    scale_up_bytes_per_s=st.floats(1e10, 1e12),
    scale_up_latency_s=st.floats(0.0, 1e-5),
    nic_bytes_per_s=st.floats(1e9, 1e11),
    nic_latency_s=st.floats(0.0, 1e-4),
    pod=st.sampled_from([64.0, 256.0, 1e9]),
    oversubscription=st.floats(1.0, 16.0),
)


def place(size: float, stride: float, net: Network) -> tuple[list[int], list[int]]:
    """Return the domain and the pod of each member, by its rank."""
    ranks = [int(i * stride) for i in range(int(size))]
    return [r // int(net.domain) for r in ranks], [r // int(net.pod) for r in ranks]


def reference_gather(volume: float, size: float, stride: float, net: Network) -> float:
    """Count what a member receives, link by link, in rings inside domains and rings across them."""
    domains, pods = place(size, stride, net)
    inside = domains.count(domains[0])
    across = len(set(domains))
    shard = volume / size
    # Inside: everything but what the member's own rail brings. Its rail brings one shard from each other domain.
    own_rail = across * shard
    up_s = (volume - own_rail) / net.scale_up_bytes_per_s
    latency = (inside - 1) * net.scale_up_latency_s
    out_s = 0.0
    if across > 1:
        slow = 1.0
        if len(set(pods)) > 1:
            domains_in_pod = len({d for d, p in zip(domains, pods, strict=True) if p == 0})
            # Of the members of a rail in a pod one sends up: its uplink is 1 / ratio, shared out among all of them.
            slow = max(1.0, net.oversubscription / domains_in_pod)
        out_s = (own_rail - shard) / net.nic_bytes_per_s * slow
        latency += (across - 1) * net.nic_latency_s
    return max(up_s, out_s) + latency


def reference_all_to_all(sent: float, size: float, stride: float, net: Network) -> float:
    domains, pods = place(size, stride, net)
    piece = sent / size
    up = nic = core = 0.0
    for domain, pod in list(zip(domains, pods, strict=True))[1:]:
        if domain == domains[0]:
            up += piece
        else:
            nic += piece
        if pod != pods[0]:
            core += piece
    latency = net.scale_up_latency_s + (net.nic_latency_s if nic else 0.0)
    slowest = max(nic, core * net.oversubscription) / net.nic_bytes_per_s
    return max(up / net.scale_up_bytes_per_s, slowest) + latency


@given(volumes, powers, small_powers, networks)
def test_gather_reference(volume: float, size: float, stride: float, net: Network) -> None:
    if size > 1.0:
        expected = reference_gather(volume, size, stride, net)
        assert gather_time_s(volume, size, stride, net) == pytest.approx(expected, rel=1e-9)


@given(volumes, powers, small_powers, networks)
def test_all_to_all_reference(volume: float, size: float, stride: float, net: Network) -> None:
    if size > 1.0:
        expected = reference_all_to_all(volume, size, stride, net)
        assert all_to_all_time_s(volume, size, stride, net) == pytest.approx(expected, rel=1e-9)


@given(volumes, small_powers, networks)
def test_nothing_to_do_is_free(volume: float, stride: float, net: Network) -> None:
    for collective in (gather_time_s, all_reduce_time_s, all_to_all_time_s):
        assert collective(volume, 1.0, stride, net) == 0.0
        assert collective(0.0, 8.0, stride, net) == 0.0


@pytest.mark.parametrize(("size", "expected"), [(8.0, 7 / 8), (4.0, 3 / 4), (2.0, 1 / 2)])
def test_one_domain_is_a_plain_ring(size: float, expected: float) -> None:
    net = NETWORK._replace(nic_bytes_per_s=1e-3, nic_latency_s=1e9, oversubscription=1e9)
    ring = expected * 1e9 / net.scale_up_bytes_per_s + (size - 1.0) * net.scale_up_latency_s
    assert gather_time_s(1e9, size, 1.0, net) == pytest.approx(ring)


def test_hand_computed_two_level_gather() -> None:
    # 32 members, 4 domains of 8, 1 GB: NICs carry 3/4 of an eighth of a GB each; links 7/8 of a GB.
    net = NETWORK._replace(scale_up_bytes_per_s=1e12)
    latency = 7 * 3e-6 + 3 * 8e-6
    assert gather_time_s(1e9, 32.0, 1.0, net) == pytest.approx(0.75 * 1e9 / 8 / 45e9 + latency)
    assert gather_time_s(1e9, 32.0, 1.0, NETWORK) == pytest.approx(0.875 * 1e9 / 360e9 + latency)


def test_stride_of_a_domain_leaves_only_nics() -> None:
    net = NETWORK._replace(scale_up_bytes_per_s=1e-3, scale_up_latency_s=1e9)
    assert gather_time_s(1e9, 16.0, 8.0, net) == pytest.approx(15 / 16 * 1e9 / 45e9 + 15 * 8e-6)


@given(volumes, powers, small_powers, networks)
def test_without_oversubscription_pods_do_not_matter(volume: float, size: float, stride: float, net: Network) -> None:
    flat = net._replace(oversubscription=1.0)
    for collective in (gather_time_s, all_to_all_time_s):
        one_pod = collective(volume, size, stride, flat._replace(pod=1e12))
        assert collective(volume, size, stride, flat) == pytest.approx(one_pod, rel=1e-12)
        assert collective(volume, size, stride, net) >= one_pod * (1.0 - 1e-12)


@given(volumes, st.integers(1, 5000).map(float), small_powers, networks, gains)
def test_monotone(volume: float, size: float, stride: float, net: Network, gain: float) -> None:
    better = [
        net._replace(scale_up_bytes_per_s=net.scale_up_bytes_per_s * gain),
        net._replace(nic_bytes_per_s=net.nic_bytes_per_s * gain),
        net._replace(scale_up_latency_s=net.scale_up_latency_s / gain),
        net._replace(nic_latency_s=net.nic_latency_s / gain),
        net._replace(oversubscription=max(1.0, net.oversubscription / gain)),
    ]
    for collective in (gather_time_s, all_reduce_time_s, all_to_all_time_s):
        base = collective(volume, size, stride, net)
        assert all(collective(volume, size, stride, other) <= base for other in better)
        assert collective(volume * gain, size, stride, net) >= base
    ladder = [gather_time_s(volume, n, stride, net) for n in (size, size + 1.0, size * 2.0)]
    assert ladder[0] <= ladder[1] * (1.0 + 1e-12)
    assert ladder[0] <= ladder[2] * (1.0 + 1e-12)


@given(volumes, st.integers(1, 5000).map(float), small_powers, networks)
def test_all_reduce_is_a_reduce_scatter_and_an_all_gather(
    volume: float, size: float, stride: float, net: Network
) -> None:
    halves = gather_time_s(volume, size, stride, net) + gather_time_s(volume, size, stride, net)
    assert all_reduce_time_s(volume, size, stride, net) == halves


@given(st.integers(1, 300).map(float), st.integers(1, 64).map(float), st.sampled_from([1.0, 8.0, 72.0, 256.0]))
def test_members_inside(size: float, stride: float, reach: float) -> None:
    ranks = [i * stride for i in range(int(size))]
    together = sum(r + stride <= reach for r in ranks)
    assert members_inside(size, stride, reach) == max(1, together)


def test_send_by_distance() -> None:
    fast = 1e9 / 360e9 + 3e-6
    assert send_time_s(1e9, 7.0, NETWORK) == pytest.approx(fast)
    assert send_time_s(1e9, 8.0, NETWORK) == pytest.approx(1e9 / 45e9 + 8e-6)
    assert send_time_s(1e9, 256.0, NETWORK) == pytest.approx(7 * 1e9 / 45e9 + 8e-6)


def test_exchange_of_two_in_different_pods_is_a_send_of_half() -> None:
    net = NETWORK._replace(scale_up_latency_s=0.0)
    assert all_to_all_time_s(1e9, 2.0, 256.0, net) == pytest.approx(send_time_s(0.5e9, 256.0, net))

from __future__ import annotations

from itertools import pairwise, product
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.collectives import (
    IN_NETWORK_RATE,
    all_reduce_time_s,
    all_to_all_time_s,
    gather_time_s,
    leaves_domain,
    members_inside,
    scale_up_rate,
    send_time_s,
)
from kernels.packs import Network
from tests.kernels.kernel_models import BANDWIDTHS, LATENCIES, NETWORK, flags

powers = st.integers(0, 12).map(lambda e: float(2**e))
small_powers = st.integers(0, 4).map(lambda e: float(2**e))
volumes = st.floats(1.0, 1e11)
gains = st.floats(1.0, 20.0)
switched = st.builds(
    Network, domain=st.sampled_from([1.0, 4.0, 8.0, 64.0]), scale_up_bytes_per_s=st.floats(1e10, 1e12),
    scale_up_latency_s=st.floats(0.0, 1e-5), torus=st.just(0.0), scale_up_reduces=flags, nic_bytes_per_s=st.floats(1e9, 1e11),
    nic_latency_s=st.floats(0.0, 1e-4), nic_reduces=flags, rails=flags, leaf=st.sampled_from([64.0, 128.0]),
    leaf_oversubscription=st.floats(1.0, 4.0), pod=st.sampled_from([256.0, 1024.0, 1e9]),
    oversubscription=st.floats(1.0, 16.0),
)  # fmt: skip
tori = st.builds(lambda net, domain, torus: net._replace(domain=domain, torus=torus), switched,
                 st.sampled_from([64.0, 256.0, 4096.0]), st.sampled_from([2.0, 3.0]))
networks = st.one_of(switched, tori)
FREE = NETWORK._replace(scale_up_latency_s=0.0, nic_latency_s=0.0, leaf_oversubscription=1.0, oversubscription=1.0)
NVL72 = NETWORK._replace(domain=72.0, leaf=1152.0, pod=1152.0)


def groups_of(size: float, stride: float, reach: float) -> list[int]:
    """Return the group (of `reach` ranks) of each member, by its rank."""
    return [int(i * stride) // int(reach) for i in range(int(size))]


def slow_ring(volume: float, size: float, stride: float, net: Network) -> float:
    """Return the time of an all-gather: what each link of a member carries, and a hop for every other member."""
    domains, leaves, pods = (groups_of(size, stride, reach) for reach in (net.domain, net.leaf, net.pod))
    inside, across = domains.count(domains[0]), len(set(domains))
    slow = 1.0
    for switches, ratio in ((leaves, net.leaf_oversubscription), (pods, net.oversubscription)):
        if len(set(switches)) > 1:
            # Of the rings through the domains below one switch each leaves it once: its uplinks are shared by all of them.
            below = len({d for d, s in zip(domains, switches, strict=True) if s == switches[0]})
            slow = max(slow, ratio / below)
    passed_on = volume * (len(domains) - 1) / len(domains)  # everything but its own share passes each member once
    links_s = passed_on / net.scale_up_bytes_per_s if inside > 1 else 0.0
    nics_s = passed_on / inside / net.nic_bytes_per_s * slow if across > 1 else 0.0
    hops = [a == b for a, b in pairwise(domains)]
    return max(links_s, nics_s) + sum(net.scale_up_latency_s if near else net.nic_latency_s for near in hops)


def slow_all_to_all(sent: float, size: float, stride: float, net: Network) -> float:
    """Return the time in which a member sends a piece to every other one, over the links in between."""
    domains, leaves, pods = (groups_of(size, stride, reach) for reach in (net.domain, net.leaf, net.pod))
    piece = sent / size
    near = nic = leaf = pod = 0.0
    for i in range(1, int(size)):
        elsewhere = int(i * stride) % int(net.domain) != 0  # another place in its node than the sender's
        near += piece * (domains[i] == domains[0] or (net.rails > 0.0 and elsewhere))
        nic += piece * (domains[i] != domains[0])
        leaf += piece * (leaves[i] != leaves[0])
        pod += piece * (pods[i] != pods[0])
    slowest = max(nic, leaf * net.leaf_oversubscription, pod * net.oversubscription) / net.nic_bytes_per_s
    return max(near / net.scale_up_bytes_per_s, slowest) + net.scale_up_latency_s + (net.nic_latency_s if nic else 0.0)


@given(volumes, powers, small_powers, switched)
def test_gather_is_a_ring(volume: float, size: float, stride: float, net: Network) -> None:
    if size > 1.0:
        assert gather_time_s(volume, size, stride, net) == pytest.approx(slow_ring(volume, size, stride, net), rel=1e-9)


@given(volumes, powers, small_powers, switched)
def test_all_to_all_is_a_piece_for_every_member(volume: float, size: float, stride: float, net: Network) -> None:
    if size > 1.0:
        expected = slow_all_to_all(volume, size, stride, net)
        assert all_to_all_time_s(volume, volume, size, stride, net) == pytest.approx(expected, rel=1e-9)


@given(volumes, small_powers, networks)
def test_alone_or_with_nothing_to_say_is_free(volume: float, stride: float, net: Network) -> None:
    for size, sent in ((1.0, volume), (8.0, 0.0)):
        assert gather_time_s(sent, size, stride, net) == 0.0
        assert all_reduce_time_s(sent, size, stride, net) == 0.0
        assert all_to_all_time_s(sent, sent, size, stride, net) == 0.0


@pytest.mark.parametrize(("size", "share"), [(8.0, 7 / 8), (4.0, 3 / 4), (2.0, 1 / 2)])
def test_one_domain_is_a_plain_ring(size: float, share: float) -> None:
    net = NETWORK._replace(nic_bytes_per_s=1e-3, nic_latency_s=1e9, oversubscription=1e9)
    ring = share * 1e9 / net.scale_up_bytes_per_s + (size - 1.0) * net.scale_up_latency_s
    assert gather_time_s(1e9, size, 1.0, net) == pytest.approx(ring)


def test_a_ring_over_nodes_by_hand() -> None:
    # 32 members, 4 domains of 8, 1 GB: links carry 31/32 of a GB, NICs an eighth of that.
    net = NETWORK._replace(scale_up_bytes_per_s=1e12)
    latency = 4 * 7 * 3e-6 + 3 * 8e-6
    assert gather_time_s(1e9, 32.0, 1.0, net) == pytest.approx(31 / 32 * 1e9 / 8 / 45e9 + latency)
    assert gather_time_s(1e9, 32.0, 1.0, NETWORK) == pytest.approx(31 / 32 * 1e9 / 360e9 + latency)


def test_a_stride_of_a_domain_leaves_only_nics() -> None:
    net = NETWORK._replace(scale_up_bytes_per_s=1e-3, scale_up_latency_s=1e9)
    assert gather_time_s(1e9, 16.0, 8.0, net) == pytest.approx(15 / 16 * 1e9 / 45e9 + 15 * 8e-6)
    assert leaves_domain(16.0, 8.0, net)
    assert not leaves_domain(8.0, 1.0, net)


def test_a_rack_of_72_is_one_domain() -> None:
    """Groups of 64 in an NVL72 never touch a NIC; in nodes of 8 they do."""
    slow = NVL72._replace(nic_bytes_per_s=1.0, nic_latency_s=1.0)
    nodes = NETWORK._replace(nic_bytes_per_s=25e9)
    for collective in (gather_time_s, all_reduce_time_s):
        assert collective(1e9, 64.0, 1.0, slow) == collective(1e9, 64.0, 1.0, NVL72) < collective(1e9, 64.0, 1.0, nodes)
        assert collective(1e9, 72.0, 1.0, slow) == collective(1e9, 72.0, 1.0, NVL72)
        assert collective(1e9, 144.0, 1.0, slow) > 1e6 * collective(1e9, 144.0, 1.0, NVL72)
    assert all_to_all_time_s(1e9, 1e9, 72.0, 1.0, slow) == pytest.approx(71 / 72 * 1e9 / 360e9 + 3e-6)
    assert members_inside(64.0, 8.0, 72.0) == 9.0


@pytest.mark.parametrize("size", [2.0, 8.0])
def test_large_all_reduces_are_rings(size: float) -> None:
    expected = 2 * (size - 1) / size * 1e11 / 360e9
    assert all_reduce_time_s(1e11, size, 1.0, FREE) == pytest.approx(expected)
    assert all_reduce_time_s(1e11, size, 1.0, FREE) == 2.0 * gather_time_s(1e11, size, 1.0, FREE)


@pytest.mark.parametrize("size", [64.0, 1024.0])
def test_small_all_reduces_are_trees(size: float) -> None:
    """Twice the depth of a binary tree: three levels of links in a node of 8, the rest through NICs."""
    hops = 2 * (3 * 3e-6 + log2(size / 8) * 8e-6)
    assert all_reduce_time_s(1.0, size, 1.0, NETWORK) == pytest.approx(hops, rel=1e-6)
    assert all_reduce_time_s(1.0, size, 1.0, NETWORK) < 2.0 * gather_time_s(1.0, size, 1.0, NETWORK)


@pytest.mark.parametrize("size", [4.0, 8.0])
def test_switches_that_reduce_see_the_buffer_once(size: float) -> None:
    """NVLink SHARP: a member sends its buffer up once, where a ring sends 2 (n - 1) / n of it, at three quarters of the rate."""
    plain, reducing = (all_reduce_time_s(1e11, size, 1.0, FREE._replace(scale_up_reduces=x)) for x in (0.0, 1.0))
    assert reducing == pytest.approx(1e11 / 360e9 / IN_NETWORK_RATE)
    assert plain / reducing == pytest.approx(2 * (size - 1) / size * IN_NETWORK_RATE)


def test_two_members_need_no_switch_to_reduce() -> None:
    assert all_reduce_time_s(1e11, 2.0, 1.0, FREE._replace(scale_up_reduces=1.0)) == all_reduce_time_s(1e11, 2.0, 1.0, FREE)


def test_a_network_that_reduces_halves_what_nics_carry_at_three_quarters_of_the_rate() -> None:
    fast = FREE._replace(scale_up_bytes_per_s=1e15)
    plain, reducing = (all_reduce_time_s(1e11, 4096.0, 1.0, fast._replace(nic_reduces=x)) for x in (0.0, 1.0))
    assert reducing == pytest.approx(1e11 / 8 / 45e9 / IN_NETWORK_RATE)
    assert plain / reducing == pytest.approx(2.0 * IN_NETWORK_RATE, rel=2e-3)


@given(volumes, powers, small_powers, networks)
def test_an_all_reduce_is_no_slower_than_a_scatter_and_a_gather(
    volume: float, size: float, stride: float, net: Network
) -> None:
    once = all_reduce_time_s(volume, size, stride, net)
    assert once <= 2.0 * gather_time_s(volume, size, stride, net)
    for reduces in ("scale_up_reduces", "nic_reduces"):
        assert all_reduce_time_s(volume, size, stride, net._replace(**{reduces: 1.0})) <= once


@pytest.mark.parametrize(("torus", "sides"), [(2.0, (16, 256)), (3.0, (16, 256, 4096))])
def test_a_ring_in_a_torus_has_the_links_of_the_axes_it_spans(torus: float, sides: tuple[int, ...]) -> None:
    net = FREE._replace(domain=float(sides[-1]), torus=torus, nic_bytes_per_s=1e-3)
    for axes, size in enumerate(sides, start=1):
        assert scale_up_rate(float(size), net) == pytest.approx(360e9 * axes / torus)
        expected = (size - 1) / size * 1e9 / (360e9 * axes / torus)
        assert gather_time_s(1e9, float(size), 1.0, net) == pytest.approx(expected)


@pytest.mark.parametrize(("torus", "side", "axes"), [(2, 16, 1), (2, 16, 2), (3, 4, 1), (3, 4, 2), (3, 4, 3), (3, 16, 2)])
def test_an_all_to_all_in_a_torus_travels_its_mean_distance(torus: int, side: int, axes: int) -> None:
    """Count the links between one member and all others, and share the traffic among the links of the axes they span."""
    members = list(product(range(side), repeat=axes))
    hops = sum(sum(min(x, side - x) for x in place) for place in members)
    net = FREE._replace(domain=float(side**torus), torus=float(torus))
    expected = 1e9 / len(members) * hops / (360e9 * axes / torus)
    assert all_to_all_time_s(1e9, 1e9, float(len(members)), 1.0, net) == pytest.approx(expected)


def test_a_neighbour_in_a_torus_is_one_link_away() -> None:
    net = FREE._replace(domain=4096.0, torus=3.0)
    assert send_time_s(1e9, 16.0, net) == pytest.approx(1e9 / (360e9 / 6))


def test_oversubscribed_leaves_and_pods_by_hand() -> None:
    """1 GB to 32 nodes of 8: rings meet 8 nodes below a leaf and 16 in a pod; an all-to-all has no such luck."""
    net = FREE._replace(leaf=64.0, leaf_oversubscription=2.0, pod=128.0, oversubscription=20.0, scale_up_bytes_per_s=1e15)
    ring = 255 / 256 * 1e9 / 8 / 45e9
    assert gather_time_s(1e9, 256.0, 1.0, net) == pytest.approx(ring * 20 / 16)
    assert gather_time_s(1e9, 256.0, 1.0, net._replace(oversubscription=16.0)) == pytest.approx(ring)
    # One member a node: every member below a leaf sends to 192 of 256 others outside, over half the bandwidth.
    assert all_to_all_time_s(1e9, 1e9, 256.0, 1.0, net._replace(oversubscription=1.0)) == pytest.approx(
        1e9 * max(248, 2 * 192) / 256 / 45e9)
    assert all_to_all_time_s(1e9, 1e9, 256.0, 1.0, net) == pytest.approx(1e9 * 20 * 128 / 256 / 45e9)
    # A group whose members sit in one leaf each pays the leaf's whole ratio.
    assert gather_time_s(1e9, 2.0, 64.0, net) == pytest.approx(0.5e9 / 45e9 * 2)


@given(volumes, powers, small_powers, networks)
def test_without_oversubscription_leaves_and_pods_do_not_matter(
    volume: float, size: float, stride: float, net: Network
) -> None:
    flat = net._replace(leaf_oversubscription=1.0, oversubscription=1.0)
    for collective in (gather_time_s, all_reduce_time_s, lambda v, *rest: all_to_all_time_s(v, v, *rest)):
        one = collective(volume, size, stride, flat._replace(leaf=1e12, pod=1e12))
        assert collective(volume, size, stride, flat) == pytest.approx(one, rel=1e-12)
        assert collective(volume, size, stride, net) >= one * (1.0 - 1e-12)


def test_a_domain_wider_than_a_leaf_sends_inside_over_its_links() -> None:
    wide = FREE._replace(domain=256.0, leaf=64.0, pod=64.0, leaf_oversubscription=2.0)
    one = all_to_all_time_s(1e9, 1e9, 512.0, 1.0, wide)
    assert one == pytest.approx(1e9 * 2 * 256 / 512 / 45e9)


def test_bytes_for_few_nodes_leave_the_node_once() -> None:
    """DeepSeek-V3: 8 experts on at most 4 nodes halve what NICs carry; links spread it at the other end."""
    net = FREE._replace(scale_up_bytes_per_s=450e9)
    every, few = (all_to_all_time_s(1e9, once, 64.0, 1.0, net) for once in (1e9, 0.5e9))
    assert every == pytest.approx(1e9 * 56 / 64 / 45e9)
    assert few == pytest.approx(every / 2)
    # Where links are slow, spreading is what takes long.
    slow = net._replace(scale_up_bytes_per_s=10e9)
    assert all_to_all_time_s(1e9, 0.5e9, 64.0, 1.0, slow) == pytest.approx((1e9 * 7 / 64 + 0.5e9 * 56 / 64) / 10e9)


@given(volumes, powers, small_powers, switched, st.floats(0.0, 1.0))
def test_sending_once_never_loads_nics_more(volume: float, size: float, stride: float, net: Network, share: float) -> None:
    net = net._replace(scale_up_bytes_per_s=1e18)
    limited = all_to_all_time_s(volume, share * volume, size, stride, net)
    assert limited <= all_to_all_time_s(volume, volume, size, stride, net) * (1.0 + 1e-9)


@given(volumes, st.integers(1, 5000).map(float), small_powers, networks, gains, st.floats(0.0, 1.0))
def test_better_networks_are_never_slower(
    volume: float, size: float, stride: float, net: Network, gain: float, share: float
) -> None:
    better = [net._replace(**{name: getattr(net, name) * gain}) for name in BANDWIDTHS]
    better += [net._replace(**{name: getattr(net, name) / gain}) for name in LATENCIES]
    better += [net._replace(**{name: max(1.0, getattr(net, name) / gain)})
               for name in ("leaf_oversubscription", "oversubscription")]  # fmt: skip
    for collective in (gather_time_s, all_reduce_time_s, lambda v, *rest: all_to_all_time_s(v, share * v, *rest)):
        base = collective(volume, size, stride, net)
        assert all(collective(volume, size, stride, other) <= base for other in better)
        assert collective(volume * gain, size, stride, net) >= base
    for distance in (1.0, size):
        base = send_time_s(volume, distance, net)
        assert all(send_time_s(volume, distance, other) <= base for other in better)


@given(volumes, st.integers(1, 5000).map(float), small_powers, switched)
def test_more_members_are_never_faster(volume: float, size: float, stride: float, net: Network) -> None:
    ladder = [gather_time_s(volume, n, stride, net) for n in (size, size + 1.0, size * 2.0)]
    assert ladder[0] <= ladder[1] * (1.0 + 1e-12)
    assert ladder[0] <= ladder[2] * (1.0 + 1e-12)


@given(st.integers(1, 300).map(float), st.integers(1, 64).map(float), st.sampled_from([1.0, 8.0, 72.0, 256.0]))
def test_members_inside(size: float, stride: float, reach: float) -> None:
    ranks = [i * stride for i in range(int(size))]
    assert members_inside(size, stride, reach) == max(1, sum(r + stride <= reach for r in ranks))


def test_sends_by_distance() -> None:
    net = NETWORK._replace(leaf_oversubscription=2.0)
    assert send_time_s(1e9, 7.0, net) == pytest.approx(1e9 / 360e9 + 3e-6)
    assert send_time_s(1e9, 8.0, net) == pytest.approx(1e9 / 45e9 + 8e-6)
    assert send_time_s(1e9, 64.0, net) == pytest.approx(2 * 1e9 / 45e9 + 8e-6)
    assert send_time_s(1e9, 256.0, net) == pytest.approx(7 * 1e9 / 45e9 + 8e-6)


def test_an_exchange_of_two_in_different_pods_is_a_send_of_half() -> None:
    net = NETWORK._replace(scale_up_latency_s=0.0)
    assert all_to_all_time_s(1e9, 1e9, 2.0, 256.0, net) == pytest.approx(send_time_s(0.5e9, 256.0, net))


def test_rails_take_what_goes_to_another_place_over_the_scale_up_links_first() -> None:
    """16 members in two nodes of 8: 7 of 8 bytes for the other node change place, and pass a link before the NIC."""
    net = FREE._replace(nic_bytes_per_s=1e15)
    plain, rails = (all_to_all_time_s(1e9, 1e9, 16.0, 1.0, net._replace(rails=x)) for x in (0.0, 1.0))
    assert plain == pytest.approx(7 / 16 * 1e9 / 360e9)
    assert rails == pytest.approx((7 / 16 + 8 / 16 * 7 / 8) * 1e9 / 360e9)
    assert gather_time_s(1e9, 16.0, 1.0, net._replace(rails=1.0)) == gather_time_s(1e9, 16.0, 1.0, net)

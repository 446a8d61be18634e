"""Time of collectives over a two-level network: a scale-up domain, and NICs into a scale-out fabric.

Alpha-beta model (Hockney 1994; Thakur, Rabenseifner, Gropp 2005) of ring algorithms. Groups are described by their size
and their stride, the distance in ranks between neighbouring members: members within one scale-up domain use the
scale-up links, the rest their own NICs (rail-optimised: one NIC an accelerator).
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel


class Network(NamedTuple):
    """Both levels as collectives see them: bandwidths are what a large collective reaches."""

    domain: float  # accelerators in a scale-up domain
    scale_up_bytes_per_s: float
    scale_up_latency_s: float
    nic_bytes_per_s: float
    nic_latency_s: float
    pod: float  # accelerators within which there is no oversubscription
    oversubscription: float


@kernel
def members_inside(size: float, stride: float, reach: float) -> float:
    """Return how many neighbouring members of a group lie within `reach` ranks of each other, at least 1."""
    return max(1.0, min(size, reach // stride))


@kernel
def gather_time_s(buffer_bytes: float, size: float, stride: float, net: Network) -> float:
    """Return the time of an all-gather to (or a reduce-scatter from) `buffer_bytes` on each member, seconds.

    Rings through domain and NICs run at the same time, so the slower level sets the pace. Where a group spans pods, the
    rings cross the oversubscribed layer once a pod: it is felt only where a pod holds fewer members than the ratio.
    """
    if size <= 1.0 or buffer_bytes <= 0.0:
        return 0.0
    inside = members_inside(size, stride, net.domain)
    groups = size / inside
    time_s = (inside - 1.0) / inside * buffer_bytes / net.scale_up_bytes_per_s
    latency_s = (inside - 1.0) * net.scale_up_latency_s
    if groups > 1.0:
        crossing = 1.0
        if size * stride > net.pod:
            crossing = max(1.0, net.oversubscription / members_inside(groups, stride * inside, net.pod))
        outside_s = (groups - 1.0) / groups * buffer_bytes / inside / net.nic_bytes_per_s * crossing
        time_s = max(time_s, outside_s)
        latency_s += (groups - 1.0) * net.nic_latency_s
    return time_s + latency_s


@kernel
def all_reduce_time_s(buffer_bytes: float, size: float, stride: float, net: Network) -> float:
    """Return the time of an all-reduce: a reduce-scatter and an all-gather, seconds."""
    return 2.0 * gather_time_s(buffer_bytes, size, stride, net)


@kernel
def all_to_all_time_s(sent_bytes: float, size: float, stride: float, net: Network) -> float:
    """Return the time in which each member sends `sent_bytes`, spread evenly over all members, seconds."""
    if size <= 1.0 or sent_bytes <= 0.0:
        return 0.0
    inside = members_inside(size, stride, net.domain)
    time_s = sent_bytes * (inside - 1.0) / size / net.scale_up_bytes_per_s
    latency_s = net.scale_up_latency_s
    if size > inside:
        outside = size - inside  # members reached through the NIC
        if size * stride > net.pod:
            outside = max(outside, net.oversubscription * (size - members_inside(size, stride, net.pod)))
        time_s = max(time_s, sent_bytes * outside / size / net.nic_bytes_per_s)
        latency_s += net.nic_latency_s
    return time_s + latency_s


@kernel
def send_time_s(message_bytes: float, distance: float, net: Network) -> float:
    """Return the time to send a message to the rank `distance` away, seconds."""
    if distance < net.domain:
        return message_bytes / net.scale_up_bytes_per_s + net.scale_up_latency_s
    crossing = net.oversubscription if distance >= net.pod else 1.0
    return message_bytes / net.nic_bytes_per_s * crossing + net.nic_latency_s

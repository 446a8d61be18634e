"""Time of collectives over a hierarchy: scale-up domain (switched or a torus), leaf, pod, and what lies above.

Alpha-beta model (Hockney 1994; Thakur, Rabenseifner, Gropp 2005) of ring and tree algorithms. Groups are described by their
size and their stride, the distance in ranks between neighbouring members: members within one scale-up domain use the
scale-up links, the rest their own NICs.
"""

from __future__ import annotations

import math

from kernels._jit import kernel
from kernels.packs import Network

# What switches that reduce keep of the rate of rings: NCCL reports some 480 GB/s of bus bandwidth for all-reduce on 8 H100 with
# NVLink SHARP and 370 with rings (FROM MEMORY), 274 and 211 GB/s of buffer, where the count of bytes alone says 360.
IN_NETWORK_RATE = 0.75


@kernel
def members_inside(size: float, stride: float, reach: float) -> float:
    """Return how many neighbouring members of a group lie within `reach` ranks of each other, at least 1."""
    return max(1.0, min(size, reach // stride))


@kernel
def leaves_domain(size: float, stride: float, net: Network) -> bool:
    """Return whether a group uses its NICs."""
    return size > members_inside(size, stride, net.domain)


@kernel
def _torus_axes(inside: float, net: Network) -> float:
    """Return the torus dimensions over which neighbours of one domain are spread (one where they fit along a side)."""
    side = max(2.0, net.domain ** (1.0 / net.torus))
    return min(net.torus, max(1.0, math.ceil(math.log(inside) / math.log(side) - 1e-9)))


@kernel
def scale_up_rate(inside: float, net: Network) -> float:
    """Return the bytes/s an accelerator's ring sends inside the domain: in a torus over the links of the axes it spans.

    Source: Jouppi et al., "TPU v4", arXiv:2304.01433, section 2: each axis is a ring of links in both directions.
    """
    if net.torus <= 0.0 or inside <= 1.0:
        return net.scale_up_bytes_per_s
    return net.scale_up_bytes_per_s * _torus_axes(inside, net) / net.torus


@kernel
def crossing(size: float, stride: float, inside: float, net: Network) -> float:
    """Return by how much oversubscription slows the ring of a group, at least 1.

    A ring leaves a leaf (or pod) once for all its members there, so it feels oversubscription only where a leaf holds fewer
    members than the ratio.
    """
    groups, step = size / inside, stride * inside
    slow = 1.0
    if size * stride > net.leaf:
        slow = max(slow, net.leaf_oversubscription / members_inside(groups, step, net.leaf))
    if size * stride > net.pod:
        slow = max(slow, net.oversubscription / members_inside(groups, step, net.pod))
    return slow


@kernel
def gather_time_s(buffer_bytes: float, size: float, stride: float, net: Network) -> float:
    """Return the time of an all-gather to (or a reduce-scatter from) `buffer_bytes` on each member, seconds.

    Flat rings (NCCL): all but a member's own share goes round, the slower of scale-up links and NICs sets the pace, and each
    member is one hop. Inside a node as many rings run as there are NICs, each through its own.
    """
    if size <= 1.0 or buffer_bytes <= 0.0:
        return 0.0
    inside = members_inside(size, stride, net.domain)
    groups = size / inside
    moved = (size - 1.0) / size * buffer_bytes
    time_s = moved / scale_up_rate(inside, net) if inside > 1.0 else 0.0
    latency_s = groups * (inside - 1.0) * net.scale_up_latency_s
    if groups > 1.0:
        time_s = max(time_s, moved / inside / net.nic_bytes_per_s * crossing(size, stride, inside, net))
        latency_s += (groups - 1.0) * net.nic_latency_s
    return time_s + latency_s


@kernel
def all_reduce_time_s(buffer_bytes: float, size: float, stride: float, net: Network) -> float:
    """Return the time of an all-reduce, seconds: the faster of a ring, a tree, and a reduction in the switches.

    A tree sends the buffer up and down in about 2 log2(size) hops (Sanders, Speck, Traeff 2009: two trees use the full
    bandwidth). Switches that reduce receive the buffer once and send the sum once, at the same time, at `IN_NETWORK_RATE`.
    """
    if size <= 1.0 or buffer_bytes <= 0.0:
        return 0.0
    ring_s = 2.0 * gather_time_s(buffer_bytes, size, stride, net)
    inside = members_inside(size, stride, net.domain)
    groups = size / inside
    rate = scale_up_rate(inside, net)
    once = 1.0 / IN_NETWORK_RATE
    up_s = buffer_bytes / rate * (once if net.scale_up_reduces > 0.0 else 2.0) if inside > 1.0 else 0.0
    out_s, hops_s = 0.0, 2.0 * math.log2(inside) * net.scale_up_latency_s
    if groups > 1.0:
        out_s = (once if net.nic_reduces > 0.0 else 2.0) * buffer_bytes / inside / net.nic_bytes_per_s
        out_s *= crossing(size, stride, inside, net)
        hops_s += 2.0 * math.log2(groups) * net.nic_latency_s
    return min(ring_s, max(up_s, out_s) + hops_s)


@kernel
def all_to_all_time_s(sent_bytes: float, once_bytes: float, size: float, stride: float, net: Network) -> float:
    """Return the time in which each member sends `sent_bytes`, spread evenly over all members, seconds.

    `once_bytes` is what must leave the node where bytes for several members of another node travel once and are spread there
    over the scale-up links (DeepSeek-V3, arXiv:2412.19437, section 3.2.2); equal to `sent_bytes` where nothing is shared.
    On rails what goes to another place in another node first crosses the scale-up links to that place (NCCL's PXN, FROM
    MEMORY). In a torus a byte travels a quarter of each axis on average.
    """
    if size <= 1.0 or sent_bytes <= 0.0:
        return 0.0
    inside = members_inside(size, stride, net.domain)
    time_s = sent_bytes * (inside - 1.0) / size / net.scale_up_bytes_per_s
    if net.torus > 0.0 and inside > 1.0:
        axes = _torus_axes(inside, net)
        time_s = max(time_s, sent_bytes * inside / size * inside ** (1.0 / axes) * net.torus / 4.0 / net.scale_up_bytes_per_s)
    latency_s = net.scale_up_latency_s
    if size > inside:
        outside = size - inside  # members reached through the NIC
        slow = outside
        if size * stride > net.leaf:
            slow = max(slow, net.leaf_oversubscription * (size - members_inside(size, stride, max(net.leaf, net.domain))))
        if size * stride > net.pod:
            slow = max(slow, net.oversubscription * (size - members_inside(size, stride, max(net.pod, net.domain))))
        spread = sent_bytes - once_bytes + net.rails * once_bytes * (inside - 1.0) / inside
        time_s = max(time_s + spread * outside / size / net.scale_up_bytes_per_s,
                     once_bytes * slow / size / net.nic_bytes_per_s)
        latency_s += net.nic_latency_s
    return time_s + latency_s


@kernel
def send_time_s(message_bytes: float, distance: float, net: Network) -> float:
    """Return the time to send a message to the rank `distance` away, seconds."""
    if distance < net.domain:
        links = 2.0 * net.torus if net.torus > 0.0 else 1.0  # a neighbour in a torus is one link away
        return message_bytes * links / net.scale_up_bytes_per_s + net.scale_up_latency_s
    slow = 1.0
    if distance >= net.leaf:
        slow = net.leaf_oversubscription
    if distance >= net.pod:
        slow = max(slow, net.oversubscription)
    return message_bytes / net.nic_bytes_per_s * slow + net.nic_latency_s

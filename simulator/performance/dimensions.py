"""What each parallel dimension of a step costs: seconds that nothing hides, bytes sent, and how busy its link is."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.collectives import leaves_domain, members_inside
from kernels.packs import Layout as LayoutPack
from kernels.packs import Network
from simulator.performance.estimate import Packs, StepEstimate, layout_pack, packs
from simulator.scenario import Scenario


@dataclass(frozen=True)
class Dimension:
    """One parallel dimension of one step, seen from one accelerator.

    Attributes
    ----------
    name : str
        tensor, context, expert, pipeline or data.
    ranks : int
        Accelerators in a group.
    exposed_s : float
        Seconds of the step that its exchanges add.
    sent_bytes : float
        Sent by one accelerator in a step.
    link : str
        The narrowest link its groups cross: scale-up or network.
    link_share : float
        Share of the step in which that link is busy with its bytes, at the rate a large exchange reaches.
    """

    name: str
    ranks: int
    exposed_s: float
    sent_bytes: float
    link: str
    link_share: float


def _network_share(name: str, size: float, stride: float, priced: Packs, pack: LayoutPack) -> float:
    """Return which part of the bytes of a group leaves the node through an accelerator's own network port.

    Rings of a node enter and leave it once for all its members; of an all-to-all goes out what is for other nodes, and once
    for all experts there where tokens go to few nodes (see `kernels.collectives`).
    """
    inside = members_inside(size, stride, priced.network.domain)
    if name == "pipeline":
        return 1.0
    if name == "expert" or (name == "context" and pack.context_method >= 2.0):
        once = 1.0
        if name == "expert" and pack.expert_nodes > 0.0:
            once = min(1.0, pack.expert_nodes / priced.architecture.experts_per_token)
        return once * (size - inside) / (size - 1.0)
    return 1.0 / inside


def _groups(pack: LayoutPack, net: Network) -> dict[str, tuple[float, float, bool]]:
    """Return ranks of a group, the distance between neighbours in it, and whether it leaves the node, by dimension."""
    replica = pack.tensor * pack.context
    stage = replica * pack.data
    groups = {"tensor": (pack.tensor, 1.0), "context": (pack.context, pack.tensor), "expert": (pack.expert, 1.0),
              "data": (pack.data * pack.context, pack.tensor)}
    found = {name: (size, stride, bool(leaves_domain(size, stride, net))) for name, (size, stride) in groups.items()}
    found["pipeline"] = (pack.pipeline, stage, stage >= net.domain)
    return found


def dimensions(scenario: Scenario, estimate: StepEstimate) -> tuple[Dimension, ...]:
    """Return the dimensions that one estimate of a scenario uses, innermost first."""
    priced = packs(scenario, estimate.batch)
    pack = layout_pack(estimate.layout, scenario.cluster.accelerators, scenario.model.layers)
    net, step = priced.network, estimate.step._asdict()
    groups = _groups(pack, net)
    found = []
    for name in ("tensor", "context", "expert", "pipeline", "data"):
        size, stride, leaves = groups[name]
        if size <= 1.0:
            continue
        sent = step[f"{name}_bytes"]
        rate, part = net.scale_up_bytes_per_s, 1.0
        if leaves:
            rate, part = net.nic_bytes_per_s, _network_share(name, size, stride, priced, pack)
        found.append(Dimension(name, int(size), step[f"{name}_s"], sent, "network" if leaves else "scale-up",
                               part * sent / rate / estimate.step_time_s))
    return tuple(found)

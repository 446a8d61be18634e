"""What data parallelism exchanges in a step, and how much of it computing cannot hide.

ZeRO stages (Rajbhandari et al., arXiv:1910.02054): 0 all-reduces gradients once a step; 1 scatters gradients and gathers
weights once a step; 2 scatters gradients in every microbatch and gathers weights once; 3 gathers weights in every
microbatch, forward and backward. With a pipeline, stages keep their gathered weights and sum gradients over microbatches, as
TorchTitan does, so that 2 and 3 exchange once a step. Hybrid sharding (`shard`) adds an all-reduce over the replicas.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels._jit import kernel
from kernels.collectives import all_reduce_time_s, gather_time_s, leaves_domain
from kernels.memory import shard_parameters, sharded_over
from kernels.packs import Device, Layout, Network, Recipe
from kernels.transformer import Architecture

# Parameters of one bucket of gradients: Megatron-LM's distributed optimizer, max(40 M, 1 M x data ranks), FROM MEMORY.
_BUCKET, _BUCKET_A_RANK = 40e6, 1e6
# Copies of gathered weights and of gradients into and out of flat buffers, bytes a parameter and exchange (two gathers in two
# bytes read and written, a scatter in two): PyTorch FSDP, arXiv:2304.11277, section 3.2.3, FROM MEMORY.
_COPY_BYTES = 12.0


class Exchange(NamedTuple):
    """Seconds of a step that data parallelism adds, seconds of copies, and bytes an accelerator sends."""

    exposed_s: float
    copies_s: float
    sent_bytes: float


@kernel
def _gather_all(dense_bytes: float, routed_bytes: float, shard: float, expert_shard: float, pieces: float, a: Architecture,
                lay: Layout, net: Network) -> float:
    """Return the time to gather (or scatter) all weights of a rank in `pieces`, seconds."""
    expert_stride = min(lay.expert, lay.data * lay.context * lay.tensor)
    return pieces * (gather_time_s(dense_bytes / pieces, shard, lay.tensor, net)
                     + gather_time_s(routed_bytes / pieces, expert_shard, expert_stride, net))


@kernel
def _exposed(total_s: float, share: float, window_s: float, cost: float) -> float:
    """Return what is left of a collective of which `share` may hide behind `window_s`, slowing what it hides behind."""
    hidden = min(total_s * share, window_s)
    return total_s - (1.0 - cost) * hidden


@kernel
def data_exchange(a: Architecture, d: Device, net: Network, r: Recipe, lay: Layout, microbatches: float, forward_s: float,
                  backward_s: float, nic_busy_s: float) -> Exchange:
    """Return what data parallelism adds to a step.

    Parameters
    ----------
    microbatches : float
        Of one pipeline in a step.
    forward_s, backward_s : float
        One microbatch on the mean stage.
    nic_busy_s : float
        Seconds of one microbatch in which other groups use the NICs that data parallelism would use.
    """
    dense, routed = shard_parameters(a, lay, r.vocabulary_multiple)
    replicas = lay.data * lay.context
    shard, expert_shard = sharded_over(lay)
    expert_replicas = max(1.0, replicas * lay.tensor / lay.expert)
    if replicas <= 1.0 and (expert_replicas <= 1.0 or routed <= 0.0):
        return Exchange(0.0, 0.0, 0.0)
    stage_layers = max(1.0, a.layers / lay.pipeline)
    busy = nic_busy_s if leaves_domain(replicas, lay.tensor, net) else 0.0
    free = max(0.0, 1.0 - busy / (forward_s + backward_s))
    window, window_back = forward_s * free, backward_s * free
    if lay.zero <= 0.0:
        pieces = max(1.0, dense / (_BUCKET + _BUCKET_A_RANK * replicas))
        stride = min(lay.expert, replicas * lay.tensor)
        total = pieces * (all_reduce_time_s(r.gradient_bytes * dense / pieces, replicas, lay.tensor, net)
                          + all_reduce_time_s(r.gradient_bytes * routed / pieces, expert_replicas, stride, net))
        sent = 2.0 * r.gradient_bytes * (dense + routed)
        return Exchange(_exposed(total, lay.overlap_data, window_back, d.overlap_cost), 0.0, sent)

    pieces = stage_layers if lay.zero >= 2.0 else max(1.0, dense / (_BUCKET + _BUCKET_A_RANK * replicas))
    gather = _gather_all(r.gather_bytes * dense, r.gather_bytes * routed, shard, expert_shard, pieces, a, lay, net)
    scatter = _gather_all(r.gradient_bytes * dense, r.gradient_bytes * routed, shard, expert_shard, pieces, a, lay, net)
    copies = 0.0
    often = 1.0 if lay.pipeline > 1.0 or lay.zero < 2.0 else microbatches
    if lay.zero >= 2.0:
        copies = often * _COPY_BYTES * (dense + routed) / d.memory_bytes_per_s
    again = 1.0 if lay.zero >= 3.0 and lay.pipeline <= 1.0 else 0.0  # weights gathered once more for the backward pass
    gathers = often if again > 0.0 else 1.0
    # No compute stands before the first gather or behind the last scatter.
    exposed = gathers * _exposed(gather - gather / pieces, lay.overlap_data, window, d.overlap_cost)
    exposed += often * _exposed(again * gather + scatter - scatter / pieces, lay.overlap_data, window_back, d.overlap_cost)
    exposed += gathers * gather / pieces + often * scatter / pieces
    sent = (gathers + often * again) * r.gather_bytes * (dense + routed) + often * r.gradient_bytes * (dense + routed)
    if shard < replicas:  # hybrid: gradients of a shard are summed over its replicas
        stride = lay.tensor * shard
        reduce = all_reduce_time_s(r.gradient_bytes * dense / shard, replicas / shard, stride, net)
        reduce += all_reduce_time_s(r.gradient_bytes * routed / expert_shard, expert_replicas / expert_shard, stride, net)
        exposed += _exposed(reduce, lay.overlap_data, max(0.0, window_back - scatter), d.overlap_cost)
        sent += 2.0 * r.gradient_bytes * (dense / shard + routed / expert_shard)
    return Exchange(exposed, copies, sent)

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.collectives import all_reduce_time_s
from kernels.exchange import Exchange, data_exchange
from kernels.memory import shard_parameters
from kernels.packs import Device, Layout, Network, Recipe
from kernels.transformer import Architecture
from tests.kernels.kernel_models import (
    BANDWIDTHS,
    DEVICE,
    GPT3_175B,
    LATENCIES,
    MIXTRAL_8X7B,
    MODELS,
    NETWORK,
    SMALL_GPT,
    gains,
    layout,
    layouts,
    names,
    recipe,
    recipes,
)

# One accelerator a node, free of latency: a ring of n sends (n - 1) / n of a buffer over its NIC.
NICS = NETWORK._replace(domain=1.0, nic_latency_s=0.0, scale_up_latency_s=0.0, leaf=1e9, pod=1e9)
P = sum(shard_parameters(SMALL_GPT, layout(), 1.0))
HIDING = DEVICE._replace(overlap_cost=0.0)
SLACK = 1.0 + 1e-12


class Compute(NamedTuple):
    """What an exchange may hide behind: microbatches, seconds of one forward and backward, NIC seconds others use."""

    microbatches: float = 4.0
    forward_s: float = 1e3
    backward_s: float = 2e3
    nic_busy_s: float = 0.0


LONG, PLAIN = Compute(), recipe()


def exchange(
    lay: Layout, c: Compute = LONG, a: Architecture = SMALL_GPT, d: Device = DEVICE, net: Network = NICS, r: Recipe = PLAIN
) -> Exchange:
    return Exchange(*data_exchange(a, d, net, r, lay, *c))


def ring_s(bytes_each: float, ranks: int) -> float:
    return (ranks - 1) / ranks * bytes_each / NICS.nic_bytes_per_s


@pytest.mark.parametrize("ranks", [2, 16])
def test_each_zero_stage_sends_what_rajbhandari_says(ranks: int) -> None:
    """Gradients of 4 bytes, weights of 2; stages 2 and 3 scatter in each of 4 microbatches, 3 gathers twice in each."""
    traffic = {0: 2 * 4, 1: 2 + 4, 2: 2 + 4 * 4, 3: 4 * (2 + 2 + 4)}
    for zero, per_parameter in traffic.items():
        e = exchange(layout(data=float(ranks), zero=float(zero)))
        assert e.exposed_s == pytest.approx(ring_s(per_parameter * P, ranks)), zero
        assert e.sent_bytes == pytest.approx(per_parameter * P)


def test_stages_2_and_3_of_a_pipeline_exchange_once_a_step() -> None:
    held = sum(shard_parameters(SMALL_GPT, layout(pipeline=2.0), 1.0))
    for zero in (1.0, 2.0, 3.0):
        e = exchange(layout(data=16.0, pipeline=2.0, zero=zero))
        assert e.exposed_s == pytest.approx(ring_s((2 + 4) * held, 16))
        assert e.sent_bytes == pytest.approx((2 + 4) * held)


@pytest.mark.parametrize(("gradient", "gather"), [(2.0, 2.0), (4.0, 1.0), (2.0, 1.0)])
def test_narrow_gradients_and_gathers_send_less(gradient: float, gather: float) -> None:
    r = recipe(gradient_bytes=gradient, gather_bytes=gather)
    assert exchange(layout(data=16.0, zero=1.0), r=r).exposed_s == pytest.approx(ring_s((gradient + gather) * P, 16))
    assert exchange(layout(data=16.0), r=r).exposed_s == pytest.approx(ring_s(2 * gradient * P, 16))


def test_flat_buffers_of_sharded_weights_are_copied() -> None:
    once = 12 * P / DEVICE.memory_bytes_per_s
    assert exchange(layout(data=16.0, zero=3.0)).copies_s == pytest.approx(4 * once)
    assert exchange(layout(data=16.0, zero=1.0)).copies_s == 0.0
    held = sum(shard_parameters(SMALL_GPT, layout(pipeline=2.0), 1.0))
    assert exchange(layout(data=16.0, pipeline=2.0, zero=3.0)).copies_s == pytest.approx(once * held / P)


@pytest.mark.parametrize("tensor", [1.0, 8.0])
def test_a_single_replica_exchanges_nothing(tensor: float) -> None:
    for zero in (0.0, 1.0, 2.0, 3.0):
        assert exchange(layout(tensor=tensor, zero=zero)) == (0.0, 0.0, 0.0)


def test_context_ranks_are_replicas() -> None:
    one, other = (exchange(layout(data=d, context=c, zero=1.0)) for d, c in ((16.0, 1.0), (4.0, 4.0)))
    assert one == other


def test_experts_are_reduced_over_the_ranks_that_hold_them() -> None:
    """Mixtral over 64 ranks in groups of 8: an expert of a layer each, on 8 ranks."""
    lay = layout(data=64.0, expert=8.0)
    dense, routed = shard_parameters(MIXTRAL_8X7B, lay, 1.0)
    e = exchange(lay, a=MIXTRAL_8X7B)
    assert e.exposed_s == pytest.approx(ring_s(2 * 4 * dense, 64) + ring_s(2 * 4 * routed, 8))
    alone = exchange(layout(data=8.0, expert=8.0), a=MIXTRAL_8X7B)
    assert alone.exposed_s == pytest.approx(ring_s(2 * 4 * dense, 8))


def test_buckets_have_latencies_of_their_own() -> None:
    """Megatron-LM's buckets: 40 M parameters and 1 M for each rank."""
    lay, net = layout(data=160.0), NICS._replace(nic_latency_s=1e-3)
    dense, _ = shard_parameters(GPT3_175B, lay, 1.0)
    buckets = dense / 200e6
    one = all_reduce_time_s(4 * 200e6, 160.0, 1.0, net)
    assert exchange(lay, a=GPT3_175B, net=net).exposed_s == pytest.approx(buckets * one)


# Overlap.


def test_everything_hides_but_the_first_gather_and_the_last_scatter() -> None:
    """Full sharding has a piece a layer; stage 1 a bucket, here the only one."""
    full = exchange(layout(data=16.0, zero=3.0, overlap_data=1.0), d=HIDING)
    assert full.exposed_s == pytest.approx(4 * ring_s((2 + 4) * P, 16) / SMALL_GPT.layers)
    assert exchange(layout(data=16.0, overlap_data=1.0), d=HIDING).exposed_s == pytest.approx(0.0, abs=1e-15)
    bucket = exchange(layout(data=16.0, zero=1.0, overlap_data=1.0), d=HIDING)
    assert bucket.exposed_s == pytest.approx(ring_s(6 * P, 16))


def test_a_window_hides_no_more_than_it_lasts() -> None:
    short = Compute(1.0, 1e-5, 1e-5)
    shown, hidden = (exchange(layout(data=16.0, zero=3.0, overlap_data=x), short, d=HIDING) for x in (0.0, 1.0))
    assert shown.exposed_s - hidden.exposed_s == pytest.approx(2e-5)


def test_stage_0_hides_behind_one_backward_pass_alone() -> None:
    window = Compute(4.0, 1e3, 1e-5)
    shown, hidden = (exchange(layout(data=16.0, overlap_data=x), window, d=HIDING) for x in (0.0, 1.0))
    assert shown.exposed_s - hidden.exposed_s == pytest.approx(1e-5)


def test_a_share_of_what_is_hidden_slows_the_compute() -> None:
    times = [exchange(layout(data=16.0, overlap_data=1.0), d=DEVICE._replace(overlap_cost=c)).exposed_s for c in (0.25, 1.0)]
    shown = exchange(layout(data=16.0)).exposed_s
    assert times == pytest.approx([0.25 * shown, shown])


def test_nics_that_others_keep_busy_hide_nothing() -> None:
    idle, half, busy = (exchange(layout(data=16.0, overlap_data=1.0), Compute(4.0, 1e-4, 1e-4, x), d=HIDING).exposed_s
                        for x in (0.0, 1e-4, 2e-4))  # fmt: skip
    shown = exchange(layout(data=16.0)).exposed_s
    assert busy == pytest.approx(shown)
    assert shown - half == pytest.approx((shown - idle) / 2) == pytest.approx(0.5e-4)
    # Replicas within one scale-up domain do not use NICs.
    inside = NETWORK._replace(domain=64.0)
    a, b = (exchange(layout(data=16.0, overlap_data=1.0), Compute(4.0, 1e-4, 1e-4, x), net=inside) for x in (0.0, 2e-4))
    assert a == b


@given(names, recipes, layouts, st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 10.0), st.floats(0.0, 10.0))
def test_more_overlap_and_longer_windows_expose_no_more(
    name: str, r: Recipe, lay: Layout, share: float, less: float, forward_s: float, more_s: float
) -> None:
    lay = lay._replace(overlap_data=share)
    c = Compute(2.0, forward_s, 2.0 * forward_s + 1e-6)
    base = exchange(lay, c, MODELS[name], r=r)
    assert exchange(lay._replace(overlap_data=share * less), c, MODELS[name], r=r).exposed_s >= base.exposed_s / SLACK
    longer = c._replace(forward_s=c.forward_s + more_s, backward_s=c.backward_s + more_s)
    assert exchange(lay, longer, MODELS[name], r=r).exposed_s <= base.exposed_s * SLACK
    assert min(base) >= 0.0


@given(names, recipes, layouts, gains)
def test_better_networks_expose_no_more(name: str, r: Recipe, lay: Layout, gain: float) -> None:
    c = Compute(2.0, 1e-2, 2e-2)
    base = exchange(lay, c, MODELS[name], net=NETWORK, r=r).exposed_s
    better = [NETWORK._replace(**{n: getattr(NETWORK, n) * gain}) for n in BANDWIDTHS]
    better += [NETWORK._replace(**{n: getattr(NETWORK, n) / gain}) for n in LATENCIES]
    assert all(exchange(lay, c, MODELS[name], net=net, r=r).exposed_s <= base * SLACK for net in better)


# Hybrid sharding.


def test_hybrid_sharding_spares_nics() -> None:
    """Weights sharded within nodes of 8: NICs carry an eighth of the gradients once a step, and no weights."""
    net = NETWORK._replace(scale_up_bytes_per_s=1e18, scale_up_latency_s=0.0, nic_latency_s=0.0, pod=1e9)
    full, hybrid = (exchange(layout(data=64.0, zero=3.0, shard=s), net=net).exposed_s for s in (0.0, 8.0))
    assert full == pytest.approx(4 * (2 + 2 + 4) * 63 / 64 * P / 8 / 45e9)
    assert hybrid == pytest.approx(2 * 4 * 7 / 8 * P / 8 / 45e9, rel=1e-5)


def test_hybrid_sharding_sends_the_same_inside_and_gradients_on_top() -> None:
    full, hybrid = (exchange(layout(data=64.0, zero=3.0, shard=s)).sent_bytes for s in (0.0, 8.0))
    assert hybrid - full == pytest.approx(2 * 4 * P / 8)
    assert exchange(layout(data=64.0, zero=3.0, shard=64.0)) == exchange(layout(data=64.0, zero=3.0))

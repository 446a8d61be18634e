"""Claims that hold for every model, recipe and layout, checked on random ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.packs import Device, Layout, Network, Recipe, Step
from kernels.step import step_time
from kernels.transformer import model_flops_per_token
from tests.kernels.kernel_models import (
    AGAIN,
    BANDWIDTHS,
    DEVICE,
    DEVICE_LATENCIES,
    FULL,
    LATENCIES,
    MODELS,
    NETWORK,
    OVERLAPS,
    PHASES,
    RATES,
    faster,
    gains,
    layouts,
    names,
    recipes,
    shares,
)

SLACK = 1.0 + 1e-9
# What is moved to the host, and what waits for the host to issue kernels, is priced beside the windows that collectives hide in.
PROMPT = DEVICE._replace(host_latency_s=0.0)
NO_OVERLAP = dict.fromkeys(OVERLAPS, 0.0)


def _alone(lay: Layout, kept: str) -> Layout:
    """Return a layout in which collectives of one kind may hide, gradients only without a pipeline.

    Windows are priced each by itself: one second of compute may hide collectives of several groups, and a mean stage that
    gets faster hides less of the gradients although its bubble grows. There better hardware may be a little slower.
    """
    lay = lay._replace(**(NO_OVERLAP | {kept: getattr(lay, kept)}))
    return lay._replace(overlap_data=0.0) if lay.pipeline > 1.0 else lay


alone = st.builds(_alone, layouts, st.sampled_from(OVERLAPS))
resident = recipes.map(lambda r: r._replace(activation_offload=0.0))


def time_s(name: str, r: Recipe, lay: Layout, d: Device = DEVICE, net: Network = NETWORK) -> float:
    return Step(*step_time(MODELS[name], d, net, r, lay)).time_s


@given(names, recipes, layouts)
def test_phases_add_up(name: str, r: Recipe, lay: Layout) -> None:
    step = step_time(MODELS[name], DEVICE, NETWORK, r, lay)
    assert step.time_s == pytest.approx(sum(getattr(step, phase) for phase in PHASES), rel=1e-12)
    assert min(step) >= 0.0
    assert len(PHASES) == 12


@given(names, recipes, layouts)
def test_flops_do_not_depend_on_the_layout(name: str, r: Recipe, lay: Layout) -> None:
    a = MODELS[name]
    step = step_time(a, DEVICE, NETWORK, r, lay)
    ranks = lay.tensor * lay.pipeline * lay.context * lay.data
    assert step.model_flops * ranks == pytest.approx(r.sequences * r.sequence * model_flops_per_token(a, r.sequence))
    forward = step.model_flops / 3 - 2 * a.vocabulary * a.hidden * r.sequences * r.sequence / ranks  # the head is not repeated
    assert step.model_flops <= step.hardware_flops <= (step.model_flops + forward) * SLACK


@given(names, resident, alone, gains, st.sampled_from(RATES))
def test_faster_units_are_never_slower(name: str, r: Recipe, lay: Layout, gain: float, field: str) -> None:
    base = time_s(name, r, lay, PROMPT)
    assert time_s(name, r, lay, faster(PROMPT, gain, field)) <= base * SLACK
    assert time_s(name, r, lay, faster(PROMPT, gain)) <= base * SLACK


@given(names, resident, layouts, gains, st.floats(0.0, 1e-4))
def test_a_host_that_issues_kernels_sooner_is_never_slower(name: str, r: Recipe, lay: Layout, gain: float, host_s: float) -> None:
    lay, d = lay._replace(zero_bubble=0.0, **NO_OVERLAP), DEVICE._replace(host_latency_s=host_s)
    base = time_s(name, r, lay, d)
    assert time_s(name, r, lay, d._replace(host_latency_s=host_s / gain)) <= base * SLACK
    assert time_s(name, r, lay, d._replace(launch_latency_s=d.launch_latency_s / gain)) <= base * SLACK
    assert time_s(name, r, lay, faster(d, gain)) <= base * SLACK


@given(names, resident, layouts, gains, st.sampled_from([0.0, 2.0, 3.0]))
def test_a_better_network_is_never_slower(name: str, r: Recipe, lay: Layout, gain: float, torus: float) -> None:
    if lay.pipeline > 1.0:
        lay = lay._replace(overlap_data=0.0)  # a shorter mean stage hides less, and the bubble is no window
    worse = NETWORK._replace(torus=torus, domain=64.0 if torus else 8.0, leaf_oversubscription=2.0)
    base = time_s(name, r, lay, PROMPT, worse)
    better = [worse._replace(**{field: getattr(worse, field) * gain}) for field in BANDWIDTHS]
    better += [worse._replace(**{field: getattr(worse, field) / gain}) for field in LATENCIES]
    better += [worse._replace(**{field: max(1.0, getattr(worse, field) / gain)})
               for field in ("leaf_oversubscription", "oversubscription")]  # fmt: skip
    better += [worse._replace(**{field: 1.0}) for field in ("scale_up_reduces", "nic_reduces")]
    for net in better:
        assert time_s(name, r, lay, PROMPT, net) <= base * SLACK


@given(names, resident, alone, st.sampled_from(AGAIN))
def test_more_recomputation_is_never_faster(name: str, r: Recipe, lay: Layout, again: str) -> None:
    r = r._replace(input_only=0.0)
    less, more = (time_s(name, r._replace(**{again: x}), lay, PROMPT) for x in (0.0, 1.0))
    assert less <= more * SLACK
    assert more <= time_s(name, r._replace(**FULL), lay, PROMPT) * SLACK


@given(names, recipes, layouts, st.floats(1e-3, 1e3))
def test_scaling_every_rate_scales_every_phase(name: str, r: Recipe, lay: Layout, k: float) -> None:
    a = MODELS[name]
    d = faster(DEVICE, k)._replace(**{field: getattr(DEVICE, field) / k for field in DEVICE_LATENCIES})
    net = NETWORK._replace(**{field: getattr(NETWORK, field) * k for field in BANDWIDTHS},
                           **{field: getattr(NETWORK, field) / k for field in LATENCIES})
    base, scaled = step_time(a, DEVICE, NETWORK, r, lay), step_time(a, d, net, r, lay)
    for phase in ("time_s", *PHASES):
        assert getattr(scaled, phase) * k == pytest.approx(getattr(base, phase), rel=1e-9, abs=1e-9 * base.time_s), phase
    assert scaled.model_flops == base.model_flops


@given(names, resident, layouts, st.sampled_from(OVERLAPS), shares)
def test_overlap_never_adds_time(name: str, r: Recipe, lay: Layout, overlap: str, share: float) -> None:
    shown, part, hidden = (time_s(name, r, lay._replace(**{overlap: x})) for x in (0.0, share, 1.0))
    assert hidden <= part * SLACK
    assert part <= shown * SLACK


@given(names, recipes, layouts, st.sampled_from([x for x in OVERLAPS if x not in ("overlap_expert", "overlap_context")]))
def test_overlap_that_costs_all_hides_nothing(name: str, r: Recipe, lay: Layout, overlap: str) -> None:
    """Of context and expert exchanges the price is not the device's: none, and a fixed share of processors."""
    d = DEVICE._replace(overlap_cost=1.0)
    shown, hidden = (time_s(name, r, lay._replace(**{overlap: x}), d) for x in (0.0, 1.0))
    assert hidden == pytest.approx(shown, rel=1e-12)


@given(names, recipes, layouts)
def test_zero_bubble_is_never_slower_than_1f1b(name: str, r: Recipe, lay: Layout) -> None:
    lay = lay._replace(chunks=1.0)
    assert time_s(name, r, lay._replace(zero_bubble=1.0)) <= time_s(name, r, lay._replace(zero_bubble=0.0)) * SLACK


@given(names, recipes, layouts)
def test_interleaving_is_faster_where_sends_are_free(name: str, r: Recipe, lay: Layout) -> None:
    lay = lay._replace(pipeline=4.0, zero_bubble=0.0, overlap_pipeline=1.0, first_layers=0.0, last_layers=0.0)
    r = r._replace(sequences=4.0 * lay.data * lay.microbatch)  # a microbatch for every stage
    d = DEVICE._replace(overlap_cost=0.0)
    assert time_s(name, r, lay._replace(chunks=2.0), d) < time_s(name, r, lay._replace(chunks=1.0), d)


@given(names, resident, alone)
def test_wider_elements_and_more_bytes_are_never_faster(name: str, r: Recipe, lay: Layout) -> None:
    base = time_s(name, r, lay, PROMPT)
    for field in ("loss_bytes", "gradient_bytes", "gather_bytes", "optimizer_traffic_bytes", "scaling_bytes", "expert_load"):
        assert time_s(name, r._replace(**{field: 2.0 * getattr(r, field)}), lay, PROMPT) >= base / SLACK, field

"""The power waveform of a step: its energy, its shape, what smoothing leaves, and its views."""

import dataclasses
import io
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from kernels.power import PhasePower
from simulator.errors import UserError
from simulator.performance import StepEstimate, estimate_steps
from simulator.performance.hardware import node_power
from simulator.performance.schedule import step_schedule
from simulator.performance.smoothing import floor_stages, smoothing
from simulator.performance.waveform import Power, Waveform, beside_accelerators, describe, shape, spectrum, step_waveform
from simulator.report.energy_profile import daily_profile_figure
from simulator.report.gantt import save_figure
from simulator.report.waveform import waveform_figure, waveform_json, waveform_view
from simulator.scenario import Scenario, load_scenario

ROOT = Path(__file__).parents[2]
NAMES = ["llama3-405b", "gpt3-175b", "small-8gpu", "deepseek-v3", "opt-175b", "all-features"]


def scenario_of(name: str, **changes: object) -> Scenario:
    scenario = load_scenario(ROOT / f"scenarios/{name}.yaml").central()
    if not changes:
        return scenario
    assert not isinstance(scenario.training.layout, str)
    layout = scenario.training.layout.model_copy(update=changes)
    return scenario.model_copy(update={"training": scenario.training.model_copy(update={"layout": layout})})


def last(name: str) -> tuple[Scenario, StepEstimate, Waveform]:
    scenario = scenario_of(name)
    estimate = estimate_steps(scenario)[-1]
    return scenario, estimate, step_waveform(scenario, estimate)


def energy_with_waits_j(e: StepEstimate) -> float:
    """Return joules of one accelerator in the wall time of a step."""
    return sum(e.energy) + e.power.stall_w * (e.step_time_s - e.step.time_s)


@pytest.mark.parametrize("name", NAMES)
def test_a_waveform_has_the_energy_and_the_time_of_its_estimate(name) -> None:
    scenario = scenario_of(name)
    for e in estimate_steps(scenario):
        found = step_waveform(scenario, e)
        assert found.period_s == pytest.approx(e.step_time_s, rel=1e-12)
        accelerator_j = sum(s.energy_j for s in found.stages) / len(found.stages)
        assert accelerator_j == pytest.approx(energy_with_waits_j(e), rel=1e-9)
        beside_j = found.beside.fixed_w * e.step_time_s + found.beside.share * accelerator_j
        assert found.cluster.energy_j == pytest.approx(found.accelerators * (accelerator_j + beside_j), rel=1e-9)
        assert len(found.stages) == step_schedule(scenario, e).stages


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zero-bubble"])
@pytest.mark.parametrize("zero", [1, 3])
def test_every_schedule_keeps_the_energy(schedule, zero) -> None:
    scenario = scenario_of("llama3-405b", schedule=schedule, zero=zero, virtual_pipeline=8 if schedule == "interleaved" else 1,
                           overlap_pipeline=0.0)
    for e in estimate_steps(scenario):
        found = step_waveform(scenario, e)
        assert np.mean([s.energy_j for s in found.stages]) == pytest.approx(energy_with_waits_j(e), rel=1e-9)
        assert found.period_s == pytest.approx(e.step_time_s, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_no_accelerator_leaves_the_powers_of_its_phases(name) -> None:
    # Blocks draw up to 2 % more where the explicit schedule is longer than the estimate's closed form.
    _, e, found = last(name)
    watts = [w for key, w in e.power._asdict().items() if key != "idle_w"]
    for stage in found.stages:
        assert stage.power_w.min() >= min(watts) * (1.0 - 1e-9)
        assert stage.power_w.max() <= max(watts) * 1.02


@pytest.mark.parametrize("name", ["llama3-405b", "small-8gpu", "opt-175b"])
def test_phases_of_equal_power_do_not_swing(name) -> None:
    scenario, e, _ = last(name)
    power = PhasePower(*7 * (500.0,))
    same = dataclasses.replace(e, power=power)
    found = step_waveform(scenario, same)
    for stage in found.stages:
        assert stage.power_w == pytest.approx(500.0)
    for part in describe(found):
        assert part.swing_w == pytest.approx(0.0, abs=1e-6 * part.mean_w)
        assert part.dominant_w == part.dominant_hz == part.band_share == 0.0
        assert part.peak_to_mean == pytest.approx(1.0)


def test_without_pipeline_or_network_nothing_but_the_end_of_the_step_dips() -> None:
    scenario = load_scenario(ROOT / "scenarios/small-8gpu.yaml").central()
    layout = scenario.training.layout
    assert not isinstance(layout, str)
    model = scenario.model.model_copy(update={"layers": 2})
    one = scenario.model_copy(update={
        "model": model,
        "cluster": scenario.cluster.model_copy(update={
            "accelerators": 1, "accelerator": scenario.cluster.accelerator.model_copy(update={"accelerators_per_node": 1})}),
        "training": scenario.training.model_copy(update={"layout": layout.model_copy(
            update={"tensor": 1, "pipeline": 1, "context": 1, "data": 1, "zero": 0})})})
    e = estimate_steps(one)[-1]
    found = step_waveform(one, e)
    assert len(found.stages) == 1
    assert found.stages[0].energy_j == pytest.approx(energy_with_waits_j(e), rel=1e-9)
    # A lone accelerator: blocks, then the optimizer at the power of memory.
    assert found.stages[0].power_w[-1] == pytest.approx(e.power.memory_w)
    assert np.diff(found.stages[0].edges_s)[-1] == pytest.approx(e.step.optimizer_s, rel=1e-6)
    assert found.cluster.power_w == pytest.approx(
        found.stages[0].power_w * (1.0 + found.beside.share) + found.beside.fixed_w)


def test_sharded_weights_stall_every_layer() -> None:
    scenario, e, found = last("opt-175b")
    dips = np.isclose(found.stages[0].power_w, (e.power.communication_w * e.step.data_s + e.power.memory_w * copies_s(e))
                      / (e.step.data_s + copies_s(e)))
    assert dips.sum() == 2 * scenario.model.layers * step_schedule(scenario, e).microbatches
    lengths = np.diff(found.stages[0].edges_s)
    assert lengths[dips].sum() == pytest.approx(e.step.data_s + copies_s(e))


def copies_s(e: StepEstimate) -> float:
    """Return seconds of copies into and out of buffers of the exchange, of one microbatch."""
    s = e.step
    return s.time_s - s.forward_s - s.backward_s - s.data_s - s.optimizer_s - s.offload_s


def test_waiting_for_the_slowest_is_in_the_waveform() -> None:
    scenario, e, found = last("llama3-405b")
    assert e.straggler_factor > 1.0
    punctual = step_waveform(scenario, dataclasses.replace(e, straggler_factor=1.0))
    waits_s = e.step_time_s - e.step.time_s
    assert found.period_s - punctual.period_s == pytest.approx(waits_s)
    more_j = found.stages[3].energy_j - punctual.stages[3].energy_j
    assert more_j == pytest.approx(waits_s * e.power.stall_w)


@pytest.mark.parametrize("name", ["llama3-405b", "small-8gpu"])
def test_what_is_beside_the_accelerators_is_what_nodes_and_network_draw(name) -> None:
    scenario = scenario_of(name)
    a = scenario.cluster.accelerator
    beside = beside_accelerators(scenario)
    for watts in (150.0, 333.0, 700.0):
        node = float(node_power(a, watts).total_w) / a.accelerators_per_node
        network = scenario.cluster.fabric.power_w if scenario.cluster.nodes > 1 else 0.0
        assert beside.fixed_w + beside.share * watts == pytest.approx(node + network)


def test_a_description_agrees_with_samples() -> None:
    _, _, found = last("llama3-405b")
    d = shape(found.cluster)
    edges, power = found.cluster
    n = 400_000
    samples = power[np.searchsorted(edges, (np.arange(n) + 0.5) / n * found.period_s, side="right") - 1]
    assert d.mean_w == pytest.approx(samples.mean(), rel=1e-5)
    assert d.deviation_w == pytest.approx(samples.std(), rel=1e-4)
    transformed = 2.0 * np.abs(np.fft.rfft(samples)) / n
    frequency, amplitude = spectrum(found.cluster)
    assert amplitude == pytest.approx(transformed[1:amplitude.size + 1], abs=3e-4 * d.swing_w)
    assert d.dominant_hz == pytest.approx((1 + transformed[1:200].argmax()) / found.period_s)
    inside = (frequency >= 0.1) & (frequency <= 20.0)
    assert d.band_share == pytest.approx((transformed[1:amplitude.size + 1][inside] ** 2).sum() / 2 / samples.var(), rel=1e-3)
    width = round(2.0 / found.period_s * n)
    summed = np.concatenate([[0.0], np.cumsum(np.concatenate([samples, samples]))])
    assert d.peak_to_mean == pytest.approx((summed[width:] - summed[:-width]).max() / width / samples.mean(), rel=1e-3)
    assert all(r.rise_w_per_s <= d.swing_w / r.window_s * (1 + 1e-12) for r in d.ramps)


@pytest.mark.parametrize("name", ["small-8gpu", "opt-175b"])
def test_a_higher_floor_of_a_lone_stage_never_swings_more_and_never_saves(name) -> None:
    _, _, found = last(name)
    ways = [w for w in smoothing(found, floors=np.linspace(0.0, 1.0, 21)) if w.method == "floor"]
    assert all(a.swing_w >= b.swing_w - 1e-9 for a, b in pairwise(ways))
    assert all(a.extra_j <= b.extra_j + 1e-9 for a, b in pairwise(ways))
    assert ways[0].extra_j == 0.0
    assert ways[0].swing_w == pytest.approx(describe(found).cluster.swing_w)
    assert ways[-1].swing_w == pytest.approx(0.0, abs=1e-6 * ways[-1].mean_w)


@pytest.mark.parametrize("name", ["llama3-405b", "gpt3-175b", "deepseek-v3"])
def test_a_floor_costs_the_energy_that_it_adds_and_bounds_the_swing(name) -> None:
    _, _, found = last(name)
    peak = max(s.power_w.max() for s in found.stages)
    before = describe(found).cluster
    energies = []
    for way in smoothing(found, floors=(0.3, 0.6, 0.8, 0.95))[:4]:
        raised = np.mean([s.energy_j for s in floor_stages(found, way.setting)]) - np.mean([s.energy_j for s in found.stages])
        assert way.extra_j == pytest.approx(raised * found.accelerators * (1.0 + found.beside.share), rel=1e-6, abs=1.0)
        assert way.mean_w == pytest.approx(before.mean_w * (1.0 + way.extra_share))
        most = found.accelerators * (1.0 + found.beside.share) * peak * (1.0 - way.setting)
        assert way.swing_w <= most * (1.0 + 1e-9)
        energies.append(way.extra_j)
    assert energies == sorted(energies)


def test_stores_flatten_to_the_mean_and_longer_windows_leave_less() -> None:
    _, _, found = last("llama3-405b")
    before = describe(found).cluster
    ways = [w for w in smoothing(found, (), (0.05, 0.5, 2.0), price_usd_per_j=0.1 / 3.6e6)]
    assert [w.setting for w in ways] == [0.05, 0.5, 2.0, found.period_s]
    assert all(w.ramps[0].rise_w_per_s <= before.swing_w / max(w.setting, w.ramps[0].window_s) + 1e-6 for w in ways)
    flat = ways[-1]
    assert flat.swing_w == pytest.approx(0.0, abs=1e-6 * flat.mean_w)
    assert flat.mean_w == pytest.approx(flat.peak_w)
    for w in ways:
        assert w.usd_per_h == pytest.approx(w.extra_w / 1000.0 * 0.1)
        assert w.peak_w - w.extra_w <= before.peak_w * (1.0 + 1e-9)
    assert ways[0].capacity_j < ways[1].capacity_j < flat.capacity_j
    lossless = smoothing(found, (), efficiency=1.0)[0]
    assert lossless.extra_w == pytest.approx(0.0, abs=1e-6 * before.mean_w)
    # All that is drawn above the mean goes through the store, and a ninth of it is lost: a tenth of what goes in.
    through_w = sum(np.sum(np.maximum(0.0, s.power_w - s.energy_j / s.period_s) * np.diff(s.edges_s)) for s in found.stages)
    through_w *= found.accelerators * (1.0 + found.beside.share) / len(found.stages) / found.period_s
    assert 0.5 * through_w / 9.0 < flat.extra_w < through_w / 9.0


@pytest.mark.parametrize(("arguments", "found"), [
    ({"floors": (1.2,)}, "floor found 1.2"), ({"windows_s": (0.0,)}, "window found 0"),
    ({"efficiency": 1.5}, "efficiency found 1.5"),
])
def test_smoothing_says_what_is_allowed(arguments, found) -> None:
    _, _, waveform = last("small-8gpu")
    with pytest.raises(UserError, match=f"{found}; allowed"):
        smoothing(waveform, **arguments)


def test_watts_and_seconds_only_scale() -> None:
    _, _, found = last("gpt3-175b")
    one = shape(found.cluster)
    milli = shape(Power(found.cluster.edges_s, found.cluster.power_w * 1000.0))
    assert milli.swing_w == pytest.approx(1000.0 * one.swing_w)
    assert milli.band_share == pytest.approx(one.band_share)
    assert milli.dominant_hz == one.dominant_hz


def test_the_power_of_the_accelerator_is_needed() -> None:
    scenario, e, _ = last("small-8gpu")
    unknown = scenario.cluster.accelerator.model_copy(update={"idle_power_w": None})
    cluster = scenario.cluster.model_copy(update={"accelerator": unknown})
    with pytest.raises(UserError, match="idle_power"):
        step_waveform(scenario.model_copy(update={"cluster": cluster}), e)


@pytest.mark.parametrize("name", ["llama3-405b", "gpt3-175b", "small-8gpu", "opt-175b"])
def test_views_show_the_numbers(name, tmp_path) -> None:
    _, e, found = last(name)
    ways = smoothing(found, price_usd_per_j=2e-8)
    console = Console(width=120, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(waveform_view(found, describe(found), ways))
    text = capture.get()
    assert all(len(line.rstrip()) <= 120 for line in text.splitlines())
    for word in ("mean", "peak", "trough", "swing", "ramp", "dominant", "floor", "storage", "USD/h"):
        assert word in text
    told = json.loads(json.dumps(waveform_json(found, describe(found), ways), allow_nan=False))
    assert told["cluster"]["swing_w"] == pytest.approx(describe(found).cluster.swing_w)
    assert told["step_s"] == pytest.approx(e.step_time_s)
    assert len(told["smoothing"]) == len(ways)
    figure = waveform_figure(found, title=name)
    top, bottom = figure.axes[:2]
    assert top.get_xlim() == pytest.approx((0.0, found.period_s))
    assert "MW" in bottom.get_ylabel() or "kW" in bottom.get_ylabel()
    for suffix in ("png", "svg", "pdf"):
        save_figure(figure, tmp_path / f"x.{suffix}")
        assert (tmp_path / f"x.{suffix}").stat().st_size > 1000


def test_profiles_draw_what_is_given_and_no_more() -> None:
    hours = np.arange(24.0)
    power, price = 1e7 + 1e6 * np.cos(hours), 0.05 + 0.01 * np.sin(hours)
    full = daily_profile_figure(power, price, 300.0 + 50.0 * np.cos(hours), power_band_w=(power - 1e6, power + 1e6),
                                months=["2024-01", "2024-02"], cost_usd={"energy": [3e5, 4e5], "demand": [1e5, 1e5]})
    names = [ax.get_ylabel().replace("\n", " ").split(" (")[0] for ax in full.axes]
    assert names == ["power", "price", "carbon intensity", "cost"]
    bars = full.axes[3].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(9e5 / 1e3 if "thousand" in full.axes[3].get_ylabel() else 0.9)
    only = daily_profile_figure(power)
    assert len(only.axes) == 1
    assert not math.isnan(only.axes[0].get_ylim()[1])
    with pytest.raises(ValueError, match="24"):
        daily_profile_figure(power[:23])

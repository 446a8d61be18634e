"""Power from catalog and scenario: limits, nodes, and the same watts everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.power import step_energy
from simulator import catalog
from simulator.accounting.ledger import State
from simulator.accounting.rates import run_rates
from simulator.errors import UserError
from simulator.performance import estimate_steps, search
from simulator.performance.estimate import layout_pack, longest
from simulator.performance.hardware import clock_share, device, generation, node_power, phase_power, storage_power_w
from simulator.performance.search import layout_of
from simulator.scenario import Scenario, load_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def scenario(name: str, limit_w: float | None = None) -> Scenario:
    found = load_scenario(SCENARIOS / f"{name}.yaml").central()
    return found.model_copy(update={"cluster": found.cluster.model_copy(update={"power_limit_w": limit_w})})


def test_a_limit_at_the_tdp_changes_nothing() -> None:
    assert estimate_steps(scenario("gpt3-175b", 300.0)) == estimate_steps(scenario("gpt3-175b"))


def test_a_limit_lengthens_products_alone() -> None:
    plain, limited = (longest(estimate_steps(scenario("llama3-405b", w))).step for w in (None, 500.0))
    slower = (630.0 / 430.0) ** (1.0 / 2.75)
    latency = 1.02  # launches do not stretch
    assert slower / latency < limited.gemm_s / plain.gemm_s <= slower
    assert limited.attention_s / plain.attention_s == pytest.approx(slower, rel=0.02)
    assert limited.memory_s == pytest.approx(plain.memory_s)
    assert limited.tensor_s == pytest.approx(plain.tensor_s)
    assert limited.model_flops == plain.model_flops


def test_a_limit_lowers_watts_and_mfu() -> None:
    plain, limited = (longest(estimate_steps(scenario("llama3-405b", w))) for w in (None, 500.0))
    assert limited.mfu < plain.mfu
    assert sum(limited.energy) / limited.step.time_s < sum(plain.energy) / plain.step.time_s


def test_the_search_counts_under_the_limit_as_the_estimate_does() -> None:
    limited = scenario("llama3-405b", 500.0)
    found = search(limited, energy=True)
    best = int(np.argmin(found.times_s))
    training = limited.training.model_copy(update={"layout": layout_of(found.layouts[best])})
    estimate = longest(estimate_steps(limited.model_copy(update={"training": training})))
    assert tuple(layout_pack(estimate.layout, 16384, 126)) == tuple(found.layouts[best])
    assert sum(estimate.energy) == pytest.approx(found.energies_j[best], rel=1e-12)


def test_an_accelerator_with_a_lower_tdp_has_the_clock_of_one_under_that_limit() -> None:
    """Efficiencies were fitted with 500 W parts as well; idle power alone differs here, and by nothing."""
    whole, low = catalog.load("accelerators", "h100-sxm-80gb"), catalog.load("accelerators", "h100-sxm-96gb-hbm2e-500w")
    g = generation(whole)
    assert clock_share(whole, g) == 1.0
    assert clock_share(whole, g, 500.0) == pytest.approx(clock_share(low, g))
    era = g.era(2024)
    assert device(whole, "bf16", era, g, 500.0).gemm_flops_per_s == pytest.approx(device(low, "bf16", era, g).gemm_flops_per_s)


@pytest.mark.parametrize(("limit", "found"), [("50 W", "50 W"), ("701 W", "701 W"), ("{uniform: [60 W, 650 W]}", "60 W")])
def test_a_limit_outside_idle_and_tdp_is_refused_with_both(tmp_path, limit, found) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"extends: {SCENARIOS / 'llama3-405b.yaml'}\ncluster: {{power_limit: {limit}}}\n", encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_scenario(file)
    assert "power_limit" in str(error.value)
    for word in (found, "70 W", "700 W", "h100-sxm-80gb"):
        assert word in str(error.value)


def test_a_node_is_its_accelerators_and_what_stands_beside_them() -> None:
    h100 = catalog.load("accelerators", "h100-sxm-80gb")
    idle, full = node_power(h100, 70.0), node_power(h100, 700.0)
    assert idle.host_w == 1400.0
    assert full.host_w == pytest.approx(1400.0 + 0.016 * 8 * 630.0)
    assert full.fans_w == pytest.approx(0.2 * 8 * 700.0)
    delivered = 8 * 700.0 + full.host_w + full.fans_w
    assert delivered / (8 * 700.0 + full.total_w) == pytest.approx(h100.supply_efficiency)
    both = node_power(h100, np.array([70.0, 700.0])).total_w
    assert both == pytest.approx([idle.total_w, full.total_w])


def test_rates_draw_what_the_step_does_and_hosts_follow() -> None:
    s = scenario("bloom-176b")
    estimates = estimate_steps(s)
    rates = run_rates(s, estimates, 312e12, 2.3e12)
    main = longest(estimates)
    stretch = estimates.index(main)
    waits_j = main.power.stall_w * (main.step_time_s - main.step.time_s)
    each_w = (sum(step_energy(main.power, main.step)) + waits_j) / main.step_time_s
    assert rates.power_w[:, State.PRODUCTIVE, stretch].sum() == pytest.approx(384 * each_w)
    nodes = 48 * node_power(s.cluster.accelerator, each_w).total_w
    assert rates.host_w[State.PRODUCTIVE, stretch] == pytest.approx(nodes)
    assert rates.host_w[State.PRODUCTIVE, stretch] > rates.host_w[State.RESTART, stretch]
    assert rates.storage_w == storage_power_w(57.5e9) == pytest.approx(1552.5)


def test_a_phase_alone_keeps_the_limit_and_a_step_may_go_beyond_it_for_milliseconds() -> None:
    h100 = catalog.load("accelerators", "h100-sxm-80gb")
    assert phase_power(h100).gemm_w == 700.0
    main = longest(estimate_steps(scenario("llama3-405b")))
    assert main.power.gemm_w > 700.0
    assert sum(main.energy) <= 700.0 * main.step.time_s


def test_the_software_year_selects_the_era() -> None:
    bloom = scenario("bloom-176b")
    assert (bloom.year, bloom.software_year) == (2022, 2021)
    later = bloom.model_copy(update={"training": bloom.training.model_copy(update={"software_year": None})})
    assert later.software_year == 2022
    assert longest(estimate_steps(later)).step_time_s < longest(estimate_steps(bloom)).step_time_s

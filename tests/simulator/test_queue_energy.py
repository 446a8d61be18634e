"""Joules of a shared cluster: jobs and what nobody used sum to all of it, and follow from hours by hand."""

from __future__ import annotations

import math

import pytest

from simulator.performance.hardware import node_power
from tests.simulator.queues import given, mixed, queue, trial

PLACE = {"site": {"preset": "usa", "carbon_intensity": "400 gCO2e/kWh"}, "pue": 1.2}


@pytest.mark.parametrize("number", range(3))
def test_jobs_and_idle_nodes_sum_to_the_cluster(number: int) -> None:
    result = trial(mixed(facility=PLACE, warm_up="0 s"), number)
    row = result.row
    assert row["energy_jobs_j"] + row["energy_idle_j"] + row["energy_network_j"] == pytest.approx(row["energy_j"], rel=1e-9)
    assert sum(result.jobs["energy_j"]) == pytest.approx(row["energy_jobs_j"], rel=1e-9)
    classes = sum(value for name, value in row.items() if name.startswith("class ") and name.endswith(" held_j"))
    assert classes == pytest.approx(row["energy_jobs_j"], rel=1e-9)
    assert sum(result.jobs["cost_usd"]) == pytest.approx(row["cost_jobs_usd"], rel=1e-9)
    assert row["carbon_operational_kg"] == pytest.approx(row["energy_j"] * 0.4 / 3.6e6, rel=1e-9)


def test_one_job_draws_its_hours_times_its_watts() -> None:
    scenario = queue(facility=PLACE, jobs={**given((1, 2, 5)), "power": 0.6}, horizon="10 h")
    accelerator = scenario.cluster.accelerator
    busy_w = 8 * 0.6 * 400.0 + float(node_power(accelerator, 0.6 * 400.0).total_w)
    idle_w = 8 * 50.0 + float(node_power(accelerator, 50.0).total_w)
    result = trial(scenario)
    assert result.jobs["energy_j"] == pytest.approx([1.2 * 2 * 5 * 3600.0 * busy_w])
    assert result.row["energy_idle_j"] == pytest.approx(1.2 * (4 * 10 - 2 * 5) * 3600.0 * idle_w)


def test_more_power_is_never_less_energy() -> None:
    energies = [trial(mixed(facility=PLACE, jobs={**mixed().jobs.to_file(), "power": share})).row["energy_j"]
                for share in (0.4, 0.75, 1.0)]
    assert energies == sorted(energies)
    assert energies[0] < energies[-1]


def test_energy_of_a_place_without_a_pue_is_unknown_and_nothing_else_is() -> None:
    row = trial(mixed()).row
    assert math.isnan(row["energy_j"])
    assert row["cost_usd"] > 0.0

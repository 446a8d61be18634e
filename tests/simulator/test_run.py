"""The discrete-event run: closed forms, limits, conservation."""

import dataclasses
import itertools
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster import plan_run, run_trial
from simulator.cluster.checkpoints import CheckpointCost, daly_interval_s
from simulator.errors import UserError
from simulator.montecarlo.streams import stream
from tests.simulator.runs import rows, scenario

NONE = {"components": []}


def categories(row: dict[str, float], prefix: str, unit: str) -> float:
    return sum(v for k, v in row.items() if k.startswith(prefix + "_") and k.endswith("_" + unit) and k != f"{prefix}_{unit}")


def assert_sums(row: dict[str, float]) -> None:
    assert categories(row, "time", "s") == pytest.approx(row["time_s"], rel=1e-9)
    assert categories(row, "energy", "j") == pytest.approx(row["energy_j"], rel=1e-9)
    assert categories(row, "cost", "usd") == pytest.approx(row["cost_usd"], rel=1e-9)
    assert row["carbon_operational_kg"] + row["carbon_embodied_kg"] == pytest.approx(row["carbon_kg"], rel=1e-9)


def daly_plan(mtbf_s: float, interval_s: float, work_s: float):
    """A plan with Daly's assumptions: d = 5 min, R = 10 min, exponential failures that may hit anything."""
    per_node = 1.0 / mtbf_s / plan_run(scenario()).job_nodes
    plan = plan_run(scenario(cluster={"spares": 0}, failures={
        "components": [{"name": "any", "rate": f"{per_node!r} 1/s", "kind": "software"}],
        "recovery": {"initialisation": "10 min", "repair": "1 h"}}))
    steps = float(round(work_s / interval_s)) * 100.0
    cost = CheckpointCost(300.0, 0.0, 0.0, 0.0, 1e12)
    job = plan.job._replace(step_s=np.array([interval_s / 100.0]), first_step=np.array([0.0, steps]), every=np.array([100.0]),
                            stall_s=300.0, persist_s=0.0, slowdown=0.0, load_s=0.0)
    return dataclasses.replace(plan, job=job, checkpoint=cost)


@pytest.mark.parametrize(("mtbf_min", "trials"), [(1440, 400), (360, 400), (15, 150)])
def test_wall_time_matches_daly(mtbf_min: float, trials: int) -> None:
    """T_w = M e^(R/M) (e^((tau + d)/M) - 1) T_s / tau, Daly 2006, at the three published cases."""
    mtbf_s, dump_s, restart_s = mtbf_min * 60.0, 300.0, 600.0
    tau_s = daly_interval_s(dump_s, mtbf_s)
    plan = daly_plan(mtbf_s, tau_s, 500 * 3600.0 if mtbf_min > 100 else 50 * 3600.0)
    work_s = float(plan.first_step[-1] * plan.step_s[0])
    expected = mtbf_s * math.exp(restart_s / mtbf_s) * (math.exp((tau_s + dump_s) / mtbf_s) - 1) * work_s / tau_s
    times = np.array([run_trial(plan, partial(stream, 3, i)).row["time_s"] for i in range(trials)])
    z = (times.mean() - expected) / (times.std(ddof=1) / math.sqrt(trials))
    assert abs(z) < 3.5, f"mean {times.mean():.0f} s, Daly {expected:.0f} s, z {z:.2f}"


@pytest.mark.parametrize(("mtbf_min", "optimum_min"), [(1440, 116.690), (360, 56.713), (15, 9.141)])
def test_daly_interval_matches_the_published_captions(mtbf_min: float, optimum_min: float) -> None:
    assert daly_interval_s(300.0, mtbf_min * 60.0) / 60.0 == pytest.approx(optimum_min, abs=2e-3)


def test_without_failures_the_run_takes_its_steps_and_checkpoints() -> None:
    s = scenario(failures=NONE)
    plan = plan_run(s)
    (row,) = rows(s, 1)
    stalls = row["checkpoints"] * plan.checkpoint.stall_s
    assert row["time_s"] == pytest.approx(plan.first_step[-1] * plan.step_s[0] + stalls, rel=1e-12)
    assert row["interruptions"] == 0
    assert row["time_lost_s"] == row["time_restart_s"] == 0.0


def test_interruptions_come_at_the_stated_rate() -> None:
    s = scenario(cluster={"spares": 20})
    found = rows(s, 60)
    days = sum(r["time_s"] for r in found) / 86400
    expected = 0.4 * plan_run(s).job_nodes * days
    assert sum(r["interruptions"] for r in found) == pytest.approx(expected, abs=4 * math.sqrt(expected))


def test_a_switch_takes_its_nodes_down_together_and_as_rarely_as_stated() -> None:
    failing = {"components": [{"name": "leaf", "rate": "400 per 1000 days", "kind": "hardware", "blast_radius": 2}],
               "recovery": {"initialisation": "2 min", "repair": "6 h"}}
    s = scenario(failures=failing, cluster={"spares": 20})
    found = rows(s, 60)
    expected = 0.4 / 2 * plan_run(s).job_nodes * sum(r["time_s"] for r in found) / 86400
    assert sum(r["interruptions"] for r in found) == pytest.approx(expected, abs=4 * math.sqrt(expected))


def test_no_spare_means_waiting_for_repair() -> None:
    (few, many) = (np.mean([r["time_wait_for_spares_s"] for r in rows(scenario(cluster={"spares": n}), 20)]) for n in (0, 8))
    assert few > many
    assert few > 0


def test_a_crew_of_one_repairs_no_faster_than_many() -> None:
    one, many = (np.mean([r["time_s"] for r in rows(scenario(cluster={"spares": 0, "repair_crew": n}), 20)]) for n in (1, 0))
    assert one >= many


def test_asynchronous_checkpoints_stall_less() -> None:
    sync, asyn = (np.mean([r["time_checkpoint_stall_s"] for r in rows(scenario(checkpoint={"mode": m}), 10)])
                  for m in ("sync", "async"))
    assert asyn < 0.2 * sync


def test_planned_stops_lose_no_work() -> None:
    planned = {"components": [{"name": "firmware", "rate": "400 per 1000 days", "kind": "planned"}],
               "recovery": {"initialisation": "2 min"}}
    found = rows(scenario(failures=planned), 10)
    assert sum(r["interruptions_planned"] for r in found) > 0
    step_s = plan_run(scenario()).step_s[0]
    assert all(r["time_lost_s"] <= r["interruptions"] * step_s + 1e-6 for r in found if r["interruptions"] < 3)


def test_a_run_that_cannot_finish_says_so() -> None:
    hopeless = {"components": [{"name": "node", "rate": "100 per 1 hour", "kind": "hardware"}],
                "recovery": {"initialisation": "2 h", "repair": "1 h"}}
    with pytest.raises(UserError, match="does not finish"):
        rows(scenario(failures=hopeless), 1)


@given(st.floats(0.0, 2000.0), st.integers(0, 6), st.sampled_from(["sync", "async"]), st.floats(0.0, 0.6),
       st.integers(1, 4), st.sampled_from(["hardware", "software", "planned"]), st.integers(0, 2),
       st.sampled_from(["auto", "20 min", "3 h"]), st.integers(0, 10_000), st.floats(0.0, 0.02))
def test_categories_sum_to_totals_whatever_happens(rate, spares, mode, slowdown, radius, kind, crew, interval, seed, spread):
    s = scenario(
        training={"tokens": "20 B", "batch_schedule": [{"until": "5 B", "batch": "0.5 M", "sequence": 1024},
                                                       {"batch": "1 M", "sequence": 2048}]},
        cluster={"spares": spares, "repair_crew": crew, "variation": {"speed_spread": spread}},
        failures={"components": [{"name": "x", "rate": f"{rate!r} per 1000 days", "kind": kind, "blast_radius": radius},
                                 {"name": "y", "rate": "100 per 1000 days", "kind": "software"}],
                  "recovery": {"detection": {"lognormal": ["3 min", 1.0]}, "initialisation": {"exponential": ["5 min"]},
                               "repair": {"lognormal": ["2 h", 0.5]}}},
        checkpoint={"mode": mode, "persist_slowdown": slowdown, "interval": interval})
    plan = plan_run(s)
    result = run_trial(plan, partial(stream, seed, 0), keep_intervals=True)
    assert_sums(result.row)
    booked = result.row["time_productive_s"] + result.row["time_straggler_s"]
    assert booked == pytest.approx(float((np.diff(plan.first_step) * plan.step_s).sum()), rel=1e-9)
    # The intervals of the timeline tile the run.
    edges = [(a, b) for a, b, *_ in result.intervals]
    assert edges[0][0] == 0.0
    assert all(x[1] == pytest.approx(y[0], abs=1e-6) for x, y in itertools.pairwise(edges))
    assert edges[-1][1] == pytest.approx(result.row["time_s"], rel=1e-9)


def test_owned_hardware_pays_for_electricity_and_sums() -> None:
    s = scenario(pricing={"rental": None, "owned": {"electricity": "0.08 USD/kWh"}})
    for row in rows(s, 3):
        assert_sums(row)
        assert row["cost_electricity_usd"] == pytest.approx(row["energy_j"] / 3.6e6 * 0.08, rel=1e-9)


def test_more_bandwidth_to_storage_is_never_slower() -> None:
    slow, fast = (np.mean([r["time_s"] for r in rows(scenario(checkpoint={"storage_bandwidth": b}), 10)])
                  for b in ("0.5 GB/s", "5 GB/s"))
    assert fast < slow


def test_a_rate_of_next_to_nothing_is_none() -> None:
    wear = {"name": "wear", "rate": "1e-190 per 1 day", "kind": "hardware", "shape": 2}
    (row,) = rows(scenario(failures={"components": [wear]}), trials=1)
    assert row["interruptions"] == 0.0

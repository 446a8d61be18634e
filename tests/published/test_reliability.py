"""The run model against published figures of reliability, from shipped data and docs/reference/formulas.md alone."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, poisson

from kernels.draws import CONSTANT, EXPONENTIAL, LOGNORMAL
from kernels.events import HARDWARE, LAW_REPAIR, SOFTWARE
from kernels.job import CHECKPOINTS, LOST, NOW, STEP, WAIT, close
from simulator.cluster import plan_run
from simulator.cluster.history import History
from simulator.cluster.job import run_on
from simulator.montecarlo.streams import stream
from simulator.performance import ettr
from simulator.scenario import load_scenario
from tests.kernels.packs_of_runs import Run, component, fleet, hazards, job
from tests.simulator.runs import scenario
from tests.simulator.test_run import daly_plan

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SCENARIOS = Path(__file__).parents[2] / "scenarios"


def wall_times_s(plan, trials: int, seed: int) -> np.ndarray:
    """Wall times of whole trials, without the settlement of their cost."""
    found = np.empty(trials)
    for trial in range(trials):
        history = History(plan, partial(stream, seed, trial))
        assert run_on(history, math.inf)
        found[trial] = history.state[NOW]
    return found


# Daly, FGCS 22(3), 2006, captions of figures 3 to 5: d = 5 min, R = 10 min.


@pytest.mark.parametrize(("mtbf_min", "work_h", "published"), [(1440, 500, 0.91261), (360, 500, 0.81938), (15, 20, 0.19967)])
def test_wall_time_is_dalys_over_ten_thousand_trials(mtbf_min, work_h, published) -> None:
    """T_w is proportional to T_s, so that the third case need not run for 500 h."""
    mtbf_s, blocked_s, restart_s = mtbf_min * MINUTE, 5 * MINUTE, 10 * MINUTE
    tau_s = ettr.daly_interval_s(blocked_s, mtbf_s)
    plan = daly_plan(mtbf_s, tau_s, work_h * HOUR)
    work_s = float(plan.first_step[-1] * plan.step_s[0])
    expected_s = ettr.daly_wall_time_s(work_s, tau_s, blocked_s, restart_s, mtbf_s)
    found = wall_times_s(plan, 10_000, seed=2006)
    error_s = found.std(ddof=1) / math.sqrt(found.size)
    assert abs(found.mean() - expected_s) < 3 * error_s, f"z {(found.mean() - expected_s) / error_s:.2f}"
    assert work_s / found.mean() == pytest.approx(published, rel=3 * error_s / expected_s + 1e-5)


@pytest.mark.parametrize(("mtbf_min", "optimum_min", "work_h"), [(1440, 117.0, 500), (360, 57.0, 500), (15, 9.14, 60)])
def test_the_best_simulated_interval_is_dalys(mtbf_min, optimum_min, work_h) -> None:
    """The vertex of a cubic through mean wall times, of the same luck at each interval, over its logarithm."""
    around = np.exp(np.linspace(-0.6, 0.6, 13))
    slowness = []
    for tau_s in optimum_min * MINUTE * around:
        plan = daly_plan(mtbf_min * MINUTE, tau_s, work_h * HOUR)
        slowness.append(wall_times_s(plan, 1500, seed=7).mean() / float(plan.first_step[-1] * plan.step_s[0]))
    fit = np.polynomial.Polynomial.fit(np.log(around), np.log(slowness), 3)
    best = min((float(root.real) for root in fit.deriv().roots() if abs(root.imag) < 1e-9 and abs(root) < 0.6), key=fit)
    assert math.exp(best) == pytest.approx(1.0, abs=0.05)


# Kokolis et al., HPCA 2025, arXiv:2410.21680: expected effective training time of jobs in nodes of 8.

RSC1, RSC2 = 6.50e-3 / DAY, 2.34e-3 / DAY


def simulated_ettr(accelerators: float, rate_per_s: float, interval_min: float, restart_min: float, blocked_s: float = 0.0
                   ) -> float:
    """ETTR of one long run, 30,000 failures."""
    mtbf_s = 1.0 / (accelerators / 8 * rate_per_s)
    steps = math.ceil(30_000 * mtbf_s / (interval_min * MINUTE))
    work = job(first_step=np.array([0.0, steps]), step_s=np.array([interval_min * MINUTE]), every=np.array([1.0]),
               stall_s=blocked_s, load_s=0.0)
    run = Run(work, hazards([component(SOFTWARE, 1.0 / mtbf_s)], (0.0,) * 5 + (restart_min * MINUTE, 0.0, 0.0, 0.0)), fleet(8), 3)
    assert run.to(math.inf)
    return steps * interval_min * MINUTE / float(run.state[NOW])


@pytest.mark.parametrize(("accelerators", "rate", "interval_min", "restart_min", "blocked_s", "published", "tolerance"), [
    (16_000, RSC1, 60.0, 5.0, 0.0, 0.70, 0.025),  # "ok to rounding"; exact 0.720
    (16_000, RSC1, 5.0, 5.0, 0.0, 0.93, 0.006),
    (8_000, RSC1, 30.0, 6.0, 0.0, 0.90, 0.012),  # a minute in the queue at each restart; within 5 % of theirs to 8,000 GPUs
])
def test_ettr_is_what_kokolis_published(accelerators, rate, interval_min, restart_min, blocked_s, published, tolerance) -> None:
    assert simulated_ettr(accelerators, rate, interval_min, restart_min, blocked_s) == pytest.approx(published, abs=tolerance)


@pytest.mark.parametrize(("accelerators", "rate", "interval_min", "restart_min", "blocked_s"), [
    (12_000, RSC1, 7.02, 5.0, 10.0),
    (12_000, 1e-3 / DAY, 98.0, 5.0, 300.0),
    (100_000, RSC2, 2.0, 2.0, 0.0),
])
def test_ettr_reaches_the_nine_tenths_kokolis_published(accelerators, rate, interval_min, restart_min, blocked_s) -> None:
    assert round(simulated_ettr(accelerators, rate, interval_min, restart_min, blocked_s), 2) >= 0.90


@pytest.mark.parametrize(("accelerators", "interval_min"), [(16_000, 60.0), (8_000, 30.0), (100_000, 7.0)])
def test_the_simulation_keeps_to_the_exact_form_where_the_linear_one_fails(accelerators, interval_min) -> None:
    """At 100,000 accelerators the linear form says 0.52, as published; the exact one, and the simulation, 0.615."""
    mtbf_s = float(ettr.mttf_s(accelerators / 8, RSC1))
    exact = float(ettr.daly_ettr(interval_min * MINUTE, 0.0, 5 * MINUTE, mtbf_s))
    assert simulated_ettr(accelerators, RSC1, interval_min, 5.0) == pytest.approx(exact, abs=0.006)


# Asynchronous checkpoints, section 4.


@pytest.mark.parametrize("persist_s", [0.0, 67.0, 436.0])
def test_a_failure_costs_half_an_interval_and_the_time_to_write(persist_s) -> None:
    """67 and 436 s of writing were measured (PyTorch and Crusoe 2025)."""
    work = job(first_step=np.array([0.0, 3e7]), step_s=np.array([1.0]), every=np.array([900.0]), stall_s=0.0, persist_s=persist_s)
    run = Run(work, hazards([component(SOFTWARE, 1 / 50_000.0)], (0.0,) * 9), fleet(8), 5)
    assert run.to(math.inf)
    close(run.job, 0.0, float(run.state[STEP]), run.seconds)
    failures = float(run.hazards.counted[0])
    assert failures > 400
    expected_s = float(ettr.async_rework_s(900.0, persist_s))
    assert run.seconds[LOST, 0] / failures == pytest.approx(expected_s, abs=4 * 260.0 / math.sqrt(failures))
    assert run.state[CHECKPOINTS] >= 3e7 / 900


# Llama 3, arXiv:2407.21783, table 5: 466 interruptions of 16,384 H100 in 54 days, by cause.

TABLE_5 = {
    "faulty GPU": 148, "GPU HBM3 memory": 72, "software bug": 54, "network switch or cable": 35, "unplanned host maintenance": 32,
    "GPU SRAM memory": 19, "GPU system processor": 17, "NIC": 7, "NCCL watchdog timeout": 7, "silent data corruption": 6,
    "GPU thermal interface and sensor": 6, "SSD": 3, "power supply": 3, "server chassis": 2, "IO expansion board": 2,
    "dependency": 2, "CPU": 2, "system memory": 2, "planned maintenance": 47}


def test_llama3_is_interrupted_as_often_by_each_cause_as_published() -> None:
    plan = plan_run(load_scenario(SCENARIOS / "llama3-405b.yaml").central())
    names = [c.name for c in plan.components]
    assert sum(TABLE_5.values()) == 466
    assert set(names) == set(TABLE_5)
    trials = 200
    counts = np.zeros(len(names))
    for trial in range(trials):
        history = History(plan, partial(stream, 54, trial))
        run_on(history, 54 * DAY)
        counts += history.hazards.counted
    means = dict(zip(names, counts / trials, strict=True))
    assert sum(means.values()) == pytest.approx(466, abs=4 * math.sqrt(466 / trials) + 2)
    for name, published in TABLE_5.items():
        assert means[name] == pytest.approx(published, abs=4 * math.sqrt(published / trials) + 0.005 * published), name


# Spares, section 7.

def availability(nodes: int, spares: int, rate_per_day: float, repair: list[float], days: float) -> float:
    """Share of time in which a job lacks no node; restarts take no time."""
    endless = job(first_step=np.array([0.0, 1e9]), step_s=np.array([DAY]), every=np.array([1e9]), stall_s=0.0, load_s=0.0,
                  nodes=float(nodes))
    h = hazards([component(HARDWARE, (nodes + spares) * rate_per_day / DAY)], (0.0,) * 9)
    h.table[LAW_REPAIR] = [*repair, 0.0, 0.0, math.inf]
    run = Run(endless, h, fleet(nodes, spares), 11)
    run.to(days * DAY)
    return 1.0 - float(run.seconds[WAIT].sum()) / float(run.state[NOW])


@pytest.mark.parametrize(("nodes", "rate", "mttr_days", "pool_99", "pool_999"), [
    (2048, 3.79e-3, 0.85, 13, 16),
    (2048, 3.79e-3, 5.5, 59, 64),
    (2048, 6.5e-3, 2.0, 39, 44),
    (128, 15.6e-3, 2.0, 9, 11),
    (48, 3e-3, 7.0, 4, 5),
])
def test_spare_pools_are_as_available_as_the_table_says(nodes, rate, mttr_days, pool_99, pool_999) -> None:
    """Spares fail as well, which the table leaves out: nodes in repair are binomial over all, Poisson in its limit."""
    days = 4e5 * mttr_days / (nodes * rate * mttr_days)
    for pool, target in ((pool_99, 0.99), (pool_999, 0.999)):
        found = availability(nodes, pool, rate, [EXPONENTIAL, mttr_days * DAY, 0.0], days)
        out = rate * mttr_days / (1.0 + rate * mttr_days)
        assert found == pytest.approx(binom.cdf(pool, nodes + pool, out), abs=0.25 * (1 - target))
        assert found == pytest.approx(poisson.cdf(pool, nodes * rate * mttr_days), abs=0.4 * (1 - target))
        assert found > target - 0.4 * (1 - target)


@pytest.mark.parametrize("repair", [[CONSTANT, 2.0 * DAY, 0.0], [LOGNORMAL, 2.0 * DAY * math.exp(-0.5), 1.0]])
def test_the_pool_depends_on_the_mean_of_repair_alone(repair) -> None:
    found = availability(128, 9, 15.6e-3, repair, 4e5)
    exponential = availability(128, 9, 15.6e-3, [EXPONENTIAL, 2.0 * DAY, 0.0], 4e5)
    assert found == pytest.approx(exponential, abs=0.002)


# Cost.


def test_a_run_has_as_many_events_on_many_nodes_as_on_few() -> None:
    """At the same rate of the whole job nothing is drawn that a job of a thirty-second of the size would not draw."""
    def after_a_day(accelerators: int, per_node: float) -> History:
        plan = plan_run(scenario(
            training={"tokens": "20000 B", "layout": {"microbatch": 1, "zero": 1}},
            cluster={"accelerators": accelerators, "spares": 0},
            failures={"components": [{"name": "any", "rate": f"{per_node} per 1 day", "kind": "software"}],
                      "recovery": {"detection": {"exponential": ["1 min"]}, "initialisation": "2 min"}}))
        history = History(plan, partial(stream, 9, 0))
        run_on(history, DAY)
        return history

    few, many = after_a_day(16, 32.0), after_a_day(512, 1.0)
    assert few.hazards.counted[0] == many.hazards.counted[0] > 30
    for one, other in zip(few.luck, many.luck, strict=True):
        assert str(one.bit_generator.state) == str(other.bit_generator.state)

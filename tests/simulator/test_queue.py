"""Many jobs on one cluster: closed forms, order, gangs, pre-emption, failures, conservation."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from simulator.cluster.queue_plan import draw_jobs, plan_queue
from simulator.montecarlo import run_queue_study
from simulator.montecarlo.streams import stream
from tests.simulator.queues import HOUR, given, mixed, queue, trial

CATEGORIES = ("productive", "lost", "checkpoint", "overhead", "idle", "repair")


def erlang_c(servers: int, load: float) -> float:
    """Return the chance to wait in M/M/c (Erlang 1917; Kleinrock, "Queueing Systems" I, equation 3.40)."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize("policy", ["fifo", "backfill"])
@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_node_jobs_wait_as_erlang_says(policy, load) -> None:
    servers, mean_s = 4, HOUR
    rate = load * servers / mean_s
    s = queue(jobs={"classes": [{"name": "m", "arrivals": f"{rate} / s", "accelerators": 8, "duration": {"exponential": "1 h"}}]},
              scheduler={"policy": policy}, horizon="400 days", warm_up="20 days")
    waits = np.array([trial(s, i).row["queue_mean_s"] for i in range(6)])
    expected = erlang_c(servers, load * servers) * mean_s / (servers * (1.0 - load))
    error = waits.std(ddof=1) / math.sqrt(waits.size)
    assert abs(waits.mean() - expected) < 4.0 * error
    assert error < 0.05 * expected


def test_utilisation_is_the_load_where_nothing_is_lost() -> None:
    s = queue(jobs={"classes": [{"name": "m", "arrivals": "48 per day", "accelerators": 8, "duration": {"exponential": "1 h"}}]},
              horizon="400 days", warm_up="10 days")
    row = trial(s).row
    assert row["utilisation"] == pytest.approx(0.5, rel=0.03)
    assert row["goodput"] == pytest.approx(1.0, abs=1e-9)


def test_fifo_starts_in_order_of_submission() -> None:
    rng = np.random.default_rng(3)
    found = [(round(t, 3), int(n), round(d, 3)) for t, n, d in
             zip(np.sort(rng.uniform(0, 20, 60)), rng.integers(1, 5, 60), rng.exponential(2.0, 60) + 0.1, strict=True)]
    jobs = trial(queue(jobs=given(*found))).jobs
    assert jobs["start_s"] == sorted(jobs["start_s"])


# Four nodes: the second waits for the first; the third fits beside it, the fourth would be in its way.
FIXED = [(0, 3, 10), (0.1, 4, 2), (0.2, 1, 5), (0.3, 1, 20)]


def test_backfill_lets_short_jobs_through_and_holds_the_reservation() -> None:
    strict, easy = (trial(queue(jobs=given(*FIXED), scheduler={"policy": p}, horizon="40 h")) for p in ("fifo", "backfill"))
    start = {p: [s / HOUR for s in r.jobs["start_s"]] for p, r in (("fifo", strict), ("backfill", easy))}
    assert start["fifo"] == pytest.approx([0, 10, 12, 12])
    assert start["backfill"] == pytest.approx([0, 10, 0.2, 12])
    early = [trial(queue(jobs=given(*FIXED), scheduler={"policy": p}, horizon="12 h")).row for p in ("fifo", "backfill")]
    assert early[1]["utilisation"] > early[0]["utilisation"]


def test_priority_goes_first_and_strictly() -> None:
    jobs = {"given": [{"name": "a", "submit": "0 s", "accelerators": 32, "duration": "1 h"},
                      {"name": "b", "submit": "1 min", "accelerators": 8, "duration": "1 h"},
                      {"name": "c", "submit": "2 min", "accelerators": 32, "duration": "1 h", "priority": 5}]}
    found = trial(queue(jobs=jobs, scheduler={"policy": "priority"})).jobs
    assert dict(zip(found["job"], found["start_s"], strict=True)) == pytest.approx({"a": 0.0, "b": 2 * HOUR, "c": HOUR})


def test_a_gang_starts_whole_or_not_at_all() -> None:
    for policy in ("fifo", "priority", "backfill"):
        jobs = pd.DataFrame(trial(mixed(failures="none", scheduler={"policy": policy})).jobs).dropna(subset="start_s")
        starts = [(s, n) for s, n in zip(jobs["start_s"], jobs["nodes"], strict=True)]
        ends = [(e, -n) for e, n in zip(jobs["end_s"].fillna(math.inf), jobs["nodes"], strict=True)]
        held = np.cumsum([n for _, n in sorted(starts + ends, key=lambda e: (round(e[0], 6), e[1]))])
        assert held.max() <= 20  # the spare is no job's to start on
        assert np.allclose(jobs["accelerator_hours"] * HOUR, jobs["run_s"] * jobs["nodes"] * 8)


def evict(preempted: str, **facts) -> pd.DataFrame:
    jobs = given((0, 4, 10), checkpoint_interval="1 h", checkpoint_time="6 min", restart="12 min", **facts)
    jobs["given"].append({"name": "urgent", "submit": "3.5 h", "accelerators": 16, "duration": "2 h", "priority": 9})
    s = queue(jobs=jobs, scheduler={"policy": "priority", "preemption": True, "preempted": preempted})
    return pd.DataFrame(trial(s).jobs).set_index("job")


def test_preemption_loses_work_since_the_last_checkpoint() -> None:
    found = evict("requeue")
    assert found.at["urgent", "queue_s"] == 0.0
    victim = found.loc["0"]
    assert (victim["preemptions"], victim["restarts"]) == (1, 1)
    assert victim["lost_s"] == pytest.approx(0.2 * HOUR)  # 3.5 h: three times 1.1 h, then 0.2 h
    assert victim["productive_s"] == pytest.approx(10 * HOUR)
    assert victim["overhead_s"] == pytest.approx(0.2 * HOUR)
    assert victim["checkpoint_s"] == pytest.approx(9 * 0.1 * HOUR)
    assert victim["requeue_s"] == pytest.approx(2 * HOUR)


def test_preemption_after_a_checkpoint_loses_no_work_but_time_to_write_it() -> None:
    found = evict("checkpoint")
    assert found.at["urgent", "queue_s"] == pytest.approx(0.1 * HOUR)
    assert found.at["0", "lost_s"] == 0.0
    assert found.at["0", "productive_s"] == pytest.approx(10 * HOUR)


def test_no_preemption_unless_allowed_and_none_while_protected() -> None:
    jobs = {"given": [{"name": "low", "submit": "0 s", "accelerators": 32, "duration": "10 h"},
                      {"name": "high", "submit": "1 h", "accelerators": 32, "duration": "1 h", "priority": 1}]}
    start = {}
    for name, scheduler in {"off": {}, "on": {"preemption": True}, "later": {"preemption": True, "protected": "2 h"}}.items():
        start[name] = trial(queue(jobs=jobs, scheduler={"policy": "priority", **scheduler})).jobs["start_s"][1] / HOUR
    assert start == pytest.approx({"off": 10.0, "on": 1.0, "later": 2.0})


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("scheduler", [
    {"policy": "fifo", "preemption": False}, {"policy": "priority", "preempted": "requeue"}, {"policy": "backfill"},
    {"policy": "backfill", "preempted": "requeue", "protected": "0 s"},
])
def test_node_time_and_job_time_are_conserved(scheduler, number) -> None:
    base = {"policy": "backfill", "preemption": True, "preempted": "checkpoint", "protected": "30 min"}
    s = mixed(scheduler={**base, **scheduler})
    result = trial(s, number)
    row, jobs = result.row, pd.DataFrame(result.jobs)
    assert sum(row[f"node_{name}_s"] for name in CATEGORIES) == pytest.approx(row["node_s"], rel=1e-9)
    assert row["node_s"] == 21 * 18 * 86400.0
    assert min(row[f"node_{name}_s"] for name in CATEGORIES) > 0.0
    assert row["cost_jobs_usd"] + row["cost_idle_usd"] == pytest.approx(row["cost_usd"], rel=1e-9)
    assert row["interruptions"] > 0
    parts = jobs[[f"{name}_s" for name in CATEGORIES[:4]]].sum(axis=1)
    assert np.allclose(parts, jobs["run_s"])
    horizon = s.horizon_s
    assert np.allclose(jobs["submit_s"] + jobs["queue_s"] + jobs["requeue_s"] + jobs["run_s"], jobs["end_s"].fillna(horizon))
    done = jobs[jobs["outcome"] == "completed"]
    work = [spec.duration_s for spec in draw_jobs(plan_queue(s), partial(stream, 7, number))]
    assert np.allclose(done["productive_s"], np.array(work)[done.index])
    assert set(jobs["outcome"]) <= {"completed", "running", "queued"}


def test_the_categories_hold_without_a_warm_up_and_at_its_edges() -> None:
    for warm_up in ("0 s", "1 h", "19.9 days"):
        row = trial(mixed(warm_up=warm_up)).row
        assert sum(row[f"node_{name}_s"] for name in CATEGORIES) == pytest.approx(row["node_s"], rel=1e-9)


def test_without_failures_nothing_is_lost_and_with_ever_more_of_them_goodput_falls() -> None:
    def goodput(rate: float) -> float:
        part = {"components": [{"name": "n", "rate": f"{rate} per 1000 days", "kind": "hardware"}],
                "recovery": {"detection": "10 min", "initialisation": "10 min", "repair": "4 h"}}
        row = trial(mixed(failures=part, scheduler={"policy": "backfill", "preemption": False})).row
        if rate == 0:
            assert row["node_lost_s"] == row["node_overhead_s"] == row["node_repair_s"] == row["failures"] == 0.0
        return row["goodput"]

    found = [goodput(rate) for rate in (0, 10, 100, 1000)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.97 > found[3]


def test_failures_strike_all_healthy_nodes_at_their_rate() -> None:
    part = {"components": [{"name": "n", "rate": "100 per 1000 days", "kind": "software"}]}
    rows = [trial(mixed(failures=part), i).row for i in range(5)]
    expected = 0.1 * 21 * 20  # rate x nodes x days, warm-up too
    assert np.mean([row["failures"] for row in rows]) == pytest.approx(expected, abs=4 * math.sqrt(expected / 5))
    share = sum(row["interruptions"] for row in rows) / sum(row["failures"] for row in rows)
    assert share == pytest.approx(np.mean([row["utilisation"] for row in rows]), abs=0.1)


def test_a_struck_job_without_a_free_node_goes_back_to_the_queue_until_repair() -> None:
    part = {"components": [{"name": "n", "rate": "1000 per 1000 days", "kind": "hardware"}],
            "recovery": {"repair": "5 h"}}
    jobs = {"given": [{"name": "a", "submit": "0 s", "accelerators": 32, "duration": "6 h"}]}
    tight, roomy = (pd.DataFrame(trial(queue(jobs=jobs, failures=part, cluster={"spares": n}, horizon="30 days")).jobs).iloc[0]
                    for n in (0, 20))
    assert tight["interruptions"] > 0
    assert tight["requeue_s"] >= 5 * HOUR
    assert roomy["requeue_s"] == 0.0


def test_a_crew_of_one_repairs_one_after_the_other() -> None:
    part = {"components": [{"name": "n", "rate": "200 per 1000 days", "kind": "hardware"}], "recovery": {"repair": "1 day"}}
    down = [trial(queue(failures=part, cluster={"repair_crew": crew}, horizon="200 days")).row for crew in (0, 1)]
    assert down[1]["node_repair_s"] > down[0]["node_repair_s"] > 0.0


def test_another_scheduler_meets_the_same_jobs() -> None:
    a, b = (trial(mixed(scheduler={"policy": p})).jobs for p in ("fifo", "backfill"))
    assert a["submit_s"] == b["submit_s"]
    assert a["accelerators"] == b["accelerators"]


def test_processes_give_bit_identical_rows_and_jobs() -> None:
    one, two = (run_queue_study(mixed(), workers=w) for w in (1, 2))
    pd.testing.assert_frame_equal(one.to_pandas(), two.to_pandas(), check_exact=True)
    pd.testing.assert_frame_equal(one.jobs(), two.jobs(), check_exact=True)
    assert one.to_pandas()["utilisation"].nunique() == 4


def test_what_is_not_known_is_drawn_once_a_trial() -> None:
    study = run_queue_study(mixed(pricing={"rental": {"price": {"uniform": ["1 USD/h", "3 USD/h"]}}}))
    prices = study.column("input pricing.rental.price")
    assert np.allclose(study.column("cost_usd"), prices * study.column("node_s") * 8)
    assert len(set(prices)) == 4

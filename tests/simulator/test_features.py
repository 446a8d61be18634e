"""Features of the run model: conservation with everything switched on at random, and the direction of each alone."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma

from simulator.cluster import plan_run, run_trial
from simulator.cluster.history import History
from simulator.cluster.job import run_on
from simulator.errors import UserError
from simulator.montecarlo.streams import stream
from tests.simulator.runs import rows, scenario

DAY = 86400.0


def component(kind: str, rate: float = 400.0, **more: Any) -> dict[str, Any]:
    """A component; `rate` per 1,000 days and node."""
    needed: dict[str, dict[str, Any]] = {
        "corruption": {"latency": "1 h"}, "slow": {"duration": "2 h", "severity": 0.3}, "flap": {"duration": "2 min"},
        "storage": {"duration": "1 h"}, "loss-spike": {"rollback": 200}}
    return {"name": kind, "kind": kind, "rate": f"{rate!r} per 1000 days", **needed.get(kind, {}), **more}


def failing(*components: dict[str, Any], recovery: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A profile with the base's recovery, but for what is given."""
    base = {"detection": "5 min", "replacement": "1 min", "initialisation": "2 min", "repair": "6 h"}
    return {"components": list(components), "recovery": base | (recovery or {}), **more}


def mean(found: list[dict[str, float]], name: str) -> float:
    return float(np.mean([row[name] for row in found]))


def categories(row: dict[str, float], prefix: str, unit: str) -> dict[str, float]:
    return {k: v for k, v in row.items() if k.startswith(prefix + "_") and k.endswith("_" + unit) and k != f"{prefix}_{unit}"}


# Everything at once.

times = st.sampled_from(["0 s", "30 s", "10 min", {"lognormal": ["3 min", 1.0]}, {"exponential": ["5 min"]},
                         {"triangular": ["1 min", "2 min", "9 min"]}, {"uniform": ["1 min", "4 min"]},
                         {"normal": ["3 min", "2 min"]}, {"choice": ["1 min", "20 min"]}])
long_times = st.sampled_from(["20 min", "2 h", {"lognormal": ["1 h", 1.0]}, {"exponential": ["40 min"]}])
KINDS = ("hardware", "software", "planned", "corruption", "loss-spike", "slow", "flap", "storage", "preemption")


@st.composite
def components(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=9, unique=True)):
        c = component(kind, draw(st.floats(0.0, 1500.0)))
        if kind in ("hardware", "preemption"):
            c |= {"blast_radius": draw(st.integers(1, 3)), "notice": draw(st.sampled_from(["0 s", "2 min"])),
                  "repair": draw(long_times)}
        if kind in ("corruption", "slow", "flap", "storage"):
            c["latency" if kind == "corruption" else "duration"] = draw(long_times)
        if kind == "planned" and draw(st.booleans()):
            c["duration"] = draw(long_times)
        if kind == "slow":
            c["severity"] = draw(st.sampled_from([0.05, {"uniform": [0.1, 2.0]}]))
        c |= {"shape": draw(st.sampled_from([0.6, 1.0, 1.0, 2.0])), "burst": draw(st.sampled_from([0.0, 0.0, 1.5])),
              "burst_spread": "10 min", "burst_domain": draw(st.integers(1, 4)), "detection": draw(times)}
        found.append(c)
    return found


copies = st.none() | st.fixed_dictionaries({
    "interval": st.sampled_from(["20 s", "5 min"]), "stall": st.sampled_from(["0 s", "0.3 s"]),
    "load": st.sampled_from(["5 s", "2 min"]), "nodes": st.integers(1, 3)})
features = st.fixed_dictionaries({
    "components": components(), "recovery": st.fixed_dictionaries({}, optional={
        "detection": times, "diagnosis": times, "replacement": times, "warm_replacement": times, "cold_replacement": times,
        "initialisation": times, "initialisation_per_node": st.just("1 s"), "warm_up": times, "quarantine": long_times}),
    "repair": long_times, "frailty": st.sampled_from([0.0, 0.5, 0.93]), "age": st.sampled_from(["0 s", "100 days"]),
    "cluster": st.fixed_dictionaries({
        "spares": st.integers(0, 3), "warm_spares": st.integers(0, 2), "cold_spares": st.integers(0, 2),
        "repair_crew": st.integers(0, 2), "quarantine_after": st.integers(0, 3),
        "variation": st.fixed_dictionaries({
            "speed_spread": st.sampled_from([0.0, 0.01]), "day_swing": st.sampled_from([0.0, 0.1]),
            "year_swing": st.sampled_from([0.0, 0.05])}),
        "slow_nodes": st.fixed_dictionaries({"action": st.sampled_from(["none", "evict"])}),
        "elasticity": st.fixed_dictionaries({"action": st.sampled_from(["wait", "shrink", "smaller-batch"]),
                                             "patience": st.sampled_from(["0 s", "10 min"])}),
        "maintenance": st.none() | st.just({"every": "3 h", "duration": "20 min"}),
        "growth": st.sampled_from([[], [{"at": "1 h", "accelerators": 64}],
                                   [{"at": "1 h", "accelerators": 64}, {"at": "90 min", "accelerators": 128}]])}),
    "checkpoint": st.fixed_dictionaries({
        "mode": st.sampled_from(["sync", "async"]), "persist_slowdown": st.sampled_from([0.0, 0.3]),
        "interval": st.sampled_from(["auto", "10 min", "1 h"]), "memory": copies, "local": copies})})


@given(features, st.integers(0, 10_000))
@settings(max_examples=150)
def test_every_second_joule_and_dollar_has_one_category_whatever_is_switched_on(f: dict[str, Any], seed: int) -> None:
    s = scenario(
        training={"tokens": "20 B", "batch_schedule": [{"until": "5 B", "batch": "0.5 M", "sequence": 1024},
                                                       {"batch": "1 M", "sequence": 2048}],
                  "layout": {"microbatch": 1, "zero": 1}},
        cluster=f["cluster"], checkpoint=f["checkpoint"],
        failures={"components": f["components"], "recovery": f["recovery"] | {"repair": f["repair"]}, "frailty": f["frailty"],
                  "age": f["age"]})
    plan = plan_run(s)
    try:
        result = run_trial(plan, partial(stream, seed, 0), keep_intervals=True)
    except UserError as error:
        assert "does not finish" in str(error)
        return
    row = result.row
    for prefix, unit in (("time", "s"), ("energy", "j"), ("cost", "usd")):
        parts = categories(row, prefix, unit)
        assert sum(parts.values()) == pytest.approx(row[f"{prefix}_{unit}"], rel=1e-9)
        assert min(parts.values()) >= -1e-9 * row[f"{prefix}_{unit}"], parts
    # What is in the final model was computed once: under one plan, or in part under each that the job grew to.
    nominal = [float(np.diff(p.job.first_step) @ p.job.step_s) for p in (plan, *(grown for _, grown in plan.growth))]
    booked = row["time_productive_s"] + row["time_straggler_s"]
    assert min(nominal) * (1 - 1e-6) <= booked <= max(nominal) * (1 + 1e-6)
    # Intervals tile the run.
    edges = [(a, b) for a, b, *_ in result.intervals]
    assert edges[0][0] == 0.0
    assert all(a[1] == pytest.approx(b[0], abs=1e-6) for a, b in itertools.pairwise(edges))
    assert edges[-1][1] == pytest.approx(row["time_s"], rel=1e-9)
    # The same seed gives the same row, also where nobody keeps intervals.
    assert run_trial(plan, partial(stream, seed, 0)).row == pytest.approx(row, rel=0, abs=0, nan_ok=True)


# Each alone. Base: four nodes, 1.4 days of work, a stall of 18 s every 30 min, 0.4 failures a node and day.

LONG = {"tokens": "2000 B"}  # 14 days


def counts_by_day(burst: float, days: int, trials: int) -> np.ndarray:
    """Events of the failure process by day, whatever the job does meanwhile."""
    s = scenario(failures=failing(component("software", burst=burst, burst_spread="10 min", burst_domain=4),
                                  recovery={"detection": "0 s", "initialisation": "0 s"}), training=LONG)
    plan = plan_run(s)
    found = []
    for trial in range(trials):
        result = run_trial(plan, partial(stream, 1, trial), keep_intervals=True)
        struck = [end for _, end, state, _, cause in result.intervals if state == "running" and cause]
        found.append(np.histogram(struck, days, (0.0, days * DAY))[0])
    return np.concatenate(found)


def test_bursts_raise_the_fano_factor_of_a_day() -> None:
    """Geometric bursts of mean 1 + b: Fano factor 1 + 2 b, so b = 1.2 gives InfiniteHBD's 3.4."""
    alone, bursts = (counts_by_day(b, 14, 20) for b in (0.0, 1.2))
    fano = [float(c.var(ddof=1) / c.mean()) for c in (alone, bursts)]
    assert fano[0] == pytest.approx(1.0, abs=0.3)
    assert fano[1] == pytest.approx(3.4, abs=0.9)
    assert bursts.mean() / alone.mean() == pytest.approx(2.2, rel=0.1)


FRAIL = {"accelerators": 128, "spares": 16}


def frail(**more: Any) -> History:
    """Return a history of up to 400 days on 16 nodes and 16 spares that fail by their frailty and are soon repaired."""
    s = scenario(cluster=FRAIL | more, training={"tokens": "20000 B"}, failures=failing(
        component("hardware", 100.0), recovery={"repair": "10 min", "detection": "10 s"}, frailty=0.93))
    history = History(plan_run(s), partial(stream, 3, 0))
    run_on(history, 400 * DAY)
    return history


def test_frailty_of_the_fitted_shape_has_the_measured_share_of_failures_in_the_worst_tenth() -> None:
    """Shape 0.93: a tenth of the nodes has 34 % of the rate, and 41 % of 584 faults of 400 servers, as InfiniteHBD counted."""
    s = scenario(cluster={"accelerators": 3200}, training={"layout": {"tensor": 8, "microbatch": 1}},
                 failures=failing(component("hardware", 4.2), frailty=0.93))
    weights = plan_run(s).hazards.frailty[:400]
    share = 1.0 - gamma.cdf(gamma.ppf(0.9, 0.93), 1.93)
    assert np.sort(weights)[-40:].sum() / weights.sum() == pytest.approx(share, abs=0.01)
    rng = np.random.default_rng(1)
    worst = [np.sort(rng.multinomial(584, weights / weights.sum()))[-40:].sum() / 584 for _ in range(200)]
    assert np.mean(worst) == pytest.approx(0.41, abs=0.015)


def test_frail_nodes_fail_as_often_as_they_should_in_a_run() -> None:
    """Counts are Poisson about the profile's rate times frailty, whose mean is 1."""
    history = frail()
    counts, weights = history.nodes.failures, history.hazards.frailty
    expected = 0.1 * history.state[0] / DAY * weights
    assert counts.sum() == pytest.approx(expected.sum(), abs=5 * np.sqrt(expected.sum()))
    chi = ((counts - expected) ** 2 / np.maximum(expected, 1.0)).mean()
    assert chi < 2.0


def test_quarantine_makes_interruptions_rarer() -> None:
    never, after_two = (frail(quarantine_after=n).hazards.counted.sum() for n in (0, 2))
    assert after_two < 0.8 * never


@pytest.mark.parametrize(("shape", "early"), [(0.6, True), (2.0, False)])
def test_infant_mortality_strikes_early_and_wear_late(shape, early) -> None:
    s = scenario(failures=failing(component("software", 100.0, shape=shape)), training=LONG)
    plan = plan_run(s)
    struck = []
    for trial in range(20):
        result = run_trial(plan, partial(stream, 1, trial), keep_intervals=True)
        struck += [end / result.row["time_s"] for _, end, state, _, cause in result.intervals if state == "running" and cause]
    assert len(struck) > 40
    assert (np.mean(struck) < 0.44) if early else (np.mean(struck) > 0.56)


def test_an_aged_cluster_has_outgrown_its_infant_mortality() -> None:
    fresh, aged = (mean(rows(scenario(failures=failing(component("software", 100.0, shape=0.6), age=age)), 40), "interruptions")
                   for age in ("0 s", "1000 days"))
    assert aged < 0.5 * fresh


def test_spares_that_must_boot_are_slower_and_those_that_must_be_fetched_slower_still() -> None:
    swaps = failing(component("hardware"), recovery={"warm_replacement": "20 min", "cold_replacement": "2 h"})
    hot, warm, cold = (mean(rows(scenario(failures=swaps, cluster={"spares": 0, kind: 8}), 30), "time_restart_s")
                       for kind in ("spares", "warm_spares", "cold_spares"))
    assert hot < warm < cold


def test_one_repairer_is_slower_than_many() -> None:
    often = failing(component("hardware", 1000.0))
    one, many = (mean(rows(scenario(cluster={"spares": 0, "repair_crew": n}, training=LONG, failures=often), 10),
                      "time_wait_for_spares_s") for n in (1, 0))
    assert one > 1.2 * many


COPY = {"interval": "1 min", "stall": "0.05 s", "load": "2 s"}


def test_copies_in_memory_cut_lost_work_and_loading() -> None:
    without, with_copies = (rows(scenario(checkpoint={"memory": m}), 30) for m in (None, COPY))
    assert mean(with_copies, "time_lost_s") < 0.2 * mean(without, "time_lost_s")
    assert mean(with_copies, "time_restart_s") < mean(without, "time_restart_s")
    assert mean(with_copies, "interruptions") > 0


@pytest.mark.parametrize(("kind", "helps"), [("software", True), ("hardware", False)])
def test_copies_on_a_nodes_own_disk_help_where_the_node_stays(kind, helps) -> None:
    without, with_copies = (mean(rows(scenario(failures=failing(component(kind)), checkpoint={"local": c}), 30), "time_lost_s")
                            for c in (None, COPY))
    assert (with_copies < 0.2 * without) if helps else (with_copies > 0.9 * without)


@pytest.mark.parametrize("action", ["shrink", "smaller-batch"])
def test_a_job_that_shrinks_waits_less_works_reduced_and_grows_back(action) -> None:
    def some(action: str) -> list[dict[str, float]]:
        return rows(scenario(cluster={"spares": 0, "elasticity": {"action": action, "patience": "5 min"}}), 30)

    waiting, shrinking = some("wait"), some(action)
    assert mean(shrinking, "time_wait_for_spares_s") < 0.2 * mean(waiting, "time_wait_for_spares_s")
    assert mean(waiting, "time_reduced_s") == 0.0
    assert mean(shrinking, "time_reduced_s") > 0.0
    assert mean(shrinking, "time_s") < mean(waiting, "time_s")
    # It grows back: six hours of repair at three nodes of four cost at most a third of them.
    assert mean(shrinking, "time_reduced_s") < mean(shrinking, "interruptions_hardware") * 6 * 3600 / 2


def test_eviction_bounds_what_slow_nodes_cost() -> None:
    slow = failing(component("slow", duration="10 h"))
    stay, go = (rows(scenario(failures=slow, cluster={"slow_nodes": {"action": a, "detection": "10 min"}}), 30)
                for a in ("none", "evict"))
    assert mean(go, "time_degraded_s") < 0.3 * mean(stay, "time_degraded_s")
    assert all(row["time_degraded_s"] <= (row["interruptions_slow"] + 1) * 600 for row in go)
    assert mean(stay, "interruptions") == 0.0
    assert mean(go, "interruptions_slow") > 0.0


@pytest.mark.parametrize(("tokens", "least", "most"), [("1400 B", 0.045, 0.055), ("20 B", 0.0, 0.02)])
def test_a_day_slows_by_half_its_swing_and_a_night_hardly(tokens, least, most) -> None:
    swinging = {"variation": {"day_swing": 0.1}}
    (row,) = rows(scenario(failures={"components": []}, training={"tokens": tokens}, cluster=swinging), 1)
    assert least <= row["time_degraded_s"] / row["time_productive_s"] <= most


def test_the_later_corruption_is_found_the_more_is_lost() -> None:
    lost = [mean(rows(scenario(failures=failing(component("corruption", latency=latency))), 30), "time_lost_s")
            for latency in ("5 min", "1 h", "5 h")]
    assert lost == sorted(lost)
    found = rows(scenario(failures=failing(component("corruption", latency="5 h"))), 30)
    for row in found:
        assert row["time_lost_s"] >= (row["interruptions_corruption"] > 0) * 4.5 * 3600 - 18.5 * 20


def test_a_loss_spike_goes_back_at_least_its_steps() -> None:
    """Of a spike in the first steps all work is lost; no other may lose less than its 20,000 steps of 0.6 s."""
    s = scenario(failures=failing(component("loss-spike", rollback=20_000)))
    steps_s = 20_000 * float(plan_run(s).step_s[0])
    found = [row for row in rows(s, 60) if row["interruptions"] == 1.0]
    assert len(found) > 5
    assert np.mean([row["time_lost_s"] >= steps_s for row in found]) > 0.8
    assert max(row["time_lost_s"] for row in found) <= steps_s + 3600


def test_outages_of_storage_keep_work_from_becoming_durable() -> None:
    down = component("storage", 1000.0, duration="5 h")
    well, ill = (rows(scenario(failures=failing(component("software"), *more)), 40) for more in ((), (down,)))
    assert mean(ill, "time_lost_s") > 1.5 * mean(well, "time_lost_s")
    assert mean(ill, "time_restart_s") > 1.5 * mean(well, "time_restart_s")
    assert mean(ill, "interruptions_storage") == 0.0


@pytest.mark.parametrize(("notice", "loses"), [("2 min", False), ("5 s", True)])
def test_a_preemption_with_notice_loses_no_work(notice, loses) -> None:
    found = rows(scenario(failures=failing(component("preemption", notice=notice)), cluster={"spares": 30}), 30)
    assert mean(found, "interruptions_preemption") > 0
    once = [row["time_lost_s"] for row in found if row["interruptions"] == 1]
    assert (np.mean(once) > 300) if loses else (max(once) < 1e-6)


def test_maintenance_books_its_windows() -> None:
    s = scenario(failures={"components": []}, cluster={"maintenance": {"every": "10 h", "duration": "1 h"}})
    (row,) = rows(s, 1)
    windows = row["interruptions_planned"]
    assert windows == np.floor(row["time_s"] / 36_000.0)
    assert row["time_maintenance_s"] == pytest.approx(windows * 3600.0)
    assert row["time_lost_s"] == pytest.approx(0.0, abs=1e-6)


def test_nodes_that_come_back_during_maintenance_end_the_wait() -> None:
    """A recovery that had waited for longer than its restart takes once never ended."""
    s = scenario(cluster={"spares": 0, "maintenance": {"every": "10 days", "duration": "1 day"}}, training=LONG, failures=failing(
        component("hardware", 40.0), recovery={"repair": {"uniform": ["5 days", "15 days"]}}))
    assert all(row["time_s"] > 0 for row in rows(s, 40))


def test_growth_shortens_the_run_and_the_job_restarts_with_it() -> None:
    grown = {"growth": [{"at": "6 h", "accelerators": 64}]}
    small, large = (scenario(failures={"components": []}, training={"layout": {"microbatch": 1, "zero": 1}}, cluster=c)
                    for c in ({}, grown))
    plan = plan_run(large)
    assert [p.job_nodes for _, p in plan.growth] == [8]
    assert plan.growth[0][1].steps == plan.steps
    before, after = rows(small, 1)[0], rows(large, 1)[0]
    assert after["time_s"] < 0.75 * before["time_s"]
    assert after["time_restart_s"] > 0.0
    assert after["time_lost_s"] == pytest.approx(0.0, abs=1e-6)


def test_a_flap_is_booked_as_a_network_stall_and_nothing_else() -> None:
    still, flapping = (rows(scenario(failures=failing(*c)), 10) for c in ((), (component("flap"),)))
    for calm, row in zip(still, flapping, strict=True):
        assert row["time_network_stall_s"] == row["interruptions_flap"] * 120.0
        assert row["time_s"] - row["time_network_stall_s"] == pytest.approx(calm["time_s"], rel=1e-9)

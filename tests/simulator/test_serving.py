"""A fleet that serves: what every trial conserves, what loads look like, and what each feature does."""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.cli import app
from simulator.errors import UserError
from simulator.montecarlo.serving import needed_replicas, run_serve_study, with_replicas
from simulator.montecarlo.streams import stream
from simulator.report.serving import serve_figure, serve_view
from simulator.scenario import load_file, load_serving
from simulator.serving import load as loads
from simulator.serving.costs import costs, kinds
from simulator.serving.histogram import SIZE, bins, quantile_s
from simulator.serving.load import Block, Demand, demand, rate_of
from tests.simulator.fleets import fleet, served

BUSY = {"components": [{"name": "node", "rate": "20000 per day", "kind": "hardware"},
                       {"name": "hang", "rate": "10000 per day", "kind": "software"}],
        "recovery": {"detection": "5 s", "replacement": {"lognormal": ["10 s", 0.5]}}}
features = st.fixed_dictionaries({
    "rate": st.sampled_from(["1 per s", "6 per s", "40 per s"]), "seed": st.integers(0, 10**6),
    "split": st.booleans(), "drafts": st.booleans(), "prefixes": st.sampled_from([None, "least-requests", "affinity"]),
    "scaled": st.booleans(), "fails": st.booleans(), "tiers": st.sampled_from([0, 1]), "limit": st.sampled_from([0, 3]),
    "memory": st.sampled_from([0.9, 0.0357]), "warm_up": st.sampled_from(["0 s", "20 s"])})


def scenario_of(case: dict[str, Any]) -> Any:
    serving: dict[str, Any] = {"memory_share": case["memory"], "queue_limit": case["limit"], "cold_start": "5 s"}
    if case["split"]:
        serving["prompts"] = {"replicas": 1, "requests": 4, "chunk": 64}
    if case["drafts"]:
        serving["speculation"] = {"drafts": 3, "acceptance": 0.7}
    if case["prefixes"]:
        serving["prefix_cache"] = {"groups": 6, "tokens": {"uniform": [10, 60]}, "capacity": 0.2, "routing": case["prefixes"]}
    if case["scaled"]:
        serving["autoscale"] = {"least": 1, "most": 4, "target": 4, "every": "5 s", "calm": "10 s"}
    if case["tiers"]:
        serving["tiers"] = [{"name": "paid", "share": 0.3, "replicas": 1}, {"name": "free", "share": 0.7}]
    return fleet(serving=serving, load={"rate": case["rate"], "warm_up": case["warm_up"]},
                 failures=BUSY if case["fails"] else "none", monte_carlo={"trials": 1, "seed": case["seed"]})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(features)
def test_requests_tokens_time_energy_and_dollars_are_conserved(case):
    scenario = scenario_of(case)
    found = served(scenario)
    b, row = found.balance, found.row
    assert b["came"] == b["gone"] + b["running"] + b["refused"]
    assert row["requests"] == row["done"] + row["rejected"] + row["unfinished"]
    np.testing.assert_allclose(b["made"], b["made_requests"])
    np.testing.assert_allclose(b["worked"], b["worked_requests"])
    np.testing.assert_allclose(b["busy_s"], b["used_s"], atol=1e-9)
    np.testing.assert_allclose(b["batch_s"], b["inside_s"], atol=1e-7)  # Little's law: mean number x time = sum of stays
    tiers = [f"tier {tier.name} " for tier in scenario.serving.tiers]
    for name in ("requests", "done", "rejected", "met", "tokens", "evictions"):
        assert row[name] == sum(row[f"{tier}{name}"] for tier in tiers)
    if row["utilisation"] > 0.0:
        for total, idle in (("energy_j", "energy_idle_j"), ("cost_usd", "cost_idle_usd")):
            np.testing.assert_allclose(row[total], row[idle] + sum(row[f"{tier}{total}"] for tier in tiers))


def test_the_dollars_of_a_fixed_fleet_are_those_of_its_accelerators():
    row = served(fleet(load={"warm_up": "10 s"})).row
    assert row["cost_usd"] == pytest.approx(2 * 50 / 3600 * 2.0)
    assert row["accelerators_mean"] == pytest.approx(2.0)


def test_the_energy_of_an_idle_fleet_is_that_of_idle_nodes():
    row = served(fleet(load={"rate": "1 per 1000 days"})).row
    assert row["requests"] == 0.0
    assert row["energy_j"] == pytest.approx(row["energy_idle_j"])
    assert math.isnan(row["energy_per_query_j"])


def test_a_block_boundary_changes_nothing(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{t:.3f},{p},{o}" for t, p, o in zip(np.sort(rng.random(400)) * 55.0, rng.integers(1, 99, 400),
                                                  rng.integers(1, 60, 400), strict=True)]
    file = tmp_path / "trace.csv"
    file.write_text("arrival,prompt_tokens,output_tokens\n" + "\n".join(lines) + "\n")
    scenario = fleet(serving={"prefix_cache": {"groups": 5, "tokens": 20}},
                     load={"rate": None, "trace": str(file)}, failures=BUSY)
    rows = []
    for size in (7, 50_000):
        monkeypatch.setattr(loads, "BLOCK", size)
        rows.append(served(scenario).row)
    assert rows[0]["requests"] == 400
    assert rows[0] == pytest.approx(rows[1], nan_ok=True)


def test_a_load_follows_day_weekend_and_bursts():
    scenario = fleet(load={"rate": "2 per s", "duration": "14 days", "day_swing": 0.5, "weekend": 0.4})
    arrival_s = np.concatenate([block.traffic.arrival_s for block in demand(scenario, partial(stream, 1, 0)).blocks])
    assert (np.diff(arrival_s) >= 0.0).all()
    days = np.bincount((arrival_s // 86400).astype(int))
    mean = np.array([0.4 if day % 7 >= 5 else 1.0 for day in range(14)]) * 2.0 * 86400
    assert (np.abs(days - mean) < 5.0 * np.sqrt(mean)).all()
    hours = np.bincount((arrival_s % 86400 // 3600).astype(int))
    assert hours[13:15].sum() / hours[1:3].sum() == pytest.approx(3.0, rel=0.05)  # 1.5 over 0.5


def test_bursts_raise_the_rate_while_they_last():
    burst = {"every": "1 h", "duration": "10 min", "times": 3}
    load = fleet(load={"rate": "1 per s", "duration": "30 days", "bursts": burst}).load
    found = rate_of(load, np.random.default_rng(1))
    per_s = np.diff(found.expected) / np.diff(found.edges_s)
    assert set(np.round(np.unique(per_s), 5)) == {1.0, 3.0}
    inside = np.diff(found.edges_s)[per_s > 2.0].sum() / found.edges_s[-1]
    assert inside == pytest.approx(1.0 - math.exp(-1.0 / 6.0), rel=0.15)  # of an M/G/infinity queue that is not empty


def test_lengths_are_those_of_the_distribution(tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text("\n".join(["tokens", *["100"] * 50, *["300"] * 50]) + "\n")
    scenario = fleet(load={"rate": "500 per s", "prompt": {"empirical": {"csv": str(file)}}, "output": {"lognormal": [200, 1.0]},
                           "longest": 1000, "reasoning": {"share": 0.25, "tokens": 5000}})
    traffic = next(demand(scenario, partial(stream, 1, 0)).blocks).traffic
    assert np.isin(traffic.prompt, (100, 300)).mean() > 0.98
    assert np.median(traffic.output[traffic.output < 1000]) == pytest.approx(185, rel=0.1)  # cut at 1000
    assert (traffic.output == 1000).mean() > 0.25
    assert traffic.output.max() == 1000


@pytest.mark.parametrize(("text", "said"), [
    ("arrival,prompt_tokens\n1,2\n", "missing column 'output_tokens'"),
    ("arrival,prompt_tokens,output_tokens\n1,2,x\n", ":2: output_tokens: found 'x'"),
    ("arrival,prompt_tokens,output_tokens\n1,0,5\n", ":2: prompt_tokens: found '0'; allowed: a whole number from 1"),
    ("arrival,prompt_tokens,output_tokens\n-1,2,5\n", "allowed: seconds from the start"),
    ("arrival,prompt_tokens,output_tokens,tier\n1,2,5,gold\n", "unknown tier 'gold'"),
    ("arrival,prompt_tokens,output_tokens,teir\n1,2,5,gold\n", "did you mean 'tier'?"),
    ("arrival,prompt_tokens,output_tokens\n1,2\n", "found 2 cells; allowed: 3"),
    ("arrival,prompt_tokens,output_tokens\n", "found no requests"),
    ("arrival,prompt_tokens,output_tokens\n9999,2,5\n", "found no request before the 60 s"),
])
def test_a_wrong_trace_is_refused_with_its_place(tmp_path, text, said):
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=r"trace\.csv") as error:
        served(fleet(load={"rate": None, "trace": str(file)}))
    assert said in str(error.value)


def test_a_trace_may_name_tiers(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("arrival,prompt_tokens,output_tokens,tier\n2,20,5,b\n1,30,5,a\n3,10,5,b\n")
    row = served(fleet(serving={"tiers": [{"name": "a"}, {"name": "b"}]}, load={"rate": None, "trace": str(file)})).row
    assert (row["tier a requests"], row["tier b requests"], row["tier b tokens"]) == (1.0, 2.0, 10.0)


def test_quantiles_of_the_histogram_are_right_within_half_a_percent():
    times_s = np.exp(np.random.default_rng(0).normal(0.0, 1.5, 200_000))
    counts = np.bincount(bins(times_s), minlength=SIZE)
    for q in (0.5, 0.9, 0.99):
        assert quantile_s(counts, q) == pytest.approx(np.quantile(times_s, q), rel=0.005)
    assert math.isinf(quantile_s(np.bincount(bins(np.array([1.0, np.inf, np.nan])), minlength=SIZE), 0.5))


def test_the_first_tier_waits_less_where_slots_are_full():
    tiers = [{"name": "paid", "share": 0.3}, {"name": "free", "share": 0.7}]
    row = served(fleet(serving={"tiers": tiers, "pool": {"replicas": 1}}, load={"rate": "60 per s"})).row
    assert row["tier paid ttft_p90_s"] < 0.5 * row["tier free ttft_p90_s"]


def test_a_queue_limit_refuses_and_bounds_the_wait():
    load = {"rate": "200 per s"}
    free, limited = (served(fleet(serving={"queue_limit": limit}, load=load)).row for limit in (0, 5))
    assert free["rejected"] == 0.0
    assert limited["rejected"] > 0.0
    assert limited["ttft_p99_s"] < free["ttft_p99_s"]


def test_a_request_that_can_never_fit_is_refused():
    row = served(fleet(serving={"memory_share": 0.0357}, load={"prompt": 5000.0, "rate": "1 per s"})).row
    assert row["rejected"] == row["requests"] > 0.0


def test_affinity_finds_more_beginnings_than_the_shortest_queue():
    cache = {"groups": 40, "tokens": 50, "capacity": 0.002, "popularity": 0.5}
    spread, near = (served(fleet(serving={"pool": {"replicas": 4}, "prefix_cache": {**cache, "routing": routing}},
                                 load={"rate": "20 per s"})).row for routing in ("least-requests", "affinity"))
    assert near["prefix_hit_rate"] > spread["prefix_hit_rate"] > 0.0


def test_beginnings_of_hostile_requests_drive_out_those_of_honest_ones():
    scenario = fleet(serving={"prefix_cache": {"groups": 20, "tokens": 50, "capacity": 0.002}}, load={"rate": "20 per s"})

    def thrash(asked: Demand) -> Demand:
        def blocks() -> Any:
            seen = 0
            for until_s, traffic in asked.blocks:
                hostile = np.arange(traffic.size) % 2 == 1
                group = np.where(hostile, 20 + (seen + np.arange(traffic.size)) % 2000, traffic.group)
                seen += traffic.size
                yield Block(until_s, traffic._replace(hostile=hostile, group=group))
        return Demand(blocks(), np.concatenate([asked.beginnings, np.full(2000, 50.0)]))

    calm, thrashed = served(scenario).row, served(scenario, change=thrash).row
    assert thrashed["prefix_hit_rate"] < 0.5 * calm["prefix_hit_rate"]
    assert thrashed["hostile requests"] == pytest.approx(0.5 * thrashed["requests"], abs=1)
    assert thrashed["requests"] == calm["requests"]


def test_refused_traffic_never_reaches_the_fleet():
    def refuse(asked: Demand) -> Demand:
        blocks = (Block(b.until_s, b.traffic._replace(refused=np.arange(b.traffic.size) % 4 == 0)) for b in asked.blocks)
        return Demand(blocks, asked.beginnings)

    plain, row = served(fleet()).row, served(fleet(), change=refuse).row
    assert row["requests"] == plain["requests"]
    assert row["rejected"] == pytest.approx(row["requests"] / 4, abs=1)
    assert row["done"] == row["requests"] - row["rejected"]


def test_accepted_drafts_shorten_the_time_per_token():
    plain = served(fleet()).row
    drafted = served(fleet(serving={"speculation": {"drafts": 3, "acceptance": 0.8, "draft_time": 0.05}})).row
    speed_up = (1 - 0.8**4) / 0.2 / 1.15  # tokens an iteration over its length
    assert plain["tpot_p50_s"] / drafted["tpot_p50_s"] == pytest.approx(speed_up, rel=0.15)


def test_prompts_apart_do_not_delay_tokens():
    load = {"rate": "6 per s", "prompt": 8000.0, "output": 400.0}
    mixed = served(fleet(serving={"pool": {"replicas": 4, "requests": 64, "chunk": 8192}}, load=load)).row
    apart = served(fleet(serving={"pool": {"replicas": 2, "requests": 64},
                                  "prompts": {"replicas": 2, "requests": 8, "chunk": 8192}},
                         load=load)).row
    assert apart["done"] == mixed["done"]
    assert apart["tpot_p99_s"] / apart["tpot_p50_s"] < mixed["tpot_p99_s"] / mixed["tpot_p50_s"]


def test_narrow_weights_and_caches_leave_room_for_more_requests():
    wide, weights, both = (kinds(fleet(model="llama-3.1-8b", serving=how))[0].capacity
                           for how in ({}, {"weights": "fp8"}, {"weights": "fp8", "cache": "fp8"}))
    assert weights > wide + 40_000  # some 8 GB of 131 kB a token
    assert both == pytest.approx(2.0 * weights, abs=1)


def test_contexts_that_go_to_another_pool_take_the_time_of_their_bytes():
    scenario = fleet(serving={"prompts": {"replicas": 1}})
    found = costs(scenario, kinds(scenario))
    nic = 50e9 * scenario.serving.fabric.efficiency
    assert found.transfer_s == pytest.approx(2 * 2 * 24 * 2048 / nic)  # keys and values of 24 layers in 16 bits


def test_failures_take_replicas_down_and_requests_come_again():
    load = {"rate": "10 per s", "output": 300.0}
    plain, failing = served(fleet(load=load)), served(fleet(load=load, failures=BUSY, serving={"cold_start": "5 s"}))
    assert failing.row["failures"] > 0.0
    assert failing.row["evictions"] > 0.0
    assert failing.timeline["replicas_up"].min() < 2.0
    assert failing.row["tpot_p99_s"] > plain.row["tpot_p99_s"]


def test_replicas_follow_the_load_and_cost_while_they_start():
    load = {"rate": "20 per s", "duration": "10 min", "output": 200.0}
    scaled = {"autoscale": {"least": 1, "most": 6, "target": 4, "every": "5 s", "calm": "20 s"}, "cold_start": "20 s"}
    found = served(fleet(serving={**scaled, "pool": {"replicas": 1}}, load=load))
    up = found.timeline["replicas_up"]
    assert up[0] == 1.0
    assert up.max() > 2.0
    assert found.row["starts"] > 0.0
    assert found.row["accelerators_mean"] > up.mean()  # cold starts and draining cost as well
    calm = served(fleet(serving={**scaled, "pool": {"replicas": 6}}, load={**load, "rate": "1 per s"}))
    assert calm.timeline["replicas_up"][-1] == 1.0


def test_replicas_needed_are_the_fewest_that_keep_the_promises():
    scenario = fleet(load={"rate": "60 per s"}, slo={"first_token": "100 ms", "per_token": "50 ms", "share": 0.95})
    count, share = needed_replicas(scenario)
    assert share >= 0.95
    assert count > 1
    fewer = run_serve_study(with_replicas(scenario, count - 1))
    assert fewer.column("met").sum() / fewer.column("requests").sum() < 0.95


def test_promises_that_no_fleet_keeps_are_said():
    with pytest.raises(UserError, match=r"serve --size.*allowed: a later slo\.first_token"):
        needed_replicas(fleet(slo={"first_token": "1 us"}, load={"rate": "1 per s"}))


def test_what_is_not_known_is_drawn_once_a_trial_and_trials_repeat():
    scenario = fleet(load={"rate": {"uniform": ["1 per s", "8 per s"]}}, monte_carlo={"trials": 4, "seed": 5})
    one, two = run_serve_study(scenario), run_serve_study(scenario)
    assert np.unique(one.column("input load.rate")).size == 4
    assert np.corrcoef(one.column("input load.rate"), one.column("requests"))[0, 1] > 0.98
    assert repr(one.rows) == repr(two.rows)  # NaN where there is none


def test_latencies_of_trials_are_ordered_quantiles():
    row = served(fleet()).row
    for kind in ("ttft", "tpot", "e2e"):
        assert all(a <= b for a, b in pairwise(row[f"{kind}_p{q}_s"] for q in (50, 90, 99)))
    assert row["ttft_p50_s"] < row["e2e_p50_s"]


def test_serve_prints_writes_and_draws(tmp_path, capsys):
    file = tmp_path / "small.yaml"
    import yaml

    from tests.simulator.fleets import BASE

    file.write_text(yaml.safe_dump(BASE))
    assert load_serving(file).serving.pool.replicas == 2
    app(["serve", str(file), "--json", "--size", "--plot", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")],
        standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["needed"]["replicas"] >= 1
    assert found["groups"]["tier users"]["requests"]["mean"] == found["results"]["requests"]["mean"]
    assert {f.name for f in (tmp_path / "out").iterdir()} >= {"trials.parquet", "timeline.parquet", "latencies.parquet",
                                                              "summary.json", "scenario.yaml"}
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert load_serving(tmp_path / "out" / "scenario.yaml") is not None


def test_the_table_names_every_tier():
    from rich.console import Console

    study = run_serve_study(fleet(serving={"tiers": [{"name": "gold"}, {"name": "others"}]}))
    console = Console(record=True, width=120)
    with console.capture() as shown:
        console.print(serve_view(study, (3, 0.995)))
    text = shown.get()
    assert "gold" in text
    assert "others" in text
    assert "Replicas needed: 3" in text
    assert len(serve_figure(study).axes) == 6


def test_run_and_serve_name_each_other(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("name: x\nserving: {}\n")
    with pytest.raises(UserError, match="clustercost serve"):
        load_file(file)
    file.write_text("name: x\njobs: {}\n")
    with pytest.raises(UserError, match="clustercost run"):
        load_serving(file)


@pytest.mark.parametrize(("sections", "said"), [
    ({"serving": {"pool": {"tensor": 1}}, "model": "llama-3.1-405b"}, "leave no room for a cache"),
    ({"serving": {"acelerator": "x"}}, "did you mean 'accelerator'?"),
    ({"serving": {"accelerator": "h10"}}, "unknown accelerator 'h10'"),
    ({"serving": {"tiers": [{"name": "a"}, {"name": "a"}]}}, "each name once"),
    ({"load": {"trace": "x.csv"}}, "allowed: one of the two"),
    ({"load": {"warm_up": "60 s"}}, "allowed: less"),
    ({"serving": {"autoscale": {"most": 1}}}, "between which replicas are scaled"),
])
def test_what_is_wrong_is_said(sections, said):
    with pytest.raises(UserError) as error:
        served(fleet(**sections))
    assert said in str(error.value)


def test_the_ready_files_are_read():
    for file in sorted(Path("scenarios").glob("serve-*.yaml")):
        assert load_serving(file).model.name

"""Attacks and defences: what is hostile comes on top, luck is shared, and each defence does what it says and no more."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from simulator.cli import app
from simulator.errors import UserError
from simulator.montecarlo.streams import stream
from simulator.planning.threats import ALL, ATTACK, CALM, PEACE, ThreatStudy, breaking_point, run_threats, size_threats, variants
from simulator.report.threats import threats_figure, threats_view
from simulator.scenario import load_serving
from simulator.scenario.serving import CutOff, Defences, ServingScenario
from simulator.serving.defences import _Budget, _scattered, defended
from simulator.serving.load import Traffic, demand, joined
from simulator.serving.plan import plan_serving
from simulator.serving.threats import FIRST_ATTACKER, attacked, attacker_usd
from tests.simulator.fleets import fleet, served

ROOT = Path(__file__).parents[2]
LONG = {"kind": "long-output", "share": 0.2, "amplification": 10.0}


def hostile(kind: str = "long-output", share: Any = 0.2, amplification: Any = 5.0, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "share": share, "amplification": amplification, **more}


def requests(scenario: ServingScenario, trial: int = 0) -> Traffic:
    """Return all requests that reach the door of the fleet and what defences did to them."""
    plan, luck = plan_serving(scenario), partial(stream, 3, trial)
    asked = defended(plan.scenario, attacked(plan, demand(plan.scenario, luck), luck), luck)
    return joined(*(block.traffic for block in asked.blocks))


def same(a: Traffic, b: Traffic) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", ["long-output", "sponge-prompt", "tool-loop", "cache-thrash", "flood"])
def test_honest_requests_are_the_same_with_an_attack_and_without(kind: str) -> None:
    serving = {"prefix_cache": {"groups": 20, "tokens": 50, "capacity": 0.01}}
    calm = requests(fleet(serving=serving))
    found = requests(fleet(serving=serving, attack=hostile(kind)))
    assert same(calm, found.where(~found.hostile))
    assert found.hostile.any()
    assert (np.diff(found.arrival_s) >= 0.0).all()


def test_the_share_of_hostile_requests_is_what_was_asked_for() -> None:
    load = {"rate": "200 per s"}
    for share in (0.05, 0.5):
        found = requests(fleet(load=load, attack=hostile(share=share)))
        assert found.hostile.mean() == pytest.approx(share, rel=0.06)
    calm = requests(fleet(load=load))
    flood = requests(fleet(load=load, attack=hostile("flood", share=0.1, amplification=20)))
    assert flood.hostile.sum() == pytest.approx(calm.size / 9 * 20, rel=0.03)


@settings(max_examples=15, deadline=None)
@given(low=st.floats(0.0, 0.6), high=st.floats(0.0, 0.6))
def test_hostile_requests_of_a_smaller_share_are_among_those_of_a_larger_one(low: float, high: float) -> None:
    low, high = sorted((low, high))
    few, many = (requests(fleet(attack=hostile(share=share))) for share in (low, high))
    few, many = few.where(few.hostile), many.where(many.hostile)
    assert np.isin(few.arrival_s, many.arrival_s).all()
    place = np.searchsorted(many.arrival_s, few.arrival_s)
    assert np.array_equal(many.output[place], few.output)


def test_long_answers_are_so_many_times_as_long_up_to_the_limit() -> None:
    load = {"rate": "100 per s", "longest": 1000}
    plain = requests(fleet(load=load, attack=hostile(amplification=1.0)))
    longer = requests(fleet(load=load, attack=hostile(amplification=7.0)))
    assert np.array_equal(longer.output[longer.hostile], np.minimum(7.0 * plain.output[plain.hostile], 1000.0))
    assert np.array_equal(longer.prompt, plain.prompt)


def test_sponges_have_long_prompts_that_begin_as_no_other() -> None:
    serving = {"prefix_cache": {"groups": 20, "tokens": 50}}
    plain = requests(fleet(serving=serving, attack=hostile("sponge-prompt", amplification=1.0)))
    found = requests(fleet(serving=serving, attack=hostile("sponge-prompt", amplification=30.0, longest_prompt=2000)))
    mine = found.hostile
    assert np.array_equal(found.prompt[mine], np.minimum(30.0 * plain.prompt[mine], 2000.0))
    assert (found.group[mine] == -1).all()
    assert (found.group[~mine] >= 0).all()


def test_turns_of_a_loop_have_growing_prompts_and_come_one_after_the_other() -> None:
    found = requests(fleet(load={"rate": "2 per s", "duration": "10 min"},
                           attack=hostile("tool-loop", share=0.02, amplification=6.0, users=1000, turn="5 s", tool_result=100)))
    mine = found.where(found.hostile)
    users, count = np.unique(mine.user, return_counts=True)
    whole = users[(count == 6)]
    assert whole.size >= 5
    for user in whole:
        chain = mine.where(mine.user == user)
        assert np.diff(chain.arrival_s) == pytest.approx(np.full(5, 5.0))
        assert np.array_equal(np.diff(chain.prompt), np.full(5, chain.output[0] + 100.0))


def test_a_loop_over_blocks_loses_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = fleet(load={"rate": "5 per s", "duration": "100 s"}, attack=hostile("tool-loop", amplification=4.0, turn="3 s"))
    whole = requests(scenario)
    monkeypatch.setattr("simulator.serving.load.BLOCK", 20)
    parts = requests(scenario)
    for found in (whole, parts):
        mine = found.where(found.hostile)
        turns = mine.arrival_s[mine.arrival_s < 100.0 - 9.0].size
        assert turns > 100
    assert parts.hostile.sum() == pytest.approx(whole.hostile.sum(), rel=0.35)  # other luck, as blocks draw one by one
    assert (np.diff(parts.arrival_s) >= 0.0).all()


def test_a_thrashed_cache_finds_less_of_what_honest_prompts_begin_with() -> None:
    parts = {"serving": {"prefix_cache": {"groups": 20, "tokens": 50, "capacity": 0.002}}, "load": {"rate": "20 per s"}}
    calm = served(fleet(**parts)).row
    thrashed = served(fleet(**parts, attack=hostile("cache-thrash", share=0.5, amplification=1.0))).row
    assert thrashed["prefix_hit_rate"] < 0.5 * calm["prefix_hit_rate"]
    assert served(fleet(**parts, attack=hostile("cache-thrash", share=0.0, amplification=1.0))).row["prefix_hit_rate"] == \
        calm["prefix_hit_rate"]


def test_thrashing_needs_a_cache_and_a_flood_has_an_end() -> None:
    with pytest.raises(UserError, match=r"attack.kind: found 'cache-thrash' without a cache"):
        fleet(attack=hostile("cache-thrash"))
    with pytest.raises(UserError, match="900 hostile requests for each honest one; allowed: at most 500"):
        requests(fleet(attack=hostile("flood", share=0.9, amplification=100.0)))


@pytest.mark.parametrize("section", [hostile(), hostile("tool-loop"), hostile("flood")])
def test_requests_and_tokens_are_conserved_under_attack_and_defence(section: dict[str, Any]) -> None:
    defences = {"output_cap": 60, "user_budget": 900, "cut_off": {"detection": 0.5, "false_positives": 0.1, "after": 20},
                "isolation": {"replicas": 1, "unknown": 0.2}, "length_aware": {"above": 50}}
    for found in (served(fleet(attack=section)), served(fleet(attack=section, defences=defences))):
        b, row = found.balance, found.row
        assert b["came"] - b["refused"] == b["gone"] + b["running"]
        assert b["made"] == pytest.approx(b["made_requests"], rel=1e-9)
        assert b["used_s"] == pytest.approx(b["busy_s"], rel=1e-9)
        assert row["requests"] == found.honest["requests"] + row["hostile requests"]
        assert row["requests"] == row["done"] + row["rejected"] + row["unfinished"]


def test_caps_end_answers_and_count_whom_they_hit() -> None:
    load = {"rate": "100 per s"}
    plain = requests(fleet(load=load, attack=LONG))
    capped = requests(fleet(load=load, attack=LONG, defences={"output_cap": 60}))
    assert np.array_equal(capped.output, np.minimum(plain.output, 60.0))
    assert np.array_equal(capped.cut, plain.output > 60.0)
    short = requests(fleet(load=load, attack=LONG, defences={"prompt_cap": 80}))
    assert np.array_equal(short.refused, plain.prompt > 80.0)
    row = served(fleet(attack=LONG, defences={"output_cap": 60})).honest
    assert 0.0 < row["cut"] < row["requests"]
    assert row["met"] <= row["requests"] - row["cut"]  # a promise of a whole answer is not kept by a part of it


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_budgets_refuse_as_a_loop_over_requests_would(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    arrival_s = np.sort(data.draw(st.lists(st.floats(0.0, 9000.0), min_size=count, max_size=count)))
    user = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    tokens = np.array(data.draw(st.lists(st.integers(0, 50), min_size=count, max_size=count)), float)
    cut = data.draw(st.integers(0, count))
    budget = _Budget(100.0)
    parts = slice(0, cut), slice(cut, None)
    found = np.concatenate([budget.exceeded(arrival_s[part], user[part], tokens[part]) for part in parts])
    used: dict[tuple[int, int], float] = {}
    for i in range(count):
        key = int(user[i]), int(arrival_s[i] // 3600.0)
        assert found[i] == (used.get(key, 0.0) >= 100.0)
        if not found[i]:
            used[key] = used.get(key, 0.0) + tokens[i]


def test_few_heavy_users_meet_a_budget_that_many_light_ones_never_see() -> None:
    scenario = fleet(load={"rate": "20 per s", "duration": "10 min"}, attack=hostile(amplification=20.0, users=5),
                     defences={"user_budget": 20000})
    found = requests(scenario)
    assert found.refused[found.hostile].mean() > 0.5
    assert found.refused[~found.hostile].mean() == 0.0


def test_cut_off_finds_its_shares_and_honest_ones_are_the_same_in_peace() -> None:
    parts: dict[str, Any] = {"load": {"rate": "200 per s"},
                             "defences": {"cut_off": {"detection": 0.8, "false_positives": 0.1, "after": 1}}}
    found = requests(fleet(**parts, attack=LONG))
    long = found.hostile & (found.output >= 1.0)
    assert found.cut[long].mean() == pytest.approx(0.8, abs=0.03)
    assert found.cut[~found.hostile].mean() == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(requests(fleet(**parts)).cut, found.cut[~found.hostile])
    parts["defences"] = {"cut_off": {"detection": 0.8, "false_positives": 0.1, "after": 0}}
    refused = requests(fleet(**parts, attack=LONG))
    assert refused.refused[refused.hostile].mean() == pytest.approx(0.8, abs=0.03)
    assert not refused.cut.any()


def test_isolation_puts_all_hostile_and_some_honest_users_apart() -> None:
    found = requests(fleet(load={"rate": "200 per s", "users": 500}, attack=LONG,
                           defences={"isolation": {"replicas": 1, "unknown": 0.25}}))
    apart = found.tier == 1
    assert apart[found.hostile].all()
    users = np.unique(found.user[apart & ~found.hostile])
    assert users.size == pytest.approx(125, abs=3)
    assert not np.isin(found.user[~apart], users).any()
    assert (found.user[found.hostile] >= FIRST_ATTACKER).all()
    assert np.mean(_scattered(np.arange(10_000)) < 0.1) == pytest.approx(0.1, abs=1e-3)


def test_isolation_keeps_an_attack_away_from_known_users() -> None:
    parts: dict[str, Any] = {"serving": {"pool": {"replicas": 3, "requests": 8}}, "load": {"rate": "8 per s"},
                             "slo": {"first_token": "50 ms", "per_token": "20 ms"}}
    section = hostile(share=0.5, amplification=30.0)
    open_, apart = (served(fleet(**parts, attack=section, **more)).honest
                    for more in ({}, {"defences": {"isolation": {"replicas": 1, "unknown": 0.0}}}))
    assert apart["slo_share"] > open_["slo_share"] + 0.1
    assert apart["ttft_p99_s"] < open_["ttft_p99_s"]


def test_length_aware_lets_short_answers_go_first() -> None:
    parts: dict[str, Any] = {"serving": {"pool": {"replicas": 1, "requests": 4}}, "load": {"rate": "12 per s"}}
    section = hostile(share=0.3, amplification=20.0)
    plain, aware = (served(fleet(**parts, attack=section, **more)).honest
                    for more in ({}, {"defences": {"length_aware": {"above": 200, "error": 0.0}}}))
    assert aware["ttft_p50_s"] < plain["ttft_p50_s"]


def test_tiers_of_defences_fit_the_pool_and_have_names_of_their_own() -> None:
    with pytest.raises(UserError, match=r"defences.isolation.replicas: found 2; allowed: at most 1"):
        fleet(defences={"isolation": {"replicas": 2}})
    with pytest.raises(UserError, match="found the name 'unknown users', which a defence needs"):
        fleet(serving={"tiers": [{"name": "unknown users"}]}, defences={"isolation": {"replicas": 1}})


def test_an_attack_that_is_not_known_is_drawn_once_a_trial_for_all_variants() -> None:
    scenario = fleet(attack=hostile(share={"uniform": [0.05, 0.4]}, amplification={"triangular": [2, 5, 9]}),
                     defences={"output_cap": 100}, monte_carlo={"trials": 4, "seed": 5})
    study = run_threats(scenario)
    odds = study.columns[ATTACK]["hostile_requests"] / study.columns[CALM]["requests"]
    assert np.unique(odds).size == 4
    assert np.array_equal(study.columns[ATTACK]["hostile_requests"], study.columns["output cap"]["hostile_requests"])
    for name in study.names:
        assert np.array_equal(study.columns[name]["requests"], study.columns[CALM]["requests"])


@pytest.fixture(scope="module")
def study() -> ThreatStudy:
    prices = {"request_price": "0.001 USD", "prompt_price": "1 USD", "output_price": "2 USD"}
    return run_threats(fleet(load={"rate": "8 per s"}, attack=hostile(amplification=20.0, **prices), slo={"per_token": "5 ms"},
                             defences={"output_cap": 100, "isolation": {"replicas": 1}}, monte_carlo={"trials": 3, "seed": 5}))


def test_dollars_and_energy_of_parts_add_up_to_the_fleets(study: ThreatStudy) -> None:
    for c in study.columns.values():
        assert c["cost_honest_usd"] + c["hostile_cost_usd"] + c["cost_idle_usd"] == pytest.approx(c["cost_usd"])
        assert (c["cost_honest_usd"] >= 0.0).all()
        spent = 1e-3 * c["hostile_requests"] + 1e-6 * c["hostile_prompt_tokens"] + 2e-6 * c["hostile_tokens"]
        assert c["attacker_usd"] == pytest.approx(spent)


def test_variants_are_none_each_and_all(study: ThreatStudy) -> None:
    assert study.names == [CALM, ATTACK, "output cap", "isolation", ALL, PEACE]
    assert [v.hostile for v in variants(study.scenario)] == [False, True, True, True, True, False]
    with pytest.raises(UserError, match="attack: found none"):
        variants(fleet())


def test_differences_are_paired_by_trial(study: ThreatStudy) -> None:
    found = study.difference("energy_j", ATTACK, CALM)
    apart = study.columns[ATTACK]["energy_j"] - study.columns[CALM]["energy_j"]
    assert found.mean == pytest.approx(apart.mean())
    assert found.low < found.mean < found.high
    assert found.mean > 0.0  # more tokens take more energy
    assert study.difference("hostile_tokens", "output cap", ATTACK).high < 0.0


def test_the_report_has_each_variant_and_fits_80_columns(study: ThreatStudy) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(threats_view(study, {}))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(name) >= 2 for name in study.names)
    assert len(threats_figure(study).axes) == 3


def test_promises_break_at_the_share_that_was_found() -> None:
    scenario = fleet(load={"rate": "6 per s"}, serving={"pool": {"replicas": 1, "requests": 8}}, slo={"first_token": "100 ms"},
                     attack=hostile(amplification=20.0), monte_carlo={"trials": 1, "seed": 3})
    found = breaking_point(scenario, "share", 0.9)
    assert 0.0 < found.low < found.high < 0.9
    assert found.high - found.low <= 0.05 * found.high

    def kept(share: float) -> float:
        assert scenario.attack is not None
        attack = scenario.attack.model_copy(update={"share": share})
        return served(scenario.model_copy(update={"attack": attack})).honest["slo_share"]

    assert kept(found.low) >= 0.9 > kept(found.high)
    sure = CutOff(detection=1.0, after=0)
    assert breaking_point(scenario, "share", 0.9, Defences(cut_off=sure)).high == np.inf
    assert np.isnan(breaking_point(scenario, "share", 0.9, Defences(output_cap=60)).low)  # broken without an attack
    times = breaking_point(scenario, "amplification", 0.9)
    assert 1.0 <= times.low < times.high


def test_a_fleet_under_attack_must_be_larger() -> None:
    scenario = fleet(load={"rate": "6 per s", "duration": "30 s"}, serving={"pool": {"replicas": 1, "requests": 8}},
                     slo={"first_token": "100 ms", "share": 0.9}, attack=hostile(amplification=20.0, share=0.3),
                     monte_carlo={"trials": 1, "seed": 3})
    study = run_threats(scenario)
    size_threats(study)
    assert study.sizes[CALM] < study.sizes[ATTACK]


def test_an_attack_that_costs_nothing_has_no_amplification() -> None:
    study = run_threats(fleet(attack=hostile(), monte_carlo={"trials": 1}))
    assert study.amplification(ATTACK) == {}
    assert attacker_usd(fleet(), 10.0, 10.0, 10.0) == 0.0


def test_the_shipped_week_is_five_percent_at_twenty_times() -> None:
    scenario = load_serving(ROOT / "scenarios" / "threat-week.yaml")
    assert scenario.attack is not None
    assert (scenario.attack.share, scenario.attack.amplification, scenario.load.duration_s) == (0.05, 20.0, 7 * 86400.0)
    assert len(scenario.defences.chosen) == 5


def test_the_command_prints_json_and_refuses_nonsense(tmp_path: Path) -> None:
    file = str(ROOT / "scenarios" / "threat-week.yaml")
    done = CliRunner().invoke(app, ["threats", file, "--trials", "1", "--days", "0.1", "--json"])
    found = json.loads(done.stdout)
    assert set(found["variants"]) >= {CALM, ATTACK, ALL, PEACE}
    assert found["variants"][ATTACK]["results"]["hostile_tokens"]["mean"] > 0.0
    for words in (["--days", "0.01"], ["--breaking", "luck"]):
        assert CliRunner().invoke(app, ["threats", file, *words]).exit_code != 0

"""A scenario is read, extended, resolved, written out and read back without a change."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog.records import (
    FailureComponent,
    FailureProfile,
    Recovery,
)
from simulator.errors import UserError
from simulator.fields import Distribution, file_key
from simulator.scenario import (
    OPERATORS,
    Checkpoint,
    Cluster,
    Layout,
    Scenario,
    Variation,
    json_schema,
    load_file,
    load_scenario,
    scenario_from_mapping,
    starter,
)
from simulator.scenario.operations import Copies, Elasticity, Growth, Maintenance, SlowNodes
from simulator.units import KINDS, format_quantity, parse_quantity

ROOT = Path(__file__).parents[2]
OTHERS = ("serve", "threat", "lifecycle")  # other kinds of file, of which test_serving, test_threats and test_lifecycle are
FILES = sorted(file for file in (ROOT / "scenarios").glob("*.yaml") if file.stem.split("-")[0] not in OTHERS)

BASE = {
    "name": "test",
    "model": "llama-3.1-8b",
    "training": {"tokens": "20 B tokens", "batch": "1 M", "sequence": 8192},
    "cluster": {"accelerator": "h100-sxm-80gb", "accelerators": 64, "spares": "2 nodes"},
    "checkpoint": {"storage_bandwidth": "10 GB/s"},
}


def build(**changes: object) -> Scenario:
    """Return the base scenario with changed keys, by dotted path with `__` for a dot."""
    data = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, key = path.split("__")
        section: dict = data
        for parent in parents:
            section = section.setdefault(parent, {})
        section[key] = value
    return scenario_from_mapping(data)


# One component of each kind, with every key that a component can have.
EVERY_KIND = [
    {"name": "accelerator", "rate": {"uniform": ["1 per 1000 days", "2 per 1000 days"]}, "kind": "hardware", "shape": 0.7,
     "blast_radius": 2, "burst": 1.5, "burst_spread": "1 h", "burst_domain": 16, "repair": {"lognormal": ["1 day", 1.9]}},
    {"name": "hang", "rate": "1 per 1000 days", "kind": "software", "detection": {"choice": ["10 min", "3 h"]}},
    {"name": "firmware", "rate": "1 per 1000 days", "kind": "planned", "duration": "10 min"},
    {"name": "corruption", "rate": "1 per 1000 days", "kind": "corruption", "latency": {"exponential": "2 h"}},
    {"name": "spike", "rate": "1 per 1000 days", "kind": "loss-spike", "rollback": 100},
    {"name": "slow", "rate": "1 per 1000 days", "kind": "slow", "severity": {"triangular": [0, 0.1, 0.3]}, "duration": "1 day"},
    {"name": "flap", "rate": "1 per 1000 days", "kind": "flap", "duration": "20 s"},
    {"name": "storage", "rate": "1 per 1000 days", "kind": "storage", "duration": {"lognormal": ["20 min", 1]}},
    {"name": "spot", "rate": "1 per 1000 days", "kind": "preemption", "notice": "2 min"},
]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_values_are_si() -> None:
    scenario = build(goals__deadline="60 days", goals__budget="120 M USD", checkpoint__interval="30 min")
    assert scenario.goals.deadline_s == 60 * 86400
    assert scenario.goals.budget_usd == 120e6
    assert scenario.checkpoint.interval_s == 1800
    assert scenario.training.tokens == 20e9
    assert scenario.cluster.spares == 2
    assert scenario.cluster.nodes == 8
    assert scenario.cluster.accelerator.memory_bytes == 80 * 2**30  # sold as GB


def test_defaults() -> None:
    scenario = build()
    assert scenario.training.layout == "auto"
    assert scenario.checkpoint.interval_s == "auto"
    assert scenario.pricing.rental is not None
    assert scenario.pricing.rental.price_usd_per_accelerator_s == "on_demand"
    assert scenario.failures.components == ()
    assert scenario.facility.effective_pue is None


@pytest.mark.parametrize("changes", [
    {},
    {"training__layout": {"tensor": 8, "pipeline": 2, "zero": 3, "schedule": "interleaved"}},
    {"training__layout": {"pipeline": 4, "schedule": "zero-bubble", "first_stage_layers": 7, "last_stage_layers": 5}},
    {"training__layout": {"context": 4, "context_method": "ulysses", "shard": 8, "overlap_tensor": 0.3,
                          "overlap_context": True, "overlap_data": False, "overlap_pipeline": {"uniform": [0, 1]}}},
    {"training__recompute": ["attention", "ffn_up"], "training__elementwise": "eager", "training__optimizer": "muon"},
    {"training__precision": "fp8", "training__scaling": "blockwise", "training__weight_gather_precision": "fp8",
     "training__gradient_precision": "bf16"},
    {"training__activation_offload": 0.5, "training__optimizer_offload": True, "training__vocabulary_multiple": 128},
    {"model": "deepseek-v3", "training__expert_imbalance": {"uniform": [1, 1.5]}, "training__expert_capacity": 1.25,
     "training__layout": {"expert": 8, "expert_nodes": 4}},
    {"pricing__rental__price": {"triangular": ["2 USD/h", "2.5 USD/h", "4 USD/h"]}},
    {"pricing": {"owned": {"life": {"uniform": ["3 years", "5 years"]}}, "storage": "0.02 USD/GB/month"}},
    {"pricing__rental__price": "reserved_3y", "checkpoint__interval": "7 min"},
    {"failures": "llama3-2024", "recovery": {"repair": {"lognormal": ["20 h", 0.8]}}},
    {"facility": {"site": "usa/texas", "pue": {"normal": [1.2, 0.05]}}},
    {"model": {"preset": "mixtral-8x7b", "layers": 34}, "training__layout": {"expert": 8}},
    {"cluster__accelerator": {"preset": "h100-sxm-80gb", "memory": "96 GB", "peak_flops": {"bf16": "800 TFLOP/s"}}},
    {"cluster__fabric": {"preset": "rail-optimised-fat-tree", "oversubscription": "7:1"}},
    {"cluster__variation": {"speed_spread": 0.02, "jitter": {"choice": [0.01, 0.02]}}, "year": 2024},
    {"cluster__variation": {"day_swing": "0.75 %", "year_swing": {"uniform": [0, 0.01]}}},
    {"cluster__warm_spares": 2, "cluster__cold_spares": 4, "cluster__repair_crew": 1, "cluster__quarantine_after": 3},
    {"cluster__slow_nodes": {"action": "evict", "detection": {"uniform": ["1 min", "1 h"]}},
     "cluster__elasticity": {"action": "shrink", "patience": "5 min", "least": 0.75},
     "cluster__maintenance": {"every": "14 days", "duration": "4 h"},
     "cluster__growth": [{"at": "3 days", "accelerators": 128}, {"at": "5 days", "accelerators": 192}]},
    {"cluster__elasticity": {"action": "smaller-batch"}},
    {"checkpoint__memory": {"interval": "30 s", "stall": "40 ms", "load": "20 s", "nodes": 2},
     "checkpoint__local": {"interval": "2 min", "load": {"uniform": ["30 s", "1 min"]}}, "checkpoint__persist_slowdown": 0.1},
    {"checkpoint__interval": "simulated"},
    {"failures": "all-causes"},
    {"failures": {"frailty": {"uniform": [0.5, 2]}, "age": "1 year", "components": EVERY_KIND}},
    {"failures": "rsc-1", "recovery": {"diagnosis": {"exponential": "2 min"}, "warm_replacement": "5 min", "warm_up": "1 min",
                                       "cold_replacement": {"lognormal": ["1 h", 0.5]}, "initialisation_per_node": "20 ms",
                                       "quarantine": "14 days"}},
])
def test_resolved_file_reads_back_equal(changes: dict) -> None:
    scenario = build(**changes)
    text = yaml.safe_dump(scenario.to_file(), sort_keys=False)
    assert scenario_from_mapping(scenario.to_file()) == scenario
    assert scenario_from_mapping(yaml.safe_load(text)) == scenario


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ready_scenarios_load_and_read_back_equal(path: Path, tmp_path: Path) -> None:
    scenario = load_file(path)
    resolved = write(tmp_path, "resolved.yaml", yaml.safe_dump(scenario.to_file(), sort_keys=False))
    assert load_file(resolved) == scenario


def test_starter_loads(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, "scenario.yaml", starter()))
    assert scenario.cluster.accelerators == 8
    assert scenario.model.name == "llama-3.1-8b"


def test_short_batch_is_a_schedule_of_one_phase() -> None:
    long = build(training={"tokens": "20 B", "batch_schedule": [{"batch": "1 M", "sequence": 8192}]})
    assert build().training == long.training


def test_preset_keeps_what_is_not_overridden() -> None:
    plain, changed = build(), build(cluster__accelerator={"preset": "h100-sxm-80gb", "memory": "96 GB"})
    assert changed.cluster.accelerator.memory_bytes == 96e9
    assert changed.cluster.accelerator.peak_flops == plain.cluster.accelerator.peak_flops


def test_null_in_a_preset_removes_the_value() -> None:
    scenario = build(cluster__accelerator={"preset": "h100-sxm-80gb", "price": None})
    assert scenario.cluster.accelerator.price_usd is None


def test_recovery_lies_over_the_profile() -> None:
    plain, changed = build(failures="llama3-2024"), build(failures="llama3-2024", recovery={"detection": "10 min"})
    assert changed.failures.recovery.detection_s == 600
    assert changed.failures.recovery.repair_s == plain.failures.recovery.repair_s
    assert changed.failures.components == plain.failures.components


@given(names=st.lists(st.sampled_from(OPERATORS), unique=True, min_size=1))
def test_recomputed_operators_are_in_the_order_of_the_forward_pass(names: list[str]) -> None:
    scenario = build(training__recompute=names)
    assert scenario.training.recompute == tuple(name for name in OPERATORS if name in names)
    assert scenario_from_mapping(scenario.to_file()) == scenario


@given(value=st.booleans() | st.floats(0, 1), dimension=st.sampled_from(["tensor", "context", "expert", "data", "pipeline"]))
def test_an_overlap_is_a_share_or_a_switch(value: float, dimension: str) -> None:
    layout = build(training__layout={f"overlap_{dimension}": value}).training.layout
    found = getattr(layout, f"overlap_{dimension}")
    assert isinstance(found, float)
    assert found == float(value)


def test_only_data_overlaps_by_default() -> None:
    layout = Layout()
    assert layout.overlap_data == 1.0
    assert layout.overlap_tensor == layout.overlap_context == layout.overlap_expert == layout.overlap_pipeline == 0.0


@given(pipeline=st.sampled_from([2, 4, 8]), first=st.integers(0, 18), last=st.integers(0, 18))
def test_end_stages_leave_equal_stages_of_whole_layers(pipeline: int, first: int, last: int) -> None:
    ends = (first or last, last or first)
    rest, middle = 32 - sum(ends), pipeline - 2  # llama-3.1-8b has 32 layers
    fits = ends == (0, 0) or (rest == 0 if middle == 0 else rest >= middle and rest % middle == 0)
    given_layout = {"pipeline": pipeline, "first_stage_layers": first, "last_stage_layers": last}
    if fits:
        layout = build(training__layout=given_layout).training.layout
        assert layout != "auto"
        assert layout.end_stages == ends
        return
    with pytest.raises(UserError, match=f"found {ends[0]} layers in the first and {ends[1]} in the last") as caught:
        build(training__layout=given_layout)
    if middle:  # what the message allows is allowed
        for total in map(int, re.findall(r"\d+", str(caught.value).rpartition("add up to")[2])):
            build(training__layout={**given_layout, "first_stage_layers": 1, "last_stage_layers": total - 1})


def test_layout_of_data_zero_is_allowed_when_the_rest_divides() -> None:
    layout = build(training__layout={"tensor": 8, "pipeline": 4}).training.layout
    assert layout != "auto"
    assert layout.data == 0


PARENT = yaml.safe_dump(BASE)


def test_extends_merges_mappings_and_replaces_lists(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", PARENT)
    child = write(tmp_path, "child.yaml", "extends: base.yaml\ncluster: {accelerators: 128}\n"
                                          "training: {batch_schedule: [{batch: 2 M, sequence: 4096}]}\n")
    scenario = load_scenario(child)
    assert scenario.cluster.accelerators == 128
    assert scenario.cluster.spares == 2
    assert scenario.training.tokens == 20e9
    assert [phase.batch for phase in scenario.training.batch_schedule] == [2e6]


def test_extends_is_relative_to_the_file_and_chains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what lies above a file may be read from a working folder that holds both
    (tmp_path / "deep").mkdir()
    write(tmp_path, "base.yaml", PARENT)
    write(tmp_path, "middle.yaml", "extends: base.yaml\nmodel: llama-3.1-70b\npricing: {owned: {}}\n")
    child = write(tmp_path / "deep", "child.yaml", "extends: ../middle.yaml\nname: deep\npricing: {rental: {}}\n")
    scenario = load_scenario(child)
    assert (scenario.name, scenario.model.name) == ("deep", "llama-3.1-70b")
    assert scenario.pricing.owned is None


def test_child_mapping_changes_the_catalog_record_its_parent_names(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", PARENT)
    child = write(tmp_path, "child.yaml", "extends: base.yaml\ncluster: {accelerator: {memory: 96 GB}}\n")
    assert load_scenario(child).cluster.accelerator.memory_bytes == 96e9


def test_child_distribution_replaces_its_parents(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", PARENT + "facility: {pue: {uniform: [1.1, 1.2]}}\n")
    child = write(tmp_path, "child.yaml", "extends: base.yaml\nfacility: {pue: {choice: [1.3]}}\n")
    assert load_scenario(child).central().facility.pue == 1.3


def test_overrides_lie_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "base.yaml", PARENT)
    assert load_scenario(path, {"cluster": {"accelerators": 32}}).cluster.accelerators == 32
    with pytest.raises(UserError, match=r"override: cluster.accelerators: found 'x'"):
        load_scenario(path, {"cluster": {"accelerators": "x"}})


def test_inputs_are_not_changed() -> None:
    data = copy.deepcopy(BASE)
    scenario_from_mapping(data)
    assert data == BASE


def test_yaml_words_and_ratios_are_text(tmp_path: Path) -> None:
    text = PARENT.replace("name: test", "name: no")
    scenario = load_scenario(write(tmp_path, "a.yaml", text))
    assert scenario.name == "no"
    plain = write(tmp_path, "c.yaml", "extends: a.yaml\ncluster:\n  fabric:\n    preset: rail-optimised-fat-tree\n"
                                      "    oversubscription: 7:1\n")
    assert load_scenario(plain).cluster.fabric.oversubscription == 7.0


def test_distributions_wait_for_realise() -> None:
    scenario = build(pricing__rental__price={"triangular": ["2 USD/h", "3 USD/h", "4 USD/h"]},
                     training__tokens={"uniform": ["10 B", "20 B"]})
    assert set(scenario.uncertain()) == {"pricing.rental.price", "training.tokens"}
    assert all(isinstance(value, Distribution) for value in scenario.uncertain().values())
    central = scenario.central()
    assert central.training.tokens == 15e9
    assert central.uncertain() == {}
    drawn = scenario.realise(lambda path, distribution: distribution.mean() * 2)
    assert drawn.training.tokens == 30e9
    assert drawn.pricing.rental is not None
    assert drawn.pricing.rental.price_for(drawn.cluster.accelerator) == pytest.approx(6 / 3600)
    assert drawn.cluster is scenario.cluster


def test_components_of_every_kind_and_key_are_read() -> None:
    profile = build(failures={"components": EVERY_KIND}).failures
    (schema,) = [s for n, s in json_schema()["$defs"].items() if n == "FailureComponent"]
    assert [c.kind for c in profile.components] == schema["properties"]["kind"]["enum"]
    assert {key for c in EVERY_KIND for key in c} == set(schema["properties"])
    first, spike = profile.components[0], profile.components[4]
    assert (first.shape, first.burst, first.burst_spread_s, first.burst_domain) == (0.7, 1.5, 3600.0, 16)
    assert (spike.rollback, profile.components[8].notice_s, profile.frailty, profile.age_s) == (100, 120.0, 0.0, 0.0)
    plain = FailureComponent.model_validate({"name": "x", "rate": "1 per day", "kind": "hardware"})
    assert (plain.shape, plain.burst, plain.detection_s, plain.repair_s, plain.duration_s) == (1.0, 0.0, None, None, None)


def test_times_of_a_component_are_drawn_at_every_event_and_its_rate_once_a_trial() -> None:
    scenario = build(failures={"frailty": {"uniform": [0.5, 2]}, "components": EVERY_KIND},
                     cluster__variation={"day_swing": {"uniform": [0, 0.02]}},
                     checkpoint__memory={"interval": "30 s", "load": {"uniform": ["10 s", "30 s"]}})
    assert set(scenario.uncertain()) == {"failures.frailty", "failures.components.0.rate", "cluster.variation.day_swing",
                                         "checkpoint.memory.load"}


def test_reliability_of_ready_scenarios() -> None:
    everything = load_scenario(ROOT / "scenarios" / "all-features.yaml")
    cluster, checkpoint = everything.cluster, everything.checkpoint
    assert {c.kind for c in everything.failures.components} == {c["kind"] for c in EVERY_KIND}
    assert min(cluster.spares, cluster.warm_spares, cluster.cold_spares, cluster.repair_crew, cluster.quarantine_after) > 0
    assert (cluster.slow_nodes.action, cluster.elasticity.action) == ("evict", "shrink")
    assert None not in (cluster.maintenance, checkpoint.memory, checkpoint.local)
    assert [growth.accelerators for growth in cluster.growth] == [16384]
    assert everything.failures.frailty > 0
    assert load_scenario(ROOT / "scenarios" / "llama3-405b.yaml").cluster.variation.day_swing == pytest.approx(0.015)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ready_scenarios_say_what_was_published(path: Path) -> None:
    assert "ublished" in path.read_text(encoding="utf-8")[:600]


def test_aleatory_distributions_stay() -> None:
    scenario = build(recovery={"detection": {"exponential": "10 min"}})
    assert scenario.uncertain() == {}
    assert isinstance(scenario.central().failures.recovery.detection_s, Distribution)


def test_price_names_are_the_accelerators_catalog_prices() -> None:
    scenario = build(cluster__accelerator={"preset": "h100-sxm-80gb", "on_demand": "3 USD/h", "spot": None})
    rental, accelerator = scenario.pricing.rental, scenario.cluster.accelerator
    assert rental is not None
    assert rental.price_for(accelerator) == pytest.approx(3 / 3600)
    spot = build(pricing__rental__price="spot", cluster__accelerator={"preset": "h100-sxm-80gb", "spot": None})
    assert spot.pricing.rental is not None
    with pytest.raises(UserError, match="no spot price for h100-sxm-80gb; allowed: on_demand"):
        spot.pricing.rental.price_for(spot.cluster.accelerator)


def test_owned_prices_come_from_the_catalog_unless_given() -> None:
    owned = build(pricing={"owned": {}}).pricing.owned
    accelerator = build().cluster.accelerator
    assert owned is not None
    assert owned.price_for(accelerator) == accelerator.price_usd
    with pytest.raises(UserError, match=r"0.07 USD/kWh"):
        owned.electricity_for(None)


def test_facility_pue_overrides_the_sites() -> None:
    site = {"name": "here", "kind": "test", "pue": 1.3}
    assert build(facility={"site": site}).facility.effective_pue == 1.3
    assert build(facility={"site": site, "pue": 1.1}).facility.effective_pue == 1.1


def test_schema_lists_every_key_and_the_raw_forms() -> None:
    schema = json_schema()
    json.dumps(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"extends", "recovery", "model", "pricing"} <= set(schema["properties"])
    names = schema["properties"]["model"]["anyOf"][0]
    assert "llama-3.1-8b" in names["examples"]
    assert "enum" not in names
    assert {"batch", "sequence"} <= set(schema["$defs"]["Training"]["properties"])
    assert "preset" in schema["$defs"]["AcceleratorRecord"]["properties"]
    interval = schema["$defs"]["Checkpoint"]["properties"]["interval"]
    assert "auto" in interval["description"]
    names, operators = schema["$defs"]["Training"]["properties"]["recompute"]["anyOf"]
    assert names == {"enum": ["none", "selective", "full"]}
    assert operators["items"]["enum"] == list(OPERATORS)
    assert {"type": "boolean"} in schema["$defs"]["Layout"]["properties"]["overlap_data"]["anyOf"]


def test_schema_names_the_keys_of_reliability() -> None:
    definitions = json_schema()["$defs"]
    for record in (FailureComponent, FailureProfile, Recovery, Cluster, Variation, Checkpoint, Copies, SlowNodes, Elasticity,
                   Maintenance, Growth):
        assert {file_key(name) for name in record.model_fields} <= set(definitions[record.__name__]["properties"])
    assert definitions["SlowNodes"]["properties"]["action"]["enum"] == ["none", "evict"]
    assert set(definitions["FailureComponent"]["required"]) == {"name", "rate", "kind"}
    assert "simulated" in definitions["Checkpoint"]["properties"]["interval"]["description"]


@given(kind=st.sampled_from(sorted(KINDS)), number=st.floats(0, 1e30, allow_nan=False))
def test_a_formatted_quantity_parses_to_the_same_number(kind: str, number: float) -> None:
    assert parse_quantity(format_quantity(number, kind), kind) == number


@given(number=st.integers(0, 10**6))
def test_a_quantity_is_the_same_in_any_unit(number: int) -> None:
    assert parse_quantity(f"{number} h", "time") == pytest.approx(parse_quantity(f"{number * 60} min", "time"))
    assert parse_quantity(f"{number} GB", "bytes") == pytest.approx(parse_quantity(f"{number * 1000} MB", "bytes"))
    assert parse_quantity(f"{number} GB/s", "bandwidth") == pytest.approx(parse_quantity(f"{number * 8} Gb/s", "bandwidth"))
    assert parse_quantity(f"{number} k", "count") == parse_quantity(number * 1000, "count")


@given(text=st.text(max_size=30), kind=st.sampled_from(sorted(KINDS)))
def test_any_text_is_a_quantity_or_a_value_error(text: str, kind: str) -> None:
    try:
        assert isinstance(parse_quantity(text, kind), float)
    except ValueError as error:
        assert "allowed" in str(error)


@given(text=st.from_regex(r"[-+]?[0-9.eE*^ ]{1,12}[a-zA-Z/ ]{0,8}", fullmatch=True), kind=st.sampled_from(sorted(KINDS)))
def test_number_like_text_is_a_quantity_or_a_value_error(text: str, kind: str) -> None:
    try:
        parse_quantity(text, kind)
    except ValueError as error:
        assert "allowed" in str(error)


@given(low=st.floats(0, 1), width=st.floats(0, 1))
def test_a_share_never_draws_outside_its_bounds(low: float, width: float) -> None:
    import numpy as np

    sigma = build(cluster__variation={"jitter": {"normal": [low, width]}}).cluster.variation.jitter
    assert isinstance(sigma, Distribution)
    draws = sigma.draw(np.random.default_rng(1), 50)
    assert ((draws >= 0) & (draws <= 1)).all()

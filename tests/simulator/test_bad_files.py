"""Every bad file ends in one clear UserError that says where, what was found and what is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import UserError
from simulator.scenario import load_scenario, scenario_from_mapping
from simulator.scenario.reading import parse_document

GOOD = """\
name: test
model: llama-3.1-8b
training:
  tokens: 20 B
  batch: 1 M
  sequence: 8192
  layout:
    tensor: 8
cluster:
  accelerator: h100-sxm-80gb
  accelerators: 64
checkpoint:
  storage_bandwidth: 10 GB/s
pricing:
  rental:
    price: 2.5 USD/h
"""


def message(path: Path, named: str = "") -> str:
    """Return what the user sees, after the checks that hold for every error; `named` is the file at fault."""
    with pytest.raises(UserError) as caught:
        load_scenario(path)
    text = str(caught.value)
    assert text.strip() == text
    assert "\n" not in text or " problems" in text.splitlines()[0]
    for word in ("Traceback", "pydantic", "Value error", "object at 0x", "validation error", "For further", "<mapping>"):
        assert word not in text
    assert (named or path.name) in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text


def bad(folder: Path, text: str) -> str:
    path = folder / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    return message(path)


# (what is replaced in the good file, by what, the line of the error, words of the message)
CHANGES: dict[str, tuple[str, str, int, list[str]]] = {
    "typo in a key": ("model:", "modle:", 2, ["'modle'", "did you mean 'model'"]),
    "typo in a nested key": ("accelerators:", "acceleratrs:", 11, ["cluster:", "did you mean 'accelerators'"]),
    "typo in a deep key": ("tensor:", "tensr:", 8, ["training.layout:", "did you mean 'tensor'"]),
    "key with its unit": ("storage_bandwidth:", "storage_bandwidth_bytes_per_s:", 13, ["did you mean 'storage_bandwidth'"]),
    "typo in a model": ("llama-3.1-8b", "llama-3.1-8", 2, ["unknown model", "did you mean 'llama-3.1-8b'"]),
    "typo in an accelerator": ("h100-sxm-80gb", "h100-sxm-80g", 10, ["cluster.accelerator", "'h100-sxm-80gb'"]),
    "typo in a preset": ("llama-3.1-8b", "{preset: llama-3.1-8, layers: 16}", 2, ["unknown model", "'llama-3.1-8b'"]),
    "typo in a choice": ("tensor: 8", "schedule: interleavd", 8,
                         ["1f1b, interleaved, zero-bubble", "did you mean 'interleaved'"]),
    "typo in a named price": ("2.5 USD/h", "on_demnd", 16, ["on_demand, reserved_1y", "did you mean 'on_demand'"]),
    "wrong unit": ("10 GB/s", "10 GB", 13, ["checkpoint.storage_bandwidth", "'10 GB'", "'400 Gb/s'"]),
    "bare number": ("10 GB/s", "10", 13, ["bare number 10", "'400 Gb/s'"]),
    "number without meaning": ("20 B", "many", 4, ["training.tokens", "'many'", "such as"]),
    "negative": ("2.5 USD/h", "-2.5 USD/h", 16, ["'-2.5 USD/h'", "at least 0"]),
    "zero accelerators": ("accelerators: 64", "accelerators: 0", 11, ["cluster.accelerators: found 0", "at least 1"]),
    "half an accelerator": ("accelerators: 64", "accelerators: 7.5", 11, ["found 7.5", "whole number"]),
    "half a node": ("accelerators: 64", "accelerators: 60", 11, ["found 60", "multiple of the 8", "56 or 64"]),
    "impossible layout": ("tensor: 8", "tensor: 8\n    pipeline: 3", 7, ["24", "64", "48 or 72"]),
    "impossible data": ("tensor: 8", "data: 7", 8, ["training.layout.data", "cluster.accelerators is 64", "data: 64"]),
    "tensor against heads": ("tensor: 8", "tensor: 64", 8, ["training.layout.tensor: found 64", "32 heads", "32"]),
    "too many stages": ("tensor: 8", "pipeline: 64", 8, ["training.layout.pipeline", "for the model's 32 layers"]),
    "experts of a dense model": ("tensor: 8", "expert: 2", 8, ["training.layout.expert: found 2", "allowed: 1"]),
    "zero-bubble without stages": ("tensor: 8", "schedule: zero-bubble", 8, ["schedule: found 'zero-bubble' with pipeline 1"]),
    "virtual stages in zero-bubble": ("tensor: 8", "pipeline: 2\n    schedule: zero-bubble\n    virtual_pipeline: 2", 10,
                                      ["virtual_pipeline: found 2 with schedule 'zero-bubble'", "schedule: interleaved"]),
    "end stage without stages": ("tensor: 8", "last_stage_layers: 5", 8, ["last_stage_layers: found 5 with pipeline 1"]),
    "end stage of chunks": ("tensor: 8", "pipeline: 4\n    schedule: interleaved\n    first_stage_layers: 5", 10,
                            ["first_stage_layers: found 5 with schedule 'interleaved'", "1f1b or zero-bubble"]),
    "end stages that leave a part": ("tensor: 8", "pipeline: 8\n    first_stage_layers: 5\n    last_stage_layers: 4", 9,
                                     ["found 5 layers in the first and 4 in the last", "leave 23", "6 middle", "8 or 14"]),
    "end stages that leave nothing": ("tensor: 8", "pipeline: 4\n    last_stage_layers: 16", 9,
                                      ["last_stage_layers: found 16", "leave 0 of", "add up to 30"]),
    "two stages of too many layers": ("tensor: 8", "pipeline: 2\n    first_stage_layers: 17", 9,
                                      ["first_stage_layers: found 17", "pipeline 2", "the model's 32 layers"]),
    "negative layers": ("tensor: 8", "first_stage_layers: -1", 8, ["first_stage_layers: found -1", "at least 0"]),
    "shard of no group": ("tensor: 8", "tensor: 8\n    shard: 3", 9, ["shard: found 3", "the 8 ranks of data x context", "2, 4"]),
    "ulysses against heads": ("tensor: 8", "tensor: 8\n    context: 8\n    context_method: ulysses", 9,
                              ["context: found 8 with context_method 'ulysses'", "4 heads of a tensor rank", "2 or 4"]),
    "typo in a context method": ("tensor: 8", "context_method: rnig", 8, ["all-gather, ring, ulysses", "did you mean 'ring'"]),
    "overlap above one": ("tensor: 8", "overlap_tensor: 1.5", 8, ["overlap_tensor: found 1.5", "at most 1"]),
    "overlap that is a word": ("tensor: 8", "overlap_data: maybe", 8, ["overlap_data: found 'maybe'", "true, false or a share"]),
    "half a node of experts": ("tensor: 8", "expert_nodes: 0.5", 8, ["expert_nodes: found 0.5", "whole number"]),
    "typo in recompute": ("  batch", "  recompute: selectiv\n  batch", 5,
                          ["recompute: found 'selectiv'", "none, selective, full or a list of", "did you mean 'selective'"]),
    "operator that is no list": ("  batch", "  recompute: attention\n  batch", 5, ["did you mean [attention]?"]),
    "boolean for recompute": ("  batch", "  recompute: true\n  batch", 5, ["recompute: found True", "none, selective, full"]),
    "no operators": ("  batch", "  recompute: []\n  batch", 5, ["recompute: found []", "allowed: none, or a list of"]),
    "typo in an operator": ("  batch", "  recompute:\n    - output\n    - atention\n  batch", 7,
                            ["recompute.1: found 'atention'", "pointwise", "did you mean 'attention'"]),
    "operator that is a number": ("  batch", "  recompute: [3]\n  batch", 5, ["recompute.0: found 3", "query_key_value"]),
    "operator twice": ("  batch", "  recompute: [output, output]\n  batch", 5, ["recompute.1: found 'output' a second time"]),
    "typo in an optimizer": ("  batch", "  optimizer: adamw-8bits\n  batch", 5, ["muon, adafactor", "did you mean 'adamw-8bit'"]),
    "typo in a scaling": ("  batch", "  scaling: block\n  batch", 5, ["scaling: found 'block'", "tensorwise, delayed, block"]),
    "interpreted": ("  batch", "  elementwise: jit\n  batch", 5, ["elementwise: found 'jit'", "compiled, fused, eager"]),
    "gradients in fp16": ("  batch", "  gradient_precision: fp16\n  batch", 5, ["_precision: found 'fp16'", "fp32, bf16"]),
    "fp8 weights of bf16": ("  batch", "  weight_gather_precision: fp8\n  batch", 5,
                            ["weight_gather_precision: found 'fp8' with precision 'bf16'", "precision: fp8 or fp4"]),
    "offload of more than all": ("  batch", "  activation_offload: 1.1\n  batch", 5, ["offload: found 1.1", "at most 1"]),
    "share for a switch": ("  batch", "  optimizer_offload: 0.5\n  batch", 5, ["optimizer_offload: found 0.5", "true or false"]),
    "offload without a link": ("sequence: 8192\n  layout:\n    tensor: 8\ncluster:\n  accelerator: h100-sxm-80gb",
                               "sequence: 8192\n  activation_offload: 0.5\ncluster:\n  accelerator: tpu-v5p", 7,
                               ["activation_offload: found 0.5", "tpu-v5p has no host_link_bandwidth", "allowed: 0"]),
    "optimizer without a link": ("sequence: 8192\n  layout:\n    tensor: 8\ncluster:\n  accelerator: h100-sxm-80gb",
                                 "sequence: 8192\n  optimizer_offload: true\ncluster:\n  accelerator: tpu-v5p", 7,
                                 ["optimizer_offload: found True", "no host_link_bandwidth", "allowed: false"]),
    "vocabulary of nothing": ("  batch", "  vocabulary_multiple: 0\n  batch", 5, ["vocabulary_multiple: found 0", "at least 1"]),
    "balance below the mean": ("  batch", "  expert_imbalance: 0.9\n  batch", 5, ["expert_imbalance: found 0.9", "at least 1"]),
    "capacity below the mean": ("  batch", "  expert_capacity: 0.5\n  batch", 5, ["expert_capacity: found 0.5", "at least 1"]),
    "typo in a topology": ("h100-sxm-80gb", "{preset: h100-sxm-80gb, scale_up_topology: torus}", 10,
                           ["switch, torus-2d, torus-3d", "did you mean 'torus-"]),
    "link without a unit": ("h100-sxm-80gb", "{preset: h100-sxm-80gb, host_link_bandwidth: 50}", 10,
                            ["host_link_bandwidth: found the bare number 50"]),
    "leaf below one": ("accelerators: 64", "accelerators: 64\n  fabric: {preset: llama3-roce, leaf_oversubscription: 0.5}", 12,
                       ["cluster.fabric.leaf_oversubscription: found 0.5", "at least 1"]),
    "rails that are many": ("accelerators: 64", "accelerators: 64\n  fabric: {preset: llama3-roce, rails: 8}", 12,
                            ["cluster.fabric.rails: found 8", "true or false"]),
    "virtual stages in 1F1B": ("tensor: 8", "virtual_pipeline: 2", 8, ["schedule: interleaved"]),
    "boolean for a number": ("accelerators: 64", "accelerators: true", 11, ["found True"]),
    "boolean for a choice": ("tensor: 8", "zero: true", 8, ["training.layout.zero", "0, 1, 2, 3"]),
    "text for a boolean": ("tensor: 8", "sequence_parallel: maybe", 8, ["true or false"]),
    "number for text": ("name: test", "name: 8", 1, ["name: found 8", "text"]),
    "list for a mapping": ("\n  rental:\n    price: 2.5 USD/h", " [1, 2]", 14, ["pricing: found [1, 2]", "a name of `clustercost "
                                                                                   "catalog pricing`, or a mapping of"]),
    "mapping for a number": ("64", "{count: 64}", 11, ["found {'count': 64}", "whole number"]),
    "not a number": ("20 B", ".nan", 4, ["found nan", "finite"]),
    "infinite": ("20 B", ".inf", 4, ["found inf", "finite"]),
    "infinite as text": ("2.5 USD/h", "1e999 USD/h", 16, ["1e999", "finite"]),
    "huge number": ("64", "1e30", 11, ["found 1e+30", "at most 1e+09"]),
    "number of a thousand digits": ("64", "9" * 1000, 11, ["cluster.accelerators", "such as '16384'"]),
    "arithmetic": ("2.5 USD/h", "9**9**9 USD/h", 16, ["9**9**9", "'2.5 USD/h'"]),
    "unknown distribution": ("2.5 USD/h", "{triangle: [1 USD/h, 2 USD/h, 3 USD/h]}", 16, ["did you mean 'triangular'"]),
    "distribution too short": ("2.5 USD/h", "{triangular: [1 USD/h, 2 USD/h]}", 16, ["[low, mode, high]"]),
    "distribution that falls": ("2.5 USD/h", "{uniform: [3 USD/h, 2 USD/h]}", 16, ["rising order"]),
    "distribution out of bounds": ("2.5 USD/h", "{choice: [-1 USD/h]}", 16, ["no value below 0"]),
    "distribution for a count": ("64", "{uniform: [8, 64]}", 11, ["whole number, not a distribution"]),
    "batch and schedule": ("  batch: 1 M", "  batch: 1 M\n  batch_schedule: []", 5, ["'batch'", "'batch_schedule'", "one of"]),
    "batch without sequence": ("  sequence: 8192\n", "", 3, ["training", "'sequence'"]),
    "batch below a sequence": ("batch: 1 M", "batch: 1 k", 5, ["at least one sequence", "8192"]),
    "precision without a peak": ("  batch", "  precision: fp4\n  batch", 5, ["training.precision", "h100-sxm-80gb", "bf16"]),
    "rental and owned": ("pricing:", "pricing:\n  owned: {}", 15, ["'rental' and 'owned'", "one of the two"]),
    "missing key": ("  tokens: 20 B\n", "", 3, ["training: missing key 'tokens'", "such as"]),
    "missing section": ("checkpoint:\n  storage_bandwidth: 10 GB/s\n", "", 1, ["missing key 'checkpoint'"]),
    "empty section": ("  tokens: 20 B\n", "  tokens:\n", 4, ["missing key 'tokens'"]),
    "inline record cut short": ("llama-3.1-8b", "{layers: 2}", 2, ["problems", "model: missing key 'hidden'"]),
    "inline record at odds": ("llama-3.1-8b", "{layers: 2, hidden: 100, heads: 32, ffn_hidden: 8, gated: no, vocabulary: 9}",
                              2, ["no multiple of heads 32"]),
    "unknown generation": ("h100-sxm-80gb", "{preset: h100-sxm-80gb, generation: hoper}", 10, ["did you mean 'hopper'"]),
    "duplicate key": ("cluster:", "name: again\ncluster:", 9, ["'name' a second time", "line 1"]),
    "tab": ("  tokens", "\ttokens", 4, ["not valid YAML", "tab"]),
    "syntax error": ("name: test", "name: [test", 2, ["not valid YAML"]),
    "colon in a value": ("name: test", "name: a: b", 1, ["not valid YAML", "quotes"]),
    "tag": ("name: test", "name: !!python/object/apply:os.system [echo]", 1, ["tag", "allowed"]),
    "harmless tag": ("name: test", "name: !!str test", 1, ["tag"]),
    "alias": ("name: test", "name: &a test\ndescription: *a", 2, ["alias '*a'", "extends"]),
    "second document": ("checkpoint:", "---\ncheckpoint:", 12, ["second document"]),
    "key that is a number": ("name: test", "1: test", 1, ["found the key '1'"]),
    "key that is a list": ("name: test", "[a, b]: test", 1, ["as a key"]),
    "deep nesting": ("name: test", "name: " + "[" * 60 + "]" * 60, 1, ["nested deeper than 50"]),
    "very deep nesting": ("name: test", "name: " + "[" * 9000, 1, ["nested deeper than 50"]),
    "many values": ("name: test", "name: [" + "1," * 20_000 + "]", 1, ["more than 10000 values"]),
    "price of a currency unknown": ("2.5 USD/h", "2.5 EUR/h", 16, ["'2.5 EUR/h'"]),
    "control character": ("name: test", "name: te\x07st", 1, ["not valid YAML", "control character"]),
}


Change = tuple[str, str, int, list[str]]


def component(text: str, *words: str) -> Change:
    return "checkpoint:", f"failures: {{components: [{{name: x, rate: 1 per day, {text}}}]}}\ncheckpoint:", 12, [
        "failures.components.0", *words]


def profile(text: str, *words: str) -> Change:
    return "checkpoint:", f"failures: {{preset: llama3-2024, {text}}}\ncheckpoint:", 12, list(words)


def recovery(text: str, *words: str) -> Change:
    return "checkpoint:", f"recovery: {{{text}}}\ncheckpoint:", 12, list(words)


def cluster(text: str, *words: str) -> Change:
    return "accelerators: 64", f"accelerators: 64\n  {text}", 12, list(words)


def checkpoint(text: str, *words: str) -> Change:
    return "10 GB/s", f"10 GB/s\n  {text}", 14, list(words)


CHANGES |= {
    "typo in a kind": component("kind: hardwar", "loss-spike, slow, flap", "did you mean 'hardware'"),
    "component without a kind": component("shape: 0.7", "missing key 'kind'"),
    "shape of nothing": component("kind: hardware, shape: 0", ".shape: found 0", "at least 0.1"),
    "shape of a wall": component("kind: hardware, shape: 40", ".shape: found 40", "at most 10"),
    "radius of nothing": component("kind: hardware, blast_radius: 0", ".blast_radius: found 0", "at least 1"),
    "negative burst": component("kind: hardware, burst: -1", ".burst: found -1", "at least 0"),
    "spread without a unit": component("kind: hardware, burst_spread: 5", ".burst_spread: found the bare number 5", "'30 min'"),
    "domain of nothing": component("kind: hardware, burst_domain: 0", ".burst_domain: found 0", "at least 1"),
    "corruption found when": component("kind: corruption", "component 'x' of kind 'corruption' lacks 'latency'"),
    "slow by how much": component("kind: slow, duration: 1 h", "of kind 'slow' lacks 'severity'"),
    "slow for how long": component("kind: slow, severity: 0.1", "of kind 'slow' lacks 'duration'"),
    "flap for how long": component("kind: flap", "of kind 'flap' lacks 'duration'"),
    "outage for how long": component("kind: storage", "of kind 'storage' lacks 'duration'"),
    "spike back to where": component("kind: loss-spike", "of kind 'loss-spike' lacks 'rollback'"),
    "half a step back": component("kind: loss-spike, rollback: 1.5", ".rollback: found 1.5", "whole number"),
    "negative severity": component("kind: slow, duration: 1 h, severity: -0.1", ".severity: found -0.1", "at least 0"),
    "severity in hours": component("kind: slow, duration: 1 h, severity: 1 h", ".severity: found '1 h'", "such as '1.1'"),
    "notice without a unit": component("kind: preemption, notice: 2", ".notice: found the bare number 2"),
    "detection that is a word": component("kind: software, detection: soon", ".detection: found 'soon'", "'30 min'"),
    "repair of median zero": component("kind: hardware, repair: {lognormal: [0 s, 1]}", ".repair", "a median above zero"),
    "latency in bytes": component("kind: corruption, latency: 3 GB", ".latency: found '3 GB'", "'30 min'"),
    "negative frailty": profile("frailty: -1", "failures.frailty: found -1", "at least 0"),
    "age without a unit": profile("age: 90", "failures.age: found the bare number 90", "'30 min'"),
    "negative diagnosis": recovery("diagnosis: -1 min", "recovery.diagnosis: found '-1 min'", "at least 0 s"),
    "warm spare without a unit": recovery("warm_replacement: 5", "recovery.warm_replacement: found the bare number 5"),
    "typo in a part": recovery("cold_replacment: 5 min", "recovery: unknown key", "did you mean 'cold_replacement'"),
    "falling initialisation": recovery("initialisation_per_node: {uniform: [3 s, 2 s]}", "_per_node: uniform", "rising order"),
    "warm-up that is a word": recovery("warm_up: fast", "recovery.warm_up: found 'fast'", "'30 min'"),
    "quarantine without a unit": recovery("quarantine: 3", "recovery.quarantine: found the bare number 3"),
    "negative warm spares": cluster("warm_spares: -2", "cluster.warm_spares: found -2", "at least 0"),
    "half a cold spare": cluster("cold_spares: 1.5", "cluster.cold_spares: found 1.5", "whole number"),
    "quarantine that is true": cluster("quarantine_after: true", "cluster.quarantine_after: found True"),
    "typo in an eviction": cluster("slow_nodes: {action: evct}", "slow_nodes.action: found 'evct'", "did you mean 'evict'"),
    "slow nodes found in 10": cluster("slow_nodes: {detection: 10}", "slow_nodes.detection: found the bare number 10"),
    "typo in shrinking": cluster("elasticity: {action: shrnk}", "elasticity.action: found 'shrnk'", "did you mean 'shrink'"),
    "more than all replicas": cluster("elasticity: {least: 1.5}", "elasticity.least: found 1.5", "at most 1"),
    "negative patience": cluster("elasticity: {patience: -1 s}", "elasticity.patience: found '-1 s'", "at least 0 s"),
    "windows that meet": cluster("maintenance: {every: 4 h, duration: 4 h}", "maintenance.duration: found 14400 s", "less than"),
    "windows all the time": cluster("maintenance: {every: 0 s, duration: 4 h}", "maintenance.every: found '0 s'", "more than 0"),
    "window without an end": cluster("maintenance: {every: 14 days}", "cluster.maintenance: missing key 'duration'"),
    "growth to nothing": cluster("growth: [{at: 3 days}]", "cluster.growth.0: missing key 'accelerators'"),
    "growth that is no list": cluster("growth: {at: 3 days, accelerators: 128}", "cluster.growth: found", "a list"),
    "growth at once": cluster("growth: [{at: 0 s, accelerators: 128}]", "cluster.growth.0.at: found '0 s'", "more than 0"),
    "growth of half a node": cluster("growth: [{at: 3 days, accelerators: 68}]", "growth.0.accelerators: found 68", "64 or 72"),
    "growth that shrinks": cluster("growth: [{at: 2 days, accelerators: 128}, {at: 3 days, accelerators: 96}]",
                                   "growth.1.accelerators: found 96", "more than the 128 before"),
    "growth of half a replica": ("tensor: 8\ncluster:\n  accelerator: h100-sxm-80gb\n  accelerators: 64",
                                 "tensor: 8\n    pipeline: 2\ncluster:\n  accelerator: h100-sxm-80gb\n  accelerators: 64\n"
                                 "  growth: [{at: 3 days, accelerators: 72}]", 13,
                                 ["growth.0.accelerators: found 72", "the 16 of a replica", "64 or 80"]),
    "day above one": cluster("variation: {day_swing: 1.5}", "variation.day_swing: found 1.5", "at most 1"),
    "negative year": cluster("variation: {year_swing: -0.1}", "variation.year_swing: found -0.1", "at least 0"),
    "typo in an interval": checkpoint("interval: simulate", "auto, young, daly, simulated", "did you mean 'simulated'"),
    "copies that are not loaded": checkpoint("memory: {interval: 30 s}", "checkpoint.memory: missing key 'load'", "'30 min'"),
    "copies on no node": checkpoint("memory: {interval: 30 s, load: 1 min, nodes: 0}", "memory.nodes: found 0", "at least 1"),
    "copies all the time": checkpoint("local: {interval: 0 s, load: 1 min}", "local.interval: found '0 s'", "more than 0 s"),
    "typo in a copy": checkpoint("local: {interval: 1 min, load: 1 min, stal: 1 s}", "checkpoint.local", "did you mean 'stall'"),
    "copies that are true": checkpoint("local: true", "checkpoint.local: found True", "a mapping of interval, stall"),
    "write that stops the job": checkpoint("persist_slowdown: 100 %", "persist_slowdown: found '100 %'", "at most 0.99"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_bad_value_is_named_with_its_line(tmp_path: Path, case: str) -> None:
    old, new, line, words = CHANGES[case]
    assert old in GOOD
    text = bad(tmp_path, GOOD.replace(old, new, 1))
    for word in [f"bad.yaml:{line}:", *words]:
        assert word in text, text


def test_the_good_file_is_good(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_scenario(path).name == "test"


@pytest.mark.parametrize(("schedule", "line", "words"), [
    ("[{until: 3 T, batch: 1 M, sequence: 8192}, {until: 2 T, batch: 1 M, sequence: 8192}, {batch: 1 M, sequence: 8192}]",
     5, ["batch_schedule.1.until", "2e+12", "more than", "3e+12"]),
    ("[{batch: 1 M, sequence: 8192}, {batch: 2 M, sequence: 8192}]", 5, ["batch_schedule.0", "missing key 'until'"]),
    ("[{until: 1 T, batch: 1 M, sequence: 8192}]", 5, ["'until' in the last phase"]),
    ("[]", 5, ["at least one phase"]),
    ("{batch: 1 M}", 5, ["a list"]),
    ("[{btch: 1 M, sequence: 8192}]", 5, ["batch_schedule.0: unknown key 'btch'", "missing key 'batch'"]),
    ("[{batch: 1 M, sequence: 100}]\n  layout: {context: 8}", 6, ["training.layout.context", "divide the sequence 100"]),
])
def test_a_bad_schedule_is_named_with_its_phase(tmp_path: Path, schedule: str, line: int, words: list[str]) -> None:
    short = "  batch: 1 M\n  sequence: 8192\n  layout:\n    tensor: 8\n"
    text = bad(tmp_path, GOOD.replace(short, f"  batch_schedule: {schedule}\n"))
    for word in [f"bad.yaml:{line}", *words]:
        assert word in text, text


def test_experts_must_divide_the_models_experts(tmp_path: Path) -> None:
    text = bad(tmp_path, GOOD.replace("llama-3.1-8b", "mixtral-8x7b").replace("tensor: 8", "expert: 3"))
    assert "bad.yaml:8: training.layout.expert: found 3" in text
    assert "2 or 4" in text or "2, 4" in text


def test_several_problems_are_listed_under_a_count(tmp_path: Path) -> None:
    text = bad(tmp_path, GOOD.replace("model:", "modle:").replace("10 GB/s", "10 GB"))
    lines = text.splitlines()
    assert lines[0].endswith("bad.yaml: 3 problems")
    assert len(lines) == 4
    assert sum("bad.yaml:13:" in line for line in lines) == 1


def test_at_most_ten_problems_are_listed(tmp_path: Path) -> None:
    text = bad(tmp_path, "".join(f"key{i}: 1\n" for i in range(30)) + GOOD)
    lines = text.splitlines()
    assert "30 problems" in lines[0]
    assert len(lines) == 12
    assert lines[-1].strip() == "... and 20 more"


@pytest.mark.parametrize(("content", "words"), [
    (b"", ["empty"]),
    (b"# only a comment\n\n", ["empty"]),
    (b"---\n...\n", ["at the top"]),
    (b"- name: test\n", ["found a list at the top", "a mapping"]),
    (b"just text\n", ["found a single value at the top"]),
    (b"name: \x00\x01\x02", ["binary"]),
    (b"\x89PNG\r\n\x1a\n\x00\x00", ["binary"]),
    (b"name: test\nmodel: caf\xe9\n", [":2:", "UTF-8"]),
    ("name: test\n".encode("utf-16"), ["binary"]),
    (b"name: test\n" * 2_000_000, ["20000000 bytes"]),
    (b"a: &a [1]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", [":2:", "alias"]),
    (b"a: &a [*a]\n", ["alias"]),
    (b"%YAML 3.0\n---\nname: x\n", ["YAML"]),
])
def test_a_file_that_is_no_scenario(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    text = message(path)
    for word in words:
        assert word in text, text


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "llama3-405b.yaml").write_text(GOOD, encoding="utf-8")
    assert "did you mean" in message(tmp_path / "lama3-405b.yaml")
    assert "llama3-405b.yaml" in message(tmp_path / "llama3-405b")
    assert "that folder has: llama3-405b.yaml" in message(tmp_path / "qqqq")
    assert "there is no folder" in message(tmp_path / "nowhere" / "x.yaml")


def test_a_folder_and_impossible_names_are_refused(tmp_path: Path) -> None:
    assert "folder" in message(tmp_path)
    file = tmp_path / "file.yaml"
    file.write_text(GOOD, encoding="utf-8")
    assert "cannot be read" in message(file / "x.yaml")
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(UserError, match="cannot be read"):
            load_scenario(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text(GOOD, encoding="utf-8")
    path.chmod(0)
    assert "cannot be read" in message(path)


def test_extends_itself_or_in_a_circle_shows_the_chain(tmp_path: Path) -> None:
    assert "cycle" in bad(tmp_path, "extends: bad.yaml\n")
    for one, other in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"name: x\nextends: {other}.yaml\n", encoding="utf-8")
    text = message(tmp_path / "a.yaml")
    assert "c.yaml:2: extends: found a cycle" in text
    assert text.count(" -> ") == 3


def test_extends_nothing_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD, encoding="utf-8")
    text = bad(tmp_path, "name: child\nextends: bse.yaml\n")
    assert "bad.yaml:2: extends:" in text
    assert "base.yaml" in text
    assert "the name of one scenario file" in bad(tmp_path, "extends: [base.yaml]\n")
    assert "folder" in bad(tmp_path, "extends: .\n")


def test_extends_too_long_a_chain(tmp_path: Path) -> None:
    for i in range(15):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n", encoding="utf-8")
    assert "more than 10 files" in message(tmp_path / "0.yaml")


def test_a_bad_value_of_the_parent_points_into_the_parent(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD.replace("10 GB/s", "10 GB"), encoding="utf-8")
    path = tmp_path / "bad.yaml"
    path.write_text("extends: base.yaml\ncluster:\n  accelerators: 128\n", encoding="utf-8")
    assert "base.yaml:13: checkpoint.storage_bandwidth" in message(path, named="base.yaml")
    path.write_text("extends: base.yaml\ncheckpoint:\n  storage_bandwidth: 5 TB\n", encoding="utf-8")
    assert "bad.yaml:3: checkpoint.storage_bandwidth" in message(path)


def test_a_bad_recovery_is_shown_as_it_is_written(tmp_path: Path) -> None:
    text = bad(tmp_path, GOOD + "recovery:\n  repare: 3 h\n")
    assert "bad.yaml:18: recovery: unknown key 'repare'; did you mean 'repair'?" in text
    assert "recovery.repair: found '3 USD'" in bad(tmp_path, GOOD + "recovery:\n  repair: 3 USD\n")


@pytest.mark.parametrize("mapping", [[], None, "text", 5, {}, {1: 2}, {"name": object()}, {"extends": 5}])
def test_a_bad_mapping_is_a_user_error(mapping: object) -> None:
    with pytest.raises(UserError, match="here"):
        scenario_from_mapping(mapping, where="here")  # type: ignore[arg-type]


def test_a_mapping_that_holds_itself_is_refused() -> None:
    circle: dict = {"name": "x"}
    circle["model"] = circle
    with pytest.raises(UserError, match="deeper"):
        scenario_from_mapping(circle)


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_document(text, "x.yaml")
    except UserError as error:
        assert str(error).startswith("x.yaml")


@given(data=st.data())
def test_a_damaged_file_is_loaded_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    at = data.draw(st.integers(0, len(GOOD)))
    cut = data.draw(st.integers(0, 6))
    new = data.draw(st.text(alphabet="{}[]:,-#&*!|>'\"% \n\tab01.~", max_size=5))
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_text(GOOD[:at] + new + GOOD[at + cut:], encoding="utf-8")
    try:
        load_scenario(path)
    except UserError as error:
        assert "damaged.yaml" in str(error)

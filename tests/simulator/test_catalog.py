"""The catalog: every record reads, every value has a source, every model has its published size."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest

from simulator import catalog
from simulator.catalog.records import FailureKind, ModelRecord
from simulator.errors import UserError
from simulator.fields import Distribution

RECORDS = [(kind, name) for kind in catalog.KINDS for name in catalog.names(kind)]
UNSOURCED = {"name", "notes", "sources"}

REQUIRED = {
    "models": """gpt2-small gpt2-medium gpt2-large gpt2-xl gpt3-125m gpt3-350m gpt3-760m gpt3-1.3b gpt3-2.7b
        gpt3-6.7b gpt3-13b gpt3-175b opt-175b bloom-176b llama-7b llama-13b llama-33b llama-65b llama-2-7b
        llama-2-13b llama-2-70b llama-3-8b llama-3-70b llama-3.1-8b llama-3.1-70b llama-3.1-405b llama-4-scout
        llama-4-maverick mistral-7b mixtral-8x7b mixtral-8x22b qwen2.5-0.5b qwen2.5-1.5b qwen2.5-3b qwen2.5-7b
        qwen2.5-14b qwen2.5-32b qwen2.5-72b qwen3-0.6b qwen3-1.7b qwen3-4b qwen3-8b qwen3-14b qwen3-32b
        qwen3-30b-a3b qwen3-235b-a22b deepseek-v2 deepseek-v3 palm-8b palm-62b palm-540b nemotron-4-340b
        gpt-oss-20b gpt-oss-120b""",
    "accelerators": """v100-sxm2-32gb a100-sxm-40gb a100-sxm-80gb h100-sxm-80gb h100-pcie-80gb h800-sxm-80gb
        h200-sxm-141gb b200-sxm-180gb gb200-nvl72 gb300-nvl72 mi250x mi300x mi325x mi355x tpu-v3 tpu-v4
        tpu-v5e tpu-v5p tpu-v6e tpu-v7 trainium1 trainium2 gaudi2 gaudi3""",
    "generations": "volta ampere hopper blackwell cdna2 cdna3 cdna4 tpu trainium gaudi",
    "fabrics": "rail-optimised-fat-tree llama3-roce",
    "sites": "usa fra deu chn usa/texas usa/iowa aws/us-east-1 gcp/us-central1 azure/swedencentral",
    "failures": """none llama3-2024 rsc-1 rsc-2 opt-175b bloom-176b megascale byterobust glm-130b infinitehbd lablup-b200
        crusoe-h200 delta-h100 tpu-v4 palm-540b acme ft-hsdp fail-slow spot infant all-causes""",
}


def reference_parameters(model: ModelRecord, active: bool = False, input_embedding: bool = True) -> int:
    """Count the weights of one token's path (`active`) or of all, tensor by tensor."""
    h, attention_bias, ffn_bias = model.hidden, model.attention_bias, model.ffn_bias
    head_dim = model.head_dim or h // model.heads
    key_value_heads = model.key_value_heads or model.heads
    norm = h * (2 if model.norm == "layernorm" else 1)
    matrices = 3 if model.gated else 2

    if mla := model.latent_attention:
        query_width = model.heads * (mla.nope_dim + mla.rope_dim)
        attention = h * query_width
        if mla.query_rank:
            attention = h * mla.query_rank + mla.query_rank + mla.query_rank * query_width
        attention += h * (mla.key_value_rank + mla.rope_dim) + mla.key_value_rank
        attention += mla.key_value_rank * model.heads * (mla.nope_dim + mla.value_dim)
        attention += model.heads * mla.value_dim * h
    else:
        query, key_value = model.heads * head_dim, 2 * key_value_heads * head_dim
        attention = h * query + h * key_value + query * h
        attention += {"none": 0, "qkv": query + key_value, "all": query + key_value + h}[attention_bias]

    def feed_forward(width: int) -> int:
        bias = (matrices - 1) * width + h if ffn_bias and width else 0
        return matrices * h * width + bias

    moe = model.mixture_of_experts
    total = (model.layers - (moe.layers if moe else 0)) * feed_forward(model.ffn_hidden)
    if moe:
        experts = moe.experts_per_token if active else moe.experts
        router = h * moe.experts + (moe.experts if ffn_bias else 0)
        total += moe.layers * (router + experts * feed_forward(moe.expert_hidden))
        total += moe.layers * feed_forward(moe.shared_hidden)
    total += model.layers * (attention + model.norms_per_layer * norm) + norm
    embedding = model.vocabulary * h
    total += model.learned_positions * h
    return total + embedding * (2 if input_embedding and not model.tied_embeddings else 1)


@pytest.mark.parametrize("name", catalog.names("models"))
def test_model_has_published_size(name: str) -> None:
    model = catalog.load("models", name)
    assert model.published_parameters is not None
    assert reference_parameters(model) == pytest.approx(model.published_parameters, rel=0.01)


@pytest.mark.parametrize("name", catalog.names("models"))
def test_model_has_published_active_size(name: str) -> None:
    model = catalog.load("models", name)
    if model.mixture_of_experts is None:
        assert model.published_active_parameters is None
        return
    assert model.published_active_parameters is not None
    # Publishers differ in whether the input embedding, a table look-up, is active.
    counts = [reference_parameters(model, active=True, input_embedding=counted) for counted in (True, False)]
    assert min(abs(count / model.published_active_parameters - 1) for count in counts) < 0.05


def _sourced(key: str, sources: dict[str, str]) -> bool:
    return any(candidate in sources for candidate in (key, _head(key), "default"))


def _head(key: str) -> str:
    return key.partition(".")[0]


def _values(record: dict[str, Any]) -> list[str]:
    keys = []
    for key, value in record.items():
        if key in UNSOURCED:
            continue
        if key == "components":
            keys += [f"components.{component['name']}" for component in value]
        elif key in ("peak_flops", "recovery", "owned"):
            keys += [f"{key}.{part}" for part in value]
        else:
            keys.append(key)
    return keys


@pytest.mark.parametrize(("kind", "name"), RECORDS)
def test_record_reads_and_every_value_has_a_source(kind: str, name: str) -> None:
    record = catalog.load(kind, name)
    assert type(record) is catalog.KINDS[kind]
    written = catalog.raw(kind, name)
    assert written["name"]
    values = _values(written)
    assert [key for key in values if not _sourced(key, record.sources)] == []
    assert all(text.strip() for text in record.sources.values())
    known = {"default", *values, *map(_head, values)}
    assert [key for key in record.sources if key not in known] == [], "a source for no value"
    # What a file writes reads back to the same record.
    assert catalog.KINDS[kind].model_validate(record.to_file()) == record


@pytest.mark.parametrize("kind", REQUIRED)
def test_required_names_exist(kind: str) -> None:
    assert set(REQUIRED[kind].split()) - set(catalog.names(kind)) == set()


def test_accelerators_name_a_generation_and_no_precision_they_lack() -> None:
    for name in catalog.names("accelerators"):
        record = catalog.load("accelerators", name)
        assert record.generation in catalog.names("generations"), name
    assert "bf16" not in catalog.load("accelerators", "v100-sxm2-32gb").peak_flops
    assert "fp8" not in catalog.load("accelerators", "a100-sxm-80gb").peak_flops
    assert catalog.load("accelerators", "h100-sxm-80gb").peak_flops["bf16"] == pytest.approx(989.5e12)
    assert catalog.load("accelerators", "h100-sxm-80gb").nic_bandwidth_bytes_per_s == pytest.approx(50e9)


def test_networks_that_reduce_and_tori() -> None:
    records = {name: catalog.load("accelerators", name) for name in catalog.names("accelerators")}
    for name, record in records.items():
        sxm = record.vendor == "NVIDIA" and record.generation in ("hopper", "blackwell") and "pcie" not in name
        assert record.scale_up_reduces == sxm, name
        assert (record.scale_up_topology != "switch") == name.startswith("tpu"), name
    assert {name for name, record in records.items() if record.scale_up_topology == "torus-3d"} == {
        "tpu-v4", "tpu-v5p", "tpu-v7"}
    assert [name for name in catalog.names("fabrics") if catalog.load("fabrics", name).rails] == [
        name for name in catalog.names("fabrics") if name.startswith("rail-optimised")]


def test_host_links_are_slower_than_memory() -> None:
    for name in catalog.names("accelerators"):
        record = catalog.load("accelerators", name)
        assert (record.host_link_bandwidth_bytes_per_s is None) == name.startswith(("tpu", "trainium")), name
        if record.host_link_bandwidth_bytes_per_s is not None:
            assert record.host_link_bandwidth_bytes_per_s < record.memory_bandwidth_bytes_per_s / 10, name


def test_llama3_profile_repeats_the_counts_of_table_5() -> None:
    profile = catalog.load("failures", "llama3-2024")
    node_seconds = 54 * 86400 * 2048
    counts = {c.name: c.rate_per_s * node_seconds for c in profile.components}
    assert counts["faulty GPU"] == pytest.approx(148, rel=1e-3)
    assert sum(counts.values()) == pytest.approx(466, rel=1e-3)
    planned = sum(c.rate_per_s for c in profile.components if c.kind == "planned") * node_seconds
    assert planned == pytest.approx(47, rel=1e-3)


def test_rsc_profiles_have_the_published_rates() -> None:
    for name, rate in (("rsc-1", 6.50), ("rsc-2", 2.34)):
        total = sum(c.rate_per_s for c in catalog.load("failures", name).components)
        assert total * 86400e3 == pytest.approx(rate)


# Per 1000 node-days, further failures of bursts and all nodes of a blast radius' domain counted once each.
PUBLISHED_TOTALS = {"glm-130b": 1.80, "lablup-b200": 6.06, "crusoe-h200": 8.40, "acme": 281 / 588 / 184 * 1000, "ft-hsdp": 2.30,
                    "infinitehbd": 4.195, "llama3-2024": 466 / 54 / 2.048, "byterobust": 4.214}


@pytest.mark.parametrize("name", PUBLISHED_TOTALS)
def test_rates_add_up_to_what_was_published(name: str) -> None:
    total = sum(c.rate_per_s * (1 + c.burst) / c.blast_radius for c in catalog.load("failures", name).components)
    assert total * 86400e3 == pytest.approx(PUBLISHED_TOTALS[name], rel=3e-3)


def test_profiles_name_every_kind_of_part_and_of_event() -> None:
    profiles = [catalog.load("failures", name) for name in catalog.names("failures")]
    words = " ".join(c.name for profile in profiles for c in profile.components).lower()
    for part in ("accelerator", "gpu", "hbm", "nic", "cable", "optic", "host", "switch", "rack power", "cooling", "storage",
                 "software", "silent data corruption", "loss spike", "ssd", "pcie", "fan"):
        assert part in words, part
    kinds = {c.kind for profile in profiles for c in profile.components}
    assert kinds == {c.kind for c in catalog.load("failures", "all-causes").components} == set(get_args(FailureKind))


def test_infinitehbd_is_as_bursty_and_unequal_as_its_trace() -> None:
    profile = catalog.load("failures", "infinitehbd")
    assert profile.frailty == 0.93
    total = sum(c.rate_per_s * (1 + c.burst) for c in profile.components)
    # Geometric bursts: daily counts have a Fano factor of 1 + 2 burst, less what falls on servers that are out (trace: 3.44).
    fano = 1 + sum(2 * c.burst * c.rate_per_s * (1 + c.burst) / total for c in profile.components)
    assert 3.4 < fano < 4.0
    mean_repair_s = sum((c.repair_s or profile.recovery.repair_s).mean() * c.rate_per_s * (1 + c.burst) / total
                        for c in profile.components)
    assert mean_repair_s / 86400 == pytest.approx(5.54, rel=0.05)
    assert total * mean_repair_s == pytest.approx(0.023, abs=0.001)  # published: 2.3 % of servers unavailable


def test_a_tenth_of_new_nodes_is_defective() -> None:
    parts = [c for c in catalog.load("failures", "infant").components if c.shape != 1.0]
    shown = sum((90 * 86400 * c.rate_per_s * math.gamma(1 + 1 / c.shape)) ** c.shape for c in parts)
    assert shown == pytest.approx(0.1036, rel=1e-2)


def test_hangs_take_their_own_time_to_be_seen() -> None:
    for name, component in (("llama3-2024", "NCCL watchdog timeout"), ("bloom-176b", "hang"), ("byterobust", "job hang")):
        profile = catalog.load("failures", name)
        (hang,) = [c for c in profile.components if c.name == component]
        own, usual = (t.mean() if isinstance(t, Distribution) else t for t in (hang.detection_s, profile.recovery.detection_s))
        assert own > 2 * usual, name


def test_unknown_names_give_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown model 'llama-3\.1-450b'; did you mean 'llama-3\.1-405b'\?"):
        catalog.load("models", "llama-3.1-450b")
    with pytest.raises(UserError, match="did you mean 'h100-sxm-80gb'"):
        catalog.raw("accelerators", "h100-sxm-80g")
    with pytest.raises(UserError, match="unknown catalog kind 'modles'; did you mean 'models'"):
        catalog.names("modles")


def test_raw_is_a_copy() -> None:
    catalog.raw("models", "gpt2-small")["layers"] = 1
    catalog.raw("models", "gpt2-small")["sources"]["default"] = "changed"
    assert catalog.raw("models", "gpt2-small")["layers"] == 12
    assert catalog.raw("models", "gpt2-small")["sources"]["default"] != "changed"

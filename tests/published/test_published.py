"""Published figures that the model must reproduce, from configuration alone."""

from pathlib import Path

import numpy as np
import pytest

from simulator.validation.calibration import calibrate, eras_with_rows, errors, used
from simulator.validation.runs import compare_runs
from simulator.validation.software import software_of, year_of
from simulator.validation.throughput import CALCULON, compare_pairs, predictions, predictions_csv, read_cases, statistics

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture(scope="module")
def outcomes():
    return {(o.scenario, o.quantity): o for o in compare_runs(SCENARIOS, trials=25)}


@pytest.mark.parametrize(("scenario", "quantity", "tolerance"), [
    ("llama3-405b", "accelerator-hours", 0.15),
    ("llama3-405b", "interruptions in 54 days", 0.10),
    ("gpt3-175b", "energy at the meter", 0.15),
    ("deepseek-v3", "accelerator-hours", 0.15),
    ("opt-175b", "productive days", 0.15),
    ("byterobust-9600", "ETTR", 0.03),
    ("megascale-12288", "step time", 0.15),
])
def test_run_is_within_tolerance_of_what_was_published(outcomes, scenario, quantity, tolerance) -> None:
    outcome = outcomes[scenario, quantity]
    assert abs(outcome.error) <= tolerance, outcome


@pytest.mark.parametrize("scenario", ["llama3-405b", "megascale-12288"])
def test_effective_time_is_above_the_published_bound(outcomes, scenario) -> None:
    assert outcomes[scenario, "ETTR"].simulated > 0.90


@pytest.fixture(scope="module")
def shipped():
    return read_cases()


@pytest.fixture(scope="module")
def recalled():
    return read_cases(shipped="recalled.csv")


@pytest.mark.parametrize(("low", "high", "bound"), [(1e9, np.inf, 0.07), (0.0, 1e9, 0.12)])
def test_step_times_are_near_the_published_rows(shipped, low, high, bound) -> None:
    found = statistics(errors([case for case in shipped if low <= case.parameters < high]))
    assert found["rows"] > 40
    assert found["mean_absolute_error"] <= bound


def test_step_times_have_no_bias(shipped) -> None:
    found = statistics(errors(shipped))
    assert found["rows"] == 141
    assert found["mean_absolute_error"] < 0.05
    assert abs(found["bias"]) < 0.02


def test_calculons_eight_rows_are_nearer_than_calculon(shipped, recalled) -> None:
    eight = [case for case in (*shipped, *recalled) if case.id in CALCULON]
    assert len(eight) == 8
    assert np.abs(errors(eight)).mean() <= 0.03


def test_rows_that_no_fit_has_seen_are_as_near_as_those_it_has(recalled) -> None:
    assert statistics(errors(recalled))["mean_absolute_error"] < 0.07


def test_catalog_holds_what_the_calibration_finds(shipped) -> None:
    for g, era, rows in eras_with_rows(shipped):
        fit = calibrate(rows, era, g)
        names = used(rows)
        assert [getattr(fit, n) for n in names] == pytest.approx([getattr(era, n) for n in names], rel=0.03), era.name
        assert np.abs(errors(rows, fit, g)).mean() <= np.abs(errors(rows)).mean() + 0.002


HEADER = ("id,source,model,layers,hidden,heads,kv_heads,ffn_hidden,gated_mlp,vocab,tied_embeddings,sequence,accelerator,"
          "accelerators,nic_gbps_per_accelerator,precision,tensor,pipeline,virtual_pipeline,context,data,sharding,microbatch,"
          "gradient_accumulation,global_batch_sequences,recompute,activation_offload,parameters,step_time_s,"
          "tokens_per_s_per_accelerator,model_tflops_per_accelerator,mfu_percent,hfu_percent,notes\n")


def predict(tmp_path, *rows: str) -> list[dict[str, str]]:
    path = tmp_path / "cases.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return predictions(path)


def test_rows_from_outside_are_priced_with_cells_missing(tmp_path) -> None:
    sparse, full = predict(
        tmp_path,
        "a,,x,32,4096,32,,,,,,2048,h200-sxm-141gb,64,,bf16,4,2,,,,,,,512,full,,,,,,,,",
        "b,,x,32,4096,32,8,14336,yes,128256,no,8192,b200-sxm-180gb,8,400,bf16,1,1,1,1,8,fsdp-full,1,,16,full,no,,2.0,,,,,")
    assert float(sparse["predicted_step_time_s"]) > 0
    assert 10 < float(sparse["predicted_mfu_percent"]) < 80
    assert sparse["feasible"] == "yes"
    assert sparse["error"] == ""  # nothing was published
    assert float(full["error"]) == pytest.approx(float(full["predicted_step_time_s"]) / 2.0 - 1.0, abs=1e-4)


def test_predictions_have_the_five_columns_asked_for(tmp_path) -> None:
    lines = predict(tmp_path, "a,,llama-3.1-8b,,,,,,,,,8192,h100-sxm-80gb,8,,,,,,,,,,,16,,,,,,,,,")
    head, row = predictions_csv(lines).splitlines()
    assert head == "id,predicted_step_time_s,predicted_mfu_percent,feasible,error"
    assert row.startswith("a,")
    assert row.endswith(",yes,")


def test_rows_that_cannot_be_priced_say_why_and_stop_no_other(tmp_path) -> None:
    found = predict(
        tmp_path,
        "a,,x,32,4096,32,,,,,,2048,h100-sxm-80g,8,,bf16,1,1,,,,,,,512,full,,,,,,,,",
        "b,,x,,4096,32,,,,,,2048,h100-sxm-80gb,8,,bf16,1,1,,,,,,,512,full,,,,,,,,",
        "c,,x,32,4096,32,,,,,,2048,h100-sxm-80gb,8,,bf16,3,1,,,,,,,512,full,,,,,,,,",
        "d,,x,32,4096,32,,,,,,2048,h100-sxm-80gb,8,,bf16,1,1,,,,,,,512,full,,,,,,,,")
    assert "did you mean 'h100-sxm-80gb'" in found[0]["error"]
    assert "layers is missing" in found[1]["error"]
    assert "not the 8 accelerators" in found[2]["error"]
    assert found[3]["predicted_step_time_s"]


def test_what_a_row_leaves_open_is_chosen_and_named(tmp_path) -> None:
    named, bare = predict(
        tmp_path,
        "a,,x,32,4096,32,8,14336,yes,128256,no,8192,h100-sxm-80gb,64,400,bf16,2,4,,1,8,,,,128,none,no,,,,,,,interleaved",
        "b,,llama-3.1-70b,,,,,,,,,8192,h100-sxm-80gb,256,,,,,,,,,,,512,,,,,,,,,")
    assert named["assumed"].startswith("virtual_pipeline ")
    assert "microbatch" in named["assumed"]
    assert "zero 1" in named["assumed"]
    assert bare["feasible"] == "yes"
    assert all(word in bare["assumed"] for word in ("tensor", "pipeline", "data", "microbatch"))


@pytest.mark.parametrize(("column", "value", "message"), [
    ("precision", "bf61", "did you mean 'bf16'"),
    ("recompute", "ful", "did you mean 'full'"),
    ("sharding", "fsdp-ful", "did you mean 'fsdp-full'"),
    ("layers", "12.5", "whole number"),
    ("global_batch_sequences", "-4", "above 0"),
    ("hidden", "wide", "a number or nothing"),
])
def test_a_bad_cell_is_named(tmp_path, column, value, message) -> None:
    cells = dict.fromkeys(HEADER.strip().split(","), "") | {
        "id": "a", "layers": "32", "hidden": "4096", "heads": "32", "sequence": "2048", "accelerator": "a100-sxm-80gb",
        "accelerators": "8", "global_batch_sequences": "64", "sharding": "fsdp-full", column: value}
    (found,) = predict(tmp_path, ",".join(cells.values()))
    assert column in found["error"]
    assert message in found["error"]
    assert found["predicted_step_time_s"] == ""


def test_published_configurations_ran_so_they_fit(shipped, recalled) -> None:
    assert [case.id for case in (*shipped, *recalled) if not case.feasible] == []


def test_largest_microbatches_that_ran_nearly_fill_the_memory(shipped) -> None:
    """llm-foundry's rows of 3B and less without recomputation took the largest microbatch that fitted."""
    shares = [case.memory_bytes / case.accelerator.memory_bytes for case in shipped
              if "a100_40gb" in case.id and "-s2048-" in case.id and case.id.startswith(("mpt-3b", "mpt-1b"))]
    assert len(shares) == 7
    assert min(shares) > 0.75


def test_choices_are_ordered_as_published(shipped, recalled) -> None:
    found = compare_pairs([*shipped, *recalled])
    assert {pair.choice.split(",")[0] for pair, _, _ in found} >= {
        "full to selective recomputation", "eager to compiled", "bf16 to fp8", "synchronous to asynchronous TP",
        "1F1B to interleaved", "context 1 to 2", "context 4 to 8"}
    for pair, measured, predicted in found:
        assert (measured > 1.0) == (predicted > 1.0), pair
        assert predicted == pytest.approx(measured, rel=0.15 if "context" not in pair.choice else 0.35), pair


def test_software_follows_its_source() -> None:
    assert year_of("Korthikanti et al. 2022 (arXiv:2205.05198) Tables 3 and 5") == 2022
    assert year_of("MegaScale (NSDI 24) Table 2") == 2024
    assert year_of("Narayanan et al. 2021 (SC21) Table 1") == 2021
    assert year_of("mosaicml/llm-foundry scripts/train/benchmarking/README.md") is None
    assert software_of("MegaScale (NSDI 24) Table 2", "megatron-lm", "ampere").attention == "unfused"
    assert software_of("MegaScale (NSDI 24) Table 2", "megascale", "ampere").attention == "flash"
    assert software_of("pytorch/torchtitan benchmarks/*.md", "no torch.compile", "hopper").elementwise == "eager"
    assert software_of("a blog", "", "hopper").year is None

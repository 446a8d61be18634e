"""Published figures that the model must reproduce, from configuration alone."""

from pathlib import Path

import numpy as np
import pytest

from simulator import catalog
from simulator.validation.runs import compare_runs
from simulator.validation.throughput import FITTED, calibrate, errors, predictions, read_cases, statistics

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
])
def test_run_is_within_tolerance_of_what_was_published(outcomes, scenario, quantity, tolerance) -> None:
    outcome = outcomes[scenario, quantity]
    assert abs(outcome.error) <= tolerance, outcome


def test_llama3_effective_time_is_above_the_published_bound(outcomes) -> None:
    assert outcomes["llama3-405b", "ETTR"].simulated > 0.90


def test_step_times_are_near_the_published_rows() -> None:
    found = statistics(errors(read_cases()))
    assert found["rows"] == 141
    assert found["mean_absolute_error"] < 0.07
    assert abs(found["bias"]) < 0.02


@pytest.mark.parametrize("generation", ["ampere", "hopper"])
def test_catalog_holds_what_the_calibration_finds(generation) -> None:
    record = catalog.load("generations", generation)
    rows = [c for c in read_cases() if c.accelerator.generation == generation]
    fit = calibrate(rows, record)
    assert [getattr(fit, k) for k in FITTED] == pytest.approx([getattr(record, k) for k in FITTED], rel=0.03)
    assert np.abs(errors(rows, fit)).mean() <= np.abs(errors(rows)).mean() + 0.002


HEADER = ("id,source,model,layers,hidden,heads,kv_heads,ffn_hidden,gated_mlp,vocab,tied_embeddings,sequence,accelerator,"
          "accelerators,nic_gbps_per_accelerator,precision,tensor,pipeline,virtual_pipeline,context,data,sharding,microbatch,"
          "gradient_accumulation,global_batch_sequences,recompute,activation_offload,parameters,step_time_s,"
          "tokens_per_s_per_accelerator,model_tflops_per_accelerator,mfu_percent,hfu_percent,notes\n")


def predict(tmp_path, *rows: str) -> list[dict[str, object]]:
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


def test_rows_that_cannot_be_priced_say_why_and_stop_no_other(tmp_path) -> None:
    found = predict(
        tmp_path,
        "a,,x,32,4096,32,,,,,,2048,h100-sxm-80g,8,,bf16,1,1,,,,,,,512,full,,,,,,,,",
        "b,,x,,4096,32,,,,,,2048,h100-sxm-80gb,8,,bf16,1,1,,,,,,,512,full,,,,,,,,",
        "c,,x,32,4096,32,,,,,,2048,h100-sxm-80gb,8,,bf16,3,1,,,,,,,512,full,,,,,,,,",
        "d,,x,32,4096,32,,,,,,2048,h100-sxm-80gb,8,,bf16,1,1,,,,,,,512,full,,,,,,,,")
    assert "did you mean 'h100-sxm-80gb'" in str(found[0]["error"])
    assert "layers is missing" in str(found[1]["error"])
    assert "not the 8 accelerators" in str(found[2]["error"])
    assert found[3]["predicted_step_time_s"]


def test_published_configurations_ran_so_they_fit() -> None:
    assert sum(not case.feasible for case in read_cases()) <= 3


def test_recomputation_and_precision_are_ordered_as_published() -> None:
    by_id = {case.id: case.predicted_s() for case in read_cases()}
    assert by_id["korthikanti22-175b-full"] > by_id["korthikanti22-175b-selective"]
    assert by_id["tt-8b-8-compile"] > by_id["tt-8b-8-fp8"]
    assert by_id["tt-70b-2d-bf16"] > by_id["tt-70b-2d-async"]
    assert by_id["tt-8b-cp4"] > by_id["tt-8b-cp1"]

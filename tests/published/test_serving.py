"""Measured serving: ML.ENERGY's rows, rows that no fit saw, a user's CSV, and energy of queries as others estimate it."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kernels.iteration import body, ends
from kernels.transformer import count_parameters
from simulator import catalog
from simulator.cli import app
from simulator.errors import UserError
from simulator.validation.serving import predict_serving, predict_serving_row, row_batch, row_kind, steady, summary
from simulator.validation.serving_fit import calibrate, cases_of, in_use
from simulator.validation.serving_queries import (
    EPOCH_RANGE_WH,
    GEMINI_SHARES,
    GEMINI_WH,
    dense_of,
    estimates,
    gemini_total_wh,
    our_query,
    reasoning_ratios,
)
from simulator.validation.serving_rows import COLUMNS, model_of, read_serving_row, read_serving_rows


@pytest.fixture(scope="module")
def results():
    return predict_serving(None)


def test_medians_of_ml_energy_are_within_fifteen_percent_in_all_and_by_hardware(results) -> None:
    of_ml_energy = [r for r in results if r.source.startswith("ML.ENERGY v3")]
    assert len(of_ml_energy) == 22
    found = summary(of_ml_energy)
    for group in ("all rows", "h100-sxm-80gb", "b200-sxm-180gb"):
        assert found[group]["J/token"]["median"] < 0.15
        assert found[group]["tokens/s per accelerator"]["median"] < 0.15


def test_no_row_of_ml_energy_is_off_by_a_third(results) -> None:
    errors = [e for r in results if r.source.startswith("ML.ENERGY v3") for e in (r.itl_error, r.j_per_token_error)]
    assert np.abs(np.array(errors, float)).max() < 0.33


def test_rows_of_other_engines_that_no_fit_saw(results) -> None:
    found = {r.row: r.tokens_per_s_error for r in results}
    for name in ("Azure GB200 Llama2-70B offline", "MLPerf v4.0 H200x8 Llama2-70B offline", "MLPerf v5.1 B200x8 Llama2-70B",
                 "MLPerf v5.1 GB300x72 Llama3.1-405B"):
        assert abs(found[name]) < 0.15, name


def test_energy_of_seventy_billion_at_a_batch_no_fit_saw(results) -> None:
    row = next(r for r in results if r.row == "llama-3.1-70b bf16 H100x4 batch 64")
    assert abs(row.j_per_token_error) < 0.15
    assert row.predicted_j_per_token < 1.16  # what EcoLogits says


def test_watts_times_time_over_tokens_is_joules(results) -> None:
    for row, r in zip(read_serving_rows(), results, strict=True):
        joules = r.predicted_power_w * row.accelerators * r.predicted_itl_ms / 1e3 / r.batch
        assert r.predicted_j_per_token == pytest.approx(joules, rel=1e-9)
        assert r.predicted_tokens_per_s_per_gpu == pytest.approx(r.batch / r.predicted_itl_ms * 1e3 / row.accelerators, rel=1e-9)


def test_constants_in_use_are_those_that_the_fit_gives() -> None:
    cases = cases_of([row for row in read_serving_rows() if row.role == "fitted"])
    fitted, used = calibrate(cases), in_use()
    np.testing.assert_allclose(fitted.software, used.software, rtol=0.02)
    assert set(fitted.generations) == set(used.generations)
    for name, values in fitted.generations.items():
        np.testing.assert_allclose(values, used.generations[name], rtol=0.02)


def test_rows_of_a_model_that_the_fit_did_not_see_are_within_a_third() -> None:
    cases = cases_of([row for row in read_serving_rows() if row.role == "fitted"])
    for name in ("llama-3.1-70b", "gpt-oss-120b"):
        constants = calibrate([case for case in cases if case.row.model.name != name])
        errors = [r for case in cases if case.row.model.name == name for r in case.residuals(constants)]
        assert np.abs(np.expm1(errors)).max() < 0.33


def test_the_fit_finds_constants_that_made_the_rows() -> None:
    # Measured values are replaced by those of other constants: a fit that cannot move would not follow.
    cases = cases_of([row for row in read_serving_rows() if row.role == "fitted"])
    truth = in_use()
    truth = replace(truth, software=truth.software._replace(logit_bytes=700.0, overhead_s=2e-3),
                    generations={"hopper": (0.8, 0.6), "blackwell": (0.6, 0.75)})
    made = []
    for case in cases:
        found = case.iteration(truth)
        made.append(replace(case, row=replace(case.row, itl_s=found.time_s,
                                              j_per_token=found.j_per_token(case.row.accelerators))))
    fitted = calibrate(made)
    assert fitted.software.overhead_s == pytest.approx(2e-3, rel=0.1)
    assert fitted.software.logit_bytes == pytest.approx(700.0, rel=0.1)
    for name, values in truth.generations.items():
        np.testing.assert_allclose(fitted.generations[name], values, rtol=0.05)


def test_a_small_batch_reads_all_weights_once_and_not_twice() -> None:
    row = next(r for r in read_serving_rows() if r.row == "llama-3.1-8b bf16 H100x1 batch 8")
    kind = row_kind(row)
    matrix = count_parameters(kind.architecture).matrix
    floor_s = 2.0 * matrix / kind.device.memory_bytes_per_s
    found = steady(kind, 1.0, 1.0, 500.0, 1.0)
    assert floor_s < found.time_s < 1.6 * floor_s


@given(batch=st.floats(1.0, 500.0), more=st.floats(1.0, 3.0))
def test_larger_batches_take_longer_and_cost_less_a_token(batch, more) -> None:
    kind = row_kind(read_serving_rows()[0])
    small, large = (steady(kind, b, 100.0, 500.0, 400.0) for b in (batch, batch * more))
    assert large.time_s >= small.time_s * (1.0 - 1e-9)
    assert large.j_per_token(1) <= small.j_per_token(1) * 1.02  # tiles are whole
    assert kind.power.idle_w < small.accelerator_w <= kind.power.limit_w + 1e-9


def test_whole_experts_wait_for_the_busiest_rank_where_few_are_chosen() -> None:
    row = next(r for r in read_serving_rows() if r.row == "qwen3-235b-a22b bf16 H100x8 batch 8")
    spread = row_kind(row)
    level = replace(spread, replica=spread.replica._replace(busiest=0.0))

    def time_s(kind, rows):
        return body(kind.architecture, kind.device, kind.network, kind.replica, kind.power, rows).time_s

    assert 1.1 < time_s(spread, 8.0) / time_s(level, 8.0) < 1.5
    assert time_s(spread, 2000.0) == pytest.approx(time_s(level, 2000.0), rel=1e-6)


def test_the_busiest_rank_agrees_with_drawing_experts() -> None:
    # 8 tokens choose 8 of 128 experts each; 8 ranks hold 16 each.
    rng = np.random.default_rng(1)
    most = []
    for _ in range(2000):
        chosen = np.zeros(128, bool)
        for _ in range(8):
            chosen[rng.choice(128, 8, replace=False)] = True
        most.append(chosen.reshape(8, 16).sum(axis=1).max())
    touched = 128 * (1.0 - (1.0 - 8 / 128) ** 8)
    busiest = row_kind(next(r for r in read_serving_rows() if r.expert == 8)).replica.busiest
    ours = touched / 8 + busiest * math.sqrt(touched / 8 * (1.0 - touched / 128))
    assert ours == pytest.approx(np.mean(most), rel=0.05)


def test_drawing_a_token_costs_the_same_on_each_rank_however_many_there_are() -> None:
    row = next(r for r in read_serving_rows() if r.row == "llama-3.1-70b bf16 H100x4 batch 8")
    one = row_kind(row)
    software = one.replica.software._replace(logit_bytes=0.0)
    without = one.replica._replace(software=software)
    sampling = [ends(one.architecture, one.device, replica, one.power, 64.0).time_s for replica in (one.replica, without)]
    moved = one.replica.software.logit_bytes * 64.0 * one.architecture.vocabulary
    assert sampling[0] - sampling[1] == pytest.approx(moved / one.device.memory_bytes_per_s, rel=1e-9)


def test_unpacking_takes_power_and_no_time() -> None:
    row = next(r for r in read_serving_rows() if r.row == "gpt-oss-120b fp4 H100x1 batch 8")
    kind = row_kind(row)
    parts = [body(kind.architecture, kind.device, kind.network, kind.replica._replace(unpacked=u), kind.power, 8.0)
             for u in (0.0, 1.0)]
    assert parts[0].time_s == parts[1].time_s
    assert parts[0].demand_s < parts[1].demand_s


def test_thinking_costs_more_a_token_than_chat_as_measured() -> None:
    ratios = [ratio for _, ratio, _, _ in reasoning_ratios()]
    assert len(ratios) == 2
    assert all(1.7 < ratio < 3.4 for ratio in ratios)


def test_epochs_arithmetic_and_our_model_under_its_assumptions() -> None:
    for e in estimates():
        assert e.arithmetic_wh() == pytest.approx(e.published_wh, rel=0.01)
        ours = our_query(dense_of(e.active_parameters), e.accelerator, 8, e.output_tokens, e.pue, utilisation=e.utilisation)
        assert ours.utilisation == pytest.approx(e.utilisation, rel=1e-3)
        assert ours.all_wh == pytest.approx(e.published_wh, rel=0.15)
        assert EPOCH_RANGE_WH[0] < ours.all_wh < EPOCH_RANGE_WH[1]


def test_googles_shares_make_its_total_from_its_accelerators() -> None:
    assert gemini_total_wh(GEMINI_WH * GEMINI_SHARES["accelerators"]) == pytest.approx(GEMINI_WH, rel=0.03)


def test_our_scopes_agree_with_googles_shares_at_large_batches() -> None:
    # Nodes of H100 at work, with PUE, against Google's hosts, idle machines and PUE: two machines, so a quarter.
    record = catalog.load("accelerators", "h100-sxm-80gb")
    ours = our_query(catalog.load("models", "qwen3-235b-a22b"), record, 8, 300.0, 1.09, batch=128.0, weights="fp8")
    assert ours.all_wh == pytest.approx(gemini_total_wh(ours.accelerator_wh), rel=0.25)


@pytest.mark.parametrize(("cell", "name"), [
    ("meta-llama/Llama-3.1-70B-Instruct-FP8", "llama-3.1-70b"), ("deepseek-ai/DeepSeek-R1", "deepseek-v3"),
    ("Llama 3.1 8B", "llama-3.1-8b"), ("openai/gpt-oss-120b", "gpt-oss-120b"),
    ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"), ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.1-70b"),
])
def test_names_of_model_cards_are_read(cell, name) -> None:
    assert model_of(cell)[0].name == name


def test_unknown_models_and_accelerators_have_the_nearest_name() -> None:
    row = read_serving_row({"model": "llama-3.1-80b", "accelerator": "h100"})
    assert "llama-3.1-8b" in row.reason or "llama-3.1-70b" in row.reason
    assert "unknown accelerator" in predict_serving_row(read_serving_row({"model": "llama-3.1-8b", "accelerator": "GTX"})).remark


def test_a_row_of_other_names_reads_as_one_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("model_id,gpu_model,num_gpus,energy_per_token_joules,output_throughput_tokens_per_sec,median_itl_ms\n"
                    "meta-llama/Llama-3.1-70B-Instruct,H100,4,0.373,6828,106\n", encoding="utf-8")
    row, shipped = read_serving_rows(file)[0], next(r for r in read_serving_rows() if r.row == "llama-3.1-70b bf16 H100x4 best")
    for field in ("model", "accelerator", "accelerators", "precision", "batch", "tokens_per_s", "j_per_token", "itl_s",
                  "context"):
        assert getattr(row, field) == getattr(shipped, field), field


@pytest.mark.parametrize(("cell", "count", "name"), [
    ("H100 x4", 4, "h100-sxm-80gb"), ("8xB200", 8, "b200-sxm-180gb"), ("h100-sxm-80gb", 1, "h100-sxm-80gb")])
def test_an_accelerator_may_come_with_its_number(cell, count, name) -> None:
    row = read_serving_row({"model": "llama-3.1-8b", "accelerator": cell})
    assert (row.accelerators, row.accelerator.name, row.reason) == (count, name, "")


def test_without_a_batch_what_fits_is_taken_and_a_batch_that_does_not_fit_is_cut() -> None:
    cells = {"model": "llama-3.1-70b", "accelerator": "H100 x4", "mean_context": "4000"}
    row = read_serving_row(cells)
    kind = row_kind(row)
    fits, remark = row_batch(row, kind)
    assert (fits + 1) * 4000 > kind.capacity >= fits * 4000
    assert "what fits" in remark
    assert row_batch(read_serving_row({**cells, "batch": "5000"}), kind)[0] == fits


def test_the_command_writes_predictions_and_prints_json(tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "predictions.csv"
    rows.write_text("model,accelerator,accelerators,batch,j_per_token\nllama-3.1-8b,h100-sxm-80gb,1,8,0.455\nnone,H100,1,8,\n",
                    encoding="utf-8")
    run = CliRunner().invoke(app, ["validate", "serving", "--cases", str(rows), "-o", str(out), "--json"])
    assert run.exit_code == 0
    found = json.loads(run.stdout)
    assert abs(found["rows"][0]["j_per_token_error"]) < 0.15
    assert found["rows"][1]["predicted_itl_ms"] is None
    assert "unknown model" in found["rows"][1]["remark"]
    with out.open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert float(written[0]["predicted_j_per_token"]) == pytest.approx(found["rows"][0]["predicted_j_per_token"], rel=1e-5)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "", "model,accelerator\n"])
def test_files_without_rows_or_columns_say_what_is_needed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="needed: model, accelerator"):
        read_serving_rows(file)


def test_no_other_name_of_a_column_is_that_of_two() -> None:
    names = [name for key, (_, others) in COLUMNS.items() for name in (key, *others)]
    assert len(names) == len(set(names))

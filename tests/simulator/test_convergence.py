"""A study ends when its intervals are narrow enough, at a number of trials that nothing but its rows decides."""

import itertools
import math
import random

import numpy as np
import pytest
from scipy.stats import binom

import simulator
from simulator.errors import UserError
from simulator.montecarlo import chunks as chunking
from simulator.montecarlo.convergence import Target, counts, half_width, parse_target, reached
from simulator.montecarlo.running import _Collector
from simulator.montecarlo.statistics import interval_ranks
from simulator.montecarlo.study import _rows_of
from simulator.montecarlo.trials import Trials
from simulator.report.convergence import convergence_figure
from tests.simulator.studies import pieces, small, trials_file

UNTIL = ("cost_usd p95 6%", "time_s mean 1%")


@pytest.mark.parametrize("text", ["cost_usd p95 1%", "time_s mean 0.5%", "class big wait_mean_s p99.9 10%"])
def test_targets_are_read_and_written_alike(text) -> None:
    assert str(parse_target(text)) == text


@pytest.mark.parametrize(("text", "message"), [
    ("cost_usd 1%", "COLUMN STATISTIC PERCENT"),
    ("cost_usd p100 1%", "between p0 and p100"),
    ("cost_usd median 1%", "found 'median'"),
    ("cost_usd p95 0.01", "found '0.01'"),
    ("cost_usd p95 0%", "above 0%"),
    ("cost_usd p95 x%", "found 'x%'"),
    ("cost_us p95 1%", "did you mean 'cost_usd'"),
])
def test_bad_targets_say_what_is_allowed(text, message) -> None:
    with pytest.raises(UserError, match=message):
        simulator.run(small(5), until=text)


def test_targets_are_checked_at_fixed_counts() -> None:
    assert list(counts(600)) == [100, 150, 225, 338, 507, 600]
    assert list(counts(40)) == [40]


@pytest.mark.parametrize("n", [60, 100, 200, 1000, 31_623])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.8, 0.95, 0.999])
def test_ranks_hold_the_quantile_with_95_percent_and_no_more_than_needed(n, q) -> None:
    low, high = interval_ranks(n, q)
    below, above = binom.cdf(low - 1, n, q), binom.sf(high - 1, n, q)
    assert below <= 0.025 and above <= 0.025
    assert binom.cdf(low, n, q) > 0.025 and binom.sf(high - 2, n, q) > 0.025


def test_half_of_a_mean_is_that_of_its_normal_interval() -> None:
    values = np.arange(1.0, 101.0)
    expected = 1.959963984540054 * values.std(ddof=1) / 10.0 / values.mean()
    assert half_width(values, Target("x", "mean", 0.1)) == pytest.approx(expected, rel=1e-12)


def test_a_quantile_beyond_the_trials_is_not_met() -> None:
    found = reached({"x": np.ones(50) + 1e-9 * np.arange(50)}, [Target("x", "p95", 0.5)])[0]
    assert (found["met"], found["reached"]) == (False, None)
    assert math.isfinite(half_width(np.arange(100.0), Target("x", "p95", 0.5)))


def test_a_study_stops_at_a_fixed_count_and_says_what_it_reached() -> None:
    study = simulator.run(small(5000), until=UNTIL)
    assert len(study) in list(counts(5000))[:-1]
    assert [found["met"] for found in study.summary()["convergence"]] == [True, True]
    before = max(n for n in counts(5000) if n < len(study))
    earlier = {name: values[:before] for name, values in study.columns.items()}
    assert not all(found["met"] for found in reached(earlier, [parse_target(text) for text in UNTIL]))
    assert not study.interrupted


def test_its_rows_are_the_first_of_the_whole_study() -> None:
    study = simulator.run(small(5000), until=UNTIL)
    whole = simulator.run(small(5000), trials=5000)
    assert all(np.array_equal(values, whole.columns[name][:len(study)], equal_nan=True)
               for name, values in study.columns.items())


@pytest.mark.parametrize("seed", range(5))
def test_the_number_of_trials_does_not_depend_on_the_order_of_chunks(tmp_path, seed) -> None:
    found = small(700)
    run = _rows_of(Trials(found))
    targets = [parse_target(text) for text in UNTIL]
    kept = []
    for order in (None, random.Random(seed)):
        chunks = pieces(700, 13 if order is None else 37)
        if order is not None:
            order.shuffle(chunks)
        collector = _Collector(targets, 700, None, None)
        for chunk in chunks:
            if collector.keep(chunk, run(chunk)):
                break
        kept.append(collector.tables()["trials"])
    assert all(np.array_equal(kept[0][name], kept[1][name], equal_nan=True) for name in kept[0])


def test_processes_stop_at_the_same_trial(tmp_path, monkeypatch) -> None:
    serial = trials_file(simulator.run(small(20_000), until="cost_usd p95 1.5%"), tmp_path / "1")
    monkeypatch.setattr(chunking, "SECONDS", 0.1)
    assert trials_file(simulator.run(small(20_000), until="cost_usd p95 1.5%", workers=2), tmp_path / "2") == serial


def test_a_study_that_does_not_converge_runs_all_its_trials() -> None:
    study = simulator.run(small(120), until="cost_usd p95 0.1%")
    assert len(study) == 120
    assert study.summary()["convergence"][0]["met"] is False


def test_a_stopped_study_keeps_its_targets(tmp_path) -> None:
    whole = simulator.run(small(5000), until=UNTIL, folder=tmp_path / "whole")

    def stop(chunk, new) -> None:
        raise KeyboardInterrupt

    simulator.montecarlo.run_study(small(5000), until=UNTIL, folder=tmp_path / "out", progress=stop)
    again = simulator.resume(tmp_path / "out")
    assert len(again) == len(whole)
    for name in ("trials.parquet", "summary.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_unknown_result_is_no_target() -> None:
    with pytest.raises(UserError, match="is unknown in this scenario"):
        simulator.run(small(5), until="water_site_l p50 5%")


def test_the_picture_has_a_panel_a_column_and_a_curve_a_statistic() -> None:
    asked = convergence_figure(simulator.run(small(150), until=("cost_usd p95 1%", "cost_usd mean 1%", "time_s p50 1%")))
    assert [len(ax.get_legend().get_texts()) for ax in asked.axes] == [2, 1]
    plain = convergence_figure(simulator.run(small(2)))
    assert [ax.get_ylabel() for ax in plain.axes] == ["wall time (days)", "cost (USD)"]
    for ax in itertools.chain(asked.axes, plain.axes):
        ax.figure.canvas.draw()

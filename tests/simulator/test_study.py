"""Studies: reproducible, whatever runs them; saved whole or not at all."""

import json
import math

import numpy as np
import pandas as pd
import pytest

import simulator
from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.montecarlo.statistics import quantile_interval, share_with_interval
from simulator.montecarlo.streams import stream
from simulator.montecarlo.trials import Trials
from simulator.scenario import load_scenario
from tests.simulator.runs import scenario


def small(trials: int = 69):
    return scenario(training={"tokens": "150 B"}, monte_carlo={"trials": trials},
                    pricing={"rental": {"price": {"triangular": ["2 USD/h", "2.5 USD/h", "4 USD/h"]}}})


def test_processes_give_bit_identical_trials() -> None:
    serial, two = (run_study(small(), workers=w).to_pandas() for w in (1, 2))
    pd.testing.assert_frame_equal(serial, two, check_exact=True)


def test_trials_do_not_depend_on_their_order() -> None:
    trials = Trials(small())
    forward = [trials.run(i).row for i in range(6)]
    backward = [trials.run(i).row for i in reversed(range(6))]
    assert forward == backward[::-1]


def test_another_seed_is_another_history() -> None:
    a, b = (simulator.run(small(5), seed=s).column("time_s") for s in (1, 2))
    assert not np.array_equal(a, b)


def test_streams_are_keyed_by_seed_trial_and_purpose() -> None:
    first = {stream(*key).random() for key in [(1, 0, "failures"), (2, 0, "failures"), (1, 1, "failures"), (1, 0, "repair")]}
    assert len(first) == 4
    assert stream(1, 0, "failures").random() == stream(1, 0, "failures").random()


def test_an_uncertain_price_spreads_cost_but_not_time() -> None:
    known = simulator.run(scenario(training={"tokens": "150 B"}), trials=30)
    unknown = simulator.run(small(30))
    assert np.array_equal(known.column("time_s"), unknown.column("time_s"))
    hours = unknown.column("accelerator_s") * 2 / 3600  # four spare nodes double the 32 accelerators
    price = (unknown.column("cost_usd") - unknown.column("cost_storage_usd")) / hours
    assert 2.0 <= price.min() < price.max() <= 4.0
    assert np.allclose(price / 3600, [r["input pricing.rental.price"] for r in unknown.rows])


def test_an_uncertain_step_input_is_drawn_too() -> None:
    study = simulator.run(scenario(training={"tokens": {"uniform": ["100 B", "200 B"]}}), trials=20)
    time_s, tokens = study.column("time_s"), study.column("input training.tokens")
    assert np.corrcoef(time_s, tokens)[0, 1] > 0.9


def test_quantile_intervals_cover() -> None:
    rng = np.random.default_rng(5)
    hits = sum(low <= math.log(2) <= high for low, high in
               (quantile_interval(rng.standard_exponential(200), 0.5) for _ in range(400)))
    assert 0.91 <= hits / 400 <= 0.99


def test_wilson_interval_of_certainty_is_not_a_point() -> None:
    chance = share_with_interval(20, 20)
    assert chance["probability"] == 1.0
    assert chance["low"] < 0.9


def test_results_folder_is_whole_and_loads_back(tmp_path) -> None:
    study = simulator.run(small(12))
    folder = study.save(tmp_path / "out")
    names = {p.name for p in folder.iterdir()}
    assert names == {"scenario.yaml", "trials.parquet", "timeline.parquet", "summary.json", "provenance.json"}
    assert load_scenario(folder / "scenario.yaml") == study.scenario
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "trials.parquet"), study.to_pandas())
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["seed"] == 7
    assert provenance["versions"]["numpy"] == np.__version__
    timeline = pd.read_parquet(folder / "timeline.parquet")
    assert set(timeline["which"]) == {"p50", "p95"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_results_are_never_overwritten(tmp_path) -> None:
    study = simulator.run(small(3))
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UserError, match="never overwritten"):
        study.save(tmp_path)
    assert (tmp_path / "kept").read_text() == "mine"


def test_a_saved_scenario_repeats_the_study(tmp_path) -> None:
    study = simulator.run(small(6))
    again = simulator.run(study.save(tmp_path / "a") / "scenario.yaml")
    pd.testing.assert_frame_equal(again.to_pandas(), study.to_pandas(), check_exact=True)


def test_ctrl_c_keeps_what_finished() -> None:
    seen = []

    def stop(chunk, new) -> None:
        seen.extend(chunk["trial"])
        if len(seen) >= 4:
            raise KeyboardInterrupt

    study = run_study(small(10), progress=stop)
    assert study.interrupted
    assert len(study.rows) == len(seen) < 10
    assert study.summary()["interrupted"] is True


def test_notebook_display_shows_the_headline() -> None:
    study = simulator.run(small(4))
    assert "accelerator-hours" in study._repr_html_()
    assert "P95" in repr(study)
    assert len(study.to_pandas()) == 4

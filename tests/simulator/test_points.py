import numpy as np
import pytest

from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.montecarlo.points import points_of, run_points
from simulator.scenario.edits import edited, value_at
from tests.simulator.studies import small

SMALL = small(20)


@pytest.fixture(scope="module")
def scenarios():
    return [SMALL, edited(SMALL, {"facility.pue": 1.4}), edited(SMALL, {"cluster.spares": 1})]


def test_a_point_has_the_rows_of_its_own_study(scenarios):
    found = run_points(points_of(scenarios, 20))
    for point, scenario in enumerate(scenarios):
        study = run_study(scenario.model_copy(update={"monte_carlo": scenario.monte_carlo.model_copy(update={"trials": 20})}))
        assert np.array_equal(found.column("cost_usd")[point], study.column("cost_usd"))


def test_points_share_their_luck(scenarios):
    found = run_points(points_of(scenarios[:2], 20))
    assert np.array_equal(*found.column("time_s"))
    assert (found.column("energy_j")[1] > found.column("energy_j")[0]).all()


def test_later_trials_are_those_of_a_longer_run(scenarios):
    whole, rest = run_points(points_of(scenarios, 12)), run_points(points_of(scenarios, 4, first=8))
    assert np.array_equal(whole.column("time_s")[:, 8:], rest.column("time_s"))


@pytest.mark.parametrize("workers", [2])
def test_workers_change_nothing(scenarios, workers):
    points = points_of(scenarios, 200)
    one, more = run_points(points), run_points(points, workers=workers)
    assert all(np.array_equal(one.columns[name], more.columns[name], equal_nan=True) for name in one.columns)


def test_a_point_that_cannot_run_is_told_and_stops_no_other(scenarios):
    broken = edited(SMALL, {"model": "gpt3-175b"})
    found = run_points(points_of([scenarios[0], broken], 5))
    assert np.isfinite(found.column("time_s")[0]).all()
    assert np.isnan(found.column("time_s")[1]).all()
    assert "memory" in found.problems[1]


def test_no_point_that_can_run_is_an_error():
    with pytest.raises(UserError, match="memory"):
        run_points(points_of([edited(SMALL, {"model": "gpt3-175b"})], 5))


def test_data_parallelism_follows_the_size(scenarios):
    smaller = edited(SMALL, {"cluster.accelerators": 16})
    assert smaller.cluster.accelerators == 16
    assert smaller.training.layout.data in (0, 16)


@pytest.mark.parametrize(("path", "value", "message"), [
    ("cluster.acelerators", 8, "did you mean 'accelerators'"),
    ("cluster.accelerators", "many", "found 'many'"),
    ("failures", "rsc1", "did you mean 'rsc-1'"),
    ("cluster..spares", 1, "names with points between"),
    ("training.batch_schedule.7.batch", 1, "unknown item '7'"),
])
def test_a_bad_edit_is_told_with_its_place(path, value, message):
    with pytest.raises(UserError, match=f"(?s)--over.*{message}"):
        edited(SMALL, {path: value}, "--over")


def test_an_item_of_a_list_changes_alone():
    changed = edited(SMALL, {"training.batch_schedule.0.batch": "2 M"})
    assert value_at(changed, "training.batch_schedule.0.batch") != value_at(SMALL, "training.batch_schedule.0.batch")
    assert value_at(changed, "training.batch_schedule.0.sequence") == value_at(SMALL, "training.batch_schedule.0.sequence")


def test_the_short_form_of_a_batch_changes_its_one_stretch():
    changed = edited(SMALL, {"training.batch": "2 M", "training.sequence": 1024})
    assert value_at(changed, "training.batch_schedule.0.batch") == 2_000_000
    assert value_at(changed, "training.batch_schedule.0.sequence") == 1024


def test_the_short_form_of_a_batch_needs_a_schedule_of_one_stretch():
    two = edited(SMALL, {"training.batch_schedule": [{"until": "50 B", "batch": "1 M", "sequence": 2048},
                                                     {"batch": "2 M", "sequence": 2048}]})
    with pytest.raises(UserError, match=r"--over: training.batch: found a batch schedule of 2 stretches"):
        edited(two, {"training.batch": "2 M"}, "--over")

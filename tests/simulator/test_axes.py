"""The grammar of --over, designs, and what is refused before anything is made."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import UserError
from simulator.planning.axes import (
    MAX_POINTS,
    MAX_RUNS,
    axis_from_file,
    check_design,
    check_values,
    design_points,
    listed,
    parse_axis,
)
from simulator.planning.wording import short
from simulator.scenario.paths import known_paths, nearest_path, quantity_at
from tests.simulator.studies import small

SMALL = small(5)


@pytest.mark.parametrize(("text", "values"), [
    ("cluster.accelerators=4096,8192, 16384", (4096, 8192, 16384)),
    ("checkpoint.interval=20 min,auto", ("20 min", "auto")),
    ("cluster.accelerator=h100-sxm-80gb,h200-sxm-141gb", ("h100-sxm-80gb", "h200-sxm-141gb")),
    ("pricing.rental.price={triangular: [2 USD/h, 3 USD/h, 4 USD/h]},2 USD/h",
     ({"triangular": ["2 USD/h", "3 USD/h", "4 USD/h"]}, "2 USD/h")),
    ("cluster.fabric.oversubscription=7:1,1:1", ("7:1", "1:1")),
    ("facility.pue=1.1..1.4:4", (1.1, 1.2, 1.3, 1.4)),
    ("facility.pue=1..2.5:4", (1, 1.5, 2, 2.5)),
    ("cluster.accelerators=1024..16384:5 log", (1024, 2048, 4096, 8192, 16384)),
    ("pricing.rental.price=2 USD/h..4 USD/h:3", ("2 USD/h", "3 USD/h", "4 USD/h")),
    ("checkpoint.interval=30 min..2 h:4", ("30 min", "60 min", "90 min", "120 min")),
    ("cluster.spares=0..3:9", (0, 1, 2, 3)),  # whole numbers only, each once
])
def test_values_are_read_as_a_file_has_them(text, values) -> None:
    assert parse_axis(text).values == values


@pytest.mark.parametrize(("text", "message"), [
    ("cluster.spares", "allowed: PATH=VALUES"),
    ("=1", "allowed: PATH=VALUES"),
    ("cluster.spares=", "found no values"),
    ("cluster.spares=1,,2", "commas between"),
    ("cluster.spares=null,2", "an empty value"),
    ("cluster.spares=1,1", "found 1 twice"),
    ("checkpoint.interval=20 min,1200 s", "found '20 min' twice .as '1200 s'."),
    ("cluster.spares=1], x: [2", "commas between"),
    ("cluster.spares=&a 1,*a", "commas between"),
    ("cluster.accelerator=a..b:3", "holds no quantity"),
    ("zzz.accelerators=1..2", "did you mean cluster.accelerators"),
    ("checkpoint.interval=auto..2 h:3", "found 'auto' as an end"),
    ("facility.pue=2..1", "a range that rises"),
    ("facility.pue=0.5..2", "at least 1"),
    ("cluster.spares=0..8:4 log", "from above zero"),
    ("facility.pue=1..2:1", "allowed: 2 to"),
    ("facility.pue=1..2:1000000000", "allowed: 2 to"),
    ("monte_carlo.trials=1,2", "allowed are --trials"),
])
def test_what_is_wrong_is_told_with_its_path(text, message) -> None:
    with pytest.raises(UserError, match=f"^--over.*{message}"):
        parse_axis(text)


def axes(*texts):
    return [parse_axis(text) for text in texts]


def test_a_grid_has_all_combinations_the_last_axis_fastest() -> None:
    points = design_points(axes("cluster.spares=1,2", "facility.pue=1.1,1.2,1.3"))
    assert [tuple(point.values()) for point in points] == list(itertools.product((1, 2), (1.1, 1.2, 1.3)))


def test_zip_pairs_lists() -> None:
    points = design_points(axes("cluster.spares=1,2", "facility.pue=1.1,1.2"), "zip")
    assert points == [{"cluster.spares": 1, "facility.pue": 1.1}, {"cluster.spares": 2, "facility.pue": 1.2}]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 60), seed=st.integers(0, 99))
def test_a_latin_hypercube_has_one_point_in_each_stratum(count, seed) -> None:
    varied = axes("facility.pue=1..2", "pricing.rental.price=1 USD/h..4 USD/h log")
    points = design_points(varied, "latin-hypercube", count, seed)
    shares = [[point["facility.pue"] - 1.0 for point in points],
              [np.log(float(point["pricing.rental.price"].split()[0])) / np.log(4.0) for point in points]]
    for column in shares:
        assert sorted(int(min(share, 1.0 - 1e-9) * count + 1e-7) for share in column) == list(range(count))


def test_a_latin_hypercube_is_the_same_again_and_not_moved_by_another_axis() -> None:
    one = design_points(axes("facility.pue=1..2"), "latin-hypercube", 9, 3)
    both = design_points(axes("cluster.spares=1,2,4", "facility.pue=1..2"), "latin-hypercube", 9, 3)
    assert [point["facility.pue"] for point in both] == [point["facility.pue"] for point in one]
    assert sorted(point["cluster.spares"] for point in both) == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert one != design_points(axes("facility.pue=1..2"), "latin-hypercube", 9, 4)


BIG = ("facility.pue=1..2:1000", "cluster.spares=0..999:1000", "pricing.rental.price=1 USD/h..4 USD/h:1000")


@pytest.mark.parametrize(("texts", "design", "points", "message"), [
    ((), "grid", None, "found nothing to vary"),
    (BIG, "grid", None, r"1000 x 1000 x 1000 = 1,000,000,000 points; allowed: at most 100,000"),
    (("facility.pue=1..2",), "latin-hypercube", 10**9, "1,000,000,000 points"),
    (("facility.pue=1..2",), "latin-hypercube", None, "allowed: --points N"),
    (("facility.pue=1..2",), "latin-hypercube", 0, "at least 1"),
    (("facility.pue=1..2",), "grid", None, "without a number of values"),
    (("facility.pue=1,2",), "grid", 7, "--points: found 7 with --design grid"),
    (("facility.pue=1,2", "cluster.spares=1,2,3"), "zip", None, "facility.pue 2, cluster.spares 3"),
    (("facility.pue=1,2", "facility.pue=1,3"), "grid", None, "found twice"),
    (("facility.pue=1,2", "facility={pue: 1.1}"), "grid", None, "lies within it"),
    (("facility.pue=1,2",), "gird", None, "did you mean 'grid'"),
])
def test_a_design_that_is_not_possible_is_refused_at_once(texts, design, points, message, monkeypatch) -> None:
    monkeypatch.setattr("simulator.planning.axes.product", None)  # nothing is multiplied out
    varied, start = axes(*texts), time.process_time()
    with pytest.raises(UserError, match=message):
        design_points(varied, design, points)
    assert time.process_time() - start < 5.0  # a thousand million points would take minutes


def test_too_many_runs_are_refused() -> None:
    with pytest.raises(UserError, match=rf"100 points of 1,000,000 trials; allowed: at most {MAX_RUNS:,} runs"):
        check_design(axes("cluster.spares=0..99:100"), "grid", None, 1_000_000)
    assert check_design(axes(*BIG[:1], "cluster.spares=0..99:100"), "grid", None) == MAX_POINTS


@pytest.mark.parametrize(("text", "message"), [
    ("cluter.accelerators=16", "did you mean 'cluster'.*the nearest path is cluster.accelerators"),
    ("cluster.acelerators=16", "did you mean 'accelerators'"),
    ("accelerators=16", "the nearest path is cluster.accelerators"),
    ("cluster.accelerators=many", "found 'many'"),
    ("cluster.accelerator=h100-sxm-80gb,h200", "unknown accelerator 'h200'"),
    ("checkpoint.interval=auto,20", "allowed: a quantity with a unit"),
    ("cluster.accelerators=16,12", "cluster.accelerators=12: .*multiple of the 8"),
])
def test_a_path_or_value_that_no_point_can_have_is_refused(text, message) -> None:
    varied = axes(text, "facility.pue=1.1,1.2")
    with pytest.raises(UserError, match=f"(?s)^--over.*{message}"):
        check_values(SMALL, varied, design_points(varied))


def test_a_value_that_fits_only_with_others_is_not_refused() -> None:
    varied = axes("training.layout.pipeline=1,3", "cluster.accelerators=32,24")
    check_values(SMALL, varied, design_points(varied))
    alone = axes("training.layout.pipeline=1,3")
    with pytest.raises(UserError, match=r"pipeline=3: training"):
        check_values(SMALL, alone, design_points(alone))


@pytest.mark.parametrize("text", ["cluster.spares=1,2", "facility.pue=1..2 log", "pricing.rental.price=1 USD/h..2 USD/h",
                                  "pricing.rental.price={uniform: [1 USD/h, 2 USD/h]},1 USD/h"])
def test_an_axis_is_read_back(text) -> None:
    axis = parse_axis(text)
    again = axis_from_file(axis.to_file())
    assert again.values == axis.values
    assert again.continuous == axis.continuous
    if axis.continuous:
        assert [again.at(share) for share in (0.0, 0.3, 1.0)] == [axis.at(share) for share in (0.0, 0.3, 1.0)]


def test_numbers_of_an_axis_are_si() -> None:
    axis = parse_axis("checkpoint.interval=20 min,auto")
    assert [axis.number(value) for value in axis.values] == [1200.0, None]
    assert listed("facility.pue", [1, 1.5], "here").number(1.5) == 1.5


def test_every_quantity_of_the_test_scenario_has_a_known_path() -> None:
    """What the types say of paths holds for a real file."""
    def leaves(value, path=()):
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        inner = [leaf for key, item in items for leaf in leaves(item, (*path, str(key)))]
        return inner or [".".join(path)]

    file = SMALL.to_file()
    for section in ("training", "cluster", "checkpoint", "facility"):
        own = {key: value for key, value in file[section].items() if key not in ("accelerator", "fabric", "site")}
        for path in leaves(own, (section,)):
            assert nearest_path(path) is None, path
    assert len(known_paths()) > 300


@pytest.mark.parametrize(("path", "kind"), [
    ("goals.deadline", "time"), ("checkpoint.interval", "time"), ("training.batch_schedule.0.batch", "count"), ("training.batch",
     "count"), ("recovery.detection", "time"), ("pricing.rental.price", "money_per_accelerator_time"), ("cluster", None),
    ("cluster.accelerator", None), ("no.such", None)])
def test_the_quantity_at_a_path(path, kind) -> None:
    found = quantity_at(path)
    assert (found.kind if found else None) == kind


@pytest.mark.parametrize(("value", "text"), [
    ("1200.0 s", "20 min"), ("0.0005555555555555556 USD/s", "2 USD/h"), ("1.5555555555555556e-08 USD/J", "0.056 USD/kWh"),
    ("20 min", "20 min"), (16384, "16,384"), (True, "true"), (None, "not given"), ("0.0 s", "0 s"),
    ({"triangular": ["0.001 USD/s", "0.002 USD/s"]}, "triangular [3.6 USD/h, 7.2 USD/h]"), ({"name": "h100", "tdp": 1}, "h100"),
    ("3.96328929 min", "3.963 min"), ("7:1", "7:1")])
def test_values_are_shown_short(value, text) -> None:
    assert short(value) == text

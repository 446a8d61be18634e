"""Distributions: their quantiles, moments, bounds and files."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kernels.draws import draw
from simulator.cluster.laws import Laws
from simulator.distributions import DISTRIBUTIONS, Distribution, parse_distribution
from simulator.errors import UserError
from simulator.fields import Quantity
from simulator.scenario import load_scenario, scenario_from_mapping
from simulator.units import QuantityError

U = np.linspace(0.0005, 0.9995, 1999)
SCENARIO = """
name: test
model: gpt3-1.3b
training: {tokens: 2 B, batch: 1 M, sequence: 2048, recompute: none, layout: {microbatch: 4, zero: 1}}
cluster: {accelerator: h100-sxm-80gb, accelerators: 32}
checkpoint: {interval: 30 min, storage_bandwidth: 1 GB/s}
"""


def read(written: dict[str, Any], kind: str = "ratio", low: float = -math.inf, high: float = math.inf,
         aleatory: bool = False) -> Distribution:
    return parse_distribution(written, kind, low, aleatory, high)


PERT = stats.beta(1 + 4 * 0.25, 1 + 4 * 0.75, 2.0, 4.0)
KNOWN: dict[str, tuple[dict[str, Any], Any]] = {
    "triangular": ({"triangular": [1, 2, 6]}, stats.triang(0.2, 1, 5)),
    "triangular with its mode at the low end": ({"triangular": [1, 1, 6]}, stats.triang(0.0, 1, 5)),
    "triangular with its mode at the high end": ({"triangular": [1, 6, 6]}, stats.triang(1.0, 1, 5)),
    "uniform": ({"uniform": [2, 5]}, stats.uniform(2, 3)),
    "normal": ({"normal": [10, 2]}, stats.norm(10, 2)),
    "lognormal": ({"lognormal": [3, 0.5]}, stats.lognorm(0.5, scale=3)),
    "exponential": ({"exponential": 7}, stats.expon(scale=7)),
    "beta_pert": ({"beta_pert": [2, 3, 6]}, PERT),
    "beta_pert with a shape": ({"beta_pert": [2, 3, 6, 2]}, stats.beta(1.5, 2.5, 2, 4)),
    "beta": ({"beta": [0.7, 2.5, -1, 4]}, stats.beta(0.7, 2.5, -1, 5)),
}
# What is left of them between bounds, by the truncated cdf of scipy.
CUTS = {"triangular": (1.5, 4.0), "uniform": (1.0, 3.0), "normal": (13.0, 15.0), "lognormal": (2.0, 20.0),
        "exponential": (3.0, 9.0), "beta_pert": (2.5, 5.0), "beta": (-0.5, 2.0)}


@pytest.mark.parametrize("name", KNOWN)
def test_quantiles_and_moments_are_those_of_scipy(name: str) -> None:
    written, exact = KNOWN[name]
    found = read(written)
    np.testing.assert_allclose(found.quantile(U), exact.ppf(U), rtol=1e-10)
    assert found.mean() == pytest.approx(exact.mean(), rel=1e-8)
    assert found.std() == pytest.approx(exact.std(), rel=1e-6)


@pytest.mark.parametrize("name", CUTS)
def test_what_is_cut_off_has_the_conditional_distribution(name: str) -> None:
    written, exact = KNOWN[name]
    low, high = CUTS[name]
    found = read({**written, "truncate": [low, high]})
    x = found.quantile(U)
    assert low <= x.min() and x.max() <= high
    inside = exact.cdf(high) - exact.cdf(low)
    np.testing.assert_allclose((exact.cdf(x) - exact.cdf(low)) / inside, U, atol=1e-9)
    a, b = max(low, exact.support()[0]), min(high, exact.support()[1])
    assert found.mean() == pytest.approx(exact.expect(lb=a, ub=b, conditional=True), rel=1e-6)
    second = exact.expect(lambda v: (v - found.mean()) ** 2, lb=a, ub=b, conditional=True)
    assert found.std() == pytest.approx(math.sqrt(second), rel=1e-4)


def test_the_far_tail_of_a_normal_keeps_its_digits() -> None:
    found = read({"normal": [0, 1], "truncate": [5.5, None]})
    exact = stats.truncnorm(5.5, math.inf)
    np.testing.assert_allclose(found.quantile(U), exact.ppf(U), rtol=1e-9)
    assert found.mean() == pytest.approx(exact.mean(), rel=1e-6)


finite = st.floats(-1e3, 1e3)


@st.composite
def written_ones(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(DISTRIBUTIONS)))
    three = sorted(draw(st.lists(finite, min_size=3, max_size=3)))
    positive = draw(st.floats(1e-3, 1e3))
    shape = draw(st.floats(0.2, 20.0))
    values = draw(st.lists(finite, min_size=2, max_size=8))
    return {name: {
        "triangular": three, "uniform": three[:2], "normal": [three[0], draw(st.floats(0.0, 1e3))],
        "lognormal": [positive, draw(st.floats(0.0, 2.0))], "exponential": [positive], "beta_pert": [*three, shape],
        "beta": [shape, draw(st.floats(0.2, 20.0)), *three[:2]], "empirical": {"values": values},
        "choice": {"values": values, "weights": draw(st.lists(st.floats(0.1, 9.0), min_size=len(values), max_size=len(values)))},
    }[name]}


# Uniform numbers of draws keep 2^-54 from both ends; far below it scipy's inverse of the beta distribution does not rise.
@given(written_ones(), st.floats(2.0**-54, 1.0), st.floats(2.0**-54, 1.0))
def test_quantiles_rise_and_stay_within_the_support(written: dict[str, Any], one: float, other: float) -> None:
    found = read(written)
    a, b = found.quantile(np.array(sorted((one, other))))
    low, high = found.support()
    assert low <= a <= b <= high


@given(written_ones())
def test_the_mean_is_the_integral_of_the_quantiles(written: dict[str, Any]) -> None:
    found = read(written)
    u = (np.arange(20_000) + 0.5) / 20_000
    assert found.quantile(u).mean() == pytest.approx(found.mean(), abs=0.02 * found.std() + 1e-9)


@given(written_ones(), st.floats(0.0, 0.8), st.floats(0.1, 0.2))
def test_cutting_at_quantiles_gives_the_quantiles_between(written: dict[str, Any], start: float, width: float) -> None:
    whole = read(written)
    if whole.name == "choice" or whole.std() < 1e-6 * abs(whole.mean()) + 1e-9:
        return
    low, high = whole.quantile(np.array([start, start + width])).tolist()
    if not 1e-9 * (abs(low) + 1.0) < high - low < math.inf or (whole.name == "empirical" and np.diff(whole.values).min() == 0.0):
        return  # where all of a bound's probability is at it, what is left is another share
    u = np.linspace(0.0, 1.0, 9)
    found = read({**written, "truncate": [low, high]}).quantile(u)
    assert (found >= low).all() and (found <= high).all()
    np.testing.assert_allclose(found, whole.quantile(start + width * u), atol=1e-6 * (high - low) + 1e-9 * abs(high))


@given(written_ones(), st.booleans())
def test_a_distribution_comes_back_from_its_file(written: dict[str, Any], cut: bool) -> None:
    found = read(written)
    if cut:
        low, high = found.quantile(np.array([0.1, 0.9])).tolist()
        if high <= low:
            return
        found = read({**written, "truncate": [low, high]})
    again = read(found.to_file())
    assert again == found and hash(again) == hash(found)
    assert pickle.loads(pickle.dumps(found)) == found


def test_values_in_other_units_come_back_too() -> None:
    price = read({"empirical": {"values": [2.5, 1.5, 2.0], "unit": "USD/h"}}, "money_per_accelerator_time")
    np.testing.assert_allclose(price.parameters, np.array([1.5, 2.0, 2.5]) / 3600)
    assert read(price.to_file(), "money_per_accelerator_time") == price
    heat = read({"empirical": {"values": [32, 50], "unit": "degF"}}, "temperature")
    np.testing.assert_allclose(heat.parameters, [0.0, 10.0], atol=1e-12)


def test_weights_are_the_shares_of_a_choice() -> None:
    found = read({"choice": {"values": [5, 1, 3], "weights": [1, 2, 7]}})
    np.testing.assert_array_equal(found.quantile(np.array([0.0, 0.1999, 0.2001, 0.8999, 0.9001, 1.0])), [1, 1, 3, 3, 5, 5])
    assert found.mean() == pytest.approx(0.1 * 5 + 0.2 * 1 + 0.7 * 3)
    assert found.central() == 3
    cut = read({"choice": {"values": [5, 1, 3], "weights": [1, 2, 7]}, "truncate": [2, 9]})
    assert cut.mean() == pytest.approx((5 + 7 * 3) / 8)


def test_an_empirical_quantile_goes_straight_from_value_to_value() -> None:
    found = read({"empirical": {"values": [30, 10, 20, 60]}})
    np.testing.assert_allclose(found.quantile(np.array([0, 1 / 6, 1 / 3, 2 / 3, 5 / 6, 1])), [10, 15, 20, 30, 45, 60])
    assert found.mean() == pytest.approx((15 + 25 + 45) / 3)
    cut = read({"empirical": {"values": [30, 10, 20, 60]}, "truncate": [15, 45]})
    np.testing.assert_allclose(cut.quantile(np.array([0.0, 0.25, 0.75, 1.0])), [15, 20, 30, 45])


def test_bounds_of_the_field_cut_as_those_of_the_file_do() -> None:
    share = read({"normal": [0.9, 0.2]}, low=0.0, high=1.0)
    cut = read({"normal": [0.9, 0.2], "truncate": [0, 1]})
    np.testing.assert_array_equal(share.quantile(U), cut.quantile(U))


CENTRAL: dict[str, tuple[dict[str, Any], float]] = {
    "mode": ({"triangular": [1, 2, 9]}, 2.0),
    "mode of a PERT": ({"beta_pert": [1, 2, 9]}, 2.0),
    "middle": ({"uniform": [1, 2]}, 1.5),
    "median": ({"lognormal": [3, 1]}, 3.0),
    "mean": ({"exponential": 4}, 4.0),
    "mean of the two in the middle": ({"choice": [1, 9, 2, 3]}, 2.5),
    "value in the middle": ({"empirical": {"values": [1, 2, 9]}}, 2.0),
    "bound that cuts the mode off": ({"normal": [1, 1], "truncate": [2, 3]}, 2.0),
}


@pytest.mark.parametrize("name", CENTRAL)
def test_the_central_value_is_the(name: str) -> None:
    written, central = CENTRAL[name]
    assert read(written).central() == pytest.approx(central)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "two of them": ({"uniform": [1, 2], "normal": [1, 2]}, "one distribution"),
    "an unknown one": ({"beta_prt": [1, 2, 3]}, "did you mean 'beta_pert'"),
    "a PERT that falls": ({"beta_pert": [1, 4, 3]}, r"rising order \[low, mode, high\]"),
    "a PERT without shape": ({"beta_pert": [1, 2, 3, 0]}, "a shape above zero"),
    "a PERT too short": ({"beta_pert": [1, 2]}, r"\[low, mode, high\], and a shape"),
    "a beta without alpha": ({"beta": [0, 1, 2, 3]}, "an alpha above zero"),
    "weights too few": ({"choice": {"values": [1, 2], "weights": [1]}}, "one for each of the 2 values"),
    "weights below zero": ({"choice": {"values": [1, 2], "weights": [1, -1]}}, "none below zero"),
    "a weight misspelt": ({"choice": {"values": [1, 2], "weight": [1, 1]}}, "did you mean 'weights'"),
    "one value": ({"empirical": {"values": [1]}}, "found 1 values; allowed: 2 to"),
    "a table of text": ({"empirical": {"values": [1, "x"], "unit": "%"}}, "found 'x'; allowed: a number of %"),
    "file and values": ({"empirical": {"values": [1, 2], "csv": "a.csv"}}, "csv: file"),
    "no such file": ({"empirical": {"csv": "nowhere.csv"}}, "no such file"),
    "bounds that fall": ({"normal": [1, 1], "truncate": [2, 1]}, "a low bound below the high one"),
    "bounds beyond the field": ({"normal": [1, 1], "truncate": [-20, 1]}, "within -10 to inf"),
    "no bounds": ({"normal": [1, 1], "truncate": [None, None]}, "one of which may be null"),
    "bounds that leave nothing": ({"normal": [1, 1], "truncate": [20, 30]}, "a share of at least"),
    "bounds that leave no choice": ({"choice": [1, 2], "truncate": [3, 4]}, "a share of at least"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_refused_with_what_is_allowed(name: str) -> None:
    written, message = WRONG[name]
    with pytest.raises(QuantityError, match=message):
        read(written, low=-10.0)


def test_what_kernels_draw_again_must_be_likely() -> None:
    assert read({"normal": [0, 1], "truncate": [3, 4]}).central() == 3.0
    with pytest.raises(QuantityError, match=r"a share of at least 0\.01"):
        read({"normal": [0, 1], "truncate": [3, 4]}, aleatory=True)


LISTED: dict[str, dict[str, Any]] = {
    "weighted choice": {"choice": {"values": [5, 1, 3], "weights": [1, 2, 7]}},
    "choice cut off": {"choice": [1, 2, 3, 4], "truncate": [2, 3]},
    "empirical": {"empirical": {"values": [30, 10, 20, 60]}},
    "empirical cut off": {"empirical": {"values": [30, 10, 20, 60]}, "truncate": [15, 45]},
    "beta_pert": {"beta_pert": [2, 3, 6]},
    "beta": {"beta": [0.7, 2.5, 1, 4]},
    "normal cut off": {"normal": [10, 2], "truncate": [9, 12]},
}


@pytest.mark.parametrize("name", LISTED)
def test_kernels_draw_it_as_its_quantiles_say(name: str) -> None:
    found = read(LISTED[name], aleatory=True)
    laws = Laws()
    laws.add(read({"choice": [9, 9]}, aleatory=True))  # so that offsets are not zero
    row = laws.add(found)
    table, choices = laws.table()
    rng, n = np.random.Generator(np.random.Philox(3)), 20_000
    drawn = np.array([draw(table[row], choices, rng) for _ in range(n)])
    for share in (0.02, 0.15, 0.5, 0.85, 0.98):
        at = found.quantile(np.array([share]))[0]
        assert np.mean(drawn < at - 1e-9) <= share + 4 * math.sqrt(share * (1 - share) / n)
        assert np.mean(drawn <= at + 1e-3) >= share - 4 * math.sqrt(share * (1 - share) / n)
    assert drawn.mean() == pytest.approx(found.mean(), abs=4 * found.std() / math.sqrt(n))


def test_a_column_of_a_file_beside_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    (folder / "quotes.csv").write_text("vendor,price\na,2.5\n\nb,2.0\nc,4.0\n")
    price = "{empirical: {csv: quotes.csv, column: price, unit: USD/h}}"
    (folder / "base.yaml").write_text(f"{SCENARIO}pricing: {{rental: {{price: {price}}}}}\n")
    (tmp_path / "child.yaml").write_text("extends: scenarios/base.yaml\n")
    monkeypatch.chdir(tmp_path)
    scenario = load_scenario("child.yaml")
    (found,) = scenario.uncertain().values()
    np.testing.assert_allclose(np.array(found.parameters) * 3600, [2.0, 2.5, 4.0])
    (tmp_path / "resolved.yaml").write_text(yaml.safe_dump(scenario.to_file()))
    (folder / "quotes.csv").unlink()
    assert load_scenario("resolved.yaml").uncertain() == scenario.uncertain()


def test_a_power_limit_must_lie_within_its_bounds_wherever_it_is_drawn() -> None:
    def limit(written: dict[str, Any]) -> Any:
        data = yaml.safe_load(SCENARIO)
        data["cluster"]["power_limit"] = written
        return scenario_from_mapping(data).cluster.power_limit_w

    assert limit({"normal": ["600 W", "50 W"], "truncate": ["500 W", "700 W"]}).support() == (500.0, 700.0)
    assert limit({"normal": ["600 W", "50 W"]}).central() == 600.0
    for wrong in ({"normal": ["600 W", "50 W"], "truncate": ["500 W", "701 W"]}, {"beta_pert": ["20 W", "600 W", "700 W"]}):
        with pytest.raises(UserError, match="at most its TDP, 700 W"):
            limit(wrong)


def test_a_cut_one_of_a_child_replaces_its_parents(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(SCENARIO + "facility: {pue: {normal: [1.3, 0.1], truncate: [1.1, 1.5]}}\n")
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nfacility: {pue: {uniform: [1.2, 1.4]}}\n")
    assert load_scenario(tmp_path / "base.yaml").uncertain()["facility.pue"].cut == (1.1, 1.5)
    assert load_scenario(tmp_path / "child.yaml").uncertain()["facility.pue"].name == "uniform"


def test_a_triangle_as_wide_as_numbers_go_has_shares():
    from simulator.quantiles import share

    assert share("triangular", (0.0, 1e200, 1e300), 0.0, 1e299) == pytest.approx(0.19, rel=1e-6)


@pytest.mark.parametrize("written", [{"choice": ["0 s", "2 s"]}, {"normal": ["0 s", "3 s"]}, {"uniform": ["0 s", "1 s"]}])
def test_what_must_be_more_than_zero_cannot_be_zero_in_a_distribution(written):
    with pytest.raises(QuantityError, match="1e-09"):
        Quantity("time", above=True).read(written)


def test_what_must_be_more_than_zero_is_never_drawn_as_zero():
    found = Quantity("time", above=True).read({"normal": ["1 s", "3 s"]})
    assert found.quantile(np.array([0.0, 1e-9, 0.001, 0.5])).min() > 0.0

"""Sampling of what is not known: the same in any order, even where it should be, correlated as asked."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulator.errors import UserError
from simulator.montecarlo import run_study
from simulator.montecarlo.sampling import Inputs
from simulator.scenario import Scenario, scenario_from_mapping
from tests.simulator.runs import BASE

METHODS = ("random", "latin-hypercube", "sobol")
FOUR: dict[str, Any] = {
    "facility": {"site": "usa", "pue": {"beta_pert": [1.1, 1.2, 1.5]}},
    "pricing": {"rental": {"price": {"lognormal": ["2 USD/h", 0.3]}, "term": {"uniform": ["1 h", "2 h"]}},
                "electricity": {"price": {"normal": ["0.07 USD/kWh", "0.02 USD/kWh"]}}},
}
PRICE, PUE = "pricing.rental.price", "facility.pue"


def uncertain(trials: int = 64, seed: int = 7, **monte_carlo: Any) -> Scenario:
    return scenario_from_mapping({**copy.deepcopy(BASE), **FOUR, "monte_carlo": {"trials": trials, "seed": seed, **monte_carlo}})


def points(inputs: Inputs, trials: int, start: int = 0) -> np.ndarray:
    return np.array([inputs.point(trial) for trial in range(start, start + trials)])


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_draw_does_not_depend_on_what_was_drawn_before(method: str, antithetic: bool) -> None:
    scenario = uncertain(700, sampling=method, antithetic=antithetic, correlations=[{"between": [PRICE, PUE], "rank": 0.6}])
    one, other = Inputs(scenario), Inputs(scenario)
    order = np.random.default_rng(3).permutation(700).tolist()
    shuffled = {trial: other.draw(trial) for trial in order}
    assert [one.draw(trial) for trial in range(700)] == [shuffled[trial] for trial in range(700)]
    late = Inputs(scenario)
    assert late.draw(600) == shuffled[600]


@pytest.mark.parametrize("method", ["latin-hypercube", "sobol"])
def test_processes_change_nothing(method: str) -> None:
    scenario = uncertain(1500, sampling=method, antithetic=True, correlations=[{"between": [PRICE, PUE], "rank": 0.6}])
    one, other = (run_study(scenario, workers=workers).to_pandas() for workers in (1, 2))
    assert one.equals(other)


@pytest.mark.parametrize("method", METHODS)
def test_seeds_differ_and_dimensions_are_independent(method: str) -> None:
    one, other = (points(Inputs(uncertain(1024, seed, sampling=method)), 1024) for seed in (1, 2))
    assert not (one == other).any()
    seen = one if method == "sobol" else np.hstack([one, other])  # point by point, scrambled ones keep what is theirs
    together = np.corrcoef(seen.T) - np.eye(seen.shape[1])
    assert np.abs(together).max() < 0.14  # 4.5 standard errors


@pytest.mark.parametrize("method", METHODS)
def test_every_dimension_is_uniform(method: str) -> None:
    for u in points(Inputs(uncertain(4000, sampling=method)), 4000).T:
        assert stats.kstest(u, "uniform").pvalue > 1e-3
        assert (u > 0.0).all() and (u < 1.0).all()


@given(st.integers(1, 60), st.integers(0, 5), st.booleans())
def test_each_stratum_of_a_latin_hypercube_has_one_trial(trials: int, seed: int, antithetic: bool) -> None:
    inputs = Inputs(uncertain(trials, seed, sampling="latin-hypercube", antithetic=antithetic))
    pairs = -(-trials // 2)
    u = points(inputs, 2 * pairs)[::2] if antithetic else points(inputs, trials)
    strata = np.sort(np.floor(u * len(u)).astype(int), axis=0)
    np.testing.assert_array_equal(strata, np.tile(np.arange(len(u))[:, None], u.shape[1]))


def test_trials_beyond_those_asked_begin_another_hypercube() -> None:
    u = points(Inputs(uncertain(16, sampling="latin-hypercube")), 16, start=16)
    np.testing.assert_array_equal(np.sort(np.floor(16 * u).astype(int), axis=0)[:, 0], np.arange(16))


@pytest.mark.parametrize("method", METHODS)
def test_antithetic_trials_are_mirrored_in_pairs(method: str) -> None:
    u = points(Inputs(uncertain(64, sampling=method, antithetic=True)), 64)
    np.testing.assert_allclose(u[::2] + u[1::2], 1.0, atol=1e-15)
    assert len(np.unique(u[::2], axis=0)) == 32


def errors_of_the_mean(trials: int, **how: Any) -> np.ndarray:
    """Return errors of the mean of a smooth function of all dimensions, over seeds."""
    found = []
    for seed in range(30):
        u = points(Inputs(uncertain(trials, seed, **how)), trials)
        found.append(np.exp(u).prod(axis=1).mean() / (np.e - 1.0) ** u.shape[1] - 1.0)
    return np.array(found)


def test_even_points_integrate_a_smooth_function_better() -> None:
    random, even, sobol, mirrored = (np.sqrt(np.mean(errors_of_the_mean(256, **how) ** 2)) for how in (
        {}, {"sampling": "latin-hypercube"}, {"sampling": "sobol"}, {"antithetic": True}))
    assert even < random / 3.0
    assert sobol < random / 20.0
    assert mirrored < random / 2.0


def test_every_method_is_unbiased() -> None:
    for method in METHODS:
        errors = errors_of_the_mean(64, sampling=method)
        assert abs(errors.mean()) < 4.0 * errors.std() / np.sqrt(errors.size)


@pytest.mark.parametrize("method", ["random", "latin-hypercube"])
def test_an_input_that_changes_leaves_the_others_as_they_were(method: str) -> None:
    scenario = uncertain(32, sampling=method)
    fewer = scenario_from_mapping({**scenario.to_file(), "facility": {"site": "usa", "pue": 1.2}})
    one, other = Inputs(scenario), Inputs(fewer)
    for trial in range(32):
        drawn = one.draw(trial)
        assert drawn.pop(PUE) > 0.0
        assert other.draw(trial) == drawn


def test_sobol_dimensions_are_the_sorted_paths() -> None:
    scenario = uncertain(sampling="sobol")
    assert Inputs(scenario).paths == tuple(sorted(scenario.uncertain()))
    wider = scenario_from_mapping({**scenario.to_file(), "facility": {"site": "usa", "pue": {"uniform": [1.0, 2.0]}}})
    drawn, again = Inputs(scenario).draw(5), Inputs(wider).draw(5)
    assert {path for path in drawn if drawn[path] != again[path]} == {PUE}


@pytest.mark.parametrize("rank", [-0.9, -0.3, 0.6, 0.99])
@pytest.mark.parametrize("method", METHODS)
def test_ranks_correlate_as_asked(method: str, rank: float) -> None:
    inputs = Inputs(uncertain(4000, sampling=method, correlations=[{"between": [PRICE, PUE], "rank": rank}]))
    drawn = [inputs.draw(trial) for trial in range(4000)]
    price, pue, term = (np.array([values[path] for values in drawn]) for path in (PRICE, PUE, "pricing.rental.term"))
    assert stats.spearmanr(price, pue)[0] == pytest.approx(rank, abs=4.0 / np.sqrt(4000))
    assert stats.spearmanr(price, term)[0] == pytest.approx(0.0, abs=4.0 / np.sqrt(4000))
    assert stats.kstest(price, stats.lognorm(0.3, scale=2 / 3600).cdf).pvalue > 1e-3  # each stays as it was
    assert stats.kstest(pue, stats.beta(2.0, 4.0, 1.1, 0.4).cdf).pvalue > 1e-3


def test_a_correlation_leaves_other_inputs_as_they_were() -> None:
    plain, together = Inputs(uncertain()), Inputs(uncertain(correlations=[{"between": [PRICE, PUE], "rank": 0.6}]))
    for trial in range(20):
        one, other = plain.draw(trial), together.draw(trial)
        assert {path for path in one if abs(one[path] / other[path] - 1.0) > 1e-12} == {PRICE}  # the later of the two names


WRONG: dict[str, tuple[list[Any], str]] = {
    "misspelt": ([{"between": ["pricing.rental.prize", PUE], "rank": 0.5}],
                 r"correlations\.0\.between.*'pricing.rental.prize' is no distribution.*did you mean 'pricing.rental.price'"),
    "one number": ([{"between": ["cluster.spares", PUE], "rank": 0.5}], "'cluster.spares' is no distribution"),
    "with itself": ([{"between": [PUE, PUE], "rank": 0.5}], "twice; allowed: two paths"),
    "twice": ([{"between": [PUE, PRICE], "rank": 0.5}, {"between": [PRICE, PUE], "rank": 0.1}], "each pair once"),
    "too much": ([{"between": [PUE, PRICE], "rank": 1.5}], "at most 0.999"),
    "spread": ([{"between": [PUE, PRICE], "rank": {"uniform": [0, 0.5]}}], "found a distribution; allowed: one number"),
    "three paths": ([{"between": [PUE, PRICE, "pricing.rental.term"], "rank": 0.5}], "between"),
    "contradiction": ([{"between": [PUE, PRICE], "rank": 0.9}, {"between": [PUE, "pricing.rental.term"], "rank": 0.9},
                       {"between": [PRICE, "pricing.rental.term"], "rank": -0.9}], "cannot have together.*times 0.5"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_correlation_is_refused(name: str) -> None:
    correlations, message = WRONG[name]
    with pytest.raises(UserError, match=message):
        uncertain(correlations=correlations)


def test_what_the_error_proposes_is_allowed() -> None:
    pairs = [(PUE, PRICE, 0.9), (PUE, "pricing.rental.term", 0.9), (PRICE, "pricing.rental.term", -0.9)]
    with pytest.raises(UserError, match="times") as error:
        uncertain(correlations=[{"between": [a, b], "rank": rank} for a, b, rank in pairs])
    factor = float(str(error.value).split("times ")[1].split(",")[0])
    uncertain(correlations=[{"between": [a, b], "rank": factor * rank} for a, b, rank in pairs])


def test_the_section_comes_back_from_its_file() -> None:
    scenario = uncertain(sampling="sobol", antithetic=True, correlations=[{"between": [PRICE, PUE], "rank": 0.6}])
    assert scenario_from_mapping(scenario.to_file()) == scenario

"""The facility bin by bin: energy is conserved, the battery keeps within its bounds, and a slow twin finds the same."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.dispatch import (
    BATTERY,
    CARBON,
    CONTRACT_USD,
    CONTRACT_W,
    CONTRACTED,
    COOLING,
    DISTRIBUTION,
    ENERGY_USD,
    EXPORT,
    EXPORT_PRICE,
    EXPORT_USD,
    GENERATOR,
    GENERATOR_USD,
    GRID,
    GRID_L,
    IT,
    LOCATION_KG,
    MATCHED,
    OUT,
    PRICE,
    RESIDUAL,
    RESIDUAL_KG,
    RESPONSE_USD,
    SECONDS,
    SERIES,
    SITE_L,
    SOLAR,
    SOLAR_W,
    TEMPERATURE,
    UNMATCHED_KG,
    UNMET,
    WIND,
    WIND_W,
    Limits,
    Overhead,
    Plant,
    dispatch,
    facility_powers_w,
    it_power_w,
    overheads_w,
)

NO_OVERHEAD = Overhead(0.0, 0.0, 0.0, math.inf, 0.0, 0.0, 0.0)
NO_PLANT = Plant(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
NONE = np.empty(0)
HOUR = 3600.0


class Case(NamedTuple):
    """All that dispatch reads."""

    overhead: Overhead
    plant: Plant
    limits: Limits
    bins: np.ndarray  # two kinds, seconds, node-seconds of spares
    spare_node_w: float
    series: np.ndarray
    month: np.ndarray


class Found(NamedTuple):
    """All that it writes."""

    out: np.ndarray
    totals: np.ndarray
    months: np.ndarray


def run(c: Case, *, keep: bool = True) -> Found:
    """Dispatch a case; what is written held something else before."""
    out = np.full((len(c.bins) if keep else 0, OUT), 7.0)
    totals, months = np.full(OUT, 7.0), np.full((int(c.month.max()) + 1, 2), 7.0)
    dispatch(c.overhead, c.plant, c.limits, c.bins, c.spare_node_w, c.series, c.month, np.full(OUT, 7.0), totals, months, out)
    return Found(out, totals, months)


def case(it_w: list[float], *, overhead: Overhead = NO_OVERHEAD, plant: dict[str, float] | None = None,
         limit_w: float = math.inf, **series: list[float]) -> Case:
    """Hours of some IT power, and what of the series is not zero."""
    n = len(it_w)
    table = np.zeros((n, SERIES))
    for name, values in series.items():
        table[:, globals()[name.upper()]] = values
    bins = np.zeros((n, 4))
    bins[:, 0], bins[:, 2] = np.array(it_w) * HOUR, HOUR
    return Case(overhead, NO_PLANT._replace(**(plant or {})), Limits(np.full(n, limit_w), NONE, NONE), bins, 0.0, table,
                np.zeros(n, dtype=np.int64))


powers = st.floats(0.0, 200.0)
prices = st.floats(-0.1, 0.5)
shares = st.floats(0.0, 0.3)
overheads = st.builds(Overhead, powers, shares, st.floats(0.0, 0.02), st.one_of(st.floats(-10.0, 40.0), st.just(math.inf)),
                      powers, shares, st.floats(0.0, 1e-3))


@st.composite
def cases(draw: Any) -> Case:
    """Bins of any length (also none of the run), a plant of anything, limits that bind, events that pay."""
    n = draw(st.integers(1, 8))

    def column(values: Any) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    seconds = column(st.one_of(st.just(0.0), st.floats(1.0, HOUR)))
    bins = np.stack([column(powers) * seconds, column(powers) * seconds, seconds, column(st.floats(0.0, 4.0)) * seconds], axis=1)
    series = np.stack([column(prices), column(prices), column(prices), column(prices), column(st.floats(-20.0, 45.0)),
                       column(powers), column(st.one_of(st.just(0.0), st.floats(0.0, 900.0))), column(powers)], axis=1)
    plant = Plant(draw(st.one_of(st.just(0.0), st.floats(1.0, 1e6))), draw(powers), draw(st.floats(0.3, 1.0)), draw(powers),
                  draw(prices), draw(prices), draw(st.floats(0.0, 1.0)), draw(prices), draw(shares), draw(shares))
    pays = draw(st.booleans())
    limits = Limits(column(st.one_of(st.just(math.inf), st.floats(0.0, 800.0))), column(prices) if pays else NONE,
                    column(st.floats(0.0, 900.0)) if pays else NONE)
    return Case(draw(overheads), plant, limits, bins, draw(st.floats(0.0, 50.0)), series,
                np.sort(column(st.integers(0, 2))).astype(np.int64))


def close_to(expected: Any, scale: float = 1.0) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=1e-6 * scale)


def twin(c: Case) -> np.ndarray:
    """The same bins from the description of the model alone: each source asked in turn for what is still open."""
    rows, charge_j = [], 0.0
    for i, (first_j, second_j, dt, spare_node_s) in enumerate(c.bins.tolist()):
        x, o, p, row = c.series[i], c.overhead, c.plant, dict.fromkeys(range(OUT), 0.0)
        if dt > 0.0:
            it_j = first_j + second_j + c.spare_node_w * spare_node_s
            it_w, warm = it_j / dt, max(x[TEMPERATURE] - o.free_degc, 0.0)
            cooling_j = dt * (o.cooling_fixed_w + o.cooling_share * it_w + o.cooling_per_degree * warm * it_w)
            lost_j = dt * (o.distribution_fixed_w + o.distribution_share * it_w + o.distribution_per_w * it_w**2)
            left = it_j + cooling_j + lost_j
            own_j = (x[SOLAR_W] + x[WIND_W]) * dt
            direct_j = min(own_j, left)
            left, surplus_j, stored_j = left - direct_j, own_j - direct_j, 0.0
            if surplus_j > 0.0 and p.battery_j > 0.0:
                stored_j = min(p.efficiency * min(surplus_j, p.battery_w * dt), p.battery_j - charge_j)
                charge_j += stored_j
                row[BATTERY] = stored_j / p.efficiency
            else:
                given_j = min(left, p.battery_w * dt, p.efficiency * charge_j)
                charge_j -= given_j / p.efficiency
                row[BATTERY], left = -given_j, left - given_j
            above_j = max(left - c.limits.grid_w[i] * dt, 0.0)
            made_j = min(above_j, p.generator_w * dt)
            grid_j = left - made_j
            share = (direct_j + stored_j / p.efficiency) / own_j if own_j > 0.0 else 0.0
            bought_j = p.contract_share * grid_j + x[CONTRACT_W] * dt
            row |= {SECONDS: dt, IT: it_j, COOLING: cooling_j, DISTRIBUTION: lost_j, GRID: grid_j, GENERATOR: made_j,
                    SOLAR: share * x[SOLAR_W] * dt, WIND: share * x[WIND_W] * dt, UNMET: above_j - made_j,
                    EXPORT: own_j * (1.0 - share), CONTRACTED: bought_j, MATCHED: min(bought_j, grid_j),
                    CONTRACT_USD: p.contract_usd_per_j * bought_j, ENERGY_USD: x[PRICE] * (grid_j - bought_j),
                    EXPORT_USD: -x[EXPORT_PRICE] * own_j * (1.0 - share), GENERATOR_USD: p.generator_usd_per_j * made_j,
                    LOCATION_KG: x[CARBON] * grid_j + p.generator_kg_per_j * made_j, RESIDUAL_KG: x[RESIDUAL] * grid_j,
                    UNMATCHED_KG: x[RESIDUAL] * max(grid_j - bought_j, 0.0), SITE_L: p.site_l_per_j * it_j,
                    GRID_L: p.grid_l_per_j * grid_j}
            if c.limits.payment_usd_per_j.size:
                taken_j = row[GRID] + row[SOLAR] + row[WIND]
                row[RESPONSE_USD] = -c.limits.payment_usd_per_j[i] * max(c.limits.asked_w[i] * dt - taken_j, 0.0)
        rows.append([row[column] for column in range(OUT)])
    return np.array(rows)


@given(cases())
def test_a_slow_twin_finds_the_same(c: Case) -> None:
    assert run(c).out == close_to(twin(c), 10.0)


@given(cases())
def test_energy_is_conserved_in_every_bin(c: Case) -> None:
    out = run(c).out
    used = out[:, IT] + out[:, COOLING] + out[:, DISTRIBUTION] + out[:, BATTERY]
    assert used == close_to(out[:, GRID] + out[:, SOLAR] + out[:, WIND] + out[:, GENERATOR])
    made = (c.series[:, SOLAR_W] + c.series[:, WIND_W]) * out[:, SECONDS]
    assert out[:, SOLAR] + out[:, WIND] + out[:, EXPORT] == close_to(made)
    assert out[:, [GRID, SOLAR, WIND, GENERATOR, UNMET, EXPORT, MATCHED]].min() >= -1e-6


@given(cases())
def test_a_battery_keeps_within_its_bounds(c: Case) -> None:
    p, out = c.plant, run(c).out
    charged = np.maximum(out[:, BATTERY], 0.0)
    given_back = np.maximum(-out[:, BATTERY], 0.0)
    stored = np.cumsum(charged * p.efficiency - given_back / p.efficiency)
    assert stored.min() >= -1e-6
    assert stored.max() <= p.battery_j * (1 + 1e-12) + 1e-6
    assert (np.abs(out[:, BATTERY]) <= p.battery_w * out[:, SECONDS] * (1 + 1e-12)).all()
    assert (charged * given_back == 0.0).all()


@given(cases())
def test_totals_and_months_are_those_of_the_bins_kept_or_not(c: Case) -> None:
    kept, unkept = run(c), run(c, keep=False)
    assert kept.totals == close_to(kept.out.sum(axis=0))
    assert unkept.totals.tolist() == kept.totals.tolist()
    assert unkept.months.tolist() == kept.months.tolist()
    seconds = c.bins[:, 2]
    for month, (peak_w, time_s) in enumerate(kept.months):
        bins = (c.month == month) & (seconds > 0.0)
        assert time_s == pytest.approx(seconds[bins].sum())
        assert peak_w == pytest.approx((kept.out[bins, GRID] / seconds[bins]).max(initial=0.0))


@given(cases(), st.floats(0.0, 300.0))
def test_more_solar_is_never_more_grid_generator_or_unmet_load(c: Case, more_w: float) -> None:
    sunny = c._replace(series=c.series.copy(), plant=c.plant._replace(battery_j=0.0))
    before = run(sunny).out
    sunny.series[:, SOLAR_W] += more_w
    after = run(sunny).out
    for column in (GRID, GENERATOR, UNMET):
        assert (after[:, column] <= before[:, column] + 1e-6).all()
    assert (after[:, EXPORT] >= before[:, EXPORT] - 1e-6).all()


@given(cases(), st.floats(0.0, 300.0))
def test_more_solar_with_a_battery_is_never_more_grid_over_the_run(c: Case, more_w: float) -> None:
    """What the battery holds differs from bin to bin, so that the claim is one on sums."""
    before = run(c).totals
    c.series[:, SOLAR_W] += more_w
    after = run(c).totals
    assert after[GRID] + after[GENERATOR] <= before[GRID] + before[GENERATOR] + 1e-6 * (1.0 + before[GRID])


# What a battery and a generator do, by hand.


def test_what_goes_through_a_battery_is_lost_at_its_efficiency_twice() -> None:
    """1 kW over in the first hour, 3 kW open in the second: 0.9 kWh stored, 0.81 kWh come back."""
    out = run(case([1000.0, 3000.0], plant={"battery_j": 2000 * HOUR, "battery_w": 5000.0, "efficiency": 0.9},
                   solar_w=[2000.0, 0.0])).out
    assert out[:, BATTERY] / HOUR == pytest.approx([1000.0, -810.0])
    assert out[:, GRID] / HOUR == pytest.approx([0.0, 2190.0])
    assert out[:, BATTERY].sum() / HOUR == pytest.approx(190.0)  # lost, exactly
    assert out[:, EXPORT].sum() == 0.0


@pytest.mark.parametrize(("battery", "charged_w"), [
    ({"battery_j": 500 * HOUR, "battery_w": 5000.0, "efficiency": 0.8}, 625.0),  # until it is full
    ({"battery_j": 9000 * HOUR, "battery_w": 400.0, "efficiency": 0.8}, 400.0),  # as fast as it takes
    ({"battery_j": 9000 * HOUR, "battery_w": 5000.0, "efficiency": 0.8}, 1000.0),  # all that is over
])
def test_a_battery_takes_the_least_of_surplus_power_and_room_and_the_rest_leaves(battery, charged_w) -> None:
    out = run(case([1000.0], plant=battery, solar_w=[1500.0], wind_w=[500.0], export_price=[0.5])).out
    assert out[0, BATTERY] / HOUR == pytest.approx(charged_w)
    assert out[0, EXPORT] / HOUR == pytest.approx(1000.0 - charged_w)
    assert out[0, EXPORT_USD] == pytest.approx(-0.5 * out[0, EXPORT])
    assert out[0, SOLAR] / out[0, WIND] == pytest.approx(3.0)  # who leaves is shared as it was made


def test_a_generator_serves_only_what_is_above_the_limit_and_the_rest_is_unmet() -> None:
    plant = {"generator_w": 300.0, "generator_usd_per_j": 2.0, "generator_kg_per_j": 3.0}
    out = run(case([900.0, 1200.0, 1500.0], plant=plant, limit_w=1000.0, carbon=[1.0, 1.0, 1.0])).out
    assert out[:, GENERATOR] / HOUR == pytest.approx([0.0, 200.0, 300.0])
    assert out[:, UNMET] / HOUR == pytest.approx([0.0, 0.0, 200.0])
    assert out[:, GRID] / HOUR == pytest.approx([900.0, 1000.0, 1200.0])  # unmet load is taken all the same
    assert out[:, GENERATOR_USD] == pytest.approx(2.0 * out[:, GENERATOR])
    assert out[:, LOCATION_KG] == pytest.approx(out[:, GRID] + 3.0 * out[:, GENERATOR])


def test_a_plants_energy_beyond_what_is_used_is_sold_at_the_market() -> None:
    """A contract on 1.5 kW at 2 USD/J where 1 kW is used: 1.5 kW paid, 0.5 kW sold at 3 USD/J."""
    row = run(case([1000.0], plant={"contract_usd_per_j": 2.0}, contract_w=[1500.0], price=[3.0], residual=[1.0])).out[0]
    assert row[CONTRACT_USD] / HOUR == pytest.approx(3000.0)
    assert row[ENERGY_USD] / HOUR == pytest.approx(-1500.0)
    assert row[MATCHED] / HOUR == pytest.approx(1000.0)
    assert row[UNMATCHED_KG] == 0.0
    assert row[RESIDUAL_KG] / HOUR == pytest.approx(1000.0)


def test_a_spare_draws_its_watts() -> None:
    c = case([1000.0])
    c.bins[0, 3] = 2.5 * HOUR
    assert run(c._replace(spare_node_w=100.0)).out[0, IT] / HOUR == pytest.approx(1250.0)


# What is unknown stays where it matters.


@pytest.mark.parametrize(("unknown", "poisoned"), [
    ("price", {ENERGY_USD}),
    ("export_price", {EXPORT_USD}),
    ("carbon", {LOCATION_KG}),
    ("residual", {RESIDUAL_KG, UNMATCHED_KG}),
])
def test_an_unknown_series_poisons_only_what_depends_on_it(unknown: str, poisoned: set[int]) -> None:
    plant = {"contract_share": 0.3, "contract_usd_per_j": 1.0, "generator_w": 100.0, "generator_kg_per_j": 1.0}
    c = case([1000.0, 500.0], plant=plant, limit_w=600.0, solar_w=[200.0, 700.0], price=[1.0, 1.0], export_price=[1.0, 1.0],
             carbon=[1.0, 1.0], residual=[1.0, 1.0])
    c.series[:, globals()[unknown.upper()]] = np.nan
    found = run(c)
    assert {i for i in range(OUT) if np.isnan(found.totals[i])} == poisoned
    assert {i for i in range(OUT) if np.isnan(found.out[:, i]).any()} == poisoned
    assert not np.isnan(found.months).any()


def test_unknown_water_poisons_only_its_own_litres() -> None:
    for field, column in (("site_l_per_j", SITE_L), ("grid_l_per_j", GRID_L)):
        totals = run(case([1000.0], plant={field: np.nan})).totals
        assert np.flatnonzero(np.isnan(totals)).tolist() == [column]


def test_an_unknown_price_of_what_is_never_sent_out_does_not_matter() -> None:
    assert run(case([1000.0], export_price=[np.nan])).totals[EXPORT_USD] == 0.0


# Overheads.


@given(overheads, st.floats(0.0, 5e3), st.floats(-30.0, 45.0))
def test_it_power_is_the_inverse_of_overheads(o: Overhead, it_w: float, degc: float) -> None:
    facility_w = it_w + sum(overheads_w(o, it_w, degc))
    assert it_power_w(o, facility_w, degc) == pytest.approx(it_w, rel=1e-9, abs=1e-6)


@given(overheads, st.floats(0.0, 5e3), st.floats(-30.0, 45.0))
def test_a_facility_at_its_it_power_draws_what_it_is_allowed(o: Overhead, facility_w: float, degc: float) -> None:
    it_w = it_power_w(o, facility_w, degc)
    drawn_w = it_w + sum(overheads_w(o, it_w, degc))
    idle_w = sum(overheads_w(o, 0.0, degc))
    assert drawn_w == pytest.approx(max(facility_w, idle_w), rel=1e-9, abs=1e-6)


def test_without_a_limit_it_power_has_none() -> None:
    assert it_power_w(NO_OVERHEAD, math.inf, 20.0) == math.inf
    assert it_power_w(Overhead(1.0, 0.1, 0.01, 20.0, 1.0, 0.1, 0.1), math.inf, 20.0) == math.inf


@pytest.mark.parametrize(("load", "degc", "pue"), [
    (1.0, 10.0, 1.10), (0.25, 10.0, 1.145), (1.0, 30.0, 1.14), (0.25, 30.0, 1.185)])
def test_pue_at_full_and_at_a_quarter_of_the_load_by_hand(load: float, degc: float, pue: float) -> None:
    """1 + (0.01 + 0.01) / L + 0.05 + 0.01 + 0.02 L, and 0.004 for each degree above 20."""
    design_w = 4e6
    o = Overhead(0.01 * design_w, 0.05, 0.004, 20.0, 0.01 * design_w, 0.01, 0.02 / design_w)
    drawn = np.empty(1)
    facility_powers_w(o, load * design_w, np.array([degc]), drawn)
    assert drawn[0] / (load * design_w) == pytest.approx(pue, rel=1e-12)
    out = run(case([load * design_w], overhead=o, temperature=[degc])).out[0]
    assert out[GRID] / out[IT] == pytest.approx(pue, rel=1e-12)


def test_free_cooling_never_heats() -> None:
    o = Overhead(0.0, 0.1, 0.01, 20.0, 0.0, 0.0, 0.0)
    assert overheads_w(o, 100.0, -40.0) == overheads_w(o, 100.0, 20.0) == (10.0, 0.0)
    assert overheads_w(o, 100.0, 25.0)[0] == pytest.approx(15.0)

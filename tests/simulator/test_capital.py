"""What holding accelerators costs: closed forms, limits, monotonicity, and two readings of the same dollars."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import catalog
from simulator.accounting.capital import Held, Holding, Rent, Terms, holding_costs, owned_holding, total
from simulator.catalog.pricing import YEAR_S
from simulator.scenario import Owned

H100 = catalog.load("accelerators", "h100-sxm-80gb")
K = 0.14 * math.log(10.0) / YEAR_S
POSITIVE = st.floats(0.0, 1e5)
RATES = st.floats(0.0, 1e-3)
SPANS = st.floats(0.0, 6.0 * YEAR_S)


@st.composite
def owned_holdings(draw: st.DrawFn) -> Holding:
    return Holding(
        hardware_usd=draw(POSITIVE), interconnect_usd=draw(POSITIVE), storage_usd=draw(POSITIVE), learning=draw(st.booleans()),
        decay_per_s=draw(st.floats(0.0, 10.0 * K)), life_s=draw(st.floats(0.5, 6.0)) * YEAR_S, residual=draw(st.floats(0.0, 1.0)),
        age_s=draw(SPANS), interest_per_s=draw(st.floats(0.0, 0.3)) / YEAR_S, staff_usd_per_s=draw(RATES),
        space_usd_per_s=draw(RATES), maintenance_usd_per_s=draw(RATES))


rents = st.tuples(RATES, SPANS).map(lambda pair: Rent(*pair))
rented_holdings = st.lists(rents, min_size=1, max_size=4).map(lambda parts: Holding(tuple(parts)))
holdings = owned_holdings() | rented_holdings


def owned(**keys: object) -> Owned:
    return Owned.model_validate(keys)


def test_learning_curve_is_the_fall_of_the_value() -> None:
    holding = Holding(hardware_usd=30000.0, learning=True, decay_per_s=K, age_s=YEAR_S)
    wall_s = 0.5 * YEAR_S
    assert holding.usd(wall_s)["hardware"] == pytest.approx(30000.0 * (10.0**-0.14 - 10.0**(-0.14 * 1.5)), rel=1e-12)


def test_the_rate_at_release_is_epochs_formula() -> None:
    holding = owned_holding(owned(depreciation="learning-curve", interconnect_share=0.0), H100, 8, 0.0, None)
    assert holding.usd_per_s()["hardware"] * 3600.0 == pytest.approx(30000.0 * 1.64 * 0.14 * math.log(10.0) / 8766.0, rel=1e-12)


def test_straight_line_ends_at_the_residual_value() -> None:
    holding = Holding(hardware_usd=1000.0, life_s=4.0 * YEAR_S, residual=0.1)
    assert holding.usd(YEAR_S)["hardware"] == pytest.approx(225.0)
    assert holding.usd(4.0 * YEAR_S)["hardware"] == pytest.approx(900.0)
    assert holding.usd(5.0 * YEAR_S)["hardware"] == pytest.approx(900.0)
    assert holding.between(4.5 * YEAR_S, 5.0 * YEAR_S)["hardware"] == 0.0


def test_interest_on_a_straight_line() -> None:
    # Mean book value over the whole life is (1 + residual) / 2 of the price; after it, the residual.
    holding = Holding(hardware_usd=1000.0, life_s=4.0 * YEAR_S, residual=0.2, interest_per_s=0.08 / YEAR_S)
    assert holding.usd(4.0 * YEAR_S)["cost_of_capital"] == pytest.approx(0.08 * 4.0 * 600.0)
    assert holding.usd(5.0 * YEAR_S)["cost_of_capital"] == pytest.approx(0.08 * (4.0 * 600.0 + 200.0))


def test_interest_on_a_learning_curve() -> None:
    holding = Holding(hardware_usd=1000.0, learning=True, decay_per_s=K, interest_per_s=0.08 / YEAR_S)
    mean = (1.0 - 10.0**-0.28) / (0.28 * math.log(10.0))
    assert holding.usd(2.0 * YEAR_S)["cost_of_capital"] == pytest.approx(0.08 * 2.0 * 1000.0 * mean, rel=1e-12)


def test_value_that_never_falls_costs_its_interest_only() -> None:
    holding = Holding(hardware_usd=1000.0, learning=True, interest_per_s=0.1 / YEAR_S)
    assert holding.usd(YEAR_S) == {**dict.fromkeys(holding.usd(YEAR_S), 0.0), "cost_of_capital": pytest.approx(100.0)}


def test_purchase_staff_space_and_maintenance_by_hand() -> None:
    terms = owned(staff="3 M USD/year", space="150 USD/kW/month", maintenance="5 %/year", storage_capital="2 M USD")
    holding = owned_holding(terms, H100, 1000, 1200.0, None)
    cluster_usd = 30000.0 * 1.64 / 0.81
    usd = holding.usd(YEAR_S)
    assert holding.hardware_usd + holding.interconnect_usd == pytest.approx(cluster_usd)
    assert usd["storage_hardware"] == pytest.approx(500.0)
    assert usd["staff"] == pytest.approx(3000.0)
    assert usd["space"] == pytest.approx(150.0 * 1.2 * 12.0)
    assert usd["maintenance"] == pytest.approx(0.05 * (cluster_usd + 2000.0))


def test_a_term_is_paid_for_whole() -> None:
    holding = Holding((Rent(0.7e-3, YEAR_S), Rent(0.3e-3, 0.0)))
    half = holding.usd(0.5 * YEAR_S)
    assert half["rent"] == pytest.approx(1e-3 * 0.5 * YEAR_S)
    assert half["unused_commitment"] == pytest.approx(0.7e-3 * 0.5 * YEAR_S)
    assert holding.usd(2.0 * YEAR_S) == {"rent": pytest.approx(2e-3 * YEAR_S), "unused_commitment": 0.0}


def test_a_term_begins_when_accelerators_are_added() -> None:
    holding = Holding((Rent(1e-3, YEAR_S),))
    times = {"time_productive_s": 0.6 * YEAR_S}
    held = [Held(times, 100, 0, holding), Held(times, 150, 0, holding)]
    assert holding_costs(held)["cost_unused_commitment_usd"] == pytest.approx(50 * 1e-3 * 0.4 * YEAR_S)


@given(holdings)
def test_no_time_costs_nothing_but_terms(holding: Holding) -> None:
    usd = holding.usd(0.0)
    assert usd.pop("unused_commitment", 0.0) == pytest.approx(sum(r.usd_per_s * r.term_s for r in holding.rents))
    assert set(usd.values()) == {0.0}


@given(holdings, SPANS, SPANS)
def test_a_longer_run_is_never_cheaper(holding: Holding, a: float, b: float) -> None:
    short, long = (sum(holding.usd(wall_s).values()) for wall_s in sorted((a, b)))
    assert long >= short * (1.0 - 1e-12)
    assert min(holding.usd(b).values()) >= 0.0


@given(holdings, SPANS, SPANS)
def test_times_add_up(holding: Holding, a: float, b: float) -> None:
    whole = holding.between(0.0, a + b)
    first, second = holding.between(0.0, a), holding.between(a, a + b)
    for name, usd in whole.items():
        assert first[name] + second[name] == pytest.approx(usd, rel=1e-9, abs=1e-6)


@given(owned_holdings(), st.floats(0.01, 5.0))
def test_a_closed_form_is_the_integral_of_its_rate(holding: Holding, years: float) -> None:
    edges = np.linspace(0.0, years * YEAR_S, 4001)
    middles = 0.5 * (edges[1:] + edges[:-1])
    rates = [holding.usd_per_s(at_s) for at_s in middles]
    for name, usd in holding.usd(years * YEAR_S).items():
        summed = float(np.sum([rate[name] for rate in rates]) * (edges[1] - edges[0]))
        assert summed == pytest.approx(usd, rel=2e-3, abs=1e-3 * max(1.0, holding.hardware_usd + holding.storage_usd
                                                                     + holding.interconnect_usd))


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), SPANS)
def test_a_larger_share_of_the_dear_part_is_never_cheaper(a: float, b: float, wall_s: float) -> None:
    def usd(dear: float) -> float:
        return sum(Holding((Rent(dear * 3e-3, 0.0), Rent((1.0 - dear) * 1e-3, 0.0))).usd(wall_s).values())

    few, many = sorted((a, b))
    assert usd(many) >= usd(few) * (1.0 - 1e-12)


@st.composite
def clusters(draw: st.DrawFn) -> list[Held]:
    kind, count = draw(st.sampled_from((owned_holdings(), rented_holdings))), 0
    held = []
    for _ in range(draw(st.integers(1, 4))):
        count += draw(st.integers(1, 1000))
        times = {f"time_{name}_s": draw(st.floats(0.0, 1e7)) for name in ("productive", "lost", "restart")}
        held.append(Held(times, count, draw(st.integers(0, 100)), draw(kind)))
    return held


@given(clusters(), st.floats(1.0, 5.0), POSITIVE, st.floats(0.5, 2.0))
def test_categories_and_parts_are_the_same_dollars(held: list[Held], overhead: float, egress: float, dollars: float) -> None:
    row = {"cost_electricity_usd": 7.0, "cost_storage_usd": 3.0, **holding_costs(held)}
    total(row, Terms(egress, overhead, dollars))
    others = [row[f"cost_{name}_usd"] for name in ("electricity", "storage", "egress", "research_overhead")]
    by_part = math.fsum(value for name, value in row.items() if name.startswith("holding_"))
    by_category = math.fsum(v for name, v in row.items() if name.startswith("cost_") and name != "cost_usd") - math.fsum(others)
    assert by_category == pytest.approx(by_part, rel=1e-12, abs=1e-12 * row["cost_usd"])
    assert row["cost_usd"] == pytest.approx(by_part + math.fsum(others), rel=1e-12)
    assert row["cost_egress_usd"] == pytest.approx(egress * dollars)
    compute = by_part - row["cost_unused_commitment_usd"] + row["cost_electricity_usd"]
    assert row["cost_research_overhead_usd"] == pytest.approx((overhead - 1.0) * compute, rel=1e-9, abs=1e-9 * row["cost_usd"])


@given(clusters())
def test_categories_share_by_time(held: list[Held]) -> None:
    costs = holding_costs(held[:1])
    times = held[0].times
    productive = costs["cost_productive_usd"] * times["time_lost_s"]
    assert productive == pytest.approx(costs["cost_lost_usd"] * times["time_productive_s"], rel=1e-9, abs=1e-9)

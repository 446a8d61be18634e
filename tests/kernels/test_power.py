from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.packs import Step
from kernels.power import (
    PhasePower,
    PowerModel,
    clock_power,
    clock_under,
    phase_power_w,
    phase_powers,
    product_clock,
    step_energy,
    step_power,
)
from tests.kernels.kernel_models import PHASES

shares = st.floats(0.0, 1.0)
seconds = st.floats(0.0, 1e3)
exponents, floors = st.floats(1.5, 3.5), st.floats(0.3, 0.95)
H100 = PowerModel(70.0, 700.0, 700.0, 1.5, 0.6, 0.4, 0.3, 2.75, 0.7)
SHORT = ("memory_s", "tensor_s", "context_s", "expert_s", "launch_s")  # alternate with products within a microbatch


@st.composite
def models(draw: st.DrawFn) -> PowerModel:
    """Draw an accelerator, with a limit between idle and TDP."""
    idle, span = draw(st.floats(1.0, 300.0)), draw(st.floats(10.0, 2000.0))
    limit = idle + span * draw(st.floats(0.05, 1.0))
    return PowerModel(idle, idle + span, limit, draw(st.floats(0.5, 2.0)), draw(shares), draw(shares), draw(shares),
                      draw(exponents), draw(floors))


def step(phases: dict[str, float]) -> Step:
    """Return a step of the given phases and nothing else."""
    return Step(**{name: phases.get(name, 0.0) for name in Step._fields})


steps = st.lists(seconds, min_size=len(PHASES), max_size=len(PHASES)).map(lambda s: step(dict(zip(PHASES, s, strict=True))))


@given(st.floats(1e-3, 1.0), exponents, floors)
def test_the_clock_under_a_share_of_power_draws_that_share(share: float, exponent: float, floor: float) -> None:
    assert clock_power(clock_under(share, exponent, floor), exponent, floor) == pytest.approx(share, rel=1e-9)


@given(exponents, floors)
def test_the_power_curve_is_whole_at_full_clock_continuous_at_the_floor_and_linear_below(exponent: float, floor: float) -> None:
    assert clock_power(1.0, exponent, floor) == 1.0
    assert clock_power(floor * (1.0 - 1e-9), exponent, floor) == pytest.approx(clock_power(floor, exponent, floor), rel=1e-6)
    assert clock_power(0.25 * floor, exponent, floor) == pytest.approx(0.25 * floor**exponent)


def test_products_on_an_h100_draw_its_limit_at_a_lowered_clock() -> None:
    assert phase_powers(H100).gemm_w == 700.0
    assert product_clock(H100) == pytest.approx((1.0 / 1.5) ** (1.0 / 2.75))
    assert product_clock(H100._replace(limit_w=500.0)) == pytest.approx((430.0 / 630.0 / 1.5) ** (1.0 / 2.75))


@given(models(), shares)
def test_no_phase_draws_more_than_the_limit_or_less_than_idle(p: PowerModel, demand: float) -> None:
    assert p.idle_w <= phase_power_w(p, demand) <= p.limit_w
    assert phase_power_w(p, 0.0) == p.idle_w


@given(models(), steps)
def test_the_mean_of_a_microbatch_keeps_the_limit(p: PowerModel, s: Step) -> None:
    """Products may draw more for milliseconds; with what alternates with them they do not."""
    w = step_power(p, s)
    window = s._replace(**dict.fromkeys((name for name in PHASES if name not in (*SHORT, "gemm_s", "attention_s")), 0.0))
    window_s = sum(getattr(window, name) for name in PHASES)
    assert sum(step_energy(w, window)) <= p.limit_w * window_s * (1.0 + 1e-9) + 1e-6
    assert w._replace(gemm_w=0.0, attention_w=0.0) == phase_powers(p)._replace(gemm_w=0.0, attention_w=0.0)


def test_products_take_what_memory_bound_operators_leave() -> None:
    s = step({"gemm_s": 0.7, "memory_s": 0.2, "tensor_s": 0.1, "bubble_s": 1.0})
    w = step_power(H100, s)
    assert 0.7 * w.gemm_w + 0.2 * w.memory_w + 0.1 * w.communication_w == pytest.approx(700.0)
    assert w.bubble_w == pytest.approx(70.0 + 0.3 * 630.0)  # lasts longer than the mean that is limited
    assert w.gemm_w < 70.0 + 1.5 * 630.0


def test_products_that_demand_less_than_the_limit_leave_the_rest() -> None:
    v100 = PowerModel(40.0, 300.0, 300.0, 1.0, 0.6, 0.4, 0.3, 2.75, 0.7)
    assert step_power(v100, step({"gemm_s": 0.5, "memory_s": 0.5})).gemm_w == 300.0


@given(models(), steps, st.floats(0.1, 1.0))
def test_a_lower_limit_never_draws_more(p: PowerModel, s: Step, lower: float) -> None:
    low = p._replace(limit_w=p.idle_w + lower * (p.limit_w - p.idle_w))
    assert sum(step_energy(step_power(low, s), s)) <= sum(step_energy(step_power(p, s), s)) * (1.0 + 1e-9) + 1e-6
    assert product_clock(low) <= product_clock(p) + 1e-12


@given(st.lists(st.floats(0.0, 1e3), min_size=7, max_size=7), steps)
def test_energy_sums_power_over_phases(watts: list[float], s: Step) -> None:
    """Every phase draws the power of its kind; waits for the host and for offload draw that of the bubble."""
    w = PhasePower(*watts)
    compute = w.gemm_w * s.gemm_s + w.attention_w * s.attention_s + w.memory_w * (s.memory_s + s.optimizer_s)
    waits = w.communication_w * (s.tensor_s + s.context_s + s.expert_s + s.pipeline_s + s.data_s)
    bubble = w.bubble_w * (s.bubble_s + s.launch_s + s.offload_s)
    assert tuple(step_energy(w, s)) == pytest.approx((compute, waits, bubble), rel=1e-12, abs=1e-9)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.power import PowerModel, phase_power_w, step_energy

shares = st.floats(0.0, 1.0)
seconds = st.floats(0.0, 1e3)
models = st.builds(
    lambda idle, span, *activities: PowerModel(idle, idle + span, *activities),
    st.floats(0.0, 300.0), st.floats(0.0, 2000.0), shares, shares, shares, shares,
)  # fmt: skip


@given(models, shares, shares, shares)
def test_power_is_affine_in_activity(p: PowerModel, x: float, y: float, mix: float) -> None:
    between = phase_power_w(p, mix * x + (1.0 - mix) * y)
    expected = mix * phase_power_w(p, x) + (1.0 - mix) * phase_power_w(p, y)
    assert between == pytest.approx(expected, rel=1e-12, abs=1e-9)
    assert phase_power_w(p, 0.0) == p.idle_w
    assert phase_power_w(p, 1.0) == pytest.approx(p.limit_w)
    assert p.idle_w <= between <= p.limit_w * (1.0 + 1e-12)


@given(models, seconds, seconds, seconds, seconds)
def test_energy_sums_power_over_phases(p: PowerModel, gemm: float, memory: float, network: float, bubble: float) -> None:
    def joules(activity: float, s: float) -> float:
        return (p.idle_w * (1.0 - activity) + p.limit_w * activity) * s

    e = step_energy(p, gemm, memory, network, bubble)
    expected = (joules(p.gemm, gemm) + joules(p.memory, memory), joules(p.communication, network), joules(p.bubble, bubble))
    assert tuple(e) == pytest.approx(expected, rel=1e-12, abs=1e-9)
    total_s = gemm + memory + network + bubble
    assert p.idle_w * total_s * (1 - 1e-12) <= sum(e) <= p.limit_w * total_s * (1 + 1e-12)


@given(models, st.lists(seconds, min_size=8, max_size=8))
def test_energy_is_additive(p: PowerModel, s: list[float]) -> None:
    first, second = step_energy(p, *s[:4]), step_energy(p, *s[4:])
    both = step_energy(p, *[a + b for a, b in zip(s[:4], s[4:], strict=True)])
    assert tuple(both) == pytest.approx(tuple(a + b for a, b in zip(first, second, strict=True)), rel=1e-12, abs=1e-9)

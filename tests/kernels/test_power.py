from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.packs import Step
from kernels.power import PowerModel, phase_power_w, phase_powers, step_energy
from tests.kernels.kernel_models import PHASES

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


def step(phases: dict[str, float]) -> Step:
    """Return a step of the given phases and nothing else."""
    return Step(**{name: phases.get(name, 0.0) for name in Step._fields})


@given(models, st.lists(seconds, min_size=len(PHASES), max_size=len(PHASES)))
def test_energy_sums_power_over_phases(p: PowerModel, s: list[float]) -> None:
    """Every phase draws the power of its kind; waits for the host and for offload draw that of the bubble."""
    activity = {"gemm_s": p.gemm, "attention_s": p.gemm, "memory_s": p.memory, "optimizer_s": p.memory}
    activity |= dict.fromkeys(("tensor_s", "context_s", "expert_s", "pipeline_s", "data_s"), p.communication)
    activity |= dict.fromkeys(("bubble_s", "launch_s", "offload_s"), p.bubble)
    phases = dict(zip(PHASES, s, strict=True))
    joules = {name: (p.idle_w * (1 - activity[name]) + p.limit_w * activity[name]) * phases[name] for name in PHASES}
    e = step_energy(phase_powers(p), step(phases))
    kinds = [("gemm_s", "attention_s", "memory_s", "optimizer_s"),
             ("tensor_s", "context_s", "expert_s", "pipeline_s", "data_s"), ("bubble_s", "launch_s", "offload_s")]  # fmt: skip
    assert tuple(e) == pytest.approx([sum(joules[name] for name in kind) for kind in kinds], rel=1e-12, abs=1e-9)
    assert p.idle_w * sum(s) * (1 - 1e-12) <= sum(e) <= p.limit_w * sum(s) * (1 + 1e-12)


@given(models, st.lists(seconds, min_size=2 * len(PHASES), max_size=2 * len(PHASES)))
def test_energy_is_additive(p: PowerModel, s: list[float]) -> None:
    halves = s[: len(PHASES)], s[len(PHASES) :]
    first, second = (step_energy(phase_powers(p), step(dict(zip(PHASES, half, strict=True)))) for half in halves)
    both = step_energy(phase_powers(p), step({name: x + y for name, x, y in zip(PHASES, *halves, strict=True)}))
    assert tuple(both) == pytest.approx(tuple(a + b for a, b in zip(first, second, strict=True)), rel=1e-12, abs=1e-9)

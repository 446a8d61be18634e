from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bulk import price_layouts
from kernels.memory import memory_bytes
from kernels.packs import Layout, Recipe
from kernels.pipeline import microbatch_count
from kernels.power import PowerModel, step_energy, step_power
from kernels.step import step_time
from tests.kernels.kernel_models import DEVICE, MODELS, NETWORK, layouts, names, recipes

POWER = PowerModel(70.0, 700.0, 600.0, 1.5, 0.6, 0.4, 0.3, 2.75, 0.7)


def test_a_row_holds_every_field_of_a_layout() -> None:
    assert len(Layout._fields) == 20


@given(names, recipes, st.lists(layouts, min_size=1, max_size=4), st.sampled_from([0.0, 80e9, math.inf]))
def test_many_layouts_are_priced_as_each_alone(name: str, r: Recipe, many: list[Layout], capacity: float) -> None:
    a = MODELS[name]
    times, energies, memories = (np.zeros(len(many)) for _ in range(3))
    price_layouts(a, DEVICE, NETWORK, r, POWER, np.array(many), capacity, times, energies, memories)
    for i, lay in enumerate(many):
        step = step_time(a, DEVICE, NETWORK, r, lay)
        memory = memory_bytes(a, r, lay, microbatch_count(r.sequences, lay.data, lay.microbatch))
        assert memories[i] == pytest.approx(memory.total)
        if memory.total <= capacity:
            assert times[i] == pytest.approx(step.time_s)
            assert energies[i] == pytest.approx(sum(step_energy(step_power(POWER, step), step)))
        else:
            assert times[i] == energies[i] == math.inf

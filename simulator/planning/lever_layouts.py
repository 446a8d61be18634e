"""Layouts for a scenario that a lever has changed: the one it had, the nearest to it that fits, or the fastest of all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernels.packs import Layout as LayoutPack
from simulator.errors import UserError
from simulator.performance.estimate import estimate_steps, layout_pack, packs
from simulator.performance.search import choose_layout, layout_of, main_batch, price_all, recomputing, search
from simulator.scenario import Layout, Scenario

_SIZES = ("tensor", "pipeline", "context", "chunks", "microbatch")
_KEPT = ("context_method", "overlap_tensor", "overlap_context", "overlap_expert", "overlap_data", "overlap_pipeline",
         "expert_nodes")
_TRIED = 8  # candidates of each recomputation whose whole run is timed


def with_layout(scenario: Scenario, layout: Layout, recompute: str | tuple[str, ...] | None = None) -> Scenario:
    """Return the scenario with a layout, and another recomputation where one is given."""
    update = {"layout": layout, **({} if recompute is None else {"recompute": recompute})}
    return scenario.model_copy(update={"training": scenario.training.model_copy(update=update)})


def layout_in_use(scenario: Scenario) -> Layout:
    """Return the layout of a scenario, that of the search where it is `auto`."""
    layout = scenario.training.layout
    return layout if isinstance(layout, Layout) else choose_layout(scenario)


def step_seconds(scenario: Scenario) -> float:
    """Return the time of all steps without failures, s; raise UserError where the layout does not fit."""
    return float(sum(e.batch.steps * e.step_time_s for e in estimate_steps(scenario)))


def fastest_layout(scenario: Scenario) -> Scenario:
    """Return the scenario with the layout and the recomputation whose steps take least time in all.

    The eight fastest of each recomputation in the main batch, and the layout that there is, are timed over the whole batch
    schedule; what may overlap stays as it is. So the result is never slower than the scenario.
    """
    central = scenario.central()
    own = layout_in_use(central)
    best = with_layout(scenario, own)
    try:
        least_s = step_seconds(with_layout(central, own))
    except UserError:  # it does not fit
        least_s = np.inf
    for recompute in dict.fromkeys((scenario.training.recompute, "none", "selective", "full")):
        for layout in _fastest(recomputing(central, recompute), own, _TRIED):  # type: ignore[arg-type]
            try:
                time_s = step_seconds(with_layout(central, layout, recompute))
            except UserError:  # it fits the main batch alone
                continue
            if time_s < least_s:
                least_s, best = time_s, with_layout(scenario, layout, recompute)
    if not np.isfinite(least_s):
        choose_layout(central)  # raises, and says what would help
    return best


def fitted_layout(scenario: Scenario, own: Layout) -> Scenario:
    """Return the scenario with the fastest layout of the sizes of `own`, or of all where none of those fits.

    Experts are spread, and states sharded, as is fastest; for a lever that changes the model or the machine.
    """
    central = scenario.central()
    for sizes in (_SIZES, _SIZES[:3], ()):
        for layout in _fastest(central, own, 1, sizes):
            return with_layout(scenario, layout)
    choose_layout(central)  # raises, and says what would help
    raise AssertionError


def _fastest(scenario: Scenario, own: Layout, count: int, sizes: tuple[str, ...] = ()) -> Iterator[Layout]:
    """Yield the fastest layouts that fit, with the overlaps of `own`, and with its sizes where they are named."""
    cluster = scenario.cluster
    pack = layout_pack(own, cluster.accelerators, scenario.model.layers)
    rows = search(scenario).layouts
    place = {name: i for i, name in enumerate(LayoutPack._fields)}
    if own.schedule == "zero-bubble":
        rows[:, place["zero_bubble"]] = (rows[:, place["pipeline"]] > 1.0) & (rows[:, place["chunks"]] <= 1.0)
    for name in _KEPT:
        rows[:, place[name]] = getattr(pack, name)
    same = np.all([rows[:, place[name]] == getattr(pack, name) for name in sizes], axis=0) if sizes else np.ones(len(rows), bool)
    found = price_all(np.ascontiguousarray(rows[same]), packs(scenario, main_batch(scenario)),
                      cluster.accelerator.memory_bytes)
    order = np.argsort(found.times_s, kind="stable")
    for i in order[np.isfinite(found.times_s[order])][:count]:
        yield _with_settings(found.layouts[i], own)


def _with_settings(row: np.ndarray, own: Layout) -> Layout:
    """Return a row as a layout, with what is no size as in another."""
    layout = layout_of(row).model_copy(update={key: getattr(own, key) for key in _KEPT})
    bubbles = row[LayoutPack._fields.index("zero_bubble")] > 0.0
    return layout.model_copy(update={"schedule": "zero-bubble"}) if bubbles else layout

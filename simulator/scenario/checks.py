"""What pydantic cannot see in one field: rules between the sections of a scenario.

Every function raises `FieldError` with the field at fault, what was found and what is allowed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from simulator.errors import unknown_name
from simulator.fields import Distribution, file_key
from simulator.units import shorten

if TYPE_CHECKING:
    from simulator.scenario.models import Cluster, Scenario
    from simulator.scenario.training import Layout

_LARGEST_DIVISOR_TRIED = 100_000
_MOST_NODES = 2_000_000  # of a cluster, spares included: some 80 bytes each in every trial


class FieldError(ValueError):
    """A rule broken; `path` is the field at fault, relative to the record whose validator raised it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path: tuple[str, ...] = tuple(path.split(".")) if path else ()


def central(value: Any) -> float:
    """Return the number itself, or the central value of a distribution."""
    return value.central() if isinstance(value, Distribution) else float(value)


def nearest_divisors(number: int, found: int, count: int = 4) -> list[int]:
    """Return up to `count` divisors of `number`, those nearest to `found`, in rising order."""
    small = [d for d in range(1, min(math.isqrt(number), _LARGEST_DIVISOR_TRIED) + 1) if number % d == 0]
    divisors = {*small, *(number // d for d in small)}
    return sorted(sorted(divisors, key=lambda d: (abs(math.log(d / found)), d))[:count])


def nearest_multiples(step: int, found: int) -> list[int]:
    """Return the multiples of `step` just below and above `found` (one if the lower would be 0)."""
    low = found // step * step
    return [low, low + step] if low else [step]


def listed(numbers: list[int]) -> str:
    """Return numbers as a message shows them: "1, 2 or 4"."""
    words = [str(n) for n in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def check_nodes(accelerators: int, per_node: int) -> None:
    """Whole nodes only, once there is more than one."""
    if accelerators > per_node and accelerators % per_node:
        raise FieldError("accelerators", f"found {accelerators}; allowed: a multiple of the {per_node} accelerators "
                                         f"of a node, such as {listed(nearest_multiples(per_node, accelerators))}")


def check_size(cluster: Cluster) -> None:
    """No more nodes than a trial can hold, spares and repair crew included."""
    per_node = cluster.accelerator.accelerators_per_node
    sizes = {"accelerators": -(-cluster.accelerators // per_node), "spares": cluster.spares, "warm_spares": cluster.warm_spares,
             "cold_spares": cluster.cold_spares, "repair_crew": cluster.repair_crew,
             **{f"growth.{i}.accelerators": -(-step.accelerators // per_node) for i, step in enumerate(cluster.growth)}}
    for key, nodes in sizes.items():
        if nodes > _MOST_NODES:
            raise FieldError(key, f"found {nodes:,} nodes; allowed: at most {_MOST_NODES:,}")


def check_growth(cluster: Cluster) -> None:
    """Each extension adds whole nodes to what was there before it."""
    before, per_node = cluster.accelerators, cluster.accelerator.accelerators_per_node
    for i, step in sorted(enumerate(cluster.growth), key=lambda item: central(item[1].at_s)):
        path, found = f"growth.{i}.accelerators", step.accelerators
        if found <= before:
            raise FieldError(path, f"found {found}; allowed: more than the {before} before")
        if found % per_node:
            raise FieldError(path, f"found {found}; allowed: a multiple of the {per_node} accelerators of a node, such as "
                                   f"{listed(nearest_multiples(per_node, found))}")
        before = found


def check_power_limit(cluster: Cluster) -> None:
    """A power limit is above what an idle accelerator draws, and at most its TDP."""
    a = cluster.accelerator
    limit: Any = cluster.power_limit_w  # may be a distribution
    if limit is None:
        return
    if a.tdp_w is None or a.idle_power_w is None:
        raise FieldError("power_limit", f"found {central(limit):g} W; allowed: none, for the catalog lacks idle power or TDP of "
                                        f"{a.name}; give both inline")
    idle_w, tdp_w = central(a.idle_power_w), central(a.tdp_w)
    ends = limit.support() if isinstance(limit, Distribution) else (math.inf,)
    wrong = [w for w in (ends if math.isfinite(ends[-1]) else (central(limit),)) if not idle_w < w <= tdp_w]
    if wrong:
        raise FieldError("power_limit", f"found {wrong[0]:g} W; allowed: above the {idle_w:g} W of an idle {a.name} and at most "
                                        f"its TDP, {tdp_w:g} W")


def check_generation(name: str) -> None:
    """The accelerator's generation is in the catalog."""
    from simulator import catalog

    names = catalog.names("generations")
    if name not in names:
        raise FieldError("cluster.accelerator.generation", unknown_name("generation", name, names))


def check_scenario(scenario: Scenario) -> None:
    """All rules between sections, in the order in which a planner would set them."""
    from simulator.scenario.series import check_series

    for key, goal in scenario.goals:
        if isinstance(goal, Distribution):
            raise FieldError(f"goals.{file_key(key)}", f"found {goal!r}; allowed: one quantity (results have the distribution)")
    accelerator = scenario.cluster.accelerator
    check_series(scenario, scenario.calendar)
    check_generation(accelerator.generation)
    precision = scenario.training.precision
    if precision not in accelerator.peak_flops:
        raise FieldError("training.precision", f"found {precision!r}; allowed on {accelerator.name}: "
                                               f"{', '.join(accelerator.peak_flops)}")
    _check_offload(scenario)
    layout = scenario.training.layout
    if layout != "auto":
        _check_product(layout, scenario.cluster.accelerators, accelerator.accelerators_per_node)
        _check_grown(layout, scenario)
        _check_model(layout, scenario)
        _check_end_stages(layout, scenario.model.layers)
        _check_context(layout, scenario)
        _check_shard(layout, scenario.cluster.accelerators)
        _check_experts(layout, scenario)


def _check_offload(scenario: Scenario) -> None:
    training, accelerator = scenario.training, scenario.cluster.accelerator
    if accelerator.host_link_bandwidth_bytes_per_s is not None:
        return
    for key, value, none in (("activation_offload", training.activation_offload, "0"),
                             ("optimizer_offload", training.optimizer_offload, "false")):
        if value:
            raise FieldError(f"training.{key}", f"found {shorten(value)}, but {accelerator.name} has no "
                                                f"host_link_bandwidth; allowed: {none}, or an accelerator with a "
                                                "host_link_bandwidth such as '50 GB/s'")


def _check_product(layout: Layout, accelerators: int, per_node: int) -> None:
    replica = layout.tensor * layout.pipeline * layout.context
    shown = f"tensor {layout.tensor} x pipeline {layout.pipeline} x context {layout.context}"
    if layout.data and replica * layout.data != accelerators:
        fix = (f"data: {accelerators // replica}" if accelerators % replica == 0
               else f"a data that makes the product {accelerators}, which these do not divide")
        raise FieldError("training.layout.data", f"found {shown} x data {layout.data} = {replica * layout.data}, but "
                                                 f"cluster.accelerators is {accelerators}; allowed: {fix}")
    if accelerators % replica:
        step = math.lcm(replica, per_node) if replica > per_node or per_node % replica else replica
        multiples = listed(nearest_multiples(step, accelerators))
        raise FieldError("training.layout", f"found {shown} = {replica}, which does not divide cluster.accelerators "
                                            f"{accelerators}; allowed: {multiples} accelerators, or a layout whose "
                                            f"product is {listed(nearest_divisors(accelerators, replica))}")


def _check_grown(layout: Layout, scenario: Scenario) -> None:
    replica = layout.tensor * layout.pipeline * layout.context
    step = math.lcm(replica, scenario.cluster.accelerator.accelerators_per_node)
    for i, growth in enumerate(scenario.cluster.growth):
        if growth.accelerators % replica:
            raise FieldError(f"cluster.growth.{i}.accelerators",
                             f"found {growth.accelerators}, which is no multiple of the {replica} of a replica (tensor x "
                             f"pipeline x context); allowed: such as {listed(nearest_multiples(step, growth.accelerators))}")


def _check_model(layout: Layout, scenario: Scenario) -> None:
    heads, layers = scenario.model.heads, scenario.model.layers
    if heads % layout.tensor:
        raise FieldError("training.layout.tensor", f"found {layout.tensor}, which does not divide the model's {heads} "
                                                   f"heads; allowed: {listed(nearest_divisors(heads, layout.tensor))}")
    stages = layout.pipeline * layout.virtual_pipeline
    most = layers + 2 if layout.virtual_pipeline > 1 else layers  # the end chunks may hold embedding and head alone
    if stages > most:
        raise FieldError("training.layout.pipeline", f"found pipeline {layout.pipeline} x virtual_pipeline "
                                                     f"{layout.virtual_pipeline} = {stages} stages; allowed: at most "
                                                     f"{most}, for the model's {layers} layers")


def _check_end_stages(layout: Layout, layers: int) -> None:
    first, last = layout.end_stages
    if not first:
        return
    middle = layout.pipeline - 2
    rest = layers - first - last
    if rest == 0 if middle == 0 else rest >= middle and rest % middle == 0:
        return
    key = "first_stage_layers" if layout.first_stage_layers else "last_stage_layers"
    ends = f"{first} layers in the first and {last} in the last stage"
    if middle == 0:
        raise FieldError(f"training.layout.{key}", f"found {ends} of pipeline 2; allowed: two that add up to the model's "
                                                   f"{layers} layers")
    low, high = 2 + (layers - 2) % middle, layers - middle
    below = min(max((first + last - low) // middle * middle + low, low), high)
    sums = [total for total in (below, below + middle) if total <= high]
    raise FieldError(f"training.layout.{key}", f"found {ends}, which leave {rest} of the model's {layers} layers to "
                                               f"{middle} middle stages of equal length; allowed: two that add up to "
                                               f"{listed(sums)}")


def _check_context(layout: Layout, scenario: Scenario) -> None:
    for phase in scenario.training.batch_schedule:
        if phase.sequence % layout.context:
            raise FieldError("training.layout.context",
                             f"found {layout.context}, which does not divide the sequence {phase.sequence}; allowed: "
                             f"{listed(nearest_divisors(phase.sequence, layout.context))}")
    heads = scenario.model.heads // layout.tensor
    if layout.context_method == "ulysses" and heads % layout.context:
        raise FieldError("training.layout.context",
                         f"found {layout.context} with context_method 'ulysses', which does not divide the {heads} heads "
                         f"of a tensor rank; allowed: {listed(nearest_divisors(heads, layout.context))}, or another "
                         "context_method")


def _check_shard(layout: Layout, accelerators: int) -> None:
    pool = accelerators // (layout.tensor * layout.pipeline)
    if layout.shard and pool % layout.shard:
        raise FieldError("training.layout.shard",
                         f"found {layout.shard}, which does not divide the {pool} ranks of data x context; allowed: 0 for "
                         f"all, or {listed(nearest_divisors(pool, layout.shard))}")


def _check_experts(layout: Layout, scenario: Scenario) -> None:
    if layout.expert == 1:
        return
    if scenario.model.mixture_of_experts is None:
        raise FieldError("training.layout.expert", f"found {layout.expert}; allowed: 1, as {scenario.model.name} has no "
                                                   "mixture of experts")
    experts = scenario.model.mixture_of_experts.experts
    pool = scenario.cluster.accelerators // layout.pipeline
    if experts % layout.expert or pool % layout.expert:
        allowed = listed(nearest_divisors(math.gcd(experts, pool), layout.expert))
        raise FieldError("training.layout.expert",
                         f"found {layout.expert}; allowed: a divisor of both the model's {experts} experts and the "
                         f"{pool} accelerators of tensor x context x data, such as {allowed}")

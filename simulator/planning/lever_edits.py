"""Efficiency levers as changes of a scenario: of the workload by published ratios, of the rest by what the model finds best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from simulator import catalog
from simulator.accounting import State
from simulator.catalog.records import AcceleratorRecord, MixtureOfExperts, ModelRecord
from simulator.cluster import plan_run
from simulator.cluster.orders import LIMITS
from simulator.errors import UserError
from simulator.fields import Distribution
from simulator.performance.search import describe
from simulator.planning.alternatives import at_site, with_calendar
from simulator.planning.lever_layouts import fastest_layout, fitted_layout, layout_in_use, step_seconds
from simulator.scenario import Scenario
from simulator.scenario.checks import central
from simulator.scenario.edits import edited
from simulator.scenario.pricing import Rental
from simulator.scenario.series import Series, steps
from simulator.units import format_quantity
from simulator.workload import parameters

Number = float | Distribution
_GRAMS_PER_KWH = 3.6e9  # of 1 kg/J
_EXPERTS, _EXPERTS_PER_TOKEN = 64, 8  # of OLMoE, arXiv:2409.02060, whose gain is one of those cited below (FROM MEMORY)
_SPARSE_UNITS = ("ampere", "hopper", "blackwell", "cdna3", "cdna4")  # that multiply 2:4 sparse matrices (FROM MEMORY)
_NEWER = 1.2  # times the peak in 16 bits, at least, of what counts as newer hardware


@dataclass(frozen=True)
class Assumed:
    """What levers take for granted: a site by name (empty: the cleanest), and numbers by name, see `ASSUMPTIONS`."""

    numbers: Mapping[str, Number]
    site: str = ""


Changed = tuple[Scenario, str]  # what came of it, and what was done


def _with(scenario: Scenario, section: str, **update: object) -> Scenario:
    return scenario.model_copy(update={section: getattr(scenario, section).model_copy(update=update)})


def scaled(value: Number, factor: float) -> Number:
    """Return a number or a distribution times a positive factor."""
    if not isinstance(value, Distribution):
        return value * factor
    plain = {"lognormal": (1,), "beta_pert": (3,), "beta": (0, 1)}.get(value.name, ())  # parameters without a unit
    parameters_ = tuple(p if i in plain else p * factor for i, p in enumerate(value.parameters))
    cut = None if value.cut is None else (value.cut[0] * factor, value.cut[1] * factor)
    return Distribution(value.name, parameters_, value.kind, value.low, value.aleatory, value.high, weights=value.weights,
                        cut=cut)


def with_work(scenario: Scenario, share: Number) -> Scenario:
    """Return the scenario with a share of its tokens, and of the tokens at which batches change.

    Lognormal shares multiply as if they were independent: the product is lognormal again. Raises UserError where a share that
    is not known meets tokens that are not known otherwise.
    """
    training = scenario.training
    tokens: Number = training.tokens
    if not isinstance(share, Distribution):
        tokens = scaled(tokens, share)
    elif share.name != "lognormal" or (isinstance(tokens, Distribution) and tokens.name != "lognormal"):
        raise UserError(f"found tokens {tokens} times {share}; allowed: lognormal distributions, or one of the two a number")
    else:
        median, sigma = share.parameters
        before, spread = tokens.parameters if isinstance(tokens, Distribution) else (tokens, 0.0)
        tokens = Distribution("lognormal", (before * median, math.hypot(sigma, spread)), "count", 1.0, False, 1e18)
    middle = central(share)
    phases = tuple(phase if phase.until is None else phase.model_copy(update={"until": scaled(phase.until, middle)})
                   for phase in training.batch_schedule)
    return _with(scenario, "training", tokens=tokens, batch_schedule=phases)


def narrower(model: ModelRecord, share: float) -> ModelRecord:
    """Return a model with about a share of the parameters: hidden and feed-forward width pruned, layers and heads kept."""
    step, target = 64, share * parameters(model).total
    head_dim = model.head_dim or model.hidden // model.heads

    def shape(hidden: int) -> ModelRecord:
        def width(full: int) -> int:
            return max(step, round(full * hidden / model.hidden / step) * step) if full else 0

        moe = model.mixture_of_experts
        experts = moe and moe.model_copy(update={"expert_hidden": width(moe.expert_hidden),
                                                 "shared_hidden": width(moe.shared_hidden)})
        return model.model_copy(update={
            "name": f"{model.name} pruned to {hidden} wide", "hidden": hidden, "head_dim": head_dim,
            "ffn_hidden": width(model.ffn_hidden), "mixture_of_experts": experts, "published_parameters": None,
            "published_active_parameters": None})

    shapes = [shape(hidden) for hidden in range(step, model.hidden + 1, step)] or [shape(model.hidden)]
    return min(shapes, key=lambda one: abs(parameters(one).total - target))


def distil(scenario: Scenario, assumed: Assumed) -> Changed:
    """A narrower student, less work for each of its parameters, the teacher's logits among it."""
    student = narrower(scenario.model, central(assumed.numbers["student-size"]))
    own = layout_in_use(scenario.central())
    changed = with_work(scenario.model_copy(update={"model": student}), assumed.numbers["student-work"])
    said = (f"student of {_billions(parameters(student).total)} parameters for {_billions(parameters(scenario.model).total)}, "
            f"{central(assumed.numbers['student-work']):.2f} of the tokens with the teacher's logits")
    return fitted_layout(changed, own), said


def route(scenario: Scenario, assumed: Assumed) -> Changed:
    """Experts in place of every feed-forward layer, as many active parameters, fewer tokens for the same loss."""
    model = scenario.model
    if model.mixture_of_experts is not None:
        raise UserError(f"{model.name} is a mixture of experts already")
    moe = MixtureOfExperts(layers=model.layers, experts=_EXPERTS, experts_per_token=_EXPERTS_PER_TOKEN,
                           expert_hidden=-(-model.ffn_hidden // _EXPERTS_PER_TOKEN))
    routed = model.model_copy(update={"name": f"{model.name} with {_EXPERTS} experts", "mixture_of_experts": moe,
                                      "published_parameters": None, "published_active_parameters": None})
    own = layout_in_use(scenario.central())
    changed = fitted_layout(with_work(scenario.model_copy(update={"model": routed}), assumed.numbers["moe-work"]), own)
    sizes, work = parameters(routed), central(assumed.numbers["moe-work"])
    return changed, (f"{_EXPERTS} experts, {_EXPERTS_PER_TOKEN} a token, {_billions(sizes.total)} parameters of which "
                     f"{_billions(sizes.active)} are active; {work:.2f} of the tokens; expert: {layout_in_use(changed).expert}")


def _billions(count: float) -> str:
    return f"{count / 1e9:,.0f} B" if count >= 1e11 else f"{count / 1e9:.3g} B"


def sparsify(scenario: Scenario, assumed: Assumed) -> Changed:
    """2:4 sparse weights in the feed-forward layers while training; steps that take less time, counted as fewer tokens."""
    accelerator = scenario.cluster.accelerator
    if accelerator.generation not in _SPARSE_UNITS:
        raise UserError(f"{accelerator.name} has no units for 2:4 sparse matrices")
    share = assumed.numbers["sparse-work"]
    return with_work(scenario, share), f"{central(share):.2f} of the time, counted as that share of the tokens"


def lower_precision(scenario: Scenario, assumed: Assumed) -> Changed:
    """fp8 in place of 16 bits where the accelerator has it; bf16 in place of 32 bits where it has not."""
    now, peaks = scenario.training.precision, scenario.cluster.accelerator.peak_flops
    if now in ("fp8", "fp4"):
        raise UserError(f"the run is in {now} already")
    to = "fp8" if "fp8" in peaks else "bf16" if "bf16" in peaks and now in ("fp32", "tf32") else ""
    if not to or central(peaks[to]) <= central(peaks[now]):  # type: ignore[index]
        raise UserError(f"{scenario.cluster.accelerator.name} has no fp8, and nothing faster than {now}")
    scaling = {"scaling": "blockwise"} if to == "fp8" else {}  # of DeepSeek-V3, whose loss is cited
    return _with(scenario, "training", precision=to, **scaling), f"{now} -> {to}" + (", scaled by blocks" if scaling else "")


def better_layout(scenario: Scenario, assumed: Assumed) -> Changed:
    """The layout and the recomputation with the shortest steps."""
    if scenario.training.layout == "auto":
        raise UserError("the layout is auto: it is the fastest at every step of this study")
    found = fastest_layout(scenario)
    if found.training == scenario.training:
        raise UserError("the layout is the fastest that the search finds")
    saved = 1.0 - step_seconds(found.central()) / _seconds_or_inf(scenario)
    layout = describe(layout_in_use(found))
    return found, f"{layout}, recompute {found.training.recompute}: steps take {saved:.1%} less time"


def _seconds_or_inf(scenario: Scenario) -> float:
    try:
        return step_seconds(scenario.central())
    except UserError:
        return math.inf


def successor(accelerator: AcceleratorRecord) -> AcceleratorRecord:
    """Return the next generation of the vendor in the catalog: the earliest later year with a fifth more peak in 16 bits.

    Of several: nodes of the same size, a known price, the highest peak, the most memory. Raises UserError where there is none
    whose power is known.
    """
    def peak(a: AcceleratorRecord) -> float:
        return central(a.peak_flops.get("bf16") or a.peak_flops.get("fp16") or 0.0)

    records = [catalog.load("accelerators", name) for name in catalog.names("accelerators")]
    newer = [a for a in records if a.vendor == accelerator.vendor and a.vendor and (a.year or 0) > (accelerator.year or math.inf)
             and peak(a) > _NEWER * peak(accelerator) and None not in (a.tdp_w, a.idle_power_w, a.host_power_w)]
    if not newer:
        raise UserError(f"the catalog has no newer accelerator of {accelerator.vendor or 'an unknown vendor'} than "
                        f"{accelerator.name} whose power is known")
    return min(newer, key=lambda a: (a.year, a.accelerators_per_node != accelerator.accelerators_per_node, a.price_usd is None,
                                     -peak(a), -a.memory_bytes, a.name))


def newer_hardware(scenario: Scenario, assumed: Assumed) -> Changed:
    """As many accelerators of the next generation, at a rent that follows their purchase prices where the catalog has no rent."""
    cluster, pricing = scenario.cluster, scenario.pricing
    old, new = cluster.accelerator, successor(cluster.accelerator)
    said = f"as many {new.name} for {old.name}"
    limit: Number | None = cluster.power_limit_w
    if limit is not None:
        assert new.tdp_w is not None and old.tdp_w is not None
        limit = scaled(limit, central(new.tdp_w) / central(old.tdp_w))
    if pricing.rental is not None:
        rental, rent = _rent(pricing.rental, old, new)
        pricing, said = pricing.model_copy(update={"rental": rental}), said + rent
    elif pricing.owned is not None:
        if new.price_usd is None:
            raise UserError(f"the catalog has no purchase price of {new.name}")
        pricing = pricing.model_copy(update={"owned": pricing.owned.model_copy(update={"accelerator_price_usd": None})})
        said += f" at {central(new.price_usd):,.0f} USD"
    own = layout_in_use(scenario.central())
    changed = _with(scenario, "cluster", accelerator=new, power_limit_w=limit).model_copy(update={"pricing": pricing})
    return fitted_layout(changed, own) if math.isinf(_seconds_or_inf(changed)) else changed, said


def _rent(rental: Rental, old: AcceleratorRecord, new: AcceleratorRecord) -> tuple[Rental, str]:
    """Return the terms of rent of the newer accelerator, and what was done."""
    names = [price for _, _, price, _ in rental.terms() if isinstance(price, str)]
    if len(names) == len(rental.terms()) and all(getattr(new, f"{n}_usd_per_accelerator_s") is not None for n in names):
        return rental, ", at its rent in the catalog"
    if new.price_usd is None or old.price_usd is None:
        raise UserError(f"the catalog has neither rent nor purchase prices of {old.name} and {new.name}")
    ratio = central(new.price_usd) / central(old.price_usd)
    prices = [price.model_copy(update={"scale": scaled(price.scale, ratio)}) if isinstance(price, Series)
              else scaled(price, ratio) for _, price, _ in rental.parts_for(old)]
    said = f", at {ratio:.2f} times the rent as purchase prices have it"
    if not rental.parts:
        return rental.model_copy(update={"price_usd_per_accelerator_s": prices[0]}), said
    parts = tuple(part.model_copy(update={"price_usd_per_accelerator_s": price})
                  for part, price in zip(rental.parts, prices, strict=True))
    return rental.model_copy(update={"parts": parts}), said


def cap_power(scenario: Scenario, assumed: Assumed) -> Changed:
    """A power limit of every accelerator: as given, or the one with which the run's steps take least energy."""
    accelerator, given = scenario.cluster.accelerator, assumed.numbers.get("power-limit")
    if accelerator.tdp_w is None or accelerator.idle_power_w is None or accelerator.host_power_w is None:
        raise UserError(f"the catalog lacks the power of {accelerator.name}")
    tdp_w = central(accelerator.tdp_w)
    now_w = tdp_w if scenario.cluster.power_limit_w is None else central(scenario.cluster.power_limit_w)
    if given is not None:
        limit_w = central(given) * tdp_w
        if limit_w >= now_w:
            raise UserError(f"the limit is {now_w:g} W already")
    else:
        limits = [share * tdp_w for share in LIMITS if central(accelerator.idle_power_w) < share * tdp_w < now_w]
        limit_w = min([now_w, *limits], key=lambda w: _energy_j(scenario, w))
        if limit_w == now_w:
            raise UserError(f"no limit below {now_w:g} W takes less energy: what a second takes anyway outweighs it")
    slower = step_seconds(_limited(scenario, limit_w).central()) / step_seconds(scenario.central()) - 1.0
    return _limited(scenario, limit_w), f"{limit_w:g} W, {limit_w / tdp_w:.0%} of TDP; steps take {slower:.1%} longer"


def _limited(scenario: Scenario, limit_w: float) -> Scenario:
    return _with(scenario, "cluster", power_limit_w=limit_w)


def _energy_j(scenario: Scenario, limit_w: float) -> float:
    """Return IT energy of all steps with a power limit, spares included, J; no failures."""
    free = scenario.facility.model_copy(update={"power_cap_w": None, "oversubscription": 0.0, "curtailment": ()})
    cluster = scenario.cluster.model_copy(update={"power_limit_w": limit_w, "growth": ()})
    plan = plan_run(scenario.model_copy(update={"cluster": cluster, "facility": free, "policies": ()}).central())
    watts = plan.rates.it_w[:, State.PRODUCTIVE].sum(axis=0) + plan.spare_nodes[0] * plan.rates.spare_node_w
    return float(watts * plan.step_s @ np.diff(plan.first_step))


def intensity_at(scenario: Scenario) -> float | Distribution | Series | None:
    """Return the carbon intensity of the place, kg/J: the scenario's own, else the site's."""
    own = scenario.carbon.intensity_kgco2e_per_j
    if own is not None:
        return own
    return scenario.facility.site.carbon_intensity_kgco2e_per_j if scenario.facility.site else None


def cleaner_site(scenario: Scenario, assumed: Assumed) -> Changed:
    """Another site of the catalog: the given one, or the one with the least carbon for a joule of IT."""
    name = assumed.site or min(catalog.names("sites"), key=lambda one: _carbon_at(scenario, one))
    now = intensity_at(scenario)
    if now is None:
        raise UserError("the carbon intensity of the scenario's own place is not known")
    intensity = _mean_intensity(scenario, now)
    site = catalog.load("sites", name)
    if site.carbon_intensity_kgco2e_per_j is None:
        raise UserError(f"the carbon intensity of {name} is not known")
    if not assumed.site and _carbon_at(scenario, name) >= intensity * central(scenario.facility.effective_pue or 1.0):
        raise UserError("the scenario stands at the cleanest site of the catalog already")
    moved = at_site(scenario, name)
    there = central(site.carbon_intensity_kgco2e_per_j)
    kept = ""
    pays = scenario.pricing.owned is not None or scenario.pricing.electricity is not None
    if pays and site.electricity_usd_per_j is None and scenario.facility.site is not None:
        price = scenario.facility.site.electricity_usd_per_j
        moved = _with(moved, "facility", site=site.model_copy(update={"electricity_usd_per_j": price}))
        kept = "; its price of electricity is not known, the old one is kept"
    return moved, f"{name}: {there * _GRAMS_PER_KWH:.3g} gCO2e/kWh for {intensity * _GRAMS_PER_KWH:.3g}{kept}"


def _carbon_at(scenario: Scenario, name: str) -> float:
    """Return carbon for a joule of IT at a site, kg; infinite where it is not known. Without a PUE it keeps the scenario's."""
    site, facility = catalog.load("sites", name), scenario.facility
    if site.carbon_intensity_kgco2e_per_j is None:
        return math.inf
    own = facility.effective_pue or 1.0
    return central(site.carbon_intensity_kgco2e_per_j) * central(own if facility.overheads or site.pue is None else site.pue)


def _mean_intensity(scenario: Scenario, now: float | Distribution | Series) -> float:
    if not isinstance(now, Series):
        return central(now)
    times_s, values, until_s = _hours(scenario, now)
    return float(values @ np.diff(times_s, append=until_s) / (until_s - times_s[0]))


def _hours(scenario: Scenario, series: Series) -> tuple[np.ndarray, np.ndarray, float]:
    """Return when values begin (s), the values, and when the last ends, over the time of all steps."""
    assert scenario.calendar is not None
    until_s = max(step_seconds(scenario.central()), 86400.0)
    times_s, values = steps(series, scenario.calendar, until_s)
    return np.maximum(times_s, 0.0), values, until_s


def with_hours(scenario: Scenario, swing: float) -> Scenario:
    """Return the scenario with carbon by the hour, a cosine a day around its one value, highest at 20 h; else as it is."""
    intensity = intensity_at(scenario)
    if not isinstance(intensity, float) or swing == 0.0:
        return scenario
    day = {"mean": format_quantity(intensity, "carbon_per_energy"), "day_swing": swing, "peak_hour": 20}
    return edited(with_calendar(scenario), {"carbon.intensity": {"synthetic": day}}, "levers")


def follow_carbon(scenario: Scenario, assumed: Assumed) -> Changed:
    """A rule: in the hours with the most carbon the run is slowed."""
    intensity = intensity_at(scenario)
    if any(policy.carbon_above_kgco2e_per_j is not None for policy in scenario.policies):
        raise UserError("the scenario has a rule on carbon already")
    if not isinstance(intensity, Series):
        raise UserError("carbon does not change with the hour, or is not known, at this place")
    times_s, values, until_s = _hours(scenario, intensity)
    widths, order = np.diff(times_s, append=until_s), np.argsort(values, kind="stable")
    reach = np.cumsum(widths[order]) / widths.sum()
    share, to = (central(assumed.numbers[name]) for name in ("dirtiest", "slow-to"))
    above = float(values[order][min(int(np.searchsorted(reach, 1.0 - share)), order.size - 1)])
    if above >= values.max():
        raise UserError("carbon does not change with the hour at this place")
    rule = {"carbon_above": format_quantity(above, "carbon_per_energy"), "action": "slow", "to": to}
    policies = [*(policy.to_file() for policy in scenario.policies), rule]
    return edited(scenario, {"policies": policies}, "levers"), (f"slowed to {to:.0%} of full power above "
                                                                 f"{above * _GRAMS_PER_KWH:.3g} gCO2e/kWh")


PULLS: dict[str, Callable[[Scenario, Assumed], Changed]] = {  # in the order in which they change a scenario
    "distillation": distil, "experts": route, "hardware": newer_hardware, "precision": lower_precision, "sparsity": sparsify,
    "layout": better_layout, "power": cap_power, "site": cleaner_site, "schedule": follow_carbon,
}

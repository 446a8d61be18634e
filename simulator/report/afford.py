"""Answers to inverse questions on the terminal and as JSON: what a sum pays for, and what a date asks for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator.accounting.dollars import stated_in
from simulator.performance.search import describe
from simulator.planning.budget import Afford, Choice, Spread, afford, choose, spread_of
from simulator.planning.costs import Costs
from simulator.planning.deadline import DeadlineChoice, Tried
from simulator.planning.families import short
from simulator.planning.scaling import LAWS, beyond_fit, read_law
from simulator.planning.served import UTILISATION, Served, Serving, served, serving_price
from simulator.report.tables import plain_table
from simulator.scenario import Layout, Scenario
from simulator.workload import parameters

_DAY, _MWH = 86400.0, 3.6e9


@dataclass(frozen=True)
class BudgetAnswer:
    """All that `plan --budget` found: a choice by each law, the main one first."""

    scenario: Scenario
    budget_usd: float
    choices: tuple[Choice, ...]
    spread: Spread
    serving: Serving | None = None
    served: Served | None = None
    afford: Afford | None = None


def budget_answer(scenario: Scenario, budget_usd: float, law: str | Path | None = None, *, tokens_served: float | None = None,
                  usd_per_token_parameter: float | None = None, annual_usd: float | None = None) -> BudgetAnswer:
    """Return what a sum pays for, by each law of the catalog.

    Parameters
    ----------
    scenario : Scenario
        Its distributions open: its cluster, recipe and prices; its model is the style of the family.
    budget_usd : float
    law : str or path, optional
        A law of the catalog, or one's own in a file, which then leads.
    tokens_served : float, optional
        Over the life of the model: also the model that is least in training and serving.
    usd_per_token_parameter : float, optional
        Of serving, instead of the estimate.
    annual_usd : float, optional
        The share of it that the run takes, and what shares of it pay for.
    """
    laws = [*([read_law(law)] if law is not None else []), *(read_law(name) for name in LAWS)]
    laws = list({one.name: one for one in reversed(laws)}.values())[::-1]
    costs = Costs(scenario)
    choices = tuple(choose(costs, one, budget_usd) for one in laws)
    serving = None
    if tokens_served is not None:
        price = usd_per_token_parameter
        serving = Serving(tokens_served, serving_price(costs.central) if price is None else price, price is None)
    return BudgetAnswer(
        scenario, budget_usd, choices, spread_of(costs, laws[0], choices[0], budget_usd), serving,
        None if serving is None else served(costs, laws[0], choices[0], budget_usd, serving),
        None if annual_usd is None else afford(costs, laws[0], choices[0], annual_usd))


def budget_json(answer: BudgetAnswer) -> dict[str, Any]:
    """Return the answer in SI, ready for JSON."""
    best = answer.choices[0]
    within = sum(best.columns["cost_usd"] <= answer.budget_usd) / best.columns["cost_usd"].size
    found: dict[str, Any] = {
        "budget_usd": answer.budget_usd, "dollars": stated_in(answer.scenario),
        "choices": [_choice_json(choice) for choice in answer.choices],
        "chosen": {"scenario": best.scenario.to_file(), "p_within_budget": within,
                   **{f"{name}_p5_p50_p95": list(best.range(name)) for name in ("cost_usd", "time_s", "energy_j")}},
        "range_p5_p50_p95": {key: list(values) for key, values in asdict(answer.spread).items()},
    }
    if answer.serving is not None and answer.served is not None:
        models = {name: getattr(answer.served, name) for name in ("optimal", "same_loss", "within_budget")}
        found["serving"] = {**asdict(answer.serving), "models": {name: choice and _choice_json(choice)
                                                                 for name, choice in models.items()}}
    if answer.afford is not None:
        found["afford"] = {**asdict(answer.afford), "models": [
            {"share": share, "model": choice and _choice_json(choice)} for share, choice in answer.afford.models]}
    return found


def _choice_json(choice: Choice) -> dict[str, Any]:
    carbon_kg = choice.mean("carbon_kg")
    return {"law": choice.law.name, "parameters": choice.parameters, "tokens": choice.tokens, "loss": choice.loss,
            "steps": choice.steps, **{name: choice.mean(name) for name in ("mfu", "time_s", "energy_j")},
            "carbon_kg": None if math.isnan(carbon_kg) else carbon_kg, "training_usd": choice.training_usd,
            "serving_usd": choice.serving_usd, "layers": choice.scenario.model.layers, "hidden": choice.scenario.model.hidden,
            "bound": choice.bound or None}


def budget_view(answer: BudgetAnswer) -> Group:
    """Return the answer as tables and lines."""
    cluster = answer.scenario.cluster
    best = answer.choices[0]
    year = stated_in(answer.scenario)
    title = (f"Compute-optimal parameters and tokens for {answer.budget_usd:,.0f} USD{f' of {year}' if year else ''} on "
             f"{cluster.accelerators:,} x {cluster.accelerator.name}")
    table = _choices_table(title, "law")
    for choice in answer.choices:
        table.add_row(choice.law.name, *_cells(choice))
    parts: list[Table | Text] = [table, Text("")]
    parts += [Text(line) for line in (*_shape_lines(best), *_range_lines(answer))]
    parts += [Text(f"warning: {choice.law.name} at {what}", style="yellow")
              for choice in answer.choices[:1] for what in beyond_fit(choice.law, choice.parameters, choice.tokens)]
    if answer.served is not None and answer.serving is not None:
        parts += [Text(""), *_served_parts(answer.served, answer.serving)]
    if answer.afford is not None:
        parts += [Text(""), *_afford_parts(answer.afford)]
    return Group(*parts)


def _choices_table(title: str, first: str, *more: str) -> Table:
    return plain_table(title, first, "size", "tokens", "each", "loss", "MFU", "days", "MWh", "USD", *more)


def _mwh(energy_j: float) -> str:
    return f"{energy_j / _MWH:,.0f}" if energy_j >= 1000.0 * _MWH else f"{energy_j / _MWH:,.4g}"


def _cells(choice: Choice) -> tuple[str, ...]:
    return (short(choice.parameters), short(choice.tokens), f"{choice.tokens / choice.parameters:.3g}", f"{choice.loss:.3f}",
            f"{choice.mean('mfu'):.1%}", f"{choice.mean('time_s') / _DAY:,.3g}", _mwh(choice.mean("energy_j")),
            f"{choice.training_usd:,.0f}")


def _shape_lines(choice: Choice) -> list[str]:
    model, training = choice.scenario.model, choice.scenario.training
    layout = training.layout
    lines = [f"By {choice.law.name}: {short(parameters(model).total)} parameters in {model.layers} layers of {model.hidden:,}, "
             f"{model.heads} heads, feed-forward {model.ffn_hidden:,}, vocabulary {model.vocabulary:,}; {choice.steps:,} steps"]
    if isinstance(layout, Layout):
        lines.append(f"layout: {describe(layout)}, recompute: {training.recompute}")
    return lines + ([f"Not larger because {choice.bound}"] if choice.bound else [])


def _range_lines(answer: BudgetAnswer) -> list[str]:
    best, spread = answer.choices[0], answer.spread
    cost, days = best.range("cost_usd"), [value / _DAY for value in best.range("time_s")]
    within = float((best.columns["cost_usd"] <= answer.budget_usd).mean())
    return [f"This run costs {cost[0]:,.0f} to {cost[2]:,.0f} USD (P5 to P95), {within:.0%} within the budget; "
            f"{days[0]:,.3g} to {days[2]:,.3g} days",
            f"What the budget pays for, P5 to P95: {short(spread.parameters[0])} to {short(spread.parameters[2])} parameters, "
            f"{short(spread.tokens[0])} to {short(spread.tokens[2])} tokens, loss {spread.loss[0]:.3f} to {spread.loss[2]:.3f}"]


def _served_parts(served: Served, serving: Serving) -> list[Table | Text]:
    price = serving.usd_per_token_parameter * 1e15
    title = f"With {short(serving.tokens)} tokens served: least sum at the same loss, least loss in the budget"
    table = _choices_table(title, "", "serve", "sum")
    for label, choice in (("optimal", served.optimal), ("same loss", served.same_loss),
                          ("in budget", served.within_budget)):
        if choice is None:
            table.add_row(label, "-")
        else:
            table.add_row(label, *_cells(choice), f"{choice.serving_usd:,.0f}", f"{choice.total_usd:,.0f}")
    saved = 1.0 - served.same_loss.total_usd / served.optimal.total_usd
    how = (f"an estimate: 2 FLOPs a parameter and token at {UTILISATION:.0%} of peak, on the accelerators of training"
           if serving.estimated else "as given")
    lines = [f"A smaller model on more tokens saves {saved:.1%} of training and serving at the same loss",
             f"Serving at {price:.3g} USD a million tokens and billion parameters: {how}"]
    if served.within_budget is None:
        lines.append("Serving so many tokens leaves too little of the budget to train with")
    return [table, *(Text(line) for line in lines)]


def _afford_parts(afford: Afford) -> list[Table | Text]:
    table = _choices_table(f"Compute-optimal for shares of {afford.annual_usd:,.0f} USD a year", "share")
    for share, choice in afford.models:
        table.add_row(f"{share:.0%}", *(_cells(choice) if choice is not None else ("too little",)))
    return [Text(f"The run takes {afford.share:.3g} of a year's {afford.annual_usd:,.0f} USD" if afford.share >= 1.0 else
                 f"The run takes {afford.share:.1%} of a year's {afford.annual_usd:,.0f} USD"),
            Text(f"Such runs in a year: {afford.runs_by_money:,.3g} by money, {afford.runs_by_time:,.3g} one after another"),
            Text(""), table]


def deadline_json(choice: DeadlineChoice) -> dict[str, Any]:
    """Return the answer in SI, ready for JSON; what is unknown is null."""
    return {"deadline_s": choice.deadline_s, "chance": choice.chance, "tried": [_tried_json(one) for one in choice.tried],
            "smallest": choice.smallest.fit.accelerators, "cheapest": choice.cheapest.fit.accelerators,
            "scenario": choice.smallest.scenario.to_file()}


def _tried_json(one: Tried) -> dict[str, Any]:
    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {"accelerators": one.fit.accelerators, "p_deadline": one.chance, "layout": one.fit.layout.to_file(),
            "step_mfu": one.fit.mfu,
            "time_s": {f"p{round(100 * q)}": known(one.quantile("time_s", q)) for q in (0.05, 0.5, 0.95)},
            "cost_usd": known(one.mean("cost_usd")), "energy_j": known(one.mean("energy_j")), "problem": one.problem or None}


def deadline_view(scenario: Scenario, choice: DeadlineChoice) -> Group:
    """Return the sizes that were tried as a table, and the two that were chosen."""
    table = plain_table(f"{scenario.name} in {choice.deadline_s / _DAY:,.3g} days: sizes of {scenario.cluster.accelerator.name} "
                        f"tried, up to {choice.smallest.columns['time_s'].size} trials each",
                        "accelerators", "P(deadline)", "95 %", "days P50", "P95", "step MFU", "MWh", "USD", "TP x PP x DP", "")
    for one in choice.tried:
        layout = one.fit.layout
        marks = [word for word, which in (("smallest", choice.smallest), ("cheapest", choice.cheapest)) if which is one]
        table.add_row(f"{one.fit.accelerators:,}", f"{one.chance['probability']:.1%}",
                      f"{one.chance['low']:.0%} to {one.chance['high']:.0%}",
                      *(f"{one.quantile('time_s', q) / _DAY:,.4g}" for q in (0.5, 0.95)), f"{one.fit.mfu:.1%}",
                      _mwh(one.mean("energy_j")), f"{one.mean('cost_usd'):,.0f}",
                      f"{layout.tensor} x {layout.pipeline} x {layout.data}", ", ".join(marks))
    lines = [f"{label}: {one.fit.accelerators:,} accelerators finish in time with a chance of {one.chance['probability']:.0%}, "
             f"for {one.mean('cost_usd'):,.0f} USD on average"
             for label, one in (("Smallest", choice.smallest), ("Cheapest", choice.cheapest))]
    return Group(table, Text(""), *(Text(line) for line in lines), Text(f"layout: {describe(choice.smallest.fit.layout)}"))

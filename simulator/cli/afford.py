"""Inverse questions of `plan`: what a budget pays for (`--budget`), what a date asks for (`--deadline`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.cli.app import print_json
from simulator.errors import UserError

if TYPE_CHECKING:
    from simulator.scenario import Scenario


def read_money(text: str, option: str) -> float:
    """Return USD of "5M", "5 M USD", "5M USD/year" or "250000"; raise UserError for anything else, and for nothing."""
    from simulator.units import QuantityError, parse_quantity

    plain = text.strip().removesuffix("/year").removeprefix("$").strip()
    try:
        usd = parse_quantity(plain if plain.endswith("USD") else f"{plain} USD", "money")
    except QuantityError:
        usd = 0.0
    if not usd > 0.0:
        raise UserError(f"{option}: found {text!r}; allowed: an amount of US dollars above zero, such as '5M' or '120 M USD'")
    return usd


def _read(text: str, kind: str, option: str, example: str) -> float:
    """Return a quantity above zero, SI."""
    from simulator.units import QuantityError, parse_quantity

    try:
        found = parse_quantity(text, kind)
    except QuantityError:
        found = 0.0
    if not found > 0.0:
        raise UserError(f"{option}: found {text!r}; allowed: more than zero, such as {example!r}")
    return found


def plan_budget(scenario: Scenario, budget: str, *, law: Path | None = None, tokens_served: str | None = None,
                serving_price: str | None = None, annual_budget: str | None = None, output: Path | None = None,
                as_json: bool = False) -> None:
    """Print the largest compute-optimal model and tokens for a sum, and write its scenario.

    Parameters
    ----------
    scenario : Scenario
        As loaded, its distributions open: its cluster, recipe and prices; its model is the style of the family.
    budget : str
        "5M", "5 M USD".
    law : path, optional
        A law of one's own, which then leads: a name of the catalog or a YAML file.
    tokens_served : str, optional
        Over the life of the model, "10 T": also the model that is least in training and serving.
    serving_price : str, optional
        USD of a million tokens and billion parameters, instead of the estimate.
    annual_budget : str, optional
        "20M": the share of it that the run takes, and what shares of it pay for.
    output : path, optional
        Scenario file of the chosen run.
    """
    from simulator.report.afford import budget_answer, budget_json, budget_view

    usd = read_money(budget, "--budget")
    annual_usd = None if annual_budget is None else read_money(annual_budget, "--annual-budget")
    tokens = None if tokens_served is None else _read(tokens_served, "count", "--tokens-served", "10 T")
    price = None if serving_price is None else _read(serving_price, "ratio", "--serving-price", "0.01") / 1e15
    if price is not None and tokens is None:
        raise UserError("--serving-price: found no --tokens-served; allowed: with --tokens-served")
    _check_output(output)
    answer = budget_answer(scenario, usd, law, tokens_served=tokens, usd_per_token_parameter=price, annual_usd=annual_usd)
    _show(budget_json(answer) if as_json else budget_view(answer), as_json)
    _write(answer.choices[0].scenario, output)


def plan_deadline(scenario: Scenario, deadline: str, *, chance: float = 0.9, trials: int = 200, workers: int | None = 1,
                  output: Path | None = None, as_json: bool = False) -> None:
    """Print the smallest and the cheapest number of accelerators that finishes by a deadline, and write the smallest's scenario.

    Parameters
    ----------
    scenario : Scenario
        As loaded, its distributions open.
    deadline : str
        From the start: "90 days".
    chance : float
        Probability to finish by then, above 0 and below 1.
    trials, workers
        Of each size; processes.
    output : path, optional
        Scenario file of the smallest.
    """
    from simulator.planning.deadline import plan_for_deadline
    from simulator.report.afford import deadline_json, deadline_view

    deadline_s = _read(deadline, "time", "--deadline", "90 days")
    if not 0.0 < chance < 1.0:
        raise UserError(f"--chance: found {chance:g}; allowed: above 0 and below 1, such as 0.9")
    _check_output(output)
    found = plan_for_deadline(scenario, deadline_s, chance=chance, trials=trials, workers=workers)
    _show(deadline_json(found) if as_json else deadline_view(scenario, found), as_json)
    _write(found.smallest.scenario, output)


def _show(found: Any, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    Console().print(found, highlight=False)


def _check_output(output: Path | None) -> None:
    from simulator.files import check_place

    if output is not None:
        check_place(output)


def _write(scenario: Scenario, output: Path | None) -> None:
    """Write a scenario as a file that loads and runs again."""
    if output is None:
        return
    import yaml

    from simulator.files import write_whole

    text = yaml.safe_dump(scenario.to_file(), sort_keys=False, allow_unicode=True)
    write_whole(output, lambda file: file.write_text(text, encoding="utf-8"))
    print(f"Scenario: {output}", file=sys.stderr)

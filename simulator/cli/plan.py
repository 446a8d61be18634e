"""Search for the best choice: `plan`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError

if TYPE_CHECKING:
    from simulator.scenario import Scenario


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="Scenario file (YAML).")],
    by: Annotated[str | None, typer.Option(
        "--minimise", "--by", help="What is least: time, cost, energy or carbon; default: cost, with --layout time.")] = None,
    over: Annotated[list[str] | None, typer.Option(
        help="What varies: PATH=V1,V2 or PATH=LOW..HIGH; may be repeated. Default: the file's section `plan`.")] = None,
    subject_to: Annotated[list[str] | None, typer.Option(
        help="What must hold beside the file's goals: 'P(time <= 60 days) >= 0.9', 'availability >= 99 %', "
             "'peak_power <= 20 MW'; may be repeated.")] = None,
    layout: Annotated[bool, typer.Option("--layout", help="Only rank the layouts of its model, cluster and batch.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Layouts to show, with --layout.")] = 10,
    trials: Annotated[int | None, typer.Option(min=2, help="Trials of one candidate at most, instead of the scenario's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all, instead of the scenario's.")] = None,
    confirm: Annotated[int | None, typer.Option(min=0, help="Fresh trials of the choice; default: as --trials.")] = None,
    indifference: Annotated[float, typer.Option(
        min=0.0, max=1.0, help="Share of the mean within which candidates are as good.")] = 0.005,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores where it pays.")] = None,
    budget: Annotated[str | None, typer.Option(
        help="Instead: the largest compute-optimal model and its tokens for a sum, such as 5M.")] = None,
    deadline: Annotated[str | None, typer.Option(
        help="Instead: the smallest and the cheapest cluster that ends by then, such as '90 days'.")] = None,
    chance: Annotated[float, typer.Option(help="Share of runs that end by --deadline.")] = 0.9,
    law: Annotated[Path | None, typer.Option(help="With --budget: a scaling law of the catalog, or one's own (YAML).")] = None,
    tokens_served: Annotated[str | None, typer.Option(help="With --budget: tokens served over the life of the model.")] = None,
    serving_price: Annotated[str | None, typer.Option(
        help="With --budget: USD of a million tokens and billion parameters.")] = None,
    annual_budget: Annotated[str | None, typer.Option(help="With --budget: the share of this that the run takes.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the chosen scenario, ready to run: .yaml.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of days against dollars against tonnes: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Search for the best choice: least time, cost, energy or carbon that meets chances; the runner-up and why; ready to run.

    Exits with 1 where nothing meets the constraints.

    Example: clustercost plan scenarios/llama3-405b.yaml --over cluster.spares=0..128 --subject-to 'availability >= 99 %'
    """
    from simulator.api import with_monte_carlo
    from simulator.scenario import load_scenario

    if layout:
        _rank_layouts(file, by or "time", top, as_json)
        return
    for written, check in ((output, _check_yaml), (plot, _check_picture)):
        if written is not None:
            check(written)
    scenario = with_monte_carlo(load_scenario(file), trials, seed)
    if budget is not None or deadline is not None:
        _inverse(scenario, over, budget, deadline, {"law": law, "tokens_served": tokens_served, "serving_price": serving_price,
                                                    "annual_budget": annual_budget},
                 {"chance": chance, "trials": trials or 200, "workers": workers}, output=output, as_json=as_json)
        return
    found = _searched(scenario, by, over or (), subject_to or (), confirm=confirm, indifference=indifference, workers=workers)
    _show(found, plot, output, as_json)
    if found.choice is None:
        raise typer.Exit(1)


def _rank_layouts(file: Path, by: str, top: int, as_json: bool) -> None:
    """Print the best layouts: all that fit in memory, and why each loses to the first."""
    from simulator.errors import unknown_name
    from simulator.planning.layouts import OBJECTIVES, rank_layouts
    from simulator.report.layouts import ranking_json, ranking_view
    from simulator.scenario import load_scenario

    if by not in OBJECTIVES:
        raise UserError(f"--by: {unknown_name('objective', by, OBJECTIVES)}")
    scenario = load_scenario(file).central()
    ranking = rank_layouts(scenario, by, top)
    if as_json:
        print_json(ranking_json(ranking))
        return
    from rich.console import Console

    Console().print(ranking_view(scenario, ranking, by))


def _inverse(scenario: Scenario, over: Any, budget: str | None, deadline: str | None, of_budget: dict[str, Any],
             of_deadline: dict[str, Any], **how: Any) -> None:
    """Answer a question the other way round: what a sum or a time is enough for."""
    from simulator.cli.afford import plan_budget, plan_deadline

    if over or (budget is not None and deadline is not None):
        raise UserError("plan: found two questions; allowed: one of --over, --budget and --deadline; with --over, a deadline "
                        "or a budget is --subject-to 'P(time <= 90 days) >= 0.9'")
    if budget is not None:
        plan_budget(scenario, budget, **of_budget, **how)
    elif deadline is not None:
        for name, value in of_budget.items():
            if value is not None:
                raise UserError(f"--{name.replace('_', '-')}: found with --deadline; allowed: with --budget")
        plan_deadline(scenario, deadline, **of_deadline, **how)


def _searched(scenario: Scenario, by: str | None, over: Any, subject_to: Any, **how: Any) -> Any:
    """Return the plan of options, else of the file's section."""
    from rich.console import Console

    from simulator.planning.asked import asked_plan

    console = Console(stderr=True)
    with console.status("") as status:
        return asked_plan(scenario, over, by, subject_to, say=status.update, **how)


def _check_yaml(file: Path) -> None:
    from simulator.files import check_place

    if file.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"{file}: found the ending {file.suffix!r}; allowed: .yaml, .yml")
    check_place(file)


def _check_picture(file: Path) -> None:
    from simulator.report.gantt import check_plot

    check_plot(file)


def _show(found: Any, plot: Path | None, output: Path | None, as_json: bool) -> None:
    """Print a plan; write its picture and the chosen scenario."""
    import yaml

    from simulator.files import write_whole
    from simulator.report.gantt import save_figure
    from simulator.report.plan import front_figure, plan_json, plan_view

    if as_json:
        print_json(plan_json(found))
    else:
        from rich.console import Console

        Console().print(plan_view(found))
    if plot is not None and found.simulated:
        save_figure(front_figure(found), plot)
        print(f"Picture: {plot}", file=sys.stderr)
    if output is not None and found.resolved is not None:
        text = yaml.safe_dump(found.resolved.to_file(), sort_keys=False, allow_unicode=True)
        write_whole(output, lambda partial: partial.write_text(text, encoding="utf-8"))
        print(f"Scenario: {output}; run it with: clustercost run {output}", file=sys.stderr)

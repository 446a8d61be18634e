"""The sections on what the run may come to, where time, energy and dollars go, and what drives them."""

from __future__ import annotations

import numpy as np

from simulator.report import plots
from simulator.report.document.model import Block, Paragraph, Picture, Section, Table, small
from simulator.report.document.summary import chance_text, known_parts, ranged, result_of
from simulator.report.loading import SavedStudy
from simulator.report.plots.drivers import drivers, values_text
from simulator.report.plots.outcomes import goal_of
from simulator.report.style import amount, digits, name_of, numbers, percent, unit_of, varies

SHOWN = ("time_s", "cost_usd", "energy_j", "carbon_kg", "water_l", "accelerator_s", "ettr", "interruptions", "power_mean_w")
_GOALS = {"time_s": "deadline", "cost_usd": "budget"}
_QUANTILES = ("p5", "p50", "p80", "p95")


def outcome_section(study: SavedStudy) -> Section:
    """Return distributions, and the chance to be done in time and within budget."""
    section = Section("What the run may come to")
    for column in ("time_s", "cost_usd", "energy_j"):
        if result_of(study, column):
            name, goal = name_of(column), _goal_words(study, column)
            section.blocks.append(small(
                f"distribution-{name.split()[0]}",
                f"Distribution of {name} over {len(study):,} runs; lines at P5, P50 and P95{goal}.",
                f"Histogram of {name}: P50 and P5 to P95 are {ranged(study, column)}{goal}.", plots.distribution, study, column))
    for column in ("time_s", "cost_usd"):
        if result_of(study, column):
            section.blocks.append(_chance_picture(study, column))
    if all(goal_of(study, column) is not None and result_of(study, column) and varies(study.column(column)) for column in _GOALS):
        both = float(np.all([study.column(column) <= goal_of(study, column) for column in _GOALS], axis=0).mean())
        section.blocks.append(small(
            "both-goals", "Chance to keep a time limit and a cost limit at once; dashed: deadline and budget.",
            f"Heat map of the chance to keep both limits; at the deadline and the budget it is {percent(both)}.",
            plots.goals_map, study, height=4.0))
    section.blocks.append(_result_table(study))
    chances = [[name, _limit(study, name), chance_text(chance)] for name, chance in study.summary()["goals"].items()]
    if chances:
        section.blocks.append(Table("Chance to meet the goals", ("goal", "limit", "chance"), chances, frozenset({0, 1, 2})))
    section.blocks.append(_deadline_table(study))
    return section


def _goal_words(study: SavedStudy, column: str) -> str:
    goal = goal_of(study, column)
    return "" if goal is None else f"; {_GOALS[column]} {amount(goal, column)}"


def _limit(study: SavedStudy, name: str) -> str:
    column = {"deadline": "time_s", "budget": "cost_usd"}.get(name, "")
    goal = goal_of(study, column)
    return "" if goal is None else amount(goal, column, 4)


def _chance_picture(study: SavedStudy, column: str) -> Picture:
    found = result_of(study, column)
    said = "; ".join(f"{share} % by {amount(found[q], column, 4)}" for share, q in ((50, "p50"), (80, "p80"), (95, "p95")))
    word = "be done by a deadline" if column == "time_s" else "stay within a budget"
    return small(f"chance-{name_of(column).split()[-1]}", f"Chance to {word}, and its 95 % band{_goal_words(study, column)}.",
                 f"Rising curve of the chance to {word}: {said}{_goal_words(study, column)}.", plots.chance, study, column)


def _result_table(study: SavedStudy) -> Table:
    rows = []
    for column in SHOWN:
        found = result_of(study, column)
        if found:
            unit = unit_of(column, found["p50"])
            values = numbers(found["mean"] / unit.factor, *(found[q] / unit.factor for q in _QUANTILES))
            rows.append([f"{name_of(column)}{f' ({unit.name})' if unit.name else ''}", *values])
        else:
            rows.append([name_of(column), *["unknown"] * 5])
    return Table("Results in full", ("", "mean", "P5", "P50", "P80", "P95"), rows)


def _deadline_table(study: SavedStudy) -> Table:
    """Return which deadline and budget are kept with which chance."""
    shares = (0.05, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99)
    columns = [column for column in ("time_s", "cost_usd") if result_of(study, column)]
    cells = {}
    for column in columns:
        values = np.quantile(study.column(column), shares)
        unit = unit_of(column, float(values[2]))
        cells[column] = (f"{name_of(column)} ({unit.name})", numbers(*(values / unit.factor)))
    rows = [[f"{100 * share:.0f} %", *(cells[column][1][i] for column in columns)] for i, share in enumerate(shares)]
    return Table("Limits that are kept with a chance of", ("chance", *(cells[column][0] for column in columns)), rows)


def breakdown_section(study: SavedStudy) -> Section:
    """Return where time, energy and dollars go."""
    section = Section("Where time, energy and money go")
    for total, plot in (("time_s", plots.waterfall), ("cost_usd", plots.waterfall), ("energy_j", plots.breakdown_bars)):
        found = known_parts(study, total)
        if found:
            first = ", ".join(f"{p.name} {percent(p.share)}" for p in found[:4])
            section.blocks.append(small(
                f"parts-{name_of(total).split()[-1] if total != 'energy_j' else 'energy'}",
                f"{name_of(total).capitalize()} by category, mean of all runs; categories add up to the total.",
                f"Bars of {name_of(total)} by category, {amount(result_of(study, total)['mean'], total)} in all: {first}.",
                plot, study, total, height=3.9))
    for total in ("time_s", "energy_j", "cost_usd"):
        found = known_parts(study, total)
        if found:
            section.blocks.append(_part_table(study, total))
    paid = payments(study)
    if paid:
        section.blocks.append(Table("Cost by what is paid for (mean)", ("", "USD", "share"), paid))
    return section


def _part_table(study: SavedStudy, total: str) -> Table:
    found, mean = known_parts(study, total), result_of(study, total)["mean"]
    unit = unit_of(total, mean)
    rows = [[p.name, digits(p.mean / unit.factor), f"{100 * p.share:.2f} %",
             "-" if p.of_spread != p.of_spread else f"{100 * p.of_spread + 0.0:.1f} %".replace("-0.0 ", "0.0 ")] for p in found]
    rows.append(["total", digits(mean / unit.factor), "100 %", "100 %" if rows and rows[0][3] != "-" else "-"])
    title = f"{name_of(total).capitalize()} by category (mean)"
    return Table(title, ("", unit.name, "share", "of its variance"), rows)


def payments(study: SavedStudy) -> list[list[str]]:
    """Return what is paid for, in dollars: holding the machine by kind, and what comes on top; none where it does not add up."""
    on_top = ("electricity", "demand_charge", "power_purchase", "export", "onsite", "generator", "demand_response", "offsets",
              "storage", "egress", "research_overhead")
    if not result_of(study, "cost_usd"):
        return []
    means = {name: result_of(study, name)["mean"] for name in study.columns
             if (name.startswith("holding_") or name in {f"cost_{kind}_usd" for kind in on_top}) and result_of(study, name)}
    total = result_of(study, "cost_usd")["mean"]
    if abs(sum(means.values()) - total) > 1e-3 * abs(total):
        return []
    rows = [[name.removeprefix("holding_").removeprefix("cost_").removesuffix("_usd").replace("_", " "), f"{mean:,.0f}",
             f"{100 * mean / total:.2f} %"] for name, mean in sorted(means.items(), key=lambda item: -abs(item[1])) if mean]
    return [*rows, ["total", f"{total:,.0f}", "100 %"]]


def driver_section(study: SavedStudy) -> Section:
    """Return what drives time and cost: a tornado read off the runs, rank correlations, and categories that vary."""
    section = Section("What drives the spread")
    rows = []
    for column in ("time_s", "cost_usd"):
        if not result_of(study, column) or not varies(study.column(column)):
            continue
        section.blocks.append(_tornado(study, column))
        for driver in drivers(study, column):
            low, high = values_text(study, driver)
            rows.append([name_of(column), driver.name, f"{driver.rank:+.2f}", low, high, amount(driver.low, column, 4),
                         amount(driver.high, column, 4)])
        if any(driver.drawn and abs(driver.rank) > 0.5 for driver in drivers(study, column)):
            continue  # with an input, all categories vary alike
        vary = sorted(known_parts(study, column), key=lambda p: -p.of_spread if p.of_spread == p.of_spread else 0.0)[:3]
        section.blocks.append(small(
            f"spread-{name_of(column).split()[-1]}", f"Which categories the variance of {name_of(column)} comes from.",
            f"Bars of shares of the variance of {name_of(column)}: " + ", ".join(f"{p.name} {percent(p.of_spread)}" for p in vary
                                                                             if p.of_spread == p.of_spread) + ".",
            plots.spread, study, column))
    if rows:
        section.blocks.append(Table("Drivers: the fifth of the runs in which each is lowest, and highest",
                                    ("result", "driver", "rank correlation", "low", "high", "result there", "and there"), rows,
                                    frozenset({0, 1})))
    section.blocks.append(Paragraph(
        "Read off the runs of this study: other inputs vary beside the one that is named. Holding the others fixed, and telling "
        "interactions from first effects, takes runs of its own: `clustercost sensitivity FILE`. How much is luck and how "
        "much is not knowing: `clustercost variance FILE`."))
    return section


def _tornado(study: SavedStudy, column: str) -> Block:
    found = drivers(study, column)
    said = "; ".join(f"{d.name} {d.rank:+.2f}" for d in found[:4]) or "none"
    return small(f"tornado-{name_of(column).split()[-1]}",
                 f"Mean {name_of(column)} in the fifth of the runs in which each driver is lowest (blue) and highest (red).",
                 f"Tornado of {name_of(column)}; rank correlations: {said}.", plots.tornado, study, column)

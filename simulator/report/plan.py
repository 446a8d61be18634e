"""The answer of a plan on the terminal, as JSON, and its Pareto front as a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from simulator.performance.search import describe
from simulator.planning.axes import short
from simulator.planning.constraints import Constraint, Judgement
from simulator.planning.plan import FRONT, Plan
from simulator.planning.race import Entry
from simulator.report.style import BLUE, GREY, amount, digits, in_style, label_of, name_of, percent, unit_of
from simulator.report.tables import plain_table
from simulator.scenario.edits import value_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RESULTS = ("time_s", "cost_usd", "energy_j", "carbon_kg")
_SHOWN = 12  # of the front, and of reasons


def plan_view(plan: Plan) -> Group:
    """Return the choice, the runner-up and why it loses, what fell for which reason, and the front."""
    parts: list[RenderableType] = []
    if plan.choice is None:
        parts.append(Text("Nothing meets the constraints.", style="bold"))
    else:
        parts += [_choice_table(plan, plan.choice), *_chances(plan, plan.choice)]
    parts += [Text(line) for line in ("", *_others(plan))]
    parts += [Text(""), _fates_table(plan), Text("")]
    parts += [_front_table(plan), Text("")] if plan.simulated else []
    parts.append(Text(_effort(plan)))
    return Group(*parts)


def _choice_table(plan: Plan, choice: Entry) -> RenderableType:
    """Return the changed values of the choice, and its results beside the scenario's own."""
    names = {"time": "time", "cost": "dollars", "energy": "energy", "carbon": "carbon"}
    table = plain_table(f"The choice: least {names[plan.minimise]}, mean over runs", "", "chosen", "was")
    for path, value in choice.candidate.changes.items():
        fit = plan.vertices.get(path)
        error = f" (± {1.96 * fit.error:.1%}, response surface)" if fit is not None and _is_vertex(plan, choice) else ""
        table.add_row(path, f"{short(value)}{error}{_at_end(plan, path, value)}", _was(plan, path))
    if choice.candidate.layout is not None:
        table.add_row("training.layout", describe(choice.candidate.layout), "searched by the step kernel")
    rows = choice.rows if plan.confirmed is None else plan.confirmed.rows
    for column in _RESULTS:
        values = rows[column]
        half = 1.96 * float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else math.nan
        table.add_row(name_of(column), _with_half(float(values.mean()), half, column), "")
    table.add_row("peak power", amount(choice.candidate.peak_power_w, "peak_power_w"), "")
    return table


def _was(plan: Plan, path: str) -> str:
    """Return the scenario's own value at a path."""
    layout = plan.scenario.training.layout
    return describe(layout) if path == "training.layout" and not isinstance(layout, str) else short(value_at(plan.scenario, path))


def _with_half(mean: float, half: float, column: str) -> str:
    """Return a mean and half of its interval, both in the unit of the mean."""
    if not math.isfinite(mean):
        return "unknown"
    unit = unit_of(column, max(abs(mean), abs(half) if math.isfinite(half) else 0.0))
    return f"{digits(mean / unit.factor)} ± {digits(half / unit.factor, 2)} {unit.name}"


def _at_end(plan: Plan, path: str, value: Any) -> str:
    """Return a note where a value is the end of its range: beyond it may be better."""
    axis = next(axis for axis in plan.axes if axis.path == path)
    number = axis.number(value) if axis.continuous else None
    ends = number is not None and any(math.isclose(number, end, rel_tol=1e-6) for end in (axis.low, axis.high) if end > 0.0)
    return ", the end of its range" if ends else ""


def _is_vertex(plan: Plan, entry: Entry) -> bool:
    return entry is plan.race.favourite


def _chances(plan: Plan, choice: Entry) -> list[RenderableType]:
    """Return how the choice stands to each constraint: in fresh trials where there are some."""
    if not plan.race.constraints:
        return []
    judged, trials = plan.race.judgements(choice, 0.025), choice.trials
    where = f"in the {trials:,} trials of the search"
    if plan.confirmed is not None:
        judged, trials = plan.confirmed.judgements, plan.confirmed.trials
        where = f"in {trials:,} fresh trials, 95 % interval"
    table = plain_table(f"\nConstraints {where}", "", "found", "low", "high", "")
    for c, j in zip(plan.race.constraints, judged, strict=True):
        table.add_row(c.text, *(_value(c, v) for v in (j.value, j.low, j.high)), j.verdict if j.verdict != "open" else "not sure")
    notes = [] if plan.certain else [Text("Not sure: no candidate meets all constraints with 95 % certainty in the trials that "
                                          "were allowed; this one looks as if it did. More --trials would tell.", style="bold")]
    return [table, *notes]


def _value(constraint: Constraint, value: float) -> str:
    """Return a value of a constraint: a chance in per cent, a mean in its unit."""
    if not math.isfinite(value):
        return "unknown"
    if constraint.chance is not None or constraint.column == "availability":
        return f"{100.0 * value:.2f} %"
    return amount(value, constraint.column)


def _others(plan: Plan) -> list[str]:
    """Return the runner-up and why it loses, and what would take less if it met the constraints."""
    lines = []
    runner = plan.runner_up()
    if runner is not None:
        entry, gap = runner
        lines.append(f"Runner-up: {entry.candidate.label or 'as given'}")
        lines.append(f"  {'loses by' if gap.mean > 0.0 else 'differs by'} {_gap_text(plan, gap.mean, gap.half)}"
                     + ("" if entry.trials else ", without a failure: it was never simulated"))
        if steps := plan.why_steps(entry):
            lines.append(f"  its steps: {steps}")
        if entry.trials and not plan.meets(entry):
            lines += _unmet(plan, entry)
    nearest = plan.nearest()
    if nearest is not None:
        what = "Nearest to the constraints" if plan.choice is None else f"Less {plan.minimise}, but not allowed"
        lines.append(f"{what}: {nearest.candidate.label or 'as given'}")
        lines += _unmet(plan, nearest)
    return lines or ["No other candidate."]


def _unmet(plan: Plan, entry: Entry) -> list[str]:
    """Return which constraints keep an entry from being chosen."""
    lines = []
    for c, j in plan.unmet(entry):
        where = f"in {entry.trials:,} trials" if entry.trials else "at the least, without a trial"
        how = "not sure of" if j.verdict == "open" else "breaks"
        interval = "" if j.low == j.high or not entry.trials else f" ({_value(c, j.low)} to {_value(c, j.high)})"
        lines.append(f"  {how} {c.text}: {_value(c, j.value)}{interval} {where}")
    return lines


def _gap_text(plan: Plan, mean: float, half: float) -> str:
    column = plan.objective
    assert plan.choice is not None
    share = mean / abs(plan.choice.mean(column))
    sure = "" if abs(mean) > half else "; trials do not tell them apart"
    return f"{_with_half(mean, half, column)} of {name_of(column)} ({share:+.2%}, paired, 95 %){sure}"


def _fates_table(plan: Plan) -> RenderableType:
    table = plain_table("Why the others fell", "", "candidates")
    fates = plan.fates().most_common()
    for why, count in fates[:_SHOWN]:
        table.add_row(why if len(why) < 140 else f"{why[:137]}...", f"{count:,}")
    if len(fates) > _SHOWN:
        table.add_row("other reasons", f"{sum(count for _, count in fates[_SHOWN:]):,}")
    return table


def _front_table(plan: Plan) -> RenderableType:
    """Return the Pareto front, in order of days."""
    on = [entry for entry, mark in plan.on_front() if mark]
    known = [c for c in FRONT if not any(math.isnan(entry.mean(c)) for entry in on)]
    units = [unit_of(c, max((abs(plan.race.mean(entry, c)) for entry in on), default=1.0)) for c in known]
    title = f"Pareto front of {len(plan.simulated):,} simulated: nothing else has less of all of these (means)"
    paths = [axis.path for axis in plan.axes]
    table = plain_table(title, *_short_names(paths), *(unit.name for unit in units), "trials", "constraints")
    for entry in _thinned(on, plan.choice):
        cells = [digits(plan.race.mean(entry, c) / unit.factor, 4) for c, unit in zip(known, units, strict=True)]
        state = "chosen" if entry is plan.choice else "met" if plan.meets(entry) else "not met"
        table.add_row(*(short(entry.candidate.changes[path]) for path in paths), *cells, f"{entry.trials:,}", state)
    if len(on) > _SHOWN:
        table.add_row(f"... {len(on):,} in all")
    return table


def _short_names(paths: list[str]) -> list[str]:
    """Return the last names of paths, or whole paths where two share a last name."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]


def _thinned(on: list[Entry], choice: Entry | None) -> list[Entry]:
    """Return at most some entries, evenly over the front, the choice among them."""
    if len(on) <= _SHOWN:
        return on
    kept = {round(i) for i in np.linspace(0, len(on) - 1, _SHOWN)}
    return [entry for i, entry in enumerate(on) if i in kept or entry is choice]


def _effort(plan: Plan) -> str:
    used, brute = plan.race.used, plan.brute_force_trials
    seen = sum(1 for entry in plan.race.entries if entry.trials)
    return (f"{used:,} trials; all candidates with {plan.race.most:,} each would be {brute:,} ({percent(used / brute)}). "
            f"{seen:,} of {len(plan.race.entries) + len(plan.impossible):,} candidates were simulated"
            + (f", and {len(plan.surface):,} for response surfaces" if plan.surface else "") + ".")


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the same in SI, ready for JSON."""
    runner, nearest = plan.runner_up(), plan.nearest()
    choice = plan.choice
    rows = None if choice is None else choice.rows if plan.confirmed is None else plan.confirmed.rows
    judged = [] if choice is None else (plan.race.judgements(choice, 0.025) if plan.confirmed is None
                                        else plan.confirmed.judgements)
    return {
        "name": plan.scenario.name, "minimise": plan.minimise, "seed": plan.scenario.monte_carlo.seed,
        "choice": None if choice is None or rows is None else {
            "changes": choice.candidate.changes, "certain": plan.certain, "trials": rows["time_s"].size,
            "fresh": plan.confirmed is not None, "layout": None if choice.candidate.layout is None
            else choice.candidate.layout.to_file(), "peak_power_w": choice.candidate.peak_power_w,
            "results": {column: _known(float(rows[column].mean())) for column in _RESULTS},
            "constraints": [_judged_json(c, j) for c, j in zip(plan.race.constraints, judged, strict=True)],
            "response_surfaces": {path: fit._asdict() for path, fit in plan.vertices.items()}},
        "runner_up": None if runner is None else {
            "changes": runner[0].candidate.changes, "trials": runner[0].trials, "more": runner[1].mean,
            "half": _known(runner[1].half), "steps": plan.why_steps(runner[0])},
        "nearest": None if nearest is None else {
            "changes": nearest.candidate.changes, "trials": nearest.trials,
            "unmet": [_judged_json(c, j) for c, j in plan.unmet(nearest)]},
        "fell": dict(plan.fates()),
        "front": [{"changes": entry.candidate.changes, "trials": entry.trials, "meets": plan.meets(entry),
                   **{column: _known(plan.race.mean(entry, column)) for column in FRONT}}
                  for entry, mark in plan.on_front() if mark],
        "trials": plan.race.used, "brute_force_trials": plan.brute_force_trials,
        "candidates": len(plan.race.entries) + len(plan.impossible),
    }


def _judged_json(c: Constraint, j: Judgement) -> dict[str, Any]:
    return {"constraint": c.text, "found": _known(j.value), "low": _known(j.low), "high": _known(j.high), "verdict": j.verdict}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def front_figure(plan: Plan) -> Figure:
    """Return the picture of days against dollars of all that was simulated, its colour tonnes; the front is joined."""
    from matplotlib.figure import Figure

    shown = plan.on_front()
    means = plan.means([entry for entry, _ in shown])
    on = np.array([mark for _, mark in shown])
    met = np.array([plan.meets(entry) for entry, _ in shown])
    units = [unit_of(c, float(np.nanmax(np.abs(means[:, i]))) if not np.isnan(means[:, i]).all() else 1.0)
             for i, c in enumerate(FRONT)]
    days, dollars, tonnes = (means[:, i] / unit.factor for i, unit in enumerate(units))
    with in_style():
        figure = Figure(figsize=(8.0, 5.0), layout="constrained")
        ax: Any = figure.subplots()
        colours: dict[str, Any] = {"color": BLUE} if np.isnan(tonnes).any() else {"c": tonnes, "cmap": "viridis"}
        kinds = ((on & met, "o", 70, "on the front"), (on & ~met, "X", 70, "on it, constraints not met"),
                 (~on & met, "o", 22, "others"), (~on & ~met, "X", 22, "others, constraints not met"))
        for marks, marker, size, label in kinds:
            if marks.any():
                own = {k: v[marks] if k == "c" else v for k, v in colours.items()}
                limits = {} if "c" not in own else {"vmin": tonnes.min(), "vmax": tonnes.max()}
                points = ax.scatter(days[marks], dollars[marks], s=size, marker=marker, edgecolor="white", linewidth=0.6,
                                    label=label, zorder=3, **own, **limits)
        least = np.minimum.accumulate(dollars[on])  # of days against dollars alone
        stairs = dollars[on] <= least
        ax.step(days[on][stairs], dollars[on][stairs], where="post", color=GREY, lw=1.0, zorder=1)
        _mark_choice(ax, plan, units)
        if "c" in colours:
            figure.colorbar(points, ax=ax, label=label_of(FRONT[2], units[2]))
        ax.set_xlabel(label_of(FRONT[0], units[0]))
        ax.set_ylabel(label_of(FRONT[1], units[1]))
        ax.grid(True)
        ax.legend()
        ax.set_title(f"{plan.scenario.name}: days against dollars, means of {len(shown):,} simulated")
    return figure


def _mark_choice(ax: Any, plan: Plan, units: list[Any]) -> None:
    """Put a ring around the choice, and its changed values beside it."""
    if plan.choice is None:
        return
    place = tuple(plan.race.mean(plan.choice, c) / unit.factor for c, unit in zip(FRONT[:2], units[:2], strict=True))
    ax.scatter(*place, s=220, facecolor="none", edgecolor="black", linewidth=1.4, zorder=4)
    right = place[0] > sum(ax.get_xlim()) / 2.0
    lines = [f"{name} {short(value)}" for name, value in zip(_short_names(list(plan.choice.candidate.changes)),
                                                             plan.choice.candidate.changes.values(), strict=True)]
    ax.annotate("\n".join(["chosen", *lines]), place, xytext=(-14 if right else 14, 14), textcoords="offset points",
                ha="right" if right else "left", fontsize=8.5, zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0})

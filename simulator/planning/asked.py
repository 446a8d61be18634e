"""What a plan is asked for: options, and for the rest what the section `plan` of the scenario says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.errors import UserError, unknown_name
from simulator.planning.axes import Axis, listed, parse_axis
from simulator.planning.constraints import goal_constraints, parse_constraint
from simulator.planning.plan import Plan, search
from simulator.scenario import Scenario
from simulator.scenario.planning import OBJECTIVES, Planning


def asked_plan(scenario: Scenario, over: Sequence[str] | Mapping[str, Any] = (), minimise: str | None = None,
               subject_to: Sequence[str] = (), **how: Any) -> Plan:
    """Return the plan of options and of the scenario's own section.

    Parameters
    ----------
    scenario : Scenario
        Its goals are constraints.
    over : sequence of str, or mapping
        "PATH=VALUES" as for `clustercost plan --over`; or path -> list of values as in files, or the text of a range. They go
        before what the section says of the same path.
    minimise : str, optional
        "time", "cost", "energy" or "carbon"; by default the section's.
    subject_to : sequence of str
        Such as "availability >= 99 %", beside the section's.
    **how
        As for `search`.

    Raises
    ------
    UserError
        Nothing varies, or what is asked for is wrong.
    """
    asked = scenario.plan or Planning()
    by = minimise or asked.minimise
    if by not in OBJECTIVES:
        raise UserError(f"--minimise: {unknown_name('objective', by, OBJECTIVES)}")
    axes = axes_of(over)
    paths = {axis.path for axis in axes}
    axes += [axis for axis in (parse_axis(text, "plan.over") for text in asked.over) if axis.path not in paths]
    if not axes:
        raise UserError("plan: say what to plan; allowed: --over PATH=VALUES, a section `plan` in the file, or --layout")
    constraints = [*goal_constraints(scenario), *(parse_constraint(text, "plan.subject_to") for text in asked.subject_to),
                   *(parse_constraint(text) for text in subject_to)]
    return search(scenario, axes, by, constraints, **how)


def axes_of(over: Sequence[str] | Mapping[str, Any]) -> list[Axis]:
    """Return the axes of options, or of a mapping of paths to values as files write them."""
    if isinstance(over, Mapping):
        return [parse_axis(f"{path}={values}") if isinstance(values, str) else listed(path, values, f"--over {path}")
                for path, values in over.items()]
    return [parse_axis(text) for text in over]

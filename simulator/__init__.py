"""clustercost: what it costs to train a large model on a cluster.

>>> import simulator
>>> study = simulator.run("scenarios/small-8gpu.yaml", trials=20)   # doctest: +SKIP
>>> study.to_pandas()                                               # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.api import (
        BudgetAnswer,
        Comparison,
        DeadlineChoice,
        EnergyReport,
        Forecast,
        LeverStudy,
        Plan,
        QueueScenario,
        QueueStudy,
        SavedStudy,
        Scenario,
        Sensitivity,
        StepEstimate,
        Study,
        SweepResult,
        UserError,
        compare,
        energy,
        forecast,
        levers,
        load,
        load_results,
        plan,
        plan_budget,
        plan_deadline,
        resume,
        run,
        run_jobs,
        sensitivity,
        step,
        sweep,
        write_report,
    )

__all__ = [
    "BudgetAnswer", "Comparison", "DeadlineChoice", "EnergyReport", "Forecast", "LeverStudy", "Plan", "QueueScenario",
    "QueueStudy", "SavedStudy", "Scenario", "Sensitivity", "StepEstimate", "Study", "SweepResult", "UserError", "compare",
    "energy", "forecast", "levers", "load", "load_results", "plan", "plan_budget", "plan_deadline", "resume", "run",
    "run_jobs", "sensitivity", "step", "sweep", "write_report",
]


def __getattr__(name: str) -> Any:
    """Import the Python face when it is first used."""
    if name in __all__:
        from simulator import api

        return getattr(api, name)
    raise AttributeError(f"module 'simulator' has no attribute {name!r}")

"""How far predictions are from published energy, cost and whole runs: a table that ships, for reports.

Made, never typed: `python -m simulator.validation.status` in the repository, whose scenarios it runs.
"""

from __future__ import annotations

import csv
import io
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from simulator.files import write_whole
from simulator.scenario import load_scenario
from simulator.validation.energy import predict_energy
from simulator.validation.runs import compare_runs

_FILE = "status.csv"
_TRIALS = 100


class Status(NamedTuple):
    """One published figure and the error of its prediction: predicted over published, less one."""

    run: str
    accelerator: str
    scenario: str
    quantity: str
    error: float
    remark: str


def read_status() -> list[Status]:
    """Return the table that ships."""
    text = (resources.files("simulator.validation") / "data" / _FILE).read_text(encoding="utf-8")
    return [Status(**{**row, "error": float(row["error"])}) for row in csv.DictReader(text.splitlines())]  # type: ignore[arg-type]


def work_out(scenarios: Path, trials: int = _TRIALS) -> list[Status]:
    """Return the table, worked out anew.

    Figures that are TDP times published hours say nothing of a prediction with those hours, and are left out there.

    Parameters
    ----------
    scenarios : Path
        The folder of shipped scenarios.
    trials : int
        Of each whole run.
    """
    found = []
    for r in predict_energy(None, scenarios):
        with_hours = None if r.counts == "tdp" else r.with_published_hours_error
        for quantity, error in (("energy, from configuration", r.from_configuration_error),
                                ("energy, with published hours", with_hours), ("cost", r.cost_error)):
            if error is not None:
                found.append(Status(r.run, r.accelerator, "", quantity, error, r.remark))
    for o in compare_runs(scenarios, trials):
        accelerator = load_scenario(scenarios / f"{o.scenario}.yaml").cluster.accelerator.name
        remark = "; ".join(filter(None, (o.source, o.note)))
        found.append(Status(o.scenario, accelerator, o.scenario, o.quantity, o.error, remark))
    return found


def status_csv(rows: list[Status]) -> str:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Status._fields)
    writer.writerows([f"{value:.4f}" if isinstance(value, float) else value for value in row] for row in rows)
    return text.getvalue()


if __name__ == "__main__":
    here = Path(__file__).parent / "data" / _FILE
    table = status_csv(work_out(Path("scenarios")))
    write_whole(here, lambda file: file.write_text(table, encoding="utf-8"))
    print(f"wrote {here}")

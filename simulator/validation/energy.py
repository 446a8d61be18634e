"""Energy, carbon and cost of published runs: predicted from configuration alone, and with published hours.

What a row counts is honoured (`energy_rows.COUNTS`): a figure that is TDP x hours is compared with TDP x our hours, and all that
the run draws stands in a column of its own. Published watts are never an input.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from simulator.accounting.capital import decimal_year
from simulator.errors import UserError
from simulator.validation.cost import cost_runs, epoch_cost
from simulator.validation.energy_rows import COUNTS, EnergyRow, read_energy_rows
from simulator.validation.energy_runs import Watts, known_run, plain, watts_of

# The five runs whose configuration is published and whose scenarios ship.
NAMED = ("T5-11B", "GPT-3 175B", "BLOOM-176B total", "Llama 3.1 405B", "MLPerf v4.0 GPT-3 512xH100 (AC)")


@dataclass(frozen=True)
class EnergyResult:
    """One row as predicted: MWh, t and USD, None where there is none; errors are predicted over published, less one."""

    run: str
    accelerator: str
    counts: str
    published_mwh: float | None = None
    from_configuration_mwh: float | None = None
    from_configuration_error: float | None = None
    with_published_hours_mwh: float | None = None
    with_published_hours_error: float | None = None
    all_in_mwh: float | None = None
    published_hours: float | None = None
    predicted_hours: float | None = None
    node_w: float | None = None
    peak_to_mean: float | None = None
    published_t: float | None = None
    predicted_t: float | None = None
    published_usd: float | None = None
    predicted_usd: float | None = None
    cost_error: float | None = None
    remark: str = ""


COLUMNS = tuple(field.name for field in fields(EnergyResult))


def counted_w(row: EnergyRow, watts: Watts) -> float:
    """Return watts of one accelerator as a row counts them, with its PUE; where it gives none, that of a simulated scenario."""
    assert row.accelerator is not None
    pue = row.pue or (watts.pue if watts.simulated else 1.0)
    match row.counts:
        case "tdp":
            return _tdp_w(row) * (row.pue or 1.0)
        case "tdp and idle":
            return _tdp_w(row) + (watts.idle_node_w + watts.around_w) * watts.pue
        case "accelerators":
            return watts.accelerator_w * pue
        case "system":
            return watts.node_w * pue
        case "node AC":
            return watts.node_w
        case "node DC":
            return watts.node_w * watts.supply_efficiency
    return (watts.node_w + watts.around_w) * pue


def _tdp_w(row: EnergyRow) -> float:
    assert row.accelerator is not None
    if row.accelerator.tdp_w is None:
        raise UserError(f"no TDP of {row.accelerator.name} is in the catalog")
    return row.accelerator.tdp_w


def _error(predicted: float | None, published: float | None) -> float | None:
    return predicted / published - 1.0 if predicted is not None and published else None


def predict_row(row: EnergyRow, folder: Path) -> EnergyResult:
    """Return a row's prediction; for one that cannot be predicted, a remark says why."""
    name = "" if row.accelerator is None else row.accelerator.name
    start: dict[str, Any] = {"run": row.run, "accelerator": name, "counts": row.counts, "published_mwh": row.published_mwh,
                             "published_t": row.published_t, "published_usd": row.published_usd, "published_hours": row.hours}
    if row.reason or row.accelerator is None:
        return EnergyResult(**start, remark=row.reason or "no accelerator")
    try:
        found = _cost(row, _watts_or_none(row, folder)) if row.counts == "cost" else _energy(row, watts_of(row, folder))
    except (UserError, ZeroDivisionError) as error:
        return EnergyResult(**start, remark=" ".join(str(error).split()))
    return EnergyResult(**start, **found)


def _energy(row: EnergyRow, watts: Watts) -> dict[str, Any]:
    each_w = counted_w(row, watts)
    configured = None if watts.hours is None else each_w * watts.hours / 1e6
    known = known_run(row.run)
    elsewhere = known.hours if known is not None and row.hours is None else None
    published_hours = row.hours if row.hours is not None else elsewhere
    with_hours = None if published_hours is None else each_w * published_hours / 1e6
    hours = published_hours if published_hours is not None else watts.hours
    # At the meter under the row's own PUE, spares of a scenario included.
    all_w = watts.all_w / watts.pue * (row.pue or watts.pue)
    intensity = row.carbon_kg_per_kwh if row.carbon_kg_per_kwh is not None else (
        watts.carbon_kg_per_kwh if watts.hours is not None else None)
    best = with_hours if with_hours is not None else configured
    return {
        "from_configuration_mwh": configured, "from_configuration_error": _error(configured, row.published_mwh),
        "with_published_hours_mwh": with_hours, "with_published_hours_error": _error(with_hours, row.published_mwh),
        "all_in_mwh": None if hours is None else all_w * hours / 1e6,
        "predicted_hours": watts.hours, "node_w": watts.node_w * watts.accelerators_per_node, "peak_to_mean": watts.peak_to_mean,
        "predicted_t": None if best is None or intensity is None else best * intensity,
        "remark": _remark(row, watts, elsewhere, unknown=published_hours is None),
    }


def _remark(row: EnergyRow, watts: Watts, elsewhere: float | None, *, unknown: bool) -> str:
    """Return where hours, watts and the published figure come from."""
    parts = (
        watts.remark if watts.hours is not None else f"configuration not published: watts of a {watts.remark}",
        row.published_from,
        f"hours published elsewhere: {elsewhere:,.0f}" if elsewhere else "",
        "a convention, not a measurement" if "tdp" in row.counts else "",
        # TDP x published hours is the published figure itself.
        "with published hours by definition" if row.counts == "tdp" and row.published_mwh and not unknown else "",
        "no hours published" if unknown else "")
    return "; ".join(filter(None, parts))


def _cost(row: EnergyRow, watts: Watts | None) -> dict[str, Any]:
    """Return a row of dollars: rent at the row's own price, or Epoch's amortised hardware and energy."""
    assert row.accelerator is not None
    base = plain(row.run.split("(")[0])
    run = next((r for r in cost_runs() if base and (plain(r.run).startswith(base) or base.startswith(plain(r.run)))), None)
    derived = run.accelerator_hours if run is not None else None
    hours = row.hours or derived or (watts.hours if watts else None)
    if hours is None:
        return {"remark": "neither accelerator-hours nor a configuration is published"}
    found = {"predicted_hours": watts.hours if watts else None, "all_in_mwh": watts.all_w * hours / 1e6 if watts else None}
    if row.usd_per_hour is not None:
        usd, how = row.usd_per_hour * hours, f"rent at the row's own {row.usd_per_hour:g} USD an hour"
    else:
        year = None if run is None else decimal_year(run.start)
        decline = "updated" not in row.run.lower()
        usd = epoch_cost(row.accelerator, hours, year, hyperscaler=run is None or run.hyperscaler, decline=decline)["total"]
        how = "amortised hardware, interconnect and energy, 2023 USD (Epoch's method)" + (
            "" if decline else ", prices as released: what the update looks like")
    how += "" if row.hours else f"; {hours:,.0f} accelerator-hours, not in the row"
    return {**found, "predicted_usd": usd, "cost_error": _error(usd, row.published_usd), "remark": how}


def _watts_or_none(row: EnergyRow, folder: Path) -> Watts | None:
    try:
        return watts_of(row, folder)
    except UserError:
        return None


def predict_energy(cases: Path | None, folder: Path) -> list[EnergyResult]:
    """Return the predictions of a CSV's rows, in its order; UserError where the file cannot be read."""
    return [predict_row(row, folder) for row in read_energy_rows(cases)]


def summary(results: list[EnergyResult]) -> dict[str, dict[str, float]]:
    """Return count, median and worst absolute error: from configuration, with published hours, and both of the named runs.

    Rows whose published figure is TDP x hours are left out with published hours, as nothing is predicted there.
    """
    named = [r for r in results if r.run in NAMED]
    groups = {
        "from configuration alone": [r.from_configuration_error for r in results],
        "those with a scenario": [r.from_configuration_error for r in results if r.remark.startswith("scenario")],
        "those with size or layout assumed, no failures": [r.from_configuration_error for r in results
                                                           if not r.remark.startswith("scenario")],
        "with published hours": [r.with_published_hours_error for r in results if r.counts != "tdp"],
        "five named runs, from configuration alone": [r.from_configuration_error for r in named],
        "five named runs, with published hours": [r.with_published_hours_error for r in named],
        "cost": [r.cost_error for r in results],
    }
    found = {}
    for name, errors in groups.items():
        size = np.array([abs(e) for e in errors if e is not None])
        if size.size:
            found[name] = {"rows": float(size.size), "median": float(np.median(size)), "worst": float(size.max())}
    return found


def predictions_csv(results: list[EnergyResult]) -> str:
    """Return all columns as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in results:
        writer.writerow(["" if (v := getattr(r, c)) is None else f"{v:.6g}" if isinstance(v, float) else v for c in COLUMNS])
    return text.getvalue()


def predictions_json(results: list[EnergyResult]) -> dict[str, Any]:
    """Return rows and summary as JSON takes them."""
    rows = [{c: None if isinstance(v := getattr(r, c), float) and not math.isfinite(v) else v for c in COLUMNS} for r in results]
    return {"counts": COUNTS, "rows": rows, "summary": summary(results)}


def shown(value: float | None, style: str = ",.4g") -> str:
    """Return a number as tables show it, a dash where there is none."""
    return "-" if value is None else format(value, style)

"""Published costs of training against the preset `epoch-2024`, and DeepSeek-V3 at its own price of rent.

Epoch AI's model (Cottier et al. 2024, arXiv:2405.21015) is amortised hardware and energy of the final run. Hardware goes through
the same `Holding` as a scenario with the preset; energy is Epoch's own power model, which scenarios do not use.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from importlib import resources

from simulator import catalog
from simulator.accounting.capital import TYPICAL_AGE_YEARS, Holding, Rent, decimal_year, owned_holding, release_year
from simulator.accounting.dollars import dollar_factor
from simulator.catalog.records import AcceleratorRecord
from simulator.performance.hardware import needed
from simulator.scenario import Owned

DOLLARS = 2023  # Epoch states all costs in these
_HOUR_S = 3600.0
# Rated power of a server over the TDP of its accelerators, mean power over rated, PUE: cost_analysis_standalone.py of
# epoch-research/training-cost-trends (docs/reference/power_model.md, section 1, item 2).
_SERVER_TDP = {"hopper": 1.821, "ampere": 2.031, "volta": 1.667, "tpu": 1.56}
_SERVER_TDP_TPU_V3, _SERVER_TDP_OTHER = 1.47, 1.8
_UTILISATION_TPU, _UTILISATION_GPU = 0.43, 0.75
_PUE_HYPERSCALER, _PUE_OTHER = 1.10, 1.25
# DeepSeek-V3 technical report, arXiv:2412.19437, table 1.
_DEEPSEEK_HOURS, _DEEPSEEK_USD_PER_HOUR, _DEEPSEEK_USD = 2.788e6, 2.0, 5.576e6


@dataclass(frozen=True)
class CostRun:
    """A published run: Epoch's cost of 2024 or of its later update, 2023 USD (None where there is none)."""

    run: str
    accelerator: str
    accelerator_hours: float
    start: date
    hyperscaler: bool
    published_usd: float | None
    updated_usd: float | None
    remark: str
    source: str


@dataclass(frozen=True)
class CostRow:
    """One comparison; `error` is predicted over published, less one."""

    run: str
    published: float
    predicted: float
    error: float
    remark: str


def epoch_power_w(accelerator: AcceleratorRecord) -> float:
    """Return the mean IT power of an accelerator with its share of the server as Epoch assumes it, W."""
    is_tpu = accelerator.generation == "tpu"
    rated = _SERVER_TDP_TPU_V3 if accelerator.name == "tpu-v3" else _SERVER_TDP.get(accelerator.generation, _SERVER_TDP_OTHER)
    return needed(accelerator, "tdp_w") * rated * (_UTILISATION_TPU if is_tpu else _UTILISATION_GPU)


def epoch_owned() -> Owned:
    """Return the terms of the preset `epoch-2024`."""
    return Owned.model_validate(catalog.raw("pricing", "epoch-2024")["owned"])


def epoch_cost(accelerator: AcceleratorRecord, accelerator_hours: float, year: float | None = None, *,
               hyperscaler: bool = True, decline: bool = True) -> dict[str, float]:
    """Return what a run costs under Epoch AI's assumptions, 2023 USD by part.

    Parameters
    ----------
    accelerator : AcceleratorRecord
        With a price and a TDP.
    accelerator_hours : float
        Of the run. Epoch takes the rate at its start for all of them, as here: the limit of a run short against the decline.
    year : float, optional
        When the run begins, decimal; absent: 1.5 years after the accelerator's release.
    hyperscaler : bool
        Whose buildings: PUE 1.10, or 1.25.
    decline : bool
        Whether the price falls from release to the start of the run.

    Returns
    -------
    dict
        "hardware", "interconnect", "energy", "total".

    Raises
    ------
    UserError
        The catalog lacks price, TDP or year of release, or there is no price index for the year.
    """
    year = release_year(accelerator) + TYPICAL_AGE_YEARS if year is None else year
    owned = epoch_owned()
    holding = owned_holding(owned if decline else owned.model_copy(update={"age_s": 0.0}), accelerator, 1, 0.0, year)
    factor = dollar_factor(int(year), DOLLARS)
    rates = {name: usd * _HOUR_S * factor for name, usd in holding.usd_per_s().items() if usd > 0.0}
    pue = _PUE_HYPERSCALER if hyperscaler else _PUE_OTHER
    rates["energy"] = epoch_power_w(accelerator) * _HOUR_S * pue * owned.electricity_for(None, int(year)) * factor
    parts = {name: rate * accelerator_hours for name, rate in rates.items()}
    return {**parts, "total": sum(parts.values())}


def cost_runs() -> list[CostRun]:
    """Return the published runs that ship with the project."""
    text = resources.files("simulator.validation").joinpath("data", "cost.csv").read_text(encoding="utf-8")
    return [CostRun(row["run"], row["accelerator"], float(row["accelerator_hours"]), date.fromisoformat(row["start"]),
                    row["hyperscaler"] == "yes", float(row["published_usd"]) if row["published_usd"] else None,
                    float(row["updated_usd"]) if row["updated_usd"] else None, row["remark"], row["source"])
            for row in csv.DictReader(text.splitlines())]


def predict(run: CostRun, *, decline: bool = True) -> float:
    """Return a published run's cost under Epoch AI's assumptions, 2023 USD."""
    accelerator = catalog.load("accelerators", run.accelerator)
    return epoch_cost(accelerator, run.accelerator_hours, decimal_year(run.start), hyperscaler=run.hyperscaler,
                      decline=decline)["total"]


def cost_rows() -> list[CostRow]:
    """Return all comparisons: Epoch's runs in the order of its table, then DeepSeek-V3.

    Runs that only the later update has are compared with it. It is another model: the remark of every run says how far off the
    same prices are where they do not fall from release to the start of the run, which is what the update looks like (inferred).
    """
    rows = []
    for run in cost_runs():
        remarks = [run.remark] if run.remark else []
        if run.updated_usd is not None:
            release = predict(run, decline=False) / run.updated_usd - 1.0
            remarks.append(f"later update {run.updated_usd / 1e6:.2f}: {release:+.0%} at the price of release")
        published = run.published_usd if run.published_usd is not None else run.updated_usd
        assert published is not None
        name = run.run if run.published_usd is not None else f"{run.run} (update)"
        rows.append(_row(name, published, predict(run), "; ".join(remarks)))
    deepseek = Holding((Rent(_DEEPSEEK_USD_PER_HOUR / _HOUR_S, 0.0),)).usd(_DEEPSEEK_HOURS * _HOUR_S)
    rows.append(_row("DeepSeek-V3", _DEEPSEEK_USD, sum(deepseek.values()), "rented at 2 USD per accelerator-hour"))
    return rows


def _row(run: str, published_usd: float, predicted_usd: float, remark: str) -> CostRow:
    return CostRow(run, published_usd, predicted_usd, predicted_usd / published_usd - 1.0, remark)


def cost_table(rows: list[CostRow]) -> str:
    """Return rows as a table in Markdown, millions of 2023 USD."""
    lines = ["| Run | published, M USD | predicted, M USD | error | remark |", "|---|---|---|---|---|"]
    lines += [f"| {r.run} | {r.published / 1e6:.2f} | {r.predicted / 1e6:.2f} | {r.error:+.1%} | {r.remark} |" for r in rows]
    return "\n".join(lines)

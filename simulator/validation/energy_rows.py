"""Rows of published energy, carbon and cost: what each of them counts, and what is wrong with those that count none.

Cells are read leniently ("~7,000,000", "1 (not applied)"), and only `run` is needed; what cannot be used has a plain reason.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from simulator import catalog
from simulator.catalog.records import AcceleratorRecord
from simulator.errors import UserError, unknown_name

# What a row's energy counts -> in words.
COUNTS = {
    "tdp": "accelerator-hours x TDP (a convention), x PUE where one is applied",
    "accelerators": "measured accelerators, x PUE",
    "system": "accelerators with their share of the nodes, x PUE",
    "node AC": "nodes at the plug",
    "node DC": "nodes behind their power supplies",
    "tdp and idle": "accelerator-hours x TDP, with measured idle nodes, network and cooling in place of PUE",
    "all": "nodes, network and storage, x PUE",
    "cost": "US dollars",
}
# First match counts: pattern in basis and notes, in small letters.
_BASES = (
    ("cost", r"capex|\bcost\b|cloud price|rental|amortised\+energy|usd"),
    ("tdp and idle", r"dynamic\s*\+\s*idle"),
    ("node DC", r"measured dc"),
    ("node AC", r"measured ac"),
    ("tdp", r"\btdp\b|peak power capacity"),
    ("accelerators", r"measured gpu|author \(muxup\)"),
    ("system", r"system|measured avg|w/chip|power-consumption"),
    ("all", r"all-in|meter"),
)
_NO_ENERGY = (
    (r"^embodied", "embodied carbon, no energy of a run"),
    (r"development\+final|experimentation|% of compute", "counts development and failed runs, with unpublished configurations"),
    (r"p1 of node power", "watts of an idle node, no energy; see the table of node powers"),
    (r"energy cut", "a saving, no energy of a run"),
)
_ACCELERATORS = (
    (r"v100", "v100-sxm2-32gb"), (r"a100[- ]?(sxm)?[- ]?40", "a100-sxm-40gb"), (r"a100", "a100-sxm-80gb"),
    (r"h100[- ]?pcie", "h100-pcie-80gb"), (r"h100", "h100-sxm-80gb"), (r"h800", "h800-sxm-80gb"), (r"h200", "h200-sxm-141gb"),
    (r"gb200", "gb200-nvl72"), (r"gb300", "gb300-nvl72"), (r"b200", "b200-sxm-180gb"), (r"mi250", "mi250x"),
    (r"mi300x", "mi300x"), (r"mi325x", "mi325x"), (r"mi355x", "mi355x"),
    *((rf"tpu[- ]?{v}(?!\w)", f"tpu-{v}") for v in ("v3", "v4", "v5e", "v5p", "v6e", "v7")),
    (r"trainium ?1", "trainium1"), (r"trainium ?2", "trainium2"), (r"gaudi ?2", "gaudi2"), (r"gaudi ?3", "gaudi3"),
)  # fmt: skip


@dataclass(frozen=True)
class EnergyRow:
    """One row as read; energies in MWh, carbon in t, None where nothing is published.

    Attributes
    ----------
    accelerator : AcceleratorRecord or None
        As in the catalog; without fans where the row says immersion.
    hours : float or None
        Accelerator-hours, published or count x wall-clock hours.
    counts : str
        Key of `COUNTS`.
    published_from : str
        How `published_mwh` came about, where it is not in the row.
    reason : str
        Why the row cannot be predicted; empty where it can.
    """

    run: str
    accelerator: AcceleratorRecord | None
    accelerators: float | None
    hours: float | None
    tokens: float | None
    pue: float | None
    carbon_kg_per_kwh: float | None
    published_mwh: float | None
    published_from: str
    published_t: float | None
    published_usd: float | None
    usd_per_hour: float | None
    counts: str
    reason: str


def number(text: str | None) -> float | None:
    """Return the first number in a cell (12.9 of "12.9 (as printed)", the mean of "350-400"), None where there is none."""
    cell = (text or "").replace(",", "").strip()
    pair = re.match(r"^(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)$", cell)
    if pair:
        return (float(pair[1]) + float(pair[2])) / 2.0
    found = re.search(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", cell)
    return float(found[0]) if found else None


def positive(text: str | None) -> float | None:
    """Return the first number in a cell where it is above 0 and finite."""
    value = number(text)
    return value if value is not None and 0.0 < value < 1e30 else None


def accelerator_of(cell: str) -> tuple[AcceleratorRecord | None, str]:
    """Return the accelerator that a cell names, and a reason where it names none, or several."""
    text = cell.lower().strip()
    if not text:
        return None, "no accelerator"
    if "/" in text:
        return None, f"{cell}: several accelerators, whose shares are not published"
    named = text if text in catalog.names("accelerators") else next((n for p, n in _ACCELERATORS if re.search(p, text)), None)
    if named is None:
        return None, unknown_name("accelerator", cell, catalog.names("accelerators"))
    record = catalog.load("accelerators", named)
    assert isinstance(record, AcceleratorRecord)
    if "immers" in text:
        record = record.model_copy(update={"fan_share": 0.0})
    return record, ""


def _counts(basis: str, notes: str) -> str:
    for text in (basis.lower(), notes.lower()):
        for name, pattern in _BASES:
            if re.search(pattern, text):
                return name
    return "system"


def _tokens(notes: str) -> float | None:
    found = re.search(r"(\d+(?:\.\d+)?)\s*([BT])\s*tok(?!\?)", notes)
    return float(found[1]) * {"B": 1e9, "T": 1e12}[found[2]] if found and not notes[found.end():].startswith("?") else None


def read_row(cells: dict[str, str]) -> EnergyRow:
    """Return a row as read; nothing in it raises."""
    basis, notes = cells.get("basis", ""), cells.get("notes", "")
    accelerator, reason = accelerator_of(cells.get("accelerator", ""))
    count, wall_h = positive(cells.get("count")), positive(cells.get("wallclock_h"))
    hours = positive(cells.get("gpu_hours")) or (count * wall_h if count and wall_h else None)
    counts, watts = _counts(basis, notes), positive(cells.get("W_per_accel_used"))
    pue, grid = positive(cells.get("PUE")), number(cells.get("grid_kgCO2_per_kWh"))
    circular = re.search(r"with pue (\d(?:\.\d+)?)", notes.lower())
    applied = float(circular[1]) if circular else pue or 1.0
    published, how = positive(cells.get("reported_energy_MWh")), ""
    published_t = positive(cells.get("reported_tCO2e"))
    if published is None and counts != "cost" and watts and hours:
        published, how = hours * watts * applied / 1e6, "published: hours x W"
    elif published is None and counts != "cost" and published_t and grid:
        published, how = published_t / grid, "published: carbon over intensity"
    if counts == "tdp and idle" and published_t and "embodied" in basis.lower():
        how = "; ".join(filter(None, (how, "published carbon has embodied carbon in it")))
    usd = positive(cells.get("reported_cost_USD"))
    price = re.search(r"\$\s*(\d+(?:\.\d+)?)\s*/\s*(?:gpu|chip|accelerator)?-?h", f"{basis} {notes}".lower())
    for pattern, why in _NO_ENERGY:
        if re.search(pattern, basis.lower()):
            reason = why
    if "do not use" in notes:
        reason = "the table says not to use it: " + notes.strip("; ")
    if not reason and published is None and published_t is None and usd is None and hours is None and not _tokens(notes):
        reason = "neither energy, carbon nor cost is published"
    return EnergyRow(cells.get("run", ""), accelerator, count, hours, _tokens(notes), applied if pue or circular else None, grid,
                     published, how, published_t, usd if counts == "cost" else None, float(price[1]) if price else None,
                     counts, reason)


def read_energy_rows(path: Path | None = None) -> list[EnergyRow]:
    """Return the rows of a CSV, the shipped one where no path is given; UserError where it cannot be read or has no `run`."""
    try:
        text = (path.read_text(encoding="utf-8-sig") if path
                else (resources.files("simulator.validation") / "data" / "energy.csv").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    table = [{(k or "").strip(): v.strip() if isinstance(v, str) else "" for k, v in row.items()}
             for row in csv.DictReader(text.splitlines())]
    missing = [key for key in ("run", "accelerator") if not table or key not in table[0]]
    if missing:
        raise UserError(f"{path}: no rows, or no column {missing[0]!r}; needed: run, accelerator; known: count, gpu_hours, "
                        "wallclock_h, PUE, grid_kgCO2_per_kWh, reported_energy_MWh, reported_tCO2e, reported_cost_USD, basis, "
                        "notes")
    return [read_row(cells) for cells in table]

"""The sections on what an answer rests on: inputs and their sources, assumptions, validation, provenance."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from pydantic import BaseModel

from simulator.catalog.records import Sourced
from simulator.distributions import Distribution
from simulator.fields import Quantity, file_key
from simulator.montecarlo.storage import catalog_hash, versions
from simulator.report import plots
from simulator.report.document.model import Code, Items, Paragraph, Section, Table, small
from simulator.report.loading import SavedStudy
from simulator.report.plots.drivers import quantity
from simulator.report.plots.validation import Checked
from simulator.report.style import amount
from simulator.validation.status import read_status
from simulator.validation.throughput import statistics

MEMORY = "FROM MEMORY"
_SCENARIO = "scenario file"
_LONGEST = 300
# What a reader asks for first, by path.
_KEY = ("model.name", "model.published_parameters", "training.tokens", "training.precision", "cluster.accelerator.name",
        "cluster.accelerators", "cluster.spares", "cluster.fabric.name", "cluster.power_limit", "failures.name",
        "checkpoint.interval", "checkpoint.storage_bandwidth", "facility.site.name", "facility.pue",
        "facility.site.carbon_intensity", "facility.site.electricity", "facility.power_cap", "pricing.rental.price",
        "goals.deadline", "goals.budget")


class Input(NamedTuple):
    """One value of a scenario: its path, how it is written, its source, and whether it is drawn once a trial."""

    path: str
    text: str
    source: str
    drawn: bool


def inputs(study: SavedStudy) -> list[Input]:
    """Return all values of a scenario that are not at their defaults, in order, with their sources."""
    return list(_walk(study.scenario, "", {}, ""))


def _walk(record: BaseModel, path: str, sources: dict[str, str], inside: str) -> Iterator[Input]:
    """Yield the values of a record; `sources` are those of the catalog record it stands in, at `inside`."""
    if isinstance(record, Sourced):
        sources, inside = record.sources, path
    for name, field in type(record).model_fields.items():
        value, key = getattr(record, name), file_key(name)
        here = f"{path}.{key}" if path else key
        if name in ("sources", "notes", "description") or value is None or value == field.get_default(call_default_factory=True):
            continue
        yield from _values(value, here, _kind(field.metadata, field.annotation), sources, inside)


def _kind(metadata: Sequence[Any], annotation: Any) -> str | None:
    """Return the kind of quantity that a field holds, however deep in its annotation that stands; None where it holds none."""
    found = next((m.kind for m in metadata if isinstance(m, Quantity)), None)
    return found or next(filter(None, (_kind(getattr(part, "__metadata__", ()), part) for part in get_args(annotation))), None)


def _values(value: Any, path: str, kind: str | None, sources: dict[str, str], inside: str) -> Iterator[Input]:
    if isinstance(value, BaseModel) and not hasattr(value, "describe"):
        yield from _walk(value, path, sources, inside)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for i, item in enumerate(value):
            yield from _values(item, f"{path}.{getattr(item, 'name', i)}", kind, sources, inside)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, f"{path}.{name}", kind, sources, inside)
    elif value not in ((), {}):
        key = path.removeprefix(f"{inside}.") if inside else ""
        yield Input(path, _text(value, kind), _source(key, sources) if inside else _SCENARIO,
                    isinstance(value, Distribution) and not value.aleatory)


def _source(key: str, sources: dict[str, str]) -> str:
    """Return the source of a key of a catalog record: its own, that of what it is a part of, or the record's."""
    words = key.split(".")
    for length in range(len(words), 0, -1):
        if (found := sources.get(".".join(words[:length]))) is not None:
            return found
    return sources.get("default", _SCENARIO)


def _text(value: Any, kind: str | None) -> str:
    if isinstance(value, Distribution):
        low, mid, high = (float(value.quantile(np.array(q))) for q in (0.05, 0.5, 0.95))
        return f"{value.name}: P5 {quantity(low, value.kind)}, P50 {quantity(mid, value.kind)}, P95 {quantity(high, value.kind)}"
    if isinstance(value, float | int) and not isinstance(value, bool) and kind is not None and math.isfinite(value):
        return quantity(float(value), kind)
    if hasattr(value, "describe"):
        return str(value.describe())
    return _cut(str(value))


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest - 1]}…"


def input_section(study: SavedStudy, found: list[Input]) -> Section:
    """Return the inputs that matter first, what is drawn, sources by record, and all values (folded)."""
    section = Section("Inputs and their sources")
    by_path = {one.path: one for one in found}
    key = [by_path[path] for path in _KEY if path in by_path]
    section.blocks.append(Table("Main inputs", ("input", "value", "source"), [[i.path, i.text, i.source] for i in key],
                                frozenset({0, 1, 2})))
    drawn = [i for i in found if i.drawn]
    if drawn:
        section.blocks.append(Table("Not known, drawn once a run", ("input", "distribution", "source"),
                                    [[i.path, i.text, i.source] for i in drawn], frozenset({0, 1, 2})))
    memory = [i for i in found if MEMORY in i.source]
    assumed = [i for i in found if "assumed" in i.source.lower() and i not in memory]
    section.blocks.append(Paragraph(
        f"{len(found):,} values are not at their defaults: {sum(i.source == _SCENARIO for i in found):,} from the scenario file, "
        f"the others from the catalog. The sources of {len(memory):,} are marked {MEMORY}: no document was at hand when they "
        f"were entered. {len(assumed):,} more are marked as assumed."))
    if memory:
        section.blocks.append(Table(f"Values marked {MEMORY}: check those that matter to you", ("input", "value", "source"),
                                    [[i.path, i.text, _cut(i.source)] for i in memory], frozenset({0, 1, 2}), folded=True))
    records = [[f"{kind}: {name}", _cut(source)] for kind, name, source in _records(study)]
    if records:
        section.blocks.append(Table("Catalog records and what they rest on", ("record", "source"), records, frozenset({0, 1})))
    section.blocks.append(Table("All values that are not at their defaults", ("input", "value", "source"),
                                [[i.path, i.text, _cut(i.source)] for i in found], frozenset({0, 1, 2}), folded=True))
    return section


def _records(study: SavedStudy) -> Iterator[tuple[str, str, str]]:
    """Yield kind, name and source of the catalog records that a scenario has."""
    s = study.scenario
    for kind, record in (("model", s.model), ("accelerator", s.cluster.accelerator), ("fabric", s.cluster.fabric),
                         ("failures", s.failures), ("site", s.facility.site), ("pricing", s.pricing)):
        if isinstance(record, Sourced) and record.sources:
            yield kind, str(getattr(record, "name", "")), record.sources.get("default", "see the values above")


def assumption_section(study: SavedStudy, found: list[Input]) -> Section:
    """Return what is taken for granted, as far as this scenario makes it matter."""
    s, section = study.scenario, Section("Assumptions")
    checkpoint = study.summary().get("checkpoint", {})
    every = checkpoint.get("interval_steps") or [0]
    mtbf_s = checkpoint.get("mtbf_s")
    lines = [
        f"Training is synchronous: a step waits for the slowest accelerator; {_unequal(s.cluster.variation)}.",
        f"Failures follow the profile {s.failures.name}"
        + (f": one in {amount(mtbf_s, 'time_s')} on average on this cluster." if mtbf_s else ": nothing fails."),
        f"Checkpoints are written {'beside computing' if s.checkpoint.mode == 'async' else 'while computing waits'}, every "
        f"{every[-1]:,.0f} steps ({_interval(s.checkpoint.interval_s)}).",
        "Efficiencies of a hardware generation and its software are fixed numbers, calibrated on published step times; their "
        "error is not in the ranges.",
        f"The machine is {'rented' if s.pricing.rental is not None else 'owned'}; failed experiments, staff outside of it and "
        f"data are not in the cost, unless research overhead is set (here: {_overhead(s.pricing)}).",
        "Carbon is operational, by the mean intensity of the place, and embodied where the catalog knows it; "
        f"embodied carbon of the rest of a node: {_text(s.carbon.embodied_node_kgco2e, 'carbon_mass')}.",
        f"Prices, weather and intensity {'follow the calendar of the scenario' if s.calendar else 'do not change over time'}.",
        "Evaluation, data loading that stalls, post-training and serving are not modelled. Equations and what is left out: "
        "docs/model.md.",
    ]
    notes = [f"{kind} {getattr(record, 'name', '')}: {record.notes}" for kind, record in
             (("Accelerator", s.cluster.accelerator), ("Failures", s.failures), ("Fabric", s.cluster.fabric)) if record.notes]
    places: dict[str, str] = {}
    for one in found:
        if "assumed" in one.source.lower():
            places.setdefault(one.source, one.path)
    assumed = [f"{path}: {source}" for source, path in places.items()]
    section.blocks += [Items(lines)]
    if assumed or notes:
        section.blocks += [Paragraph("Said by the sources of the catalog:"), Items([_cut(text) for text in (*assumed, *notes)])]
    return section


def _unequal(variation: Any) -> str:
    spread = variation.speed_spread
    if isinstance(spread, float):
        return f"speeds vary by {100 * spread:.2g} % from one to another" if spread else "all are of equal speed"
    return f"speeds vary from one to another ({_text(spread, 'ratio')})"


def _interval(interval: Any) -> str:
    return f"interval chosen by the rule {interval!r}" if isinstance(interval, str) else "interval as given"


def _overhead(pricing: Any) -> str:
    value = pricing.research_overhead
    return _text(value, "ratio") if isinstance(value, Distribution) else f"{value:g} times the run"


def validation_section(study: SavedStudy, checked: Checked) -> Section:
    """Return how far the parts that this study used are from what was published."""
    section = Section("Validation of the parts used")
    accelerator = study.scenario.cluster.accelerator
    rows = []
    if checked.cases:
        for name, mine in _groups(study, checked).items():
            if any(mine):
                s = statistics(checked.errors[np.array(mine)])
                rows.append([name, f"{s['rows']:.0f}", f"{100 * s['mean_absolute_error']:.1f} %", f"{100 * s['median']:.1f} %",
                             f"{100 * s['bias']:+.1f} %", f"{100 * s['worst']:+.1f} %"])
        size = np.abs(checked.errors)
        section.blocks.append(small(
            "validation", f"Predicted over published step times on {accelerator.generation} accelerators, worked out as this "
            "report was made.", f"Scatter of {size.size} errors of step time on {accelerator.generation}: "
            f"mean {size.mean():.1%}, worst {size.max():.1%}.", plots.validation, study, height=4.0))
        section.blocks.append(Table("Step times: predicted against published", (
            "rows", "number", "mean error", "median", "bias", "worst"), rows))
    else:
        section.blocks.append(Paragraph(f"No published step time on {accelerator.generation} accelerators is shipped: the step "
                                        "model is not validated for this hardware."))
    others = [row for row in read_status() if row.accelerator == accelerator.name or row.scenario == study.folder.name]
    same = {row.accelerator for row in others}
    rest = others or [row for row in read_status() if row.accelerator.split("-")[0] == accelerator.name.split("-")[0]]
    if rest:
        said = accelerator.name if same else f"accelerators like {accelerator.name}"
        section.blocks.append(Table(f"Energy, cost and whole runs on {said}: predicted against published", (
            "published run", "quantity", "error", "remark"),
            [[r.run, r.quantity, f"{100 * r.error:+.1f} %", _cut(r.remark, 110)] for r in rest], frozenset({0, 1, 3})))
    section.blocks.append(Paragraph("Error is predicted over published, less one. All rows, sources and the method: "
                                    "docs/validation.md, made by `clustercost validate`."))
    return section


def _groups(study: SavedStudy, checked: Checked) -> dict[str, list[bool]]:
    """Return which rows are of the generation, of the accelerator itself, and of models as large."""
    accelerator = study.scenario.cluster.accelerator
    large = [case.parameters >= 1e9 for case in checked.cases]
    return {f"{accelerator.generation}, all": [True] * len(checked.cases),
            f"{accelerator.generation}, models of 1 B and more": large,
            f"on {accelerator.name}": [case.accelerator.name == accelerator.name for case in checked.cases],
            f"on 512 accelerators and more, {accelerator.generation}": [
                float(np.prod([case.layout.data, case.layout.tensor, case.layout.pipeline, case.layout.context])) >= 512
                for case in checked.cases]}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def provenance_section(studies: list[SavedStudy], command: str) -> Section:
    """Return where results and report come from, and how to make them again."""
    section = Section("Provenance, and how to make it again")
    for study in studies:
        p, now = study.provenance, versions()
        made, machine = _mapping(p.get("versions")), _mapping(p.get("machine"))
        rows = [["results folder", str(study.folder)], ["command", str(p.get("command", "unknown"))],
                ["seed", str(p.get("seed", "unknown"))], ["runs", f"{len(study):,}"], ["made at", str(p.get("time", "unknown"))],
                ["catalog hash", f"{p.get('catalog_hash', 'unknown')}" + (
                    "" if p.get("catalog_hash") == catalog_hash() else f" (this report: {catalog_hash()})")],
                ["machine", ", ".join(f"{key} {value}" for key, value in machine.items()) or "unknown"],
                ["versions", ", ".join(f"{key} {value}" + ("" if now.get(key) in (value, None) else f" (this report: {now[key]})")
                                       for key, value in made.items()) or "unknown"]]
        section.blocks.append(Table(study.scenario.name, ("", ""), [[_cut(a), _cut(b)] for a, b in rows], frozenset({0, 1})))
    first = studies[0]
    number = _mapping(first.provenance.get("versions")).get("clustercost")
    lines = [shlex.join(["pip", "install", f"clustercost=={number}" if number else "clustercost"])]
    for i, study in enumerate(studies, start=1):
        lines.append(f"clustercost run {shlex.quote(str(study.folder / 'scenario.yaml'))} --trials {len(study)} "
                     f"--seed {study.scenario.monte_carlo.seed} --out again-{i}")
    lines.append(command)
    section.blocks.append(Paragraph("With the same versions, numbers are the same to the last digit, in any number of workers:"))
    section.blocks.append(Code("\n".join(lines)))
    return section

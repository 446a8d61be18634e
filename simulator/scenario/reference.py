"""The reference of scenario files as Markdown, made from the schema: every key with its unit, bounds, default and meaning."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from simulator.catalog import KINDS as RECORDS
from simulator.catalog.records import Sourced
from simulator.fields import Quantity, QuantityOrName, QuantityOrTable, Record, ShareOrSwitch, file_key
from simulator.scenario.facility import Place
from simulator.scenario.lifecycle import LifecycleScenario
from simulator.scenario.models import CATALOG, DEFAULTS, Scenario
from simulator.scenario.pricing import Pricing
from simulator.scenario.queueing import QueueScenario, RentOnly
from simulator.scenario.reference_words import (
    CATALOG_TITLES,
    HEAD,
    JOBS,
    LIFECYCLE,
    RECORDS_HEAD,
    SERIES,
    SERVING,
    TRAINING,
    UNITS,
)
from simulator.scenario.series import Series, SeriesOrQuantity
from simulator.scenario.series_profiles import ClockRange, Fixed, OfField
from simulator.scenario.serving import ServingPrice, ServingScenario
from simulator.scenario.training import BatchPhase, Training
from simulator.units import KINDS, parse_quantity

_YEAR_S = 365.25 * 86400.0
# Records that stand at a path where training files have another.
_TITLES: dict[type[BaseModel], str] = {Place: "facility in jobs and serving files", RentOnly: "pricing in a jobs file",
                                       ServingPrice: "pricing in a serving file"}
_WITH_PRESET = (Pricing, *(RECORDS[kind] for kind in CATALOG.values() if kind != "pricing"))
# Units in which a default reads best, the largest first.
_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "time": ((_YEAR_S, "years"), (86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s")),
    "bandwidth": ((1e12, "TB/s"), (1e9, "GB/s"), (1.0, "B/s")),
    "rate": ((1.0 / 86400.0, "per day"), (1.0 / _YEAR_S, "per year")),
    "temperature": ((1.0, "degC"),),
}
_ABSENT = re.compile(r"(?:^|; )absent: ([^;]*)")
_LINK = re.compile(r"docs/([\w/]+\.md)(?:, section ([a-z][\w ]+\w))?")
_LARGE = 1e9  # a bound from here on says only that loops end


class Section(NamedTuple):
    """A table of the reference: the keys of one record, at the path where it first stands in a file, or "" at the top."""

    title: str
    path: str
    record: type[BaseModel]


def markdown() -> str:
    """Return docs/scenario.md: units, the four kinds of file, series, and the records of the catalog."""
    groups = _groups()
    places = {section.record: section.title for _, group in groups for section in group}
    parts = [HEAD, _unit_table()]
    for head, group in groups:
        parts.append(head)
        for section in group:
            parts += _section(section, places)
    return "\n\n".join(parts) + "\n"


def _groups() -> list[tuple[str, list[Section]]]:
    records = [Section(title, title, RECORDS[kind]) for kind, title in CATALOG_TITLES.items()]
    known: dict[type[BaseModel], str] = {section.record: section.title for section in records} | {Series: ""}
    files = [(head, [Section("", "", root), *_below(root, "", known)])
             for head, root in ((TRAINING, Scenario), (JOBS, QueueScenario), (SERVING, ServingScenario),
                                (LIFECYCLE, LifecycleScenario))]
    series = [Section("", "", Series), *_below(Series, "", known)]
    below = [part for section in records for part in (section, *_below(section.record, section.path, known))]
    return [*files, (SERIES, series), (RECORDS_HEAD, below)]


def _below(record: type[BaseModel], path: str, known: dict[type[BaseModel], str]) -> Iterator[Section]:
    """Yield the sections of a record's fields, and theirs; each record once, and one that another has all keys of not at all."""
    for name, field in record.model_fields.items():
        for part in _records_in(field.annotation):
            if _documented(part, known) is None:
                here = f"{path}.{file_key(name)}" if path else file_key(name)
                known[part] = _TITLES.get(part, here)
                yield Section(known[part], here, part)
                yield from _below(part, here, known)


def _documented(record: type[BaseModel], places: Mapping[type[BaseModel], str]) -> str | None:
    """Return the title of the section that has the keys of a record."""
    same = (title for other, title in places.items()
            if issubclass(other, record) and set(other.model_fields) == set(record.model_fields))
    return places[record] if record in places else next(same, None)


def _records_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _records_in(part)


def _section(section: Section, places: Mapping[type[BaseModel], str]) -> list[str]:
    level = "#" * (3 + min(section.path.count("."), 2))
    head = [f"{level} {section.title}", _linked(inspect.getdoc(section.record) or "")] if section.title else []
    rows = [_row(section, name, field, places) for name, field in section.record.model_fields.items()
            if not (issubclass(section.record, Sourced) and name in Sourced.model_fields)]
    rows += _short_forms(section, places)
    return [*head, "\n".join(["| Key | Meaning | Unit | Default | Allowed |", "|---|---|---|---|---|", *rows])]


def _row(section: Section, name: str, field: FieldInfo, places: Mapping[type[BaseModel], str]) -> str:
    path = (*(section.path.split(".") if section.path else ()), file_key(name))
    shelf = CATALOG.get(path)
    quantity = _quantity(field)
    meaning = field.description or _first_sentence(field)
    default = f"`{DEFAULTS[path]}`" if path in DEFAULTS else _default(field, quantity)
    if match := _ABSENT.search(meaning):
        default, meaning = match[1].strip(), _ABSENT.sub("", meaning).strip()
    allowed = _allowed(field, quantity, shelf, places)
    return f"| `{path[-1]}` | {_sentence(meaning)} | {_unit(quantity)} | {default} | {allowed} |"


def _sentence(text: str) -> str:
    """Return a meaning as a cell holds it; its source goes on a new line."""
    return _linked(text.replace("|", "\\|").replace(". Source: ", "<br>Source: "))


def _linked(text: str) -> str:
    """Return a text in which documents, and their sections, are links."""
    def link(match: re.Match[str]) -> str:
        name, section = match[1], match[2]
        return f"[{name}, {section}]({name}#{anchor(section)})" if section else f"[{name}]({name})"

    return _LINK.sub(link, text)


def _first_sentence(field: FieldInfo) -> str:
    for part in _records_in(field.annotation):
        text = (inspect.getdoc(part) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
        return text[:1].lower() + text[1:]
    return ""


def _quantity(field: FieldInfo) -> Any:
    """Return the annotation that reads a field's quantity (of a table: its values), or None."""
    known = (Quantity, OfField, ClockRange)
    nested = [marker for part in _parts(field.annotation) if get_origin(part) is Annotated for marker in part.__metadata__]
    return next((marker for marker in (*field.metadata, *reversed(nested)) if isinstance(marker, known)), None)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _parts(part)


def _unit(quantity: Any) -> str:
    if isinstance(quantity, OfField):
        return "share, or degC" if quantity.swing else "the field's own"
    if not isinstance(quantity, Quantity):
        return ""
    if quantity.kind == "ratio" and quantity.high <= 1.0:
        return "share"
    return UNITS[quantity.kind]


def _allowed(field: FieldInfo, quantity: Any, shelf: str | None, places: Mapping[type[BaseModel], str]) -> str:
    """Return what may stand there, in words."""
    said = [f"a name of `clustercost catalog {shelf}`"] if shelf else []
    if isinstance(quantity, ClockRange):
        said.append(quantity.what)
    elif isinstance(quantity, OfField):
        said.append("one quantity")
    elif isinstance(quantity, Quantity):
        said += [f"`{name}`" for name in quantity.names] if isinstance(quantity, QuantityOrName) else []
        said += ["`true`", "`false`"] if isinstance(quantity, ShareOrSwitch) else []
        said += ["a table"] if get_origin(field.annotation) is dict else []
        said.append(_bounds(quantity))
        said += ["a table by name"] if isinstance(quantity, QuantityOrTable) else []
        said += ["a [series](#series)"] if isinstance(quantity, SeriesOrQuantity) else []
    else:
        said += _listed(field.metadata) or _forms(field.annotation, places)
    return ", ".join(dict.fromkeys(said)).replace("a table, ", "a table: ")


def _bounds(quantity: Quantity) -> str:
    low, high = (human(end, quantity.kind) for end in (quantity.low, quantity.high))
    if quantity.high < _LARGE:
        text = f"above {low}, up to {high}" if quantity.above else f"{low} to {high}"
    elif quantity.low <= -_LARGE:
        text = "any, also below 0"
    else:
        text = f"above {low}" if quantity.above else f"{low} or more"
    text = f"whole, {text}" if quantity.whole else text
    return text + ("; one number" if isinstance(quantity, Fixed) else "; drawn at every event" if quantity.aleatory else "")


def _forms(annotation: Any, places: Mapping[type[BaseModel], str]) -> list[str]:
    """Return the forms of a value that is no quantity: names, text, mappings and lists of them."""
    origin = get_origin(annotation)
    if annotation is type(None):
        return []
    if origin is Annotated:
        return _forms(get_args(annotation)[0], places)
    if origin is Literal:
        return [f"`{name}`" for name in get_args(annotation)]
    if origin in (Union, types.UnionType):
        return [form for part in get_args(annotation) for form in _forms(part, places)]
    if origin is tuple:
        items = get_args(annotation)
        many = "list" if items[-1] is ... else f"list of {len(items)}"
        return [f"{many}: {' or '.join(_forms(items[0], places))}"]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        title = _documented(annotation, places) or "series"
        return [f"[{title}](#{anchor(title)})"]
    words = {str: "text", bool: "`true`, `false`", date: "date", datetime: "date and time (ISO 8601)", float: "number",
             int: "whole number"}
    return [words.get(annotation, "a quantity")]


def _listed(markers: list[Any]) -> list[str]:
    """Return the forms that an annotation of the schema lists: names, and lists of names."""
    found = []
    for marker in markers:
        if hasattr(marker, "__get_pydantic_json_schema__"):
            for option in marker.__get_pydantic_json_schema__(None, None).get("anyOf", ()):
                found += [f"`{name}`" for name in option.get("enum", ())]
                found += [f"list: {', '.join(f'`{name}`' for name in option['items']['enum'])}"] if "items" in option else []
    return found


def _default(field: FieldInfo, quantity: Any) -> str:
    if field.is_required():
        return "-"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, BaseModel) or value in ((), {}):
        return "empty" if value in ((), {}) else "its defaults"
    if isinstance(quantity, ClockRange):
        return f"{value[0]}-{value[1]}"
    if isinstance(value, tuple):
        return "one, " + ", ".join(f"`{item.name}`" for item in value) if hasattr(value[0], "name") else f"{list(value)}"
    if isinstance(value, str):
        return f"`{value}`"
    return human(float(value), quantity.kind if isinstance(quantity, Quantity) else "ratio")


def human(value: float, kind: str) -> str:
    """Return an SI number in a unit that people use, such as "10 min"; it reads back as the same number."""
    if value in (0.0, math.inf, -math.inf):
        return f"{value:g}"
    for factor, unit in _SCALES.get(kind, ()):
        text = f"{value / factor:.4g} {unit}"
        large = abs(value) >= factor or factor == _SCALES[kind][-1][0]
        if large and math.isclose(parse_quantity(text, kind), value, rel_tol=1e-9):
            return text
    return f"{value:.15g} {KINDS[kind][0]}".strip()


def anchor(title: str) -> str:
    """Return the anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _short_forms(section: Section, places: Mapping[type[BaseModel], str]) -> Iterator[str]:
    """Yield the rows of keys that files may have and records have not: what loading replaces."""
    if section.record is Training:
        for name in ("batch", "sequence"):
            meaning = f"{BatchPhase.model_fields[name].description}; with the other, short for a schedule of one phase"
            short = FieldInfo.merge_field_infos(BatchPhase.model_fields[name], description=meaning)
            yield _row(Section("", "", BatchPhase), name, short, places)
    if section.record in (Scenario, QueueScenario, ServingScenario):
        yield "| `extends` | a scenario file that this one changes, relative to this file |  | none | text |"
        recovery = "[failures.recovery](#failuresrecovery)"
        yield f"| `recovery` | times laid over those of the failure profile |  | none | {recovery} |"
    if section.record in _WITH_PRESET:
        yield "| `preset` | the record to start from |  | none | a name of the catalog |"


def _unit_table() -> str:
    lines = ["| Unit | SI | Such as |", "|---|---|---|"]
    lines += [f"| {UNITS[kind]} | {si or '1'} | `{example}` |" for kind, (si, example) in KINDS.items()]
    return "\n".join(lines)

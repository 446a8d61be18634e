"""pydantic's errors in a planner's words: file, line, key, what was found, what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simulator import catalog
from simulator.errors import UserError, nearest, unknown_name
from simulator.fields import Quantity, Record, file_key
from simulator.scenario.models import CATALOG, Scenario
from simulator.scenario.paths import RAW_KEYS, field_at, keys_at
from simulator.scenario.reading import Mark, Path, dotted, place
from simulator.units import KINDS, shorten

_MOST = 10
_KIND = {"models": "model", "accelerators": "accelerator", "fabrics": "fabric", "failures": "failure profile",
         "sites": "site", "pricing": "pricing preset"}
_TAGS = ("<mapping>", "<auto>", "[key]")  # what pydantic puts into a path beside keys
_LACKING_CONTAINER = {"model_type", "model_attributes_type", "dict_type", "tuple_type", "list_type"}


def explain(error: ValidationError, positions: dict[Path, Mark], file: str,
            root: type[Record] = Scenario) -> UserError:
    """Return one UserError for all that is wrong with a scenario: a line each, at most ten.

    Parameters
    ----------
    error : ValidationError
        Of `root`, validated from a mapping in file form.
    positions : dict
        The mark of every path; a path without one (a value of the catalog) takes its parent's.
    file : str
        The file the user named, for the head line.
    root : type
        `Scenario` or `QueueScenario`.
    """
    problems = list(dict.fromkeys(_lines(error, positions, root)))
    if len(problems) == 1:
        return UserError(problems[0])
    shown = problems[:_MOST]
    if len(problems) > _MOST:
        shown.append(f"... and {len(problems) - _MOST} more")
    return UserError("\n  ".join([f"{file}: {len(problems)} problems", *shown]))


def _lines(error: ValidationError, positions: dict[Path, Mark], root: type[Record]) -> Iterator[str]:
    details = error.errors(include_url=False)
    unknown_presets = [_path(d)[:-1] for d in details if d["type"] == "extra_forbidden" and d["loc"][-1] == "preset"]
    for detail in details:
        path = _path(detail)
        if detail["type"] == "missing" and path[:-1] in unknown_presets:
            continue  # the record is incomplete because its preset is unknown, which is reported itself
        at, message = _message(detail, path, root)
        where, written = place(positions, path if detail["type"] == "missing" and path in positions else at)
        if detail["type"] == "extra_forbidden" and path[-1] != "preset":
            written = written[:-1]  # the message names the key itself
        yield f"{where}: {dotted(written)}: {message}" if written else f"{where}: {message}"


def _path(detail: ErrorDetails) -> Path:
    """Return the path in file form: without pydantic's tags, with the field a `FieldError` names."""
    *way, last = detail["loc"] or ("",)
    path = tuple(step for step in way if not (isinstance(step, str) and step in _TAGS))
    if last not in _TAGS or detail["type"] in ("missing", "extra_forbidden"):  # then it is a key, whatever it looks like
        path = (*path, last) if detail["loc"] else path
    broken = detail.get("ctx", {}).get("error")
    extra = getattr(broken, "path", ())
    return (*path, *(int(step) if step.isdigit() else step for step in extra))


def _message(detail: ErrorDetails, path: Path, root: type[Record]) -> tuple[Path, str]:
    """Return the path to show and the message."""
    kind, found, context = detail["type"], detail["input"], detail.get("ctx", {})
    parent = path[:-1]
    if kind == "missing":
        return parent, f"missing key {path[-1]!r}{_example(path, root)}"
    if kind == "extra_forbidden":
        return _unknown_key(path, found, root)
    if kind == "value_error":
        return path, str(context["error"])
    if path in CATALOG and isinstance(found, str):
        return path, _unknown_catalog_name(path, found)
    if kind in _LACKING_CONTAINER:
        return path, f"found {shorten(found)}; allowed: {_container(path, detail, root)}"
    if kind == "literal_error":
        choices = [str(choice) for choice in _literals(context["expected"])]
        guess = nearest(found, choices) if isinstance(found, str) else None
        hint = f"; did you mean {guess!r}?" if guess else ""
        return path, f"found {shorten(found)}; allowed: {', '.join(choices)}{hint}"
    if kind == "invalid_key":
        return parent, f"found the key {shorten(path[-1])}; allowed: keys that are names"
    if kind == "string_type":
        return path, f"found {shorten(found)}; allowed: text (in quotes if it looks like a number)"
    if kind.startswith("bool"):
        return path, f"found {shorten(found)}; allowed: true or false"
    if kind in ("too_short", "string_too_short"):
        return path, f"found {shorten(found)}; allowed: at least one {'character' if 'string' in kind else 'entry'}"
    return path, f"found {shorten(found)}; {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _literals(expected: str) -> list[str]:
    """Return the choices of pydantic's text "'none', 'selective' or 'full'"."""
    return [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]


def _unknown_key(path: Path, found: Any, root: type[Record]) -> tuple[Path, str]:
    *head, key = path
    parent = tuple(head)
    if key == "preset" and parent in CATALOG:
        if isinstance(found, str):
            return path, _unknown_catalog_name(parent, found)
        return path, f"found {shorten(found)}; allowed: a name of `clustercost catalog {CATALOG[parent]}`"
    allowed = (*keys_at(parent, root), *RAW_KEYS.get(parent, ()))
    bare = file_key(str(key))
    if bare != key and bare in allowed:
        return path, f"unknown key {key!r}; did you mean {bare!r}?"
    return path, unknown_name("key", str(key), allowed)


def _unknown_catalog_name(path: Path, found: str) -> str:
    names = catalog.names(CATALOG[path])
    if found in names:
        return f"found {found!r}; allowed: a mapping"
    return unknown_name(_KIND[CATALOG[path]], found, names)


def _container(path: Path, detail: ErrorDetails, root: type[Record]) -> str:
    if detail["type"] in ("tuple_type", "list_type"):
        return "a list"
    names = keys_at(path, root)
    text = f"a mapping of {', '.join(names[:8])}" + (", ..." if len(names) > 8 else "") if names else "a mapping"
    if detail["loc"] and detail["loc"][-1] == "<mapping>":
        return f"auto, or {text}"
    return f"a name of `clustercost catalog {CATALOG[path]}`, or {text}" if path in CATALOG else text


def _example(path: Path, root: type[Record]) -> str:
    """Return a hint for a missing key: an example of its quantity, or where to find names."""
    if path in CATALOG:
        return f"; allowed: a name of `clustercost catalog {CATALOG[path]}`, or a mapping"
    field = field_at(path, root)
    for extra in field.metadata if field else ():
        if isinstance(extra, Quantity):
            return f"; allowed: a quantity such as {KINDS[extra.kind][1]!r}"
    return ""

"""JSON Schema of a scenario file, for editors; and the starter file."""

from __future__ import annotations

from importlib import resources
from typing import Any

from simulator import catalog
from simulator.scenario.models import CATALOG, Scenario

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
# Asked of a file that extends no other; sections merge, so elsewhere nothing is required.
_REQUIRED: dict[str, list[str]] = {
    "": ["name", "model", "training", "cluster", "checkpoint"],
    "training": ["tokens"],
    "cluster": ["accelerator", "accelerators"],
    "checkpoint": ["storage_bandwidth"],
}
# Items of lists never merge and are always whole, and so are the forms of a series.
_WHOLE = ("BatchPhase", "FailureComponent", "Synthetic", "Solar", "Wind", "Tariff", "Period")


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a scenario file.

    Catalog fields take a name (listed as examples: the catalog may grow) or a mapping, with `preset` for a record to
    start from; quantities take a string or a distribution.
    """
    schema = Scenario.model_json_schema(by_alias=True, mode="validation")
    shared: dict[str, Any] = {}
    schema = _share_series(schema, shared)
    definitions: dict[str, Any] = schema["$defs"]
    definitions.update(shared)
    for name, definition in definitions.items():
        if name not in _WHOLE:
            definition.pop("required", None)
    schema.pop("required", None)
    for path, kind in CATALOG.items():
        if path[0] in schema["properties"]:  # others are of serving files
            _allow_names(schema, path, kind)
    _allow_short_forms(schema)
    nested = {key: {"required": keys} for key, keys in _REQUIRED.items() if key}
    whole = {"required": _REQUIRED[""], "properties": nested}
    return {"$schema": _DRAFT, "title": "clustercost scenario", **{k: v for k, v in schema.items() if k != "title"},
            "if": {"not": {"required": ["extends"]}}, "then": whole}


def _share_series(value: Any, shared: dict[str, Any]) -> Any:
    """Return a copy in which every field that may hold a series refers to one definition of it."""
    if isinstance(value, list):
        return [_share_series(item, shared) for item in value]
    if not isinstance(value, dict):
        return value
    copied = {key: _share_series(item, shared) for key, item in value.items()}
    if copied.get("title") != "Series" or "properties" not in copied:
        return copied
    shared["Series"] = copied
    return {"$ref": "#/$defs/Series"}


def starter() -> str:
    """Return the text of a commented scenario file to start from."""
    return resources.files("simulator.scenario").joinpath("starter.yaml").read_text(encoding="utf-8")


def _allow_names(schema: dict[str, Any], path: tuple[str | int, ...], kind: str) -> None:
    owner = schema
    for step in path[:-1]:
        owner = schema["$defs"][owner["properties"][step]["$ref"].rsplit("/", 1)[1]]
    old = owner["properties"][path[-1]]
    options = old.get("anyOf", [old])
    names = {"type": "string", "description": f"a name of `clustercost catalog {kind}`", "examples": catalog.names(kind)}
    owner["properties"][path[-1]] = {"anyOf": [names, *options]}
    for option in options:
        if "$ref" in option:
            record = schema["$defs"][option["$ref"].rsplit("/", 1)[1]]
            record["properties"]["preset"] = {**names, "description": "the catalog record to start from"}


def _allow_short_forms(schema: dict[str, Any]) -> None:
    training = schema["$defs"]["Training"]["properties"]
    phase = schema["$defs"]["BatchPhase"]["properties"]
    for key in ("batch", "sequence"):
        training[key] = {**phase[key], "description": f"{phase[key].get('description', key)}; short for a single phase"}
    schema["properties"]["extends"] = {"type": "string", "description": "a scenario file that this one changes, "
                                                                        "relative to this file"}
    schema["properties"]["recovery"] = {"$ref": "#/$defs/Recovery"}

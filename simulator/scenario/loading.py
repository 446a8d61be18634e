"""From a file to a `Scenario`: read, extend, look up the catalog, validate.

Raw stage (plain mappings in file form, with positions): `extends` chains are merged, catalog names and
`{preset: name, ...}` become whole records, `recovery` is laid over the failure profile. Then pydantic validates once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from simulator import catalog
from simulator.distributions import is_distribution
from simulator.errors import UserError
from simulator.fields import Record
from simulator.scenario.errors import explain
from simulator.scenario.models import CATALOG, DEFAULTS, Scenario
from simulator.scenario.queueing import QueueScenario
from simulator.scenario.reading import MAX_DEPTH, Document, Mark, Path, parse_document, place, read_text
from simulator.scenario.series import FORMS, series_paths
from simulator.scenario.serving import ServingScenario
from simulator.scenario.trust import check_named_files

# Keys of which a child that gives one side drops the other side of what it extends.
_ALTERNATIVES: dict[Path, tuple[set[str], set[str]]] = {
    ("training",): ({"batch", "sequence"}, {"batch_schedule"}),
    ("pricing",): ({"rental"}, {"owned", "preset"}),
    ("pricing", "rental"): ({"price", "term"}, {"parts"}),
}
_SERIES = frozenset(series_paths(Scenario))
_MAX_CHAIN = 10
_INSIDE: Path = ("<record>",)  # a path without rules, for merges inside a catalog record
S = TypeVar("S", bound=Record)


def load_scenario(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Return the validated scenario of a YAML file.

    Parameters
    ----------
    path : str or path
        The file; what it `extends` is found relative to it.
    overrides : mapping, optional
        Nested values in file form laid over the file, as a file that extends it would
        (`{"cluster": {"accelerators": 2048}}`).

    Raises
    ------
    UserError
        With file, line, path in the file, what was found and what is allowed.
    """
    file = os.fspath(path)
    document = _read_with_parents(file, ())
    if overrides:
        plain = _plain(overrides)
        document = merge(document, Document(plain, _label(plain, "override")))
    if "jobs" in document.data and "training" not in document.data:
        where = place(document.positions, ("jobs",))[0]
        raise UserError(f"{where}: jobs: found a file of jobs; allowed here: a training run (`clustercost run` takes both)")
    return _validate(document, file, Scenario)


def load_file(path: str | os.PathLike[str]) -> Scenario | QueueScenario:
    """Return what a YAML file describes: a training run, or (with a section `jobs` and no `training`) a queue of jobs.

    The trace of a jobs file is found relative to the file that names it. Raises UserError as `load_scenario` does.
    """
    file = os.fspath(path)
    document = _read_with_parents(file, ())
    if "serving" in document.data and "training" not in document.data:
        where = place(document.positions, ("serving",))[0]
        raise UserError(f"{where}: serving: found a serving file; allowed here: a training run or jobs; use `clustercost serve`")
    if "jobs" not in document.data or "training" in document.data:
        return _validate(document, file, Scenario)
    return _validate(_with_trace(document, "jobs"), file, QueueScenario)


def load_serving(path: str | os.PathLike[str]) -> ServingScenario:
    """Return the validated scenario of a serving file; raise UserError as `load_scenario` does."""
    file = os.fspath(path)
    document = _read_with_parents(file, ())
    if "serving" not in document.data:
        found = "a file of jobs" if "jobs" in document.data else "no section 'serving'"
        raise UserError(f"{file}: found {found}; allowed here: a serving file; `clustercost run` takes training runs and jobs")
    return _validate(_with_trace(document, "load"), file, ServingScenario)


def serving_from_mapping(mapping: Mapping[str, Any], where: str = "inline") -> ServingScenario:
    """Return the validated serving scenario of a mapping in file form; its trace is relative to the working folder."""
    return _validate(_document(mapping, where), where, ServingScenario)


def _with_trace(document: Document, section: str) -> Document:
    """Return the document with the trace that a section names relative to the working folder, not to the file."""
    found = document.data.get(section)
    if not isinstance(found, dict) or not isinstance(found.get("trace"), str):
        return document
    folder = os.path.dirname(document.positions[section, "trace"].file)
    trace = os.path.normpath(os.path.join(folder, found["trace"]))
    return Document({**document.data, section: {**found, "trace": trace}}, document.positions)


def queue_from_mapping(mapping: Mapping[str, Any], where: str = "inline") -> QueueScenario:
    """Return the validated queue of jobs of a mapping in file form; its trace is relative to the working folder."""
    return _validate(_document(mapping, where), where, QueueScenario)


def scenario_over(base: Mapping[str, Any], overlay: Mapping[str, Any], where: str) -> Scenario:
    """Return the validated scenario of a mapping in file form with another laid over it, as a file that extends it would.

    `where` is the place that messages name. Raises UserError as `load_scenario` does.
    """
    plain = _plain(overlay)
    whole = merge(Document(dict(base), {(): Mark(where, 0, 0, ())}), Document(plain, _label(plain, where)))
    return _validate(whole, where, Scenario)


def scenario_from_mapping(mapping: Mapping[str, Any], where: str = "inline") -> Scenario:
    """Return the validated scenario of a mapping in file form; `where` names its origin in messages.

    A file it `extends` is found relative to the working folder.
    """
    return _validate(_document(mapping, where), where, Scenario)


def _document(mapping: Mapping[str, Any], where: str) -> Document:
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where}: found {type(mapping).__name__}; allowed: a mapping of name, model, training, ...")
    try:
        data = _plain(mapping)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return _extended(Document(data, {(): Mark(where, 0, 0, ())}), "", ())


def _read_with_parents(file: str, chain: tuple[str, ...]) -> Document:
    document = parse_document(read_text(file), file)
    check_named_files(document, file, file)
    return _extended(document, file, (*chain, file))


def _extended(document: Document, file: str, chain: tuple[str, ...]) -> Document:
    data = {key: value for key, value in document.data.items() if key != "extends"}
    parent = document.data.get("extends")
    if parent is None:
        return Document(data, document.positions)
    where = place(document.positions, ("extends",))[0]
    if not isinstance(parent, str) or not parent:
        raise UserError(f"{where}: extends: found {parent!r}; allowed: the name of one scenario file")
    parent_file = os.path.normpath(os.path.join(os.path.dirname(file), parent))
    shown = " -> ".join((*chain, parent_file))
    if os.path.realpath(parent_file) in {os.path.realpath(name) for name in chain}:
        raise UserError(f"{where}: extends: found a cycle: {shown}; allowed: a chain that ends")
    if len(chain) >= _MAX_CHAIN:
        raise UserError(f"{where}: extends: found a chain of more than {_MAX_CHAIN} files: {shown}")
    try:
        text = read_text(parent_file)
    except UserError as error:
        raise UserError(f"{where}: extends: {error}") from None
    base_document = parse_document(text, parent_file)
    check_named_files(base_document, parent_file, (*chain, parent_file)[0])
    base = _extended(base_document, parent_file, (*chain, parent_file))
    return merge(base, Document(data, document.positions))


def merge(base: Document, child: Document) -> Document:
    """Return `child` laid over `base`: mappings merge, everything else is replaced; positions follow their values."""
    positions = dict(base.positions)
    data = _merged(base.data, child.data, (), positions)
    positions.update(child.positions)
    return Document(data, positions)


def _merged(base: Any, child: Any, path: Path, positions: dict[Path, Mark]) -> Any:
    if path in CATALOG and isinstance(child, dict):
        if isinstance(base, str):
            base = {"preset": base}
            if path in positions:
                positions[(*path, "preset")] = positions[path]
        if "preset" in child:
            base = None
    another_series = path in _SERIES and isinstance(child, dict) and not child.keys().isdisjoint(FORMS)
    if another_series or not (_is_section(base) and _is_section(child)):
        _forget(path, base, positions)
        return child
    result = dict(base)
    for ours, theirs in (pair for sides in [_ALTERNATIVES.get(path)] if sides for pair in (sides, sides[::-1])):
        if ours & set(child):
            result = {key: value for key, value in result.items() if key not in theirs}
    for key, value in child.items():
        result[key] = _merged(result[key], value, (*path, key), positions) if key in result else value
    return result


def _is_section(value: Any) -> bool:
    """Whether a value is a mapping to merge into, and not a distribution, which is one value."""
    return isinstance(value, dict) and not is_distribution(value)


def _forget(path: Path, value: Any, positions: dict[Path, Mark]) -> None:
    if isinstance(value, dict | list):
        for key in [key for key in positions if key[: len(path)] == path and len(key) > len(path)]:
            del positions[key]


def _validate(document: Document, file: str, root: type[S]) -> S:
    data, positions = _resolve(document)
    try:
        return root.model_validate(data)
    except ValidationError as error:
        raise explain(error, positions, file, root) from None


def _resolve(document: Document) -> Document:
    """Return the document with whole records instead of catalog names, and the defaults of the catalog."""
    data = _plain(document.data)
    positions = dict(document.positions)
    data = _with_csv_paths(data, positions)
    for path, kind in CATALOG.items():
        parent = data
        for step in path[:-1]:
            parent = parent.get(step) if isinstance(parent, dict) else None
        if isinstance(parent, dict):
            key = path[-1]
            value = DEFAULTS.get(path) if parent.get(key) is None else parent[key]
            parent[key] = _record(kind, value, path, positions)
    _lay_recovery(data, positions)
    for key in ("batch", "sequence"):
        if ("training", key) in positions:
            positions.setdefault(("training", "batch_schedule", 0, key), positions["training", key])
    return Document(_without_nulls(data), positions)


def _with_csv_paths(value: Any, positions: dict[Path, Mark], path: Path = ()) -> Any:
    """Return a copy in which CSV files (of series, of distributions) are relative to the working folder, not to the scenario."""
    if isinstance(value, list):
        return [_with_csv_paths(item, positions, (*path, i)) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    copied = {key: _with_csv_paths(item, positions, (*path, key)) for key, item in value.items()}
    if isinstance(value.get("csv"), str) and (*path, "csv") in positions and positions[*path, "csv"].line:
        copied["csv"] = os.path.normpath(os.path.join(os.path.dirname(positions[*path, "csv"].file), value["csv"]))
    return copied


def _record(kind: str, value: Any, path: Path, positions: dict[Path, Mark]) -> Any:
    """Return the record in file form; an unknown name stays as it is, for `explain` to report with the rest."""
    name = value.get("preset") if isinstance(value, dict) else value
    if not isinstance(name, str) or name not in catalog.names(kind):
        return value
    try:
        record = catalog.raw(kind, name)
    except UserError as error:
        raise UserError(f"{place(positions, path)[0]}: {error}") from None
    if isinstance(value, str):
        return record
    rest = {key: item for key, item in value.items() if key != "preset"}
    return _merged(record, rest, _INSIDE, {})


def _lay_recovery(data: dict[str, Any], positions: dict[Path, Mark]) -> None:
    if "recovery" not in data or not isinstance(data.get("failures"), dict):
        return
    recovery = data.pop("recovery")
    if recovery is None:
        return
    failures = dict(data["failures"])
    base = failures.get("recovery", {})
    failures["recovery"] = _merged(base, recovery, _INSIDE, {}) if _is_section(base) else recovery
    data["failures"] = failures
    for path in [path for path in positions if path[:1] == ("recovery",)]:
        positions["failures", *path] = positions[path]


def _without_nulls(value: Any) -> Any:
    """Return a copy without keys whose value is null: they mean the default."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a copy of mappings and sequences as dict and list, refusing what nests too deep."""
    if depth > MAX_DEPTH:
        raise UserError(f"found values nested deeper than {MAX_DEPTH} levels; allowed: fewer")
    if isinstance(value, Mapping):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    return [_plain(item, depth + 1) for item in value] if isinstance(value, list | tuple) else value


def _label(value: Any, label: str, path: Path = ()) -> dict[Path, Mark]:
    marks = {path: Mark(label, 0, 0, path)} if path else {}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        marks.update(_label(item, label, (*path, key)))
    return marks

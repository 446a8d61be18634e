"""What may stand at a path of a scenario file, from the types of its models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from simulator.errors import nearest
from simulator.fields import Quantity, Record, file_key
from simulator.scenario.models import CATALOG, Scenario
from simulator.scenario.reading import Path, dotted

# Keys that a file may use beside those of the models, by path.
RAW_KEYS: dict[Path, tuple[str, ...]] = {
    (): ("extends", "recovery"),
    ("training",): ("batch", "sequence"),
    **{path: ("preset",) for path in CATALOG},
}
_DEEPEST = 6


def quantity_at(text: str) -> Quantity | None:
    """Return how the quantity at a path of a scenario is read ("checkpoint.interval"); None where there is none."""
    field = field_at(_steps(text), Scenario)
    if field is None:
        return None
    return next((found for found in (*field.metadata, *_metadata(field.annotation)) if isinstance(found, Quantity)), None)


def nearest_path(text: str) -> str | None:
    """Return the path of a scenario nearest to one that is wrong, with the same last name if possible; None where it is right."""
    plain = dotted(tuple(0 if isinstance(step, int) else step for step in _steps(text)))
    paths = known_paths()
    if plain in paths:
        return None
    last = plain.rsplit(".", 1)[-1]
    same = [path for path in paths if path.rsplit(".", 1)[-1] == last]
    return nearest(plain, same) or min(same, key=len, default=None) or nearest(plain, paths)


def _steps(text: str) -> Path:
    """Return the steps of a path; what a file may write elsewhere (`recovery`, `training.batch`) where models have it."""
    steps: Path = tuple(int(step) if step.isdigit() else step for step in text.split("."))
    if steps[0] == "recovery":
        return ("failures", *steps)
    if steps[0] == "training" and len(steps) == 2 and steps[1] in RAW_KEYS["training",]:
        return ("training", "batch_schedule", 0, steps[1])
    return steps


@cache
def known_paths() -> tuple[str, ...]:
    """Return the paths of a scenario by the types of its models; items of a list have the number 0."""
    found: dict[str, None] = {}

    def walk(annotation: Any, path: Path) -> None:
        if path:
            found[dotted(path)] = None
        for option in _options(annotation) if len(path) < _DEEPEST else ():
            if _is_record(option):
                for name, field in option.model_fields.items():
                    walk(field.annotation, (*path, file_key(name)))
            elif get_origin(option) is tuple:
                walk(get_args(option)[0], (*path, 0))

    walk(Scenario, ())
    return tuple(found)


def field_at(path: Path, root: type[Record]) -> FieldInfo | None:
    """Return the field at a path, None where there is none."""
    for record in _records(path[:-1], root):
        for name, field in record.model_fields.items():
            if file_key(name) == path[-1]:
                return field
    return None


def keys_at(path: Path, root: type[Record]) -> tuple[str, ...]:
    """Return the keys that a file may have at a path."""
    return tuple(file_key(name) for record in _records(path, root) for name in record.model_fields)


def _records(path: Path, root: type[Record]) -> list[type[Record]]:
    """Return the record types that may stand at a path of a scenario."""
    annotations: list[Any] = [root]
    for step in path:
        annotations = [inner for outer in annotations for option in _options(outer) for inner in _step(option, step)]
    return [option for outer in annotations for option in _options(outer) if _is_record(option)]


def _options(annotation: Any) -> Iterator[Any]:
    """Yield what an annotation allows: without Annotated, the members of a union."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (tuple, dict, Literal) or not get_args(annotation):
        yield annotation
    else:
        for option in get_args(annotation):
            yield from _options(option)


def _step(option: Any, step: str | int) -> Iterator[Any]:
    if _is_record(option):
        yield from (field.annotation for name, field in option.model_fields.items() if file_key(name) == step)
    elif get_origin(option) is tuple:
        yield get_args(option)[0]
    elif get_origin(option) is dict:
        yield get_args(option)[1]


def _is_record(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, Record)


def _metadata(annotation: Any) -> Iterator[Any]:
    """Yield what annotations say beside the type, in the members of a union as well."""
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
    elif get_origin(annotation) not in (tuple, dict, Literal):
        for option in get_args(annotation):
            yield from _metadata(option)

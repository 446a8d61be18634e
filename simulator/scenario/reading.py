"""A YAML file as plain data, with the file, line and column in which each value stands.

Only the plain core of YAML is read: one document, mappings with text keys, lists, scalars as in YAML 1.2 (`no` is
text, `7:1` is text, `1e12` is a number). Tags and aliases are refused, and so is whatever could make a small file
large or deep. The tree is built straight from the parser's events, so nothing is constructed but these.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from simulator.errors import UserError, nearest
from simulator.files import open_file

Path = tuple[str | int, ...]

MAX_BYTES = 20_000_000  # room for hourly series of many years; what has structure is bounded by MAX_NODES
MAX_NODES = 10_000
MAX_DEPTH = 50
_MAX_NUMBER = 80  # a longer scalar stays text, and no quantity accepts it

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
          "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def _place(event: yaml.Event) -> tuple[int, int]:
    """Return the line and column of an event, counted from 1."""
    mark = event.start_mark
    assert mark is not None
    return mark.line + 1, mark.column + 1


class Mark(NamedTuple):
    """Where a value stands: `line` and `column` count from 1 (0: not from a file), `path` as written there."""

    file: str
    line: int
    column: int
    path: Path


class Document(NamedTuple):
    """A mapping and the marks of everything in it."""

    data: dict[str, Any]
    positions: dict[Path, Mark]


def place(positions: dict[Path, Mark], path: Path) -> tuple[str, Path]:
    """Return where a path stands ("x.yaml:12") and the path as written there; the parent's if it has no mark."""
    for length in range(len(path), -1, -1):
        mark = positions.get(path[:length])
        if mark is not None:
            return f"{mark.file}:{mark.line}" if mark.line else mark.file, mark.path + path[length:]
    return "scenario", path


def dotted(path: Path) -> str:
    """Return a path as a message shows it: "training.batch_schedule.0.until"."""
    return ".".join(str(step) for step in path)


def read_document(file: str) -> Document:
    """Read one YAML file; raise UserError with file, line and column."""
    return parse_document(read_text(file), file)


def read_text(file: str) -> str:
    """Return the text of a file; raise UserError if there is none, or it is no text of at most 20 MB."""
    try:
        with open_file(file, MAX_BYTES) as stream:
            raw = stream.read(MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file{_similar_file(file)}") from None
    except IsADirectoryError:
        raise UserError(f"{file}: found a folder; allowed: a scenario file (YAML)") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{file}: cannot be read: {reason}; allowed: a text file (YAML, UTF-8)") from None
    if b"\0" in raw:
        raise UserError(f"{file}: found a binary file; allowed: a text file (YAML, UTF-8)")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}:{line}: found bytes that are no UTF-8; allowed: a text file (YAML, UTF-8)") from None


def _similar_file(file: str) -> str:
    folder, name = os.path.split(file)
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return f"; there is no folder {folder!r} either"
    guess = nearest(name, names) or nearest(f"{name}.yaml", names)
    if guess:
        return f"; did you mean {os.path.join(folder, guess)!r}?"
    files = [n for n in names if n.endswith((".yaml", ".yml"))][:8]
    return f"; that folder has: {', '.join(files)}" if files else "; that folder has no YAML file"


def parse_document(text: str, file: str) -> Document:
    """Return the one mapping that a YAML text holds, with positions; raise UserError with line and column."""
    return _Builder(text, file).build()


class _Builder:
    """Builds data from the parser's events, counting nodes and depth."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self.positions: dict[Path, Mark] = {}
        self.nodes = 0

    def build(self) -> Document:
        next_event = self._next()
        while isinstance(next_event, yaml.StreamStartEvent):
            next_event = self._next()
        if isinstance(next_event, yaml.StreamEndEvent):
            raise UserError(f"{self.file}: found an empty file; allowed: a scenario (`clustercost init` writes one)")
        root = self._next()
        if not isinstance(root, yaml.MappingStartEvent):
            found = "a list" if isinstance(root, yaml.SequenceStartEvent) else "a single value"
            raise self._error(root, f"found {found} at the top; allowed: a mapping of name, model, training, ...")
        data: dict[str, Any] = self._node(root, ())
        self._next()
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error(after, "found a second document; allowed: one document a file")
        return Document(data, self.positions)

    def _next(self) -> yaml.Event:
        try:
            return next(self.events)
        except yaml.MarkedYAMLError as error:
            raise UserError(self._syntax_message(error)) from None
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, int(error.position)) + 1
            raise UserError(f"{self.file}:{line}: not valid YAML: found a control character") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            text = " ".join(str(error).split())
            raise UserError(f"{self.file}: not valid YAML: {text}") from None

    def _syntax_message(self, error: yaml.MarkedYAMLError) -> str:
        mark = error.problem_mark or error.context_mark
        where = f"{self.file}:{mark.line + 1}:{mark.column + 1}" if mark else self.file
        problem = error.problem or error.context or "not understood"
        if "'\\t'" in problem:
            problem = "found a tab; allowed: spaces to indent"
        elif "mapping values are not allowed" in problem:
            problem = "found a second ': ' in a value; put the value in quotes, or mend the indentation"
        context = f" ({error.context})" if error.context and error.problem else ""
        return f"{where}: not valid YAML: {problem}{context}"

    def _error(self, event: yaml.Event, message: str) -> UserError:
        line, column = _place(event)
        return UserError(f"{self.file}:{line}:{column}: {message}")

    def _mark(self, event: yaml.Event, path: Path) -> None:
        self.positions[path] = Mark(self.file, *_place(event), path)

    def _node(self, event: yaml.Event, path: Path) -> Any:
        self.positions.setdefault(path, Mark(self.file, *_place(event), path))
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._error(event, f"found more than {MAX_NODES} values; allowed: fewer")
        if len(path) > MAX_DEPTH:
            raise self._error(event, f"found values nested deeper than {MAX_DEPTH} levels; allowed: fewer")
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, f"found the alias '*{event.anchor}'; allowed: the value itself, or `extends`")
        if getattr(event, "tag", None) is not None:
            raise self._error(event, f"found the tag {getattr(event, 'tag', None)!r}; allowed: plain values without tags")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        assert isinstance(event, yaml.ScalarEvent)
        if _CONTROL.search(event.value):  # an escape: it would reach the terminal
            raise self._error(event, "found a control character; allowed: text of printable characters")
        return _scalar(event)

    def _mapping(self, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            if key in result:
                first = self.positions[(*path, key)].line
                raise self._error(event, f"found the key {key!r} a second time; it is already on line {first}")
            self._mark(event, (*path, key))
            result[key] = self._node(self._next(), (*path, key))
        return result

    def _key(self, event: yaml.Event) -> str:
        if isinstance(event, yaml.ScalarEvent) and event.tag is None:
            key = _scalar(event)
            if isinstance(key, str):
                return key
            raise self._error(event, f"found the key {event.value!r}; allowed: keys that are names")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            self._node(event, ())  # raises, with the right message
        raise self._error(event, "found a list or a mapping as a key; allowed: keys that are names")

    def _list(self, path: Path) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            result.append(self._node(event, (*path, len(result))))
        return result


def _scalar(event: yaml.ScalarEvent) -> Any:
    text = event.value
    if event.style is not None or len(text) > _MAX_NUMBER:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text

"""What the shell offers after Tab: names of the catalog, found in its files' text, so that no package is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import typer

_DATA = Path(__file__).parents[1] / "catalog" / "data"
_RECORD = re.compile(r"^['\"]?([A-Za-z0-9][\w./-]*)['\"]?:", re.MULTILINE)


def kinds(begun: str) -> list[str]:
    """Return the kinds of the catalog that begin so."""
    return sorted(file.stem for file in _DATA.glob("*.yaml") if file.stem.startswith(begun))


def names(context: typer.Context, begun: str) -> list[str]:
    """Return the names of the kind that stands before, those that begin so."""
    kind = str(context.params.get("kind"))
    return [name for name in _named(kind) if name.startswith(begun)]


def sites(begun: str) -> list[str]:
    """Return the sites that begin so."""
    return [name for name in _named("sites") if name.startswith(begun)]


def _named(kind: str) -> list[str]:
    if kind not in kinds(""):
        return []
    return sorted(_RECORD.findall((_DATA / f"{kind}.yaml").read_text(encoding="utf-8")))

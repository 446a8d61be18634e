"""The catalog: models, accelerators, generations, fabrics, sites, failure profiles, pricing and growth laws, with sources.

One YAML file a kind in `data/`; a file is read when its kind is first asked for, and only the record asked
for is validated. Top-level keys that begin with an underscore are shared parts (YAML anchors), not records.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, Literal, overload

from simulator.catalog.growth import GrowthLaw
from simulator.catalog.laws import ScalingLaw
from simulator.catalog.pricing import PricingRecord
from simulator.catalog.records import (
    AcceleratorRecord,
    FabricRecord,
    FailureProfile,
    GenerationRecord,
    ModelRecord,
    SiteRecord,
    Sourced,
)
from simulator.errors import UserError, unknown_name

__all__ = ["KINDS", "load", "names", "raw"]

KINDS: dict[str, type[Sourced]] = {
    "models": ModelRecord,
    "accelerators": AcceleratorRecord,
    "generations": GenerationRecord,
    "fabrics": FabricRecord,
    "sites": SiteRecord,
    "failures": FailureProfile,
    "pricing": PricingRecord,
    "laws": ScalingLaw,
    "growth": GrowthLaw,
}


def names(kind: str) -> list[str]:
    """Return the names of a kind, sorted; raise UserError for an unknown kind."""
    return sorted(_file(kind))


def raw(kind: str, name: str) -> dict[str, Any]:
    """Return a record as its file writes it, with its name: a copy; raise UserError for an unknown name."""
    return copy.deepcopy(_entry(kind, name))


@overload
def load(kind: Literal["models"], name: str) -> ModelRecord: ...
@overload
def load(kind: Literal["accelerators"], name: str) -> AcceleratorRecord: ...
@overload
def load(kind: Literal["generations"], name: str) -> GenerationRecord: ...
@overload
def load(kind: Literal["fabrics"], name: str) -> FabricRecord: ...
@overload
def load(kind: Literal["sites"], name: str) -> SiteRecord: ...
@overload
def load(kind: Literal["failures"], name: str) -> FailureProfile: ...
@overload
def load(kind: Literal["pricing"], name: str) -> PricingRecord: ...
@overload
def load(kind: Literal["growth"], name: str) -> GrowthLaw: ...
@overload
def load(kind: Literal["laws"], name: str) -> ScalingLaw: ...
@overload
def load(kind: str, name: str) -> Sourced: ...
def load(kind: str, name: str) -> Sourced:
    """Return a record; raise UserError for an unknown name, with the nearest valid one."""
    return _load(kind, name)


@cache
def _load(kind: str, name: str) -> Sourced:
    return KINDS[kind].model_validate(_entry(kind, name))


def _entry(kind: str, name: str) -> dict[str, Any]:
    entries = _file(kind)
    if name not in entries:
        raise UserError(unknown_name(kind.removesuffix("s"), name, entries))
    return entries[name]


@cache
def _file(kind: str) -> dict[str, dict[str, Any]]:
    if kind not in KINDS:
        raise UserError(unknown_name("catalog kind", kind, KINDS))
    import importlib.resources

    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = importlib.resources.files(__name__).joinpath("data", f"{kind}.yaml").read_text(encoding="utf-8")
    entries = yaml.load(text, loader)
    return {name: {"name": name, **entry} for name, entry in entries.items() if not name.startswith("_")}

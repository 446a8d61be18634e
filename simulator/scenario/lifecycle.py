"""A life-cycle file: a model's training, its fine-tunes and the months in which it is served, and variants to compare with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from simulator.errors import UserError
from simulator.fields import Quantity, Ratio, RatioFromOne, Record
from simulator.scenario.checks import FieldError
from simulator.scenario.errors import explain
from simulator.scenario.monte_carlo import MonteCarlo, check_correlations
from simulator.scenario.reading import Path, parse_document, read_text
from simulator.scenario.trust import check_named_files

_MOST_MONTHS = 600
_File = Annotated[str, Field(min_length=1)]


class FineTunes(Record):
    """The model is trained further again and again."""

    per_month: Ratio = Field(description="fine-tunes in a month")
    cost: Ratio = Field(default=0.01, description="of each, share of the training run. Source: assumed")


class LifeVariant(Record):
    """Another way to the same service: quantised, distilled or trained longer."""

    name: str = Field(min_length=1, max_length=60, description="each name once")
    training: _File | None = Field(default=None, description="its training file; absent: that of the whole")
    serving: _File | None = Field(default=None, description="its serving file; absent: that of the whole")
    extra: Ratio = Field(
        default=0.0, description="beside its training: a teacher's answers, calibration; share of the training run of the whole")


class LifecycleScenario(Record):
    """What a model costs from its training to its end."""

    name: str = Field(min_length=1, max_length=200, description="what results are called")
    description: str | None = Field(default=None, description="free text")
    training: _File = Field(description="a training file, relative to this one")
    serving: _File = Field(description="a serving file, relative to this one: its busy hour, with `load.rate`")
    months: Annotated[int, Quantity("count", low=1, high=_MOST_MONTHS, whole=True)] = Field(description="of serving")
    users: Annotated[float, Quantity("count", above=True)] = Field(description="in the first month")
    queries_per_user: Annotated[float, Quantity("ratio", above=True)] = Field(description="requests of a user in a month")
    growth: Annotated[float, Quantity("ratio", low=-0.9, high=10.0)] = Field(
        default=0.0, description="of users, from month to month")
    rebound: Ratio = Field(
        default=0.0, description="elasticity of requests to the cost of one: (cost / cost of the first month)^-rebound times as "
                                 "many; 0: none")
    experiments: Ratio = Field(
        default=0.0, description="runs before the training run and those that failed, share of it in dollars, energy and carbon")
    fine_tunes: FineTunes | None = None
    peak: RatioFromOne = Field(
        default=1.0, description="requests in the busiest hour over the mean: the fleet is sized for these, and always on")
    levels: tuple[Annotated[float, Quantity("ratio", above=True)], ...] = Field(
        default=(0.25, 1.0, 4.0), description="times `load.rate` at which a fleet is sized; others are interpolated")
    variants: tuple[LifeVariant, ...] = Field(default=(), description="compared with the whole, with the same luck")
    monte_carlo: MonteCarlo = MonteCarlo(trials=1000)

    @model_validator(mode="after")
    def _fits(self) -> LifecycleScenario:
        names = ["base", *(variant.name for variant in self.variants)]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise FieldError(f"variants.{i - 1}.name", f"found {name!r} again; allowed: each name once, and not 'base'")
        levels = [float(level) if isinstance(level, int | float) else 0.0 for level in self.levels]
        if not levels or levels != sorted(set(levels)) or levels[0] <= 0.0:
            raise FieldError("levels", "found levels that do not rise; allowed: one or more numbers, each above the one before")
        check_correlations(self)
        return self

    def ways(self) -> list[LifeVariant]:
        """Return the whole, called "base", and the variants, each with both files."""
        base = LifeVariant(name="base", training=self.training, serving=self.serving)
        filled = [variant.model_copy(update={"training": variant.training or self.training,
                                             "serving": variant.serving or self.serving}) for variant in self.variants]
        return [base, *filled]


def load_lifecycle(path: str | os.PathLike[str]) -> LifecycleScenario:
    """Return the validated life-cycle file; the files it names are then relative to the working folder.

    Raises
    ------
    UserError
        With file, line, path in the file, what was found and what is allowed; or a named file outside the folders that a file may
        read (`simulator.scenario.trust`).
    """
    file = os.fspath(path)
    document = parse_document(read_text(file), file)
    if "months" not in document.data:
        raise UserError(f"{file}: found no key 'months'; allowed here: a life-cycle file, with the names of others")
    check_named_files(document, file, file, tuple(_named(document.data)))
    try:
        found = LifecycleScenario.model_validate(document.data)
    except ValidationError as error:
        raise explain(error, document.positions, file, LifecycleScenario) from None

    def beside(name: str | None) -> str | None:
        return None if name is None else os.path.normpath(os.path.join(os.path.dirname(file), name))

    variants = tuple(variant.model_copy(update={"training": beside(variant.training), "serving": beside(variant.serving)})
                     for variant in found.variants)
    return found.model_copy(update={"training": beside(found.training), "serving": beside(found.serving), "variants": variants})


def _named(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the path and the name of every file that a life-cycle file names."""
    variants = data.get("variants")
    parts: list[tuple[Path, Any]] = [((), data)]
    parts += [(("variants", i), variant) for i, variant in enumerate(variants if isinstance(variants, list) else ())]
    for path, part in parts:
        for key in ("training", "serving"):
            name = part.get(key) if isinstance(part, dict) else None
            if isinstance(name, str) and "\0" not in name:
                yield (*path, key), name

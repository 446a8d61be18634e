"""The results folder: its files, written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from datetime import UTC, datetime
from hashlib import blake2b
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from simulator.errors import UserError

if TYPE_CHECKING:
    from simulator.montecarlo.results import Results

_PACKAGES = ("clustercost", "numpy", "numba", "scipy", "simpy", "pandas", "pyarrow", "pydantic")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Return the versions of Python and of what results come from."""
    return {"python": platform.python_version(), **{package: _version(package) for package in _PACKAGES}}


def catalog_hash() -> str:
    """Return a hash of all catalog files."""
    digest = blake2b(digest_size=8)
    folder = resources.files("simulator.catalog") / "data"
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".yaml"):
            digest.update(entry.read_bytes())
    return digest.hexdigest()


class Writes(Protocol):
    """What a results folder is written of: a study, or a sweep."""

    scenario: Any
    interrupted: bool

    def __len__(self) -> int:
        """Return the trials that finished."""

    def write(self, folder: Path) -> None:
        """Write tables and summary; may raise OSError."""


def provenance(study: Writes, command: str | None) -> dict[str, Any]:
    """Return seed, versions, catalog hash, command, machine and time."""
    return {
        "seed": study.scenario.monte_carlo.seed,
        "trials": len(study),
        "interrupted": study.interrupted,
        "versions": versions(),
        "catalog_hash": catalog_hash(),
        "command": command or " ".join(sys.argv),
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cpus": os.cpu_count()},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check_free(folder: Path) -> None:
    """Raise UserError where a results folder cannot be written, before the work is done."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; results are never overwritten: choose another --out or remove it")
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot make the folder {parent}: {error.strerror}") from error
    if not os.access(parent, os.W_OK):
        raise UserError(f"{folder}: the folder {parent} is not writable")


def write_scenario(scenario: Any, folder: Path, name: str = "scenario.yaml") -> None:
    """Write what is run, and the trace it replays beside it, so that it runs again from this folder; may raise OSError."""
    found = scenario.to_file()
    for section in ("jobs", "load"):
        if found.get(section, {}).get("trace") is not None:
            shutil.copyfile(found[section]["trace"], folder / "trace.csv")
            found[section]["trace"] = "trace.csv"
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True)
    (folder / name).write_text(text, encoding="utf-8")


def write_results(study: Writes, folder: Path, command: str | None) -> None:
    """Write what results write of themselves, and provenance.json; may raise OSError.

    Each is written beside its place and renamed once all are whole: a study that goes on replaces what it wrote when it stopped.
    """
    partial = folder / ".results.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        study.write(partial)
        (partial / "provenance.json").write_text(json.dumps(provenance(study, command), indent=2) + "\n", encoding="utf-8")
        for file in sorted(partial.iterdir()):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def save_study(study: Results[Any], folder: Path, command: str | None) -> Path:
    """Write a results folder: the scenario and the results; raise UserError where it exists or cannot be written."""
    check_free(folder)
    partial = folder.absolute().parent / f".{folder.name}.partial-{os.getpid()}"
    try:
        partial.mkdir()
        write_scenario(study.scenario, partial)
        write_results(study, partial, command)
        partial.rename(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot write results: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder

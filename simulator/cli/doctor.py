"""Check the installation: `doctor`."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from time import perf_counter
from typing import Literal, NamedTuple

import typer

from simulator.cli.app import Json, app, print_json
from simulator.errors import UserError

Verdict = Literal["ok", "warning", "failed"]
_LEAST_BYTES = 2e9
_EXTRAS = {"distributed": "studies on a Dask cluster (run --dask, --scheduler)", "notebooks": "JupyterLab with the notebooks",
           "test": "the project's own tests", "fuzz": "the loader's fuzzer"}


class Check(NamedTuple):
    """What was looked at, how it is, and what to do where it is not well."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation: versions, compiled kernels, a small run, catalog, machine, terminal. Exit code 1 where one failed.

    Example: clustercost doctor
    """
    checks: list[Check] = []
    for look in (_python, _packages, _cache, _kernels, _run, _catalog, _machine, _terminal, _extras):
        for check in _tried(look):
            checks.append(check)
            if not as_json:
                print(f"{check.verdict:8} {check.name}: {check.found}" + (f"\n         {check.advice}" if check.advice else ""),
                      flush=True)
    if as_json:
        print_json([check._asdict() for check in checks])
    if any(check.verdict == "failed" for check in checks):
        raise typer.Exit(1)


def _tried(look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield the checks of one look; one that breaks has failed, whatever it broke of, and the others go on."""
    try:
        yield from look()
    except Exception as error:
        yield Check((look.__name__).strip("_"), "failed", f"{type(error).__name__}: {error}",
                    "install clustercost anew: pip install --force-reinstall clustercost")


def _python() -> Iterator[Check]:
    found, needed = platform.python_version(), metadata.metadata("clustercost")["Requires-Python"] or ">=3.11"
    good = sys.version_info >= tuple(int(part) for part in needed.removeprefix(">=").split("."))
    yield Check("Python", "ok" if good else "failed", f"{found} (needs {needed})",
                "" if good else f"make the virtual environment with a Python {needed}")


def _packages() -> Iterator[Check]:
    """Yield one line for all packages, or one for each that is missing or too old, by what the installed clustercost asks for."""
    bad = []
    needed = list(_needed())
    for package, least in needed:
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            bad.append(Check(package, "failed", "not installed", f"pip install '{package}>={least}'"))
            continue
        if _parts(found) < _parts(least):
            bad.append(Check(package, "failed", f"{found} (needs >={least})", f"pip install --upgrade '{package}>={least}'"))
    yield from bad
    yield Check("packages", "failed" if bad else "ok", f"clustercost {metadata.version('clustercost')}; {len(needed) - len(bad)} "
                f"of {len(needed)} requirements are met")


def _needed(extra: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield name and least version of what clustercost requires, or of what an extra of it does."""
    for text in metadata.requires("clustercost") or ():
        required, _, marker = text.partition(";")
        of = re.search(r"extra\s*==\s*['\"]([\w-]+)", marker)
        if (of[1] if of else None) == extra:
            name = re.match(r"[\w.-]+", required.strip())
            least = re.search(r">=\s*([\w.]+)", required)
            if name:
                yield name[0], least[1] if least else "0"


def _parts(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, as far as they go: "1.11.0rc1" -> (1, 11, 0)."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else (0,)


def _cache() -> Iterator[Check]:
    from kernels._jit import cache_folder

    folder = cache_folder()
    kept = os.access(folder, os.W_OK)
    yield Check("kernel cache", "ok" if kept else "warning", folder if kept else f"{folder} is not writable",
                "" if kept else "every run compiles its kernels: set NUMBA_CACHE_DIR to a folder that you may write to")


def _kernels() -> Iterator[Check]:
    """Compile a kernel anew, without the cache, and compare what it gives with what Python gives."""
    import numba

    from kernels import is_compiled

    def harmonic(count: int) -> float:
        total = 0.0
        for i in range(1, count + 1):
            total += 1.0 / i
        return total

    if getattr(numba.config, "DISABLE_JIT", False):
        yield Check("compiler", "warning", "NUMBA_DISABLE_JIT is set: kernels run as plain Python, a thousand times slower",
                    "unset NUMBA_DISABLE_JIT")
        return
    begun = perf_counter()
    right = numba.njit(harmonic)(1000) == harmonic(1000)
    yield Check("compiler", "ok" if right else "failed", f"numba {numba.__version__} compiled a small kernel in "
                f"{perf_counter() - begun:.1f} s", "" if right else "its result is wrong: install another numba and llvmlite")
    ready = is_compiled()
    yield Check("kernels", "ok", "compiled" if ready else "not compiled yet: the small run below does it, about half a minute")


def _run() -> Iterator[Check]:
    """Load the starter scenario that is shipped with the package, and run one trial of it."""
    from simulator.api import with_monte_carlo
    from simulator.montecarlo import run_study
    from simulator.scenario import scenario_from_mapping, starter
    from simulator.scenario.reading import parse_document

    begun = perf_counter()
    scenario = scenario_from_mapping(parse_document(starter(), "starter").data, "starter")
    study = run_study(with_monte_carlo(scenario, 1, 1))
    days, mfu = study.column("time_s")[0] / 86400.0, study.column("mfu")[0]
    good = len(study) == 1 and 0.0 < days < 1e4 and 0.05 < mfu < 0.95
    yield Check("small run", "ok" if good else "failed", f"one trial of the starter scenario in {perf_counter() - begun:.1f} s: "
                f"{days:.1f} days at {mfu:.0%} MFU", "" if good else "that cannot be: install clustercost anew")


def _catalog() -> Iterator[Check]:
    """Read every record of the catalog and look for values without a source."""
    from simulator import catalog

    count, bad, bare = 0, [], []
    for kind in catalog.KINDS:
        for name in catalog.names(kind):
            count += 1
            try:
                record = catalog.load(kind, name)
            except (UserError, ValueError) as error:
                bad.append(f"{kind}/{name}: {str(error).splitlines()[0]}")
                continue
            if not any(text.strip() for text in record.sources.values()):
                bare.append(f"{kind}/{name}")
    if bad:
        yield Check("catalog", "failed", f"{len(bad)} of {count} records cannot be read: {bad[0]}", "install clustercost anew")
    elif bare:
        yield Check("catalog", "warning", f"{len(bare)} of {count} records have no source: {', '.join(bare[:3])}",
                    "do not rely on their values")
    else:
        yield Check("catalog", "ok", f"{count} records of {len(catalog.KINDS)} kinds, each with sources")


def _machine() -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("cores", "ok", f"{usable} usable of {os.cpu_count()}")
    try:
        memory = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        yield Check("memory", "warning", "unknown on this system", "a process needs some 0.3 GB")
        return
    good = memory >= _LEAST_BYTES
    yield Check("memory", "ok" if good else "warning", f"{memory / 1e9:.1f} GB",
                "" if good else "a process needs some 0.3 GB: use --workers 1")


def _terminal() -> Iterator[Check]:
    from rich.console import Console

    console = Console()
    words = [f"{console.width} columns", "colours" if console.color_system and not console.no_color else "no colours",
             "a terminal" if console.is_terminal else "no terminal (no progress bars)"]
    coding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    good = coding == "utf8"
    yield Check("terminal", "ok" if good else "warning", f"{', '.join(words)}, {sys.stdout.encoding}",
                "" if good else "boxes and bars are drawn in UTF-8: set PYTHONIOENCODING=utf-8 or a UTF-8 locale")


def _extras() -> Iterator[Check]:
    for extra, use in _EXTRAS.items():
        lacking = [package for package, least in _needed(extra) if not _has(package, least)]
        yield Check(f"extra {extra}", "ok", "installed" if not lacking else f"not installed ({', '.join(lacking)})",
                    f"for {use}: pip install 'clustercost[{extra}]'" if lacking else "")


def _has(package: str, least: str) -> bool:
    try:
        return _parts(metadata.version(package)) >= _parts(least)
    except metadata.PackageNotFoundError:
        return False

"""`clustercost doctor` finds what is wrong with an installation and says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest
import typer

from simulator.cli import doctor as module
from simulator.cli.doctor import Check, _has, _needed, _packages, _parts, _run, _terminal, doctor


def test_an_installation_that_works_is_ok(capsys: pytest.CaptureFixture[str]) -> None:
    doctor(as_json=True)
    checks = json.loads(capsys.readouterr().out)
    found = {check["name"]: check for check in checks}
    assert {"Python", "packages", "kernel cache", "compiler", "kernels", "small run", "catalog", "cores", "memory",
            "terminal", "extra distributed", "extra notebooks"} <= set(found)
    assert not [check for check in checks if check["verdict"] == "failed"]
    assert all(check["advice"] for check in checks if check["verdict"] == "warning")


def test_text_has_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    doctor(as_json=False)
    out = capsys.readouterr().out
    assert "ok       small run: one trial of the starter scenario" in out
    assert "MFU" in out


def test_one_that_breaks_has_failed_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Iterator[Check]:
        raise ImportError("no library")
        yield

    monkeypatch.setattr(module, "_kernels", broken)
    with pytest.raises(typer.Exit) as ended:
        doctor(as_json=True)
    assert ended.value.exit_code == 1
    checks = json.loads(capsys.readouterr().out)
    assert [check["found"] for check in checks if check["verdict"] == "failed"] == ["ImportError: no library"]
    assert "small run" in {check["name"] for check in checks}


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str, real: Any = metadata.version) -> str:
        if package == "pint":
            raise metadata.PackageNotFoundError(package)
        return "0.1" if package == "scipy" else real(package)

    monkeypatch.setattr(module.metadata, "version", version)
    checks = {check.name: check for check in _packages()}
    assert (checks["pint"].verdict, checks["pint"].found) == ("failed", "not installed")
    assert checks["scipy"].found.startswith("0.1 (needs >=")
    assert checks["scipy"].advice.startswith("pip install --upgrade 'scipy>=")
    assert checks["packages"].verdict == "failed"


def test_requirements_are_those_of_the_installed_package() -> None:
    needed = dict(_needed())
    assert needed["numba"] == "0.60"
    assert "pytest" not in needed
    assert "pytest" in dict(_needed("test"))


@pytest.mark.parametrize(("version", "parts"), [("1.11.0rc1", (1, 11, 0)), ("2024.5", (2024, 5)), ("6.0.post1", (6, 0)),
                                                ("", (0,)), ("v1", (0,))])
def test_versions_are_compared_by_their_numbers(version: str, parts: tuple[int, ...]) -> None:
    assert _parts(version) == parts


def test_a_package_that_is_not_there_is_no_extra() -> None:
    assert not _has("no-such-package-of-clustercost", "1")
    assert _has("numpy", "1.0")


def test_a_run_that_cannot_be_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.montecarlo import Study

    monkeypatch.setattr(Study, "column", lambda self, name: [1e12])
    assert [check.verdict for check in _run()] == ["failed"]


def test_a_terminal_without_utf8_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow:
        encoding = "ascii"

        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None:
            pass

    monkeypatch.setattr("sys.stdout", Narrow())
    assert [check.verdict for check in _terminal()] == ["warning"]

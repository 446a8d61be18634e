from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels import probe

ROOT = Path(__file__).parents[2]


def python(*arguments: str, **environment: str) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture(scope="module")
def interpreted() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(python("-m", "tests.kernels.probe", NUMBA_DISABLE_JIT="1"))
    return found


@pytest.fixture(scope="module")
def compiled() -> dict[str, list[str]]:
    return probe.results()


@pytest.mark.parametrize("name", ["step_time", "advance"])
def test_compiled_and_interpreted_agree_to_the_bit(
    name: str, compiled: dict[str, list[str]], interpreted: dict[str, list[str]]
) -> None:
    assert compiled[name] == interpreted[name]


def test_the_other_kernels_agree(compiled: dict[str, list[str]], interpreted: dict[str, list[str]]) -> None:
    one, other = ([float.fromhex(value) for value in results["other"]] for results in (compiled, interpreted))
    assert one == pytest.approx(other, rel=1e-12)  # powers and error functions come from different libraries


def test_is_compiled_tells_a_cold_cache_from_a_warm_one(tmp_path: Path) -> None:
    ask = "from kernels import is_compiled; print(is_compiled())"
    run = f"{ask}; from tests.kernels import probe; probe.results(); print(is_compiled())"
    assert python("-c", ask, NUMBA_CACHE_DIR=str(tmp_path)) == "False"
    assert python("-c", ask, NUMBA_CACHE_DIR=str(tmp_path)) == "False"  # asking compiles nothing
    assert python("-c", run, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["False", "True"]
    assert python("-c", ask, NUMBA_CACHE_DIR=str(tmp_path)) == "True"


def test_is_compiled_without_a_compiler(tmp_path: Path) -> None:
    ask = "from kernels import is_compiled; print(is_compiled())"
    assert python("-c", ask, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="1") == "True"

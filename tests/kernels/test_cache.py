from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = ("from kernels.memory import shard_parameters; from kernels.packs import Layout; "
       "from kernels.transformer import Architecture; "
       "print(shard_parameters(Architecture(*[2.0] * 28), Layout(*[2.0] * 20), 1.0)[0])")


def ask(folder: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", ASK], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_a_changed_callee_in_another_file_is_compiled_anew(tmp_path: Path) -> None:
    """numba alone would go on with the cached caller, and with it the old callee."""
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    before = ask(tmp_path)
    callee = tmp_path / "kernels" / "pipeline.py"
    source = callee.read_text()
    callee.write_text(source.replace("return Stages(first, 0.0,", "return Stages(7.0 * layers, 0.0,"))
    assert callee.read_text() != source
    assert ask(tmp_path) > 2.0 * before

"""`python -m fuzz.loader -max_total_time=300`: any bytes into the loader, guided by coverage (atheris; extra `fuzz`).

Ends with a crash where something else than a `UserError` comes out, or where an input takes more than `-timeout` seconds. Other
options are libFuzzer's: a folder of inputs to start from and to keep, `-runs=100000`, `-seed=1`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["simulator", "yaml"]):
    from simulator.errors import UserError
    from simulator.scenario import load_file

from fuzz.files import TEXTS

_FILE = Path(tempfile.mkdtemp(prefix="clustercost-loader-")) / "input.yaml"


def load(content: bytes) -> None:
    """Load a file of these bytes; only a `UserError` may come out of it."""
    _FILE.write_bytes(content)
    try:
        load_file(_FILE)
    except UserError:
        return


def main() -> None:
    """Start from the shipped scenarios, and go on until libFuzzer's limits."""
    seeds = _FILE.parent / "seeds"
    seeds.mkdir()
    for i, text in enumerate(TEXTS):
        (seeds / f"{i}.yaml").write_text(text, encoding="utf-8")
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    corpus = [word for word in sys.argv[1:] if not word.startswith("-")]
    atheris.Setup([sys.argv[0], "-timeout=20", "-max_len=4096", *options, *corpus, os.fspath(seeds)], load)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

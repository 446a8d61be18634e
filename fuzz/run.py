"""`python -m fuzz.run --count 100000`: files by hypothesis, loaded and run in a process of their own that may be killed."""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from time import monotonic, process_time

BATCH = 1000
MEMORY_BYTES = 6 * 2**30


def batch(folder: Path, number: int, count: int, limit_s: float) -> None:
    """Open `count` files of seed `number`; leave outcomes in DONE.json and each kind of failure with its file in FOUND."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from fuzz.check import failure
    from fuzz.files import SHIPPED, TEXTS, files

    warnings.simplefilter("ignore")
    at = folder / "input.yaml"
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for file in SHIPPED:  # some are extended by others
        shutil.copy(file, folder)
    shutil.copytree(SHIPPED[0].parent / "lifecycle", folder / "lifecycle", dirs_exist_ok=True)
    for text in TEXTS:  # modules and kernels are loaded before time counts
        at.write_text(text, encoding="utf-8")
        found = failure(at, 300.0)
        assert found in (("ran", ""), ("loaded", "")), f"{found} {text}"
    outcomes: Counter[str] = Counter()
    slowest = 0.0

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
    @given(files)
    def one(content: bytes) -> None:
        nonlocal slowest
        at.write_bytes(content)
        faulthandler.dump_traceback_later(20 * limit_s, exit=True)  # compiled code hears no signal, and waiting takes no time
        begun = process_time()
        reached, wrong = failure(at, limit_s)
        slowest = max(slowest, process_time() - begun)
        faulthandler.cancel_dump_traceback_later()
        outcomes[reached] += 1
        if wrong:
            _keep(folder, wrong, content)
        (folder / "done.json").write_text(json.dumps({"outcomes": outcomes, "slowest_s": slowest}))

    one()


def _keep(folder: Path, wrong: str, content: bytes) -> None:
    """Keep the smallest file of each kind of failure."""
    kind = re.sub(r":(\d+).*", r"\1", wrong, count=1, flags=re.DOTALL)  # exception, file and line
    name = folder / "found" / blake2b(kind.encode(), digest_size=6).hexdigest()
    if not name.with_suffix(".yaml").exists() or name.with_suffix(".yaml").stat().st_size > len(content):
        name.with_suffix(".yaml").write_bytes(content)
        name.with_suffix(".txt").write_text(wrong + "\n", encoding="utf-8", errors="replace")


def main() -> int:
    """Run batches until there are enough inputs or no time; print the figures; 1 where something was found."""
    ask = argparse.ArgumentParser(prog="python -m fuzz.run", description=__doc__)
    ask.add_argument("--count", type=int, default=2000, help="inputs")
    ask.add_argument("--seconds", type=float, default=float("inf"), help="stop after this long")
    ask.add_argument("--limit", type=float, default=5.0, help="seconds of processor time that one input may take")
    ask.add_argument("--seed", type=int, default=0, help="of the first batch")
    ask.add_argument("--out", type=Path, help="folder for what fails; default: a new one")
    ask.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    folder = asked.out or Path(tempfile.mkdtemp(prefix="clustercost-fuzz-"))
    (folder / "found").mkdir(parents=True, exist_ok=True)
    if asked.batch is not None:
        batch(folder, asked.batch, asked.count, asked.limit)
        return 0
    begun, outcomes, slowest, number = monotonic(), Counter[str](), 0.0, asked.seed
    while outcomes.total() < asked.count and monotonic() - begun < asked.seconds:
        count = min(BATCH, asked.count - outcomes.total())
        (folder / "done.json").unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-m", "fuzz.run", "--batch", str(number), "--count", str(count), "--limit",
                               str(asked.limit), "--out", str(folder)], check=False, capture_output=True, text=True,
                              env={**os.environ, "PYTHONFAULTHANDLER": "1"})
        number += 1
        if (folder / "done.json").exists():
            report = json.loads((folder / "done.json").read_text())
            outcomes.update(report["outcomes"])
            slowest = max(slowest, report["slowest_s"])
        if done.returncode:
            outcomes["killed"] += 1
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["?"]
            stuck = next((line.strip() for line in lines if "/simulator/" in line or "/kernels/" in line), lines[-1])
            _keep(folder, f"killed ({done.returncode}) {stuck.replace(':', ' ')}", (folder / "input.yaml").read_bytes())
        shown = ", ".join(f"{outcomes[key]:,} {key}" for key in ("refused", "loaded", "estimated", "ran", "failed", "killed"))
        print(f"{outcomes.total():,} inputs in {monotonic() - begun:,.0f} s: {shown}; slowest {slowest:.2f} s", flush=True)
    found = sorted((folder / "found").glob("*.txt"))
    for note in found:
        print(f"{note.with_suffix('.yaml')}: {note.read_text(encoding='utf-8').strip()}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

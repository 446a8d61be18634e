"""The folder of a study that runs: locked, its chunks written as they finish, so that it can be killed and go on.

FOLDER/study.lock, FOLDER/scenario.yaml (of a sweep: sweep.yaml), FOLDER/chunks/study.json (what else is needed to go on) and
FOLDER/chunks/FIRST-LAST.DIGEST.parquet; `save` takes away what is not a result.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import socket
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from simulator.columns import MAX_CSV_BYTES
from simulator.errors import UserError
from simulator.files import open_file
from simulator.montecarlo.chunks import Columns, Part
from simulator.montecarlo.storage import Writes, check_free, versions, write_results, write_scenario
from simulator.scenario import QueueScenario, Scenario, load_file

if TYPE_CHECKING:
    from simulator.montecarlo.results import Results

R = TypeVar("R", bound="Results[Any]")

_LOCK, _CHUNKS, _STUDY, _SCENARIO = "study.lock", "chunks", "study.json", "scenario.yaml"


class Kind(NamedTuple):
    """What a folder is of: the command that writes it and goes on with it, what says what is run, a file of its results."""

    command: str
    source: str
    done: str


STUDY, SWEEP = Kind("run", _SCENARIO, "trials.parquet"), Kind("sweep", "sweep.yaml", "sweep.parquet")
_NAME = re.compile(r"(\d+)-(\d+)\.([0-9a-f]{16})\.parquet")
_KIND = b"table"  # key of the metadata of a chunk's file
_MOST_JSON_BYTES, _MOST_CHUNK_BYTES, _MOST_CELLS = 1_000_000, 1_000_000_000, 100_000_000
# What rows depend on beside the scenario: with another version the last digit may change, and parts would not fit together.
_EXACT = ("clustercost", "numpy", "numba", "scipy")


class StudyFolder:
    """A folder held by this process, from `begin` or `resume` until `save` or `release`.

    Attributes
    ----------
    path : Path
    until : tuple of str
        The targets of convergence that the study was begun with.
    kind : Kind
    """

    def __init__(self, path: Path, lock: int, until: tuple[str, ...], *, new: bool, kind: Kind = STUDY) -> None:
        self.path, self.until, self.kind = path, until, kind
        self._lock: int | None = lock
        self._new = new

    @classmethod
    def begin(cls, path: Path, scenario: Any, until: tuple[str, ...] = (), kind: Kind = STUDY) -> StudyFolder:
        """Make the folder of a new study, locked; raise UserError where it exists or cannot be written."""
        check_new(path)
        partial = path.absolute().parent / f".{path.name}.partial-{os.getpid()}"
        lock = None
        try:
            partial.mkdir()
            lock = _locked(partial)
            write_scenario(scenario, partial, kind.source)
            (partial / _CHUNKS).mkdir()
            text = json.dumps({"until": list(until), "versions": _exact()}, indent=2)
            (partial / _CHUNKS / _STUDY).write_text(text, encoding="utf-8")
            partial.rename(path)
        except OSError as error:
            if lock is not None:
                os.close(lock)
            _check_unheld(path)  # another may have begun meanwhile
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return cls(path, lock, until, new=True, kind=kind)

    @classmethod
    def resume(cls, path: Path, kind: Kind = STUDY) -> StudyFolder:
        """Lock the folder of a study that was stopped; raise UserError where there is none, or another process holds it."""
        check_stopped(path, kind)
        lock = _locked(path)
        try:
            with open_file(path / _CHUNKS / _STUDY, _MOST_JSON_BYTES) as stream:
                begun = json.loads(stream.read())
            until, before = tuple(begun["until"]), dict(begun["versions"])
            if not all(isinstance(text, str) for text in until):
                raise ValueError("targets that are no text")
        except FileNotFoundError as error:  # the other finished while this one waited for the disk
            os.close(lock)
            raise UserError(f"--resume: {path} is finished; nothing is left to run") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            os.close(lock)
            raise UserError(f"--resume: {path / _CHUNKS / _STUDY} cannot be read: {error or type(error).__name__}") from error
        changed = [f"{name} {before.get(name)} (here: {now})" for name, now in _exact().items() if before.get(name) != now]
        if changed:
            os.close(lock)
            raise UserError(f"--resume: {path} was begun with {', '.join(changed)}; its trials would not fit together with "
                            "those run here: install these versions, or begin anew")
        return cls(path, lock, until, new=False, kind=kind)

    def parts(self) -> Iterator[tuple[range, Part]]:
        """Yield finished chunks in order of their trials; files that are not whole are removed, their trials run again."""
        folder, reached = self.path / _CHUNKS, 0
        columns: dict[str, set[str]] = {}
        found = sorted((int(m[1]), int(m[2]), m[3], m[0]) for m in map(_NAME.fullmatch, os.listdir(folder)) if m)
        for first, last, digest, name in found:
            part = _read(folder / name, digest, range(first, last + 1)) if first >= reached else None
            if part is None or any(columns.setdefault(table, names) != names for table, names in _columns_of(part).items()):
                (folder / name).unlink(missing_ok=True)
                continue
            reached = last + 1
            yield range(first, reached), part
        for name in os.listdir(folder):
            if name.endswith(".partial"):
                (folder / name).unlink(missing_ok=True)

    def write(self, chunk: range, part: Part) -> None:
        """Write a finished chunk, whole or not at all; raise UserError where the disk does not take it."""
        data = _packed(part)
        digest = blake2b(data, digest_size=8).hexdigest()
        try:
            _replace(self.path / _CHUNKS / f"{chunk.start:06d}-{chunk.stop - 1:06d}.{digest}.parquet", data)
        except OSError as error:
            raise UserError(f"{self.path}: trials {chunk.start} to {chunk.stop - 1} cannot be written: {error.strerror}; "
                            f"what finished before is kept: {self.hint()}") from error

    def hint(self) -> str:
        """Return how the study goes on."""
        return f"go on with: clustercost {self.kind.command} --resume {self.path} (the folder may be moved to another disk first)"

    def save(self, study: Writes) -> None:
        """Write the results; of a study that is not stopped they are the last, and chunks and lock are taken away."""
        try:
            write_results(study, self.path, None)
        except OSError as error:
            raise UserError(f"{self.path}: results cannot be written: {error.strerror or error}; all trials are kept: "
                            f"{self.hint()}") from error
        except (KeyError, TypeError) as error:
            if self._new:
                raise
            raise UserError(f"--resume: chunks in {self.path} are not of a study like this: {error}; begin anew") from error
        if not study.interrupted:
            # The mark goes first: a folder without it is finished, whatever is left of its chunks.
            (self.path / _CHUNKS / _STUDY).unlink()
            shutil.rmtree(self.path / _CHUNKS, ignore_errors=True)
            (self.path / _LOCK).unlink(missing_ok=True)
            self._close()

    def release(self) -> None:
        """Let others go on with the study; a new one without a finished chunk leaves nothing behind."""
        if self._lock is None:
            return
        if self._new and not any(_NAME.fullmatch(name) for name in os.listdir(self.path / _CHUNKS)):
            shutil.rmtree(self.path, ignore_errors=True)
        self._close()

    def discard(self) -> None:
        """Take the folder of a new study away: nothing in it is worth to go on with."""
        if self._new:
            shutil.rmtree(self.path, ignore_errors=True)
        self._close()

    def _close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def study_folder(scenario: Any, path: str | Path | None, until: Sequence[str], *, resume: bool) -> Iterator[StudyFolder | None]:
    """Hold the folder of a study, new or stopped before, while it runs; None where it has none."""
    if path is None:
        yield None
        return
    folder = StudyFolder.resume(Path(path)) if resume else StudyFolder.begin(Path(path), scenario, tuple(until))
    try:
        yield folder
    finally:
        folder.release()


def saved(study: R, folder: StudyFolder | None) -> R:
    """Return the study, written to its folder where it has one and a trial finished."""
    if folder is not None and len(study):
        folder.save(study)
    return study


def _exact() -> dict[str, str]:
    found = versions()
    return {name: found[name] for name in _EXACT}


def check_new(path: Path) -> None:
    """Raise UserError where a study cannot begin in a folder, before the work is done."""
    _check_unheld(path)
    check_free(path)


def stopped_kind(path: Path) -> Kind:
    """Return what a folder is of: of a sweep where it holds a sweep.yaml."""
    return SWEEP if (path / SWEEP.source).is_file() else STUDY


def check_stopped(path: Path, kind: Kind) -> None:
    """Raise UserError where a folder does not hold what was stopped, of this kind."""
    if not path.is_dir():
        raise UserError(f"--resume: there is no folder {path}")
    for name in (_CHUNKS, _LOCK):  # through a link, another place would be written to
        if (path / name).is_symlink():
            raise UserError(f"--resume: {path / name} is a link; allowed: a folder that `clustercost` wrote")
    found = stopped_kind(path)
    if not (path / _CHUNKS / _STUDY).is_file():
        done = (path / found.done).is_file()
        raise UserError(f"--resume: {path} " + ("is finished; nothing is left to run" if done else
                        f"holds no study that was stopped; allowed: the folder that `clustercost {kind.command}` was writing"))
    if found is not kind:
        raise UserError(f"--resume: {path} was begun by `clustercost {found.command}`; go on with: clustercost {found.command} "
                        f"--resume {path}")


def stopped_scenario(path: Path, given: Path | None = None) -> Scenario | QueueScenario:
    """Return the scenario of a study that was stopped; raise UserError where the file given is of another one."""
    check_stopped(path, STUDY)
    scenario = load_file(path / _SCENARIO)
    if given is not None:
        found = load_file(given)
        differ = [key for key in {**_compared(scenario), **_compared(found)}
                  if _compared(scenario).get(key) != _compared(found).get(key)]
        if differ:
            raise UserError(f"--resume: {given} is not the scenario of {path}: they differ in {', '.join(differ)}; allowed: "
                            "the same file, or none")
    return scenario


def _compared(scenario: Scenario | QueueScenario) -> dict[str, Any]:
    """Return a scenario's sections, without what options change, and with what a trace says in place of its path."""
    sections = scenario.to_file()
    sections.pop("monte_carlo", None)
    trace = sections.get("jobs", {}).get("trace")
    if trace is not None:
        try:
            with open_file(trace, MAX_CSV_BYTES) as stream:
                sections["jobs"]["trace"] = stream.read()
        except (OSError, ValueError) as error:
            raise UserError(f"{trace}: cannot be read: {error}; allowed: a trace of jobs (CSV)") from error
    return sections


def _check_unheld(path: Path) -> None:
    """Raise UserError where a folder has a study that runs, or one that was stopped."""
    if (path / _CHUNKS / _STUDY).is_file():
        os.close(_locked(path))
        raise UserError(f"{path}: holds a study that was stopped; go on with: clustercost {stopped_kind(path).command} --resume "
                        f"{path}, or choose another --out")


def _locked(path: Path) -> int:
    """Return the descriptor of the folder's lock, which the system frees when this process ends, however it ends."""
    import fcntl

    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            os.close(lock)
            raise OSError(errno.EINVAL, f"{_LOCK} is no file")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 1000).decode(errors="replace").strip() or "another process"
        os.close(lock)
        raise UserError(f"{path}: {holder} is writing this study; two cannot: choose another --out, or wait for it") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return lock


def _replace(file: Path, data: bytes) -> None:
    """Write a file through a temporary name, on the disk before it gets its own."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as out:  # never through a link that stands there
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _packed(part: Part) -> bytes:
    """Return the tables of a part as one Parquet file: that of the trials, the others within its metadata."""
    others = {name.encode(): _parquet(table, {}) for name, table in part.items() if name != "trials" and table}
    return _parquet(part["trials"], others)


def _parquet(table: Columns, metadata: dict[bytes, bytes]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq
    out = io.BytesIO()
    encoded = {_KIND + b" " + name: b64encode(data) for name, data in metadata.items()}
    pq.write_table(pa.table(dict(table)).replace_schema_metadata(encoded or None), out, use_dictionary=False,
                   compression="none", write_statistics=False)
    return out.getvalue()


def _read(file: Path, digest: str, trials: range) -> Part | None:
    """Return the tables of a chunk's file, or None where it is not what was written, or not of these trials."""
    import numpy as np

    try:
        with open_file(file, _MOST_CHUNK_BYTES) as stream:
            data = stream.read()
        if blake2b(data, digest_size=8).hexdigest() != digest:
            return None
        # The digest finds damage; who wrote the file on purpose knows it too, so what it holds is checked as well.
        trial_columns, others = _table(data)
        part = {"trials": trial_columns}
        for key, value in others.items():
            if key.startswith(_KIND + b" "):
                part[key.split(b" ", 1)[1].decode()] = _table(b64decode(value))[0]
        whole = np.array_equal(part["trials"]["trial"], np.arange(trials.start, trials.stop))
        return part if whole and all("trial" in table for table in part.values()) else None
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError):  # pyarrow's errors are among them
        return None


def _table(data: bytes) -> tuple[Columns, dict[bytes, bytes]]:
    """Return the columns and the metadata of a Parquet file; raise ValueError for one far larger than it looks."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    if file.metadata.num_rows * file.metadata.num_columns > _MOST_CELLS:
        raise ValueError("more cells than a chunk has")
    table = file.read()
    return {name: table.column(name).to_numpy() for name in table.column_names}, table.schema.metadata or {}


def _columns_of(part: Part) -> dict[str, set[str]]:
    return {name: set(table) for name, table in part.items() if table}

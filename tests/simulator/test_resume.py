"""A study that is killed, corrupted, refused by its disk or met twice: nothing finished is lost, and it ends bit-identical."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

import simulator
from simulator.errors import UserError
from simulator.montecarlo import folder as folders
from simulator.montecarlo import run_queue_study, run_study
from simulator.montecarlo.folder import StudyFolder, stopped_scenario
from simulator.montecarlo.trials import Trials
from tests.simulator.queues import queue
from tests.simulator.studies import small, trials_file

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CLUSTERCOST_KILLS", "3"))
LONG = 1500  # trials, somewhat more than a second
FINISHED = {"scenario.yaml", "trials.parquet", "timeline.parquet", "summary.json", "provenance.json"}


def stop_after(trials: int):
    """Return a progress that presses Ctrl-C once so many trials are seen."""
    seen = 0

    def progress(chunk, new) -> None:
        nonlocal seen
        seen += chunk["trial"].size
        if seen >= trials:
            raise KeyboardInterrupt

    return progress


def stopped(path: Path, trials: int = 60, after: int = 20) -> Path:
    """Return the folder of a study that was stopped."""
    assert run_study(small(trials), folder=path, progress=stop_after(after)).interrupted
    return path


def begin(scenario_file: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "simulator.cli", "run", str(scenario_file), "--out", str(out), *words],
                            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def wait_for_chunks(out: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120.0
    while not (list(out.glob("chunks/*.parquet")) or (out / "trials.parquet").exists()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(scope="module")
def long_study(tmp_path_factory) -> tuple[Path, bytes]:
    """Return a scenario file, and the trials of its study that nobody disturbs."""
    folder = tmp_path_factory.mktemp("long")
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(small(LONG).to_file()))
    return file, trials_file(simulator.run(file), folder / "whole")


def test_killed_at_random_moments_it_ends_bit_identical(tmp_path, long_study) -> None:
    file, expected = long_study
    rng, cut_short = random.Random(), 0
    for kill in range(KILLS):
        out = tmp_path / f"{kill}"
        process = begin(file, out, "--workers", "2")
        wait_for_chunks(out, process)
        time.sleep(rng.uniform(0.0, 1.2))
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        process.stdout.close(), process.stderr.close()
        assert not psutil.wait_procs(children, timeout=10.0)[1]  # no worker outlives its study
        if (out / "chunks" / "study.json").exists():
            cut_short += 1
            simulator.resume(out)
        assert (out / "trials.parquet").read_bytes() == expected
        assert {entry.name for entry in out.iterdir()} == FINISHED
    assert cut_short > 0


def test_ctrl_c_keeps_what_finished_and_says_how_to_go_on(tmp_path, long_study) -> None:
    file, _ = long_study
    out = tmp_path / "out"
    process = begin(file, out, "--trials", "100000", "--workers", "2")
    wait_for_chunks(out, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"clustercost run --resume {out}" in said
    assert "Traceback" not in said
    assert {"chunks", "trials.parquet", "summary.json"} <= {entry.name for entry in out.iterdir()}


def test_ctrl_c_within_a_trial_lets_the_chunk_end(tmp_path, monkeypatch) -> None:
    # Python's own handler would raise within compiled code, where the exception is lost or the process breaks.
    run, pressed = Trials.run, []

    def pressing(self, trial: int, **how):
        if trial == 40:
            pressed.append(trial)
            os.kill(os.getpid(), signal.SIGINT)
        return run(self, trial, **how)

    monkeypatch.setattr(Trials, "run", pressing)
    study = run_study(small(3000), folder=tmp_path / "out")
    monkeypatch.undo()
    assert (pressed, study.interrupted) == ([40], True)
    assert 40 in study.column("trial")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(simulator.resume(tmp_path / "out")) == 3000


def test_a_stopped_study_goes_on_in_any_number_of_processes(tmp_path) -> None:
    expected = trials_file(simulator.run(small(2000)), tmp_path / "whole")
    out = stopped(tmp_path / "out", trials=2000, after=300)
    again = simulator.resume(out, workers=2)
    assert (out / "trials.parquet").read_bytes() == expected
    assert len(again) == 2000
    assert {entry.name for entry in out.iterdir()} == FINISHED


def test_finished_chunks_are_not_run_again(tmp_path) -> None:
    out = stopped(tmp_path / "out")
    had: dict[bool, int] = {True: 0, False: 0}

    def count(chunk, new) -> None:
        had[new] += chunk["trial"].size

    run_study(stopped_scenario(out), folder=out, resume=True, progress=count)
    assert had[False] >= 20
    assert had[False] + had[True] == 60


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "unfinished"])
def test_a_damaged_chunk_is_run_again(tmp_path, damage) -> None:
    expected = trials_file(simulator.run(small(60)), tmp_path / "whole")
    out = stopped(tmp_path / "out")
    files = sorted(out.glob("chunks/*.parquet"))
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 1
    files[1].write_bytes({"flip": bytes(data), "truncate": bytes(data[:-9]), "empty": b"", "unfinished": bytes(data)}[damage])
    if damage == "unfinished":
        files[1].rename(files[1].with_name(f".{files[1].name}.partial"))
    simulator.resume(out)
    assert (out / "trials.parquet").read_bytes() == expected


def test_a_full_disk_loses_nothing_finished_and_the_study_goes_on_elsewhere(tmp_path, monkeypatch) -> None:
    expected = trials_file(simulator.run(small(60)), tmp_path / "whole")
    out, write, left = tmp_path / "out", folders._replace, 3

    def full(file: Path, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, data)

    monkeypatch.setattr(folders, "_replace", full)
    with pytest.raises(UserError, match=r"trials \d+ to \d+ cannot be written: No space left on device; .* --resume"):
        simulator.run(small(60), folder=out)
    monkeypatch.undo()
    assert len(list(out.glob("chunks/*.parquet"))) == 3
    elsewhere = shutil.copytree(out, tmp_path / "elsewhere")
    assert len(simulator.resume(elsewhere)) == 60
    assert (elsewhere / "trials.parquet").read_bytes() == expected


def test_a_disk_full_at_the_end_keeps_all_trials(tmp_path, monkeypatch) -> None:
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folders, "write_results", full)
    with pytest.raises(UserError, match="all trials are kept"):
        simulator.run(small(20), folder=tmp_path / "out")
    monkeypatch.undo()
    assert len(simulator.resume(tmp_path / "out")) == 20


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        simulator.run(small(3), folder=tmp_path / "file" / "out")


def test_a_second_process_is_refused(tmp_path) -> None:
    out = stopped(tmp_path / "out")
    held = StudyFolder.resume(out)
    for call in (lambda: StudyFolder.resume(out), lambda: simulator.run(small(3), folder=out)):
        with pytest.raises(UserError, match=f"process {os.getpid()} on .* is writing this study"):
            call()
    process = subprocess.run([sys.executable, "-m", "simulator.cli", "run", "--resume", str(out)], cwd=ROOT, text=True,
                             env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert process.returncode == 2
    assert "is writing this study" in process.stderr
    held.release()
    assert len(simulator.resume(out)) == 60


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path) -> None:
    out = stopped(tmp_path / "out")
    (out / "study.lock").write_text("process 999999 on elsewhere\n")
    assert len(simulator.resume(out)) == 60


def test_another_scenario_is_refused_and_the_same_is_not(tmp_path) -> None:
    out = stopped(tmp_path / "out")
    for name, cluster in (("same", {}), ("other", {"cluster": {"spares": 3}})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(small(5, **cluster).to_file()))
    assert stopped_scenario(out, tmp_path / "same.yaml").monte_carlo.trials == 60
    with pytest.raises(UserError, match="differ in cluster"):
        stopped_scenario(out, tmp_path / "other.yaml")


def test_folders_that_cannot_go_on_say_why(tmp_path) -> None:
    simulator.run(small(3), folder=tmp_path / "done")
    (tmp_path / "empty").mkdir()
    for name, why in (("done", "is finished"), ("empty", "holds no study"), ("nowhere", "there is no folder")):
        with pytest.raises(UserError, match=why):
            simulator.resume(tmp_path / name)
    with pytest.raises(UserError, match="never overwritten"):
        simulator.run(small(3), folder=tmp_path / "done")
    with pytest.raises(UserError, match="go on with: clustercost run --resume"):
        simulator.run(small(3), folder=stopped(tmp_path / "out"))


def test_chunks_of_other_versions_are_refused(tmp_path) -> None:
    out = stopped(tmp_path / "out")
    study = out / "chunks" / "study.json"
    study.write_text(study.read_text().replace('"numpy": "', '"numpy": "0.'))
    with pytest.raises(UserError, match=r"was begun with numpy 0\."):
        simulator.resume(out)


def test_an_error_before_the_first_trial_leaves_no_folder(tmp_path) -> None:
    with pytest.raises(UserError, match="unknown column"):
        simulator.run(small(300), folder=tmp_path / "out", until="no_such p50 1%")
    assert not (tmp_path / "out").exists()


def test_a_queue_goes_on_with_the_jobs_of_its_first_trials(tmp_path) -> None:
    jobs = queue(monte_carlo={"trials": 6})
    whole = run_queue_study(jobs, folder=tmp_path / "whole")
    assert run_queue_study(jobs, folder=tmp_path / "out", progress=stop_after(2)).interrupted
    again = simulator.resume(tmp_path / "out")
    assert again.jobs().equals(whole.jobs())
    for name in ("trials.parquet", "jobs.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

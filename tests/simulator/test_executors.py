"""Wherever chunks run, in whatever order, on workers that may be lost: the file of trials is the same, byte by byte."""

import multiprocessing
import os
import random
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

import simulator
from simulator.errors import UserError
from simulator.montecarlo import chunks as chunking
from simulator.montecarlo import executors
from simulator.montecarlo.chunks import cut, measured, missing
from simulator.montecarlo.executors import processes
from simulator.montecarlo.study import _rows
from tests.simulator.studies import in_chunks, pieces, small, trials_file

COUNT = 120


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> bytes:
    return trials_file(simulator.run(small(COUNT)), tmp_path_factory.mktemp("serial") / "out")


def test_chunks_in_any_order_give_the_same_file(tmp_path, expected) -> None:
    chunks = pieces(COUNT, 7)
    random.Random(1).shuffle(chunks)
    assert trials_file(in_chunks(small(COUNT), chunks), tmp_path / "out") == expected


@pytest.mark.parametrize("count", [2, 4])
def test_processes_give_the_same_file(tmp_path, expected, count) -> None:
    # This process does not help, so that all chunks come from the others.
    others = replace(processes(_rows, small(COUNT), count), helps=False)
    assert trials_file(in_chunks(small(COUNT), pieces(COUNT, 5), others), tmp_path / "out") == expected


def test_a_process_that_helps_gives_the_same_file(tmp_path) -> None:
    runs = [trials_file(simulator.run(small(2500), workers=w), tmp_path / f"{w}") for w in (1, 2)]
    assert runs[0] == runs[1]


def test_a_killed_process_costs_its_chunks_only(tmp_path, expected) -> None:
    others = replace(processes(_rows, small(COUNT), 3), helps=False)
    kept: list[range] = []

    def kill_one(chunk: range) -> None:
        kept.append(chunk)
        if len(kept) == 3:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    assert trials_file(in_chunks(small(COUNT), pieces(COUNT, 5), others, kill_one), tmp_path / "out") == expected
    assert sorted(kept, key=lambda c: c.start) == pieces(COUNT, 5)  # none came twice


def _die(chunk: range) -> None:
    os._exit(1)


def test_workers_that_are_always_lost_are_an_error(monkeypatch) -> None:
    monkeypatch.setattr(executors, "_LOSSES", 2)
    others = replace(processes(_rows, small(4), 2), helps=False, task=_die)
    with pytest.raises(UserError, match="lost 2 times in a row"):
        in_chunks(small(4), pieces(4, 1), others)


def test_no_process_is_left_behind() -> None:
    in_chunks(small(8), pieces(8, 2), replace(processes(_rows, small(8), 3), helps=False))
    assert not multiprocessing.active_children()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestDask:
    @pytest.fixture(autouse=True, scope="class")
    def _installed(self) -> None:
        pytest.importorskip("distributed")

    def test_a_local_cluster_gives_the_same_file(self, tmp_path, expected) -> None:
        from simulator.montecarlo.dask_executor import on_dask

        others = replace(on_dask(_rows, small(COUNT), count=3), helps=False)
        assert trials_file(in_chunks(small(COUNT), pieces(COUNT, 5), others), tmp_path / "out") == expected

    def test_a_lost_worker_costs_its_chunks_only(self, tmp_path) -> None:
        from distributed import LocalCluster

        count = 3000
        expected = trials_file(simulator.run(small(count)), tmp_path / "serial")
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
            seen: list[int] = []

            def kill_one(chunk, new) -> None:
                seen.extend(chunk["trial"].tolist())
                if len(seen) > 200 and not killed:
                    killed.append(next(iter(cluster.workers.values())).pid)
                    os.kill(killed[0], signal.SIGKILL)

            killed: list[int] = []
            study = simulator.montecarlo.run_study(small(count), dask=cluster.scheduler_address, progress=kill_one)
        assert killed
        assert trials_file(study, tmp_path / "dask") == expected
        assert sorted(seen) == list(range(count))

    def test_a_scheduler_that_does_not_answer_is_named(self, monkeypatch) -> None:
        from simulator.montecarlo import dask_executor

        monkeypatch.setattr(dask_executor, "_CONNECT_S", 0.5)
        monkeypatch.setattr(chunking, "MEASURE_S", 0.0)
        with pytest.raises(UserError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
            simulator.run(small(8), dask="tcp://127.0.0.1:9")


def test_without_dask_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'clustercost\[distributed\]'"):
        simulator.run(small(3), dask=True)


def test_chunks_cover_what_is_missing_once_and_shrink() -> None:
    gaps = missing([range(10, 20), range(50, 60)], 1000)
    assert gaps == [range(10), range(20, 50), range(60, 1000)]
    chunks = list(cut(gaps, 0.01, lambda: 2))
    assert [trial for chunk in chunks for trial in chunk] == [trial for gap in gaps for trial in gap]
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) <= 100  # a second of work
    assert sizes[-1] <= 5


def test_slow_trials_go_one_by_one() -> None:
    assert [len(c) for c in cut([range(5)], 30.0, lambda: 2)] == [1] * 5


def test_the_first_trials_are_run_once_and_kept() -> None:
    kept: list[range] = []
    run = lambda chunk: {"trials": {"trial": np.array(chunk)}}  # noqa: E731
    left, each_s, enough = measured(run, [range(3), range(10, 12)],
                                    lambda chunk, part: kept.append(chunk) or False, compiled=True)
    assert (left, enough) == ([], False)
    assert each_s >= 0.0
    assert [trial for chunk in kept for trial in chunk] == [0, 1, 2, 10, 11]

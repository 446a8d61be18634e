"""Where chunks of trials run: in this process, or in others beside it. What they give does not depend on it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from typing import Any

from simulator.errors import UserError
from simulator.montecarlo.chunks import Part, RunChunk

Make = Callable[[Any], RunChunk]
Keep = Callable[[range, Part], bool]  # True: enough, the rest need not run

_QUEUED = 3  # chunks that each worker beside this process has: this one hands out more only between chunks of its own
_LOSSES = 5  # times in a row that workers may be lost before a chunk comes back
_START_S = 1.5  # of a process: import, kernels from the cache, plan
_run: RunChunk | None = None


@dataclass(frozen=True)
class Workers:
    """Processes that take chunks, here or on other machines.

    Attributes
    ----------
    opened : callable
        Starts them; returns the executor, and a function that ends them at once.
    task : callable
        What is submitted with a chunk.
    slots : callable
        Chunks that run at a time, this process included where it helps.
    helps : bool
        This process runs chunks as well, from the moment on that the others are started.
    lost : tuple of exception types
        Raised for a chunk whose worker was lost; it is run again.
    """

    opened: Callable[[], tuple[Executor, Callable[[], None]]]
    task: Callable[[range], Part]
    slots: Callable[[], int]
    helps: bool
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)


def run_chunks(workers: Workers | None, run: RunChunk, chunks: Iterator[range], keep: Keep) -> None:
    """Run all chunks and hand what each gave to `keep`, in any order, until it says that it is enough.

    Parameters
    ----------
    workers : Workers, optional
        None: chunks run here, one after the other.
    run : callable
        Runs a chunk in this process.
    chunks : iterator of range
        Taken one by one, as workers become free; the first while workers start.

    Raises
    ------
    UserError
        Workers are lost again and again.
    """
    if workers is None:
        for chunk in chunks:
            if keep(chunk, run(chunk)):
                return
        return
    losses = 0
    while True:
        lost = _one_pool(workers, run, chunks, keep)
        if lost is None:
            return
        again, came_back = lost
        chunks = chain(again, chunks)
        losses = 0 if came_back else losses + 1
        if losses >= _LOSSES:
            raise UserError(f"workers were lost {losses} times in a row before a chunk came back (out of memory, or killed?); "
                            "allowed: fewer workers, or --workers 1")


def _one_pool(workers: Workers, run: RunChunk, chunks: Iterator[range], keep: Keep) -> tuple[list[range], bool] | None:
    """Run chunks until none is left (None), or until workers are lost: the chunks they had, and whether any came back before."""
    opening: Future[tuple[Executor, Callable[[], None]]] = Future()
    threading.Thread(target=_open, args=(workers, opening), daemon=True).start()
    pending: dict[Future[Part], range] = {}
    gone: tuple[type[BaseException], ...] = (*workers.lost, CancelledError)
    lost: list[range] = []
    came_back = False
    try:
        while True:
            if opening.done():
                pool = opening.result()[0]
                most = _QUEUED * max(1, workers.slots() - workers.helps)
                while not lost and len(pending) < most and (chunk := next(chunks, None)) is not None:
                    try:
                        pending[pool.submit(workers.task, chunk)] = chunk
                    except gone:
                        lost.append(chunk)
            for future in [future for future in pending if future.done()]:
                chunk = pending.pop(future)
                try:
                    part = future.result()
                except gone:
                    lost.append(chunk)
                    continue
                came_back = True
                if keep(chunk, part):
                    return None
            if lost and not pending:
                return lost, came_back
            mine = None if lost or not workers.helps else next(chunks, None) or _taken_back(pending)
            if mine is not None:
                if keep(mine, run(mine)):
                    return None
            elif pending:
                wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
            elif opening.done():
                return None
            else:
                wait([opening])
    finally:
        for future in pending:
            future.cancel()
        _close(opening)


def _open(workers: Workers, opening: Future[tuple[Executor, Callable[[], None]]]) -> None:
    try:
        opening.set_result(workers.opened())
    except BaseException as error:
        opening.set_exception(error)


def _close(opening: Future[tuple[Executor, Callable[[], None]]]) -> None:
    """End the workers, as soon as they are started where they are not yet."""
    opening.add_done_callback(lambda done: done.exception() or done.result()[1]())


def _taken_back(pending: dict[Future[Part], range]) -> range | None:
    """Return a chunk that no worker has begun, for this process to run."""
    for future in reversed(list(pending)):
        if not future.done() and future.cancel():
            return pending.pop(future)
    return None


def processes(make: Make, scenario: Any, count: int) -> Workers:
    """Return this process and `count - 1` beside it (spawned), on this machine.

    Parameters
    ----------
    make : callable
        Scenario -> function that runs a chunk; a function of a module, so that processes find it.
    """
    def opened() -> tuple[Executor, Callable[[], None]]:
        context = multiprocessing.get_context("spawn")
        end, leash = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(count - 1, mp_context=context, initializer=_start_worker, initargs=(make, scenario, end))

        def close() -> None:
            leash.close()
            pool.shutdown(wait=True, cancel_futures=True)
            end.close()

        pool.submit(_ready)  # starts them, before there is a chunk
        return pool, close

    return Workers(opened, _run_chunk, lambda: count, helps=True)


def _start_worker(make: Make, scenario: Any, leash: Any) -> None:
    global _run  # noqa: PLW0603  (one scenario a worker process, set once)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process; the first one decides
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    _run = make(scenario)


def _end_with(leash: Any) -> None:
    """End this process when the other end of a pipe is closed: the study is over, or its process was killed."""
    try:
        leash.recv_bytes()
    except (EOFError, OSError):
        os._exit(0)


def _ready() -> None:
    """Do nothing."""


def _run_chunk(chunk: range) -> Part:
    assert _run is not None
    return _run(chunk)


def cores() -> int:
    """Return the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worth(left_s: float) -> int:
    """Return how many processes pay for seconds of work that are left: all cores, once it takes longer than to start one."""
    return cores() if left_s > 2.0 * _START_S else 1

"""Chunks on a Dask cluster: a local one, or that of a scheduler (Slurm, Kubernetes, ssh); needs the extra `distributed`."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import Any

from simulator.errors import UserError
from simulator.montecarlo.chunks import Part, RunChunk
from simulator.montecarlo.executors import Make, Workers

_CONNECT_S = 20
_LOOK_S = 2.0  # between looks at how many workers there are
_kept = threading.local()


def check_dask() -> None:
    """Raise UserError where dask.distributed is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UserError("Dask is not installed; allowed: pip install 'clustercost[distributed]' (or: pip install dask "
                        "distributed), or processes of this machine with --workers") from error


def on_dask(make: Make, scenario: Any, *, address: str | None = None, count: int = 1) -> Workers:
    """Return the workers of a scheduler's cluster, or a cluster of `count` processes on this machine, this one included.

    Parameters
    ----------
    make : callable
        Scenario -> function that runs a chunk; a function of a module that the workers have too.
    address : str, optional
        Such as "tcp://10.0.0.1:8786". None: a local cluster.

    Raises
    ------
    UserError
        Dask is not installed; later, when opened: the scheduler does not answer.
    """
    check_dask()
    from distributed import CancelledError, KilledWorker

    # With each task, so that a worker that joins late or takes over from a lost one needs nothing else.
    packed = pickle.dumps((make, scenario))
    task = partial(_run_on_worker, blake2b(packed, digest_size=8).hexdigest(), packed)
    clients: list[Any] = []
    lost = (KilledWorker, CancelledError)
    if address is not None:
        return Workers(partial(_connect, address, clients), task, _Size(clients), helps=False, lost=lost)
    here = count > 1
    return Workers(partial(_start, count - here, clients), task, lambda: count, helps=here, lost=lost)


def _connect(address: str, clients: list[Any]) -> tuple[Executor, Callable[[], None]]:
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler: no Dask scheduler answers at {address!r}; allowed: an address such as "
                        f"tcp://10.0.0.1:8786 ({error})") from error
    clients.append(client)
    return client.get_executor(pure=False), client.close


def _start(count: int, clients: list[Any]) -> tuple[Executor, Callable[[], None]]:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL)
    client = Client(cluster, set_as_default=False)
    clients.append(client)

    def close() -> None:
        client.close()
        cluster.close()

    return client.get_executor(pure=False), close


class _Size:
    """Threads of a cluster that may grow and shrink, asked for now and then."""

    def __init__(self, clients: list[Any]) -> None:
        self.clients, self.found, self.next_s = clients, 1, 0.0

    def __call__(self) -> int:
        if self.clients and monotonic() >= self.next_s:
            self.found = max(1, sum(self.clients[-1].nthreads().values()))
            self.next_s = monotonic() + _LOOK_S
        return self.found


def _run_on_worker(key: str, packed: bytes, chunk: range) -> Part:
    """Run a chunk, with what was made for the last one of the same study (in each thread its own)."""
    if getattr(_kept, "key", None) != key:
        make, scenario = pickle.loads(packed)
        run: RunChunk = make(scenario)
        _kept.key, _kept.run = key, run
    return _kept.run(chunk)

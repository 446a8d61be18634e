"""Print a table of the simulator's speed and memory: `python -m benchmarks [TRIALS]`."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cases import (
    bare_loop,
    compiled_share,
    events_per_s,
    flat_year,
    hourly_year,
    large_search,
    many_layouts,
    mean_interruptions,
    parallel_s,
    reference_stream,
    scenario,
    served_per_s,
)
from kernels.bulk import price_layouts
from simulator.montecarlo.trials import Trials
from simulator.performance.search import FREE, search

ROUNDS = 5
PARALLEL_S, PARALLEL_ROUNDS = 21.0, 3
PLACES: dict[str, dict[str, Any]] = {"two processes": {"workers": 2}}
if find_spec("distributed") is not None:
    PLACES["Dask"] = {"workers": 2, "dask": True}
# The command itself may not be installed where the repository is used in place.
HELP = (
    sys.executable, "-c",
    "import sys; from simulator.cli import main; sys.argv = ['clustercost', '--help']; main()",
)


def rates_per_s(calls: tuple[Callable[[int], object], ...], count: int) -> list[float]:
    """Return calls per second of each function, the median of rounds that take turns."""
    rounds: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, found in zip(calls, rounds, strict=True):
            start_s = perf_counter()
            for i in range(count):
                call(i)
            found.append(count / (perf_counter() - start_s))
    return [median(found) for found in rounds]


def layouts_per_s(count: int = 50_000) -> float:
    """Return layouts of a 1 T-parameter model fully priced a second, on one core, median of rounds."""
    rows, found = many_layouts(count)
    out = np.empty(count), np.empty(count), np.empty(count)
    price_layouts(*found, FREE, rows[:1], math.inf, *(o[:1] for o in out))
    (rate,) = rates_per_s((lambda i: price_layouts(*found, FREE, rows, math.inf, *out),), 1)
    return rate * count


def search_s() -> tuple[float, int]:
    """Return the time of the whole layout search for 175 B on 1,024 accelerators, warm, and the layouts it looks at."""
    case = large_search("gpt3-175b", 1024)
    found = search(case)
    (rate,) = rates_per_s((lambda i: search(case),), 1)
    return 1.0 / rate, found.times_s.size


def help_s() -> float:
    """Return the time of `clustercost --help` in a new process, median of rounds after one to warm up."""
    times = []
    for _ in range(ROUNDS + 1):
        start_s = perf_counter()
        subprocess.run(HELP, check=True, stdout=subprocess.DEVNULL)
        times.append(perf_counter() - start_s)
    return median(times[1:])


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def against_bare_loop(name: str, count: int) -> tuple[float, float, int]:
    """Return trials a second of a scenario, bare SimPy loops of as many failures a second, and the failures of a trial."""
    trials = Trials(scenario(name))
    failures = mean_interruptions(trials)  # warms up kernels and caches too
    rate, bare_rate = rates_per_s((trials.run, lambda i: bare_loop(failures, reference_stream(i))), count)
    return rate, bare_rate, failures


def calendar_rates_per_s(count: int) -> list[float]:
    """Return trials a second of a year priced by the hour, with rules beside that, and of the same year at one price."""
    cases = [Trials(hourly_year(rules=False)), Trials(hourly_year(rules=True)), Trials(flat_year())]
    for trials in cases:
        trials.run(0)
    return rates_per_s(tuple(trials.run for trials in cases), count)


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    start_s = perf_counter()
    mean_interruptions(Trials(scenario()))
    ready_s = perf_counter() - start_s
    table = Table(title=f"One process, {ROUNDS} rounds of {count} trials", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_row("load, first estimate and 20 trials to warm up", f"{ready_s:.2f} s")
    for name in ("llama3-405b", "all-features"):
        rate, bare_rate, failures = against_bare_loop(name, count)
        table.add_row(f"{name}: trials per second", f"{rate:,.0f}")
        table.add_row(f"bare SimPy loops per second ({failures} x two timeouts)", f"{bare_rate:,.0f}")
        table.add_row("rate over that of the bare loop", f"{rate / bare_rate:.2f}")
    share = compiled_share(Trials(scenario()), count)
    table.add_row("share of a Llama trial in the compiled stretch", f"{share:.2f}")
    hourly, ruled, flat = calendar_rates_per_s(max(1, count // 4))
    table.add_row("a year at one price: trials per second", f"{flat:,.0f}")
    table.add_row("priced by the hour, over that", f"{hourly / flat:.2f}")
    table.add_row("priced by the hour, with cap, events and rules, over that", f"{ruled / flat:.2f}")
    million = Trials(scenario("frontier-2030"))
    (rate,) = rates_per_s((million.run,), 2)
    table.add_row("a million accelerators for a year: trials per second", f"{rate:.1f}")
    memory = peak_memory_bytes()
    rates = {size: events_per_s(size) for size in (1_000, 10_000, 100_000, 1_000_000)}
    for size, found in rates.items():
        table.add_row(f"interruptions per second, {size:,} accelerators", f"{found:,.0f}")
    table.add_row("rate at 1,000,000 over that at 10,000", f"{rates[1_000_000] / rates[10_000]:.2f}")
    table.add_row("layouts per second, one core, 1 T parameters", f"{layouts_per_s():,.0f}")
    table.add_row("requests served per second, one core, 64 replicas of Llama 3.1 70B", f"{served_per_s():,.0f}")
    seconds, layouts = search_s()
    table.add_row(f"layout search, 175 B on 1,024 ({layouts:,} layouts)", f"{seconds:.3f} s")
    taken = parallel_s(PARALLEL_S, PARALLEL_ROUNDS, **PLACES)
    table.add_row(f"a study of {taken['serial']:.0f} s in one process, in two", f"{taken['two processes']:.1f} s")
    table.add_row("parallel efficiency of two processes", f"{taken['serial'] / 2 / taken['two processes']:.2f}")
    if "Dask" in taken:
        table.add_row("time of a local Dask cluster of two over that of two processes",
                      f"{taken['Dask'] / taken['two processes']:.2f}")
    table.add_row("peak memory of the studies", f"{memory / 2**20:,.0f} MiB")
    table.add_row("clustercost --help", f"{help_s():.2f} s")
    Console().print(table)


if __name__ == "__main__":
    main()

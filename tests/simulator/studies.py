"""Small studies that the tests of executors, folders and convergence share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulator.montecarlo import Study
from simulator.montecarlo.executors import Workers, run_chunks
from simulator.montecarlo.running import Outcome, _Collector
from simulator.montecarlo.study import _rows_of
from simulator.montecarlo.trials import Trials
from simulator.scenario import Scenario
from tests.simulator.runs import scenario


def small(trials: int, **sections: Any) -> Scenario:
    """Return a scenario of about a millisecond a trial, with a price and a repair time that are not known."""
    return scenario(training={"tokens": "150 B"}, monte_carlo={"trials": trials},
                    pricing={"rental": {"price": {"triangular": ["2 USD/h", "2.5 USD/h", "4 USD/h"]}}}, **sections)


def trials_file(study: Study, folder: Path) -> bytes:
    """Return the bytes of a study's trials.parquet."""
    return (study.save(folder) / "trials.parquet").read_bytes()


def in_chunks(found: Scenario, chunks: list[range], workers: Workers | None = None, keep: Any = None) -> Study:
    """Return the study of chunks run in this order, on these workers."""
    trials = Trials(found)
    collector = _Collector([], found.monte_carlo.trials, None, None)

    def kept(chunk: range, part: Any) -> bool:
        if keep is not None:
            keep(chunk)
        return collector.keep(chunk, part)

    run_chunks(workers, _rows_of(trials), iter(chunks), kept)
    return Study(found, trials, Outcome(collector.tables()))


def pieces(count: int, size: int) -> list[range]:
    """Return chunks of a size."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]

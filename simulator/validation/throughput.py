"""Step times against published training configurations: errors, their statistics, pairs, and predictions for other rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simulator.errors import UserError
from simulator.validation.calibration import errors
from simulator.validation.rows import Case, read_case, read_rows

PREDICTION_COLUMNS = ("id", "predicted_step_time_s", "predicted_mfu_percent", "feasible", "error")
_BAD_ROW = (KeyError, ValueError, TypeError, ZeroDivisionError, UserError)
# The eight rows that Calculon (Isaev et al., SC23) is validated on, with a mean error of 3.65 %.
CALCULON = tuple(f"korthikanti22-{size}-{kind}" for size in ("22b", "175b", "530b", "1000b") for kind in ("full", "selective"))


class Pair(NamedTuple):
    """Two rows that differ in one choice; the second should be the faster (or, for context, the slower a token)."""

    choice: str
    first: str
    second: str


PAIRS = (
    *(Pair("full to selective recomputation", f"korthikanti22-{s}-full", f"korthikanti22-{s}-selective")
      for s in ("22b", "175b", "530b", "1000b")),
    *(Pair("eager to compiled", f"tt-8b-{n}-eager", f"tt-8b-{n}-compile") for n in (8, 128)),
    *(Pair("bf16 to fp8", f"tt-8b-{n}-compile", f"tt-8b-{n}-fp8") for n in (8, 128)),
    Pair("bf16 to fp8", "tt-70b-2d-bf16", "tt-70b-2d-fp8"),
    Pair("synchronous to asynchronous TP, bf16", "tt-70b-2d-bf16", "tt-70b-2d-async-bf16"),
    Pair("synchronous to asynchronous TP, fp8", "tt-70b-2d-fp8", "tt-70b-2d-async-fp8"),
    Pair("1F1B to interleaved", "tt-405b-3d-1f1b", "tt-405b-3d-interleaved"),
    *(Pair(f"context {a} to {b}, 8B", f"tt-8b-cp{a}", f"tt-8b-cp{b}") for a, b in ((1, 2), (2, 4), (4, 8))),
    *(Pair(f"context {a} to {b}, 405B", f"tt-405b-4d-cp{a}", f"tt-405b-4d-cp{b}") for a, b in ((1, 2), (2, 4), (4, 8))),
)


def read_cases(path: Path | None = None, shipped: str = "throughput.csv") -> list[Case]:
    """Return the cases of a CSV that all must be readable and measured; UserError with file and line otherwise."""
    cases = []
    for line, row in enumerate(read_rows(path, shipped), start=2):
        try:
            case = read_case(row)
            if not case.measured_s == case.measured_s:
                raise ValueError("no step time, tokens/s, TFLOP/s or MFU; with --output rows need none")
            cases.append(case)
        except _BAD_ROW as error:
            raise UserError(f"{path or shipped}:{line}: {error}") from error
    return cases


def statistics(values: np.ndarray) -> dict[str, float]:
    """Return count, mean, median and P90 of the absolute error, bias, and the worst error."""
    size = np.abs(values)
    if not values.size:
        return dict.fromkeys(("rows", "mean_absolute_error", "median", "p90", "bias", "worst"), 0.0)
    return {"rows": float(values.size), "mean_absolute_error": float(size.mean()), "median": float(np.median(size)),
            "p90": float(np.quantile(size, 0.9)), "bias": float(values.mean()), "worst": float(values[np.argmax(size)])}


def groups(cases: list[Case]) -> dict[str, list[int]]:
    """Return the rows of each group that is reported: all, by size, Calculon's, and by source."""
    chosen: dict[str, Callable[[Case], bool]] = {
        "all": lambda case: True, "1 B parameters and more": lambda case: case.parameters >= 1e9,
        "below 1 B": lambda case: case.parameters < 1e9, "Calculon's eight": lambda case: case.id in CALCULON}
    for source in sorted({case.source for case in cases}):
        chosen[source or "no source"] = lambda case, source=source: case.source == source  # type: ignore[misc]
    found = {name: [i for i, case in enumerate(cases) if take(case)] for name, take in chosen.items()}
    return {name: rows for name, rows in found.items() if rows}


def compare_pairs(cases: list[Case]) -> list[tuple[Pair, float, float]]:
    """Return, for each pair among the rows, measured and predicted tokens/s of the second over the first."""
    by_id = {case.id: case for case in cases}

    def gain(pair: Pair, time_s: Callable[[Case], float]) -> float:
        first, second = by_id[pair.first], by_id[pair.second]
        rates = [case.recipe.sequences * case.recipe.sequence / time_s(case) for case in (first, second)]
        return rates[1] / rates[0]

    return [(pair, gain(pair, lambda case: case.measured_s), gain(pair, lambda case: case.step().time_s))
            for pair in PAIRS if pair.first in by_id and pair.second in by_id]


def predictions(path: Path) -> list[dict[str, str]]:
    """Return `PREDICTION_COLUMNS` of each row of a CSV, and "assumed".

    `error` is predicted over published step time minus one (empty where nothing was published); for a row that cannot be
    priced it says why. `assumed` names the sizes that the row left open, as chosen; the CSV does without it.
    """
    return [_prediction(row) for row in read_rows(path)]


def _prediction(row: dict[str, str]) -> dict[str, str]:
    line = dict.fromkeys((*PREDICTION_COLUMNS, "assumed"), "") | {"id": row.get("id", "")}
    try:
        case = read_case(row)
    except _BAD_ROW as error:
        return line | {"error": " ".join(str(error).split())}
    step = case.step()
    line |= {"predicted_step_time_s": f"{step.time_s:.6g}", "predicted_mfu_percent": f"{100.0 * case.mfu(step):.4g}",
             "feasible": "yes" if case.feasible else "no", "assumed": assumed(case, row)}
    if math.isfinite(case.measured_s):
        line["error"] = f"{step.time_s / case.measured_s - 1.0:.4f}"
    return line


def assumed(case: Case, row: dict[str, str]) -> str:
    """Return the sizes that a row does not give, as they were chosen: "microbatch 2, virtual_pipeline 3"."""
    lay = case.layout
    chosen = {"tensor": lay.tensor, "pipeline": lay.pipeline, "virtual_pipeline": lay.chunks, "data": lay.data,
              "microbatch": lay.microbatch}
    open_sizes = [f"{key} {value:.0f}" for key, value in chosen.items()
                  if not row.get(key) and not (key == "virtual_pipeline" and lay.pipeline <= 1.0)]
    return ", ".join(open_sizes + ([] if row.get("sharding") else [f"zero {lay.zero:.0f}"]))


def predictions_csv(lines: list[dict[str, str]]) -> str:
    """Return predictions as CSV, in `PREDICTION_COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=PREDICTION_COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def remarks(lines: list[dict[str, str]]) -> str:
    """Return what was chosen for rows that leave sizes open, and the errors of those that have a measurement."""
    chosen = [f"{line['id']}: assumed {line['assumed']}" for line in lines if line["assumed"]]
    unpriced = [f"{line['id']}: not priced: {line['error']}" for line in lines if not line["predicted_step_time_s"]]
    found = np.array([float(line["error"]) for line in lines if line["predicted_step_time_s"] and line["error"]])
    ends = []
    if found.size:
        s = statistics(found)
        ends = [f"{s['rows']:.0f} rows with a measurement: mean absolute error {s['mean_absolute_error']:.1%}, median "
                f"{s['median']:.1%}, P90 {s['p90']:.1%}, bias {s['bias']:+.1%}, worst {s['worst']:+.1%}"]
    return "\n".join([*chosen, *unpriced, *ends])


def summary_table(cases: list[Case], found: np.ndarray | None = None) -> str:
    """Return the statistics of every group, as a Markdown table."""
    found = errors(cases) if found is None else found
    lines = ["| rows | number | mean absolute error | median | P90 | bias | worst |", "|---|---|---|---|---|---|---|"]
    for name, rows in groups(cases).items():
        s = statistics(found[rows])
        lines.append(f"| {name} | {s['rows']:.0f} | {s['mean_absolute_error']:.1%} | {s['median']:.1%} | {s['p90']:.1%} | "
                     f"{s['bias']:+.1%} | {s['worst']:+.1%} |")
    return "\n".join(lines)


def row_table(cases: list[Case]) -> str:
    """Return every row: measured, predicted, error, and the share of memory its layout needs."""
    lines = ["| row | measured s | predicted s | error | memory |", "|---|---|---|---|---|"]
    lines += [f"| {c.id} | {c.measured_s:.4g} | {c.step().time_s:.4g} | {e:+.1%} | "
              f"{c.memory_bytes / c.accelerator.memory_bytes:.0%} |" for c, e in zip(cases, errors(cases), strict=True)]
    return "\n".join(lines)


def pair_table(cases: list[Case]) -> str:
    """Return measured and predicted gain of every pair."""
    lines = ["| choice | rows | measured | predicted |", "|---|---|---|---|"]
    lines += [f"| {pair.choice} | {pair.first}, {pair.second} | {measured:.2f} | {predicted:.2f} |"
              for pair, measured, predicted in compare_pairs(cases)]
    return "\n".join(lines)

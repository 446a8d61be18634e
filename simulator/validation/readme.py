"""The table of accuracy in README.md: taken from docs/validation.md, which `clustercost validate` writes; never typed.

`python -m simulator.validation.readme` in the repository writes it anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from simulator.errors import UserError
from simulator.files import write_whole

BEGIN = "<!-- accuracy: written by python -m simulator.validation.readme from docs/validation.md -->"
END = "<!-- end of accuracy -->"
_STEPS = {"Step times": ("1 B parameters and more", "below 1 B"), "Rows that no fit has seen": ("all",)}
_WORDS = {"all": "rows that no fit has seen"}
_ENERGY = {"those with a scenario": "energy of runs with a scenario, from configuration alone",
           "those with size or layout assumed, no failures": "energy where size or layout is assumed, without failures",
           "with published hours": "energy with published hours", "cost": "cost"}
_EIGHT = re.compile(r"Calculon's eight rows together: mean absolute error ([\d.]+)% \(Calculon: ([\d.]+) %\)")


def accuracy_table(validation: str) -> str:
    """Return the table, from the text of docs/validation.md.

    Whole runs that are published as a bound have no error; figures that a failure profile was made from are left out.

    Raises
    ------
    UserError
        A text that lacks a table.
    """
    lines = ["| | published | predicted | error |", "|---|---|---|---|", *_step_rows(validation), *_run_rows(validation),
             *_energy_rows(validation)]
    return "\n".join(lines)


def update(readme: str, validation: str) -> str:
    """Return the text of README.md with the table of now between its marks; raise UserError where these are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"README.md: found no {BEGIN!r} ... {END!r}")
    return f"{before}{BEGIN}\n\n{accuracy_table(validation)}\n\n{END}{after}"


def _step_rows(validation: str) -> Iterator[str]:
    for heading, groups in _STEPS.items():
        for row in _rows(validation, heading, "rows"):
            if row["rows"] in groups:
                what = _WORDS.get(row["rows"], row["rows"])
                yield f"| step times, {what}: {row['number']}, mean absolute error | | | {_percent(row['mean absolute error'])} |"
    if match := _EIGHT.search(validation):
        yield f"| Calculon's eight rows, mean absolute error (Calculon's own: {match[2]} %) | | | {match[1]} % |"


def _run_rows(validation: str) -> Iterator[str]:
    for row in _rows(validation, "Whole runs", "scenario"):
        if "an input:" in row["remark"]:
            continue
        bound = "a bound" in row["remark"]
        link = f"[{row['scenario']}](scenarios/{row['scenario']}.yaml), {row['quantity']}"
        yield (f"| {link} | {'above ' if bound else ''}{_figure(row['published'])} | {_figure(row['simulated'])} | "
               f"{'' if bound else _percent(row['error'])} |")


def _energy_rows(validation: str) -> Iterator[str]:
    """Yield the named runs, from configuration alone (energies are those of what the row counts), then medians of all rows."""
    for row in _rows(validation, "Energy", "row"):
        yield (f"| {row['row']}, energy ({row['counts']}) | {row['published MWh']} MWh | {row['configuration']} MWh | "
               f"{_percent(row['error'])} |")
    for row in _rows(validation, "Energy", "rows"):
        if what := _ENERGY.get(row["rows"]):
            yield (f"| {what}: {row['number']}, median absolute error (worst {_percent(row['worst'])}) | | | "
                   f"{_percent(row['median'])} |")


def _rows(validation: str, heading: str, first: str) -> Iterator[dict[str, str]]:
    """Yield the rows of the first table below a heading whose first column has a name; of equal columns the first counts."""
    _, _, below = validation.partition(f" {heading}\n")
    tables = re.findall(r"(?:^\|.*\n)+", below, re.MULTILINE)
    table = next((t for t in tables if t.startswith(f"| {first} |")), None)
    if table is None:
        raise UserError(f"docs/validation.md: found no table of {first!r} below {heading!r}")
    names, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines())
    for cells in rows:
        yield dict(reversed(list(zip(names, cells, strict=True))))


def _percent(text: str) -> str:
    return text.replace("%", " %")


def _figure(text: str) -> str:
    """Return a figure such as "3.084e+07 h" as people write it."""
    number, _, unit = text.replace(",", "").partition(" ")
    value = float(number)
    word = f"{value / 1e6:.4g} M" if value >= 1e6 else f"{value:,.0f}" if value >= 1e3 else f"{value:.3g}"
    return f"{word} {unit}".strip()


if __name__ == "__main__":
    here = Path("README.md")
    text = update(here.read_text(encoding="utf-8"), Path("docs/validation.md").read_text(encoding="utf-8"))
    write_whole(here, lambda file: file.write_text(text, encoding="utf-8"))
    print(f"wrote {here}")

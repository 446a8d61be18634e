"""A trace of requests: a CSV file with a row a request, read whole or refused with file, line and column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.columns import cell_number, csv_lines
from simulator.errors import UserError, unknown_name
from simulator.units import QuantityError, shorten

REQUIRED = ("arrival", "prompt_tokens", "output_tokens")
OPTIONAL = ("tier", "user")
_MOST_TOKENS = 1e9


class Trace(NamedTuple):
    """Arrays of shape (requests,), in order of arrival; None where the file has no such column."""

    arrival_s: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    tier: np.ndarray | None
    user: np.ndarray | None


def read_requests(file: str, tiers: tuple[str, ...], duration_s: float) -> Trace:
    """Return the requests of a trace that come before a time.

    Parameters
    ----------
    file : str
        CSV with a header: `arrival` (seconds from the start), `prompt_tokens`, `output_tokens`, and any of `tier` (a name) and
        `user` (any text).
    tiers : tuple of str
        Names that a `tier` may have; the result has their numbers.
    duration_s : float
        Later requests are left out.

    Raises
    ------
    UserError
        With file, line, column, what was found and what is allowed.
    """
    try:
        return _read(file, tiers, duration_s)
    except QuantityError as error:
        raise UserError(str(error)) from None


def _read(file: str, tiers: tuple[str, ...], duration_s: float) -> Trace:
    header: list[str] = []
    rows: list[tuple[float, float, float]] = []
    found: list[int] = []
    users: dict[str, int] = {}
    of_user: list[int] = []
    for place, cells in csv_lines(file, "requests"):
        if not header:
            header = _header(cells, place)
            columns = [header.index(name) for name in REQUIRED]
            tier, user = (header.index(name) if name in header else None for name in OPTIONAL)
            continue
        if len(cells) != len(header):
            raise QuantityError(f"{place}: found {len(cells)} cells; allowed: {len(header)}, as the header has")
        arrival_s, prompt, output = (cell_number(cells[column], place, header[column]) for column in columns)
        for name, text, value, least, most in (("arrival", cells[columns[0]], arrival_s, 0.0, 1e12),
                                               ("prompt_tokens", cells[columns[1]], prompt, 1.0, _MOST_TOKENS),
                                               ("output_tokens", cells[columns[2]], output, 1.0, _MOST_TOKENS)):
            if not least <= value <= most or (least > 0.0 and value != int(value)):
                allowed = "seconds from the start, 0 or more" if least == 0.0 else f"a whole number from 1 to {_MOST_TOKENS:,.0f}"
                raise QuantityError(f"{place}: {name}: found {shorten(text.strip())}; allowed: {allowed}")
        rows.append((arrival_s, prompt, output))
        if tier is not None:
            name = cells[tier].strip()
            if name not in tiers:
                raise QuantityError(f"{place}: tier: {unknown_name('tier', name, tiers)}")
            found.append(tiers.index(name))
        if user is not None:
            of_user.append(users.setdefault(cells[user].strip(), len(users)))
    if not rows:
        raise QuantityError(f"{file}: found no requests; allowed: a header {','.join(REQUIRED)} and a row a request")
    numbers = np.array(rows)
    order = np.argsort(numbers[:, 0], kind="stable")
    order = order[numbers[order, 0] < duration_s]
    if not order.size:
        raise QuantityError(f"{file}: found no request before the {duration_s:g} s of load.duration; allowed: seconds from the "
                            "start")
    return Trace(numbers[order, 0], numbers[order, 1], numbers[order, 2],
                 np.array(found)[order] if found else None, np.array(of_user)[order] if of_user else None)


def _header(row: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in row]
    for i, name in enumerate(names):
        if name not in REQUIRED + OPTIONAL:
            raise QuantityError(f"{place}: {unknown_name('column', name, REQUIRED + OPTIONAL)}")
        if name in names[:i]:
            raise QuantityError(f"{place}: found the column {name!r} a second time; allowed: each once")
    lacking = [name for name in REQUIRED if name not in names]
    if lacking:
        raise QuantityError(f"{place}: missing column {lacking[0]!r}; allowed: {', '.join(REQUIRED)}, and any of "
                            f"{', '.join(OPTIONAL)}")
    return names

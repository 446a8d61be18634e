"""The one kind of error a user sees: a message, a place, what was found and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The command line prints the message and exits with code 2, never a traceback."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name closest to `name`, or None if nothing is close."""
    choices = {choice.lower(): choice for choice in allowed}
    found = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.6)
    return choices[found[0]] if found else None


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return the message for a name that is not in a list, with the nearest valid one."""
    names = sorted(allowed)
    guess = nearest(name, names)
    if guess is not None:
        return f"unknown {kind} {name!r}; did you mean {guess!r}?"
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"unknown {kind} {name!r}; allowed: {shown}"

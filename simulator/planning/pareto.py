"""Which candidates nothing else beats in days, dollars and tonnes at once."""

from __future__ import annotations

import numpy as np


def front(values: np.ndarray) -> np.ndarray:
    """Return which rows are on the Pareto front, where less is better in every column.

    A row is on it where no other is at most equal in all columns and less in one. Columns with an unknown value are left out.

    Parameters
    ----------
    values : ndarray, shape (n, columns)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    known = values[:, ~np.isnan(values).any(axis=0)]
    if known.shape[1] == 0:
        return np.ones(len(values), dtype=bool)
    # Sorted, a row can only be beaten by one before it, so that the front is enough to compare with.
    found = np.zeros(len(values), dtype=bool)
    kept = np.empty((0, known.shape[1]))
    for i in np.lexsort(known.T[::-1]):
        row = known[i]
        found[i] = not (((kept <= row).all(axis=1)) & ((kept < row).any(axis=1))).any()
        if found[i]:
            kept = np.vstack([kept, row])
    return found


def beaten(row: np.ndarray, values: np.ndarray) -> bool:
    """Whether some row of `values`, shape (n, columns), is at most equal to `row` in all known columns, and less in one."""
    known = ~np.isnan(row) & ~np.isnan(values).any(axis=0)
    return bool(((values[:, known] <= row[known]).all(axis=1) & (values[:, known] < row[known]).any(axis=1)).any())

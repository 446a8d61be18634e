"""Closed forms of nodes: how many are in repair, how many spares that asks for, and lives that are not exponential.

Symbols as in `simulator.performance.ettr`: arguments are floats or numpy arrays that broadcast, unless said otherwise; times are
seconds. Worked cases: docs/reference/formulas.md.

Example: 2,000 nodes, 6.5 failures per 1,000 node-days.

>>> print(spares_for_availability(2_000, 6.5e-3 / 86_400, 2 * 86_400, 0.99), "spares for a mean repair of 2 days")
39 spares for a mean repair of 2 days
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.performance.ettr import Number

# Spares.


def nodes_in_repair(nodes: Number, rate_per_s: Number, mean_repair_s: Number) -> Number:
    """Return the expected number of nodes in repair, N r E[repair].

    M/G/infinity: it depends on the MEAN of the repair time only, which for heavy tails is many times the median (standard
    queueing result, FROM MEMORY).

    Parameters
    ----------
    nodes : float or ndarray
        Nodes that run.
    rate_per_s : float or ndarray
        Failures of one running node per second that take it out.
    mean_repair_s : float or ndarray
        Mean time out of service, s.

    Returns
    -------
    float or ndarray
        Nodes.
    """
    return np.asarray(nodes) * rate_per_s * mean_repair_s


def spares_for_availability(nodes: Number, rate_per_s: Number, mean_repair_s: Number, availability: Number,
                            fano: float = 1.0) -> NDArray[np.int64]:
    """Return the fewest spares that cover all nodes in repair for a share of the time.

    The smallest s with P(X <= s) >= availability, X being the number in repair: Poisson of mean N r E[repair] (M/G/infinity,
    standard queueing result, FROM MEMORY), or for faults that come in bursts negative binomial of that mean and of a
    variance `fano` times as large. That the number in repair is as overdispersed as the counts of failures is an assumption;
    daily counts have 3.44 (InfiniteHBD trace, docs/reference/formulas.md).

    Parameters
    ----------
    nodes : float or ndarray
        Nodes that must run.
    rate_per_s : float or ndarray
        Failures of one running node per second that take it out.
    mean_repair_s : float or ndarray
        Mean time out of service, s.
    availability : float or ndarray
        Share of time in which no node may be missing, above 0 and below 1.
    fano : float
        Variance over mean, at least 1.

    Returns
    -------
    int64 or ndarray of int64
        Spare nodes.
    """
    from scipy.stats import nbinom, poisson

    if fano < 1.0:
        raise ValueError(f"fano is {fano}; a negative binomial's variance is at least its mean, so give 1 or more")
    if np.any(np.asarray(availability) <= 0.0) or np.any(np.asarray(availability) >= 1.0):
        raise ValueError(f"availability is {availability}; give shares above 0 and below 1")
    mean = np.asarray(nodes_in_repair(nodes, rate_per_s, mean_repair_s), dtype=float)
    if fano == 1.0:
        spares = poisson.ppf(availability, mean)
    else:
        some = np.where(mean > 0.0, mean, 1.0)
        spares = np.where(mean > 0.0, nbinom.ppf(availability, some / (fano - 1.0), 1.0 / fano), 0.0)
    return np.asarray(spares).astype(np.int64)[()]


# Failures that are not exponential.


def weibull_scale_s(mean_s: Number, shape: Number) -> Number:
    """Return the scale of a Weibull of given mean, mean / Gamma(1 + 1/k).

    Parameters
    ----------
    mean_s : float or ndarray
        Mean life, s.
    shape : float or ndarray
        k; below 1 the hazard (k / lambda) (t / lambda)^(k-1) falls with age, above 1 it rises.

    Returns
    -------
    float or ndarray
        lambda, s.
    """
    from scipy.special import gamma

    return mean_s / gamma(1.0 + 1.0 / np.asarray(shape, dtype=float))


def weibull_first_failure_s(components: Number, scale_s: Number, shape: Number) -> Number:
    """Return the mean time to the first failure of N fresh alike components, lambda N^(-1/k) Gamma(1 + 1/k).

    The first of them is again Weibull, of the same shape and scale lambda N^(-1/k). On an aged cluster, whose clocks have
    been reset at different times, the pooled failures tend to Poisson at the mean rate instead (Palm and Khintchine, FROM
    MEMORY).

    Parameters
    ----------
    components : float or ndarray
        N, all new at time 0.
    scale_s, shape : float or ndarray
        lambda, s, and k.

    Returns
    -------
    float or ndarray
        Mean time from 0 to the first failure, s.
    """
    from scipy.special import gamma

    k = np.asarray(shape, dtype=float)
    return scale_s * np.asarray(components, dtype=float) ** (-1.0 / k) * gamma(1.0 + 1.0 / k)


def power_law_failures(components: Number, elapsed_s: Number, scale_s: Number, shape: Number) -> Number:
    """Return the expected failures of N fresh components by time t, N (t / lambda)^k.

    Minimal repair: a repaired component is as old as it was (power-law process, FROM MEMORY).

    Parameters
    ----------
    components : float or ndarray
        N, all new at time 0.
    elapsed_s, scale_s, shape : float or ndarray
        t, s; lambda, s; and k.

    Returns
    -------
    float or ndarray
        Failures.
    """
    return components * (np.asarray(elapsed_s, dtype=float) / scale_s) ** shape

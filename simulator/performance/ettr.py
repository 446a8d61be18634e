"""Closed forms of reliability: what a run loses to failures and checkpoints, without simulating it.

ETTR, the effective training time ratio, is productive time over wall time. The event model (`simulator.cluster`) is what
results come from; these forms say what it must give where their assumptions hold, and answer in microseconds.

Symbols, and their names in the code:

    N    nodes         nodes of the job
    r    rate_per_s    failures of one node per second of RUNTIME (Kokolis) - not of calendar time, which includes repair
    M    mtbf_s        mean time between failures of the job, 1 / (N r); infinite where nothing fails
    d    blocked_s     time for which one checkpoint blocks the job
    tau  interval_s    computing time between checkpoints; the period is tau + d
    R    restart_s     from a failure until the job computes again: detect, reschedule, load, warm up
    q    queue_s       wait in a queue at each restart
    L    persist_s     from the snapshot until an asynchronous checkpoint is durable
    s    slowdown      share of throughput lost while it is written

Arguments are floats or numpy arrays that broadcast, unless said otherwise; times are seconds. Sources marked FROM MEMORY
were cited without their text at hand. Worked cases: docs/reference/formulas.md.

Example: 2,000 nodes of 8 GPUs, 6.5 failures per 1,000 node-days, saves that block for 10 s, restarts of 5 min.

>>> rate = 6.5e-3 / 86_400
>>> mtbf = mttf_s(2_000, rate)
>>> print(f"{mtbf / 3_600:.2f} h")
1.85 h
>>> interval = daly_interval_s(10.0, mtbf)
>>> print(f"{interval / 60:.1f} min")
6.0 min
>>> print(f"{daly_ettr(interval, 10.0, 300.0, mtbf):.3f}")
0.904
>>> print(f"{kokolis_ettr(2_000, rate, interval, 300.0, blocked_s=10.0):.3f}")
0.903
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Number = float | NDArray[np.float64]


# Young and Daly: one clock of exponential failures, a checkpoint that blocks.


def young_interval_s(blocked_s: Number, mtbf_s: Number) -> Number:
    """Return Young's optimum interval, sqrt(2 d M).

    Source: Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974, FROM MEMORY.

    Parameters
    ----------
    blocked_s, mtbf_s : float or ndarray
        Time one checkpoint blocks, and mean time between failures of the job, s.

    Returns
    -------
    float or ndarray
        Computing time between checkpoints, s; infinite where nothing fails.
    """
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(mtbf_s), np.inf, np.sqrt(2.0 * np.asarray(blocked_s) * mtbf_s))[()]


def young_loss(interval_s: Number, blocked_s: Number, mtbf_s: Number) -> Number:
    """Return the first-order loss to checkpoints and rework, d / tau + tau / (2 M).

    Time to restart is not in it. Source: Young 1974, FROM MEMORY.

    Parameters
    ----------
    interval_s, blocked_s, mtbf_s : float or ndarray
        Computing time between checkpoints (finite), time one blocks, mean time between failures of the job, s.

    Returns
    -------
    float or ndarray
        Lost time over productive time; above 1 it says no more than that the form does not hold.
    """
    return blocked_s / np.asarray(interval_s) + interval_s / (2.0 * np.asarray(mtbf_s))


def young_smallest_loss(blocked_s: Number, mtbf_s: Number) -> Number:
    """Return the first-order loss at Young's optimum, sqrt(2 d / M), which grows as the root of the number of nodes.

    Source: Young 1974, FROM MEMORY.

    Parameters
    ----------
    blocked_s, mtbf_s : float or ndarray
        Time one checkpoint blocks, and mean time between failures of the job, s.

    Returns
    -------
    float or ndarray
        Lost time over productive time.
    """
    return np.sqrt(2.0 * np.asarray(blocked_s) / mtbf_s)


def daly_first_order_interval_s(blocked_s: Number, mtbf_s: Number) -> Number:
    """Return Daly's first-order optimum, sqrt(2 d M) - d: Young's, counted as computing time instead of period.

    Source: Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22(3), 2006, FROM MEMORY.

    Parameters
    ----------
    blocked_s, mtbf_s : float or ndarray
        Time one checkpoint blocks, and mean time between failures of the job, s.

    Returns
    -------
    float or ndarray
        Computing time between checkpoints, s; negative, so of no use, above d = 2 M.
    """
    return young_interval_s(blocked_s, mtbf_s) - blocked_s


def daly_interval_s(blocked_s: Number, mtbf_s: Number) -> Number:
    """Return Daly's higher-order optimum interval.

    tau = sqrt(2 d M) (1 + sqrt(d / 2M) / 3 + (d / 2M) / 9) - d below d = 2 M, else M. Source: Daly, FGCS 22(3), 2006,
    equation 37, FROM MEMORY; it gives the optima in the captions of that paper's figures 3 to 5. The wall time is within 0.1 %
    of the smallest where d < 1.6 M, and within 0.2 % everywhere.

    Parameters
    ----------
    blocked_s, mtbf_s : float or ndarray
        Time one checkpoint blocks, and mean time between failures of the job, s.

    Returns
    -------
    float or ndarray
        Computing time between checkpoints, s; infinite where nothing fails.
    """
    half = np.asarray(blocked_s) / (2.0 * np.asarray(mtbf_s))
    higher = young_interval_s(blocked_s, mtbf_s) * (1.0 + np.sqrt(half) / 3.0 + half / 9.0) - blocked_s
    return np.where(half < 1.0, higher, mtbf_s)[()]


def daly_numerical_interval_s(blocked_s: float, mtbf_s: float) -> float:
    """Return the interval at which Daly's wall time is smallest, by a root search (scipy.optimize.brentq).

    The derivative of T_w is zero where, with x = tau / M, log(1 - x) + x + d / M = 0; restarts do not move it. Below
    d = 1e-12 M the higher-order optimum is as exact as floats are.

    Parameters
    ----------
    blocked_s, mtbf_s : float
        Time one checkpoint blocks, and mean time between failures of the job, s.

    Returns
    -------
    float
        Computing time between checkpoints, s; infinite where nothing fails, 0 where a checkpoint is free.
    """
    from scipy.optimize import brentq

    if not math.isfinite(mtbf_s):
        return math.inf
    ratio = blocked_s / mtbf_s
    if ratio < 1e-12:
        return float(daly_interval_s(blocked_s, mtbf_s))
    above = min(2.0 * math.sqrt(2.0 * ratio), -math.expm1(-1.0 - ratio))
    if above == 1.0:
        return mtbf_s
    return mtbf_s * float(brentq(lambda x: math.log1p(-x) + x + ratio, above / 4.0, above, xtol=1e-300, rtol=1e-14))


def daly_wall_time_s(work_s: Number, interval_s: Number, blocked_s: Number, restart_s: Number, mtbf_s: Number) -> Number:
    """Return the expected wall time of a run, M e^(R/M) (e^((tau+d)/M) - 1) T_s / tau.

    Exact for exponential failures that may strike computing, checkpoints and restarts alike. Source: Daly, FGCS 22(3), 2006,
    FROM MEMORY.

    Parameters
    ----------
    work_s : float or ndarray
        Productive time the run needs, T_s, s.
    interval_s, blocked_s, restart_s, mtbf_s : float or ndarray
        Computing time between checkpoints (finite), time one blocks, time to restart, mean time between failures, s.

    Returns
    -------
    float or ndarray
        Expected wall time, s; infinite where it exceeds the range of floats.
    """
    with np.errstate(divide="ignore"):
        return work_s / np.asarray(daly_ettr(interval_s, blocked_s, restart_s, mtbf_s))


def daly_ettr(interval_s: Number, blocked_s: Number, restart_s: Number, mtbf_s: Number) -> Number:
    """Return expected productive over wall time, tau / (M e^(R/M) (e^((tau+d)/M) - 1)).

    Source: as `daly_wall_time_s`.

    Parameters
    ----------
    interval_s, blocked_s, restart_s, mtbf_s : float or ndarray
        Computing time between checkpoints (finite), time one blocks, time to restart, mean time between failures, s.

    Returns
    -------
    float or ndarray
        ETTR, 0 to 1; tau / (tau + d) where nothing fails.
    """
    from scipy.special import exprel

    period = np.asarray(interval_s) + blocked_s
    # x / (e^x - 1) without a difference of equal numbers at x = 0, and 0 where e^x overflows.
    with np.errstate(over="ignore"):
        return interval_s / period * np.exp(-np.asarray(restart_s) / mtbf_s) / exprel(period / mtbf_s)


# Kokolis et al.: linear in the loss a failure causes.


def mttf_s(nodes: Number, rate_per_s: Number) -> Number:
    """Return the mean time to failure of a job, 1 / (N r).

    Source: Kokolis et al., "Revisiting Reliability in Large-Scale Machine Learning Research Clusters", HPCA 2025,
    arXiv:2410.21680v2. It holds above some 4,000 GPUs; their smaller jobs failed 3 to 4 times as often as it says.

    Parameters
    ----------
    nodes : float or ndarray
        Nodes of the job.
    rate_per_s : float or ndarray
        Failures of one node per second of runtime.

    Returns
    -------
    float or ndarray
        Mean time to failure, s; infinite at a rate of 0.
    """
    with np.errstate(divide="ignore"):
        return 1.0 / (np.asarray(nodes, dtype=float) * rate_per_s)


def kokolis_interval_s(nodes: Number, rate_per_s: Number, blocked_s: Number) -> Number:
    """Return the interval that Kokolis et al. take as optimum, sqrt(2 w / (N r)), which is Young's.

    Source: Kokolis et al., arXiv:2410.21680v2.

    Parameters
    ----------
    nodes : float or ndarray
        Nodes of the job.
    rate_per_s : float or ndarray
        Failures of one node per second of runtime.
    blocked_s : float or ndarray
        Time one checkpoint blocks, s.

    Returns
    -------
    float or ndarray
        Computing time between checkpoints, s.
    """
    return young_interval_s(blocked_s, mttf_s(nodes, rate_per_s))


def kokolis_ettr(nodes: Number, rate_per_s: Number, interval_s: Number, restart_s: Number, blocked_s: Number = 0.0,
                 queue_s: Number = 0.0) -> Number:
    """Return the expected ETTR of Kokolis et al., (1 - N r (R + q + tau/2)) / (1 + d / tau).

    First order in the loss, for N r (R + q + tau/2) far below 1: beyond a loss of some 20 % take `daly_ettr`. Source: Kokolis
    et al., arXiv:2410.21680v2; the queue as a longer restart reproduces what they say of 8,000 GPUs, and is this
    project's reading.

    Parameters
    ----------
    nodes : float or ndarray
        Nodes of the job.
    rate_per_s : float or ndarray
        Failures of one node per second of runtime.
    interval_s, restart_s, blocked_s, queue_s : float or ndarray
        Computing time between checkpoints, time to restart, time a checkpoint blocks, wait in a queue at each restart, s.

    Returns
    -------
    float or ndarray
        ETTR; negative where the form does not hold.
    """
    interval = np.asarray(interval_s, dtype=float)
    lost = (np.asarray(restart_s) + queue_s + interval / 2.0) / mttf_s(nodes, rate_per_s)
    return (1.0 - lost) / (1.0 + blocked_s / interval)


def kokolis_v1_ettr(nodes: Number, rate_per_s: Number, interval_s: Number, restart_s: Number, queue_s: Number,
                    productive_s: Number) -> Number:
    """Return the ETTR of a queued run of finite length, (1 - N r (R + tau/2)) / (1 + (R + q) / T + N r q).

    The first start and its queue count, blocking checkpoints do not. Source: Kokolis et al., arXiv:2410.21680, first
    version, FROM MEMORY and not verified.

    Parameters
    ----------
    nodes : float or ndarray
        Nodes of the job.
    rate_per_s : float or ndarray
        Failures of one node per second of runtime.
    interval_s, restart_s, queue_s, productive_s : float or ndarray
        Computing time between checkpoints, time to restart, wait in a queue at each start, productive time T, s.

    Returns
    -------
    float or ndarray
        ETTR; negative where the form does not hold.
    """
    mtbf = mttf_s(nodes, rate_per_s)
    lost = (np.asarray(restart_s) + np.asarray(interval_s) / 2.0) / mtbf
    return (1.0 - lost) / (1.0 + (np.asarray(restart_s) + queue_s) / productive_s + queue_s / mtbf)


# Asynchronous checkpoints: a snapshot blocks, the write runs beside the computing.


def async_rework_s(interval_s: Number, persist_s: Number) -> Number:
    """Return the expected rework of a failure, tau / 2 + L: one that strikes during the write discards that checkpoint.

    This model's own; exact where tau is the period from snapshot to snapshot.

    Parameters
    ----------
    interval_s, persist_s : float or ndarray
        Time between checkpoints, and from a snapshot until it is durable, s.

    Returns
    -------
    float or ndarray
        Time computed again, s.
    """
    return np.asarray(interval_s) / 2.0 + persist_s


def async_minimum_interval_s(blocked_s: Number, persist_s: Number) -> Number:
    """Return the shortest interval with one write in flight, max(L, d). This model's own.

    Parameters
    ----------
    blocked_s, persist_s : float or ndarray
        Time of a snapshot, and from it until the checkpoint is durable, s.

    Returns
    -------
    float or ndarray
        Time between checkpoints, s.
    """
    return np.maximum(blocked_s, persist_s)


def async_blocked_s(blocked_s: Number, persist_s: Number, slowdown: Number) -> Number:
    """Return the time an asynchronous checkpoint costs, d + s L: the snapshot, and what the write slows. This model's own.

    Parameters
    ----------
    blocked_s, persist_s : float or ndarray
        Time of a snapshot, and from it until the checkpoint is durable, s.
    slowdown : float or ndarray
        Share of throughput lost during the write; 0.47 to 0.55 measured (PyTorch and Crusoe 2025).

    Returns
    -------
    float or ndarray
        Computing time lost a checkpoint, s.
    """
    return np.asarray(slowdown) * persist_s + blocked_s


def async_interval_s(blocked_s: Number, persist_s: Number, slowdown: Number, mtbf_s: Number) -> Number:
    """Return the first-order optimum interval, max(sqrt(2 (d + s L) M), L, d).

    L lengthens every rework by the same, so it moves the optimum only through s L. This model's own.

    Parameters
    ----------
    blocked_s, persist_s, mtbf_s : float or ndarray
        Time of a snapshot, from it until the checkpoint is durable, and mean time between failures of the job, s.
    slowdown : float or ndarray
        Share of throughput lost during the write.

    Returns
    -------
    float or ndarray
        Computing time between checkpoints, s.
    """
    best = young_interval_s(async_blocked_s(blocked_s, persist_s, slowdown), mtbf_s)
    return np.maximum(best, async_minimum_interval_s(blocked_s, persist_s))


def async_ettr(interval_s: Number, blocked_s: Number, persist_s: Number, slowdown: Number, restart_s: Number,
               mtbf_s: Number) -> Number:
    """Return the first-order ETTR, (1 - (R + tau/2 + L) / M) / (1 + (d + s L) / tau).

    `kokolis_ettr` with the rework and the blocked time of an asynchronous checkpoint; this model's own. Its limits are the
    same: a loss of a failure far below M, and an interval of no less than `async_minimum_interval_s`.

    Parameters
    ----------
    interval_s, blocked_s, persist_s, restart_s, mtbf_s : float or ndarray
        Computing time between checkpoints, time of a snapshot, from it until the checkpoint is durable, time to restart,
        mean time between failures of the job, s.
    slowdown : float or ndarray
        Share of throughput lost during the write.

    Returns
    -------
    float or ndarray
        ETTR; negative where the form does not hold.
    """
    lost = (async_rework_s(interval_s, persist_s) + restart_s) / np.asarray(mtbf_s)
    return (1.0 - lost) / (1.0 + async_blocked_s(blocked_s, persist_s, slowdown) / np.asarray(interval_s))


# One outage after another: up, down, up.


def renewal_ettr(up_s: Number, down_s: Number) -> Number:
    """Return the share of time up of an alternating renewal process, MTTF / (MTTF + MTTR).

    The clock of MTTF is runtime: it stands still while the job is down.

    Parameters
    ----------
    up_s, down_s : float or ndarray
        Mean runtime from a recovery to the next failure, and mean time down, s.

    Returns
    -------
    float or ndarray
        ETTR, 0 to 1.
    """
    return up_s / (np.asarray(up_s) + down_s)


def published_crude_ettr(period_s: Number, down_s: Number) -> Number:
    """Return (MTTF - MTTR) / MTTF as FT-HSDP prints it, true only if its MTTF is a calendar period with the repair inside.

    The same as `renewal_ettr(period_s - down_s, down_s)`; given an MTTF of runtime it is too low, and below 0 where
    MTTR > MTTF. Source: FT-HSDP, quoted in docs/reference/formulas.md, section 9.

    Parameters
    ----------
    period_s, down_s : float or ndarray
        Mean calendar time from failure to failure, and mean time down, s.

    Returns
    -------
    float or ndarray
        ETTR.
    """
    return (np.asarray(period_s) - down_s) / period_s

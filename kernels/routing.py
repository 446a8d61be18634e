"""Which replica a request goes to, and the queue it waits in there."""

from __future__ import annotations

import math

from kernels._jit import bare
from kernels.serving_packs import TOKENS, WAITING, Costs, Replicas, Requests


@bare
def choose(c: Costs, q: Requests, r: Replicas, i: int, prompts: bool) -> int:
    """Return the replica for a request, of those that take its tier: the one with the fewest requests; -1: none is up.

    With affinity, one that has the beginning of its prompt goes first where it has not many more.
    """
    best, least, near, fewest, g = -1, math.inf, -1, math.inf, q.group[i]
    for k in range(r.up.size):
        role = c.role[r.pool[k]]
        fits = role != TOKENS if prompts else role == TOKENS
        if not fits or r.up[k] == 0 or r.tiers[k, q.tier[i]] == 0:
            continue
        load = r.active[k] + r.pending[k] + r.queued[k]
        if load < least:
            best, least = k, load
        if c.affinity >= 0.0 and g >= 0 and load < fewest and r.present[k, g] > 0:
            near, fewest = k, load
    return near if near >= 0 and fewest <= least + c.affinity else best


@bare
def enqueue(q: Requests, r: Replicas, k: int, i: int, front: bool) -> None:
    """Put a request into the queue of a replica, at its end or at its front."""
    tier = q.tier[i]
    q.state[i] = WAITING
    q.replica[i] = k
    q.follows[i] = -1
    if r.head[k, tier] < 0:
        r.head[k, tier] = i
        r.tail[k, tier] = i
    elif front:
        q.follows[i] = r.head[k, tier]
        r.head[k, tier] = i
    else:
        q.follows[r.tail[k, tier]] = i
        r.tail[k, tier] = i
    r.queued[k] += 1

"""Replicas that serve requests by continuous batching, advanced from one decision to the next.

Between two changes of a batch (a request comes, gets its first token, or ends) every iteration adds a token to each running
request, and takes longer in proportion to the context it reads: so many iterations are one sum. The cost of a request does not
grow with its length.

Requests that no longer fit into the cache are put back and computed again (Kwon et al., vLLM, SOSP 23, section 4.5); the one that
began last goes first. Pieces of prompts join iterations up to a number of rows (Agrawal et al., Sarathi-Serve, OSDI 24).
"""

from __future__ import annotations

import math

from kernels._jit import bare
from kernels.prefixes import forget, use
from kernels.routing import choose, enqueue
from kernels.serving_packs import (
    DECODING,
    DONE,
    IDLE,
    MIXED,
    PROMPT,
    PROMPTS,
    REJECTED,
    RUNNING,
    TOKENS,
    Costs,
    Replicas,
    Requests,
)

_HALF_TILE = 64.0  # keys that a fused kernel takes in vain at the end (`kernels.roofline`)


@bare
def iterations_s(first_s: float, growth_s: float, n: float) -> float:
    """Return the time of `n` iterations of which the first takes `first_s` and each `growth_s` longer than the one before."""
    return n * first_s + growth_s * n * (n - 1.0) * 0.5


@bare
def iterations_until(first_s: float, growth_s: float, span_s: float) -> float:
    """Return the least number of iterations that take `span_s`, at least 1."""
    if span_s <= first_s:
        return 1.0
    b = first_s - 0.5 * growth_s
    n = max(1.0, math.floor(2.0 * span_s / (b + math.sqrt(b * b + 2.0 * growth_s * span_s))) - 1.0)
    while iterations_s(first_s, growth_s, n) < span_s:
        n += 1.0
    return n


@bare
def _growth_s(c: Costs, r: Replicas, k: int) -> float:
    """Return how much longer each iteration takes than the one before: the layers whose window is full read no more."""
    pool = r.pool[k]
    full = c.window_share[pool] if r.context[k] >= r.active[k] * c.window[pool] else 0.0
    return c.context_s[pool] * (1.0 - full) * r.active[k] * c.tokens[pool]


@bare
def _run(c: Costs, q: Requests, r: Replicas, k: int, i: int) -> None:
    """Let a request whose context is there get tokens from the next iteration on."""
    pool = r.pool[k]
    q.state[i] = RUNNING
    q.begun[i] = r.iterations[k]
    q.mark[i] = r.iterations[k] + math.ceil((q.output[i] - q.made[i]) / c.tokens[pool] - 1e-9)
    q.used_s[i] -= r.share_s[k] * c.draft_rows[pool]
    r.context[k] += q.prompt[i] + q.made[i]
    r.running[k, r.active[k]] = i
    r.active[k] += 1


@bare
def _stop(c: Costs, q: Requests, r: Replicas, k: int, i: int) -> None:
    """Take a running request out of the sums; the caller takes it out of the list."""
    pool = r.pool[k]
    grown = (r.iterations[k] - q.begun[i]) * c.tokens[pool]
    r.context[k] -= q.prompt[i] + q.made[i] + grown
    r.held[k] -= q.prompt[i] - q.shared[i] + q.made[i] + grown
    q.inside_s[i] += r.clock_s[k]
    over = max(0.0, q.made[i] + grown - q.output[i])  # the last iteration may have made more than was asked for
    r.made[k] += grown - over
    q.made[i] += grown - over
    q.used_s[i] += r.share_s[k] * c.draft_rows[pool]


@bare
def _full(c: Costs, q: Requests, r: Replicas, k: int, i: int) -> bool:
    """Return whether a replica has no slot or no cache for another request; an empty one always has."""
    pool, inside = r.pool[k], r.active[k] + r.pending[k]
    if inside == 0:
        return False
    context, g = q.prompt[i] + q.made[i], q.group[i]
    if c.kept[pool] > 0.0 and g >= 0 and r.present[k, g] > 0:
        context -= min(c.beginnings[g], q.prompt[i])
    return inside >= c.most[pool] or r.held[k] + context + c.tokens[pool] * (inside + 1) > c.capacity[pool]


@bare
def _share(c: Costs, q: Requests, r: Replicas, k: int, i: int) -> None:
    """Look for the beginning of a prompt among those that the replica keeps."""
    pool, g = r.pool[k], q.group[i]
    q.shared[i] = 0.0
    if c.kept[pool] > 0.0 and g >= 0:
        tokens = min(c.beginnings[g], q.prompt[i])
        r.sought[k] += tokens
        if use(r, k, g, c.beginnings, c.kept[pool]):
            r.found[k] += tokens
            q.shared[i] = tokens


@bare
def _admit(c: Costs, q: Requests, r: Replicas, k: int) -> None:
    """Take requests from the queues, lowest tier first, as long as slots and cache have room and they are ready."""
    pool = r.pool[k]
    for tier in range(r.head.shape[1]):
        while r.head[k, tier] >= 0:
            i = r.head[k, tier]
            if q.ready_s[i] > r.clock_s[k]:
                break
            if _full(c, q, r, k, i):
                return
            r.head[k, tier] = q.follows[i]
            if r.head[k, tier] < 0:
                r.tail[k, tier] = -1
            r.queued[k] -= 1
            q.inside_s[i] -= r.clock_s[k]
            if c.role[pool] == TOKENS and q.left[i] <= 0.0:
                r.held[k] += q.prompt[i] + q.made[i]
                _run(c, q, r, k, i)
                continue
            _share(c, q, r, k, i)
            context = q.prompt[i] - q.shared[i] + q.made[i]
            r.held[k] += context
            q.state[i] = PROMPT
            q.left[i] = max(1.0, context)
            r.prompts[k, r.pending[k]] = i
            r.pending[k] += 1


@bare
def _evict(c: Costs, q: Requests, r: Replicas, k: int) -> None:
    """Put the request that began last back to the front of its queue; its context is computed again."""
    if r.pending[k] > 0:
        r.pending[k] -= 1
        i = r.prompts[k, r.pending[k]]
        r.held[k] -= q.prompt[i] - q.shared[i] + q.made[i]
        q.inside_s[i] += r.clock_s[k]
    else:
        r.active[k] -= 1
        i = r.running[k, r.active[k]]
        _stop(c, q, r, k, i)
    q.left[i] = 1.0
    q.evictions[i] += 1
    enqueue(q, r, k, i, True)


@bare
def _next_ready_s(q: Requests, r: Replicas, k: int) -> float:
    ready_s = math.inf
    for tier in range(r.head.shape[1]):
        if r.head[k, tier] >= 0:
            ready_s = min(ready_s, q.ready_s[r.head[k, tier]])
    return ready_s


@bare
def _plan(c: Costs, q: Requests, r: Replicas, k: int) -> None:
    """Begin what the replica does next: nothing, iterations until a request ends, or one iteration with pieces of prompts."""
    pool = r.pool[k]
    _admit(c, q, r, k)
    before = inside = r.active[k] + r.pending[k]
    while inside > 1 and r.held[k] + inside * c.tokens[pool] > c.capacity[pool]:
        _evict(c, q, r, k)
        inside -= 1
    count = r.active[k]
    if count == 0 and r.pending[k] == 0:
        r.kind[k] = IDLE
        r.until_s[k] = _next_ready_s(q, r, k)
        return
    rows = count * c.draft_rows[pool]
    piece, keys, sampled = 0.0, 0.0, count
    room = max(1.0, c.chunk[pool] - rows)
    for place in range(r.pending[k]):
        if piece >= room:
            break
        i = r.prompts[k, place]
        part = min(q.left[i], room - piece)
        after = q.prompt[i] + q.made[i] - (q.left[i] - part)
        keys += part * (after - 0.5 * part + _HALF_TILE)
        piece += part
        if part >= q.left[i]:
            sampled += 1
    whole = int(rows + piece)
    near = min(r.context[k], count * c.window[pool])
    read = (1.0 - c.window_share[pool]) * r.context[k] + c.window_share[pool] * near
    step_s = c.rows_s[pool, whole] + c.sampled_s[pool, sampled] + c.context_s[pool] * read + c.key_s[pool] * keys
    step_j = c.rows_j[pool, whole] + c.sampled_j[pool, sampled] + c.context_j[pool] * read + c.key_j[pool] * keys
    r.step_s[k], r.step_j[k] = step_s, min(step_j, c.limit_w[pool] * step_s)
    r.kind[k], r.planned[k], r.piece[k] = MIXED, 1.0, piece
    if piece <= 0.0 and inside == before:  # after an eviction, others may fit in the next iteration
        n = math.inf
        for place in range(count):
            n = min(n, q.mark[r.running[k, place]] - r.iterations[k])
        if count > 1:
            n = min(n, math.floor((c.capacity[pool] - r.held[k]) / (count * c.tokens[pool])))
        r.kind[k], r.planned[k] = DECODING, max(1.0, n)
    growth_s = _growth_s(c, r, k)
    ready_s = _next_ready_s(q, r, k)
    if r.planned[k] > 1.0 and r.clock_s[k] < ready_s < math.inf:
        r.planned[k] = min(r.planned[k], iterations_until(r.step_s[k], growth_s, ready_s - r.clock_s[k]))
    r.until_s[k] = r.clock_s[k] + iterations_s(r.step_s[k], growth_s, r.planned[k])


@bare
def _cut(c: Costs, r: Replicas, k: int, now: float) -> None:
    """End a stretch of decodes with the iteration that runs now, because a request has come."""
    if r.kind[k] == IDLE:
        r.clock_s[k] = max(r.clock_s[k], now)
        r.until_s[k] = now
    elif r.kind[k] == DECODING and r.planned[k] > 1.0:
        growth_s = _growth_s(c, r, k)
        n = min(r.planned[k], iterations_until(r.step_s[k], growth_s, now - r.clock_s[k]))
        if n < r.planned[k]:
            r.planned[k] = n
            r.until_s[k] = r.clock_s[k] + iterations_s(r.step_s[k], growth_s, n)


@bare
def _finish(c: Costs, q: Requests, r: Replicas, k: int) -> None:
    """Book what was planned; end requests that have all their tokens, and hand on prompts that are worked off."""
    pool, now = r.pool[k], r.until_s[k]
    if r.kind[k] == IDLE:
        r.clock_s[k] = max(now, r.clock_s[k])
        return
    count, n, span_s = r.active[k], r.planned[k], now - r.clock_s[k]
    row_s = span_s / (count * c.draft_rows[pool] + r.piece[k])
    r.busy_s[k] += span_s
    r.batch_s[k] += (count + r.pending[k]) * span_s
    r.filled_s[k] += (r.held[k] + r.stored[k] + 0.5 * (n - 1.0) * count * c.tokens[pool]) * span_s
    growth_s = _growth_s(c, r, k)
    growth_j = min(c.context_j[pool] / c.context_s[pool] if c.context_s[pool] > 0.0 else 0.0, c.limit_w[pool]) * growth_s
    r.dynamic_j[k] += iterations_s(r.step_j[k], growth_j, n)
    r.share_s[k] += row_s * c.weight[pool]
    r.clock_s[k] = now
    grown = count * c.tokens[pool] * n
    r.iterations[k] += n
    r.context[k] += grown
    r.held[k] += grown
    kept = 0
    for place in range(count):
        i = r.running[k, place]
        if q.mark[i] <= r.iterations[k]:
            _stop(c, q, r, k, i)
            q.state[i], q.end_s[i] = DONE, now
        else:
            r.running[k, kept] = i
            kept += 1
    r.active[k] = kept
    if r.kind[k] == MIXED and r.piece[k] > 0.0:
        _work_off(c, q, r, k, now, row_s)


@bare
def _work_off(c: Costs, q: Requests, r: Replicas, k: int, now: float, row_s: float) -> None:
    """Take the tokens of this iteration off the prompts; those worked off have their next token."""
    pool = r.pool[k]
    budget, kept = r.piece[k], 0
    r.worked[k] += budget
    for place in range(r.pending[k]):
        i = r.prompts[k, place]
        part = min(q.left[i], budget)
        budget -= part
        q.left[i] -= part
        q.worked[i] += part
        q.used_s[i] += part * row_s * c.weight[pool]
        if q.left[i] > 0.0:
            r.prompts[k, kept] = i
            kept += 1
            continue
        if q.made[i] <= 0.0:
            q.first_s[i] = now
        gain = min(1.0, q.output[i] - q.made[i])  # drafts are accepted in parts of a token on average
        q.made[i] += gain
        r.made[k] += gain
        r.held[k] += gain
        if q.made[i] < q.output[i] and c.role[pool] != PROMPTS:
            _run(c, q, r, k, i)
            continue
        r.held[k] -= q.prompt[i] - q.shared[i] + q.made[i]
        q.inside_s[i] += now
        if q.made[i] >= q.output[i]:
            q.state[i], q.end_s[i] = DONE, now
        else:
            _hand_on(c, q, r, i, now)
    r.pending[k] = kept


@bare
def _hand_on(c: Costs, q: Requests, r: Replicas, i: int, now: float) -> None:
    """Send a request with its context to a replica that makes tokens."""
    k = choose(c, q, r, i, False)
    if k < 0:
        q.state[i] = REJECTED
        return
    q.ready_s[i] = now + c.transfer_s * (q.prompt[i] + q.made[i])
    q.left[i], q.shared[i] = 0.0, 0.0
    enqueue(q, r, k, i, False)
    if r.kind[k] == IDLE:
        r.until_s[k] = min(r.until_s[k], q.ready_s[i])
    else:
        _cut(c, r, k, q.ready_s[i])


@bare
def _arrive(c: Costs, q: Requests, r: Replicas, i: int, now: float, most_queued: float) -> None:
    """Send a request that comes, or comes again, to a replica; refuse it where too many wait there, or where it can never fit."""
    k = choose(c, q, r, i, True)
    if k < 0 or r.queued[k] >= most_queued or q.prompt[i] + q.output[i] > c.longest:
        q.state[i] = REJECTED
        return
    q.ready_s[i] = now
    enqueue(q, r, k, i, False)
    _cut(c, r, k, now)


@bare
def advance(c: Costs, q: Requests, r: Replicas, following: int, until_s: float, most_queued: float) -> int:
    """Advance all replicas to a time; return the next request that has not come yet.

    Parameters
    ----------
    following : int
        First request that has not come yet; requests are in order of arrival.
    until_s : float
        What began before it is ended; what would begin later is not.
    most_queued : float
        Requests that may wait at a replica.
    """
    while True:
        k, first_s = -1, until_s
        for j in range(r.until_s.size):
            if r.until_s[j] < first_s:
                k, first_s = j, r.until_s[j]
        if following < q.arrival_s.size and q.arrival_s[following] <= first_s and q.arrival_s[following] < until_s:
            _arrive(c, q, r, following, q.arrival_s[following], most_queued)
            following += 1
        elif k >= 0:
            _finish(c, q, r, k)
            _plan(c, q, r, k)
        else:
            return following


@bare
def settle(c: Costs, q: Requests, r: Replicas, now: float) -> None:
    """Book the iterations that have ended by a time, where `advance` has reached it; nothing else changes."""
    for k in range(r.up.size):
        if r.kind[k] == DECODING and now > r.clock_s[k]:
            growth_s = _growth_s(c, r, k)
            n = min(r.planned[k], iterations_until(r.step_s[k], growth_s, now - r.clock_s[k])) - 1.0
            if n >= 1.0:
                r.planned[k], r.until_s[k] = n, r.clock_s[k] + iterations_s(r.step_s[k], growth_s, n)
                _finish(c, q, r, k)
                _plan(c, q, r, k)


@bare
def fail(c: Costs, q: Requests, r: Replicas, k: int, now: float) -> None:
    """Take a replica down with the iteration that runs: all it held comes again elsewhere, its context is computed again."""
    r.up[k] = 0
    _cut(c, r, k, now)
    _finish(c, q, r, k)
    now = r.clock_s[k]
    for place in range(r.active[k]):
        i = r.running[k, place]
        _stop(c, q, r, k, i)
        q.left[i] = 1.0
        q.evictions[i] += 1
        _arrive(c, q, r, i, now, math.inf)
    for place in range(r.pending[k]):
        i = r.prompts[k, place]
        q.inside_s[i] += r.clock_s[k]
        q.evictions[i] += 1
        _arrive(c, q, r, i, now, math.inf)
    for tier in range(r.head.shape[1]):
        i = r.head[k, tier]
        while i >= 0:
            after = q.follows[i]
            if c.role[r.pool[k]] == TOKENS and q.left[i] <= 0.0:  # its context had come here
                q.evictions[i] += 1
            _arrive(c, q, r, i, now, math.inf)
            i = after
        r.head[k, tier] = -1
        r.tail[k, tier] = -1
    r.active[k], r.pending[k], r.queued[k] = 0, 0, 0
    r.context[k], r.held[k] = 0.0, 0.0
    r.kind[k], r.until_s[k] = IDLE, math.inf
    forget(r, k)

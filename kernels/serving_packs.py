"""What the kernels of a serving fleet take and write: costs of iterations, requests, replicas; arrays in NamedTuples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

IDLE, DECODING, MIXED = 0, 1, 2  # what a replica does
WAITING, PROMPT, RUNNING, DONE, REJECTED = 0, 1, 2, 3, 4  # what a request does
WHOLE, PROMPTS, TOKENS = 0, 1, 2  # what a pool does: all, prompts alone, tokens after the first alone


class Costs(NamedTuple):
    """What iterations take, by pool of equal replicas; an index of a table is a number of rows, or of requests sampled."""

    rows_s: np.ndarray  # (pools, rows + 1) products, point-wise operators, collectives, host
    rows_j: np.ndarray  # joules above idle of the whole replica
    sampled_s: np.ndarray  # (pools, requests + 1) head and sampling
    sampled_j: np.ndarray
    context_s: np.ndarray  # (pools,) per token of context that decodes read
    context_j: np.ndarray
    window: np.ndarray  # (pools,) tokens that a share of the layers sees at most
    window_share: np.ndarray
    key_s: np.ndarray  # (pools,) per token of a prompt and key that it sees
    key_j: np.ndarray
    limit_w: np.ndarray  # (pools,) above idle, of a replica at most
    tokens: np.ndarray  # (pools,) made for a request in an iteration: 1, or more where drafts are accepted
    draft_rows: np.ndarray  # (pools,) rows of a request in an iteration: 1, or 1 + drafts
    capacity: np.ndarray  # (pools,) tokens of context that a replica holds for requests
    kept: np.ndarray  # (pools,) tokens of beginnings of prompts that it keeps beside them
    most: np.ndarray  # (pools,) requests at a time
    chunk: np.ndarray  # (pools,) rows of an iteration at most, prompts included
    role: np.ndarray  # (pools,)
    weight: np.ndarray  # (pools,) accelerators of a replica: what a second of it counts
    longest: float  # tokens of prompt and answer together that a request may have
    transfer_s: float  # per token of context that goes from a pool of prompts to one of tokens
    beginnings: np.ndarray  # (groups,) tokens with which the prompts of a group begin
    affinity: float  # requests that a replica with the beginning of a prompt may have more than the least loaded; below 0: off


class Requests(NamedTuple):
    """Arrays of shape (requests,); the first five are given, the rest is written."""

    arrival_s: np.ndarray
    prompt: np.ndarray  # tokens
    output: np.ndarray  # tokens, at least 1
    tier: np.ndarray  # 0 goes first
    group: np.ndarray  # how the prompt begins; -1: as no other
    state: np.ndarray
    shared: np.ndarray  # tokens of the prompt that the prefix cache had
    ready_s: np.ndarray  # may begin where it is
    first_s: np.ndarray  # first token
    end_s: np.ndarray
    made: np.ndarray  # tokens made before it began to run here
    begun: np.ndarray  # iterations of the replica at that time
    mark: np.ndarray  # iterations of the replica when it ends
    left: np.ndarray  # tokens of the prompt (or of what is computed again) to be worked off
    worked: np.ndarray  # tokens of prompts worked off
    inside_s: np.ndarray  # in a batch; while it is in one, less the clock at which it came in
    used_s: np.ndarray  # of accelerators: its share of the iterations it was in
    follows: np.ndarray  # next in a queue, -1: none
    replica: np.ndarray
    evictions: np.ndarray


class Replicas(NamedTuple):
    """Arrays of shape (replicas, ...)."""

    pool: np.ndarray
    up: np.ndarray  # 1 takes requests
    tiers: np.ndarray  # (replicas, tiers) 1 where it takes requests of a tier
    kind: np.ndarray
    clock_s: np.ndarray  # up to where all is done
    until_s: np.ndarray  # end of what it does now; infinity: idle
    planned: np.ndarray  # iterations of it
    piece: np.ndarray  # tokens of prompts in it
    step_s: np.ndarray  # first iteration of it
    step_j: np.ndarray
    running: np.ndarray  # (replicas, most) requests that get tokens, in the order in which they began
    active: np.ndarray
    prompts: np.ndarray  # (replicas, most) requests whose prompts are worked off, in order
    pending: np.ndarray
    head: np.ndarray  # (replicas, tiers) queues
    tail: np.ndarray
    queued: np.ndarray
    iterations: np.ndarray  # so far
    context: np.ndarray  # tokens of context of running requests
    held: np.ndarray  # tokens in the cache, beginnings that are kept apart
    share_s: np.ndarray  # seconds of one row so far, times accelerators
    busy_s: np.ndarray
    dynamic_j: np.ndarray
    batch_s: np.ndarray  # requests in the batch x time
    filled_s: np.ndarray  # tokens held x time
    worked: np.ndarray  # tokens of prompts worked off
    made: np.ndarray  # tokens made
    sought: np.ndarray  # tokens of beginnings that came, and of those that were there
    found: np.ndarray
    newer: np.ndarray  # (replicas, groups) beginnings that are kept, by last use; -1: none
    older: np.ndarray
    present: np.ndarray  # (replicas, groups) 1 where it is kept
    newest: np.ndarray
    oldest: np.ndarray
    stored: np.ndarray  # tokens of beginnings that are kept


def new_requests(arrival_s: np.ndarray, prompt: np.ndarray, output: np.ndarray, tier: np.ndarray, group: np.ndarray
                 ) -> Requests:
    """Return requests that have not come yet."""
    n = arrival_s.size
    given = [arrival_s.astype(float), prompt.astype(float), output.astype(float), tier.astype(np.int64), group.astype(np.int64)]
    written = [np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.full(n, np.nan), np.full(n, np.nan)]
    work = [np.zeros(n) for _ in range(7)]
    return Requests._make([*given, *written, *work, np.full(n, -1), np.full(n, -1), np.zeros(n, np.int64)])


def new_replicas(pool: np.ndarray, tiers: np.ndarray, most: int, groups: int) -> Replicas:
    """Return idle replicas that take requests; `tiers` of shape (replicas, tiers), `groups` beginnings that may be kept."""
    n, queues = tiers.shape

    def zeros() -> np.ndarray:
        return np.zeros(n)

    def whole(value: int = 0, *shape: int) -> np.ndarray:
        return np.full((n, *shape), value, np.int64)

    now = [pool.astype(np.int64), whole(1), tiers.astype(np.int64), whole(), zeros(), np.full(n, np.inf)]
    plan = [zeros() for _ in range(4)]
    batch = [whole(0, most), whole(), whole(0, most), whole(), whole(-1, queues), whole(-1, queues), whole()]
    sums = [zeros() for _ in range(12)]
    links = [np.full((n, groups), -1, np.int32), np.full((n, groups), -1, np.int32), np.zeros((n, groups), np.int8)]
    return Replicas._make([*now, *plan, *batch, *sums, *links, whole(-1), whole(-1), zeros()])

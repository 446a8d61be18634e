"""A slow fleet in plain Python that steps through every iteration, written from the model (docs/model.md, Serving)."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np

from kernels.serving_packs import PROMPTS, TOKENS, Costs


@dataclass
class Request:
    arrival_s: float
    prompt: float
    output: float
    tier: int
    group: int
    ready_s: float = 0.0
    made: float = 0.0  # raw: the last iteration may make too many
    left: float = 1.0
    shared: float = 0.0
    rounds: int = 0  # iterations until it ends
    moved: bool = False  # with its context, to a replica of tokens
    first_s: float = math.nan
    end_s: float = math.nan
    evictions: int = 0
    refused: bool = False


@dataclass
class Replica:
    pool: int
    queues: list[deque[Request]]
    running: list[Request] = field(default_factory=list)
    prompts: list[Request] = field(default_factory=list)
    kept: OrderedDict[int, float] = field(default_factory=OrderedDict)
    clock_s: float = 0.0
    until_s: float = math.inf
    busy: bool = False
    pieces: list[float] = field(default_factory=list)
    busy_s: float = 0.0
    dynamic_j: float = 0.0

    def load(self) -> int:
        return len(self.running) + len(self.prompts) + sum(len(queue) for queue in self.queues)

    def held(self) -> float:
        return sum(q.prompt - q.shared + q.made for q in self.running + self.prompts)


def serve(c: Costs, arrivals: list[Request], replicas: list[Replica], most_queued: float) -> None:
    """Serve all requests; what becomes of them is written into them."""
    waiting = deque(arrivals)
    while True:
        r = min(replicas, key=lambda r: r.until_s)
        if waiting and waiting[0].arrival_s <= r.until_s:
            q = waiting.popleft()
            _send(c, replicas, q, q.arrival_s, most_queued)
        elif r.until_s < math.inf:
            if r.busy:
                _end(c, replicas, r)
            r.clock_s = max(r.clock_s, r.until_s)
            _begin(c, r)
        else:
            return


def _send(c: Costs, replicas: list[Replica], q: Request, now: float, most_queued: float) -> None:
    role = [TOKENS] if q.moved else [0, PROMPTS]
    fit = [r for r in replicas if c.role[r.pool] in role]
    r = min(fit, key=lambda r: r.load())
    near = [x for x in fit if q.group in x.kept]
    if c.affinity >= 0.0 and near and not q.moved and min(x.load() for x in near) <= r.load() + c.affinity:
        r = min(near, key=lambda x: x.load())
    if not q.moved and (sum(len(x) for x in r.queues) >= most_queued or q.prompt + q.output > c.longest):
        q.refused = True
        return
    q.ready_s = now
    r.queues[q.tier].append(q)
    if not r.busy:
        r.until_s = min(r.until_s, now) if q.moved else now
        r.clock_s = r.clock_s if q.moved else max(r.clock_s, now)


def _begin(c: Costs, r: Replica) -> None:
    _admit(c, r)
    tokens = c.tokens[r.pool]
    while len(r.running + r.prompts) > 1 and r.held() + len(r.running + r.prompts) * tokens > c.capacity[r.pool]:
        q = (r.prompts or r.running).pop()
        q.evictions += 1
        q.moved = False
        q.made = min(q.made, q.output)
        q.shared, q.left = 0.0, 1.0
        r.queues[q.tier].appendleft(q)
    if not r.running and not r.prompts:
        r.busy, r.until_s = False, min((queue[0].ready_s for queue in r.queues if queue), default=math.inf)
        return
    rows = len(r.running) * c.draft_rows[r.pool]
    room, keys, sampled = max(1.0, c.chunk[r.pool] - rows), 0.0, len(r.running)
    r.pieces = []
    for q in r.prompts:
        part = min(q.left, room - sum(r.pieces))
        if part <= 0.0:
            break
        seen = q.prompt + q.made - q.left
        keys += part * (seen + 0.5 * part + 64.0)
        r.pieces.append(part)
        sampled += part >= q.left
    read = sum(q.prompt + q.made for q in r.running)
    whole = int(rows + sum(r.pieces))
    step_s = c.rows_s[r.pool, whole] + c.sampled_s[r.pool, sampled] + c.context_s[r.pool] * read + c.key_s[r.pool] * keys
    r.dynamic_j += c.rows_j[r.pool, whole] + c.sampled_j[r.pool, sampled] + c.context_j[r.pool] * read + c.key_j[r.pool] * keys
    r.busy_s += step_s
    r.busy, r.until_s = True, r.clock_s + step_s


def _admit(c: Costs, r: Replica) -> None:
    tokens, capacity = c.tokens[r.pool], c.capacity[r.pool]
    for queue in r.queues:
        while queue and queue[0].ready_s <= r.clock_s:
            q, inside = queue[0], len(r.running) + len(r.prompts)
            found = min(c.beginnings[q.group], q.prompt) if q.group in r.kept else 0.0
            need = q.prompt + q.made - found
            if inside and (inside >= c.most[r.pool] or r.held() + need + tokens * (inside + 1) > capacity):
                return
            queue.popleft()
            if q.moved:
                _run(c, r, q)
                continue
            q.shared = found
            if q.group >= 0 and c.kept[r.pool] > 0.0:
                _keep(r, q.group, c.beginnings[q.group], c.kept[r.pool])
            q.left = max(1.0, q.prompt - q.shared + q.made)
            r.prompts.append(q)


def _keep(r: Replica, group: int, size: float, room: float) -> None:
    if group in r.kept:
        r.kept.move_to_end(group)
    elif size <= room:
        while sum(r.kept.values()) + size > room:
            r.kept.popitem(last=False)
        r.kept[group] = size


def _run(c: Costs, r: Replica, q: Request) -> None:
    q.rounds = math.ceil((q.output - q.made) / c.tokens[r.pool] - 1e-9)
    r.running.append(q)


def _end(c: Costs, replicas: list[Replica], r: Replica) -> None:
    now = r.until_s
    r.busy = False
    r.clock_s = now
    for q in r.running:
        q.made += c.tokens[r.pool]
        q.rounds -= 1
        if q.rounds <= 0:
            q.end_s = now
    r.running = [q for q in r.running if q.rounds > 0]
    prompts, r.prompts = r.prompts, []
    for i, q in enumerate(prompts):
        q.left -= r.pieces[i] if i < len(r.pieces) else 0.0
        if q.left > 0.0:
            r.prompts.append(q)
            continue
        q.first_s = now if q.made <= 0.0 else q.first_s
        q.made += 1.0
        if q.made >= q.output:
            q.end_s = now
        elif c.role[r.pool] == PROMPTS:
            q.moved, q.shared = True, 0.0
            _send(c, replicas, q, now + c.transfer_s * (q.prompt + q.made), math.inf)
        else:
            _run(c, r, q)


def requests_of(columns: list[np.ndarray]) -> list[Request]:
    """Return requests of arrays of arrival, prompt, output, tier and group."""
    return [Request(*(float(x) for x in row[:3]), int(row[3]), int(row[4])) for row in zip(*columns, strict=True)]

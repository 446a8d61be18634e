"""Requests as they come: arrival, tokens, tier, user and how the prompt begins; drawn or from a trace, block by block.

A load is a struct of arrays, so that what changes it (attacks, defences) changes arrays before the fleet sees them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from simulator.errors import UserError
from simulator.fields import Distribution
from simulator.scenario.serving import Load, ServingScenario
from simulator.serving.trace import Trace, read_requests

Stream = Callable[[str], np.random.Generator]
HOUR_S, DAY_S, WEEK_S = 3600.0, 86400.0, 7 * 86400.0
_PEAK_S = 14 * HOUR_S
_CELL_S = 60.0  # in which the rate does not change
_CELLS = 2_000_000
BLOCK = 50_000  # requests that are served together, about
_MOST = 500_000_000


class Traffic(NamedTuple):
    """Requests in order of arrival, arrays of shape (requests,)."""

    arrival_s: np.ndarray
    prompt: np.ndarray  # tokens
    output: np.ndarray  # tokens, at least 1
    tier: np.ndarray  # number of the tier
    user: np.ndarray
    hostile: np.ndarray  # True: made to burn resources
    group: np.ndarray  # how the prompt begins, an index of `Demand.beginnings`; -1: as no other
    refused: np.ndarray  # True: never reaches the fleet
    cut: np.ndarray  # True: its answer is ended early

    @property
    def size(self) -> int:
        """Requests."""
        return int(self.arrival_s.size)

    def where(self, chosen: np.ndarray) -> Traffic:
        """Return the requests of a mask or of indices."""
        return Traffic(*(values[chosen] for values in self))


class Block(NamedTuple):
    """The requests that come up to a time, after those of the block before."""

    until_s: float
    traffic: Traffic


class Demand(NamedTuple):
    """All requests of a trial, a block at a time, and the tokens with which the prompts of each group begin, shape (groups,)."""

    blocks: Iterator[Block]
    beginnings: np.ndarray


def joined(*parts: Traffic) -> Traffic:
    """Return the requests of several loads in order of arrival."""
    whole = Traffic(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    return whole.where(np.argsort(whole.arrival_s, kind="stable"))


def tokens(value: Any, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return so many lengths: drawn, or all alike; whole tokens, at least 1."""
    drawn = value.draw(rng, count) if isinstance(value, Distribution) else np.full(count, float(value))
    return np.maximum(1.0, np.rint(drawn))


def demand(scenario: ServingScenario, stream: Stream) -> Demand:
    """Return the honest requests of a trial.

    Parameters
    ----------
    scenario : ServingScenario
        Without open distributions.
    stream : callable
        Purpose -> generator of this trial.

    Raises
    ------
    UserError
        A trace that is wrong, or more requests than can be served in a lifetime.
    """
    prefixes = scenario.serving.prefix_cache
    beginnings = tokens(prefixes.tokens, stream("beginnings"), prefixes.groups) if prefixes is not None else np.zeros(0)
    blocks = _drawn(scenario, stream) if scenario.load.trace is None else _replayed(scenario, stream)
    return Demand(blocks, beginnings)


class Rate(NamedTuple):
    """A rate that is constant within cells: their edges, shape (cells + 1,), and the requests expected up to each."""

    edges_s: np.ndarray
    expected: np.ndarray


def rate_of(load: Load, rng: np.random.Generator) -> Rate:
    """Return the rate of a trial: rate (1 + swing cos(day)), on weekends and in bursts times something. It is Monday, 0 h.

    Bursts begin at the events of a Poisson process and last an exponential time (a Markov-modulated Poisson process: Fischer and
    Meier-Hellstern, Performance Evaluation 18, 1993, FROM MEMORY); those that overlap are one.
    """
    end_s, base = load.duration_s, load.rate_per_s or 0.0
    cells = math.ceil(end_s / _CELL_S)
    if cells > _CELLS:
        raise UserError(f"load.duration: found {end_s / DAY_S:,.0f} days; allowed: at most {_CELLS * _CELL_S / DAY_S:,.0f} days")
    edges_s = np.minimum(np.arange(cells + 1) * _CELL_S, end_s)
    begins_s, ends_s = _bursts(load, rng)
    edges_s = np.unique(np.concatenate([edges_s, begins_s, ends_s]))
    middle_s = 0.5 * (edges_s[1:] + edges_s[:-1])
    per_s = base * (1.0 + load.day_swing * np.cos(2.0 * math.pi * (middle_s - _PEAK_S) / DAY_S))
    per_s *= np.where(middle_s % WEEK_S >= 5 * DAY_S, load.weekend, 1.0)
    if load.bursts is not None:
        inside = np.searchsorted(begins_s, middle_s) > np.searchsorted(ends_s, middle_s)
        per_s *= np.where(inside, load.bursts.times, 1.0)
    return Rate(edges_s, np.concatenate([[0.0], np.cumsum(per_s * np.diff(edges_s))]))


def _bursts(load: Load, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return when bursts begin and end, each in rising order, within the load's duration."""
    if load.bursts is None:
        return np.empty(0), np.empty(0)
    count = int(rng.poisson(load.duration_s / load.bursts.every_s))
    begins_s = np.sort(rng.random(count)) * load.duration_s
    last_s = np.maximum.accumulate(begins_s + rng.standard_exponential(count) * load.bursts.duration_s)
    apart = np.concatenate([[True], begins_s[1:] > last_s[:-1]]) if count else np.empty(0, bool)
    ends_s = last_s[np.concatenate([np.flatnonzero(apart)[1:] - 1, [count - 1]])] if count else last_s
    return begins_s[apart], np.minimum(ends_s, load.duration_s)


def _drawn(scenario: ServingScenario, stream: Stream) -> Iterator[Block]:
    """Yield blocks of a Poisson process whose rate changes: how many by count, when by inversion (Lewis, Shedler 1979)."""
    load = scenario.load
    rate = rate_of(load, stream("bursts"))
    if rate.expected[-1] > _MOST:
        raise UserError(f"load.rate: found some {rate.expected[-1]:,.0f} requests; allowed: at most {_MOST:,}")
    draws = Draws(scenario, stream)
    counts, times = stream("arrivals"), stream("arrival times")
    count = max(1, math.ceil(rate.expected[-1] / BLOCK))
    cuts = np.unique(np.searchsorted(rate.expected, rate.expected[-1] * np.arange(1, count) / count))
    places = np.unique(np.concatenate([[0], cuts, [rate.edges_s.size - 1]]))
    for first, last in pairwise(places):
        low, high = rate.expected[first], rate.expected[last]
        u = np.sort(times.random(int(counts.poisson(high - low))))
        arrival_s = np.interp(low + (high - low) * u, rate.expected[first:last + 1], rate.edges_s[first:last + 1])
        yield Block(float(rate.edges_s[last]), draws.requests(arrival_s))


def _replayed(scenario: ServingScenario, stream: Stream) -> Iterator[Block]:
    """Yield blocks of the trace; what it lacks is drawn."""
    load = scenario.load
    assert load.trace is not None
    trace = read_requests(load.trace, tuple(tier.name for tier in scenario.serving.tiers), load.duration_s)
    draws = Draws(scenario, stream)
    for first in range(0, trace.arrival_s.size, BLOCK):
        rows = slice(first, first + BLOCK)
        last = first + BLOCK >= trace.arrival_s.size
        # Up to the first of the next block: those that come at the same time stay in order.
        until_s = load.duration_s if last else float(trace.arrival_s[first + BLOCK])
        yield Block(until_s, draws.requests(trace.arrival_s[rows], trace, rows))


class Draws:
    """What requests are beside their time of arrival."""

    def __init__(self, scenario: ServingScenario, stream: Stream) -> None:
        self.load, self.prefixes = scenario.load, scenario.serving.prefix_cache
        names = ("prompts", "outputs", "reasoning", "thinks", "tiers", "users", "groups")
        self.rng = {name: stream(name) for name in names}
        shares = np.array([tier.share for tier in scenario.serving.tiers])
        if shares.sum() <= 0.0:
            raise UserError("serving.tiers: found shares that sum to 0; allowed: at least one above 0")
        self.tiers = np.cumsum(shares) / shares.sum()
        if self.prefixes is not None:
            weights = np.arange(1.0, self.prefixes.groups + 1.0) ** -self.prefixes.popularity
            self.groups = np.cumsum(weights) / weights.sum()

    def requests(self, arrival_s: np.ndarray, trace: Trace | None = None, rows: slice = slice(None)) -> Traffic:
        """Return the requests that come at given times, with the lengths, tiers and users of a trace where it has them."""
        n, load, rng = arrival_s.size, self.load, self.rng
        prompt = tokens(load.prompt, rng["prompts"], n) if trace is None else trace.prompt[rows]
        output = tokens(load.output, rng["outputs"], n) if trace is None else trace.output[rows]
        if load.reasoning is not None:
            thinks = rng["thinks"].random(n) < load.reasoning.share
            output = output + np.where(thinks, tokens(load.reasoning.tokens, rng["reasoning"], n), 0.0)
        tier = np.searchsorted(self.tiers, rng["tiers"].random(n), side="right").clip(max=self.tiers.size - 1)
        user = rng["users"].integers(0, load.users, n)
        group = np.full(n, -1)
        if self.prefixes is not None:
            group = np.searchsorted(self.groups, rng["groups"].random(n), side="right").clip(max=self.groups.size - 1)
        if trace is not None:
            tier = tier if trace.tier is None else trace.tier[rows]
            user = user if trace.user is None else trace.user[rows]
        return Traffic(arrival_s, prompt, np.minimum(output, float(load.longest)), tier, user, np.zeros(n, bool), group,
                       np.zeros(n, bool), np.zeros(n, bool))

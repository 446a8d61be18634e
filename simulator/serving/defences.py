"""Defences as changes of the requests before the fleet sees them: answers ended early, requests refused, or put apart.

Each acts on honest and hostile requests alike, as far as it can tell them apart. Luck is drawn for honest and hostile ones by
themselves, so that it is the same for an honest request whether or not there is an attack.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.scenario.serving import LONG, UNKNOWN, Defences, ServingScenario
from simulator.serving.load import HOUR_S, Block, Demand, Stream, Traffic
from simulator.serving.threats import FIRST_ATTACKER
from simulator.serving.tiers import place_of

_PURPOSES = ("predictions", "suspicion")


def defended(scenario: ServingScenario, asked: Demand, stream: Stream) -> Demand:
    """Return the requests of a trial after the scenario's defences.

    Parameters
    ----------
    scenario : ServingScenario
        With the tiers of its defences (`simulator.serving.tiers`), without open distributions.
    asked : Demand
        Honest requests, or those with an attack among them.
    stream : callable
        Purpose -> generator of this trial.
    """
    if not scenario.defences.chosen:
        return asked
    return Demand(_Door(scenario, scenario.defences, stream).blocks(asked.blocks), asked.beginnings)


class _Door:
    def __init__(self, scenario: ServingScenario, defences: Defences, stream: Stream) -> None:
        self.scenario, self.defences = scenario, defences
        self.rng = {(name, bool(of)): stream(f"{of}{name}") for name in _PURPOSES for of in ("", "hostile ")}
        self.budget = _Budget(float(defences.user_budget))

    def blocks(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Yield each block as it comes to the fleet."""
        for until_s, traffic in blocks:
            yield Block(until_s, self._passed(traffic))

    def _passed(self, came: Traffic) -> Traffic:
        """Return a block: refused at the door, then capped, put apart, cut off; what is left counts for a user's budget."""
        d, asked = self.defences, came.output
        refused, output = came.refused.copy(), asked
        if d.prompt_cap:
            refused |= came.prompt > d.prompt_cap
        if d.output_cap:
            output = np.minimum(output, float(d.output_cap))
        tier = self._tiers(came, output)
        if d.cut_off is not None:
            found = self._luck("suspicion", came) < np.where(came.hostile, d.cut_off.detection, d.cut_off.false_positives)
            if d.cut_off.after:
                output = np.where(found, np.minimum(output, float(d.cut_off.after)), output)
            else:
                refused |= found
        if d.user_budget:
            refused |= self.budget.exceeded(came.arrival_s, came.user, np.where(refused, 0.0, came.prompt + output))
        return came._replace(output=output, tier=tier, refused=refused, cut=came.cut | (output < asked))

    def _tiers(self, came: Traffic, output: np.ndarray) -> np.ndarray:
        d, tier = self.defences, came.tier
        if d.length_aware is not None:
            predicted = output * np.exp(d.length_aware.error * self._luck("predictions", came, normal=True))
            tier = np.where(predicted > d.length_aware.above, place_of(self.scenario, LONG), tier)
        if d.isolation is not None:
            known = came.user < FIRST_ATTACKER
            fresh = _scattered(came.user) < d.isolation.unknown
            tier = np.where(known & ~fresh, tier, place_of(self.scenario, UNKNOWN))
        return tier

    def _luck(self, purpose: str, came: Traffic, *, normal: bool = False) -> np.ndarray:
        """Return uniform or normal numbers, shape (requests,)."""
        found = np.empty(came.size)
        for hostile in (False, True):
            chosen, rng = came.hostile == hostile, self.rng[purpose, hostile]
            count = int(chosen.sum())
            found[chosen] = rng.standard_normal(count) if normal else rng.random(count)
        return found


def _scattered(user: np.ndarray) -> np.ndarray:
    """Return a number from 0 to 1 for each user, always the same (multiples of the golden ratio: Knuth, TAOCP 3, section 6.4)."""
    found: np.ndarray = (user % FIRST_ATTACKER * 0.6180339887498949) % 1.0
    return found


class _Budget:
    """Tokens of each user in the present hour of the clock; a request is refused once those before it have used the budget."""

    def __init__(self, tokens: float) -> None:
        self.tokens = tokens
        self.hour = -1
        self.used: dict[int, float] = {}

    def exceeded(self, arrival_s: np.ndarray, user: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return which requests are refused, shape (requests,), in order of arrival; `tokens` is 0 where one is not served.

        Those before the first that is refused all count, those after it none: so sums of all tokens decide.
        """
        hour = (arrival_s // HOUR_S).astype(np.int64)
        order = np.lexsort((np.arange(user.size), user, hour))
        hours, users, counts = hour[order], user[order], tokens[order]
        new = np.concatenate([[True], (np.diff(hours) != 0) | (np.diff(users) != 0)]) if order.size else np.zeros(0, bool)
        starts = np.flatnonzero(new)
        before = np.cumsum(counts) - counts
        before -= np.repeat(before[starts], np.diff(np.append(starts, order.size)))
        carried = np.array([self.used.get(int(u), 0.0) if h == self.hour else 0.0
                            for u, h in zip(users[starts], hours[starts], strict=True)])
        before += np.repeat(carried, np.diff(np.append(starts, order.size)))
        refused = np.zeros(user.size, bool)
        refused[order] = before >= self.tokens
        if order.size:
            last = np.append(starts[1:], order.size) - 1
            now = int(hours[-1])
            kept = self.used if now == self.hour else {}
            self.used = kept | {int(users[i]): float(before[i] + counts[i]) for i in last if hours[i] == now}
            self.hour = now
        return refused

"""An attack as requests beside the honest ones, which stay as they are: what is hostile is added, block by block.

More hostile requests at the same luck are those there were and others: whoever looks for the share that breaks a fleet compares
like with like.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from simulator.errors import UserError
from simulator.scenario.serving import Attack, ServingScenario
from simulator.serving.load import Block, Demand, Draws, Stream, Traffic, joined, tokens
from simulator.serving.plan import ServePlan

FIRST_ATTACKER = 1 << 40  # number of the first account of attackers; users of a trace are fewer
_MOST_EACH = 500.0  # hostile requests for each honest one
_MOST_BEGINNINGS = 100_000
_GOLDEN = 0.6180339887498949
_STRIDE = 7919  # prime: the second hostile request beside an honest one has the contents drawn for another


def attacked(plan: ServePlan, honest: Demand, stream: Stream) -> Demand:
    """Return the honest requests and, where the scenario has an attack, hostile ones among them.

    Parameters
    ----------
    plan : ServePlan
        Of a scenario without open distributions.
    honest : Demand
    stream : callable
        Purpose -> generator of this trial.

    Raises
    ------
    UserError
        More hostile requests than can be served in a lifetime.
    """
    if plan.scenario.attack is None:
        return honest
    attackers = _Attackers(plan, plan.scenario.attack, honest, stream)
    return Demand(attackers.blocks(honest.blocks), attackers.beginnings)


def odds(attack: Attack) -> float:
    """Return hostile requests for each honest one, a loop counted once."""
    return attack.share / (1.0 - attack.share) * (attack.amplification if attack.kind == "flood" else 1.0)


class _Attackers:
    def __init__(self, plan: ServePlan, attack: Attack, honest: Demand, stream: Stream) -> None:
        from scipy.special import pdtr

        self.attack, self.load = attack, plan.scenario.load
        each = odds(attack) * (attack.amplification if attack.kind == "tool-loop" else 1.0)
        if each > _MOST_EACH:
            raise UserError(f"attack: found {each:,.0f} hostile requests for each honest one; allowed: at most {_MOST_EACH:,.0f}"
                            ", by a smaller attack.share or attack.amplification")
        self.draws = Draws(plan.scenario, lambda purpose: stream(f"hostile {purpose}"))
        self.rng = {name: stream(f"hostile {name}") for name in ("counts", "offsets", "accounts", "turns")}
        # Chance of at most so many: a request has as many hostile ones beside it as its uniform number is above.
        most = math.ceil(odds(attack) + 12.0 * math.sqrt(odds(attack)) + 12.0)
        self.chances = pdtr(np.arange(most), odds(attack))
        self.own = _beginnings(plan, attack, stream)
        self.first = honest.beginnings.size
        self.beginnings = np.concatenate([honest.beginnings, self.own])
        self.used = 0

    def blocks(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Yield each block with the hostile requests that come in it; turns of a loop may come in a later one."""
        later: Traffic | None = None
        for until_s, traffic in blocks:
            hostile = self._requests(traffic, until_s)
            hostile = hostile if later is None else joined(later, hostile)
            due = hostile.arrival_s < until_s
            later = hostile.where(~due)
            yield Block(until_s, joined(traffic, hostile.where(due)))

    def _requests(self, honest: Traffic, until_s: float) -> Traffic:
        """Return the hostile requests of a block: a Poisson number between each honest request and the next."""
        n = honest.size
        content = self._amplified(self.draws.requests(honest.arrival_s))
        u, offset, account, turn = (self.rng[name].random(n) for name in ("counts", "offsets", "accounts", "turns"))
        count = np.searchsorted(self.chances, u)
        beside = np.repeat(np.arange(n), count)
        number = np.arange(beside.size) - np.repeat(np.cumsum(count) - count, count)
        gap_s = np.diff(honest.arrival_s, append=until_s)
        arrival_s = honest.arrival_s[beside] + gap_s[beside] * ((offset[beside] + _GOLDEN * number) % 1.0)
        found = content.where((beside + _STRIDE * number) % max(1, n))
        user = FIRST_ATTACKER + (np.floor(account[beside] * self.attack.users).astype(np.int64) + number) % self.attack.users
        found = found._replace(arrival_s=arrival_s, user=user, hostile=np.ones(beside.size, bool))
        order = np.argsort(arrival_s, kind="stable")
        found = found.where(order)
        if self.attack.kind == "tool-loop":
            return self._turns(found, np.floor(self.attack.amplification + turn[beside][order]).astype(np.int64))
        return self._thrashing(found) if self.own.size else found

    def _amplified(self, content: Traffic) -> Traffic:
        """Return requests with longer answers or prompts, up to the model's limits."""
        k = self.attack.amplification
        if self.attack.kind == "long-output":
            return content._replace(output=np.minimum(np.rint(k * content.output), float(self.load.longest)))
        if self.attack.kind == "sponge-prompt":
            prompt = np.minimum(np.rint(k * content.prompt), float(self.attack.longest_prompt))
            return content._replace(prompt=np.maximum(content.prompt, prompt), group=np.full(content.size, -1))
        return content

    def _turns(self, first: Traffic, count: np.ndarray) -> Traffic:
        """Return the turns of loops: each prompt is the one before, its answer, and what a tool said."""
        each = np.repeat(np.arange(first.size), count)
        turn = np.arange(each.size) - np.repeat(np.cumsum(count) - count, count)
        grown = first.prompt[each] + turn * (first.output[each] + self.attack.tool_result)
        prompt = np.maximum(first.prompt[each], np.minimum(grown, float(self.attack.longest_prompt)))
        found = first.where(each)._replace(arrival_s=first.arrival_s[each] + turn * self.attack.turn_s, prompt=prompt)
        return found.where(np.argsort(found.arrival_s, kind="stable"))

    def _thrashing(self, found: Traffic) -> Traffic:
        """Return requests that take one beginning of their own after the other: none is there any more when it comes again."""
        group = (self.used + np.arange(found.size)) % self.own.size
        self.used += found.size
        return found._replace(group=self.first + group, prompt=np.maximum(found.prompt, self.own[group]))


def _beginnings(plan: ServePlan, attack: Attack, stream: Stream) -> np.ndarray:
    """Return tokens of hostile beginnings, shape (groups,): twice as many as all replicas together can keep."""
    prefixes = plan.scenario.serving.prefix_cache
    if attack.kind != "cache-thrash" or prefixes is None:
        return np.zeros(0)
    rng, kept = stream("hostile beginnings"), float(plan.costs.kept.max())
    tries = np.minimum(np.rint(attack.amplification * tokens(prefixes.tokens, rng, 1000)), max(1.0, kept))
    tries = np.minimum(tries, float(attack.longest_prompt))
    count = math.ceil(2.0 * kept * plan.pools.size / tries.mean()) + 1
    return np.resize(tries, min(count, _MOST_BEGINNINGS))


def attacker_usd(scenario: ServingScenario, requests: float, prompt_tokens: float, output_tokens: float) -> float:
    """Return what so many requests and tokens cost the attacker."""
    attack = scenario.attack
    if attack is None:
        return 0.0
    tokens_usd = attack.prompt_price_usd * prompt_tokens + attack.output_price_usd * output_tokens
    return attack.request_price_usd * requests + 1e-6 * tokens_usd

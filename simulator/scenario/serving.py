"""The scenario of a serving file: a fleet of replicas, the requests that come, and what honest users were promised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.catalog.records import AcceleratorRecord, FabricRecord, FailureProfile, ModelRecord
from simulator.fields import (
    Count,
    CountOrZero,
    PerSecond,
    PositiveSeconds,
    Quantity,
    RandomRatio,
    Ratio,
    RatioFromOne,
    Record,
    Seconds,
    Share,
    Usd,
    UsdPerAcceleratorSecond,
    Watts,
)
from simulator.scenario.checks import FieldError, central
from simulator.scenario.facility import Place
from simulator.scenario.monte_carlo import MonteCarlo, check_correlations

LONG, UNKNOWN = "long answers", "unknown users"  # tiers that defences add
Narrow = Literal["bf16", "fp8", "int8", "fp4", "int4"]


class Speculation(Record):
    """Drafts of a small model, of which the large one accepts some (Leviathan et al., arXiv:2211.17192)."""

    drafts: Count = Field(description="tokens drafted for each request in an iteration")
    acceptance: Share = Field(description="chance that a draft is accepted, where all before it were")
    draft_time: Share = Field(
        default=0.1, description="time to draft a token, share of an iteration of the model. Source: assumed")


class PrefixCache(Record):
    """Prompts begin alike; what the cache of keys and values still has of them is not computed again."""

    groups: Count = Field(default=100, description="different beginnings (system prompts, conversations). Source: assumed")
    popularity: Ratio = Field(default=1.0, description="exponent of Zipf's law of how often each comes")
    tokens: RandomRatio = Field(default=1000.0, description="tokens of a beginning, at most those of the prompt. Source: assumed")
    capacity: Share = Field(
        default=0.1, description="of the tokens that a replica's cache holds, kept for beginnings. Source: assumed")
    routing: Literal["least-requests", "affinity"] = Field(
        default="least-requests", description="the replica with the fewest requests, or, with `affinity`, one that has the "
                                              "beginning of the prompt")
    slack: CountOrZero = Field(
        default=8, description="requests that it may have more than the one with the fewest. Source: assumed")


class Pool(Record):
    """Equal replicas of the model."""

    replicas: Count = Field(description="of the model")
    tensor: Count = Field(default=1, description="tensor-parallel ranks of a replica")
    pipeline: Count = Field(default=1, description="pipeline stages of a replica")
    expert: Count = Field(default=1, description="ranks of the tensor group over which routed experts are spread")
    requests: Count = Field(default=256, description="at a time on one replica. Source: FROM MEMORY, vLLM's default")
    chunk: Count = Field(
        default=2048, description="rows of an iteration at most, pieces of prompts included. Source: FROM MEMORY, vLLM's default")


class Autoscale(Record):
    """Replicas follow the load."""

    least: Count = Field(default=1, description="replicas at least")
    most: Count = Field(description="replicas at most")
    target: Ratio = Field(
        default=32.0, description="requests on a replica, queued ones included, at which there are enough. Source: assumed")
    every_s: PositiveSeconds = Field(default=30.0, description="between looks. Source: assumed")
    calm_s: Seconds = Field(default=300.0, description="time below target before one is given up. Source: assumed")


class Tier(Record):
    """Users of one class; the first of the list goes first."""

    name: str = Field(min_length=1, max_length=60, description="each name once")
    share: Ratio = Field(default=1.0, description="of honest requests, in proportion")
    replicas: CountOrZero = Field(default=0, description="replicas of its own, the first of those not taken yet; 0: shared ones")


class Serving(Record):
    """The fleet."""

    accelerator: AcceleratorRecord
    fabric: FabricRecord
    pool: Pool
    prompts: Pool | None = Field(default=None, description="replicas for prompts alone; `pool` then makes tokens only")
    weights: Narrow = Field(default="bf16", description="precision of the weights")
    cache: Literal["bf16", "fp8"] = Field(default="bf16", description="precision of keys and values")
    memory_share: Share = Field(default=0.9, description="of memory, for weights and cache. Source: FROM MEMORY, vLLM's default")
    speculation: Speculation | None = None
    prefix_cache: PrefixCache | None = None
    autoscale: Autoscale | None = None
    cold_start_s: Seconds = Field(
        default=120.0, description="of a replica, new or failed, until it takes requests: its weights are loaded, its kernels "
                                   "compiled. Source: assumed")
    tiers: tuple[Tier, ...] = Field(default=(Tier(name="users"),), description="users by class; the first of the list goes first")
    queue_limit: CountOrZero = Field(default=0, description="requests that may wait at a replica, more are refused; 0: no limit")
    power_limit_w: Watts | None = Field(default=None, description="of one accelerator; absent: its TDP")

    @model_validator(mode="after")
    def _fits(self) -> Serving:
        names = [tier.name for tier in self.tiers]
        if not names:
            raise FieldError("tiers", "found none; allowed: one or more")
        for i, name in enumerate(names):
            if name in names[:i]:
                raise FieldError(f"tiers.{i}.name", f"found {name!r} a second time; allowed: each name once")
        if self.autoscale is not None and not self.autoscale.least <= self.pool.replicas <= self.autoscale.most:
            raise FieldError("pool.replicas", f"found {self.pool.replicas}; allowed: {self.autoscale.least} to "
                                              f"{self.autoscale.most}, between which replicas are scaled")
        reserved = sum(tier.replicas for tier in self.tiers)
        shared = any(tier.replicas == 0 for tier in self.tiers)
        if reserved + shared > self.pool.replicas:
            raise FieldError("tiers", f"found {reserved} replicas for tiers of their own; allowed: at most "
                                      f"{self.pool.replicas - shared}, so that the others have one")
        return self


class Reasoning(Record):
    """Some answers are thought over first; nobody reads those tokens, but they are made like others."""

    share: Share = Field(default=1.0, description="of requests")
    tokens: RandomRatio = Field(description="tokens of reasoning before the answer")


class Burst(Record):
    """At random times more requests come."""

    every_s: PositiveSeconds = Field(description="mean time between bursts")
    duration_s: PositiveSeconds = Field(description="mean")
    times: RatioFromOne = Field(description="rate during a burst, over that without")


class Load(Record):
    """The requests that come: drawn, or from a trace."""

    rate_per_s: PerSecond | None = Field(default=None, description="mean requests of honest users; or `trace`")
    day_swing: Share = Field(default=0.0, description="amplitude of the day over the mean; the peak is at 14 h")
    weekend: Ratio = Field(default=1.0, description="rate on Saturday and Sunday, over that of other days")
    bursts: Burst | None = None
    prompt: RandomRatio = Field(default=500.0, description="tokens of a prompt. Source: assumed")
    output: RandomRatio = Field(default=250.0, description="tokens of an answer. Source: assumed")
    reasoning: Reasoning | None = None
    longest: Count = Field(default=32768, description="tokens of an answer at most: the model's limit. Source: assumed")
    users: Count = Field(default=1000, description="honest users, each as busy as the others. Source: assumed")
    trace: str | None = Field(
        default=None, min_length=1, description="CSV file with arrival, prompt_tokens, output_tokens, relative to the scenario "
                                                "file; or `rate`")
    duration_s: PositiveSeconds = Field(default=3600.0, description="time in which requests come. Source: assumed")
    warm_up_s: Seconds = Field(default=0.0, description="time at the start whose requests are not counted")

    @model_validator(mode="after")
    def _one_source(self) -> Load:
        if (self.rate_per_s is None) == (self.trace is None):
            raise FieldError("rate", "found both or none of 'rate' and 'trace'; allowed: one of the two")
        return self


class Attack(Record):
    """Requests made to burn resources, beside the honest ones: more come where these do, so that they hide among them.

    Published amplifications: long-output 18 and 46 (OverThink, arXiv:2502.02542, abstract), 2 to 13 (Engorgio, arXiv:2412.19394,
    FROM MEMORY), up to the model's limit (P-DoS, arXiv:2410.10760, FROM MEMORY); sponge-prompt 10 to 200 of energy
    (arXiv:2006.03463, FROM MEMORY); tool-loop up to 658 times the cost ("Beyond Max Tokens", from a summary).
    """

    kind: Literal["long-output", "sponge-prompt", "tool-loop", "cache-thrash", "flood"] = Field(
        description="what hostile requests do: ask for long answers; have long prompts; come back again and again with a longer "
                    "prompt; begin as no other does, so that the prefix cache loses what others use; or come in numbers")
    share: Annotated[float, Quantity("ratio", high=0.99)] = Field(
        description="hostile requests, share of all, before a flood or a loop multiplies them")
    amplification: RatioFromOne = Field(
        default=1.0, description="of answers, of prompts, of the turns of a loop, of beginnings, of requests: times the honest")
    users: Count = Field(default=20, description="accounts of attackers, each as busy as the others. Source: assumed")
    longest_prompt: Count = Field(
        default=131072, description="tokens of a prompt at most. Source: context of Llama 3.1, arXiv:2407.21783")
    turn_s: PositiveSeconds = Field(default=10.0, description="from one turn of a loop to the next. Source: assumed")
    tool_result: CountOrZero = Field(
        default=500, description="tokens that a turn of a loop adds to the prompt, beside the answer. Source: assumed")
    request_price_usd: Usd = Field(default=0.0, description="what a request costs the attacker")
    prompt_price_usd: Usd = Field(default=0.0, description="what a million tokens of prompts cost the attacker")
    output_price_usd: Usd = Field(default=0.0, description="what a million tokens of answers cost the attacker")


class LengthAware(Record):
    """Requests whose answers are predicted to be long wait until the others of all tiers have begun."""

    above: Count = Field(description="tokens of an answer from which on it is long")
    error: Ratio = Field(
        default=0.5, description="standard deviation of the logarithm of predicted over real length. Source: assumed")
    replicas: CountOrZero = Field(default=0, description="of the pool's, for long answers alone; 0: they share all")


class Isolation(Record):
    """Requests of unknown users go to replicas of their own: all hostile ones, and those of users who are new."""

    replicas: Count = Field(description="of the pool's, for unknown users alone; these are not scaled")
    unknown: Share = Field(default=0.1, description="honest users who are unknown. Source: assumed")


class CutOff(Record):
    """Requests that look hostile are ended early; some of them are honest."""

    detection: Share = Field(description="hostile requests that are found")
    false_positives: Share = Field(default=0.0, description="honest requests that are taken for hostile ones")
    after: CountOrZero = Field(
        default=200, description="tokens of the answer after which they are ended; 0: they are refused. Source: assumed")


class Defences(Record):
    """What is done against it; each may hit honest users as well."""

    output_cap: CountOrZero = Field(default=0, description="tokens of an answer at most, longer ones are ended; 0: no cap")
    prompt_cap: CountOrZero = Field(default=0, description="tokens of a prompt at most, longer ones are refused; 0: no cap")
    user_budget: CountOrZero = Field(
        default=0, description="tokens of prompts and answers of a user in an hour of the clock, from which on they are refused; "
                               "0: no budget")
    length_aware: LengthAware | None = None
    isolation: Isolation | None = None
    cut_off: CutOff | None = None

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the defences that are taken."""
        return tuple(name for name in type(self).model_fields if getattr(self, name))

    def only(self, *names: str) -> Defences:
        """Return these defences without the others."""
        return Defences().model_copy(update={name: getattr(self, name) for name in names})


class Slo(Record):
    """What honest users were promised."""

    first_token_s: PositiveSeconds = Field(default=1.0, description="time to first token")
    per_token_s: PositiveSeconds = Field(default=0.1, description="time per output token after the first. Source: assumed")
    share: Share = Field(default=0.99, description="of requests that should have both. Source: assumed")


class ServingPrice(Record):
    """What the fleet costs."""

    price_usd_per_accelerator_s: UsdPerAcceleratorSecond | None = Field(
        default=None, description="of an accelerator with its node; absent: the catalog's on-demand price")


class ServingScenario(Record):
    """A model served to users: fleet, load, promises, threats and prices."""

    name: str = Field(min_length=1, max_length=200, description="what results are called")
    description: str | None = Field(default=None, description="free text")
    year: Count | None = Field(default=None, description="year of the fleet: of prices and grids")
    model: ModelRecord
    serving: Serving
    load: Load
    slo: Slo = Slo()
    attack: Attack | None = None
    defences: Defences = Defences()
    failures: FailureProfile
    facility: Place = Place()
    pricing: ServingPrice = ServingPrice()
    monte_carlo: MonteCarlo = MonteCarlo(trials=5)

    @model_validator(mode="after")
    def _sections_fit(self) -> ServingScenario:
        if central(self.load.warm_up_s) >= central(self.load.duration_s):
            raise FieldError("load.warm_up", "found a warm-up as long as the time in which requests come; allowed: less")
        self._defences_fit()
        check_correlations(self)
        return self

    def _defences_fit(self) -> None:
        serving, defences = self.serving, self.defences
        if self.attack is not None and self.attack.kind == "cache-thrash" and serving.prefix_cache is None:
            raise FieldError("attack.kind", "found 'cache-thrash' without a cache to thrash; allowed: with serving.prefix_cache")
        taken = [(name, getattr(defences, name)) for name in ("length_aware", "isolation")]
        own = {name: facts.replicas for name, facts in taken if facts is not None and facts.replicas}
        room = serving.pool.replicas - sum(tier.replicas for tier in serving.tiers) - 1
        for name, count in own.items():
            if count > room:
                raise FieldError(f"defences.{name}.replicas", f"found {count}; allowed: at most {max(0, room)}, so that one of "
                                                              f"serving.pool.replicas ({serving.pool.replicas}) is left")
            room -= count
        clash = {LONG, UNKNOWN} & {tier.name for tier in serving.tiers}
        if defences.chosen and clash:
            raise FieldError("serving.tiers", f"found the name {clash.pop()!r}, which a defence needs; allowed: another name")

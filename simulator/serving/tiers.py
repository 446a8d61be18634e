"""Tiers of a fleet with its defences: those of the file, then those that keep long answers or unknown users apart."""

from __future__ import annotations

from simulator.scenario.serving import LONG, UNKNOWN, ServingScenario, Tier


def with_tiers(scenario: ServingScenario) -> ServingScenario:
    """Return the scenario with the tiers that its defences add; no request is drawn into these, defences put them there."""
    serving, more = scenario.serving, tuple(_added(scenario))
    if not more or any(tier.name == more[-1].name for tier in serving.tiers):
        return scenario
    return scenario.model_copy(update={"serving": serving.model_copy(update={"tiers": (*serving.tiers, *more)})})


def _added(scenario: ServingScenario) -> list[Tier]:
    """Return tiers that go after those of the file: requests are taken from the first tier that has any."""
    long, apart = scenario.defences.length_aware, scenario.defences.isolation
    found = [] if long is None else [Tier(name=LONG, share=0.0, replicas=long.replicas)]
    return found + ([] if apart is None else [Tier(name=UNKNOWN, share=0.0, replicas=apart.replicas)])


def place_of(scenario: ServingScenario, name: str) -> int:
    """Return the number of a tier."""
    return [tier.name for tier in scenario.serving.tiers].index(name)

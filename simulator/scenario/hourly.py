"""What changes with the hour needs a date: rules between `calendar` and what else changes: events, caps, rules.

Series are checked where they are defined (`simulator.scenario.series.check_series`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simulator.scenario.checks import FieldError

if TYPE_CHECKING:
    from simulator.scenario.models import Scenario


def check_calendar(scenario: Scenario) -> None:
    """Raise FieldError where something changes with the hour and no date is given, or a rule has nothing to look at."""
    if scenario.calendar is None:
        for path in _hourly(scenario):
            raise FieldError("calendar", f"found none, but {path} changes with the hour; allowed: a section such as "
                                         "calendar: {start: 2024-06-01, time_zone: America/Chicago}")
    if scenario.pricing.electricity is None and scenario.pricing.owned is None:
        for i, policy in enumerate(scenario.policies):
            if policy.price_above_usd_per_j is not None:
                raise FieldError(f"policies.{i}.price_above", "found a rule on the price of electricity, which rent includes; "
                                                              "allowed: with pricing.electricity or pricing.owned")


def _hourly(scenario: Scenario) -> Iterator[str]:
    if scenario.policies:
        yield "policies"
    if scenario.facility.curtailment:
        yield "facility.curtailment"
    if scenario.facility.power_cap_w is not None:
        yield "facility.power_cap"
    if scenario.facility.oversubscription:
        yield "facility.oversubscription"
    electricity = scenario.pricing.electricity
    if electricity is not None and electricity.demand_charge_usd_per_w_s != 0.0:
        yield "pricing.electricity.demand_charge"

"""A record with fields that may hold a series, for tests."""

from __future__ import annotations

import math
from typing import Annotated, Any

from simulator.fields import Record
from simulator.scenario.series import Series, SeriesOrQuantity


class Fields(Record):
    """One field a kind."""

    price_usd_per_j: Annotated[float | Series, SeriesOrQuantity("money_per_energy", low=-math.inf)] = 0.0
    carbon_kgco2e_per_j: Annotated[float | Series, SeriesOrQuantity("carbon_per_energy")] = 0.0
    power_w: Annotated[float | Series, SeriesOrQuantity("power")] = 0.0
    temperature_degc: Annotated[float | Series, SeriesOrQuantity("temperature", low=-90.0, high=60.0)] = 18.0


def fields(**given: Any) -> Fields:
    """Return the record of what a file would say."""
    return Fields.model_validate(given)

"""Scaling laws: the loss that a model of so many parameters reaches on so many tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simulator.catalog.records import Sourced
from simulator.fields import Quantity, Ratio

_Above = Annotated[float, Quantity("ratio", above=True)]
_Exponent = Annotated[float, Quantity("ratio", high=2.0, above=True)]


class ScalingLaw(Sourced):
    """L(N, D) = E + A / N^alpha + B / D^beta, nats a token (Hoffmann et al. 2022, arXiv:2203.15556, equation 2).

    Keys as the paper writes them. A law of one's own may give distributions, each drawn apart from the others.
    """

    name: str = Field(default="own law", description="in reports")
    E: Ratio = Field(description="loss that no model goes below")
    A: _Above = Field(description="of the parameters N")
    B: _Above = Field(description="of the tokens D")
    alpha: _Exponent = Field(description="exponent of the parameters N")
    beta: _Exponent = Field(description="exponent of the tokens D")
    largest_parameters: _Above | None = Field(default=None, description="of the runs that it was fitted to")
    largest_tokens: _Above | None = Field(default=None, description="of the runs that it was fitted to")

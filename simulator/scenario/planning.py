"""What `clustercost plan` searches: what is least, what varies, and what must hold. A run takes no notice of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from simulator.fields import Record

Objective = Literal["time", "cost", "energy", "carbon"]
OBJECTIVES: tuple[Objective, ...] = ("time", "cost", "energy", "carbon")


class Planning(Record):
    """A search over choices, as options of `clustercost plan` write it; options go before what stands here."""

    minimise: Objective = Field(default="cost", description="mean over runs of what is least")
    over: tuple[str, ...] = Field(
        default=(), description="what varies, as `--over` takes it: `cluster.spares=0..64`, `checkpoint.mode=sync,async`")
    subject_to: tuple[str, ...] = Field(
        default=(), description="what must hold beside the goals, as `--subject-to` takes it: `availability >= 99 %`")

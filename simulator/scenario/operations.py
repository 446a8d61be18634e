"""How a cluster is run: copies of state, slow nodes, elasticity, maintenance, growth."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.fields import Count, PositiveSeconds, Quantity, Record, Seconds, Share
from simulator.scenario.checks import FieldError, central


class Copies(Record):
    """Copies of the state nearer than storage, taken more often than checkpoints."""

    interval_s: PositiveSeconds = Field(description="computing time between copies")
    stall_s: Seconds = Field(default=0.0, description="a copy stalls the job for")
    load_s: Seconds = Field(description="to restart from one, all ranks")
    nodes: Count = Field(default=1, description="nodes that may be lost at once where copies lie in peers' memory")


class SlowNodes(Record):
    """What is done about a node that turned slow."""

    action: Literal["none", "evict"] = Field(default="none", description="nothing, or `evict`: save nothing, restart without it")
    detection_s: Seconds = Field(default=600.0, description="until a slow node is found. Source: assumed")


class Elasticity(Record):
    """What the job does without enough nodes."""

    action: Literal["wait", "shrink", "smaller-batch"] = Field(
        default="wait", description="wait for nodes, or go on with the data-parallel replicas that are whole and grow back: "
                                    "they take over the others' microbatches (`shrink`), or the batch is smaller meanwhile")
    patience_s: Seconds = Field(default=600.0, description="waits so long for nodes before it shrinks. Source: assumed")
    least: Share = Field(default=0.5, description="share of replicas with which it goes on; below it waits. Source: assumed")


class Maintenance(Record):
    """Planned windows in which the job stands: it saves before and restarts after."""

    every_s: PositiveSeconds = Field(description="from the start of one window to the next; the first comes after this time")
    duration_s: PositiveSeconds = Field(description="of a window; the job saves before and restarts after it")

    @model_validator(mode="after")
    def _windows_do_not_meet(self) -> Maintenance:
        if central(self.duration_s) >= central(self.every_s):
            raise FieldError("duration", f"found {central(self.duration_s):g} s with windows every {central(self.every_s):g} s; "
                                         "allowed: less than that")
        return self


class Growth(Record):
    """A planned extension: from then on the job has more accelerators, all in data-parallel replicas."""

    at_s: PositiveSeconds = Field(description="after the start")
    accelerators: Annotated[int, Quantity("count", low=1, high=1e9, whole=True)] = Field(
        description="that train from then on; the job restarts with them")

"""States of a job: every second of a run is booked to one of them, and all sums are derived from those seconds."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """What the job's accelerators do; rows of the seconds that `kernels.job` books, in its order."""

    PRODUCTIVE = 0  # work that is in the final model, stragglers included (they are split off at settlement)
    CHECKPOINT_STALL = 1  # stalled while a checkpoint or copy is taken
    CHECKPOINT_SLOWDOWN = 2  # lost to writing a checkpoint beside computing
    LOST = 3  # work done and lost to a failure
    DETECT = 4  # failed, not yet known, or not yet known where
    WAIT_FOR_SPARES = 5  # too few healthy nodes
    RESTART = 6  # replace, initialise, load, warm up
    DEGRADED = 7  # added to steps by slow nodes, hour and season
    REDUCED = 8  # added to steps by replicas left out
    MAINTENANCE = 9  # planned pauses
    NETWORK_STALL = 10  # stalled by a network that flaps
    CURTAILED = 11  # paused for the price, the carbon or the power of an hour


STATES = tuple(state.name.lower() for state in State)

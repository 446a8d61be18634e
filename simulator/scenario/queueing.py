"""The scenario of a jobs file: many jobs that share one cluster under a scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from simulator.catalog.records import FailureProfile
from simulator.errors import unknown_name
from simulator.fields import (
    Count,
    CountOrZero,
    PerSecond,
    PositiveSeconds,
    RandomSeconds,
    Ratio,
    RatioFromOne,
    Record,
    Seconds,
    Share,
)
from simulator.scenario.checks import FieldError, central
from simulator.scenario.facility import Place
from simulator.scenario.models import Cluster
from simulator.scenario.monte_carlo import MonteCarlo, check_correlations
from simulator.scenario.pricing import Rental
from simulator.scenario.series import Series


class Scheduler(Record):
    """Who runs next."""

    policy: Literal["fifo", "priority", "backfill"] = Field(
        default="backfill", description="fifo: strictly in order of submission; priority: strictly by priority; backfill: by "
                                        "priority, and others may run first where they do not delay the first in line (EASY)")
    preemption: bool = Field(default=False, description="a job takes the nodes of jobs of lower priority")
    preempted: Literal["requeue", "checkpoint"] = Field(
        default="requeue", description="what a pre-empted job loses: its work since the last checkpoint, or nothing, as it "
                                       "writes one before it gives up its nodes")
    protected_s: Seconds = Field(default=0.0, description="time that a job has run before it may be pre-empted")

    @model_validator(mode="after")
    def _preemption_needs_priority(self) -> Scheduler:
        if self.preemption and self.policy == "fifo":
            raise FieldError("preemption", "found true with policy 'fifo'; allowed: false, or policy: priority or backfill")
        return self


class SizeShare(Record):
    """One size of the jobs of a class, and how often it comes."""

    accelerators: Count
    weight: Ratio = 1.0


class JobClass(Record):
    """Jobs of one kind: how they arrive, and what they do about failures."""

    name: str = Field(min_length=1, max_length=60)
    arrivals_per_s: PerSecond | None = Field(
        default=None, description="mean rate of a Poisson process; absent: only for jobs of `trace` and `given`")
    accelerators: Count | None = Field(default=None, description="of every job; whole nodes are allocated")
    sizes: tuple[SizeShare, ...] = Field(default=(), description="instead: several sizes with weights")
    duration_s: RandomSeconds | None = Field(default=None, description="computing time without failures and checkpoints")
    longest_s: PositiveSeconds | None = Field(default=None, description="limit at which longer durations are cut")
    priority: CountOrZero = Field(default=0, description="higher goes first")
    checkpoint_interval_s: PositiveSeconds | None = Field(
        default=None, description="computing time between checkpoints; absent: none are written")
    checkpoint_time_s: Seconds = Field(default=0.0, description="stall of one checkpoint")
    restart_s: RandomSeconds | None = Field(
        default=None, description="from nodes to computing again; absent: `initialisation` of the failure profile")
    walltime_factor: RatioFromOne = Field(default=1.0, description="time asked of the scheduler over the time needed")

    @model_validator(mode="after")
    def _arrivals_are_whole(self) -> JobClass:
        if self.accelerators is not None and self.sizes:
            raise FieldError("sizes", "found 'sizes' beside 'accelerators'; allowed: one of the two")
        if self.sizes and sum(central(size.weight) for size in self.sizes) <= 0.0:
            raise FieldError("sizes", "found weights that sum to 0; allowed: at least one weight above 0")
        if self.arrivals_per_s is not None:
            if self.accelerators is None and not self.sizes:
                raise FieldError("", "missing key 'accelerators' or 'sizes' beside 'arrivals'")
            if self.duration_s is None:
                raise FieldError("", "missing key 'duration' beside 'arrivals'; allowed: a time such as '3 h', or a "
                                     "distribution")
        return self

    def mix(self) -> tuple[SizeShare, ...]:
        """Return the sizes with their weights."""
        return self.sizes if self.accelerators is None else (SizeShare(accelerators=self.accelerators),)


class GivenJob(Record):
    """One job, written out."""

    name: str | None = None
    submit_s: Seconds
    accelerators: Count
    duration_s: PositiveSeconds
    walltime_s: PositiveSeconds | None = Field(default=None, description="asked of the scheduler; absent: of its class")
    priority: CountOrZero | None = Field(default=None, description="absent: of its class")
    class_: str | None = None


class Jobs(Record):
    """Where jobs come from: a trace, classes that arrive at random, a list; or several of these."""

    trace: str | None = Field(default=None, min_length=1, description="CSV file, relative to the scenario file")
    classes: tuple[JobClass, ...] = ()
    given: tuple[GivenJob, ...] = ()
    power: Share = Field(default=0.75, description="mean power of accelerators that compute, share of their limit; Epoch AI "
                                                   "takes 0.75 of rated power (arXiv:2405.21015)")

    @model_validator(mode="after")
    def _some_jobs(self) -> Jobs:
        names = [job_class.name for job_class in self.classes]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise FieldError(f"classes.{i}.name", f"found {name!r} a second time; allowed: each name once")
        for i, job in enumerate(self.given):
            if job.class_ is not None and names and job.class_ not in names:
                raise FieldError(f"given.{i}.class", unknown_name("class of jobs", job.class_, names))
        if self.trace is None and not self.given and all(c.arrivals_per_s is None for c in self.classes):
            raise FieldError("", "found no jobs; allowed: 'trace', 'given', or 'classes' of which one has 'arrivals'")
        return self


class RentOnly(Record):
    """What an accelerator-hour costs."""

    rental: Rental = Rental()

    @model_validator(mode="after")
    def _one_price(self) -> RentOnly:
        for path, _, price, term_s in self.rental.terms():
            if isinstance(price, Series):
                raise FieldError(f"rental.{path}price", "found a series; allowed for jobs: a price such as '2.5 USD/h'")
            if term_s != 0.0:
                raise FieldError(f"rental.{path}term", "found a term; allowed for jobs: none, as a cluster of jobs has no end")
        return self


class QueueScenario(Record):
    """Jobs that share a cluster: machine, failures, scheduler, jobs and the time simulated."""

    name: str = Field(min_length=1, max_length=200)
    description: str | None = None
    cluster: Cluster
    failures: FailureProfile
    facility: Place = Place()
    pricing: RentOnly = RentOnly()
    scheduler: Scheduler = Scheduler()
    jobs: Jobs
    horizon_s: PositiveSeconds = Field(description="time simulated, from an empty cluster")
    warm_up_s: Seconds = Field(default=0.0, description="time at the start that no summary counts")
    monte_carlo: MonteCarlo = MonteCarlo(trials=20)

    @model_validator(mode="after")
    def _sections_fit(self) -> QueueScenario:
        most = self.cluster.accelerators
        for path, accelerators in self._sizes():
            if accelerators > most:
                raise FieldError(path, f"found {accelerators}; allowed: at most the {most} accelerators of the cluster")
        if central(self.warm_up_s) >= central(self.horizon_s):
            raise FieldError("warm_up", f"found {central(self.warm_up_s):g} s; allowed: less than the horizon, "
                                        f"{central(self.horizon_s):g} s")
        check_correlations(self)
        return self

    def _sizes(self) -> Iterator[tuple[str, int]]:
        for i, job_class in enumerate(self.jobs.classes):
            if job_class.accelerators is not None:
                yield f"jobs.classes.{i}.accelerators", job_class.accelerators
            for k, size in enumerate(job_class.sizes):
                yield f"jobs.classes.{i}.sizes.{k}.accelerators", size.accelerators
        for i, job in enumerate(self.jobs.given):
            yield f"jobs.given.{i}.accelerators", job.accelerators

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
        default="backfill", description="`fifo`: strictly in order of submission; `priority`: strictly by priority, then "
                                        "submission; `backfill`: in that order, and others first where by the times asked for "
                                        "they do not delay the first in line (EASY)")
    preemption: bool = Field(
        default=False, description="the first in line takes nodes of jobs of lower priority: of the lowest, of equal ones the "
                                   "youngest; not with `fifo`")
    preempted: Literal["requeue", "checkpoint"] = Field(
        default="requeue", description="`requeue`: work since the last checkpoint is lost; `checkpoint`: one is written first, "
                                       "if the class writes any")
    protected_s: Seconds = Field(default=0.0, description="that a job has run before it may be pre-empted")

    @model_validator(mode="after")
    def _preemption_needs_priority(self) -> Scheduler:
        if self.preemption and self.policy == "fifo":
            raise FieldError("preemption", "found true with policy 'fifo'; allowed: false, or policy: priority or backfill")
        return self


class SizeShare(Record):
    """One size of the jobs of a class, and how often it comes."""

    accelerators: Count = Field(description="of a job of this size")
    weight: Ratio = Field(default=1.0, description="how often it comes, against the other sizes")


class JobClass(Record):
    """Jobs of one kind: how they arrive, and what they do about failures."""

    name: str = Field(min_length=1, max_length=60, description="each name once")
    arrivals_per_s: PerSecond | None = Field(
        default=None, description="mean rate of a Poisson process (`40 per day`); absent: none, facts for jobs of `trace` and "
                                  "`given`")
    accelerators: Count | None = Field(default=None, description="of every job; or `sizes`")
    sizes: tuple[SizeShare, ...] = Field(default=(), description="instead: several sizes with weights")
    duration_s: RandomSeconds | None = Field(
        default=None, description="of computing, without failures and checkpoints, drawn for every job")
    longest_s: PositiveSeconds | None = Field(default=None, description="to which longer durations, and times asked for, are cut")
    priority: CountOrZero = Field(default=0, description="higher goes first")
    checkpoint_interval_s: PositiveSeconds | None = Field(
        default=None, description="computing time between checkpoints; absent: none, so a failure loses all")
    checkpoint_time_s: Seconds = Field(default=0.0, description="that one stalls")
    restart_s: RandomSeconds | None = Field(
        default=None, description="from nodes to computing again; absent: the profile's `initialisation` and `warm_up`")
    walltime_factor: RatioFromOne = Field(
        default=1.0, description="time asked of the scheduler over time needed; asking too little ends no job")

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

    name: str | None = Field(default=None, description="of the job")
    submit_s: Seconds = Field(description="when it is submitted, from the start")
    accelerators: Count = Field(description="that it needs")
    duration_s: PositiveSeconds = Field(description="of computing")
    walltime_s: PositiveSeconds | None = Field(default=None, description="asked of the scheduler; absent: by its class")
    priority: CountOrZero | None = Field(default=None, description="higher goes first; absent: its class's")
    class_: str | None = Field(default=None, description="one of `jobs.classes`")


class Jobs(Record):
    """Where jobs come from: a trace, classes that arrive at random, a list; or several of these."""

    trace: str | None = Field(default=None, min_length=1, description="CSV file, relative to the scenario file")
    classes: tuple[JobClass, ...] = Field(default=(), description="of jobs")
    given: tuple[GivenJob, ...] = Field(default=(), description="jobs written out")
    power: Share = Field(
        default=0.75, description="mean power of accelerators that compute, share of their TDP. Source: Epoch AI, "
                                  "arXiv:2405.21015")

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

    name: str = Field(min_length=1, max_length=200, description="what results are called")
    description: str | None = Field(default=None, description="free text")
    cluster: Cluster
    failures: FailureProfile
    facility: Place = Place()
    pricing: RentOnly = RentOnly()
    scheduler: Scheduler = Scheduler()
    jobs: Jobs
    horizon_s: PositiveSeconds = Field(description="simulated, from an empty cluster")
    warm_up_s: Seconds = Field(default=0.0, description="at the start, counted in no summary; rows of single jobs are whole")
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

"""Turns observations from outside into numbers: jobs lost, answered twice, run too often, late."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.chaos.engines import Generation
from benchmarks.chaos.load import Submitted
from benchmarks.chaos.recorder import ANSWERED, Recorder
from benchmarks.chaos.workers import Death

#: The longest time between storing an answer and the recorder's seeing it.
SEEN_LATE_SECONDS = 0.3


@dataclass(frozen=True)
class Measure:
    """One number of a case; `limit` is the largest allowed value, None for a number without one."""

    name: str
    value: float
    limit: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether the bound holds; nan breaks every bound."""
        return self.limit is None or self.value <= self.limit


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed; nan without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def lost(recorder: Recorder, jobs: Iterable[str]) -> dict[str, str]:
    """Healthy jobs that have no answer or ended in a failure, each with its outcome."""
    found = {}
    for job in jobs:
        finals = [one for one in recorder.history(job) if one.status in ANSWERED]
        if not finals:
            found[job] = "no answer"
        elif finals[-1].status != "SUCCESS":
            found[job] = f"{finals[-1].status} {kind_of(finals[-1].result)}"
    return found


def some(found: Mapping[str, str]) -> str:
    """The first three of `found`, for a note."""
    return "; ".join(f"{job[:8]}: {what}" for job, what in list(found.items())[:3])


def kind_of(result: object) -> str:
    """The name of the error's class in a stored failure."""
    return str(result.get("exc_type", "?")) if isinstance(result, dict) else "?"


def answered_differently(recorder: Recorder, jobs: Iterable[str]) -> list[str]:
    """Jobs for which two final values with different content were stored."""
    return [
        job
        for job in jobs
        if len({one.content for one in recorder.history(job) if one.status in ANSWERED}) > 1
    ]


def stored_again(recorder: Recorder, jobs: Iterable[str]) -> list[str]:
    """Jobs of which one answer was announced more than once: harmless, but worth knowing."""
    found = []
    for job in jobs:
        finals = [o.content for o in recorder.history(job) if o.status in ANSWERED and o.announced]
        if len(finals) > len(set(finals)):
            found.append(job)
    return found


def runs_per_job(generations: Iterable[Generation]) -> dict[str, list[Generation]]:
    """Generations by job, in order of time."""
    found: dict[str, list[Generation]] = defaultdict(list)
    for one in sorted(generations, key=lambda one: one.began):
        found[one.job].append(one)
    return found


@dataclass(frozen=True)
class RunAgain:
    """A repeated generation of a job; `after` is the death that explains it, or None."""

    run: Generation
    earlier: Generation
    after: Death | None

    @property
    def wait_seconds(self) -> float:
        """Seconds from the death to the new run; nan without a death."""
        return self.run.began - self.after.at if self.after else math.nan


def runs_again(
    generations: Iterable[Generation], deaths: Sequence[Death], recorder: Recorder
) -> list[RunAgain]:
    """All repeated runs of all jobs. Only a death of the job's worker explains one: after the
    earlier run began, before the new run began, and not after the answer was stored."""
    found = []
    for job, runs in runs_per_job(generations).items():
        answer = recorder.answer(job)
        stored = answer.at + SEEN_LATE_SECONDS if answer else math.inf
        for earlier, run in pairwise(runs):
            until = min(run.began, stored)
            deaths_between = [
                d for d in deaths if d.worker == earlier.engine and earlier.began <= d.at <= until
            ]
            found.append(RunAgain(run, earlier, deaths_between[0] if deaths_between else None))
    return found


def hits(generations: Iterable[Generation], deaths: Sequence[Death]) -> Counter[str]:
    """How many generations of each job were under way when their worker died."""
    found: Counter[str] = Counter()
    for one in generations:
        end = math.inf if one.ended is None else one.ended + SEEN_LATE_SECONDS
        found[one.job] += any(d.worker == one.engine and one.began <= d.at <= end for d in deaths)
    return found


def waits_for_first(generations: Iterable[Generation], jobs: Iterable[Submitted]) -> list[float]:
    """Seconds from each job's submission to its first request. A job that no living worker took
    (the pop's reply was lost, or the worker was killed after it) waits for a whole lease."""
    first = {job: runs[0].began for job, runs in runs_per_job(generations).items()}
    return [first[one.ask.job] - one.began for one in jobs if one.ask.job in first]

"""Takes Redis away under load: restarted, killed, cut off, stalled, frozen, gone for a minute.

No job whose `.delay()` returned is lost; a job submitted after Redis has returned is answered
within 15 s. An outage shorter than the lease makes no job run again. The minute, which is longer,
may do so, but still only one answer is stored. A stall is longer than one socket timeout and
shorter than two: Redis executes the command, its reply is late, and the client sends it again.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import redis

from benchmarks.chaos import judge
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.load import Stream
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site

CONSUMING_LIMIT_SECONDS = 15.0
JOB_PAUSE_SECONDS = 0.2
STALL_PRODUCERS = 3


@dataclass(frozen=True)
class Size:
    """The number of absences of each kind, and the lengths of a lease and of the long absences."""

    restarts: int
    cuts: int
    stalls: int
    lease_seconds: int
    outage_seconds: float
    frozen_seconds: float
    seed: int = 20251122


@dataclass(frozen=True)
class Absence:
    """One absence of Redis; `answered` is when a job submitted after `back` had its answer."""

    how: str
    began: float
    back: float
    answered: float | None

    @property
    def wait_seconds(self) -> float:
        """Seconds from the return to the answer; infinite when no answer came in time."""
        return self.answered - self.back if self.answered else float("inf")


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(4, 2, 4, 20, 30.0, 12.0) if short else Size(20, 5, 10, 20, 60.0, 12.0)
    with Site(Plan(redis_port, size.lease_seconds, workers=2)) as site:
        site.supervisor.start(0, 1)
        absences = _play(site, size)
        outcome = _judge(site, absences)
        site.keep = not outcome.kept
        events = [
            {
                "event": "redis",
                "how": a.how,
                "at": a.began,
                "ended_at": a.back,
                "wait": a.wait_seconds,
            }
            for a in absences
        ]
        write_raw("redis", site, events)
    return outcome


def _play(site: Site, size: Size) -> list[Absence]:
    chance = random.Random(size.seed)
    done = []

    def make(job: str) -> Ask:
        return Ask(job, chance.uniform(0.05, 2.0))

    with Stream(site.submitter, make, pause_seconds=JOB_PAUSE_SECONDS):
        site.run_for(3)
        for _ in range(size.cuts):
            done.append(_absence(site, "cut", lambda: _cut(site)))
            site.run_for(chance.uniform(1, 3))
        done += _restarts(site, size, chance)
        done += _stalls(site, size, chance)
        _long_jobs(site, 2 * size.frozen_seconds)
        done.append(_absence(site, "frozen", lambda: _freeze(site, size.frozen_seconds)))
        _long_jobs(site, 1.5 * size.outage_seconds)
        done.append(_absence(site, "outage", lambda: _restart(site, "killed", size.outage_seconds)))
        site.run_for(3)
    site.until_answered(60 + 3 * size.lease_seconds + 1.5 * size.outage_seconds)
    site.run_for(size.lease_seconds + 5)  # a job that would run again does so now
    site.recorder.read_once_more()
    return done


def _restarts(site: Site, size: Size, chance: random.Random) -> list[Absence]:
    done = []
    for number in range(size.restarts):
        how = "terminated" if number % 2 == 0 else "killed"
        happen = partial(_restart, site, how, chance.uniform(1, 3))
        done.append(_absence(site, how, happen))
        site.run_for(chance.uniform(1, 4))
    return done


def _stalls(site: Site, size: Size, chance: random.Random) -> list[Absence]:
    """Stall Redis, with more producers, so that a call is under way at each stall."""
    done = []
    with ExitStack() as streams:
        for _ in range(STALL_PRODUCERS):
            streams.enter_context(Stream(site.submitter, _short, pause_seconds=JOB_PAUSE_SECONDS))
        for _ in range(size.stalls):
            site.run_for(chance.uniform(0.5, 2))
            happen = partial(_freeze, site, chance.uniform(1.1, 1.8))
            done.append(_absence(site, "stalled", happen))
    return done


def _short(job: str) -> Ask:
    return Ask(job, 0.1)


def _long_jobs(site: Site, seconds: float) -> None:
    """Start two jobs that run from before an absence until after it."""
    jobs = [site.submitter.submit(lambda job: Ask(job, seconds)).ask.job for _ in range(2)]
    site.until(lambda: set(jobs) <= site.running().keys(), 10)
    site.run_for(1)


def _absence(site: Site, how: str, happen: Callable[[], None]) -> Absence:
    """Cause the absence, then wait for the answer to a job submitted after the return."""
    began = time.monotonic()
    happen()
    back = time.monotonic()
    found: list[float] = []

    def answered() -> bool:
        later = [one for one in site.submitter.accepted if one.began >= back]
        found.extend(a.at for one in later if (a := site.recorder.answer(one.ask.job)))
        return bool(found)

    site.until(answered, 60)
    return Absence(how, began, back, min(found, default=None))


def _restart(site: Site, how: str, away_seconds: float) -> None:
    if how == "killed":
        site.redis.kill()
    else:
        site.redis.stop()
    site.run_for(away_seconds)
    site.redis.start()


def _cut(site: Site) -> None:
    """Send CLIENT KILL for all connections of workers, producer and watcher alike."""
    with redis.Redis.from_url(site.redis.url) as client:
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def _freeze(site: Site, seconds: float) -> None:
    """Stop Redis: it keeps its connections and answers nothing, like a link gone silent."""
    os.kill(site.redis.pid, signal.SIGSTOP)
    try:
        site.run_for(seconds)
    finally:
        os.kill(site.redis.pid, signal.SIGCONT)


def _judge(site: Site, absences: list[Absence]) -> Outcome:
    accepted = [one.ask.job for one in site.submitter.accepted]
    everyone = [one.ask.job for one in site.submitter.all]
    gone = judge.lost(site.recorder, accepted)
    differing = judge.answered_differently(site.recorder, everyone)
    again = judge.runs_again(site.generations(), site.supervisor.deaths, site.recorder)
    long = [(a.began, a.back + 1) for a in absences if a.how == "outage"]
    in_outage = [r for r in again if any(a <= r.run.began <= b + 60 for a, b in long)]
    extra = [one for one in again if one not in in_outage]
    notes = "; ".join(
        f"{one.run.job[:8]} at {one.earlier.began - site.began:.1f} "
        f"and {one.run.began - site.began:.1f}"
        for one in extra[:3]
    )
    measures = [
        Measure("jobs accepted", len(accepted)),
        Measure("calls that raised broker_unreachable", len(everyone) - len(accepted)),
        Measure("lost", len(gone), 0, note=judge.some(gone)),
        Measure("stored twice with different content", len(differing), 0),
        Measure("runs again, outages shorter than the lease", len(extra), 0, note=notes),
        Measure("runs again, the long outage", len(in_outage)),
        Measure("workers that ended", len(site.supervisor.deaths), 0),
    ]
    measures.append(
        Measure(
            "submit to first request, most",
            max(judge.waits_for_first(site.generations(), site.submitter.accepted), default=0.0),
            None,
            "s",
        )
    )
    for how in ("cut", "terminated", "killed", "stalled", "frozen", "outage"):
        waits = [a.wait_seconds for a in absences if a.how == how]
        name = f"{how} x {len(waits)}: return to an answer, most"
        measures.append(Measure(name, max(waits), CONSUMING_LIMIT_SECONDS, "s"))
    return Outcome("redis", measures, details={"lost": gone, "differing": differing})

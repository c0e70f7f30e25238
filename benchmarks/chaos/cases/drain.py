"""Stops a worker (SIGTERM) with four jobs running while another worker is up.

The short jobs end where they are; the long ones are put back after DRAIN_SECONDS and run at once at
the other worker. The scripted engine answers a second run quickly, to save time.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from benchmarks.chaos import judge
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.load import Make
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site

DRAIN_SECONDS = 8
GONE_LIMIT_SECONDS = DRAIN_SECONDS + 10.0
AGAIN_LIMIT_SECONDS = 3.0
JOB_SECONDS = (3.0, 6.0, 40.0, 60.0)
LEASE_SECONDS = 20


@dataclass(frozen=True)
class Round:
    """One drain: seconds from SIGTERM to the end of the process, and from the end of each long
    job's first run to its next run."""

    gone_seconds: float
    again_seconds: list[float]
    short_runs: int
    exit_code: str


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    environment = {"DRAIN_SECONDS": str(DRAIN_SECONDS)}
    with Site(Plan(redis_port, LEASE_SECONDS, workers=2, environment=environment)) as site:
        site.supervisor.start(0)
        rounds = [_round(site, number % 2) for number in range(2 if short else 10)]
        site.run_for(LEASE_SECONDS + 5)  # a job that would run again does so now
        site.recorder.read_once_more()
        outcome = _judge(site, rounds)
        site.keep = not outcome.kept
        write_raw("drain", site)
    return outcome


def _round(site: Site, old: int) -> Round:
    """Fill one worker while the other is frozen; then stop the first."""
    other = site.supervisor.workers[1 - old]
    site.supervisor.start(1 - old)
    other.signal(signal.SIGSTOP)
    jobs = [
        site.submitter.submit(_asking(seconds)).ask.job
        for seconds in sorted(JOB_SECONDS, reverse=True)
    ][::-1]
    site.until(lambda: set(jobs) <= site.running().keys(), 2 * AGAIN_LIMIT_SECONDS)
    other.signal(signal.SIGCONT)
    told = time.monotonic()
    site.supervisor.terminate(old)
    deaths = len(site.supervisor.deaths)
    site.until(lambda: len(site.supervisor.deaths) > deaths, 3 * GONE_LIMIT_SECONDS)
    gone = time.monotonic() - told
    if len(site.supervisor.deaths) == deaths:
        site.supervisor.kill(old)
    site.until(lambda: not site.recorder.unanswered(jobs), 3 * LEASE_SECONDS)
    runs = judge.runs_per_job(site.generations())
    again = [
        (runs[job][1].began - (runs[job][0].ended or 0.0)) if len(runs[job]) > 1 else float("inf")
        for job in jobs[2:]
    ]
    last = site.supervisor.deaths[-1].how if len(site.supervisor.deaths) > deaths else "killed"
    return Round(gone, again, sum(len(runs[job]) - 1 for job in jobs[:2]), last)


def _asking(seconds: float) -> Make:
    return lambda job: Ask(job, seconds, again_seconds=0.5)


def _judge(site: Site, rounds: list[Round]) -> Outcome:
    jobs = [one.ask.job for one in site.submitter.accepted]
    runs = judge.runs_per_job(site.generations())
    gone = judge.lost(site.recorder, jobs)
    differing = judge.answered_differently(site.recorder, jobs)
    long = {one.ask.job for one in site.submitter.accepted if one.ask.seconds > DRAIN_SECONDS}
    most = max((len(runs[job]) for job in long), default=0)
    leaving = [one.gone_seconds for one in rounds]
    again = [seconds for one in rounds for seconds in one.again_seconds]
    bad_exits = [one.exit_code for one in rounds if one.exit_code != "exit 0"]
    measures = [
        Measure("drains", len(rounds)),
        Measure("jobs not answered", len(gone), 0, note=judge.some(gone)),
        Measure("stored twice with different content", len(differing), 0),
        Measure("short jobs that ran again", sum(one.short_runs for one in rounds), 0),
        Measure("runs of a job that was put back, most", most, 2),
        Measure("SIGTERM to gone, p50", judge.percentile(leaving, 50), None, "s"),
        Measure("SIGTERM to gone, most", max(leaving), GONE_LIMIT_SECONDS, "s"),
        Measure("put back to run again, p50", judge.percentile(again, 50), None, "s"),
        Measure("put back to run again, most", max(again), AGAIN_LIMIT_SECONDS, "s"),
        Measure("exit codes other than 0", len(bad_exits), None, note=", ".join(set(bad_exits))),
    ]
    return Outcome("drain", measures, details={"lost": gone, "differing": differing})

"""Kills workers (SIGKILL) in the middle of jobs of several steps, while urgent jobs overtake them.

Each line of a prompt is a step of its own, which the engine sees as a job `<task id>/<number>`. A
kill may cost a job the step that it hit, and no other; without a kill no step runs twice.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.chaos import judge
from benchmarks.chaos.judge import Measure, RunAgain
from benchmarks.chaos.load import Stream
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from local_llm_service.worker.store.bounds import YIELDS_MOST
from local_llm_service.worker.store.keys import Keys

#: A job may be hit more often than usual: it runs for long, and this case is about its steps.
ENVIRONMENT = {"CHAOS_STEPS": "1", "MAX_CRASHES": "20"}


@dataclass(frozen=True)
class Size:
    """The numbers of jobs, their steps and kills; seconds of a lease, of the longest step, and
    between two kills."""

    jobs: int
    steps: int
    kills: int
    lease_seconds: int
    step_seconds: float = 1.0
    gap_seconds: tuple[float, float] = (3.0, 9.0)
    workers: int = 3
    seed: int = 20261128


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(16, 8, 3, 5, 0.4, (2.0, 4.0)) if short else Size(80, 12, 30, 20)
    plan = Plan(redis_port, size.lease_seconds, size.workers, slots=2, environment=ENVIRONMENT)
    with Site(plan) as site:
        return play(site, size)


def play(site: Site, size: Size) -> Outcome:
    """Start the workers of a site, ask, kill, and judge."""
    chance = random.Random(size.seed)
    site.supervisor.start(*range(size.workers))

    def long(job: str) -> Ask:
        return Ask(job, chance.uniform(0.05, size.step_seconds), steps=size.steps)

    pause_seconds = size.kills * sum(size.gap_seconds) / 2 / size.jobs
    with Stream(site.submitter, long, pause_seconds=pause_seconds, count=size.jobs) as stream:
        for _ in range(size.kills):
            site.run_for(chance.uniform(*size.gap_seconds))
            site.submitter.submit(lambda job: Ask(job, 0.1), priority="high")
            site.supervisor.kill(chance.randrange(size.workers))
        site.until(lambda: stream.over, 120)
    site.until_answered(240 + 3 * size.lease_seconds)
    site.run_for(size.lease_seconds)  # a job that would run again does so now
    site.recorder.read_once_more()
    outcome = _judge(site, size)
    site.keep = not outcome.kept
    write_raw("long-jobs", site)
    return outcome


def _judge(site: Site, size: Size) -> Outcome:
    jobs = [one.ask.job for one in site.submitter.accepted]
    killed = [death for death in site.supervisor.deaths if death.how == "kill"]
    again = judge.runs_again(site.generations(), killed, site.recorder)
    unexplained = [one for one in again if one.after is None]
    by_kill = Counter(
        (_job_of(one), one.after.worker, one.after.at) for one in again if one.after is not None
    )
    gone, differing = (
        judge.lost(site.recorder, jobs),
        judge.answered_differently(site.recorder, jobs),
    )
    yields = _yields(site, jobs)
    measures = [
        Measure("jobs accepted", len(jobs)),
        Measure("kills", len(killed)),
        Measure("kills missed", size.kills - len(killed), 0),
        Measure("lost", len(gone), 0, note=judge.some(gone)),
        Measure("stored twice with different content", len(differing), 0),
        Measure("steps generated again", len(again)),
        Measure("  that no kill explains", len(unexplained), 0),
        Measure("  for one job and one kill, most", max(by_kill.values(), default=0), 1),
        Measure("jobs that made room for urgent ones", sum(one > 0 for one in yields.values())),
        Measure("  times, most", max(yields.values(), default=0), YIELDS_MOST),
    ]
    return Outcome("long_jobs", measures, details={"lost": gone, "differing": differing})


def _job_of(one: RunAgain) -> str:
    return one.run.job.partition("/")[0]


def _yields(site: Site, jobs: list[str]) -> Mapping[str, int]:
    """How often each job made room, by its record."""
    from local_llm_service.worker.store.store import process_store

    client, keys = process_store().client, Keys()
    return {job: int(client.hget(keys.job(job), "yields") or 0) for job in jobs}  # type: ignore[arg-type]

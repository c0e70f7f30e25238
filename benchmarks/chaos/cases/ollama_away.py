"""Kills and restarts the engine under load: open requests are reset and new ones refused."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.chaos import judge
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.load import Stream
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site

TAKEN_LIMIT_SECONDS = 5.0
JOB_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Size:
    """The number of restarts and the length of a lease."""

    restarts: int
    lease_seconds: int
    seed: int = 20251122


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(4, 5) if short else Size(20, 20)
    with Site(Plan(redis_port, size.lease_seconds)) as site:
        site.supervisor.start(0)
        _play(site, size)
        outcome = _judge(site)
        site.keep = not outcome.kept
        engine = site.engines[0]
        events = [
            {"event": "engine", "at": stopped, "ended_at": started}
            for stopped, started in zip(engine.stopped_at, engine.started_at[1:], strict=False)
        ]
        write_raw("ollama", site, events)
    return outcome


def _play(site: Site, size: Size) -> None:
    chance = random.Random(size.seed)
    engine = site.engines[0]

    def make(job: str) -> Ask:
        return Ask(job, chance.uniform(0.05, 1.0))

    with Stream(site.submitter, make, pause_seconds=JOB_PAUSE_SECONDS):
        for _ in range(size.restarts):
            site.run_for(chance.uniform(2, 5))
            engine.stop()
            site.run_for(chance.uniform(0.5, 5))
            engine.start()
        site.run_for(TAKEN_LIMIT_SECONDS + 1)
    site.until_answered(120)
    site.recorder.read_once_more()


def _judge(site: Site) -> Outcome:
    jobs = [one.ask.job for one in site.submitter.accepted]
    gone = judge.lost(site.recorder, jobs)
    differing = judge.answered_differently(site.recorder, jobs)
    engine = site.engines[0]
    began = [one.began for one in engine.generations()]
    waits = [
        min((at for at in began if at >= back), default=float("inf")) - back
        for back in engine.started_at[1:]
    ]
    runs = judge.runs_per_job(engine.generations())
    measures = [
        Measure("jobs accepted", len(jobs)),
        Measure("failed or lost", len(gone), 0, note=judge.some(gone)),
        Measure("stored twice with different content", len(differing), 0),
        Measure("runs of one job, most", max(map(len, runs.values()), default=0)),
        Measure("workers that ended", len(site.supervisor.deaths), 0),
        Measure(
            f"return to a request, {len(waits)} times, p50", judge.percentile(waits, 50), None, "s"
        ),
        Measure("return to a request, most", max(waits), TAKEN_LIMIT_SECONDS, "s"),
    ]
    return Outcome("ollama", measures, details={"lost": gone, "differing": differing})

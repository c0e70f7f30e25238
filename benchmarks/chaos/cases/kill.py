"""Kills workers with SIGKILL, at random times and at four named points of a job's path.

By contract, a job that kills have interrupted MAX_CRASHES times is poison. A worker is therefore
spared while it holds a job that two kills have hit; otherwise victim and time are random.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.chaos import judge
from benchmarks.chaos.faulty_worker import POINTS, flag
from benchmarks.chaos.judge import Measure, RunAgain
from benchmarks.chaos.load import Stream
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from benchmarks.chaos.workers import Death

RUN_AGAIN_LIMIT_SECONDS = 45.0
MOST_HITS = 2


@dataclass(frozen=True)
class Size:
    """The numbers of jobs and kills, the length of a lease and the pause between two kills."""

    jobs: int
    kills: int
    lease_seconds: int
    gap_seconds: tuple[float, float] = (3.0, 9.0)
    seed: int = 20251122

    @property
    def pause_seconds(self) -> float:
        """The pause between two jobs that leaves work until the last kill."""
        return (self.kills + 1) * sum(self.gap_seconds) / 2 / self.jobs


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(60, 4, 5) if short else Size(500, 50, 20)
    with Site(Plan(redis_port, size.lease_seconds, workers=3)) as site:
        site.supervisor.extra = lambda number: _next_point(site, number)
        site.supervisor.start(0, 1, 2)
        _play(site, size)
        outcome = _judge(site, size)
        site.keep = not outcome.kept
        write_raw("kill", site)
    return outcome


def _next_point(site: Site, number: int) -> Mapping[str, str]:
    """Give the first worker the next point that is left, from its second life on."""
    if number != 0 or not any(death.worker == 0 for death in site.supervisor.deaths):
        return {}
    pending = [point for point in POINTS if not flag(site.directory, point).exists()]
    return {"CHAOS_POINT": pending[0]} if pending else {}


def _play(site: Site, size: Size) -> None:
    chance = random.Random(size.seed)

    def make(job: str) -> Ask:
        return Ask(job, chance.uniform(0.05, 3.0))

    with Stream(site.submitter, make, pause_seconds=size.pause_seconds, count=size.jobs) as stream:
        for number in range(size.kills):
            site.run_for(chance.uniform(*size.gap_seconds))
            # The first victim is the worker that carries the points from then on.
            _kill(site, chance, 0 if number == 0 else None)
        site.until(lambda: stream.over and not _points_left(site), 120)
    site.until_answered(120 + 3 * size.lease_seconds)
    site.run_for(2 * size.lease_seconds)  # a job that would run again does so now
    site.recorder.read_once_more()


def _points_left(site: Site) -> list[str]:
    return [point for point in POINTS if not flag(site.directory, point).exists()]


def _kill(site: Site, chance: random.Random, chosen: int | None) -> None:
    """Kill a running worker that holds no job which kills have hit too often already."""

    def candidates() -> list[int]:
        hit = judge.hits(site.generations(), _deaths(site))
        spared = {one.engine for one in site.running().values() if hit[one.job] >= MOST_HITS}
        return [w.number for w in site.supervisor.workers if w.running and w.number not in spared]

    site.until(lambda: bool(candidates()), 30)
    able = candidates()
    if chosen in able:
        site.supervisor.kill(chosen)
    elif able:
        site.supervisor.kill(chance.choice(able))


def _deaths(site: Site) -> list[Death]:
    """The deaths that the supervisor saw; a death at a point has the time that its worker wrote."""
    times = {}
    for point in POINTS:
        if (path := flag(site.directory, point)).exists() and (text := path.read_text()):
            times[point] = float(text.split()[0])
    found = []
    for death in site.supervisor.deaths:
        near = [p for p, at in times.items() if death.worker == 0 and 0 <= death.at - at < 1]
        point_death = death.how != "kill" and near
        found.append(Death(0, times[near[0]], near[0]) if point_death else death)
    return found


def _judge(site: Site, size: Size) -> Outcome:
    jobs = [one.ask.job for one in site.submitter.accepted]
    deaths = site.supervisor.deaths = _deaths(site)
    again = judge.runs_again(site.generations(), deaths, site.recorder)
    gone = judge.lost(site.recorder, jobs)
    differing = judge.answered_differently(site.recorder, jobs)
    unexplained = [one for one in again if one.after is None]
    hit = judge.hits(site.generations(), deaths)
    measures = [
        Measure("jobs accepted", len(jobs)),
        *_what_happened(site, size, deaths),
        Measure("lost", len(gone), 0, note=judge.some(gone)),
        Measure("stored twice with different content", len(differing), 0),
        Measure("stored twice, the same", len(judge.stored_again(site.recorder, jobs))),
        Measure("runs that no kill explains", len(unexplained), 0, note=_explain(unexplained)),
        Measure("most kills that hit one job", max(hit.values(), default=0)),
        *_waits(site, [one.wait_seconds for one in again if one.after is not None]),
    ]
    return Outcome("kill", measures, details={"lost": gone, "differing": differing})


def _what_happened(site: Site, size: Size, deaths: list[Death]) -> list[Measure]:
    """Check that the chaos went as planned."""
    killed = [death for death in deaths if death.how == "kill"]
    other = [death for death in deaths if death.how not in {"kill", *POINTS}]
    missed = _points_left(site)
    return [
        Measure("kills at random times", len(killed)),
        Measure("kills at random times missed", size.kills - len(killed), 0),
        Measure("named points missed", len(missed), 0, note=", ".join(missed)),
        Measure("workers that ended otherwise", len(other), 0, note=_hows(other)),
    ]


def _waits(site: Site, waits: list[float]) -> list[Measure]:
    """How late jobs ran. The last number shows a job that was popped but had not run yet."""
    starts = judge.waits_for_first(site.generations(), site.submitter.accepted)
    p50, p95 = judge.percentile(waits, 50), judge.percentile(waits, 95)
    return [
        Measure("runs again after a kill", len(waits)),
        Measure("kill to run again, p50", p50, None, "s"),
        Measure("kill to run again, p95", p95, RUN_AGAIN_LIMIT_SECONDS, "s"),
        Measure("kill to run again, most", max(waits, default=0.0), None, "s"),
        Measure("submit to first request, most", max(starts, default=0.0), None, "s"),
    ]


def _hows(deaths: list[Death]) -> str:
    return ", ".join(sorted({death.how for death in deaths}))


def _explain(unexplained: list[RunAgain]) -> str:
    return "; ".join(
        f"{one.run.job[:8]} at engine {one.earlier.engine}, then {one.run.engine} "
        f"{one.run.began - one.earlier.began:.1f} s later"
        for one in unexplained[:3]
    )

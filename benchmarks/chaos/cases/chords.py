"""Chords while workers die between a part's result and its count, and while Redis is full for 10 s.

Every body has to run, and each once. One worker dies once at each point of the afterwork, the other
at random times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import redis

from benchmarks.chaos.faulty_worker import AFTERWORK_POINTS, flag
from benchmarks.chaos.judge import ANSWERED, Measure, percentile
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from benchmarks.chaos.workers import Death

PARTS = 3
FULL_SECONDS = 10.0


@dataclass(frozen=True)
class Size:
    """The numbers of chords and of kills at random times."""

    chords: int
    kills: int


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(12, 2) if short else Size(60, 10)
    with Site(Plan(redis_port, 5, workers=2)) as site:
        site.supervisor.extra = lambda number: _next_point(site, number)
        site.supervisor.start(0, 1)
        bodies = _play(site, size)
        outcome = _judge(site, bodies)
        site.keep = not outcome.kept
        write_raw("chords", site, [{"event": "chord", "at": at, "job": b} for b, at in bodies])
    return outcome


def _next_point(site: Site, number: int) -> Mapping[str, str]:
    pending = _points_left(site)
    return {"CHAOS_POINT": pending[0]} if number == 0 and pending else {}


def _points_left(site: Site) -> list[str]:
    return [point for point in AFTERWORK_POINTS if not flag(site.directory, point).exists()]


def _play(site: Site, size: Size) -> list[tuple[str, float]]:
    chance = random.Random(20261128)
    bodies = []
    kills = {(number + 1) * size.chords // (size.kills + 1) for number in range(size.kills)}
    for number in range(size.chords):
        bodies.append((_send(site, f"chord-{number}", chance), time.monotonic()))
        site.run_for(chance.uniform(0.2, 1.0))
        if number in kills:
            site.supervisor.kill(1)
        if number == size.chords // 2:
            _fill_redis(site)
    site.until(lambda: not site.recorder.unanswered([body for body, _ in bodies]), 180)
    site.run_for(10)  # a body that would run again does so now
    site.recorder.read_once_more()
    return bodies


def _send(site: Site, name: str, chance: random.Random) -> str:
    from celery import chord

    from local_llm_service import tasks

    asks = [Ask(f"{name}-{part}", chance.uniform(0.1, 1.0)) for part in range(PARTS)]
    parts = [tasks.generate.s(ask.prompt).set(task_id=ask.job) for ask in asks]
    body = f"{name}-body"
    site.recorder.expect(body)
    chord(parts)(tasks.generate.s(max_tokens=9).set(task_id=body))
    return body


def _fill_redis(site: Site) -> None:
    with redis.Redis.from_url(site.redis.url) as client:
        client.config_set("maxmemory", "1")
        site.run_for(FULL_SECONDS)
        client.config_set("maxmemory", "0")


def _judge(site: Site, bodies: list[tuple[str, float]]) -> Outcome:
    runs = {body: _runs(site, body) for body, _ in bodies}
    unexplained = [
        b for b, times in runs.items() if not _are_explained(times, site.supervisor.deaths)
    ]
    answers = {body: site.recorder.answer(body) for body, _ in bodies}
    good = [b for b, one in answers.items() if one is not None and one.status in ANSWERED]
    failed = [b for b in good if (one := answers[b]) is not None and one.status != "SUCCESS"]
    waits = [one.at - at for body, at in bodies if (one := answers[body]) is not None]
    left = _points_left(site)
    measures = [
        Measure("chords", len(bodies)),
        Measure("deaths", len(site.supervisor.deaths)),
        Measure("named points missed", len(left), 0, note=", ".join(left)),
        Measure("bodies without an answer", len(bodies) - len(good), 0),
        Measure("bodies that failed", len(failed), 0),
        Measure("bodies that ran again, their worker dead", sum(len(t) > 1 for t in runs.values())),
        Measure("bodies that ran twice without that", len(unexplained), 0),
        Measure("sent to answered, p50", percentile(waits, 50), None, "s"),
        Measure("sent to answered, most", max(waits, default=0.0), None, "s"),
    ]
    return Outcome("chords", measures)


def _runs(site: Site, body: str) -> list[tuple[float, int]]:
    """When the body was generated, and beside which worker, in order of time."""
    return sorted(
        (seen.began_at, engine.number)
        for engine in site.engines
        for seen in engine.seen
        if str(seen.body["messages"][-1]["content"]).startswith(_first_words(body))
    )


def _are_explained(runs: Sequence[tuple[float, int]], deaths: Sequence[Death]) -> bool:
    """Whether the worker of each run but the last died before the next one began."""
    return all(
        any(death.worker == worker and began <= death.at <= again for death in deaths)
        for (began, worker), (again, _) in pairwise(runs)
    )


def _first_words(body: str) -> str:
    """How the body's prompt begins: with the answer of its first part."""
    return f"{body.removesuffix('-body')}-0 run "

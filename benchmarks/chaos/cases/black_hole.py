"""A worker joins whose engine fails every job in a millisecond, while 200 jobs wait.

It would take nearly all of them. Once its Ollama lacks the model, once it answers 500, once each of
its answers breaks off; each time the same jobs run before with the good worker alone, to see what
the bad one costs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.chaos import judge
from benchmarks.chaos.engines import Engine
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from tests.doubles.ollama import Script

JOBS, SLOTS = 200, 4
JOB_SECONDS = 0.25
#: The bad worker is started when so many jobs are answered.
JOINS_AFTER = 10
#: Two rounds in all slots, and a probe after 1, 2, 4, 8 s: what it may touch.
TOUCHED_LIMIT = 3 * SLOTS + 4
#: What the touched jobs may cost, with the bad worker's start on a machine of two cores.
DELAY_LIMIT_SECONDS = 10.0


def _lacks_the_model(engine: Engine) -> None:
    engine.models = ("another:1b",)


def _answers_500(engine: Engine) -> None:
    engine.respond = lambda _: Script(status=500, error='tensor "blk.3" exceeds file size')


def _breaks_off(engine: Engine) -> None:
    engine.respond = lambda _: Script(chunks=(), end="cut")


FAULTS = {"missing": _lacks_the_model, "500": _answers_500, "cut": _breaks_off}


@dataclass(frozen=True)
class Round:
    """One fault: seconds for all jobs, alone and with the bad worker, and what that one touched."""

    fault: str
    alone_seconds: float
    beside_seconds: float
    touched: int
    failed: dict[str, str]
    slowest_touched_seconds: float


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    rounds = [_round(redis_port, fault) for fault in FAULTS]
    measures = [one for each in rounds for one in _measures(each)]
    return Outcome("black_hole", measures, details={"failed": {r.fault: r.failed for r in rounds}})


def _round(redis_port: int, fault: str) -> Round:
    environment = {"MODEL_NAME": "fake:1b"}
    plan = Plan(redis_port, lease_seconds=10, workers=2, slots=SLOTS, environment=environment)
    with Site(plan) as site:
        bad = site.engines[1]
        FAULTS[fault](bad)
        site.supervisor.start(0)
        alone = _play(site, joins=False)
        first = len(site.submitter.accepted)
        beside = _play(site, joins=True)
        site.recorder.read_once_more()
        jobs = [one.ask.job for one in site.submitter.accepted]
        failed = judge.lost(site.recorder, jobs)
        touched = {one.job: one.began for one in bad.generations()}
        waits = [
            answer.at - touched[job]
            for job in jobs[first:]
            if job in touched and (answer := site.recorder.answer(job))
        ]
        site.keep = bool(failed)
        write_raw(f"black_hole-{fault}", site)
    return Round(fault, alone, beside, len(bad.generations()), failed, max(waits, default=0.0))


def _play(site: Site, *, joins: bool) -> float:
    """Queue all jobs at once; return how long it takes to answer them."""
    began = time.monotonic()
    before = len(site.submitter.accepted)
    for _ in range(JOBS):
        site.submitter.submit(lambda job: Ask(job, JOB_SECONDS))
    jobs = [one.ask.job for one in site.submitter.accepted[before:]]
    if joins:
        site.until(lambda: JOBS - len(site.recorder.unanswered(jobs)) >= JOINS_AFTER, 60)
        site.supervisor.start(1)
    site.until_answered(180)
    return time.monotonic() - began


def _measures(one: Round) -> list[Measure]:
    cost = one.beside_seconds - one.alone_seconds
    return [
        Measure(
            f"{one.fault}: failed or lost, of {2 * JOBS}", len(one.failed), 0,
            note=judge.some(one.failed),
        ),
        Measure(f"{one.fault}: touched by the bad worker", one.touched, TOUCHED_LIMIT),
        Measure(f"{one.fault}: {JOBS} jobs, good worker alone", one.alone_seconds, None, "s"),
        Measure(f"{one.fault}: the same with the bad one", one.beside_seconds, None, "s"),
        Measure(f"{one.fault}: delay", cost, DELAY_LIMIT_SECONDS, "s"),
        Measure(
            f"{one.fault}: touched to answered, most", one.slowest_touched_seconds, None, "s"
        ),
    ]  # fmt: skip

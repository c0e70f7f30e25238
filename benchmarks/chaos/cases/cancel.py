"""Cancels running jobs and measures how long a slot takes to start on the next job.

The time ends when the engine has seen the connection close and the next waiting job's request has
arrived. One phase cancels while chunks arrive, the other during prompt evaluation, before any.
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass

from benchmarks.chaos import judge
from benchmarks.chaos.engines import Generation
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site

IDLE_LIMIT_SECONDS = 0.5
CHUNK_SECONDS = 0.02
SLOTS = 4
JOB_SECONDS = 120.0
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Cancelled:
    """One cancel: seconds from the call to its return, the closed connection and the idle slot."""

    phase: str
    job: str
    at: float
    call_seconds: float
    closed_seconds: float
    idle_seconds: float
    late_chunks: int


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    count = 20 if short else 100
    measures: list[Measure] = []
    for phase, first_seconds in (("streaming", 0.0), ("prompt", JOB_SECONDS)):
        with Site(Plan(redis_port, 20, slots=SLOTS, chunk_seconds=CHUNK_SECONDS)) as site:
            site.supervisor.start(0)
            done = _play(site, phase, first_seconds, count)
            found = [*phase_measures(phase, done, count), wrong_ends(site, done)]
            site.keep = not all(one.kept for one in found)
            measures += found
            write_raw(f"cancel-{phase}", site, [{"event": "cancel", **asdict(d)} for d in done])
    return Outcome("cancel", measures)


def phase_measures(phase: str, done: list[Cancelled], count: int) -> list[Measure]:
    """Return the numbers of one phase."""
    idle = [one.idle_seconds for one in done]
    closed = [one.closed_seconds for one in done]
    call = [one.call_seconds for one in done]
    chunks = [float(one.late_chunks) for one in done]
    limit = IDLE_LIMIT_SECONDS
    return [
        Measure(f"{phase}: cancels not done", count - len(done), 0),
        Measure(f"{phase}: the call itself, p95", judge.percentile(call, 95), None, "s"),
        Measure(f"{phase}: to closed connection, p95", judge.percentile(closed, 95), None, "s"),
        Measure(f"{phase}: to idle slot, p50", judge.percentile(idle, 50), limit, "s"),
        Measure(f"{phase}: to idle slot, p95", judge.percentile(idle, 95), limit, "s"),
        Measure(f"{phase}: to idle slot, most", max(idle, default=float("inf")), None, "s"),
        Measure(f"{phase}: chunks after the call, p50", judge.percentile(chunks, 50)),
        Measure(f"{phase}: chunks after the call, most", max(chunks, default=0.0)),
    ]


def wrong_ends(site: Site, done: list[Cancelled]) -> Measure:
    """Count the cancelled jobs that did not end as cancelled."""
    site.until(lambda: not site.recorder.unanswered([d.job for d in done]), 10)
    answers = [site.recorder.answer(one.job) for one in done]
    wrong = [a for a in answers if a is None or judge.kind_of(a.result) != "Cancelled"]
    return Measure("cancelled jobs that did not fail with Cancelled", len(wrong), 0)


def _play(site: Site, phase: str, first_seconds: float, count: int) -> list[Cancelled]:
    """Cancel running jobs; at each cancel all slots are full and one job waits."""
    chance = random.Random(20251122)

    def make(job: str) -> Ask:
        return Ask(job, JOB_SECONDS, first_seconds=first_seconds)

    for _ in range(SLOTS + 1):
        site.submitter.submit(make)
    found = []
    for _ in range(count):
        site.until(lambda: len(site.engines[0].running()) >= SLOTS, PATIENCE_SECONDS)
        site.run_for(chance.uniform(0.05, 0.3))
        running = site.engines[0].running()
        if not running:
            break
        found.append(_cancel(site, phase, chance.choice(running)))
        site.submitter.submit(make)
    return found


def _cancel(site: Site, phase: str, victim: Generation) -> Cancelled:
    from local_llm_service.producers.service import cancel

    engine = site.engines[0]
    before = len(engine.seen)
    told = time.monotonic()
    cancel(victim.job)
    returned = time.monotonic()

    def closed() -> float:
        ends = [one.ended for one in engine.generations() if one.job == victim.job]
        return max((end for end in ends if end is not None), default=float("inf"))

    def next_began() -> float:
        return min((one.began for one in engine.generations(before)), default=float("inf"))

    site.until(lambda: max(closed(), next_began()) < float("inf"), PATIENCE_SECONDS)
    chunks = engine.chunk_times.get(victim.job, [])
    return Cancelled(
        phase=phase,
        job=victim.job,
        at=told,
        call_seconds=returned - told,
        closed_seconds=closed() - told,
        idle_seconds=max(closed(), next_began()) - told,
        late_chunks=sum(at > told for at in chunks),
    )

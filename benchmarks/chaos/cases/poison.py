"""One job kills every worker that runs it; it alone fails, after 3 crashes, and others do not."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from benchmarks.chaos import judge
from benchmarks.chaos.faulty_worker import poison_log
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.load import Stream
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from local_llm_service.worker.embedded.processes.python_process import IMPORT_ROOT

CRASHES = 3
HEALTHY = 60


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    lease = 5 if short else 20
    environment = {"CHAOS_POISON": "1"}
    with Site(Plan(redis_port, lease, workers=2, environment=environment)) as site:
        site.supervisor.start(0, 1)
        poison = _play(site, lease)
        outcome = _judge(site, poison)
        site.keep = not outcome.kept
        write_raw("poison", site)
    return outcome


def _play(site: Site, lease_seconds: int) -> str:
    """Submit healthy jobs before, beside and after the poison job; return the poison job's id."""
    chance = random.Random(20251122)

    def make(job: str) -> Ask:
        return Ask(job, chance.uniform(0.3, 2.0))

    for _ in range(6):
        site.submitter.submit(make)
    poison = site.submitter.submit(lambda job: Ask(job, 1.0, poison=True)).ask.job
    pause = 3 * lease_seconds / HEALTHY
    with Stream(site.submitter, make, pause_seconds=pause, count=HEALTHY - 6) as stream:
        site.until(lambda: stream.over, 4 * lease_seconds + 30)
    site.until_answered(60 + 8 * lease_seconds)
    site.run_for(2 * lease_seconds)  # does a job run again, or a worker die again?
    site.recorder.read_once_more()
    return poison


def _judge(site: Site, poison: str) -> Outcome:
    healthy = [one.ask.job for one in site.submitter.accepted if not one.ask.poison]
    gone = judge.lost(site.recorder, healthy)
    log = poison_log(site.directory)
    crashes = len(log.read_text().splitlines()) if log.exists() else 0
    answer = site.recorder.answer(poison)
    kind = judge.kind_of(answer.result) if answer else "no answer"
    code, dead = _dead_letters(site)
    measures = [
        Measure("healthy jobs", len(healthy)),
        Measure("healthy jobs not answered", len(gone), 0, note=judge.some(gone)),
        Measure("workers that the job killed", crashes),
        Measure("that count is not 3", int(crashes != CRASHES), 0),
        Measure("did not fail with CrashedTooOften", int(kind != "CrashedTooOften"), 0, note=kind),
        Measure("not in the dead letters", int(poison not in dead), 0, note=f"exit code {code}"),
        Measure("healthy jobs in the dead letters", sum(job in dead for job in healthy), 0),
        Measure("deaths of workers", len(site.supervisor.deaths)),
    ]
    return Outcome("poison", measures, details={"lost": gone})


def _dead_letters(site: Site) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "local_llm_service.producers", "dead", "list", "--json"],
        env={**os.environ, "REDIS_URL": site.redis.url, "PYTHONPATH": str(IMPORT_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout

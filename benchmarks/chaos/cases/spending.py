"""Kills workers that call a paid model, at random and around the money, on a budget that runs out.

Every call costs what was booked for it, so the server's own log says what could have been spent.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.chaos import judge
from benchmarks.chaos.faulty_worker import MONEY_POINTS, flag
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.load import Stream
from benchmarks.chaos.prompts import Answers, Ask, job_of
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from local_llm_service.worker.store.store import process_store
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.doubles.serving import Seen

#: A token of answer costs a thousandth of a dollar, and one of a prompt nothing.
TOKENS = 10
CALL_NANO_USD = TOKENS * 10**6
WORKERS, SLOTS = 3, 4


@dataclass(frozen=True)
class Size:
    """The numbers of jobs, of calls that the budget is for, and of kills."""

    jobs: int
    calls: int
    kills: int
    lease_seconds: int = 5
    gap_seconds: tuple[float, float] = (2.0, 6.0)
    seed: int = 20261129

    @property
    def pause_seconds(self) -> float:
        """The pause between two jobs that leaves work until the last kill."""
        return (self.kills + 1) * sum(self.gap_seconds) / 2 / self.jobs


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(80, 70, 5) if short else Size(600, 550, 40)
    answers = Answers()

    def respond(body: dict[str, Any]) -> Reply:
        script = answers.script(body, "the paid server")
        pause = script.pause_seconds
        return Reply(tuple(script.chunks), pause_seconds=pause, completion_tokens=TOKENS)

    with OpenAiServer(respond=respond) as server, tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "engines.json"
        with Site(_plan(redis_port, size, file)) as site:
            file.write_text(json.dumps(_engines(site, server)))
            site.submitter.more = {"model": "large", "max_tokens": TOKENS}
            site.supervisor.extra = lambda number: _next_point(site, number)
            site.supervisor.start(*range(WORKERS))
            _play(site, size)
            outcome = _judge(site, server, size)
            site.keep = not outcome.kept
            write_raw("spending", site, [_told(one) for one in server.requests])
    return outcome


def _plan(redis_port: int, size: Size, file: Path) -> Plan:
    budget = size.calls * TOKENS / 1000
    environment = {
        **{"ENGINES_FILE": str(file), "MODEL_NAME": "large", "CONCURRENCY": str(SLOTS)},
        # By contract a job that kills have interrupted MAX_CRASHES times is poison; here it is not.
        **{"MAX_CRASHES": "30", "REMOTE_BUDGET_USD": f"{budget:g}/day,{2 * budget:g}/month"},
    }
    return Plan(
        redis_port, size.lease_seconds, workers=WORKERS, slots=SLOTS, environment=environment
    )


def _engines(site: Site, server: OpenAiServer) -> dict[str, Any]:
    home = {"name": "home", "kind": "ollama", "url": site.engines[0].host, "slots": 1}
    large = {"name": "large", "prompt_usd": 0, "completion_usd": 1000, "revision": "1"}
    elsewhere: dict[str, Any] = {
        "name": "elsewhere",
        "kind": "openai_compatible",
        "url": server.url,
    }
    elsewhere |= {"slots": SLOTS, "leaves_the_house": True, "models": [large]}
    return {"engines": [home, elsewhere]}


def _next_point(site: Site, number: int) -> Mapping[str, str]:
    """Give the first worker the next point that is left, from its second life on."""
    if number != 0 or not any(death.worker == 0 for death in site.supervisor.deaths):
        return {}
    pending = _points_left(site)
    return {"CHAOS_POINT": pending[0]} if pending else {}


def _points_left(site: Site) -> list[str]:
    return [point for point in MONEY_POINTS if not flag(site.directory, point).exists()]


def _play(site: Site, size: Size) -> None:
    chance = random.Random(size.seed)

    def make(job: str) -> Ask:
        return Ask(job, chance.uniform(0.05, 3.0))

    with Stream(site.submitter, make, pause_seconds=size.pause_seconds, count=size.jobs) as stream:
        for number in range(size.kills):
            site.run_for(chance.uniform(*size.gap_seconds))
            able = [worker.number for worker in site.supervisor.workers if worker.running]
            # The first victim is the worker that carries the points from then on.
            victim = 0 if number == 0 else chance.choice(able)
            site.supervisor.kill(victim)
        site.until(lambda: stream.over, 120 + size.jobs * size.pause_seconds)
    site.until_answered(120 + 3 * size.lease_seconds)
    site.run_for(2 * size.lease_seconds)  # a job that would run again does so now
    site.recorder.read_once_more()


def _judge(site: Site, server: OpenAiServer, size: Size) -> Outcome:
    jobs = [one.ask.job for one in site.submitter.accepted]
    gone = judge.lost(site.recorder, jobs)
    refused = {job for job, what in gone.items() if what.endswith("BudgetExceeded")}
    others = {job: what for job, what in gone.items() if job not in refused}
    calls = Counter(job_of(one.body) for one in server.requests)
    day, month = process_store().spending.spending()
    missing = len(server.requests) * CALL_NANO_USD - day.paid - day.wasted
    unexplained = _bought_again(site, server.requests)
    measures = [
        Measure("jobs accepted", len(jobs)),
        Measure("kills", len(site.supervisor.deaths)),
        Measure("named points missed", len(_points_left(site)), 0, note=str(_points_left(site))),
        Measure("answered", len(jobs) - len(gone)),
        Measure("refused, as the budget was used up, or two calls cut off", len(refused)),
        Measure("ended otherwise", len(others), 0, note=judge.some(others)),
        Measure("calls that the server got", len(server.requests), size.calls),
        Measure("most calls for one job", max(calls.values(), default=0), 2),
        Measure("calls again, without a kill between", len(unexplained), 0),
        Measure("nanodollars sent and not booked", missing, 0),
        Measure("nanodollars over the budget", day.committed - size.calls * CALL_NANO_USD, 0),
        Measure("nanodollars still reserved", day.reserved + month.reserved, 0),
        Measure("calls paid", day.paid / CALL_NANO_USD),
        Measure("calls paid, and no answer", day.paid / CALL_NANO_USD - len(jobs) + len(gone), 0),
        Measure("calls wasted", day.wasted / CALL_NANO_USD),
    ]
    return Outcome("spending", measures, details={"others": others, "unexplained": unexplained})


def _bought_again(site: Site, requests: list[Seen]) -> list[str]:
    """Jobs that were sent again though no worker died since the call before."""
    deaths = [death.at for death in site.supervisor.deaths]
    found = []
    for job in {job_of(one.body) for one in requests}:
        began = sorted(one.began_at for one in requests if job_of(one.body) == job)
        for earlier, later in pairwise(began):
            if not any(earlier <= at <= later for at in deaths):
                found.append(job)
    return found


def _told(one: Seen) -> dict[str, Any]:
    return {
        "event": "paid call",
        "at": one.began_at,
        "job": job_of(one.body),
        "finished": one.finished,
    }

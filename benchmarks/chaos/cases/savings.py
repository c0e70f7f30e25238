"""Kills workers under ten thousand jobs of several tenants, many of them the same, some cancelled.

Then holds the savings ledger against what callers got and what the model server was asked.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

from benchmarks.chaos.judge import Measure
from benchmarks.chaos.load import Submitted
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import RESULTS, Outcome
from benchmarks.chaos.site import Plan, Site
from local_llm_service.producers import cancel, service
from local_llm_service.producers.usage_report import BY, COUNTS, MONEY, UsageReport

#: Tokens of a prompt, and of each chunk of an answer.
PROMPT_TOKENS, CHUNK_TOKENS = 20, 1
WORKERS, SLOTS, TENANTS = 3, 4, 5
#: A worker that dies within this time of an answer may not have told of it.
UNTOLD_SECONDS = 0.3
ENDS = ("computed", "cached", "joined", "failed", "cancelled")


@dataclass(frozen=True)
class Size:
    """The numbers of jobs, of different questions, and of kills."""

    jobs: int
    questions: int
    kills: int
    lease_seconds: int = 5
    gap_seconds: tuple[float, float] = (2.0, 6.0)
    seed: int = 20261129

    @property
    def pause_seconds(self) -> float:
        """The pause between two jobs that leaves work until the last kill."""
        return (self.kills + 1) * sum(self.gap_seconds) / 2 / self.jobs


@dataclass
class Crowd:
    """Callers of some tenants. `asked` maps a job to its tenant and its question."""

    site: Site
    size: Size
    asked: dict[str, tuple[str, str]] = field(default_factory=dict)
    over: bool = False

    def start(self) -> None:
        """Ask, in a thread."""
        threading.Thread(target=self._ask_all, daemon=True).start()

    def _ask_all(self) -> None:
        chance = random.Random(self.size.seed)
        for _ in range(self.size.jobs):
            self._ask(chance)
            time.sleep(self.size.pause_seconds)
        self.over = True

    def _ask(self, chance: random.Random) -> None:
        from local_llm_service import tasks

        tenant, task_id = f"tenant-{chance.randrange(TENANTS)}", str(uuid4())
        name = f"{tenant}-{chance.randrange(self.size.questions)}"
        ask = Ask(name, 0.3, 0.05)  # all who ask a question use the same words
        self.asked[task_id] = tenant, name
        self.site.recorder.expect(task_id)
        kwargs = {"prompt": ask.prompt, "cache_scope": tenant}
        began = time.monotonic()
        tasks.generate.apply_async(kwargs=kwargs, task_id=task_id)
        done = Submitted(replace(ask, job=task_id), began, time.monotonic())
        self.site.submitter.all.append(done)
        if chance.random() < 0.03:  # one that may wait, run, or have its answer
            cancel(chance.choice(list(self.asked)[-30:]))


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    size = Size(600, 60, 4) if short else Size(10_000, 700, 40)
    # By contract a job that kills have interrupted MAX_CRASHES times is poison; here it is not.
    environment = {"MAX_CRASHES": "30", "ORPHAN_SECONDS": "3600"}
    plan = Plan(
        redis_port, size.lease_seconds, workers=WORKERS, slots=SLOTS, environment=environment
    )
    with Site(plan) as site:
        for engine in site.engines:
            engine.respond = _counted(engine.respond)
        site.supervisor.start(*range(WORKERS))
        crowd = _play(site, size)
        outcome = _judge(site, crowd)
        site.keep = not outcome.kept
        _write_raw(site, crowd)
    return outcome


def _counted(respond: Any) -> Any:
    """The same answers, with counts that a judge can know."""

    def counted(body: dict[str, Any]) -> Any:
        script = respond(body)
        completion = CHUNK_TOKENS * len(script.chunks)
        return replace(script, prompt_tokens=PROMPT_TOKENS, completion_tokens=completion)

    return counted


def _play(site: Site, size: Size) -> Crowd:
    chance, crowd = random.Random(size.seed), Crowd(site, size)
    crowd.start()
    for _ in range(size.kills):
        site.run_for(chance.uniform(*size.gap_seconds))
        able = [worker.number for worker in site.supervisor.workers if worker.running]
        if able:
            site.supervisor.kill(chance.choice(able))
    site.until(lambda: crowd.over, 120 + size.jobs * size.pause_seconds)
    site.until_answered(120 + 3 * size.lease_seconds)
    site.run_for(2 * size.lease_seconds)  # a job that would run again does so now
    site.recorder.read_once_more()
    return crowd


def _judge(site: Site, crowd: Crowd) -> Outcome:
    told, by_tenant = _told(site, crowd)
    reports = {by: service.usage(by) for by in BY}
    total = reports["day"].total
    differing = sum(abs(int(total[word]) - told[word]) for word in ENDS)
    tenants = Counter(
        {name: sum(int(row[word]) for word in ENDS) for name, row in reports["tenant"].rows.items()}
    )
    others = (tenants - by_tenant) + (by_tenant - tenants)
    finished = [one for engine in site.engines for one in engine.seen if one.finished]
    untold = _untold(site)
    prompt = int(total["computed_prompt"]) + int(total["wasted_prompt"])
    missing = len(finished) - prompt / PROMPT_TOKENS
    measures = [
        Measure("jobs", len(crowd.asked)),
        Measure("kills", len(site.supervisor.deaths)),
        *(Measure(word, told[word]) for word in ENDS),
        Measure("jobs without an end", told["nothing"], 0),
        Measure("ends that the ledger has otherwise", differing, 0),
        Measure("ends of tenants that it has otherwise", others.total(), 0),
        Measure("generations finished", len(finished)),
        Measure("generations in the ledger that were none", max(0.0, -missing), 0),
        Measure("generations finished and not in the ledger", max(0.0, missing), untold),
        Measure("generations finished just before their worker died", untold),
        Measure("tokens wasted", int(total["wasted_prompt"]) + int(total["wasted_completion"])),
        Measure("totals that are not the sum of their rows", _wrong_totals(reports), 0),
    ]
    return Outcome("savings", measures, details={"total": {k: str(v) for k, v in total.items()}})


def _told(site: Site, crowd: Crowd) -> tuple[Counter[str], Counter[str]]:
    """What callers got, by origin or failure, and by tenant."""
    told, by_tenant = Counter[str](), Counter[str]()
    for task_id, (tenant, _) in crowd.asked.items():
        what = _what(site, task_id)
        told[what] += 1
        by_tenant[tenant] += what != "nothing"
    return told, by_tenant


def _what(site: Site, task_id: str) -> str:
    """What the caller of one job got, by the ledger's word."""
    stored = site.recorder.answer(task_id)
    if stored is None:
        return "nothing"
    if stored.status == "SUCCESS":
        return str(stored.result["origin"])
    return "cancelled" if stored.result.get("exc_type") == "Cancelled" else "failed"


def _write_raw(site: Site, crowd: Crowd) -> None:
    """A line for each job, generation and death: ten thousand answers would be 7 MB."""
    jobs = [(one, *asked, _what(site, one)) for one, asked in crowd.asked.items()]
    names = ("job", "tenant", "question", "told")
    lines: list[dict[str, Any]] = [dict(zip(names, one, strict=True)) for one in jobs]
    lines += [{"event": "generation", **asdict(one)} for one in site.generations()]
    lines += [{"event": "death", **asdict(one)} for one in site.supervisor.deaths]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (RESULTS / "chaos-savings.jsonl").write_text(text)


def _untold(site: Site) -> int:
    """Answers that came just before their worker died."""
    deaths = [(death.worker, death.at) for death in site.supervisor.deaths]
    return sum(
        one.finished
        and one.ended is not None
        and any(who == one.engine and 0 <= at - one.ended < UNTOLD_SECONDS for who, at in deaths)
        for one in site.generations()
    )


def _wrong_totals(reports: Mapping[str, UsageReport]) -> int:
    """Columns of any report whose total is not the sum, or not that of the report by day."""
    wrong = 0
    for report in reports.values():
        for column in (*map(str, COUNTS), *MONEY):
            added = sum((Decimal(row[column]) for row in report.rows.values()), Decimal())
            wrong += added != report.total[column]
            wrong += report.total[column] != reports["day"].total[column]
    return wrong

"""The savings ledger holds what callers got and what models were asked, each once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from uuid import uuid4

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import Client, cancel, service
from local_llm_service.producers.usage_report import BY
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import Cancelled, InvalidOutput
from local_llm_service.worker.store import presence
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.moves import look
from local_llm_service.worker.store.outcomes import UNHELD, Claim, Delivery, Ending, SettleFor, Work
from local_llm_service.worker.store.savings import RunTokens
from local_llm_service.worker.store.savings_days import SavingsRow, read_days, today
from local_llm_service.worker.store.states import (
    Admission,
    CacheQuery,
    Cancelling,
    JobState,
    NewJob,
)
from tests.conftest import wait_until
from tests.doubles.every_script import MODEL, QUEUE, Site, ending, message

KEYS = Keys()
JOBS = 10_000
OTHER = "big:70b"


def ledger(site: Site) -> list[SavingsRow]:
    """All rows of today; of yesterday, too, as midnight may have passed."""
    day = site.store.drive(today(site.store.keys))
    return site.store.drive(read_days(site.store.keys, day - timedelta(days=1), day))


def sums(rows: list[SavingsRow]) -> Counter[str]:
    """Their total, without what is 0."""
    total = Counter[str]()
    for row in rows:
        total.update({str(column): number for column, number in row.sums.items()})
    return +total


# --- ten thousand jobs -----------------------------------------------------------------------


@dataclass
class Judge:
    """Counts from outside: what callers were told, and what models read and wrote."""

    told: Counter[str] = field(default_factory=Counter)
    by_tenant: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


class Crowd(Site):
    """Callers of some tenants, and a worker that dies, loses its lease and repeats its calls."""

    def __init__(self, client: redis.Redis, seed: int) -> None:
        super().__init__(client, KEYS.prefix)
        self.random, self.judge = Random(seed), Judge()
        #: Tenant and question of each job, and the answers that are known by now.
        self.asked: dict[str, tuple[str, str]] = {}

    def publish(self) -> None:
        """Say what the worker serves, again and again, as what it says holds for seconds."""
        table = json.dumps({"default": MODEL, "models": {MODEL: "1"}})
        presence.publish(self.store, "w", "{}", table)

    def ask_one(self) -> None:
        """A caller asks one of some hundred questions, or one that nobody shares."""
        tenant = f"tenant-{self.random.randrange(7)}"
        question = f"{self.random.randrange(120)}" if self.random.random() < 0.9 else uuid4().hex
        name, task_id = f"{tenant} {question}", uuid4().hex
        new = NewJob(*(task_id, "generate", QUEUE, 60, 0, False), has_new_id=True, tenant=tenant)
        query = CacheQuery("*", f"{MODEL} 1", name, '{"result": {"origin": "cached", ', "}}", "")
        self.asked[task_id] = tenant, name
        admitted = self.jobs.submit(new, query)
        if admitted.decision is Admission.STALE:  # the machine has slept
            self.publish()
            admitted = self.jobs.submit(new, query)
        if admitted.decision is Admission.QUEUE:
            self.jobs.put(QUEUE, message(task_id, llm_submitted=True), task_id, 0)
        elif self.random.random() < 0.2:  # the reply was lost
            self.jobs.submit(new, query)

    def work_one(self) -> bool:
        """The worker takes a job and comes to some end with it; False when there is none."""
        found = self.jobs.take([QUEUE], worker="w", may_take_quarantined=True, nonce=uuid4().hex)
        if found is None:
            return False
        _, name = self.asked[found.task_id]
        claimed = self.single_flight.claim(found.task_id, found.token, name, canvas=False)
        if claimed.claim is Claim.CACHED:
            assert claimed.outcome is not None
            self._settle(found, replace(ending(), work=claimed.outcome.work))
        elif claimed.claim is Claim.LEAD:
            self._run(found)
        return True

    def _run(self, found: Delivery) -> None:
        """Generate: answer, fail, give back, die, or answer when the lease is lost."""
        work, chance = self._generate(), self.random.random()
        if chance < 0.06:  # the worker dies, and nobody knows what it had generated
            self._forget(work)
            self.jobs.reap(lease_seconds=-1, max_crashes=99)
        elif chance < 0.12:
            for _ in range(self._times()):
                self.jobs.release(found.task_id, found.token, work=work)
        elif chance < 0.18:
            self.jobs.reap(lease_seconds=-1, max_crashes=99)
            self._settle(found, replace(ending(), work=work))
        elif chance < 0.26:
            self._settle(found, replace(ending(JobState.FAILED, "model_failed"), work=work))
        else:
            self._settle(found, replace(ending(), work=work))

    def _settle(self, found: Delivery, with_ending: Ending) -> None:
        origin = json.dumps(with_ending.work.origin)
        text = replace(with_ending.result, before=f'{{"result": {{"origin": {origin}, ')
        for _ in range(self._times()):
            self.jobs.settle(found.task_id, found.token, replace(with_ending, result=text))

    def _times(self) -> int:
        """Twice where a reply is lost."""
        return 2 if self.random.random() < 0.1 else 1

    def _generate(self) -> Work:
        """What a run does: one model answers, another has tried before, or summed up a text."""
        tokens, random = RunTokens(), self.random
        answer = random.randrange(1, 900), random.randrange(1, 300)
        before, wasted = (random.randrange(500), random.randrange(100)), (0, 0)
        if random.random() < 0.3:
            tokens.add(OTHER, *before)
            self._note(before)
            wasted = before if random.random() < 0.5 else (0, 0)
        tokens.add(MODEL, *answer)
        self._note(answer)
        return Work(
            prompt_tokens=answer[0],
            completion_tokens=answer[1],
            cacheable=True,
            model=MODEL,
            route=random.choice(("", "auto")),
            answer_prompt_tokens=answer[0],
            answer_completion_tokens=answer[1],
            wasted_prompt_tokens=wasted[0],
            wasted_completion_tokens=wasted[1],
            run_tokens=tokens,
        )

    def _note(self, tokens: tuple[int, int]) -> None:
        self.judge.tokens.update(dict(zip(("prompt", "completion"), tokens, strict=True)))

    def _forget(self, work: Work) -> None:
        assert work.run_tokens is not None
        for _, made in work.run_tokens.split("", (0, 0)):
            lost = {"prompt": made[0], "completion": made[1]}
            self.judge.tokens.subtract(lost)

    def cancel_some(self) -> None:
        """A caller gives up a job that it has just asked for."""
        task_id = next(reversed(self.asked))
        if self.jobs.cancel(task_id) is Cancelling.WAITING:
            cancelled = replace(ending(JobState.CANCELLED, "cancelled"), work=Work())
            self.jobs.settle(task_id, UNHELD, replace(cancelled, settle_for=SettleFor.CALLER))

    def hear_results(self) -> None:
        """What each caller reads, from the results in Redis."""
        ids = list(self.asked)
        for task_id, seen in zip(ids, self.store.drive(look(ids)), strict=True):
            failed = seen.state in (JobState.FAILED, JobState.CANCELLED)
            origin = str(seen.state) if failed else _origin(str(seen.result))
            self.judge.told[origin] += 1
            self.judge.by_tenant[self.asked[task_id][0]] += 1


def _origin(result: str) -> str:
    """Where an answer came from; a waiter's result is put together by a template without it."""
    found: str = json.loads(result)["result"].get("origin", "joined")
    return found


def test_ten_thousand_jobs_with_kills(redis_client: redis.Redis) -> None:
    """The ledger is what callers were told and what models made, and its total is its rows' sum."""
    crowd = Crowd(redis_client, seed=2026)
    while len(crowd.asked) < JOBS:
        crowd.publish()
        for _ in range(crowd.random.randrange(1, 250)):
            crowd.ask_one()
        crowd.cancel_some()
        for _ in range(crowd.random.randrange(60)):
            crowd.work_one()
    while crowd.work_one():
        pass
    crowd.hear_results()
    rows, judge = ledger(crowd), crowd.judge
    total = sums(rows)
    ends = ("computed", "cached", "joined", "failed", "cancelled")
    assert {word: total[word] for word in ends} == {word: judge.told[word] for word in ends}
    assert min(judge.told[word] for word in ends) > 20, judge.told
    for kind in ("prompt", "completion"):
        made = total[f"computed_{kind}"] + total[f"wasted_{kind}"]
        assert made == judge.tokens[kind]
        assert total[f"wasted_{kind}"] > 0
    by_tenant = Counter[str]()
    for row in rows:
        by_tenant[row.tenant] += sum(row.sums.get(word, 0) for word in ends)  # type: ignore[call-overload]
    assert by_tenant == judge.by_tenant
    for by in BY:
        seen = service.usage(by)
        assert seen.total["delivered_prompt"] == total["delivered_prompt"]
        for column, number in seen.total.items():
            assert number == sum(row[column] for row in seen.rows.values()), (by, column)


# --- through a worker ------------------------------------------------------------------------


@pytest.mark.local_llm(redis="embedded")
def test_each_origin_stands_in_its_column(local_llm: LocalLLM) -> None:
    """An answer that costs nothing again is delivered all the same, for its own tenant."""
    kwargs = {"prompt": "same", "cache_scope": "a/own"}
    with local_llm.held():
        first, second = (tasks.generate.apply_async((), kwargs) for _ in range(2))
        local_llm.wait_until_asked()
    usage = first.get(timeout=20)["usage"]
    assert second.get(timeout=20)["usage"] == usage
    tasks.generate.apply_async((), kwargs).get(timeout=20)
    tasks.generate.delay("of nobody").get(timeout=20)
    row = service.usage("tenant").rows["a"]
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    again = row["cached"] + row["joined"]
    assert (row["computed"], again) == (1, 2)
    assert row["cached_prompt"] + row["joined_prompt"] == 2 * prompt
    assert (row["computed_prompt"], row["computed_completion"]) == (prompt, completion)
    assert (row["delivered_prompt"], row["delivered_completion"]) == (3 * prompt, 3 * completion)
    assert service.usage("tenant").rows[""]["computed"] == 1
    assert list(service.usage("model").rows) == [first.get()["model"]]


@pytest.mark.local_llm(redis="embedded")
def test_what_led_to_no_answer_is_wasted(local_llm: LocalLLM) -> None:
    """Three tries at JSON were read and written for nothing; no model is charged with a cancel."""
    local_llm.reply("no JSON", times=3)
    with pytest.raises(InvalidOutput):
        tasks.structured_output.delay("x", {"type": "object"}).get(timeout=20)
    queued = tasks.generate.apply_async(("later",), {"cache_scope": "b"}, countdown=60)
    cancel(queued.id)
    with pytest.raises(Cancelled):
        queued.get(timeout=10)
    total = service.usage().total
    assert (total["failed"], total["cancelled"], total["computed"]) == (1, 1, 0)
    assert total["computed_completion"] == total["delivered_completion"] == 0
    assert total["wasted_completion"] == service.stats()["total_tokens_generated"] > 0
    assert service.usage("tenant").rows["b"]["cancelled"] == 1


@pytest.mark.local_llm(redis="embedded")
def test_what_was_written_until_a_cancel_is_wasted(local_llm: LocalLLM) -> None:
    """As many tokens as pieces of text have come; the prompt's tokens nobody has said."""
    local_llm.stream(*("word " for _ in range(1000)), pause_seconds=0.02)
    job = Client().generate("a long story", stream=True)
    next(iter(job.stream()))
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(timeout_seconds=10)
    wait_until(lambda: service.usage().total["wasted_completion"] != 0, "its run has ended")
    total = service.usage().total
    assert 0 < int(total["wasted_completion"]) < 1000
    assert (total["cancelled"], total["wasted_prompt"], total["delivered_prompt"]) == (1, 0, 0)

"""The rules that must hold after every step of a schedule and at its end."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha1
from typing import Any

from local_llm_service.tasks.answer import text_of
from local_llm_service.tasks.engine_death import LEAST_DEATHS
from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.store.bounds import NUMBERS
from local_llm_service.worker.store.keys import Keys
from tests.schedules import ledger
from tests.schedules.engine import Generation, Made, number_of
from tests.schedules.jobs import Job
from tests.schedules.look import Seen
from tests.schedules.money import Money
from tests.schedules.rest import come_to_rest, let_deadlines_pass
from tests.schedules.site import Site

KEYS = Keys()

#: Keys that may remain after all jobs have ended: the first stay, the others have a lifetime.
_STAYS = (
    KEYS.fence,
    KEYS.doorbell,
    KEYS.sought,
    KEYS.dead_letters,
    KEYS.dead_letter_messages,
    KEYS.dead_letter_texts,
    f"{KEYS.prefix}binding",
)
_FADES = (
    *(
        KEYS.job_record,
        KEYS.result_meta,
        KEYS.cache,
        KEYS.cache_index,
        KEYS.cache_bytes,
        KEYS.stats,
        KEYS.dead_letter_bytes,
        KEYS.text,
        KEYS.text_wanted,
        *(KEYS.step, KEYS.step_index, KEYS.step_bytes),
        *(KEYS.spending, KEYS.savings, KEYS.paid_steps, KEYS.run_tokens),
    ),
    *(KEYS.webhooks_due, KEYS.webhook_event),
    *(KEYS.catalog, KEYS.catalog_until, KEYS.consensus, KEYS.served, KEYS.presence, KEYS.last_take),
    *(KEYS.end_bell, KEYS.sifting, KEYS.clearing),
)
#: What a job counts whose message is not put yet.
_EMPTY_BYTES = NUMBERS["JOB_OVERHEAD_BYTES"]
_ENDS = ("hits_at_call", "hits", "misses", "joined")


class Rules:
    """Checks one site against the rules."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._first: dict[str, str] = {}
        self._money = Money(site) if site.settings.remote_budget_usd else None
        if self._money is not None:
            site.sent = self._money.sent

    # --- after every step -------------------------------------------------------------------

    def after_step(self) -> None:
        """Raise AssertionError if a rule is broken."""
        self._results_stay()
        self._one_runs()
        self._one_place()
        self._followers_have_a_leader()
        self._backlog_is_counted()
        self._no_engine_fails_a_job_twice()
        self._suspects_run_alone()
        self._only_a_run_under_way_writes()
        self._makes_room_and_comes_next()
        self._next_run_knows_of_steps()
        if self._money is not None:
            self._money.after_step()
        for one in self._site.running:
            if one.key is not None:
                self._runs_for_a_caller(one)
                self._is_not_stopped_while_others_wait(one)
        for fingerprint, (leader, token) in self._site.before.groups.items():
            self._is_shared("crashes", fingerprint, leader, token)
            self._is_shared("engine_deaths", fingerprint, leader, token)
            self._an_answer_reaches_every_waiter(fingerprint, leader)

    def _results_stay(self) -> None:
        """The first result of a job is its only one."""
        for task_id, text in self._site.seen.results.items():
            first = self._first.setdefault(task_id, text)
            assert text == first, f"{task_id} was answered twice: {first} and {text}"
        gone = self._first.keys() - self._site.seen.results.keys()
        assert not gone, f"the results of {gone} have gone"

    def _one_runs(self) -> None:
        """At most one wanted generation of a fingerprint runs under its worker's lease."""
        runs: dict[Any, Generation] = {}
        for one in self._site.running:
            if one.key is None or not self._counts(one):
                continue
            other = runs.setdefault(one.key, one)
            assert other is one, f"{other.made} and {one.made} run at once"

    def _counts(self, one: Generation) -> bool:
        record = self._site.seen.records.get(one.made.job, {})
        holds = record.get("token") == one.in_flight.delivery.token
        return holds and "cancelled" not in record and one.in_flight.reason is None

    def _one_place(self) -> None:
        """A message is in one place until its job has its result."""
        for task_id, record in self._site.seen.records.items():
            places = self._site.seen.places.get(task_id, [])
            if "settled" not in record:
                if "put" in record:
                    assert len(places) == 1, f"{task_id} is in {places}: {record}"
            elif "caller_left" not in record:
                kept = set(places) - {"queue", "dead"}
                assert not kept, f"{task_id} has its result and is in {kept}"

    def _only_a_run_under_way_writes(self) -> None:
        """A text changes by the worker that holds its job, and only while that job leads."""
        before, seen = self._site.before, self._site.seen
        for place, text in seen.texts.items():
            if text == before.texts.get(place):
                continue
            leads = before.groups.get(place, ["", before.records.get(place, {}).get("token", "")])
            # The last two characters number the texts of a run.
            run = sha1(leads[1].encode()).hexdigest()[: NUMBERS["RUN_CHARACTERS"] - 2]
            assert text[1:].startswith(run), f"a run that is over wrote {text} for {place}"

    def _makes_room_and_comes_next(self) -> None:
        """A job that yields is in its queue then, has lost no try, and does so twice at most."""
        seen, before = self._site.seen, self._site.before
        for task_id, record in seen.records.items():
            was = before.records.get(task_id, {})
            if record.get("yields") in (None, was.get("yields")) or "caller_left" in was:
                continue
            assert int(record["yields"]) <= NUMBERS["YIELDS_MOST"], f"{task_id} makes room for ever"
            assert record.get("attempts") == was.get("attempts"), f"{task_id} has lost a try"
            assert seen.places.get(task_id) == ["queue"], f"{task_id} is in {seen.places}"

    def _next_run_knows_of_steps(self) -> None:
        """All who wait for the work know that steps of it are kept, once its run has ended."""
        seen, before = self._site.seen, self._site.before
        for fingerprint, (leader, token) in before.groups.items():
            was, record = before.records.get(leader, {}), seen.records.get(leader, {})
            runs = record.get("token") == token or "settled" in record
            if "kept_steps" not in was or was.get("token") != token or runs:
                continue
            for task_id in before.waiters.get(fingerprint, []):
                knows = "kept_steps" in seen.records[task_id] or "settled" in seen.records[task_id]
                assert knows, f"{task_id} does not know of the steps of {leader}"

    def _followers_have_a_leader(self) -> None:
        """A follower waits for a leader that a worker holds."""
        seen = self._site.seen
        for task_id, places in seen.places.items():
            if "joined" in places:
                fingerprint = seen.records[task_id]["fingerprint"]
                leader, token = seen.groups.get(fingerprint, ["", ""])
                runs = seen.records.get(leader, {}).get("token") == token
                assert runs, f"{task_id} has joined {leader}, which does not run"

    def _backlog_is_counted(self) -> None:
        """It holds every job that was put and has no result, and its sums are those of its jobs."""
        backlog, records = self._site.seen.backlog, self._site.seen.records
        jobs, sums = backlog.get("jobs") or {}, Counter[str]()
        for entry in jobs.values():
            queue, size = entry.split(" ")
            sums.update({f"{queue}:jobs": 1, f"{queue}:bytes": int(size)})
        counted = {name: int(number) for name, number in (backlog.get("sums") or {}).items()}
        assert counted == sums, f"{counted} are counted of {jobs}"
        for task_id, record in records.items():
            if "put" in record or "settled" in record:
                there, open_ = task_id in jobs, "settled" not in record
                assert there == open_, f"{task_id} in the backlog is {there}: {record}"
                size = int(jobs.get(task_id, "- 0").split(" ")[1])
                assert not there or size > _EMPTY_BYTES, f"{task_id} counts without its message"

    def _no_engine_fails_a_job_twice(self) -> None:
        """A worker takes no job that its engine has failed, but to end it."""
        for task_id, record in self._site.seen.records.items():
            was = self._site.before.records.get(task_id, {})
            taken = record.get("token") if record.get("token") != was.get("token") else None
            to_end = self._site.jobs[task_id].late or {"cancelled", "given_up"} & was.keys()
            if taken and not to_end:
                failed_by = was.get("failed_by", "").split()
                assert record["worker"] not in failed_by, f"{task_id} is back at {failed_by}"

    def _waiting(self, seen: Seen, fingerprint: str, but: str) -> list[str]:
        """Jobs, other than `but`, whose message still waits for the group's answer."""
        return [
            task_id
            for task_id, record in seen.records.items()
            if record.get("fingerprint") == fingerprint
            and "put" in record
            and "settled" not in record
            and task_id != but
        ]

    def _runs_for_a_caller(self, one: Generation) -> None:
        """A generation is told to stop when the last caller has left."""
        record = self._site.seen.records.get(one.made.job, {})
        if "caller_left" in record and self._counts(one):
            others = self._waiting(self._site.seen, record["fingerprint"], one.made.job)
            assert others, f"{one.made} goes on for nobody"

    def _is_not_stopped_while_others_wait(self, one: Generation) -> None:
        """No caller's cancel stops a generation that others wait for. A job in a chain is an
        exception: its worker ends it."""
        seen, before = self._site.seen, self._site.before
        record, was = seen.records.get(one.made.job, {}), before.records.get(one.made.job, {})
        if "cancelled" in record and "cancelled" not in was and "canvas" not in record:
            if "fingerprint" not in record:  # its worker lacked the model: it shares nothing
                return
            leads = seen.groups.get(record["fingerprint"]) == [one.made.job, record.get("token")]
            others = self._waiting(seen, record["fingerprint"], one.made.job)
            others = [other for other in others if "cancelled" not in seen.records[other]]
            others = [other for other in others if not self._site.jobs[other].late]
            # A job in a chain may already have its handoff and still be in its queue.
            waiters = seen.waiters.get(record["fingerprint"], [])
            others = [o for o in others if "canvas" not in seen.records[o] or o in waiters]
            assert not (leads and others), f"{one.made} is stopped, and {others} wait for it"

    def _suspects_run_alone(self) -> None:
        """Nothing runs in a worker beside a job that a worker or an engine died with."""
        for worker in self._site.alive:
            run = [one for one in self._site.running if one.worker is worker]
            suspects = [one for one in run if one.in_flight.delivery.is_suspect]
            assert not suspects or len(run) == 1, f"{suspects[0].made} runs beside others"

    def _is_shared(self, count: str, fingerprint: str, leader: str, token: str) -> None:
        """The waiters of a job that was running when its worker or engine died share that."""
        seen, before = self._site.seen, self._site.before
        number = seen.records.get(leader, {}).get(count, "0")
        was = before.records.get(leader, {})
        if was.get("token") == token and number != was.get(count, "0"):
            for task_id in before.waiters.get(fingerprint, []):
                its = seen.records[task_id].get(count, "0")
                settled = "settled" in before.records[task_id]
                assert settled or its >= number, f"{task_id} does not share {count} of {leader}"

    def _an_answer_reaches_every_waiter(self, fingerprint: str, leader: str) -> None:
        """Once the leader has its answer, no job waits for it, not even in another queue, unless
        an open fan-out is going to answer it."""
        seen, before = self._site.seen, self._site.before
        if fingerprint in seen.groups or "token" in seen.records.get(leader, {}):
            return
        record = seen.records.get(leader, {})
        ends_now = "settled" in record and "settled" not in before.records[leader]
        if ends_now and record["state"] == "succeeded":
            others = self._waiting(seen, fingerprint, leader)
            others = [one for one in others if one not in seen.fanned]
            left = [one for one in others if "canvas" not in seen.records[one]]
            assert not left, f"{left} waited for the answer of {leader}"

    # --- at the end -------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Check that every job is answered and, once all deadlines have passed, no key is left."""
        site = self._site
        come_to_rest(site)
        self._no_job_is_lost()
        for job in site.jobs.values():
            if job.id in self._first:
                self._answer_is_right(job, json.loads(self._first[job.id]))
        self._answers_are_announced_once()
        self._texts_are_those_of_the_answers()
        self._own_steps_go_with_the_result()
        let_deadlines_pass(site)
        self._webhooks_are_told_once()
        if self._money is not None:
            self._money.at_the_end()
        self._nothing_is_left()
        self._all_are_counted()
        ledger.check(site, self._first)

    def _no_job_is_lost(self) -> None:
        for job in self._site.jobs.values():
            if job.asked:
                assert job.id in self._first, f"{job.id} has no result"
            if '"status": "SUCCESS"' in self._first.get(job.id, "") and job.way == "chain":
                assert f"{job.id}-next" in self._first, f"the job after {job.id} has no result"

    def _answer_is_right(self, job: Job, result: dict[str, Any]) -> None:
        assert result["task_id"] == job.id
        if job.cancel_returned == "cancelled":
            assert result["result"].get("exc_type") == "Cancelled", f"{job} got {result}"
        if result["status"] == "SUCCESS":
            self._comes_from_its_question(job, result["result"])
        else:
            self._failure_has_its_reason(job, result["result"])

    def _comes_from_its_question(self, job: Job, answer: dict[str, Any]) -> None:
        made = self._site.made[number_of(answer)]
        assert answer["task_id"] == job.id
        assert answer["kind"] == job.kind
        usage = (7 * job.steps, 3 * job.steps)
        assert tuple(answer["usage"].values()) == usage, f"{job} used {answer['usage']}"
        by = self._site.jobs[made.job]
        assert job.is_like(by), f"{job} got an answer of {by}"
        assert made.digest >= job.oldest_digest, f"{job} got an answer of an older model: {made}"
        is_bought = self._money is not None and job.shares and by.shares
        if answer["origin"] == "computed" and not is_bought:  # what one leader bought is the next's
            assert made.job == job.id, f"{job} got the answer computed for {by}"
        else:
            assert job.shares, f"{job} got an answer of {by}"
            assert by.shares, f"{job} got an answer of {by}"
            assert answer["origin"] in ("cached", "joined", "computed" if is_bought else "")

    def _was_passed_on(self, job: Job) -> bool:
        """Whether some worker's engine has failed the job."""
        return "failed_by" in self._site.seen.records.get(job.id, {})

    def _failure_has_its_reason(self, job: Job, failure: dict[str, Any]) -> None:
        assert failure["exc_module"] == "local_llm_service.worker.errors", failure
        error, site = failure["exc_type"], self._site
        head = self._site.jobs[job.id.removesuffix("-next")]  # the next job fails with its head
        reasons = {
            "Cancelled": job.cancelled or head.cancelled,
            "DeadlineExceeded": job.late or head.late,
            "CrashedTooOften": site.calls.seen["reap"] >= site.settings.max_crashes
            or self._deaths(job) >= LEAST_DEATHS
            or self._deaths(head) >= LEAST_DEATHS,
            "ModelMissing": site.lacked,
            # Two calls for it were cut off.
            "BudgetExceeded": self._money is not None and self._money.ended["wasted"] >= 2,
            # Also once the workers whose engines had failed it, with whatever, are the only ones.
            "ModelFailed": any(
                self._failed(one, "model_failed") or self._was_passed_on(one) for one in (job, head)
            ),
            "OllamaBusy": any(self._failed(one, "ollama_busy") for one in (job, head)),
        }
        assert reasons.get(error), f"{job} failed with {error} for no reason"

    def _failed(self, job: Job, code: str) -> bool:
        return any(why == code and self._is_for(made, job) for made, why in self._site.failures)

    def _deaths(self, job: Job) -> int:
        return sum(
            why == EngineDied.code and self._is_for(made, job) for made, why in self._site.failures
        )

    def _is_for(self, made: Made, job: Job) -> bool:
        by = self._site.jobs[made.job]
        return by is job or (job.is_like(by) and by.shares and job.shares)

    def _answers_are_announced_once(self) -> None:
        """Only a hit at its call is not announced: its id is new, so nobody can wait for it."""
        told = dict(self._site.seen.announced)
        assert len(told) == len(self._site.seen.announced), "a result was announced twice"
        for task_id, result in self._first.items():
            new = self._site.jobs[task_id].new and '"origin": "cached"' in result
            assert told.get(task_id, result if new else "") == result, f"{task_id}: not announced"

    def _texts_are_those_of_the_answers(self) -> None:
        """A run that a record names wrote the job's answer, and nothing else."""
        texts = self._site.seen.texts
        for task_id, record in self._site.seen.records.items():
            if record.get("run") is None or record["state"] != "succeeded":
                continue
            for text in (texts.get(record.get("fingerprint", ""), ""), texts.get(task_id, "")):
                if text.startswith(f"c{record['run']}"):
                    answer = json.loads(self._first[task_id])["result"]
                    assert text[1 + len(record["run"]) :] == text_of(answer), f"{task_id}: {text}"

    def _own_steps_go_with_the_result(self) -> None:
        for task_id in self._first:
            left = list(self._site.glass.client.scan_iter(f"{KEYS.step}{task_id}.*"))
            assert not left, f"{left} of {task_id}, which has its result"

    def _webhooks_are_told_once(self) -> None:
        """Of the end of each job that one was noted for, whichever script ended it."""
        client, told = self._site.glass.client, dict[str, str]()
        for key in client.scan_iter(f"{KEYS.webhook_event}*"):
            event: dict[str, str] = client.hgetall(key)  # type: ignore[assignment]
            assert event["object"] not in told, f"{event} is told twice"
            told[event["object"]] = event["type"]
        for job in self._site.jobs.values():
            if job.noted and job.id in self._site.seen.results:
                result = json.loads(self._site.seen.results[job.id])
                failed = result["result"].get("exc_type")
                state = {None: "succeeded", "Cancelled": "cancelled"}.get(failed, "failed")
                assert told.get(job.id) == f"job.{state}", f"{job.id}: {state}, told {told}"

    def _nothing_is_left(self) -> None:
        client = self._site.glass.client
        for key in map(str, client.scan_iter(count=1000)):
            fades = key.startswith(_FADES)
            assert fades or key.startswith(_STAYS), f"{key} is left behind"
            assert not fades or client.ttl(key) != -1, f"{key} has no lifetime"

    def _all_are_counted(self) -> None:
        """Every result is counted once."""
        counts = self._site.glass.client.hgetall(KEYS.stats)
        total = sum(int(counts.get(word, 0)) for word in _ENDS)  # type: ignore[union-attr]
        assert total == len(self._site.seen.results), f"{counts} for {self._site.seen.results}"

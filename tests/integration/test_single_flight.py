"""Of identical jobs one runs and answers all; none is left waiting, whatever happens to it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import redis
from celery import Celery, chord
from celery.result import AsyncResult

from local_llm_service import tasks
from local_llm_service.producers import cancel, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()

SHORT_LEASE = {"LEASE_SECONDS": "3"}


def runs(server: FakeOllama, prompt: str = "same") -> int:
    """How often the model was asked this."""
    return sum(seen.body["messages"][-1]["content"] == prompt for seen in server.seen)


def slow(server: FakeOllama, seconds: float) -> None:
    """Every answer takes so long."""
    server.respond = lambda _: Script(chunks=("a",) * 10, pause_seconds=seconds / 10)


def ask(count: int = 1, **options: Any) -> list[AsyncResult]:
    """The same question, several times."""
    return [tasks.generate.delay("same", **options) for _ in range(count)]


def lead_and_join(ollama: FakeOllama, joiners: int = 3, **options: Any) -> list[AsyncResult]:
    """One that runs, and others that have joined it, in that order."""
    first = ask(**options)
    wait_until(lambda: runs(ollama) == 1, "the first one runs")
    others = ask(joiners)
    for other in others:
        wait_until(lambda: status(other.id) is JobState.JOINED, "the others join")  # noqa: B023
    return first + others


def gone(client: redis.Redis) -> None:
    """Nothing of a flight, and nothing of custody, is left."""
    prefixes = (
        KEYS.group,
        KEYS.followers,
        KEYS.waiters,
        KEYS.handoff,
        KEYS.unacked,
        KEYS.unacked_jobs,
    )
    wait_until(
        lambda: not [key for prefix in prefixes for key in client.keys(f"{prefix}*")],
        "nothing is left behind",
    )


def test_one_runs_and_every_caller_gets_the_answer_under_its_own_id(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Also those that are still in another queue, and across workers."""
    slow(ollama, 1.5)
    start_worker(CONCURRENCY="2")
    start_worker(CONCURRENCY="2")
    results = ask(5) + ask(5, priority="low") + ask(5, priority="normal")
    answers = [result.get(timeout=20) for result in results]
    assert runs(ollama) == 1
    assert [answer["task_id"] for answer in answers] == [result.id for result in results]
    assert sorted(answer["origin"] for answer in answers) == ["computed"] + ["joined"] * 14
    assert len({answer["text"] for answer in answers}) == 1
    [computed] = [answer for answer in answers if answer["origin"] == "computed"]
    for answer in answers:
        assert {**answer["timings"], "queued_seconds": 0} == {
            **computed["timings"],
            "queued_seconds": 0,
        }
    gone(redis_client)


def test_joined_jobs_hold_no_slot(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """Two slots: one runs the question of six, the other is free for something else."""
    slow(ollama, 20)
    start_worker(CONCURRENCY="2")
    lead_and_join(ollama, 5)
    ollama.respond = lambda _: Script()
    assert tasks.generate.delay("other").get(timeout=10)["text"] == "Hello."


def test_an_urgent_job_does_not_wait_for_an_identical_one_that_has_not_started(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """The low one is behind 20 others; whoever starts first leads, and answers it too."""
    order: list[str] = []

    def respond(body: dict[str, Any]) -> Script:
        order.append(body["messages"][-1]["content"])
        return Script(first_seconds=0.05)

    start_worker(CONCURRENCY="1")
    ollama.respond = lambda _: Script(first_seconds=1)
    tasks.generate.delay("runs already")
    wait_until(lambda: runs(ollama, "runs already") == 1, "the slot is taken")
    ollama.respond = respond
    for number in range(20):
        tasks.generate.delay(f"before {number}", priority="low")
    low = ask(priority="low")[0]
    high = ask(priority="high")[0]
    assert high.get(timeout=20)["origin"] == "computed"
    assert low.get(timeout=1)["origin"] == "joined"
    assert order[0] == "same"


def test_a_failure_for_good_is_everybodys(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The same typed error, one dead letter for the one piece of work, no retry by the others."""
    ollama.respond = lambda _: Script(first_seconds=1.5, status=500, error="broken")
    start_worker(CONCURRENCY="2", MAX_ATTEMPTS="1")
    for result in lead_and_join(ollama):
        with pytest.raises(errors.ModelFailed):
            result.get(timeout=20)
    assert runs(ollama) == 1
    assert redis_client.zcard(KEYS.dead_letters) == 1
    gone(redis_client)


def test_tries_are_shared(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """Four callers and MAX_ATTEMPTS=3: the model is asked three times, not twelve."""
    ollama.respond = lambda _: Script(first_seconds=0.5, status=503, error="server busy")
    start_worker(CONCURRENCY="4", MAX_ATTEMPTS="3", RETRY_BASE_SECONDS="0.2")
    results = lead_and_join(ollama)
    for result in results:
        with pytest.raises(errors.OllamaBusy):
            result.get(timeout=30)
    assert runs(ollama) == 3


def test_when_the_first_caller_cancels_the_others_get_their_answer(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """It is told at once; the generation goes on."""
    slow(ollama, 3)
    start_worker(CONCURRENCY="2")
    first, *others = lead_and_join(ollama)
    assert cancel(first.id) is JobState.CANCELLED
    with pytest.raises(errors.Cancelled):
        first.get(timeout=1)
    assert cancel(others[0].id) is JobState.CANCELLED
    assert [other.get(timeout=20)["origin"] for other in others[1:]] == ["joined"] * 2
    with pytest.raises(errors.Cancelled):
        others[0].get(timeout=1)
    assert runs(ollama) == 1
    assert ollama.seen[0].finished
    gone(redis_client)


def test_the_last_one_to_leave_stops_it(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Whoever is the last: the first caller or another."""
    slow(ollama, 60)
    start_worker(CONCURRENCY="2")
    for order in (slice(None), slice(None, None, -1)):
        results = lead_and_join(ollama)
        for result in results[order]:
            cancel(result.id)
        wait_until(lambda: ollama.seen[-1].closed_at is not None, "the stream is closed")
        for result in results:
            with pytest.raises(errors.Cancelled):
                result.get(timeout=10)
        gone(redis_client)
        ollama.seen.clear()


def test_it_runs_to_the_latest_deadline(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The first caller's time is over in the middle; it is told, the others are answered."""
    slow(ollama, 4)
    start_worker(CONCURRENCY="2")
    first, *others = lead_and_join(ollama, deadline_seconds=1.5)
    with pytest.raises(errors.DeadlineExceeded):
        first.get(timeout=3.5)
    assert [other.get(timeout=20)["origin"] for other in others] == ["joined"] * 3
    assert runs(ollama) == 1
    gone(redis_client)


def test_when_everybodys_time_is_over_it_stops(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """At the latest of them."""
    slow(ollama, 60)
    start_worker(CONCURRENCY="2")
    first = ask(deadline_seconds=1.5)
    wait_until(lambda: runs(ollama) == 1, "the first one runs")
    for result in first + ask(deadline_seconds=3):
        with pytest.raises(errors.DeadlineExceeded):
            result.get(timeout=10)
    wait_until(lambda: ollama.seen[-1].closed_at is not None, "the stream is closed")
    gone(redis_client)


@pytest.mark.parametrize("first_leaves", [False, True])
def test_when_the_leaders_worker_is_killed_another_leads(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis, first_leaves: bool
) -> None:
    """Two generations, every caller answered; also when the first caller had left before."""
    slow(ollama, 60)
    leading = start_worker(**SHORT_LEASE, CONCURRENCY="2")
    results = lead_and_join(ollama, 5)
    if first_leaves:
        cancel(results.pop(0).id)
    start_worker(**SHORT_LEASE, CONCURRENCY="2")
    leading.kill()
    slow(ollama, 1)
    answers = [result.get(timeout=30) for result in results]
    assert runs(ollama) == 2
    assert sorted(answer["origin"] for answer in answers).count("computed") == 1
    gone(redis_client)


def test_identical_jobs_share_their_crashes(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Six times the same poison takes down MAX_CRASHES workers, not six times as many."""
    slow(ollama, 60)
    results: list[AsyncResult] = []
    for crash in (1, 2):
        worker = start_worker(**SHORT_LEASE, MAX_CRASHES="2", CONCURRENCY="3")
        results = results or lead_and_join(ollama, 5)
        wait_until(lambda: runs(ollama) == crash, "it runs", 60)  # noqa: B023
        worker.kill()
    start_worker(**SHORT_LEASE, MAX_CRASHES="2", CONCURRENCY="3")
    for result in results:
        with pytest.raises(errors.CrashedTooOften):
            result.get(timeout=30)
    assert runs(ollama) == 2


def test_a_drain_gives_all_of_them_to_the_next_worker(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """SIGTERM: the leader goes back to its queue, and so do those who joined it."""
    slow(ollama, 60)
    worker = start_worker(DRAIN_SECONDS="1", CONCURRENCY="2")
    results = lead_and_join(ollama)
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: not worker.running, "the worker ends")
    assert [status(result.id) for result in results] == [JobState.QUEUED] * 4
    slow(ollama, 0.5)
    start_worker(CONCURRENCY="2")
    assert [result.get(timeout=20)["finish_reason"] for result in results] == ["stop"] * 4
    assert runs(ollama) == 2
    gone(redis_client)


def test_a_job_in_a_chord_joins_too_and_ends_in_a_workers_hands(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Celery's callbacks fire, and the model is asked once for the two equal parts."""
    slow(ollama, 1)
    start_worker(CONCURRENCY="3")
    parts = [tasks.generate.s("same"), tasks.generate.s("same")]
    alone = ask()[0]
    wait_until(lambda: runs(ollama) == 1, "it runs")
    body = tasks.summarize.s(max_summary_tokens=50)
    result = chord(parts)(body)
    assert result.get(timeout=30)["kind"] == "summarize"
    assert [part.get(timeout=5)["origin"] for part in result.parent.results].count("joined") == 2
    assert alone.get(timeout=5)["origin"] == "computed"
    assert runs(ollama) == 1
    gone(redis_client)


def test_a_job_in_a_chord_fails_with_the_work_that_it_joined(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """And does not try again by itself."""
    ollama.respond = lambda _: Script(first_seconds=1.5, status=503, error="server busy")
    start_worker(CONCURRENCY="2", MAX_ATTEMPTS="1")
    first = ask()[0]
    wait_until(lambda: runs(ollama) == 1, "the first one runs")
    chain = (tasks.generate.s("same") | tasks.summarize.s()).apply_async()
    wait_until(lambda: status(chain.parent.id) is JobState.JOINED, "the first of the chain joins")
    with pytest.raises(errors.OllamaBusy):
        chain.parent.get(timeout=20)
    with pytest.raises(errors.OllamaBusy):
        first.get(timeout=5)
    assert runs(ollama) == 1


def test_a_joined_job_in_a_chain_can_be_cancelled(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """A worker ends it, before the one that it joined is done."""
    slow(ollama, 20)
    start_worker(CONCURRENCY="2")
    ask()
    wait_until(lambda: runs(ollama) == 1, "the first one runs")
    chain = (tasks.generate.s("same") | tasks.summarize.s()).apply_async()
    wait_until(lambda: status(chain.parent.id) is JobState.JOINED, "the first of the chain joins")
    cancel(chain.parent.id)
    with pytest.raises(errors.Cancelled):
        chain.parent.get(timeout=10)


def test_two_tenants_do_not_share(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """Each scope has its own generation."""
    slow(ollama, 1)
    start_worker(CONCURRENCY="4")
    results = ask(3, cache_scope="one") + ask(3, cache_scope="two")
    assert [result.get(timeout=20)["task_id"] for result in results] == [r.id for r in results]
    assert runs(ollama) == 2


def test_jobs_that_were_sent_by_name_join(
    start_worker: StartWorker, ollama: FakeOllama, redis_process: Any
) -> None:
    """The worker makes the fingerprint of what another app sends."""
    slow(ollama, 1.5)
    start_worker(CONCURRENCY="2")
    first = ask()[0]
    wait_until(lambda: runs(ollama) == 1, "the first one runs")
    other = Celery("other", broker=redis_process.url, set_as_current=False)
    sent = other.send_task("llm.generate", kwargs={"prompt": "same"}, queue="llm.low")
    assert app.AsyncResult(sent.id).get(timeout=20)["origin"] == "joined"
    assert first.get(timeout=5)["origin"] == "computed"
    assert runs(ollama) == 1


# --- odd ends -----------------------------------------------------------------------------------


def test_tries_are_shared_with_those_that_are_still_queued(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """One slot: nobody joins, and yet the model is asked three times for all of them."""
    ollama.respond = lambda _: Script(first_seconds=0.3, status=503, error="server busy")
    start_worker(CONCURRENCY="1", MAX_ATTEMPTS="3", RETRY_BASE_SECONDS="0.2")
    for result in ask(6):
        with pytest.raises(errors.OllamaBusy):
            result.get(timeout=30)
    assert runs(ollama) == 3


@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_a_leader_in_a_chain_ends_for_itself_and_the_others_are_answered(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis, end: str
) -> None:
    """It cannot leave before its end, as a worker has to end it; nothing is generated twice."""
    slow(ollama, 3)
    start_worker(CONCURRENCY="2")
    limit = {"deadline_seconds": 1.5} if end == "deadline" else {}
    chain = (tasks.generate.s("same", **limit) | tasks.summarize.s()).apply_async()
    wait_until(lambda: runs(ollama) == 1, "the first of the chain runs")
    other = ask()[0]
    wait_until(lambda: status(other.id) is JobState.JOINED, "the other joins")
    if end == "cancel":
        cancel(chain.parent.id)
    assert other.get(timeout=20)["origin"] == "joined"
    with pytest.raises(errors.Cancelled if end == "cancel" else errors.DeadlineExceeded):
        chain.parent.get(timeout=5)
    assert runs(ollama) == 1
    gone(redis_client)


def test_a_leader_in_a_chain_that_nobody_wants_stops(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """The chain was cancelled first, then the last who waited with it."""
    slow(ollama, 60)
    start_worker(CONCURRENCY="2")
    chain = (tasks.generate.s("same") | tasks.summarize.s()).apply_async()
    wait_until(lambda: runs(ollama) == 1, "the first of the chain runs")
    other = ask()[0]
    wait_until(lambda: status(other.id) is JobState.JOINED, "the other joins")
    cancel(chain.parent.id)
    cancel(other.id)
    wait_until(lambda: ollama.seen[0].closed_at is not None, "the stream is closed")
    with pytest.raises(errors.Cancelled):
        chain.parent.get(timeout=10)


def test_a_job_whose_caller_was_told_that_it_was_not_sent_leads_nobody(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Redis had queued it all the same, and a worker runs it; who has joined it is run again."""
    slow(ollama, 4)
    start_worker(**SHORT_LEASE, CONCURRENCY="2")
    first, other = lead_and_join(ollama, 1)
    process_store().jobs.forget(first.id)
    slow(ollama, 0.5)
    assert other.get(timeout=20)["origin"] == "computed"
    gone(redis_client)


def test_a_worker_without_cache_shares_nothing(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Also where a caller has noted the job, because another worker shares."""
    sharing = start_worker(CONCURRENCY="1")
    slow(ollama, 3)
    tasks.generate.delay("keeps the other busy")
    wait_until(lambda: len(ollama.seen) == 1, "it runs")
    slow(ollama, 1)
    start_worker(CONCURRENCY="2", ENABLE_CACHE="false")
    results = ask(2)
    assert [result.get(timeout=20)["origin"] for result in results] == ["computed"] * 2
    assert sharing.running
    wait_until(lambda: not redis_client.keys(f"{KEYS.waiters}*"), "nobody is noted")

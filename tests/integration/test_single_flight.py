"""One of several identical jobs runs and answers all, even if it fails or its worker dies.

Where no worker dies and none is alone with its part, it runs in this process (`local_llm`).
"""

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
from local_llm_service.testing import LocalLLM
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker
from tests.integration.identical_jobs import (
    ask,
    lead_and_join,
    runs,
    slow,
    wait_until_nothing_is_left,
)

KEYS = Keys()

pytestmark = pytest.mark.local_llm(redis="embedded")

SHORT_LEASE = {"LEASE_SECONDS": "3"}


def test_one_runs_and_every_caller_gets_the_answer_under_its_own_id(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """This includes jobs that are still in another queue, and jobs at other workers."""
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
    wait_until_nothing_is_left(redis_client)


def test_joined_jobs_hold_no_slot(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """Of two slots one runs the question of six callers; the other is free for another job."""
    slow(ollama, 20)
    start_worker(CONCURRENCY="2")
    lead_and_join(ollama, 5)
    ollama.respond = lambda _: Script()
    assert tasks.generate.delay("other").get(timeout=10)["text"] == "Hello."


def test_an_urgent_job_does_not_wait_for_an_identical_one_that_has_not_started(
    local_llm: LocalLLM,
) -> None:
    """The low job waits behind 20 others; the job that starts first leads and answers both."""
    with local_llm.held():
        tasks.generate.delay("runs already")
        local_llm.wait_until_asked()
        for number in range(20):
            tasks.generate.delay(f"before {number}", priority="low")
        low = ask(priority="low")[0]
        high = ask(priority="high")[0]
    assert high.get(timeout=20)["origin"] == "computed"
    assert low.get(timeout=1)["origin"] == "joined"
    assert local_llm.prompts[1].text == "same"


@pytest.mark.local_llm(redis="embedded", slots=4)
def test_two_tenants_do_not_share(local_llm: LocalLLM) -> None:
    """Each cache scope has its own generation."""
    with local_llm.held():
        results = ask(3, cache_scope="one") + ask(3, cache_scope="two")
        local_llm.wait_until_asked(2)
    assert [result.get(timeout=20)["task_id"] for result in results] == [r.id for r in results]
    assert runs(local_llm) == 2


def test_jobs_that_were_sent_by_name_join(
    start_worker: StartWorker, ollama: FakeOllama, redis_process: Any
) -> None:
    """The worker computes the fingerprint of a job that another app sends."""
    slow(ollama, 1.5)
    start_worker(CONCURRENCY="2")
    first = ask()[0]
    wait_until(lambda: runs(ollama) == 1, "the leader runs")
    other = Celery("other", broker=redis_process.url, set_as_current=False)
    sent = other.send_task("llm.generate", kwargs={"prompt": "same"}, queue="llm.low")
    assert app.AsyncResult(sent.id).get(timeout=20)["origin"] == "joined"
    assert first.get(timeout=5)["origin"] == "computed"
    assert runs(ollama) == 1


def test_a_worker_without_cache_shares_nothing(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """This holds even for waiters that a caller registered because another worker shares."""
    sharing = start_worker(CONCURRENCY="1")
    slow(ollama, 3)
    tasks.generate.delay("keeps the other busy")
    wait_until(lambda: len(ollama.seen) == 1, "it runs")
    slow(ollama, 1)
    start_worker(CONCURRENCY="2", ENABLE_CACHE="false")
    results = ask(2)
    assert [result.get(timeout=20)["origin"] for result in results] == ["computed"] * 2
    assert sharing.running
    wait_until(lambda: not redis_client.keys(f"{KEYS.waiters}*"), "no waiter is left")


@pytest.mark.local_llm(redis="embedded", slots=3)
def test_a_job_in_a_chord_joins_too_and_a_worker_ends_it(local_llm: LocalLLM) -> None:
    """Celery's callbacks run, and the model is asked once for the two equal members."""
    with local_llm.held():
        alone = ask()[0]
        local_llm.wait_until_asked()
        body = tasks.summarize.s(max_summary_tokens=50)
        result = chord([tasks.generate.s("same"), tasks.generate.s("same")])(body)
        for part in result.parent.results:
            wait_until(lambda p=part: status(p.id) is JobState.JOINED, "it joins")  # type: ignore[misc]
    assert result.get(timeout=30)["kind"] == "summarize"
    assert [part.get(timeout=5)["origin"] for part in result.parent.results] == ["joined"] * 2
    assert alone.get(timeout=5)["origin"] == "computed"
    assert runs(local_llm) == 1
    wait_until_nothing_is_left()


# --- failures, deaths, drains ---------------------------------------------------------------------


@pytest.mark.local_llm(redis="embedded", slots=2)
def test_a_permanent_failure_reaches_every_waiter(local_llm: LocalLLM) -> None:
    """Each gets the same typed error; the group makes one dead letter, and no follower retries."""
    local_llm.fail(errors.ModelFailed)
    with local_llm.held():
        results = lead_and_join(local_llm)
    for result in results:
        with pytest.raises(errors.ModelFailed):
            result.get(timeout=20)
    assert runs(local_llm) == 1
    assert process_store().client.zcard(KEYS.dead_letters) == 1
    wait_until_nothing_is_left()


@pytest.mark.local_llm(redis="embedded", slots=4)
def test_tries_are_shared(local_llm: LocalLLM) -> None:
    """Four callers and MAX_ATTEMPTS=3: the model is asked three times, not twelve."""
    local_llm.fail(errors.OllamaBusy, times=None)
    with local_llm.held():
        results = lead_and_join(local_llm)
    for result in results:
        with pytest.raises(errors.OllamaBusy):
            result.get(timeout=30)
    assert runs(local_llm) == 3


def test_tries_are_shared_with_those_that_are_still_queued(local_llm: LocalLLM) -> None:
    """With one slot no job joins, yet the model is asked only three times for all of them."""
    local_llm.fail(errors.OllamaBusy, times=None)
    with local_llm.held():
        results = ask(6)
    for result in results:
        with pytest.raises(errors.OllamaBusy):
            result.get(timeout=30)
    assert runs(local_llm) == 3


@pytest.mark.local_llm(redis="embedded", slots=2, settings={"max_attempts": 1})
def test_a_job_in_a_chain_fails_with_the_job_that_it_joined(local_llm: LocalLLM) -> None:
    """The joined job does not retry by itself."""
    local_llm.fail(errors.OllamaBusy, times=None)
    with local_llm.held():
        first = ask()[0]
        local_llm.wait_until_asked()
        chain = (tasks.generate.s("same") | tasks.summarize.s()).apply_async()
        wait_until(lambda: status(chain.parent.id) is JobState.JOINED, "the first of it joins")
    with pytest.raises(errors.OllamaBusy):
        chain.parent.get(timeout=20)
    with pytest.raises(errors.OllamaBusy):
        first.get(timeout=5)
    assert runs(local_llm) == 1


@pytest.mark.parametrize("first_leaves", [False, True])
def test_when_the_leaders_worker_is_killed_another_leads(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis, first_leaves: bool
) -> None:
    """The model runs twice and answers every caller, even if the first caller left before."""
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
    wait_until_nothing_is_left(redis_client)


def test_identical_jobs_share_their_crashes(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Six identical poison jobs take down MAX_CRASHES workers, not six times as many."""
    slow(ollama, 60)
    results: list[AsyncResult] = []
    for crash in (1, 2):
        worker = start_worker(**SHORT_LEASE, MAX_CRASHES="2", CONCURRENCY="3")
        results = results or lead_and_join(ollama, 5)
        wait_until(lambda: runs(ollama) == crash, "the leader runs", 60)  # noqa: B023
        worker.kill()
    start_worker(**SHORT_LEASE, MAX_CRASHES="2", CONCURRENCY="3")
    for result in results:
        with pytest.raises(errors.CrashedTooOften):
            result.get(timeout=30)
    assert runs(ollama) == 2


def test_a_drain_leaves_the_whole_group_to_the_next_worker(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """On SIGTERM the leader goes back to its queue, and so do its followers."""
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
    wait_until_nothing_is_left(redis_client)

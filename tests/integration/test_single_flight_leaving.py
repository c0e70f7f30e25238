"""A caller that leaves, by a cancel or a deadline, does not take the answer from the others."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import cancel, status
from local_llm_service.testing import LocalLLM
from local_llm_service.worker import errors
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker
from tests.integration.identical_jobs import (
    ask,
    lead_and_join,
    runs,
    slow,
    wait_until_nothing_is_left,
)

#: Where no stream has to be seen closed, the worker runs in this process, on a real Redis.
pytestmark = pytest.mark.local_llm(redis="embedded", slots=2)

SHORT_LEASE = {"LEASE_SECONDS": "3"}


def test_when_the_first_caller_cancels_the_others_get_their_answer(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The first caller is told at once, and the generation goes on."""
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
    wait_until_nothing_is_left(redis_client)


def test_the_last_caller_to_leave_stops_the_generation(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The last to leave may be the first caller or another one."""
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
        wait_until_nothing_is_left(redis_client)
        ollama.seen.clear()


def test_the_generation_runs_to_the_latest_deadline(local_llm: LocalLLM) -> None:
    """The first caller's deadline passes midway: that caller is told, the others are answered."""
    with local_llm.held():
        first, *others = lead_and_join(local_llm, deadline_seconds=1)
        with pytest.raises(errors.DeadlineExceeded):
            first.get(timeout=5)
    assert [other.get(timeout=20)["origin"] for other in others] == ["joined"] * 3
    assert runs(local_llm) == 1
    wait_until_nothing_is_left()


def test_the_generation_stops_when_every_deadline_has_passed(local_llm: LocalLLM) -> None:
    """It stops at the latest deadline of all callers."""
    with local_llm.held():
        first = ask(deadline_seconds=0.5)
        local_llm.wait_until_asked()
        for result in first + ask(deadline_seconds=1):
            with pytest.raises(errors.DeadlineExceeded):
                result.get(timeout=10)
        wait_until_nothing_is_left()


def test_a_joined_job_in_a_chain_can_be_cancelled(local_llm: LocalLLM) -> None:
    """A worker ends the joined job before its leader is done."""
    with local_llm.held():
        ask()
        local_llm.wait_until_asked()
        chain = (tasks.generate.s("same") | tasks.summarize.s()).apply_async()
        wait_until(lambda: status(chain.parent.id) is JobState.JOINED, "the first of it joins")
        cancel(chain.parent.id)
        with pytest.raises(errors.Cancelled):
            chain.parent.get(timeout=10)


@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_a_leader_in_a_chain_ends_for_itself_and_the_others_are_answered(
    local_llm: LocalLLM, end: str
) -> None:
    """A worker has to end the leader, so it cannot leave before; the model runs only once."""
    limit = {}
    if end == "deadline":
        limit = {"deadline_seconds": 1}
        local_llm.delay(2)
    with local_llm.held() if end == "cancel" else nullcontext():
        chain = (tasks.generate.s("same", **limit) | tasks.summarize.s()).apply_async()
        local_llm.wait_until_asked()
        other = ask()[0]
        wait_until(lambda: status(other.id) is JobState.JOINED, "the other joins")
        if end == "cancel":
            cancel(chain.parent.id)
    assert other.get(timeout=20)["origin"] == "joined"
    with pytest.raises(errors.Cancelled if end == "cancel" else errors.DeadlineExceeded):
        chain.parent.get(timeout=5)
    assert runs(local_llm) == 1
    wait_until_nothing_is_left()


def test_a_leader_in_a_chain_stops_when_every_caller_has_left(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """The chain is cancelled first, then the last job that waits with it."""
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


def test_a_job_whose_caller_was_told_it_was_not_sent_leads_no_group(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Redis had queued the job all the same and a worker runs it; its follower runs again."""
    slow(ollama, 4)
    start_worker(**SHORT_LEASE, CONCURRENCY="2")
    first, other = lead_and_join(ollama, 1)
    process_store().jobs.forget(first.id, first.id)
    slow(ollama, 0.5)
    assert other.get(timeout=20)["origin"] == "computed"
    wait_until_nothing_is_left(redis_client)

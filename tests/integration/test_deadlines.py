"""A deadline holds while Ollama is away, in a long queue, and in a chain or chord."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import chain, chord
from celery.exceptions import ChordError

from local_llm_service import tasks
from local_llm_service.producers import cancel, health, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()
CHAINS = 120


@pytest.fixture
def away(start_worker: StartWorker, ollama: FakeOllama) -> Iterator[FakeOllama]:
    """A worker that takes no jobs, because its Ollama is away."""
    worker = start_worker(CONCURRENCY="2")
    ollama.stop()
    tasks.generate.delay("finds that Ollama is away", priority="low")
    closed = "taking no jobs"
    wait_until(lambda: closed in worker.log_path.read_text(), "the gate is closed")
    yield ollama
    ollama.start()


def two_steps(seconds: float) -> Any:
    """A chain whose first step has this deadline."""
    return chain(
        tasks.generate.s(f"step {uuid4()}", deadline_seconds=seconds), tasks.summarize.s()
    ).apply_async()


def test_overdue_chains_hold_up_no_other_deadline(away: FakeOllama) -> None:
    """They are many and older; the plain job is told that it is too late all the same."""
    flows = [two_steps(0.5) for _ in range(CHAINS)]
    plain = tasks.generate.delay("plain", deadline_seconds=4)
    with pytest.raises(errors.DeadlineExceeded):
        plain.get(timeout=20)
    for flow in flows:  # told by a worker, whose gate is closed
        with pytest.raises(errors.DeadlineExceeded):
            flow.get(timeout=20)
    assert health()["status"] != "healthy", "Ollama has been away all the time"


def test_cancelled_members_end_while_ollama_is_away(away: FakeOllama) -> None:
    """A chord hears of them at once, not when Ollama is back."""
    body = tasks.generate.s().set(task_id="body")
    chord([tasks.generate.s(one).set(task_id=one) for one in "ab"], body).apply_async()
    assert [cancel(one) for one in "ab"] == [JobState.RUNNING] * 2
    with pytest.raises(ChordError):
        app.AsyncResult("body").get(timeout=20)
    assert [status(one) for one in "ab"] == [JobState.CANCELLED] * 2


def test_a_cancelled_step_that_waits_for_its_start_ends_at_once(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """Its countdown would have been over in a minute."""
    first = tasks.generate.s("a").set(task_id="first", countdown=60)
    last = chain(first, tasks.generate.s()).apply_async()
    start_worker()
    cancel("first")
    with pytest.raises(errors.Cancelled):
        last.get(timeout=20)
    assert redis_client.zcard(KEYS.deferred) == 0


def test_a_chain_deep_in_a_queue_ends_in_time(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """It does not wait for its turn behind a thousand others, which lose nothing by it."""
    ollama.respond = lambda _: Script(first_seconds=0.5)
    start_worker(CONCURRENCY="1")
    before = [tasks.generate.delay(f"before {number}").id for number in range(1000)]
    flow = two_steps(1)
    after = tasks.generate.delay("after").id
    with pytest.raises(errors.DeadlineExceeded):
        flow.get(timeout=20)
    waiting = redis_client.lrange(KEYS.queue("llm.high"), 0, -1)
    ids = [json.loads(message)["headers"]["id"] for message in reversed(waiting)]
    assert [*before, after][-len(ids) :] == ids


def sift_all() -> None:
    """Look through all queues once."""
    while process_store().endings.sift(keys.QUEUES):
        pass


def test_a_search_takes_only_what_it_seeks(redis_client: redis.Redis) -> None:
    """Not a message that names such an id elsewhere, nor one of a job that has its result."""
    tasks.generate.s("decoy").apply_async(headers={"id": "late", "more": {"id": "late"}})
    chain(tasks.generate.s("x").set(task_id="late"), tasks.generate.s()).apply_async()
    chain(tasks.generate.s("é").set(task_id='q"é\\'), tasks.generate.s()).apply_async()
    for task_id in ("late", 'q"é\\'):
        cancel(task_id)
    assert redis_client.scard(KEYS.sought) == 2
    sift_all()
    found = redis_client.lrange(KEYS.ending("llm.high"), 0, -1)
    assert [json.loads(one)["headers"]["id"] for one in found] == ['q"é\\', "late"]
    assert redis_client.llen(KEYS.queue("llm.high")) == 1
    assert redis_client.scard(KEYS.sought) == 0


def test_a_search_ends_when_there_is_nothing_to_find(redis_client: redis.Redis) -> None:
    """A worker ended the job in the meantime, or its record is gone."""
    for task_id in ("ended", "gone"):
        chain(tasks.generate.s("x").set(task_id=task_id), tasks.generate.s()).apply_async()
        cancel(task_id)
    redis_client.delete(KEYS.queue("llm.high"), KEYS.job("gone"))
    redis_client.hset(KEYS.job("ended"), "settled", "1")
    redis_client.rpush(KEYS.queue("llm.high"), "no message")
    sift_all()
    assert redis_client.scard(KEYS.sought) == 0

"""Ends that are easy to get wrong.

Members of a canvas that are cancelled, messages that nobody can read, records that have expired,
processes that died between two calls.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from celery import chain, chord
from celery.exceptions import ChordError

from local_llm_service import tasks
from local_llm_service.producers import cancel, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.jobs import Jobs, JobState, Lifetimes, NewJob
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()


def message(**changes: Any) -> str:
    """A message as another language might send it, with some parts wrong."""
    whole = {
        "body": "W1tdLCB7InByb21wdCI6ICJoaSJ9LCB7fV0=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "llm.generate", "id": "odd"},
        "properties": {"delivery_tag": "t", "delivery_info": {}, "body_encoding": "base64"},
    }
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    "raw",
    [
        message(body="not base64!"),
        message(body=7),
        message(headers={"task": None, "id": "odd"}),
        message(headers={"task": "llm.generate", "id": "odd", "stamped_headers": 7}),
        message(properties={"delivery_tag": "t", "body_encoding": "nonsense"}),
        message().replace('"base64"', '"base64", "priority": 0x2'),
        "not json at all",
        "{}",
    ],
)
def test_a_message_that_nobody_can_read_ends_no_worker(
    start_worker: StartWorker, redis_client: redis.Redis, raw: str
) -> None:
    """It is refused or put aside; what comes after it is answered by the same worker."""
    redis_client.lpush("llm.high", raw)
    worker = start_worker()
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."
    assert worker.running
    wait_until(lambda: redis_client.hlen(KEYS.unacked) == 0, "nothing is left in custody")


def test_a_message_with_a_byte_that_is_no_text_ends_no_worker(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """Redis lists hold bytes."""
    redis_client.execute_command("LPUSH", "llm.high", b"\xff" + message().encode())
    start_worker()
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."


def test_a_chord_hears_of_a_member_that_was_cancelled(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Cancelled while it waited, without any worker: whoever waits for the body is told."""
    body = tasks.generate.s().set(task_id="body")
    flow = chord([tasks.generate.s("a").set(task_id="a"), tasks.generate.s("b")], body)
    flow.apply_async()
    assert cancel("a") is JobState.RUNNING
    start_worker()
    with pytest.raises(ChordError):
        app.AsyncResult("body").get(timeout=20)
    assert status("a") is JobState.CANCELLED


def test_the_end_of_a_chain_hears_of_a_step_that_was_cancelled(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """By its own id, in a process that knows nothing of the steps before."""
    last = chain(tasks.generate.s("a").set(task_id="first"), tasks.generate.s()).apply_async()
    cancel("first")
    start_worker()
    with pytest.raises(errors.Cancelled):
        app.AsyncResult(last.id).get(timeout=20)


def test_a_cancelled_job_does_not_run_when_its_record_has_expired(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Its message may lie in a long queue for longer than RESULT_TTL."""
    unwanted = tasks.generate.delay("unwanted")
    cancel(unwanted.id)
    redis_client.delete(KEYS.job(unwanted.id))
    start_worker()
    tasks.generate.delay("hi").get(timeout=20)
    assert [seen.body["messages"][-1]["content"] for seen in ollama.seen] == ["hi"]


def test_an_id_whose_producer_died_before_it_was_queued_can_be_sent_again(
    redis_client: redis.Redis,
) -> None:
    """A record without a message is no job; one with a message is."""
    jobs = Jobs(redis_client, Lifetimes(60, 60))
    jobs.submit(NewJob("order-1", "generate", "llm.high", 60.0, 0, canvas=False, has_new_id=False))
    for _ in range(2):
        tasks.generate.apply_async(("hi",), task_id="order-1")
        assert redis_client.llen("llm.high") == 1


def test_a_message_whose_record_is_gone_is_swept_whole(redis_client: redis.Redis) -> None:
    """What is cut off is the queue's own name, not the one that a record would tell."""
    jobs = Jobs(redis_client, Lifetimes(60, 60))
    sent = tasks.generate.delay("hi")
    (raw,) = redis_client.lrange("llm.high", 0, -1)
    taken = jobs.take(keys.QUEUES, worker="one", may_take_quarantined=True, nonce="1")
    assert taken is not None
    redis_client.hset(KEYS.job(sent.id), "queue", "llm.normal")
    redis_client.zadd(KEYS.unacked_index, {taken.tag: 0})
    jobs.sweep(lease_seconds=1, max_crashes=3)
    assert redis_client.lrange(KEYS.quarantine_of("llm.high"), 0, -1) == [raw]


def test_a_redis_that_is_full_is_an_error_with_a_hint_and_loses_no_lease(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Producers are told, running jobs keep their leases and their answers are taken."""
    ollama.respond = lambda _: Script(chunks=("a",) * 6, pause_seconds=1)
    start_worker(LEASE_SECONDS="3")
    start_worker(LEASE_SECONDS="3")
    running = tasks.generate.delay("long")
    wait_until(lambda: ollama.seen, "it runs")
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(errors.BrokerUnreachable, match="refuses the command"):
            tasks.generate.delay("more")
        assert running.get(timeout=30)["finish_reason"] == "stop"
    finally:
        redis_client.config_set("maxmemory", "0")
    assert len(ollama.seen) == 1

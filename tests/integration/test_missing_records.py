"""Messages whose record has expired, and records whose producer died before the message."""

from __future__ import annotations

import redis

from local_llm_service import tasks
from local_llm_service.producers import cancel
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import Lifetimes, NewJob
from local_llm_service.worker.store.store import Store
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker

KEYS = Keys()


def test_a_cancelled_job_does_not_run_when_its_record_has_expired(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The message may wait in a long queue for longer than RESULT_TTL."""
    cancelled = tasks.generate.delay("cancelled")
    cancel(cancelled.id)
    redis_client.delete(KEYS.job(cancelled.id))
    start_worker()
    tasks.generate.delay("hi").get(timeout=20)
    assert [seen.body["messages"][-1]["content"] for seen in ollama.seen] == ["hi"]


def test_an_id_whose_producer_died_before_it_was_queued_can_be_sent_again(
    redis_client: redis.Redis,
) -> None:
    """A record with a message is a job; a record without a message is not."""
    jobs = Store(redis_client, Lifetimes(60, 60, 60)).jobs
    jobs.submit(NewJob("order-1", "generate", "llm.high", 60.0, 0, canvas=False, has_new_id=False))
    for _ in range(2):
        tasks.generate.apply_async(("hi",), task_id="order-1")
        assert redis_client.llen(KEYS.queue("llm.high")) == 1


def test_a_message_whose_record_is_gone_is_swept_whole(redis_client: redis.Redis) -> None:
    """The reaper puts back the whole message, under its delivery's own queue, not the record's."""
    jobs = Store(redis_client, Lifetimes(60, 60, 60)).jobs
    sent = tasks.generate.delay("hi")
    (raw,) = redis_client.lrange(KEYS.queue("llm.high"), 0, -1)
    delivery = jobs.take(keys.QUEUES, worker="one", may_take_quarantined=True, nonce="1")
    assert delivery is not None
    redis_client.hset(KEYS.job(sent.id), "queue", "llm.normal")
    redis_client.zadd(KEYS.unacked_index, {delivery.tag: 0})
    jobs.reap(lease_seconds=1, max_crashes=3)
    assert redis_client.lrange(KEYS.quarantine_of("llm.high"), 0, -1) == [raw]

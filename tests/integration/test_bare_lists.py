"""Applications with stock Celery send by name, and know nothing of our key prefix."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from celery import Celery

from local_llm_service import tasks
from local_llm_service.producers import cancel
from local_llm_service.worker.celery_ext import bare_lists
from local_llm_service.worker.embedded.processes.stack import WorkerProcess
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import Store, process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker

KEYS = Keys()
QUEUE = "llm.normal"


def stock_app(**settings: Any) -> Celery:
    """A backend's own app: of ours it knows the queue and the names of the tasks."""
    url = os.environ["REDIS_URL"]
    app = Celery("backend", broker=url, backend=url, set_as_current=False)
    app.conf.update(task_default_queue=QUEUE, **settings)
    return app


def send(app: Celery | None = None, prompt: str = "hi", **options: Any) -> str:
    """Send a job by name; returns its id."""
    sent = (app or stock_app()).send_task("llm.generate", [prompt], queue=QUEUE, **options)
    return str(sent.id)


def answer(task_id: str, timeout_seconds: float = 20) -> dict[str, Any]:
    """What the job was answered."""
    found = tasks.generate.AsyncResult(task_id).get(timeout=timeout_seconds)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def store(redis_client: redis.Redis) -> Store:
    """The store of this process, with which the test collects in a worker's place."""
    return process_store()


def test_a_stock_sender_is_answered(
    worker: WorkerProcess, redis_client: redis.Redis, ollama: FakeOllama
) -> None:
    """It needs no setting of ours: a worker collects its message within a second or so."""
    began = time.monotonic()
    task_id = send()
    assert answer(task_id)["text"] == "Hello."
    assert time.monotonic() - began < 3
    assert redis_client.llen(QUEUE) == 0
    assert len(ollama.seen) == 1


def test_a_message_waits_on_the_bare_list_until_it_is_collected(
    redis_client: redis.Redis, store: Store
) -> None:
    """Then it is in our queue, and its job has a record: kind, queue, deadline."""
    task_id = send()
    assert redis_client.llen(QUEUE) == 1
    assert store.jobs.state(task_id) is None
    assert bare_lists.collect(store) == 1
    assert redis_client.llen(QUEUE) == 0
    assert redis_client.llen(KEYS.queue(QUEUE)) == 1
    record = store.jobs.record(task_id)
    assert record is not None
    assert (record.kind, record.queue, record.state) == ("generate", QUEUE, JobState.QUEUED)
    assert redis_client.zscore(KEYS.deadlines, task_id) == record.deadline_ms


def test_the_oldest_goes_first(redis_client: redis.Redis, store: Store) -> None:
    """As it would have on the bare list."""
    ids = [send() for _ in range(3)]
    bare_lists.collect(store)
    queued = redis_client.lrange(KEYS.queue(QUEUE), 0, -1)
    assert [json.loads(raw)["headers"]["id"] for raw in reversed(queued)] == ids


def test_a_collector_that_dies_between_copy_and_removal(
    redis_client: redis.Redis, store: Store, start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """The next one finds that the id was copied: the job runs once."""
    task_id = send()
    bare_lists._copy(store, QUEUE, redis_client.lrange(QUEUE, 0, -1)[0])
    assert redis_client.llen(QUEUE) == 1, "it died here"
    assert bare_lists.collect(store) == 1
    assert redis_client.llen(QUEUE) == 0
    assert redis_client.llen(KEYS.queue(QUEUE)) == 1
    start_worker()
    assert answer(task_id)["text"] == "Hello."
    wait_until(lambda: redis_client.hlen(KEYS.unacked) == 0, "nothing is held")
    assert len(ollama.seen) == 1


def test_a_job_that_was_answered_is_not_copied_again(
    redis_client: redis.Redis, store: Store, start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """Also where it had ended before the second collector came."""
    task_id = send()
    raw = redis_client.lrange(QUEUE, 0, -1)[0]
    start_worker()
    answer(task_id)
    redis_client.lpush(QUEUE, raw)
    wait_until(lambda: redis_client.llen(QUEUE) == 0, "the worker drops it")
    assert redis_client.llen(KEYS.queue(QUEUE)) == 0
    assert len(ollama.seen) == 1


def test_two_collectors_at_once(redis_client: redis.Redis, store: Store) -> None:
    """Every message is copied once, and none is lost."""
    app = stock_app()
    ids = [send(app) for _ in range(60)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bare_lists.collect, [store] * 4))
    assert redis_client.llen(QUEUE) == 0
    queued = redis_client.lrange(KEYS.queue(QUEUE), 0, -1)
    assert sorted(json.loads(raw)["headers"]["id"] for raw in queued) == sorted(ids)


@pytest.mark.parametrize(
    "raw",
    [
        b"no JSON",
        b"[]",
        b'{"headers": {}, "properties": {}}',
        b'{"headers": {"id": 5, "task": "llm.generate"}, "properties": {"delivery_tag": "1"}}',
        b'{"headers": {"id": "5", "task": "llm.generate"}, "properties": {}}',
        b"\xff\xfe not UTF-8",
    ],
)
def test_what_is_not_a_message_is_set_aside(
    redis_client: redis.Redis, store: Store, raw: bytes
) -> None:
    """For a look; what comes after it is collected."""
    redis_client.lpush(QUEUE, raw)
    task_id = send()
    assert bare_lists.collect(store) == 2
    assert redis_client.lrange(KEYS.unreadable, 0, -1) == [raw.decode(errors="replace")]
    assert redis_client.llen(QUEUE) == 0
    assert store.jobs.state(task_id) is JobState.QUEUED


def test_bytes_that_are_not_utf8_do_not_stay(redis_client: redis.Redis, store: Store) -> None:
    """The copy has replacement characters; what is removed is the message as it was sent."""
    send(task_id="sent")
    raw = redis_client.lpop(QUEUE).encode().replace(b'"lang"', b'"l\xffng"')
    redis_client.lpush(QUEUE, raw)
    assert bare_lists.collect(store) == 1
    assert redis_client.llen(QUEUE) == 0
    assert store.jobs.state("sent") is JobState.QUEUED


def test_a_countdown_is_kept(
    redis_client: redis.Redis, store: Store, start_worker: StartWorker
) -> None:
    """The job waits in Redis, not in a worker, and starts when it is due."""
    began = time.time()
    task_id = send(countdown=2)
    assert bare_lists.collect(store) == 1
    assert store.jobs.state(task_id) is JobState.DEFERRED
    due = redis_client.zscore(KEYS.deferred, task_id)
    assert due == pytest.approx((began + 2) * 1000, abs=500)
    start_worker()
    assert answer(task_id)["text"] == "Hello."
    assert time.time() - began >= 1.9


def test_a_sender_that_sets_the_prefix_needs_no_collector(
    redis_client: redis.Redis, worker: WorkerProcess
) -> None:
    """With `global_keyprefix` its message goes straight into our queue, and so does its answer to
    it: the way for a Redis Cluster."""
    prefix = {"global_keyprefix": keys.DEFAULT_PREFIX}
    app = stock_app(broker_transport_options=prefix, result_backend_transport_options=prefix)
    task_id = send(app)
    assert redis_client.llen(QUEUE) == 0
    assert app.AsyncResult(task_id).get(timeout=20)["text"] == "Hello."


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_a_call_that_others_wait_for_is_ended_by_a_worker(
    redis_client: redis.Redis, store: Store, option: str
) -> None:
    """Only a worker that holds the message can call what comes after the job."""
    app = stock_app()
    task_id = send(app, **{option: app.signature("llm.generate", queue=QUEUE)})
    assert bare_lists.collect(store) == 1
    record = store.jobs.record(task_id)
    assert record is not None
    assert record.canvas
    assert cancel(task_id) is JobState.RUNNING, "the next worker fails it and tells the others"
    assert store.jobs.record(send(app)) is None, "not collected yet"
    assert bare_lists.collect(store) == 1


def test_a_call_that_nobody_waits_for_is_cancelled_at_once(
    redis_client: redis.Redis, store: Store
) -> None:
    """No worker is needed for that."""
    task_id = send()
    assert bare_lists.collect(store) == 1
    assert cancel(task_id) is JobState.CANCELLED


def test_another_applications_key_of_that_name_stays(
    redis_client: redis.Redis, store: Store
) -> None:
    """The other lists are collected all the same."""
    redis_client.set("llm.high", "not ours", ex=60)
    task_id = send()
    assert bare_lists.collect(store) == 1
    assert store.jobs.state(task_id) is JobState.QUEUED
    assert redis_client.get("llm.high") == "not ours"

"""Jobs sent by name: deadline, start and expiry are kept in Redis, never in a worker's memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import redis
from celery import Celery

from local_llm_service import tasks
from local_llm_service.producers import cancel, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext import bare_lists
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()
QUEUE = "llm.normal"

Send = Callable[..., str]


def sender(**settings: Any) -> Send:
    """A backend's own app, which sends one job by name."""
    url = os.environ["REDIS_URL"]
    backend = Celery("backend", broker=url, backend=url, set_as_current=False)
    backend.conf.update(task_default_queue=QUEUE, **settings)

    def send(**options: Any) -> str:
        kwargs = {"prompt": "hi", **options.pop("kwargs", {})}
        return str(backend.send_task("llm.generate", kwargs=kwargs, queue=QUEUE, **options).id)

    return send


def bare() -> Send:
    """It puts the message on a bare list."""
    return sender()


def direct() -> Send:
    """It puts the message straight into our list, past all who collect."""
    return sender(broker_transport_options={"global_keyprefix": KEYS.prefix})


both_ways = pytest.mark.parametrize("way", [bare, direct])


def deadline_in(client: redis.Redis, task_id: str) -> float:
    """Seconds to a job's deadline."""
    record = process_store().jobs.record(task_id)
    assert record is not None
    assert record.deadline_ms is not None
    seconds, _ = client.time()  # type: ignore[misc]
    return record.deadline_ms / 1000 - int(seconds)


def test_a_deadline_holds_from_when_the_message_is_collected(redis_client: redis.Redis) -> None:
    """Not from when a worker takes the job, which may be later than that. The earlier counts."""
    soon = datetime.now(UTC) + timedelta(seconds=200)
    send, default = bare(), process_store().jobs.default_deadline_seconds
    asked = [
        (send(kwargs={"deadline_seconds": 100}), 100),
        (send(kwargs={"deadline_seconds": 100_000}), 100_000),
        (send(expires=soon), 200),
        (send(expires=soon, kwargs={"deadline_seconds": 100}), 100),
        (send(expires=soon, kwargs={"deadline_seconds": 300}), 200),
        (send(kwargs={"deadline_seconds": "soon"}), default),
        (send(kwargs={"deadline_seconds": float("nan")}), default),
        (send(kwargs={"deadline_seconds": -5}), default),
    ]
    bare_lists.collect(process_store())
    for task_id, wanted in asked:
        assert deadline_in(redis_client, task_id) == pytest.approx(wanted, abs=10)
        assert redis_client.zscore(KEYS.deadlines, task_id)


@both_ways
def test_a_job_that_waits_too_long_fails(
    start_worker: StartWorker, ollama: FakeOllama, way: Callable[[], Send]
) -> None:
    """It does not run when its time is over before the only slot is free."""
    ollama.respond = lambda body: Script(first_seconds=4 if "long" in str(body) else 0)
    start_worker(CONCURRENCY="1")
    long = tasks.generate.delay("a long job")
    wait_until(lambda: len(ollama.seen) == 1, "the slot is taken")
    late = [way()(expires=datetime.now(UTC) + timedelta(seconds=1))]
    if way is bare:  # of the other, nobody can read this before the slot is free
        late.append(way()(kwargs={"deadline_seconds": 1}))
    for task_id in late:
        with pytest.raises(errors.DeadlineExceeded):
            tasks.generate.AsyncResult(task_id).get(timeout=20)
    assert long.get(timeout=20)
    assert len(ollama.seen) == 1


def test_a_deadline_bounds_the_work_of_a_job_that_nobody_collected(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """From when it is taken, as nobody could read it before."""
    ollama.respond = lambda _: Script(first_seconds=60)
    start_worker()
    task_id = direct()(kwargs={"deadline_seconds": 1})
    with pytest.raises(errors.DeadlineExceeded):
        tasks.generate.AsyncResult(task_id).get(timeout=20)


def in_worker_memory() -> list[str]:
    """Ids of jobs that Celery holds until their time has come."""
    ask = app.control.inspect(timeout=10, limit=1)  # the only worker's reply ends the wait
    replies = wait_until(ask.scheduled, "the worker replies")
    return [one["request"]["id"] for worker in replies.values() for one in worker]


@both_ways
def test_a_countdown_waits_in_redis(
    start_worker: StartWorker,
    ollama: FakeOllama,
    redis_client: redis.Redis,
    way: Callable[[], Send],
) -> None:
    """There a cancel and a deadline end it; and no slot is lost to it."""
    start_worker(CONCURRENCY="1")
    sent = {name: way()(countdown=600) for name in ("cancelled", "too late", "waits")}
    jobs = process_store().jobs
    for task_id in sent.values():
        wait_until(lambda one=task_id: jobs.state(one) is JobState.DEFERRED, "it is deferred")
    assert in_worker_memory() == []
    assert cancel(sent["cancelled"]) is JobState.CANCELLED
    redis_client.zadd(KEYS.deadlines, {sent["too late"]: 1}, xx=True)
    with pytest.raises(errors.DeadlineExceeded):
        tasks.generate.AsyncResult(sent["too late"]).get(timeout=20)
    # Its start has come: the header that says so is an hour old.
    message = str(redis_client.hget(KEYS.deferred_messages, sent["waits"]))
    redis_client.hset(KEYS.deferred_messages, sent["waits"], _an_hour_ago(message))
    redis_client.zadd(KEYS.deferred, {sent["waits"]: 1}, xx=True)
    assert tasks.generate.AsyncResult(sent["waits"]).get(timeout=20)["text"] == "Hello."
    assert len(ollama.seen) == 1


def _an_hour_ago(message: str) -> str:
    soon, passed = datetime.now(UTC).year, datetime.now(UTC).year - 1
    return message.replace(f'"eta": "{soon}', f'"eta": "{passed}')


@both_ways
def test_a_deadline_of_its_own_ends_a_countdown(
    start_worker: StartWorker, ollama: FakeOllama, way: Callable[[], Send]
) -> None:
    """Though the sender's Celery did not refuse a start after the end."""
    start_worker()
    task_id = way()(countdown=600, kwargs={"deadline_seconds": 1})
    with pytest.raises(errors.DeadlineExceeded):
        tasks.generate.AsyncResult(task_id).get(timeout=20)
    assert ollama.seen == []


def test_whoever_waits_for_a_deferred_job_is_not_forgotten(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """Celery calls an errback only if a worker ends the job: so a cancel leaves that to one."""
    start_worker()
    told = tasks.generate.s("told").set(task_id="told", immutable=True, queue="llm.high")
    task_id = direct()(countdown=600, link_error=told)
    jobs = process_store().jobs
    wait_until(lambda: jobs.state(task_id) is JobState.DEFERRED, "it is deferred")
    assert cancel(task_id) is JobState.RUNNING
    wait_until(lambda: status(task_id) is JobState.CANCELLED, "a worker ends it")


def test_a_rate_limit_is_refused(worker: WorkerProcess) -> None:
    """As a control command: the reply says what to do, and jobs go on as before."""
    limit = partial(app.control.rate_limit, "llm.generate", "1/h", reply=True, timeout=2)
    (reply,) = wait_until(limit, "the worker replies")[0].values()
    assert "CONCURRENCY" in reply["error"]
    for _ in range(3):
        assert tasks.generate.delay("hi", cache=False).get(timeout=20)


START_LIMITED = """
from local_llm_service import tasks
from local_llm_service.worker.app import app
tasks.generate.rate_limit = "1/m"
app.worker_main(["worker", "--loglevel=warning"])
"""


def test_a_rate_limit_of_a_task_keeps_a_worker_from_starting(
    redis_client: redis.Redis, run_python: Callable[..., Any]
) -> None:
    """Silence would break deadlines, and an operator would not know why."""
    done = run_python("-c", START_LIMITED, timeout=40)
    assert "no rate_limit for llm.generate" in done.stdout + done.stderr

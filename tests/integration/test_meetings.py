"""Where two mechanisms meet: reused ids, suspects, parked and ending jobs, a clock set back."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import chain

from local_llm_service import tasks
from local_llm_service.producers import service
from local_llm_service.worker.app import app
from local_llm_service.worker.lease.in_flight import InFlightDeliveries
from local_llm_service.worker.lease.isolation import Isolation
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.jobs import Jobs
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import Delivery
from local_llm_service.worker.store.store import process_store

KEYS = Keys()


@pytest.fixture
def jobs(redis_client: redis.Redis) -> Jobs:
    """The moves on the run's Redis."""
    return process_store().jobs


def ask(words: str, **options: Any) -> str:
    """Send one job to the high queue."""
    return str(tasks.generate.apply_async((words,), {"cache": False}, **options).id)


def take(jobs: Jobs, worker: str = "one", **options: Any) -> Delivery | None:
    """Take as an idle worker does, or as `options` say."""
    given = {"may_take_quarantined": True, **options}
    return jobs.take(keys.QUEUES, worker=worker, nonce=uuid4().hex, **given)


def prompt_of(delivery: Delivery) -> str:
    """The question in a message."""
    return str(json.loads(json.loads(delivery.message)["body"])[1]["prompt"])


def test_a_reused_id_runs_the_new_question(jobs: Jobs) -> None:
    """The message of the cancelled job is in the queue still."""
    ask("old", task_id="mine")
    service.cancel("mine")
    app.AsyncResult("mine").forget()
    ask("new", task_id="mine")
    found = take(jobs)
    assert found is not None
    assert prompt_of(found) == "new"
    assert take(jobs) is None


def test_a_suspect_comes_to_the_worker_that_has_its_model(
    jobs: Jobs, redis_client: redis.Redis
) -> None:
    """The one that lacks it parks it and is not emptied for it; the one that has it is."""
    suspect = tasks.generate.apply_async(("x",), {"cache": False, "model": "big:7b"}).id
    found = take(jobs, models=("big:7b", "*"))
    assert found is not None
    assert jobs.release(suspect, found.token, engine_died="beside")
    for number in range(4):
        ask(f"other {number}")
    cleared: list[str] = []

    def busy(worker: str, *models: str) -> Delivery | None:
        return take(
            jobs,
            worker,
            models=models,
            may_take_quarantined=False,
            on_clear=lambda: cleared.append(worker),
        )

    assert busy("lacks it", "small:1b", "*") is not None
    assert cleared == []
    assert busy("has it", "big:7b", "*") is None
    assert cleared == ["has it"]
    found = take(jobs, "has it", models=("big:7b", "*"))
    assert found is not None
    assert found.task_id == suspect


def test_a_suspect_that_has_only_to_be_ended_is_no_suspect(
    jobs: Jobs, redis_client: redis.Redis
) -> None:
    """No engine runs it: a busy worker ends it at once."""
    first = chain(tasks.generate.s("a", cache=False), tasks.generate.s()).apply_async().parent
    found = take(jobs)
    assert found is not None
    assert jobs.release(first.id, found.token, engine_died="beside")
    service.cancel(first.id)
    process_store().endings.sift(keys.QUEUES)
    found = take(jobs, may_take_quarantined=False)
    assert found is not None
    assert (found.task_id, found.cancelled) == (first.id, True)


def test_a_suspect_does_not_run_beside_an_abandoned_prompt() -> None:
    """That prompt may be what kills the engine."""
    occupied = [1]
    isolation = Isolation(InFlightDeliveries(), 2, lambda: occupied[0])
    assert not isolation.may_take_quarantined, "an abandoned prompt is in the engine still"
    occupied[0] = 0
    assert isolation.may_take_quarantined


def test_fan_outs_are_found_by_the_clock_of_the_scripts(
    jobs: Jobs, redis_client: redis.Redis
) -> None:
    """The clock of Redis's host was set back an hour, and time went on."""
    ahead_ms = 3_600_000
    seconds, micros = redis_client.time()  # type: ignore[misc]
    now_ms = seconds * 1000 + micros // 1000
    redis_client.hset(KEYS.clock, mapping={"last": now_ms + ahead_ms, "offset": ahead_ms})
    redis_client.zadd(KEYS.fan_outs, {"left": now_ms + ahead_ms - 5000})
    assert jobs.open_fan_outs(1.0) == ["left"]
    redis_client.delete(KEYS.clock, KEYS.fan_outs)


def test_a_compressed_message_is_read_like_any_other(jobs: Jobs) -> None:
    """What follows the job is in its body."""
    from local_llm_service.worker.celery_ext.afterwork import request_of

    ask("x", compression="gzip", link=tasks.generate.s())
    found = take(jobs)
    assert found is not None
    request = request_of(found.message)
    assert request is not None
    assert request.callbacks[0]["task"] == "llm.generate"

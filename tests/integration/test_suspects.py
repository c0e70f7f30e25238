"""Suspects in Redis: what release counts and what take hands out."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
import redis

from local_llm_service.worker.store import keys
from local_llm_service.worker.store.jobs import Jobs
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import Delivery
from local_llm_service.worker.store.states import NewJob
from local_llm_service.worker.store.store import process_store

KEYS = Keys()
QUEUE = "llm.normal"


@pytest.fixture
def jobs(redis_client: redis.Redis) -> Jobs:
    """The moves on the run's Redis."""
    return process_store().jobs


def put(jobs: Jobs, task_id: str, queue: str = QUEUE) -> None:
    """Admit a job and queue its message."""
    jobs.submit(NewJob(task_id, "generate", queue, 60.0, 0, canvas=False, has_new_id=True))
    headers = {"id": task_id, "task": "llm.generate", "llm_submitted": True}
    message = {"headers": headers, "properties": {"delivery_tag": f"tag-{task_id}"}}
    jobs.put(queue, json.dumps(message), task_id, 0)


def take(jobs: Jobs, worker: str = "one", **options: Any) -> Delivery | None:
    """Take as an idle worker does, or as `options` say."""
    given = {"may_take_quarantined": True, **options}
    return jobs.take(keys.QUEUES, worker=worker, nonce=uuid4().hex, **given)


def die(jobs: Jobs, task_id: str, how: str) -> None:
    """Take the job, and let its engine die."""
    found = take(jobs)
    assert found is not None
    assert found.task_id == task_id
    assert jobs.release(task_id, found.token, engine_died=how)  # type: ignore[arg-type]


def deaths(client: redis.Redis, task_id: str) -> str | None:
    """The count in the job's record."""
    return client.hget(KEYS.job(task_id), "engine_deaths")  # type: ignore[return-value]


def test_deaths_beside_others_count_once_and_deaths_alone_each_time(
    jobs: Jobs, redis_client: redis.Redis
) -> None:
    """However often its neighbours kill, the innocent is a suspect and no more."""
    put(jobs, "a")
    for how, count in (("beside", "1"), ("beside", "1"), ("alone", "2"), ("alone", "3")):
        die(jobs, "a", how)
        assert deaths(redis_client, "a") == count
    assert redis_client.llen(KEYS.quarantine_of(QUEUE)) == 1
    assert jobs.replay("a", deadline_seconds=1, default_queue=QUEUE) is False


def test_the_first_death_charges_nobody_even_if_it_was_alone(
    jobs: Jobs, redis_client: redis.Redis
) -> None:
    """A suspect by a worker's crash runs alone as well."""
    put(jobs, "a")
    die(jobs, "a", "alone")
    assert deaths(redis_client, "a") == "1"


def test_a_release_that_is_repeated_counts_once(jobs: Jobs, redis_client: redis.Redis) -> None:
    """Its reply was lost, and redis-py sends it again."""
    put(jobs, "a")
    found = take(jobs)
    assert found is not None
    assert jobs.release("a", found.token, engine_died="beside")
    assert not jobs.release("a", found.token, engine_died="beside")
    assert deaths(redis_client, "a") == "1"


def test_an_idle_worker_takes_a_suspect_first_or_after_the_others(jobs: Jobs) -> None:
    """As its isolation says: after a suspect, others of the same queue have their turn."""
    put(jobs, "suspect")
    die(jobs, "suspect", "beside")
    put(jobs, "other")
    found = take(jobs, others_first=True)
    assert found is not None
    assert (found.task_id, found.engine_deaths, found.is_suspect) == ("other", 0, False)
    found = take(jobs, others_first=True)
    assert found is not None
    assert (found.task_id, found.engine_deaths, found.is_suspect) == ("suspect", 1, True)


def test_one_busy_worker_at_a_time_empties_itself_for_a_suspect(
    jobs: Jobs, redis_client: redis.Redis
) -> None:
    """The others go on, and so does that one in more urgent queues."""
    put(jobs, "suspect")
    die(jobs, "suspect", "beside")
    for number in range(3):
        put(jobs, f"other {number}")
    told: list[str] = []
    busy = {"may_take_quarantined": False, "on_clear": lambda: told.append("clear")}
    assert take(jobs, "one", **busy) is None
    assert told == ["clear"]
    found = take(jobs, "two", **busy)
    assert found is not None
    assert found.task_id == "other 0"
    assert take(jobs, "one", **busy) is None
    put(jobs, "urgent", "llm.high")
    found = take(jobs, "one", **busy)
    assert found is not None
    assert found.task_id == "urgent"
    found = take(jobs, "one", may_take_quarantined=False, others_first=True)  # owed to the others
    assert found is not None
    assert found.task_id == "other 1"
    redis_client.delete(KEYS.clearing)  # as after its lifetime: worker one died
    assert take(jobs, "two", **busy) is None


def test_a_suspect_in_a_queue_is_not_taken_beside_others(
    jobs: Jobs, redis_client: redis.Redis
) -> None:
    """It shares its group's count, and so its message still waits among the healthy."""
    put(jobs, "twin")
    redis_client.hset(KEYS.job("twin"), "engine_deaths", 1)
    put(jobs, "other")
    found = take(jobs, may_take_quarantined=False)
    assert found is not None
    assert found.task_id == "other"
    assert redis_client.llen(KEYS.quarantine_of(QUEUE)) == 1
    found = take(jobs)
    assert found is not None
    assert (found.task_id, found.is_suspect) == ("twin", True)

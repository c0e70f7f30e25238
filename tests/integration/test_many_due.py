"""Many jobs are due at once: one turn of a chore is for all of them, not for the first hundred."""

from __future__ import annotations

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker.celery_ext.steps import lease_heartbeat
from local_llm_service.worker.engine import open_engine
from local_llm_service.worker.lease import turns
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.store import process_store

KEYS = Keys()
MANY = 350


@pytest.fixture(autouse=True)
def long_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much fits into a turn depends on the machine; tests/unit/test_turns.py has its end."""
    monkeypatch.setattr(turns, "TURN_SECONDS", 60)


def do_chores() -> None:
    """What a worker's heartbeat does once a second."""
    settings = Settings()
    runtime = WorkerRuntime.make("w", 1, settings, process_store(), open_engine(settings))
    lease_heartbeat(runtime)._do_chores()


def test_all_pauses_that_are_over_end_in_one_turn(redis_client: redis.Redis) -> None:
    """A retry storm, or a scheduler that sends everything for nine o'clock."""
    for number in range(MANY):
        tasks.generate.s(f"prompt {number}").apply_async(countdown=60)
    due = {str(task_id): 0 for task_id in redis_client.zrange(KEYS.deferred, 0, -1)}
    redis_client.zadd(KEYS.deferred, due)
    do_chores()
    assert redis_client.zcard(KEYS.deferred) == 0
    assert redis_client.llen(KEYS.queue("llm.high")) == MANY


def test_all_jobs_that_are_too_late_fail_in_one_turn(redis_client: redis.Redis) -> None:
    """Also behind as many that a worker has to end."""
    for number in range(MANY):
        tasks.generate.s(f"prompt {number}").apply_async(link=tasks.summarize.s())
    plain = [tasks.generate.delay(f"prompt {number}", deadline_seconds=60) for number in range(9)]
    late = {str(task_id): n for n, task_id in enumerate(redis_client.zrange(KEYS.deadlines, 0, -1))}
    for task_id in late:
        redis_client.hset(KEYS.job(task_id), "deadline_ms", 1)
    redis_client.zadd(KEYS.deadlines, dict.fromkeys(late, 1))
    redis_client.zadd(KEYS.deadlines, {one.id: 2 for one in plain})
    do_chores()
    assert all(redis_client.exists(KEYS.result(one.id)) for one in plain)
    assert redis_client.llen(KEYS.ending("llm.high")) == MANY


def test_everything_on_a_bare_list_is_collected_in_one_turn(redis_client: redis.Redis) -> None:
    """A producer with stock Celery sends what it has in one go."""
    redis_client.rpush("llm.normal", *(f"not a message {number}" for number in range(700)))
    do_chores()
    assert redis_client.exists("llm.normal") == 0

"""Somebody sets the clock of Redis's host back by an hour: leases, pauses and deadlines go on.

A test moves the clock by hand: the scripts read it from a key instead of from Redis's TIME.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.lease.chores import may_reap
from local_llm_service.worker.store import keys, scripts
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import Lifetimes
from local_llm_service.worker.store.store import Store, process_store

KEYS = Keys()
LEASE_SECONDS = 20.0
HOUR = 3600.0
_KEY = "hand_of_the_clock"


class Clock:
    """The clock of Redis's host."""

    def __init__(self, client: redis.Redis, store: Store) -> None:
        self._client, self._store = client, store
        self._seconds = 1_800_000_000.0
        self.move(0)

    def move(self, seconds: float) -> None:
        """Set it forward or back."""
        self._seconds += seconds
        whole, rest = divmod(self._seconds, 1)
        self._client.rpush(_KEY, int(whole), int(rest * 1e6))
        self._client.ltrim(_KEY, -2, -1)
        self._client.expire(_KEY, 600)

    def run(self, seconds: int) -> bool:
        """Let it go on while a worker does its chores; whether that worker may reap now."""
        may = False
        for _ in range(seconds):
            self.move(1)
            may = may_reap(self._store, LEASE_SECONDS)
        return may


@pytest.fixture
def clock(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock that only the test moves."""
    true = scripts.script_text

    def moved(*args: Any) -> str:
        text = true(*args)
        return text.replace("redis.call('TIME')", f"redis.call('LRANGE', '{_KEY}', 0, 1)")

    monkeypatch.setattr(scripts, "script_text", moved)
    process_store.cache_clear()
    yield Clock(redis_client, process_store())
    process_store.cache_clear()


def take(worker: str = "one") -> Any:
    """Take the next message."""
    nonce = uuid4().hex
    jobs = process_store().jobs
    return jobs.take(keys.QUEUES, worker=worker, may_take_quarantined=True, nonce=nonce)


def expired() -> list[str]:
    """The jobs that are too late now."""
    return process_store().endings.expired(10)[1]


def test_a_dead_workers_job_is_taken_away_within_its_lease(clock: Clock) -> None:
    """Its lease ends as if nobody had touched the clock, not an hour later."""
    clock.run(30)
    result = tasks.generate.delay("x")
    assert take() is not None
    clock.move(-HOUR)
    jobs = process_store().jobs
    clock.run(int(LEASE_SECONDS) - 1)
    assert jobs.reap(lease_seconds=LEASE_SECONDS, max_crashes=3) == []
    assert clock.run(2), "a worker has reached Redis all the time"
    assert jobs.reap(lease_seconds=LEASE_SECONDS, max_crashes=3) == [result.id]


def test_a_living_workers_job_is_not_taken_away(clock: Clock) -> None:
    """Its renewals before, during and after the change are all of one time."""
    clock.run(30)
    tasks.generate.delay("x")
    held = take()
    jobs = process_store().jobs
    clock.move(-HOUR)
    for _ in range(40):
        assert jobs.renew([(held.task_id, held.tag, held.token)]) == ([], [])
        clock.run(1)
        assert jobs.reap(lease_seconds=LEASE_SECONDS, max_crashes=3) == []


def test_pauses_and_deadlines_end_in_time(clock: Clock) -> None:
    """A deferred job wakes and a late one is failed, though the clock stands before both."""
    clock.run(3)
    jobs = process_store().jobs
    tasks.generate.s("y").apply_async(countdown=10)
    late = tasks.generate.delay("x", deadline_seconds=10)
    clock.move(-HOUR)
    clock.run(8)
    assert (jobs.wake_deferred("llm.normal"), expired()) == (0, [])
    clock.run(3)
    assert (jobs.wake_deferred("llm.normal"), expired()) == (1, [late.id])


def test_a_clock_that_is_set_right_again_does_not_leap(clock: Clock) -> None:
    """What it was set back by, it may be set forward by: no deadline passes at once."""
    clock.run(3)
    tasks.generate.delay("x", deadline_seconds=60)
    for by in (-HOUR, HOUR):
        clock.move(by)
        clock.run(3)
        assert expired() == []
    assert process_store().client.hget(KEYS.clock, "offset") == "0"


def test_a_redis_that_was_started_again_is_given_a_lease(tmp_path: Any) -> None:
    """However short it was away: the owners of all leases must be able to renew first."""
    with RedisProcess(tmp_path, appendonly=True) as server:
        client = redis.Redis.from_url(server.url, decode_responses=True)
        jobs = Store(client, Lifetimes(60, 60, 60)).jobs
        jobs.redis_up_seconds(longest_gap_seconds=60)
        client.hset(KEYS.redis_up_since, "since", 0)
        assert jobs.redis_up_seconds(longest_gap_seconds=60) > 60
        server.stop()
        server.start()
        assert jobs.redis_up_seconds(longest_gap_seconds=60) < 60
        client.close()

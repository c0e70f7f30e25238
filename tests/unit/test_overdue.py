"""A slot that does not end: when its job goes back, and when it does not."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import redis

from local_llm_service.worker.celery_ext.pool import TaskPool
from local_llm_service.worker.errors import Cancelled, DeadlineExceeded
from local_llm_service.worker.lease import overdue
from local_llm_service.worker.lease.in_flight import InFlightDeliveries, InFlightDelivery
from local_llm_service.worker.lease.overdue import Overdue
from local_llm_service.worker.store.outcomes import Delivery, Work


class Clock:
    """Monotonic time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """See time.monotonic."""
        return self.now


class Releases:
    """Stands for Jobs: what went back, or the error that Redis answers with."""

    def __init__(self) -> None:
        self.released: list[str] = []
        self.error: redis.RedisError | None = None

    def release(self, task_id: str, token: str, *, work: Work) -> bool:
        """See Jobs.release."""
        if self.error is not None:
            raise self.error
        self.released.append(token)
        return True


class Watched:
    """An Overdue with all that it looks at."""

    def __init__(self, slots: int = 4) -> None:
        self.jobs, self.deliveries, self.replaced = Releases(), InFlightDeliveries(), 0
        jobs: Any = self.jobs
        self.overdue = Overdue(jobs, self.deliveries, self._replace, slots)

    def _replace(self) -> None:
        self.replaced += 1

    def add(self, token: str, remaining_seconds: float = 5.0) -> InFlightDelivery:
        """A job that runs."""
        return self.deliveries.add(
            Delivery(
                "llm.high", "", f"job {token}", "tag", token, 0, remaining_seconds, 0, 0, False
            )
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the deliveries and of the looks."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    return clock


def pass_time(watched: Watched, clock: Clock, seconds: int) -> None:
    """Look once a second."""
    for _ in range(seconds):
        clock.now += 1
        watched.overdue.look()


def test_it_waits_for_the_deadline_and_the_grace(clock: Clock) -> None:
    """The engine and a check in a process of its own end by themselves; only then it acts."""
    watched = Watched()
    one = watched.add("1", remaining_seconds=5)
    pass_time(watched, clock, 4 + int(overdue.GRACE_SECONDS))
    assert isinstance(one.reason, DeadlineExceeded)
    assert watched.jobs.released == []
    pass_time(watched, clock, 2)
    assert (watched.jobs.released, watched.replaced, len(watched.deliveries)) == (["1"], 1, 0)
    pass_time(watched, clock, 20)
    assert watched.replaced == 1


def test_a_stop_that_nobody_obeys_counts_too(clock: Clock) -> None:
    """A cancel, a lost lease: long before the deadline."""
    watched = Watched()
    watched.add("1", remaining_seconds=3600).request_stop(Cancelled("the job was cancelled"))
    watched.add("2", remaining_seconds=3600)
    pass_time(watched, clock, int(overdue.GRACE_SECONDS) + 1)
    assert watched.jobs.released == ["1"]


def test_a_leader_runs_on_for_its_waiters(clock: Clock) -> None:
    """Its own caller's time is over, others' is not."""
    watched = Watched()
    one = watched.add("1", remaining_seconds=1)
    one.wanted_seconds = lambda: 30.0
    pass_time(watched, clock, 60)
    assert (one.reason, watched.jobs.released) == (None, [])


def test_an_outage_of_redis_does_not_count(clock: Clock) -> None:
    """While Redis is away nobody looks, and a slot that waits to store its answer is no fault."""
    watched = Watched()
    watched.add("1", remaining_seconds=1)
    pass_time(watched, clock, 5)
    clock.now += 600
    pass_time(watched, clock, int(overdue.GRACE_SECONDS))
    assert watched.jobs.released == []
    pass_time(watched, clock, 2)
    assert watched.jobs.released == ["1"]


def test_a_redis_that_refuses_keeps_the_job_in_flight(clock: Clock) -> None:
    """Its lease is renewed, and the next look tries again."""
    watched = Watched()
    watched.add("1", remaining_seconds=1)
    watched.jobs.error = redis.ResponseError("OOM")
    with pytest.raises(redis.ResponseError):
        pass_time(watched, clock, 30)
    assert (len(watched.deliveries), watched.replaced) == (1, 0)
    watched.jobs.error = None
    pass_time(watched, clock, 1)
    assert (len(watched.deliveries), watched.replaced) == (0, 1)


def test_a_worker_that_has_replaced_all_its_slots_ends(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the usual drain, and once."""
    signals: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: signals.append(number))
    watched = Watched(slots=2)
    for token in ("1", "2", "3"):
        watched.add(token, remaining_seconds=1)
    pass_time(watched, clock, 60)
    assert watched.replaced == 3
    assert len(signals) == 1


def test_the_pool_gets_one_thread_more() -> None:
    """A slot that hangs leaves room for the next job."""
    import threading

    pool = TaskPool(1)
    pool.on_start()
    hang, done = threading.Event(), threading.Event()
    pool.on_apply(lambda *_: hang.wait(), (), {})
    pool.replace_slot()
    pool.on_apply(lambda *_: done.set(), (), {})
    assert done.wait(20)
    hang.set()
    pool.on_stop()

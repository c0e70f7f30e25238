"""The chores of a lease heartbeat: what Redis refuses to one does not stop the next."""

from __future__ import annotations

import logging

import pytest
import redis

from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.lease.heartbeat import LeaseHeartbeat
from local_llm_service.worker.lease.in_flight import InFlightDeliveries
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.states import Lifetimes
from local_llm_service.worker.store.store import Store


def heartbeat(*chores: object) -> LeaseHeartbeat:
    """One that is never started: its chores are done by hand."""
    store = Store(connect("redis://127.0.0.1:1/0"), Lifetimes(60, 60, 60), prefix=DEFAULT_PREFIX)
    return LeaseHeartbeat(store, InFlightDeliveries(), 20, chores)  # type: ignore[arg-type]


def refused() -> None:
    """As Redis does for a key of another type, or when it is full."""
    raise redis.ResponseError("WRONGTYPE of a secret key")


def away() -> None:
    raise redis.ConnectionError("gone")


def test_a_chore_that_redis_refuses_does_not_stop_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Deadlines, retries and dead workers are looked at whatever else is wrong. It is said once."""
    done: list[int] = []
    one = heartbeat(refused, lambda: done.append(1))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            one._do_chores()
    assert done == [1, 1, 1]
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


def test_a_redis_that_is_away_ends_the_chores_of_this_turn() -> None:
    """Each would wait for its own timeout, and leases are more urgent."""
    done: list[int] = []
    one = heartbeat(away, lambda: done.append(1))
    with pytest.raises(redis.ConnectionError):
        one._do_chores()
    assert done == []

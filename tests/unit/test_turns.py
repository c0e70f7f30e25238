"""A chore goes on while something is due, but not for so long that a lease is renewed late."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from local_llm_service.worker.lease import heartbeat as heartbeat_module
from local_llm_service.worker.lease import turns
from local_llm_service.worker.lease.heartbeat import RENEW_SHARE, LeaseHeartbeat
from local_llm_service.worker.lease.in_flight import InFlightDeliveries
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.states import Lifetimes
from local_llm_service.worker.store.store import Store


class Clock:
    """Seconds that only the test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of turns and heartbeats."""
    clock = Clock()
    for module in (turns, heartbeat_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_a_turn_ends_when_nothing_is_due(clock: Clock) -> None:
    """Not after the first batch, as fifteen hundred jobs may be due at once."""
    left = iter([True] * 14 + [False])
    turns.turn(lambda: next(left))
    assert next(left, "none") == "none"


def test_a_turn_is_bounded(clock: Clock) -> None:
    """However much is due."""
    batches = count()

    def batch() -> bool:
        clock.now += turns.TURN_SECONDS / 3
        return next(batches) >= 0

    turns.turn(batch)
    assert next(batches) == 3


def test_leases_are_renewed_between_two_chores(clock: Clock) -> None:
    """All chores together may last longer than a lease may wait."""
    lease_seconds, renewed = 20.0, []

    def chore() -> None:
        clock.now += lease_seconds * RENEW_SHARE

    store = Store(connect("redis://127.0.0.1:1/0"), Lifetimes(60, 60, 60))
    one = LeaseHeartbeat(store, InFlightDeliveries(), lease_seconds, [chore] * 4)

    def renew() -> None:
        renewed.append(clock.now)
        one._renewed_at = clock.now

    one.renew = renew  # type: ignore[method-assign]
    one._do_chores()
    assert renewed == [1, 2, 3, 4]

"""A suspect starts in an empty worker only, and neither kind of job starves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from local_llm_service.worker.lease.in_flight import InFlightDeliveries
from local_llm_service.worker.lease.isolation import Isolation
from local_llm_service.worker.store.outcomes import Delivery

JOB = Delivery(
    queue="llm.high",
    message="{}",
    task_id="job",
    tag="tag",
    token="1",
    queued_seconds=0.1,
    remaining_seconds=60.0,
    attempts=0,
    crashes=0,
    cancelled=False,
)
SUSPECTS = [replace(JOB, token="s", engine_deaths=1), replace(JOB, token="s", crashes=1)]
SLOTS = 3


class Worker:
    """A worker's deliveries with their isolation."""

    def __init__(self) -> None:
        self.in_flight = InFlightDeliveries()
        self.isolation = Isolation(self.in_flight, SLOTS)
        self._tokens = iter(range(1000))

    def take(self, delivery: Delivery) -> str:
        """Take a message, as the transport does; returns its token."""
        token = str(next(self._tokens))
        self.isolation.took(delivery)
        self.in_flight.add(replace(delivery, task_id=token, token=token))
        return token


@pytest.fixture
def worker() -> Worker:
    """An empty worker."""
    return Worker()


def test_an_empty_worker_may_take_either(worker: Worker) -> None:
    """The suspect first: it has waited longer."""
    assert worker.isolation.may_take
    assert worker.isolation.may_take_quarantined
    assert not worker.isolation.others_first


def test_a_busy_worker_may_not_take_a_suspect(worker: Worker) -> None:
    """It takes others, or empties itself if Redis says that it is its turn."""
    worker.take(JOB)
    assert worker.isolation.may_take
    assert not worker.isolation.may_take_quarantined
    assert not worker.isolation.others_first


@pytest.mark.parametrize("suspect", SUSPECTS, ids=["engine", "worker"])
def test_nothing_starts_beside_a_suspect(worker: Worker, suspect: Delivery) -> None:
    """Until it has ended."""
    token = worker.take(suspect)
    assert not worker.isolation.may_take
    assert worker.isolation.holds_back
    worker.in_flight.end(token)
    assert worker.isolation.may_take
    assert not worker.isolation.holds_back


def test_after_a_suspect_the_others_have_as_many_places_as_there_are_slots(worker: Worker) -> None:
    """Then the next suspect may have its turn."""
    worker.in_flight.end(worker.take(SUSPECTS[0]))
    for _ in range(SLOTS):
        assert worker.isolation.others_first
        worker.take(JOB)
    assert not worker.isolation.others_first


def test_a_worker_that_empties_itself_holds_back_until_it_takes_something(worker: Worker) -> None:
    """The watchdog must not end it for that."""
    token = worker.take(JOB)
    worker.isolation.clear()
    worker.isolation.took(None)
    assert worker.isolation.holds_back
    worker.in_flight.end(token)
    assert not worker.isolation.holds_back  # an empty worker that takes nothing is stuck
    worker.take(JOB)
    assert not worker.isolation.holds_back

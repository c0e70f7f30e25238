"""The in-flight deliveries of one worker, their stops and their later releases."""

from __future__ import annotations

import threading
from dataclasses import replace

from local_llm_service.worker.errors import Cancelled, ServiceError
from local_llm_service.worker.lease.in_flight import (
    InFlightDeliveries,
    InFlightDelivery,
    Interrupted,
    Release,
)
from local_llm_service.worker.store.outcomes import Delivery

DELIVERY = Delivery(
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


def test_the_first_reason_to_stop_counts() -> None:
    """A cancel during a drain does not change the reason why the work ended."""
    one = InFlightDelivery(DELIVERY)
    first, second = Interrupted("shutting down"), Cancelled("cancelled")
    one.request_stop(first)
    one.request_stop(second)
    assert one.reason is first


def test_a_stop_is_called_once() -> None:
    """Further requests do not call it again."""
    one, stops = InFlightDelivery(DELIVERY), []
    one.on_stop(lambda: stops.append(1))
    for _ in range(3):
        one.request_stop(Cancelled(""))
    assert stops == [1]


def test_a_stop_requested_before_the_work_is_called_at_once() -> None:
    """The cancel arrived between the take and the first byte to the engine."""
    one, stops = InFlightDelivery(DELIVERY), []
    one.request_stop(Cancelled(""))
    one.on_stop(lambda: stops.append(1))
    assert stops == [1]


def test_work_that_has_ended_is_not_stopped() -> None:
    """The stop belongs to a finished call."""
    one, stops = InFlightDelivery(DELIVERY), []
    one.on_stop(lambda: stops.append(1))
    one.on_stop(None)
    one.request_stop(Cancelled(""))
    assert stops == []


def test_taking_a_job_again_stops_its_earlier_delivery() -> None:
    """The worker was cut off for longer than its lease and then got its own job again."""
    deliveries = InFlightDeliveries()
    earlier = deliveries.add(DELIVERY)
    later = deliveries.add(replace(DELIVERY, token="2"))
    other = deliveries.add(replace(DELIVERY, task_id="other", token="3"))
    assert isinstance(earlier.reason, Interrupted)
    assert (later.reason, other.reason) == (None, None)
    assert deliveries.of_job("job") == [earlier, later]


def test_deliveries_are_kept_by_token() -> None:
    """Ending the earlier delivery keeps the later one of the same job in flight."""
    deliveries = InFlightDeliveries()
    deliveries.add(DELIVERY)
    later = deliveries.add(replace(DELIVERY, token="2"))
    deliveries.end("1")
    deliveries.end("1")
    deliveries.end("never in flight")
    assert (len(deliveries), deliveries.get("1"), deliveries.get("2")) == (1, None, later)
    assert deliveries.get(None) is None


def test_a_quarantined_job_in_flight_is_known() -> None:
    """A worker runs at most one job during which a worker has died."""
    deliveries = InFlightDeliveries()
    deliveries.add(DELIVERY)
    assert not deliveries.has_quarantined()
    deliveries.add(replace(DELIVERY, task_id="poison", token="2", crashes=1))
    assert deliveries.has_quarantined()
    deliveries.end("2")
    assert not deliveries.has_quarantined()


def test_due_releases_are_returned_once() -> None:
    """The caller releases them or remembers them again."""
    deliveries = InFlightDeliveries()
    release = Release("job", "1", {"counts": True})
    deliveries.release_later(release)
    assert deliveries.due_releases() == [release]
    assert deliveries.due_releases() == []


def test_a_delivery_knows_when_its_deadline_has_passed() -> None:
    """Redis tells the remaining time; from then on this process's clock counts."""
    assert not InFlightDelivery(DELIVERY).is_overdue
    assert InFlightDelivery(replace(DELIVERY, remaining_seconds=-0.001)).is_overdue


def test_the_repr_contains_no_prompt() -> None:
    """The delivery is in a request's headers, which Celery may log."""
    one = InFlightDelivery(replace(DELIVERY, message='{"prompt": "a secret"}'))
    assert "secret" not in repr(one)


def test_one_of_many_threads_stops_the_work() -> None:
    """Heartbeat, drain and cancel may request a stop at the same moment."""
    one = InFlightDelivery(DELIVERY)
    stops: list[int] = []
    one.on_stop(lambda: stops.append(1))
    reasons: list[ServiceError] = [Cancelled(str(number)) for number in range(16)]
    start = threading.Barrier(len(reasons))

    def request(reason: ServiceError) -> None:
        start.wait()
        one.request_stop(reason)

    threads = [threading.Thread(target=request, args=(reason,)) for reason in reasons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stops == [1]
    assert one.reason in reasons


def test_a_wish_for_the_text_is_kept_until_there_is_a_text() -> None:
    """It may come before the engine was asked, and again and again after."""
    one = InFlightDelivery(DELIVERY)
    told: list[str] = []
    one.want_text()
    one.on_text_wanted(lambda: told.append("wanted"))
    assert told == ["wanted"]
    one.want_text()
    assert told == ["wanted", "wanted"]


def test_nobody_is_told_of_a_wish_that_nobody_has() -> None:
    """Then the text stays in memory."""
    told: list[str] = []
    InFlightDelivery(DELIVERY).on_text_wanted(lambda: told.append("wanted"))
    assert told == []


def test_pieces_are_counted_with_their_pace() -> None:
    """A pace needs two pieces: before the first one the prompt was read."""
    writing = InFlightDelivery(DELIVERY).writing
    assert (writing.pieces, writing.pieces_per_second) == (0, None)
    writing.note_piece()
    assert (writing.pieces, writing.pieces_per_second) == (1, None)
    for _ in range(4):
        writing.note_piece()
    assert writing.pieces == 5
    assert (writing.pieces_per_second or 0) > 0

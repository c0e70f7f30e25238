"""`retry.decide` alone decides whether a failed job is tried again."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from local_llm_service.tasks.retry import MAX_PAUSE_SECONDS, Retry, decide
from local_llm_service.worker.errors import (
    EngineTimeout,
    InvalidOutput,
    OllamaBusy,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.lease.in_flight import Interrupted, Yielded
from local_llm_service.worker.turns import Turns

OUTAGE = Retry("outage")


def after(error: ServiceError, **given: Any) -> Retry | None:
    """The decision after the first of three tries, with a reachable engine."""
    defaults: dict[str, Any] = {"attempts": 0, "max_attempts": 3, "base_seconds": 1.0}
    return decide(error, **{**defaults, "is_away": lambda: False, **given})


def test_a_failure_of_the_work_is_final() -> None:
    """The same prompt would fail again."""
    assert after(InvalidOutput("the model's answer is not JSON")) is None


def test_a_failure_of_the_work_does_not_probe_the_engine() -> None:
    """The probe costs up to 3 s in the slot."""

    def is_away() -> bool:
        raise AssertionError("asked")

    assert after(InvalidOutput(""), is_away=is_away) is None
    assert after(Interrupted("the worker is shutting down"), is_away=is_away) is not None


@pytest.mark.parametrize("attempts", [0, 2, 99])
def test_a_shutdown_does_not_count_as_a_try(attempts: int) -> None:
    """The message goes back at once, however often this happens."""
    assert after(Interrupted(""), attempts=attempts) == Retry("interrupted", 0.0, counts=False)


@pytest.mark.parametrize("attempts", [0, 2, 99])
def test_making_room_does_not_count_as_a_try(attempts: int) -> None:
    """It has a cause of its own, by which release.lua counts it."""
    assert after(Yielded(""), attempts=attempts) == Retry("yielded", 0.0, counts=False)


@pytest.mark.parametrize("attempts", [0, 2, 99])
def test_an_outage_does_not_count_as_a_try(attempts: int) -> None:
    """Otherwise every job would use up its tries while the engine is away."""
    error = OllamaUnreachable("")
    assert after(error, attempts=attempts, is_away=lambda: True) == OUTAGE


def test_a_job_that_is_taken_again_during_an_outage_pauses() -> None:
    """A route is served by either of its engines: a job that only the one away may run would be
    taken, and put back, hundreds of times a second."""
    again = after(OllamaUnreachable(""), is_away=lambda: True, comes_back=lambda: True)
    assert again is not None
    assert again.cause == "outage"
    assert not again.counts
    assert 0.5 <= again.delay_seconds <= 1.5


def test_of_many_that_are_taken_again_each_has_its_turn() -> None:
    """Else they would keep a worker busy, and no other job would be taken."""
    turns = Turns(0.05, 30.0, clock=lambda: 100.0)
    again = [
        after(OllamaUnreachable(""), is_away=lambda: True, comes_back=lambda: True,
              turn=turns.wait_seconds)
        for _ in range(200)
    ]  # fmt: skip
    pauses = [one.delay_seconds for one in again if one is not None]
    assert 0.5 <= pauses[0] <= 1.5
    assert all(later - one >= 0.0499 for one, later in pairwise(pauses))
    assert max(turns.wait_seconds(1.0) for _ in range(2000)) == 30.0
    assert turns.wait_seconds(40.0) == 40.0


def test_an_error_that_may_pass_is_tried_again_up_to_max_attempts() -> None:
    """With MAX_ATTEMPTS=3 the third failure is final."""
    decisions = [after(StreamBroken(""), attempts=attempts) for attempts in range(4)]
    assert [one is not None and one.counts for one in decisions] == [True, True, False, False]


def test_with_one_attempt_nothing_is_tried_again() -> None:
    """MAX_ATTEMPTS=1 turns retries off; an outage still does not count as a try."""
    assert after(EngineTimeout(""), max_attempts=1) is None
    assert after(EngineTimeout(""), max_attempts=1, is_away=lambda: True) == OUTAGE


def test_pauses_double_with_jitter_up_to_a_limit() -> None:
    """Jitter of 0.5 to 1.5 spreads the return of jobs that failed together."""
    for attempts, expected in ((0, 2.0), (1, 4.0), (2, 8.0), (60, MAX_PAUSE_SECONDS)):
        pauses = set()
        for _ in range(200):
            again = after(StreamBroken(""), attempts=attempts, max_attempts=99, base_seconds=2.0)
            assert again is not None
            pauses.add(again.delay_seconds)
        assert min(pauses) >= expected * 0.5
        assert max(pauses) <= expected * 1.5
        assert len(pauses) > 100, "there is jitter"


@pytest.mark.parametrize(
    ("said", "least", "most"), [(10.0, 10.0, 12.0), (3600.0, 30.0, 36.0), (0.0, 0.5, 1.5)]
)
def test_a_busy_engine_is_not_asked_before_it_wants(said: float, least: float, most: float) -> None:
    """Within the limit of any pause, and not by all jobs at the same moment."""
    error = OllamaBusy("busy")
    error.retry_after_seconds = said
    pauses = set()
    for _ in range(100):
        again = after(error)
        assert again is not None
        assert again.counts
        pauses.add(again.delay_seconds)
    assert least <= min(pauses) <= max(pauses) <= most
    assert len(pauses) > 50


@pytest.mark.parametrize(("waits", "is_tried"), [(9.0, False), (40.0, True)])
def test_a_busy_engine_is_not_waited_for_past_the_deadline(waits: float, is_tried: bool) -> None:
    """Its caller learns at once what is wrong, instead of a deadline at the end of the pause."""
    error = OllamaBusy("busy")
    error.retry_after_seconds = 10.0
    assert (after(error, wanted_for=lambda: waits) is not None) is is_tried

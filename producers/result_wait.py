"""Waiting for one job's result, and telling a job that nobody knows from one that has none yet.

Pure: what is asked of Redis are calls (worker/store/calls.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol, TypeVar

import redis
from celery import states

from local_llm_service.worker.app import app
from local_llm_service.worker.errors import NotFound, NotReady
from local_llm_service.worker.listening.wait import LONGEST_SLEEP_SECONDS, NoResult, Wait
from local_llm_service.worker.store.calls import Calls, Rest
from local_llm_service.worker.store.connection import unreachable
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.states import JobState

T = TypeVar("T")

#: A wait of at least so many seconds may begin with a read in the caller's own thread, which a
#: Redis that is silent holds for 4 s. It saves the listener's part where the result is there.
PATIENT_SECONDS = 5.0
#: When a wait first asks whether there is such a job, and again where there was; after its begin.
FIRST_CHECK_SECONDS, NEXT_CHECK_SECONDS = 0.5, 15.0
#: There is none when there was none for so long: one sent by name has no record for a second.
GONE_SECONDS = 2.0

_ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
_UNKNOWN = "It was never submitted here, or its answer has expired (RESULT_TTL)."


class Listens(Protocol):
    """What a wait needs of a listener."""

    def wait(self, task_ids: Iterable[str]) -> AbstractContextManager[Wait[Any]]:
        """Look for these results until the end of the `with`."""


class Site(Protocol):
    """Where a client's logic runs: a process with threads, or one event loop of it.

    `reads_first`: a patient wait begins with a read of its own.
    """

    @property
    def url(self) -> str:
        """REDIS_URL of this process."""

    @property
    def reads_first(self) -> bool:
        """See the class."""

    @property
    def moves(self) -> Moves:
        """The moves of jobs, as calls."""

    @property
    def eviction(self) -> EvictionCheck:
        """Whether this Redis may drop jobs."""

    @property
    def listener(self) -> Listens:
        """Finds results."""


def decoded(text: str | bytes) -> dict[str, Any] | None:
    """Celery's result as it is stored, read; None for one that is not the last."""
    meta: dict[str, Any] = app.backend.decode_result(text)
    return meta if meta["status"] in states.READY_STATES else None


def wait_for(site: Site, task_id: str, timeout_seconds: float | None) -> Calls[dict[str, Any]]:
    """Return a job's result once there is one, as Celery holds it.

    Raises NotReady after `timeout_seconds` (None: never), NotFound for a job that nobody knows, and
    BrokerUnreachable as `listening.patience` says. With 0 it is one look.
    """
    began = monotonic()
    patient = timeout_seconds is None or timeout_seconds >= PATIENT_SECONDS
    if timeout_seconds is not None and timeout_seconds <= 0:
        return (yield from _at_the_end(site, task_id, in_a_hurry=False))
    if patient and site.reads_first:
        with suppress(redis.RedisError):
            text = yield from site.moves.result(task_id)
            if text is not None and (meta := decoded(text)):
                return meta
    with site.listener.wait([task_id]) as wait:
        check = _Check(began + FIRST_CHECK_SECONDS)
        while True:
            if found := wait.take():
                if meta := decoded(found[1]):
                    return meta
                continue
            now = monotonic()
            end = wait.end(began, timeout_seconds, now)
            if end <= now:
                too_late = wait.too_late(timeout_seconds)
                if isinstance(too_late, NoResult):
                    break
                raise too_late
            if (
                check.at <= now
                and wait.is_heard
                and (meta := (yield from check.calls(site, task_id)))
            ):
                return meta
            # While Redis is away, news comes by the listener.
            at = check.at if check.at > now else now + LONGEST_SLEEP_SECONDS
            yield Rest(wait.sleeper, max(0.0, min(end, at, now + LONGEST_SLEEP_SECONDS) - now))
    return (yield from _at_the_end(site, task_id, in_a_hurry=True))


@dataclass
class _Check:
    """Whether there is such a job, asked now and then. Monotonic seconds."""

    at: float
    gone_since: float | None = None

    def calls(self, site: Site, task_id: str) -> Calls[dict[str, Any] | None]:
        """Ask; returns the result where there is one. Raises NotFound."""
        now = monotonic()
        self.at = now + NEXT_CHECK_SECONDS
        try:
            meta, state = yield from _look(site, task_id, in_a_hurry=True)
        except redis.RedisError:
            return None  # the listener knows better whether Redis is there
        if meta is not None:
            return meta
        if state is not JobState.UNKNOWN:
            self.gone_since = None
            return None
        self.gone_since = self.gone_since or now
        if now - self.gone_since >= GONE_SECONDS:
            raise not_found()
        self.at = now + GONE_SECONDS
        return None


def _at_the_end(site: Site, task_id: str, *, in_a_hurry: bool) -> Calls[dict[str, Any]]:
    """The result, should it be there after all; else raise what a wait without one ends in."""
    again = f"Ask again: local-llm result {task_id}."
    try:
        meta, state = yield from _look(site, task_id, in_a_hurry=in_a_hurry)
    except redis.RedisError as error:
        if not in_a_hurry:
            raise unreachable(site.url, error) from None
        raise NotReady("no result in time", again) from None  # Redis is there, and slow
    if meta is not None:
        return meta
    if state is JobState.UNKNOWN:
        raise not_found()
    raise NotReady(f"not ready: {state}", again)


def _look(
    site: Site, task_id: str, *, in_a_hurry: bool
) -> Calls[tuple[dict[str, Any] | None, JobState]]:
    """The result if there is one, and the job's state; UNKNOWN also where a result has expired."""
    state = None
    for _ in range(2):
        text = yield from site.moves.result(task_id, in_a_hurry=in_a_hurry)
        if text is not None and (meta := decoded(text)):
            return meta, JobState.UNKNOWN
        if state in _ENDED:
            break  # it has ended, and there was no result afterwards
        state = yield from site.moves.state(task_id, in_a_hurry=in_a_hurry)
        if state not in _ENDED:
            return None, state or JobState.UNKNOWN
    return None, JobState.UNKNOWN


def not_found() -> NotFound:
    """The error for a job that nobody knows."""
    return NotFound("no such job", _UNKNOWN)


def reaching(site: Site, calls: Calls[T]) -> Calls[T]:
    """The same calls; redis-py's errors become BrokerUnreachable."""
    try:
        return (yield from calls)
    except redis.RedisError as error:
        raise unreachable(site.url, error) from None

"""Waiting for one job's result, and telling a job that nobody knows from one that has none yet.

Pure: what is asked of Redis are calls (worker/store/calls.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from time import monotonic
from typing import Any, Protocol, TypeVar

import redis
from celery import states

from local_llm_service.worker.app import app
from local_llm_service.worker.errors import NotFound, NotReady
from local_llm_service.worker.listening.ear import Ear
from local_llm_service.worker.listening.wait import (
    GONE_SECONDS,
    LONGEST_SLEEP_SECONDS,
    NoResult,
    Wait,
)
from local_llm_service.worker.store.calls import Calls, Rest
from local_llm_service.worker.store.connection import unreachable
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.moves import Moves, look
from local_llm_service.worker.store.states import JobState

T = TypeVar("T")

#: A wait of at least so many seconds may begin with a read in the caller's own thread, which a
#: Redis that is silent holds for 4 s. It saves the listener's part where the result is there.
PATIENT_SECONDS = 5.0

_UNKNOWN = "It was never submitted here, or its answer has expired (RESULT_TTL)."


class Listens(Protocol):
    """What waits and streams need of a listener."""

    def wait(self, task_ids: Iterable[str]) -> AbstractContextManager[Wait[Any]]:
        """Look for these results until the end of the `with`."""

    def hear(self, channels: Iterable[str]) -> AbstractContextManager[Ear[Any]]:
        """Hear these channels until the end of the `with`."""

    def look_soon(self, task_id: str | None = None) -> None:
        """Look at a job again, at all without an id."""


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


def decoded(text: str) -> dict[str, Any] | None:
    """Celery's result as it is stored, read; None for one that is not the last."""
    meta: dict[str, Any] = app.backend.decode_result(text)
    return meta if meta["status"] in states.READY_STATES else None


def wait_for(site: Site, task_id: str, timeout_seconds: float | None) -> Calls[dict[str, Any]]:
    """Return a job's result once there is one, as Celery holds it.

    Raises NotReady after `timeout_seconds` (None: never), NotFound for a job that nobody knows, and
    BrokerUnreachable as `listening.patience` says. With 0 it is one look.
    """
    began = monotonic()
    if timeout_seconds is not None and timeout_seconds <= 0:
        return (yield from _look_once(site, task_id))
    if site.reads_first and (timeout_seconds is None or timeout_seconds >= PATIENT_SECONDS):
        with suppress(redis.RedisError):
            text = yield from site.moves.result(task_id)
            if text is not None and (meta := decoded(text)):
                return meta
    with site.listener.wait([task_id]) as wait:
        while True:
            if found := wait.take():
                if meta := decoded(found[1]):
                    return meta
                continue
            now = monotonic()
            if wait.is_gone(task_id):
                raise not_found()
            end = wait.end(began, timeout_seconds, now)
            if end <= now:
                raise _too_late(wait, task_id, timeout_seconds)
            until = min(end, now + LONGEST_SLEEP_SECONDS)
            since = wait.unknown_since(task_id)
            if since is not None:
                again = since + GONE_SECONDS
                if again <= now:
                    site.listener.look_soon(task_id)
                    again = now + GONE_SECONDS
                until = min(until, again)
            yield Rest(wait.sleeper, max(0.0, until - now))


def _too_late(wait: Wait[Any], task_id: str, timeout_seconds: float | None) -> Exception:
    error = wait.too_late(timeout_seconds)
    if not isinstance(error, NoResult):
        return error
    if wait.unknown_since(task_id) is not None:
        return not_found()
    return _not_ready(task_id, wait.states.get(task_id))


def _look_once(site: Site, task_id: str) -> Calls[dict[str, Any]]:
    (seen,) = yield from reaching(site, look([task_id]))
    if seen.result is not None and (meta := decoded(seen.result)):
        return meta
    raise _not_ready(task_id, seen.state) if seen.is_known else not_found()


def _not_ready(task_id: str, state: JobState | None) -> NotReady:
    words = f"not ready: {state}" if state else "not ready"
    return NotReady(words, f"Ask again: local-llm result {task_id}.")


def not_found() -> NotFound:
    """The error for a job that nobody knows."""
    return NotFound("no such job", _UNKNOWN)


def reaching(site: Site, calls: Calls[T]) -> Calls[T]:
    """The same calls; redis-py's errors become BrokerUnreachable."""
    try:
        return (yield from calls)
    except redis.RedisError as error:
        raise unreachable(site.url, error) from None

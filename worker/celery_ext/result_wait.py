"""A caller's wait for results: how long it lasts, and what ends it.

The thread of result_listener.py finds the results. A wait reads nothing from Redis, so that its own
timeout holds however long Redis takes. What a result says is read by the caller alone: one that
cannot be read harms no other wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import redis

from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store.connection import unreachable

if TYPE_CHECKING:
    from local_llm_service.worker.celery_ext.result_listener import ResultListener

#: A wait that has not reached Redis yet ends after this time. One that has reached it goes on while
#: Redis restarts.
REACH_SECONDS = 4.5
#: The first look may take longer than a shorter timeout: a result that is there is found.
LOOK_SECONDS = 1.0
#: A wait without a timeout ends when Redis has been away for this long.
AWAY_SECONDS = 60.0

#: A Redis that has been silent for this long is the reason when a wait ends.
HURRY_SECONDS = 0.7

#: A longer sleep than the platform's threads know would be an error; news wakes the caller anyway.
LONGEST_SLEEP_SECONDS = 60.0
#: What no second try changes.
_FOR_GOOD = (redis.AuthenticationError, redis.exceptions.NoPermissionError)


@dataclass(frozen=True)
class Away:
    """A Redis that does not answer: since when, and the last try. Monotonic seconds.

    Without an error it is silent so far.
    """

    since: float
    tried_at: float
    error: Exception | None = None


class NoResult(Exception):
    """The time of a wait is over, and Redis is there."""


class Wait:
    """One call's wait for the results of `task_ids`, which a ResultListener serves."""

    def __init__(self, listener: ResultListener, task_ids: Iterable[str]) -> None:
        self._listener = listener
        #: Those whose result has not come.
        self.missing = set(task_ids)
        #: Those that Redis was not asked for yet.
        self._unseen = set(self.missing)
        self._found: deque[tuple[str, bytes]] = deque()
        self._changed = threading.Event()

    # --- the listener ------------------------------------------------------------------------

    def looked_up(self, task_id: str, text: bytes | None) -> None:
        """Hand over a result as it is in Redis; None when there is none."""
        self._unseen.discard(task_id)
        if text is not None:
            self._found.append((task_id, text))
        if text is not None or not self._unseen:
            self._changed.set()

    def redis_is_away(self) -> None:
        """Let the caller decide anew when to give up."""
        self._changed.set()

    # --- the caller --------------------------------------------------------------------------

    def results(
        self,
        began: float,
        timeout: float | None,
        on_interval: Callable[[], object] | None = None,
        interval: float = 1.0,
    ) -> Iterator[tuple[str, bytes]]:
        """Each result as it comes, until none is missing: the caller says so by `done`.

        Raises NoResult `timeout` seconds (None: never) after `began`; where Redis is away then,
        BrokerUnreachable. That also comes when Redis was never reached within REACH_SECONDS, and
        without a timeout when it is away for AWAY_SECONDS. `on_interval` is called every `interval`
        seconds.
        """
        tick_at = began + interval
        while self.missing:
            while self._found:
                yield self._found.popleft()
            if not self.missing:
                return
            self._changed.clear()
            if self._found:
                continue
            now = monotonic()
            end = self._end(began, timeout, now)
            if end <= now:
                raise self._too_late(timeout)
            if on_interval is not None and tick_at <= now:
                self._tick(on_interval)
                tick_at = monotonic() + interval
            until = min(end, now + LONGEST_SLEEP_SECONDS)
            until = until if on_interval is None else min(until, tick_at)
            self._changed.wait(max(0.0, until - monotonic()))

    def done(self, task_id: str) -> None:
        """Wait no longer for this job."""
        self.missing.discard(task_id)

    def _end(self, began: float, timeout: float | None, now: float) -> float:
        """When to give up; a time before `now` means at once."""
        end = float("inf") if timeout is None else began + timeout
        away = self._listener.away()
        if self._unseen:
            if away is None or away.tried_at < began:
                end = max(end, began + LOOK_SECONDS)
            elif isinstance(away.error, _FOR_GOOD):
                return now
            return min(end, began + REACH_SECONDS)
        if timeout is None and away is not None:
            return away.since + AWAY_SECONDS
        return end

    def _too_late(self, timeout: float | None) -> Exception:
        away = self._listener.away(patience=HURRY_SECONDS)
        if not self._unseen and away is None:
            return NoResult(f"no result within {timeout} s")
        error = None if away is None else away.error
        return unreachable(self._listener.url, error or redis.TimeoutError("no answer"))

    def _tick(self, on_interval: Callable[[], object]) -> None:
        """Call back; what a callback reads from Redis must not end the wait while that is away."""
        if self._listener.away() is not None:
            return
        try:
            on_interval()
        except BrokerUnreachable:
            self._listener.look_soon()

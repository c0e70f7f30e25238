"""When a wait gives up, and with what error, by what its listener knows of Redis. Pure."""

from __future__ import annotations

from typing import Protocol

import redis

from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.listening.link import Away
from local_llm_service.worker.store.connection import unreachable

#: A wait that has not reached Redis yet ends after this time. One that has reached it goes on while
#: Redis restarts.
REACH_SECONDS = 4.5
#: The first look may take longer than a shorter timeout: a result that is there is found.
LOOK_SECONDS = 1.0
#: A wait without a timeout ends when Redis has been away for this long.
AWAY_SECONDS = 60.0
#: A Redis that has been silent for this long is the reason when a wait ends.
HURRY_SECONDS = 0.7

#: What no second try changes.
_FOR_GOOD = (redis.AuthenticationError, redis.exceptions.NoPermissionError)


class Watch(Protocol):
    """What waits need of the listener that serves them."""

    url: str

    def away(self, patience: float = ...) -> Away | None:
        """What is known of a Redis that has been silent for `patience` seconds, or refuses."""

    def look_soon(self, task_id: str | None = None) -> None:
        """Read the result of a job again, of all without an id."""


def end_of(watch: Watch, *, seen: bool, began: float, timeout: float | None, now: float) -> float:
    """When to give up; a time before `now` means at once. Monotonic seconds.

    `seen`: Redis has answered since the wait began.
    """
    end = float("inf") if timeout is None else began + timeout
    away = watch.away()
    if not seen:
        if away is None or away.tried_at < began:
            end = max(end, began + LOOK_SECONDS)
        elif isinstance(away.error, _FOR_GOOD):
            return now
        return min(end, began + REACH_SECONDS)
    if timeout is None and away is not None:
        return away.since + AWAY_SECONDS
    return end


def why_too_late(watch: Watch, *, seen: bool) -> BrokerUnreachable | None:
    """The reason of a wait's end where Redis is away; None where it is there."""
    away = watch.away(patience=HURRY_SECONDS)
    if seen and away is None:
        return None
    error = None if away is None else away.error
    return unreachable(watch.url, error or redis.TimeoutError("no answer"))

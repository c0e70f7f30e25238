"""The health of a listener's one connection: what is due when, and whether Redis is away. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

#: Between two reads of all results that somebody waits for. The ring of a result can be lost.
POLL_SECONDS = 3.0
#: Between two signs of life that are asked for on the connection, and how late one may be.
PING_SECONDS = 1.0
SILENCE_SECONDS = 2.5
#: Pauses before the next try to connect; each is twice as long as the one before.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
#: Without anybody who waits, the connection is closed after this time.
IDLE_SECONDS = 30.0


@dataclass(frozen=True)
class Away:
    """A Redis that does not answer: since when, and the last try. Monotonic seconds.

    Without an error it is silent so far.
    """

    since: float
    tried_at: float
    error: Exception | None = None


class Link:
    """One listener's connections to one Redis, one after the other. Times are monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._away: Away | None = None
        #: Since when a reply is due from Redis.
        self._asked_at: float | None = None
        self._poll_at = self._ping_at = self._idle_since = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._look_now = False

    # --- what happens ------------------------------------------------------------------------

    def is_made(self) -> None:
        """There is a new connection."""
        now = self._clock()
        self._poll_at, self._ping_at = now + POLL_SECONDS, now + PING_SECONDS
        self._idle_since = now
        self._pause = FIRST_PAUSE_SECONDS

    def asks(self) -> None:
        """Something is sent to Redis now: it is to answer."""
        self._asked_at = self._asked_at or self._clock()

    def is_there(self) -> None:
        """Redis has answered."""
        self._asked_at = None
        self._away = None

    def is_lost(self, error: Exception) -> float:
        """The connection is broken; returns the pause before the next try, seconds."""
        now = self._clock()
        since = self._away.since if self._away else self._asked_at or now
        self._away, self._asked_at = Away(since, now, error), None
        pause, self._pause = self._pause, min(LONGEST_PAUSE_SECONDS, 2 * self._pause)
        return pause

    def look_soon(self) -> None:
        """All results are to be read again at the next occasion."""
        self._look_now = True

    def is_closed(self) -> None:
        """Nobody needs the connection any more."""
        self._asked_at = None

    # --- what is to be done ------------------------------------------------------------------

    def away(self, patience: float = SILENCE_SECONDS) -> Away | None:
        """What is known of a Redis that is away; None when it is there.

        `patience`: seconds that it may take to answer.
        """
        away, asked_at = self._away, self._asked_at
        if away is None and asked_at is not None and self._clock() - asked_at > patience:
            return Away(asked_at, asked_at)
        return away

    def poll_is_due(self) -> bool:
        """Whether to read all results now; each time is told once."""
        now = self._clock()
        if now < self._poll_at and not self._look_now:
            return False
        self._look_now, self._poll_at = False, now + POLL_SECONDS
        return True

    def ping_is_due(self) -> bool:
        """Whether to ask for a sign of life now; each time is told once."""
        now = self._clock()
        if now < self._ping_at:
            return False
        self._ping_at = now + PING_SECONDS
        return True

    def is_idle(self, *, wanted: bool) -> bool:
        """Whether nobody has wanted anything for IDLE_SECONDS; `wanted`: somebody does now."""
        now = self._clock()
        if wanted:
            self._idle_since = now
        return now - self._idle_since > IDLE_SECONDS

    @property
    def rest_seconds(self) -> float:
        """Until there is something to do, should nothing happen."""
        return max(0.0, min(self._poll_at, self._ping_at) - self._clock())

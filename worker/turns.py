"""Spreads over time what many jobs want to do again and again, so that it keeps nobody busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Turns:
    """Gives each who asks a time of its own. Threads share it.

    Between two turns there are `apart_seconds`, and nobody waits for more than `most_seconds`.
    """

    def __init__(
        self,
        apart_seconds: float,
        most_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apart, self._most, self._clock = apart_seconds, most_seconds, clock
        self._lock = threading.Lock()
        self._next_at = 0.0

    def wait_seconds(self, least_seconds: float) -> float:
        """Seconds until the next free turn, `least_seconds` or more."""
        with self._lock:
            now = self._clock()
            latest = now + max(least_seconds, self._most)
            at = min(max(now + least_seconds, self._next_at), latest)
            self._next_at = at + self._apart
            return at - now

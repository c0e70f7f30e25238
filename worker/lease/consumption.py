"""One worker's record of its takes: the queues, the time of the last find, the next take's name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import uuid4


class Consumption:
    """The transport writes it; the watchdog reads it."""

    def __init__(self) -> None:
        #: The queues that this worker consumes (`-Q` may leave some out).
        self.queues: tuple[str, ...] = ()
        self._taken_at = 0.0
        self._process, self._number = uuid4().hex, 0

    @property
    def nonce(self) -> str:
        """The name of the next take; a take that is repeated after a lost reply keeps its name."""
        return f"{self._process}:{self._number}"

    def looks_into(self, queues: Sequence[str]) -> None:
        """Record that the next take looks into these queues."""
        self.queues = tuple(queues)

    def replied(self, *, found: bool) -> None:
        """Record the reply to a take: the next take gets a new name."""
        self._number += 1
        if found:
            self._taken_at = time.monotonic()

    def found_since(self, moment: float) -> bool:
        """Whether a message was taken after `moment` (monotonic seconds)."""
        return self._taken_at > moment

"""What one worker looks for: its queues, when it last found something, which take is next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import uuid4


class Consumption:
    """Written by the transport, read by the watchdog."""

    def __init__(self) -> None:
        #: The queues that this worker consumes (`-Q` may leave some out).
        self.queues: tuple[str, ...] = ()
        self._taken_at = 0.0
        self._process, self._number = uuid4().hex, 0

    @property
    def nonce(self) -> str:
        """Names the next take, so that one that is repeated after a lost reply is known as such."""
        return f"{self._process}:{self._number}"

    def looks_into(self, queues: Sequence[str]) -> None:
        """The next take looks into these."""
        self.queues = tuple(queues)

    def replied(self, *, found: bool) -> None:
        """The reply of a take has come: the next take is another one."""
        self._number += 1
        if found:
            self._taken_at = time.monotonic()

    def found_since(self, moment: float) -> bool:
        """Whether a message was taken after `moment` (monotonic seconds)."""
        return self._taken_at > moment

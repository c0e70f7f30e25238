"""How long one call waits for a server that wants to be left alone for a moment."""

from __future__ import annotations

import asyncio
import time

#: Seconds in one call; who wants more is asked by a later run of the job, and another job has the
#: slot meanwhile.
PATIENCE_SECONDS = 5.0


class Patience:
    """That of one call, which ends at `ends_at` (monotonic)."""

    def __init__(self, ends_at: float) -> None:
        self._ends_at, self._left = ends_at, PATIENCE_SECONDS

    async def waited(self, seconds: float | None) -> bool:
        """Wait as long as the server says, and say so; False at once where that is too long.

        A stop of the call ends the wait.
        """
        if seconds is None or seconds > self._left or time.monotonic() + seconds > self._ends_at:
            return False
        # A server that says 0 again and again does not keep the call for ever.
        self._left -= max(seconds, 0.5)
        await asyncio.sleep(seconds)
        return True

"""Whether anybody still waits for a synchronous call's job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Attendance:
    """The jobs whose callers hold a connection to this process."""

    def __init__(self) -> None:
        self._held: set[str] = set()

    @asynccontextmanager
    async def hold(self, task_id: str) -> AsyncIterator[None]:
        """The job is attended inside. Whoever leaves by an exception leaves it ORPHAN_SECONDS."""
        self._held.add(task_id)
        try:
            yield
        finally:
            self._held.discard(task_id)

"""The two clients as one that blocks, so that one test tries both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from local_llm_service import AsyncClient, AsyncJob, Client, Job


class Face:
    """One of the two clients, with its methods as ones that block."""

    def __init__(self, *, is_async: bool) -> None:
        self.client = AsyncClient() if is_async else Client()
        self._runner = asyncio.Runner() if is_async else None

    def __getattr__(self, name: str) -> Any:
        return self._blocking(getattr(self.client, name))

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            found = method(*args, **options)
            if self._runner is not None and asyncio.iscoroutine(found):
                found = self._runner.run(_awaited(found))
            return FaceOfJob(self, found) if isinstance(found, Job | AsyncJob) else found

        return call

    def end(self) -> None:
        """Close the client and its loop."""
        self.close()
        if self._runner is not None:
            self._runner.close()


class FaceOfJob:
    """A job of either client, likewise."""

    def __init__(self, face: Face, job: Any) -> None:
        self.job, self._face = job, face
        self.id = job.id

    def __getattr__(self, name: str) -> Any:
        return self._face._blocking(getattr(self.job, name))


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call

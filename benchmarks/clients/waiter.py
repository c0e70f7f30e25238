"""The process that waits: one AsyncClient, one event loop, any number of jobs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.dedupe.child import serve
from local_llm_service import AsyncClient

client = AsyncClient()
loop = asyncio.new_event_loop()


async def _submit(label: str, count: int) -> list[str]:
    asked = (client.generate(f"{label}, job {number}") for number in range(count))
    return [job.id for job in await asyncio.gather(*asked)]


async def _woken_at(task_id: str) -> float:
    await client.job(task_id).result(120)
    return time.time()


async def _wait(ids: list[str]) -> list[float]:
    return list(await asyncio.gather(*map(_woken_at, ids)))


def submit(label: str, count: int) -> list[str]:
    """Queue so many jobs; returns their ids."""
    return loop.run_until_complete(_submit(label, count))


def wait(ids: list[str]) -> list[float]:
    """Wait for all of them at once; returns when each wait ended, seconds since 1970."""
    return loop.run_until_complete(_wait(ids))


if __name__ == "__main__":
    functions: dict[str, Any] = {"submit": submit, "wait": wait}
    serve(functions)

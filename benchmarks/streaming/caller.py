"""The callers' process: one AsyncClient that asks, reads streams, or only waits for answers."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

from benchmarks.dedupe.child import serve
from local_llm_service import AsyncClient

client = AsyncClient()
loop = asyncio.new_event_loop()


async def _first_at(prompt: str) -> float:
    job = await client.generate(prompt, stream=True, cache=False)
    first = 0.0
    async for event in job.stream():
        first = first or (time.time() if event.text else 0.0)
    return first


async def _read_first(jobs: int, together: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for _ in range(jobs // together):
        prompts = [uuid4().hex for _ in range(together)]
        found |= zip(prompts, await asyncio.gather(*map(_first_at, prompts)), strict=True)
    return found


async def _answer(stream: bool) -> None:
    job = await client.generate(uuid4().hex, stream=stream, cache=False, max_tokens=1000)
    await job.result(120)


async def _batch(jobs: int, stream: bool) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(_answer(stream) for _ in range(jobs)))
    return time.perf_counter() - began


def read_first(jobs: int, together: int) -> dict[str, float]:
    """Read so many streams, some together; by prompt, when the first piece was there."""
    return loop.run_until_complete(_read_first(jobs, together))


def batch(jobs: int, stream: bool) -> float:
    """Ask and wait for so many answers at once; returns the seconds that it took."""
    return loop.run_until_complete(_batch(jobs, stream))


if __name__ == "__main__":
    functions: dict[str, Any] = {"read_first": read_first, "batch": batch}
    serve(functions)

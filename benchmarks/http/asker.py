"""The process of the Python client: one AsyncClient that asks for cached answers."""

from __future__ import annotations

import asyncio
import time

from benchmarks.dedupe.child import serve
from local_llm_service import AsyncClient

client = AsyncClient()
loop = asyncio.new_event_loop()


async def _hits(prompts: list[str], count: int) -> list[float]:
    found = []
    for number in range(count):
        began = time.perf_counter()
        job = await client.generate(prompts[number % len(prompts)], temperature=0)
        await job.result(60)
        found.append(time.perf_counter() - began)
    return found


def hits(prompts: list[str], count: int) -> list[float]:
    """Seconds of each call until its answer is there."""
    return loop.run_until_complete(_hits(prompts, count))


if __name__ == "__main__":
    serve({"hits": hits})

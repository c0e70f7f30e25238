"""The process that reads: one AsyncClient, one event loop, any number of streams."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.dedupe.child import serve
from local_llm_service import AsyncClient

client = AsyncClient()
loop = asyncio.new_event_loop()


async def _submit(count: int) -> list[str]:
    jobs = [await client.generate(f"stream {number}", stream=True) for number in range(count)]
    return [job.id for job in jobs]


async def _read_one(task_id: str) -> dict[str, Any]:
    text, restarts, seen = "", 0, []
    async for event in client.job(task_id).stream():
        if event.type == "restart":
            text, restarts = "", restarts + 1
        text += event.text
        if event.text:
            seen.append((str(len(text)), time.time()))
    return {"text": text, "restarts": restarts, "seen": seen}


async def _read(ids: list[str]) -> dict[str, Any]:
    return dict(zip(ids, await asyncio.gather(*map(_read_one, ids)), strict=True))


def submit(count: int) -> list[str]:
    """Queue so many jobs that are to be read; returns their ids."""
    return loop.run_until_complete(_submit(count))


def read(ids: list[str]) -> dict[str, Any]:
    """Read all at once to their ends: text, restarts, and when there were how many characters."""
    return loop.run_until_complete(_read(ids))


if __name__ == "__main__":
    functions: dict[str, Any] = {"submit": submit, "read": read}
    serve(functions)

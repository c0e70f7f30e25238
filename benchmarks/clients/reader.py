"""The process that reads: one AsyncClient, one event loop, any number of streams."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from benchmarks.dedupe.child import serve
from local_llm_service import AsyncClient

#: The share of readers that join late, and of readings that are left after a few events.
JOIN_LATE, RECONNECT, EVENTS_MOST = 0.25, 0.5, 8
ENDS = ("end", "failed", "cancelled")

client = AsyncClient()
loop = asyncio.new_event_loop()


async def _submit(count: int) -> list[str]:
    asked = (client.generate(f"stream {number}", stream=True) for number in range(count))
    return [job.id for job in await asyncio.gather(*asked)]


async def _read_one(task_id: str, chance: random.Random, late_seconds: float) -> dict[str, Any]:
    """Read a stream as a browser does that loses its connection now and then."""
    text, restarts, seen, offset = "", 0, [], None
    joins_late = chance.random() < JOIN_LATE
    if joins_late:
        await asyncio.sleep(chance.uniform(0, late_seconds))
    has_ended = False
    while not has_ended:
        events = client.job(task_id).stream(after=offset)
        left = chance.randint(1, EVENTS_MOST) if chance.random() < RECONNECT else None
        async for event in events:
            text = "" if event.type == "restart" else text + event.text
            restarts += event.type == "restart"
            if event.text and not joins_late:
                seen.append((str(len(text)), time.time()))
            offset, has_ended = event.offset, event.type in ENDS
            left = None if left is None else left - 1
            if left == 0:
                break
        await events.aclose()
    return {"text": text, "restarts": restarts, "seen": seen}


async def _read(ids: list[str], seed: int, late_seconds: float) -> dict[str, Any]:
    chances = [random.Random(f"{seed} {number}") for number in range(len(ids))]
    reading = (
        _read_one(task_id, chance, late_seconds)
        for task_id, chance in zip(ids, chances, strict=True)
    )
    return dict(zip(ids, await asyncio.gather(*reading), strict=True))


def submit(count: int) -> list[str]:
    """Queue so many jobs that are to be read; returns their ids."""
    return loop.run_until_complete(_submit(count))


def read(ids: list[str], seed: int, late_seconds: float) -> dict[str, Any]:
    """Read all at once to their ends: text, restarts, and when there were how many characters.

    Some begin up to `late_seconds` later, and some leave and come back with the last offset.
    """
    return loop.run_until_complete(_read(ids, seed, late_seconds))


if __name__ == "__main__":
    functions: dict[str, Any] = {"submit": submit, "read": read}
    serve(functions)

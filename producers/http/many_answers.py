"""The answers to several calls of one request: a few at a time, their order kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from local_llm_service.producers.http.asking import Asked, answer
from local_llm_service.producers.http.call import Call

#: Jobs of one request at a time: one caller is not to fill a queue.
AT_ONCE = 4


async def answers(call: Call, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One plain answer for each call.

    Raises the first error, of any of them. Then none is waited for any more, and what is done stays
    in the cache.
    """
    if len(asked) == 1:
        return [await answer(call, asked[0])]
    room = asyncio.Semaphore(min(AT_ONCE, call.caller.concurrency or AT_ONCE))

    async def one(asks: Asked) -> dict[str, Any]:
        async with room:
            return await answer(call, asks)

    tasks = [asyncio.create_task(one(asks)) for asks in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""A task that is cancelled while it asks Redis ends, whenever the cancel comes."""

from __future__ import annotations

import asyncio
import random

import pytest
import redis

from local_llm_service import AsyncClient

ROUNDS, TASKS = 40, 8


def test_no_cancel_is_forgotten(redis_client: redis.Redis) -> None:
    """redis-py alone forgets one that comes at the moment when a command is sent (Python 3.11)."""

    async def ask(client: AsyncClient, name: str) -> None:
        job = await client.submit("generate", {"prompt": name}, task_id=name, cache=False)
        await job.result()

    async def play() -> None:
        chance = random.Random(1)
        async with AsyncClient() as client:
            for number in range(ROUNDS):
                tasks = [
                    asyncio.create_task(ask(client, f"{number}-{place}")) for place in range(TASKS)
                ]
                await asyncio.sleep(chance.uniform(0, 0.02))
                for task in tasks:
                    task.cancel()
                _, left = await asyncio.wait(tasks, timeout=10)
                if left:
                    pytest.fail(f"{len(left)} tasks go on in round {number}")
                assert all(task.cancelled() for task in tasks)

    asyncio.run(play())

"""What a client does in an event loop, without a Redis."""

from __future__ import annotations

import asyncio

import pytest
import redis

from local_llm_service.producers.loop_state import _cancels_kept


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancel_that_redis_py_forgets_is_heard(fails: bool) -> None:
    """`asyncio.wait_for` of Python 3.11 forgets one that comes as its call ends, well or not."""

    async def call() -> None:
        with _cancels_kept():
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                if fails:
                    raise redis.ConnectionError from None

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())

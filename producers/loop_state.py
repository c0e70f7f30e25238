"""What a client has in one event loop: connections, the listener, and the driver of its calls.

Each loop has its own, as a connection belongs to a loop. When the loop ends, its connections are
closed, and nobody is told of unclosed ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
import redis.asyncio  # as below

# What the first call needs is imported now: in the loop it would hold everybody up.
from local_llm_service.worker import settings as _settings  # noqa: F401
from local_llm_service.worker.celery_ext import recording as _recording  # noqa: F401
from local_llm_service.worker.celery_ext import result_backend as _result_backend  # noqa: F401
from local_llm_service.worker.listening.loop_listener import LoopListener
from local_llm_service.worker.store.calls import Call, Calls, Rest, Script, drive_async
from local_llm_service.worker.store.connection import HURRY_SECONDS, connect_async, drop
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.store import Store

T = TypeVar("T")

#: Connections for commands; whatever is more waits its turn.
CONNECTIONS_MOST = 8


class Turns:
    """Lets so many tasks of one loop have a connection, in the order in which they came.

    A failure of one to reach Redis is that of all who wait behind it: each on its own would take
    seconds to find out the same.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Return when it is this task's turn. Raises a failure of those before it."""
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back()
            raise

    def give_back(self) -> None:
        """It is the next one's turn."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def fail(self, error: Exception) -> None:
        """All who wait now get this failure."""
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(type(error)(*error.args))


@contextmanager
def _cancels_kept() -> Iterator[None]:
    """Let a cancel of the task that came meanwhile be heard.

    redis-py sends by `asyncio.wait_for`, which on Python 3.11 forgets a cancel that comes at the
    moment when all is sent (github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    earlier = 0 if task is None else task.cancelling()
    yield
    if task is not None and task.cancelling() > earlier:
        raise asyncio.CancelledError


class LoopState:
    """One event loop's half of an AsyncClient. It is a `Site` of job_core.py."""

    #: The listener finds a result that is there as soon as a command would.
    reads_first = False

    def __init__(self, store: Store, url: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.url = url
        self.moves, self._scripts = store.jobs.moves, store.scripts
        self.eviction = EvictionCheck()
        self._turns = Turns(CONNECTIONS_MOST)
        self._redis = connect_async(url, CONNECTIONS_MOST, self.eviction.ask_again)
        self.listener = LoopListener(url, store.keys, self._look)
        self._end: Any = None

    async def drive(self, calls: Calls[T]) -> T:
        """Run logic (worker/store/calls.py) to its end. Raises what the logic raises."""
        if self._end is None:
            self._end = self._at_the_loops_end()
            await anext(self._end)
        return await drive_async(calls, self._answer)

    async def close(self) -> None:
        """Close the connections."""
        end, self._end = self._end, None
        if end is None:
            await self._close()
        else:
            await end.aclose()  # which does it, and leaves nothing to do for the loop's end

    async def _close(self) -> None:
        await self.listener.close()
        await self._redis.connection_pool.disconnect()

    def drop(self) -> None:
        """Close the connections of a loop that runs no more."""
        self.listener.drop()
        pool = self._redis.connection_pool
        for connection in (*pool._available_connections, *pool._in_use_connections):
            drop(connection, loop_runs=False)

    async def _at_the_loops_end(self) -> AsyncIterator[None]:
        # asyncio.run, and whoever else ends a loop well, closes the asynchronous generators that
        # have begun in it: a task would have to be cancelled, and is told of if it is not.
        try:
            yield
        finally:
            await self._close()

    async def _answer(self, call: Call) -> Any:
        if isinstance(call, Rest):
            if (sleep := call.sleeper.sleep(call.seconds)) is not None:
                await sleep
            return None
        if not call.in_a_hurry:
            return await self._asked(call)
        try:
            async with asyncio.timeout(HURRY_SECONDS):
                return await self._asked(call)
        except TimeoutError:
            raise redis.TimeoutError("no answer in a hurry") from None

    async def _asked(self, call: Any) -> Any:
        await self._turns.take()
        try:
            with _cancels_kept():
                if not isinstance(call, Script):
                    return await self._redis.execute_command(*call.words)
                return await self._run(call)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._turns.fail(error)
            raise
        finally:
            self._turns.give_back()

    async def _run(self, script: Script) -> Any:
        scripts, prefix = self._scripts, self._scripts.keys.prefix
        execute, args = self._redis.execute_command, script.args
        try:
            return await execute("EVALSHA", scripts.hash_of(script.name), 1, prefix, *args)
        except redis.exceptions.NoScriptError:
            return await execute("EVAL", scripts.text_of(script.name), 1, prefix, *args)

    async def _look(self, calls: Calls[T]) -> T:
        return await drive_async(calls, self._answer)

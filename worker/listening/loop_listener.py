"""The task of an event loop that finds results for all who wait in it, over one connection.

The twin of thread_listener.py, by the same logic (interests.py, link.py, patience.py). No thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis

from local_llm_service.worker.listening.ear import Ear, Heard
from local_llm_service.worker.listening.interests import BATCH, Interests
from local_llm_service.worker.listening.link import SILENCE_SECONDS, Away, Link
from local_llm_service.worker.listening.wait import Wait
from local_llm_service.worker.store.calls import Call, Calls, Cancels, Rest, drive_async
from local_llm_service.worker.store.connection import (
    TIMEOUT_SECONDS,
    drop,
    open_async_connection,
)
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.moves import look
from local_llm_service.worker.store.states import Seen

logger = logging.getLogger(__name__)


class LoopSleeper:
    """A task's sleep. The same loop rings."""

    def __init__(self) -> None:
        self._is_rung = False
        self._sleeping: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """End the sleep, or the next one."""
        self._is_rung = True
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    def clear(self) -> None:
        """Forget what was rung before."""
        self._is_rung = False

    async def sleep(self, seconds: float) -> None:
        """Return when it is rung, or after `seconds`."""
        if self._is_rung:
            return
        loop = asyncio.get_running_loop()
        sleeping = self._sleeping = loop.create_future()
        alarm = loop.call_later(seconds, _end, sleeping)
        try:
            await sleeping
        finally:
            alarm.cancel()
            self._sleeping = None


def _end(sleeping: asyncio.Future[None]) -> None:
    if not sleeping.done():
        sleeping.set_result(None)


class LoopEar(Ear[LoopSleeper]):
    """An ear of a task."""

    async def next(self, timeout_seconds: float | None = None) -> Heard:
        """The next payload, LOOK, or None; see `Ear.hearing`."""
        return await drive_async(self.hearing(timeout_seconds), _rest)


async def _rest(call: Call) -> None:
    if isinstance(call, Rest) and (sleep := call.sleeper.sleep(call.seconds)) is not None:
        await sleep


#: Makes the calls of a look.
Drive = Callable[[Calls[list[Seen]]], Awaitable[list[Seen]]]


class LoopListener:
    """Serves the waits and ears of one event loop on one Redis."""

    def __init__(self, url: str, keys: Keys, drive: Drive) -> None:
        self.url = url
        self._drive = drive
        self._interests, self._link = Interests(keys), Link()
        self._bell = LoopSleeper()
        self._task: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._connection: Any = None
        #: Channels to look at.
        self._due: set[str] = set()

    # --- callers -----------------------------------------------------------------------------

    @contextmanager
    def wait(self, task_ids: Iterable[str]) -> Iterator[Wait[LoopSleeper]]:
        """Look for these results until the end of the `with`."""
        wait = Wait(self, task_ids, LoopSleeper())
        ids = set(wait.missing)
        self._interests.begin(wait)
        self._ring()
        try:
            yield wait
        finally:
            self._interests.end(wait, ids)

    @contextmanager
    def hear(self, channels: Iterable[str]) -> Iterator[LoopEar]:
        """Hear these channels until the end of the `with`; see ear.py."""
        ear = LoopEar(self, self._change, LoopSleeper())
        ear.listen_to(channels)
        try:
            yield ear
        finally:
            ear.listen_to(())

    def _change(self, ear: Any, fresh: set[str], gone: set[str]) -> None:
        self._interests.change(ear, fresh, gone)
        if fresh:
            self._ring()
        elif gone:
            self._bell.wake()

    def away(self, patience: float = SILENCE_SECONDS) -> Away | None:
        """What is known of a Redis that is away; None when it is there.

        `patience`: seconds that it may take to answer.
        """
        return self._link.away(patience)

    def look_soon(self, task_id: str | None = None) -> None:
        """Look at a job again, at all without an id."""
        if task_id is None:
            self._link.look_soon()
        else:
            self._interests.look_at(task_id)
        self._bell.wake()

    async def close(self) -> None:
        """End the task and its connection. Whoever still waits is served again by `serve_on`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._link.is_closed()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits."""
        return not self._interests.are_none

    def serve_on(self) -> None:
        """Serve those who still wait, over a new connection."""
        if self.is_wanted:
            self._ring()

    def drop(self) -> None:
        """Close the connection of a loop that runs no more."""
        drop(self._connection, loop_runs=False)
        for task in (self._task, self._reader):
            if task is not None:
                # asyncio would tell of a pending task, which cannot be ended any more.
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._task = self._reader = None

    def _ring(self) -> None:
        """Tell the task that somebody wants something else; it starts where there is none."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="local-llm result listener")
        self._bell.wake()

    # --- the task ----------------------------------------------------------------------------

    # No `finally` awaits: the loop may be closed while the task is pending, and then it cannot.

    async def _run(self) -> None:
        while True:
            connection = self._connection = open_async_connection(self.url)
            try:
                await self._connect(connection)
                await self._listen(connection)
                return
            except (redis.RedisError, OSError, ValueError) as error:
                pause = self._lose(error)
            except Exception as error:  # noqa: BLE001  # the edge of the task
                logger.critical("result listener: unexpected %s", type(error).__name__)
                pause = self._lose(error)
            finally:
                drop(connection, loop_runs=True)
            await asyncio.sleep(pause)

    async def _connect(self, connection: Any) -> None:
        """Connect; what somebody waits for is asked for next."""
        self._interests.forget_subscriptions()
        self._link.asks()
        cancels = Cancels()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await connection.connect()
        cancels.check()
        self._link.is_made()

    def _lose(self, error: Exception) -> float:
        pause = self._link.is_lost(error)
        self._interests.redis_is_away()
        return pause

    async def _listen(self, connection: Any) -> None:
        """Serve until nobody has waited for a while. Raises redis-py's errors, and OSError."""
        hearing = self._hear(connection)
        reader = self._reader = asyncio.create_task(hearing, name="local-llm result reader")
        reader.add_done_callback(self._reader_ended)
        try:
            while not reader.done() and not await self._serve(connection):
                await self._bell.sleep(self._link.rest_seconds)
        except GeneratorExit:
            raise  # the loop is closed
        except BaseException:
            reader.cancel()
            raise
        if reader.done():
            reader.result()
        reader.cancel()

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        self._bell.wake()
        if not reader.cancelled():
            reader.exception()  # so that asyncio does not tell of it

    async def _serve(self, connection: Any) -> bool:
        """Do what is due; True when nobody has waited for a while."""
        link, interests = self._link, self._interests
        self._bell.clear()
        commands, begun = interests.subscriptions()
        for command, channels in commands:
            await _send(connection, command, *channels)
        due, self._due = self._due | begun, set()
        await self._look(interests.all_channels() if link.poll_is_due() else due)
        if link.is_idle(wanted=not interests.are_none):
            self._task = None  # who begins to wait from here on starts another
            link.is_closed()
            return True
        if link.ping_is_due():
            if self.away() is not None:
                raise redis.TimeoutError("the connection is silent")
            link.asks()
            await _send(connection, "PING")
        return False

    async def _hear(self, connection: Any) -> None:
        """Hand over what Redis tells, as it comes."""
        while True:
            reply = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
            self._link.is_there()
            if channel := self._interests.read(reply):
                self._due.add(channel)
                self._bell.wake()

    async def _look(self, channels: Iterable[str]) -> None:
        """Read these results and hand them to those who wait. Raises redis-py's errors."""
        ids = self._interests.look(channels)
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            self._link.asks()
            found = await self._drive(look(some))
            self._link.is_there()
            for task_id, seen in zip(some, found, strict=True):
                self._interests.looked_up(task_id, seen)


async def _send(connection: Any, *words: str) -> None:
    cancels = Cancels()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await connection.send_command(*words, check_health=False)
    cancels.check()

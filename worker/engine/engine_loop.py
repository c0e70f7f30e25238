"""One asyncio loop in one thread serves all calls of an engine, whose slots wait for it.

Measured: closing a synchronous client from another thread did nothing for seconds; cancelling an
asynchronous call closes the socket, and so stops the generation, in about a millisecond.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from local_llm_service.worker.engine.protocol import Stoppable
from local_llm_service.worker.errors import DeadlineExceeded, InternalError
from local_llm_service.worker.prompt import Completion

T = TypeVar("T")

#: How long a question about the server itself may take.
PROBE_SECONDS = 3.0


class EngineLoop:
    """The loop and its thread. Every method but `close` may be called from any thread, any time."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def call(
        self,
        work: Callable[[], Coroutine[Any, Any, Completion]],
        remaining_seconds: float,
        stoppable: Stoppable | None,
    ) -> Completion:
        """Wait until the loop has done `work`, or until it is stopped or too late.

        Raises what `work` raises, DeadlineExceeded, the stoppable's reason after a stop, and
        InternalError when the loop is closed meanwhile.
        """
        if stoppable is not None and stoppable.reason is not None:
            raise stoppable.reason  # before anything is sent
        wanted_seconds = None if stoppable is None else stoppable.wanted_seconds
        call = _Call(_within(remaining_seconds, work, wanted_seconds))
        future = self._submit(call.run())
        if stoppable is not None:
            # Not `future.cancel()`: that would end this call before the stream is closed.
            stoppable.on_stop(lambda: self._later(call.stop))
        try:
            return future.result()
        except CancelledError:
            reason = None if stoppable is None else stoppable.reason
            raise reason or InternalError("the engine was closed while a job ran") from None
        finally:
            if stoppable is not None:
                stoppable.on_stop(None)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait until the loop has done `work`."""
        return self._submit(work).result()

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """End all that runs, do `last`, and end the thread."""
        self.run(_shut_down(last))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _later(self, do: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(do)


async def _shut_down(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last()


async def _within(
    remaining_seconds: float,
    work: Callable[[], Coroutine[Any, Any, Completion]],
    wanted_seconds: Callable[[], float] | None,
) -> Completion:
    """Bound `work` by the caller's time, then by that of others who want the same answer."""
    running = asyncio.ensure_future(work())
    try:
        while remaining_seconds > 0:
            await asyncio.wait({running}, timeout=remaining_seconds)
            if running.done():
                return running.result()
            remaining_seconds = 0.0
            if wanted_seconds is not None:
                remaining_seconds = await asyncio.to_thread(wanted_seconds)
    finally:
        running.cancel()
        # The stream is closed before the slot is free.
        await asyncio.gather(running, return_exceptions=True)
    raise DeadlineExceeded("the deadline passed while the job was running")


class _Call:
    """Work on the engine's loop that another thread may stop; it ends when the work has ended."""

    def __init__(self, work: Coroutine[Any, Any, Completion]) -> None:
        self._work = work
        self._task: asyncio.Task[Completion] | None = None
        self._stopped = False

    async def run(self) -> Completion:
        self._task = asyncio.ensure_future(self._work)
        if self._stopped:
            self._task.cancel()
        return await self._task

    def stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

"""Decides which runner is loaded, who may use it, and when it ends, as Ollama's scheduler does."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from local_llm_service.worker.embedded.ollama_api.llama_client import LlamaClient
from local_llm_service.worker.embedded.ollama_api.options import RunnerProfile
from local_llm_service.worker.embedded.ollama_api.wire import NANOSECONDS, ApiError
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME

BUSY = "server busy, please try again.  maximum pending requests exceeded"
DEFAULT_MAX_QUEUE = 512


class ModelHost:
    """At most one runner, for one profile at a time.

    A request with another profile waits for the running answers, then reloads. With the right
    runner loaded any number of requests wait for one of its slots, first come first served;
    only those that wait for a load are bounded (OLLAMA_MAX_QUEUE).
    """

    def __init__(self) -> None:
        self.slots = int(os.environ.get("OLLAMA_NUM_PARALLEL") or 1)
        self.profile: RunnerProfile | None = None
        #: The name by which the runner was asked for last.
        self.model = MODEL_NAME
        self.expires_at = 0
        self._max_queue = int(os.environ.get("OLLAMA_MAX_QUEUE") or DEFAULT_MAX_QUEUE)
        self._runner: LlamaClient | None = None
        self._free_slots = asyncio.Semaphore(self.slots)
        self._loading = asyncio.Lock()
        self._waiting_for_load = 0
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._expiry: asyncio.TimerHandle | None = None
        self._unloading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def use(self, profile: RunnerProfile, keep_alive: int) -> AsyncIterator[LlamaClient]:
        """Load the runner for `profile` if need be, and keep it while the block runs.

        `keep_alive`, in nanoseconds, counts from the end of the block. Raises ApiError 503 when
        too many requests wait for a load, 500 when the load fails.
        """
        runner = await self._acquire(profile)
        self._schedule_expiry(keep_alive)
        try:
            yield runner
        finally:
            self._users -= 1
            self._schedule_expiry(keep_alive)
            if self._users == 0:
                self._idle.set()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for one of the runner's slots. A request that is cancelled here leaves no trace."""
        async with self._free_slots:
            yield

    async def unload(self) -> None:
        """End the runner once nobody uses it."""
        async with self._loading:
            await self._idle.wait()
            await self._end_runner()

    async def close(self) -> None:
        """End the runner now."""
        if self._expiry is not None:
            self._expiry.cancel()
        await self._end_runner()

    async def _acquire(self, profile: RunnerProfile) -> LlamaClient:
        runner = self._usable(profile)
        if runner is None or self._loading.locked():  # the second: do not starve a reload
            if self._waiting_for_load > self._max_queue:
                raise ApiError(503, BUSY)
            self._waiting_for_load += 1
            try:
                async with self._loading:
                    return self._enter(self._usable(profile) or await self._load(profile))
            finally:
                self._waiting_for_load -= 1
        return self._enter(runner)

    def _enter(self, runner: LlamaClient) -> LlamaClient:
        self._users += 1
        self._idle.clear()
        return runner

    def _usable(self, profile: RunnerProfile) -> LlamaClient | None:
        if self._runner is not None and self._runner.alive and self.profile == profile:
            return self._runner
        return None

    async def _load(self, profile: RunnerProfile) -> LlamaClient:
        await self._idle.wait()
        await self._end_runner()
        self._runner = await LlamaClient.start(profile, self.slots)
        self.profile = profile
        return self._runner

    async def _end_runner(self) -> None:
        runner, self._runner, self.profile = self._runner, None, None
        if runner is not None:
            await runner.close()

    def _schedule_expiry(self, keep_alive: int) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self.expires_at = time.time_ns() + keep_alive
        # A day at least bounds what a timer of the event loop is asked for.
        delay_seconds = min(keep_alive / NANOSECONDS, 86400.0 * 365)
        self._expiry = asyncio.get_running_loop().call_later(delay_seconds, self._expire)

    def _expire(self) -> None:
        if self._users == 0:
            self._unloading = asyncio.ensure_future(self.unload())

"""Prompts that nobody waits for any more and that their server still evaluates.

Ollama 0.24 evaluates a prompt to its end when its client has gone (recorded as
client_disconnect_in_prompt): the next job got its first token after 143 s and 215 s, which counted
as *its* wait. 0.33 stops at once, and llama-server where it tells of its progress. So after such an
end the engine asks for one token; until that is there, the slot counts as occupied and takes no
job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar, cast

from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.prompt import Prompt

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Asks for one token. It counts as the one request of the slot whose job has gone.
PROBE = Prompt(({"role": "user", "content": "Hi"},), max_tokens=1)
#: A wait that the operator should hear of.
LONG_SECONDS = 5.0
#: No prompt takes longer; but a host that has lost its power never says that it is gone.
LONGEST_SECONDS = 3600.0


class AbandonedPrompts:
    """The probes under way; all on the engine's event loop, but for `count`."""

    def __init__(self, server: str, foreign: tuple[type[Exception], ...]) -> None:
        """`server` is its name for the log; `foreign` are the errors by which it fails."""
        self._server, self._foreign = server, foreign
        self._on_free: Callable[[], None] = lambda: None
        self._since: dict[asyncio.Task[None], float] = {}

    def on_free(self, tell: Callable[[], None]) -> None:
        """Call `tell` each time that a slot is free again."""
        self._on_free = tell

    @property
    def count(self) -> int:
        """Slots that the server may still work in though no job uses them."""
        return len(self._since)

    @property
    def notes(self) -> list[str]:
        """A sentence for the operator while slots wait."""
        since = min([*self._since.values()], default=None)
        if since is None:
            return []
        seconds, many = time.monotonic() - since, self.count
        waits = "slot waits" if many == 1 else "slots wait"
        return [
            f"{many} {waits} until {self._server} has evaluated a prompt that nobody wants any "
            f"more ({seconds:.0f} s so far)"
        ]

    def probe(self, ask: Coroutine[Any, Any, object]) -> None:
        """Hold a slot until `ask`, which sends PROBE, has returned or failed."""
        task = asyncio.ensure_future(self._wait(ask))
        self._since[task] = time.monotonic()
        task.add_done_callback(self._free)

    async def _wait(self, ask: Coroutine[Any, Any, object]) -> None:
        # An error says that the server is gone, and its work with it; the breaker sees to the rest.
        with suppress(ServiceError, TimeoutError, *self._foreign):
            async with asyncio.timeout(LONGEST_SECONDS):
                await ask

    def _free(self, task: asyncio.Task[None]) -> None:
        seconds = time.monotonic() - self._since.pop(task)
        if seconds > LONG_SECONDS:
            logger.warning("%s evaluated an abandoned prompt for %.0f s", self._server, seconds)
        if not task.cancelled() and task.exception() is not None:
            logger.error("probe ended with %s", type(task.exception()).__name__)
        self._on_free()


async def noting(stream: AsyncIterator[T], note: Callable[[], None]) -> AsyncGenerator[T]:
    """The stream itself; calls `note` once, at its first record."""
    async with aclosing(cast(AsyncGenerator[T], stream)) as records:
        noted = False
        async for record in records:
            if not noted:
                note()
                noted = True
            yield record

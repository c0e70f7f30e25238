"""Who may send a request while Ollama cannot load another model beside those that run.

With OLLAMA_MAX_LOADED_MODELS reached, Ollama lets a request for another model wait until the
running ones have ended, and gives no sign of life meanwhile: the wait would count as that job's
wait for its first token. So it waits here.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class ModelTurns:
    """First come, first served: who waits for a model to be loaded is not overtaken.

    `most` is OLLAMA_MAX_LOADED_MODELS; 0: nobody waits. All on one event loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, model: str) -> AsyncIterator[None]:
        """Wait until a request for `model` needs no other to end first; hold the model then."""
        await self._enter(model)
        try:
            yield
        finally:
            self._leave(model)

    def hold(self, model: str) -> Callable[[], None]:
        """Hold, for one more request, a model that runs; the function returned lets go of it."""
        self._running[model] += 1
        return lambda: self._leave(model)

    async def _enter(self, model: str) -> None:
        if not self._waiting and self._may_run(model):
            self._running[model] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (model, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled() or not turn.done():
                if entry in self._waiting:
                    self._waiting.remove(entry)
                self._admit()
            else:  # its turn came at the same moment
                self._leave(model)
            raise

    def _may_run(self, model: str) -> bool:
        return not self._most or model in self._running or len(self._running) < self._most

    def _leave(self, model: str) -> None:
        self._running[model] -= 1
        if not self._running[model]:
            del self._running[model]
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            model, turn = self._waiting[0]
            if not turn.done() and not self._may_run(model):
                return
            self._waiting.popleft()
            if not turn.done():  # several callers can leave at one moment
                self._running[model] += 1
                turn.set_result(None)

"""How many jobs of a batch are in flight: twice the slots that workers publish, or a fixed number.

So every slot has its next job waiting, and the queue of the batch stays short, whatever its size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.store.presence import Presence

FEWEST, MOST = 2, 1000
#: Workers publish themselves every 3 s.
LOOK_SECONDS: Final = 3.0


class Window:
    """The size of the window now; `workers` reads who is there, and blocks."""

    def __init__(self, fixed: int | None, workers: Callable[[], Iterable[Presence]]) -> None:
        self._fixed, self._workers = fixed, workers
        self.size = FEWEST if fixed is None else fixed
        #: The slots of all workers that take jobs; None until somebody has looked.
        self.slots: int | None = None
        #: Redis did not answer the last look.
        self.is_blind = False

    def look(self) -> None:
        """Look once. Raises BrokerUnreachable."""
        self.slots = sum(one.slots for one in self._workers() if not one.closed_by)
        if self._fixed is None:
            self.size = min(MOST, max(FEWEST, 2 * self.slots))

    async def follow(self) -> None:
        """Look again and again; a Redis that is away leaves the size as it is."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.look)
                self.is_blind = False
            except ServiceError:
                self.is_blind = True

"""The slots of one engine: what runs in it at once, of all its models and of each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from local_llm_service.worker.engine.protocol import Stoppable
from local_llm_service.worker.errors import DeadlineExceeded, ServiceError
from local_llm_service.worker.fleet.parts import FleetEngine


class EngineSlots:
    """Who calls waits here for a slot. Threads share it.

    `occupied` tells how many slots the engine still works in though no call does.
    """

    def __init__(self, entry: FleetEngine, occupied: Callable[[], int]) -> None:
        self._entry, self._occupied = entry, occupied
        self._changed = threading.Condition()
        self._used: Counter[str] = Counter()

    @contextmanager
    def taken(
        self, model: str, remaining_seconds: float, stoppable: Stoppable | None
    ) -> Iterator[float]:
        """Hold a slot for one call with `model`, by its own name; yields the seconds that are left.

        Raises DeadlineExceeded when the caller's time, and that of others who want the same
        answer, is over before a slot is free, and the stoppable's reason after a stop; of both
        `was_sent` is False.
        """
        ends_at = self._take(model, time.monotonic() + remaining_seconds, stoppable)
        try:
            yield ends_at - time.monotonic()
        finally:
            with self._changed:
                self._used[model] -= 1
                self._changed.notify_all()

    def wake(self) -> None:
        """A slot that was occupied is free: let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def _take(self, model: str, ends_at: float, stoppable: Stoppable | None) -> float:
        """Wait until there is a slot, and use it; returns when the caller's time ends."""
        if stoppable is not None:
            stoppable.on_stop(self.wake)
        try:
            while not self._got_within(model, ends_at, stoppable):
                seconds = 0.0 if stoppable is None else stoppable.wanted_seconds()
                if seconds <= 0:
                    raise DeadlineExceeded("the deadline passed while the job waited for a slot")
                ends_at = time.monotonic() + seconds
        except ServiceError as error:
            error.was_sent = False
            raise
        finally:
            if stoppable is not None:
                stoppable.on_stop(None)
        return ends_at

    def _got_within(self, model: str, ends_at: float, stoppable: Stoppable | None) -> bool:
        with self._changed:
            while True:
                if stoppable is not None and stoppable.reason is not None:
                    raise stoppable.reason
                if self._has_room(model):
                    self._used[model] += 1
                    return True
                left = ends_at - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)

    def _has_room(self, model: str) -> bool:
        used = self._used.total() + self._occupied()
        is_free = used < self._entry.slots
        return is_free and self._used[model] < self._entry.slots_of(model)

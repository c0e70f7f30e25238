"""The window of a bulk call: whether to submit one more now, and whose outcome comes next.

Pure. It never holds more than a few times its size, so that memory and Redis stay flat for any
number of items.
"""

from __future__ import annotations

from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import ServiceError

#: What becomes of one item: a failure is a value, so that it does not end the loop.
Outcome = Answer | ServiceError

#: Jobs in flight for each slot, so that no slot waits for the next job; and the least of all.
PER_SLOT, LEAST_WINDOW = 2, 2
#: Outcomes that may wait for an earlier item's, for each job in flight.
_KEPT = 3


class Window:
    """Items by their index, from submit to outcome; at most `size` are in flight at once."""

    def __init__(self, size: int, *, ordered: bool) -> None:
        self.size = size
        self._ordered = ordered
        self._begun = 0
        self._yielded = 0
        self._in_flight: set[int] = set()
        self._ended: dict[int, Outcome] = {}

    @property
    def has_room(self) -> bool:
        """Whether to submit one more now."""
        held = len(self._in_flight) + len(self._ended)
        return len(self._in_flight) < self.size and held < (1 + _KEPT) * self.size

    @property
    def in_flight(self) -> int:
        """How many have no outcome yet."""
        return len(self._in_flight)

    def begin(self) -> int:
        """Count one more item; returns its index, from 0."""
        index = self._begun
        self._begun += 1
        self._in_flight.add(index)
        return index

    def end(self, index: int, outcome: Outcome) -> None:
        """Keep the outcome of an item until its turn."""
        self._in_flight.discard(index)
        self._ended[index] = outcome

    def next(self) -> tuple[int, Outcome] | None:
        """The outcome whose turn it is, with its index; None while there is none."""
        index = self._yielded if self._ordered else next(iter(self._ended), -1)
        if index not in self._ended:
            return None
        self._yielded += 1
        return index, self._ended.pop(index)


def window_for(slots: int) -> int:
    """The jobs to have in flight for so many slots of workers."""
    return max(LEAST_WINDOW, PER_SLOT * slots)

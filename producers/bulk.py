"""Many calls of one kind, a bounded number at a time: the part that `Client.map` shares with
`AsyncClient.map`.

`Window` decides, without I/O, whether to submit one more and whose outcome comes next. It never
holds more than a few times its size, so that memory and Redis stay flat for any number of items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_llm_service import tasks
from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.kind import Kind
from local_llm_service.worker.errors import InvalidRequest, ServiceError

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


def kind_of(name: str) -> Kind:
    """The kind of this name. Raises InvalidRequest."""
    if name not in tasks.__all__:
        raise InvalidRequest(
            "kind: there is no such kind", f"Use one of: {', '.join(tasks.__all__)}."
        )
    kind: Kind = getattr(tasks, name).kind
    return kind


def arguments_of(kind: Kind, item: object, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of one call: an item's own, else those that all have.

    An item that is not a dict is the kind's first argument.
    """
    own = item if isinstance(item, Mapping) else {kind.request.POSITIONAL[0]: item}
    return {**options, **own}


def check_map(window: int | None, options: Mapping[str, Any]) -> None:
    """Refuse what no bulk call can do. Raises InvalidRequest."""
    if window is not None and (isinstance(window, bool) or window < 1):
        raise InvalidRequest("window: at least 1")
    if "task_id" in options:
        raise InvalidRequest("task_id: one id cannot be that of many jobs")


def window_for(slots: int) -> int:
    """The jobs to have in flight for so many slots of workers."""
    return max(LEAST_WINDOW, PER_SLOT * slots)

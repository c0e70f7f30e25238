"""Isolation: a suspect runs in a worker with nothing beside it, and neither kind of job starves.

A suspect is a job that was running when a worker or an engine died. If something ran beside it, the
next death would again not tell which of them is guilty, and the innocent would be charged.
"""

from __future__ import annotations

from collections.abc import Callable

from local_llm_service.worker.lease.in_flight import InFlightDeliveries
from local_llm_service.worker.store.outcomes import Delivery


class Isolation:
    """Says what one worker may take. The transport's thread tells it what was taken.

    An empty worker takes a suspect. A busy one takes nothing new while a suspect waits, if it is
    its turn (take.lua lets one worker at a time empty itself). After each suspect the others get as
    many places as the worker has slots, so that a row of suspects does not hold them up.
    """

    def __init__(
        self, in_flight: InFlightDeliveries, slots: int, occupied: Callable[[], int] = lambda: 0
    ) -> None:
        """`occupied` returns the slots that the engine still works in though no job does."""
        self._in_flight, self._slots, self._occupied = in_flight, slots, occupied
        #: Places that the others have before the next suspect.
        self._owed = 0
        self._clearing = False

    @property
    def may_take(self) -> bool:
        """Whether anything may start now: nothing may beside a suspect."""
        return not self._in_flight.has_quarantined()

    @property
    def may_take_quarantined(self) -> bool:
        """Whether a suspect may start now: the worker is empty."""
        return not self._is_busy

    @property
    def _is_busy(self) -> bool:
        return len(self._in_flight) + self._occupied() > 0

    @property
    def others_first(self) -> bool:
        """Whether it is the others' turn, as a suspect has just run."""
        return self._owed > 0

    @property
    def holds_back(self) -> bool:
        """Whether this worker takes nothing on purpose though a slot is free."""
        return not self.may_take or (self._clearing and self._is_busy)

    def clear(self) -> None:
        """Note that this worker is to empty itself: its last take found a suspect waiting."""
        self._clearing = True

    def took(self, delivery: Delivery | None) -> None:
        """Note what the last take found."""
        if delivery is None:
            return
        self._clearing = False
        if delivery.is_suspect:
            self._owed = self._slots
        elif self._owed:
            self._owed -= 1

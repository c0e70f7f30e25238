"""Whether this worker takes jobs now. Closed by reasons; open when there is none.

It stands before the transport's take: what is not taken stays in its queue, where other workers see
it, and nothing has to be put back.
"""

from __future__ import annotations

import threading
from enum import StrEnum


class Reason(StrEnum):
    """Why a worker takes nothing."""

    OLLAMA = "ollama"
    DRAINING = "draining"
    PAUSED = "paused"


class Gate:
    """A set of reasons to take nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: set[Reason] = set()

    @property
    def is_open(self) -> bool:
        """Whether jobs are taken."""
        return not self._reasons

    @property
    def reasons(self) -> list[str]:
        """Why not, sorted."""
        with self._lock:
            return sorted(self._reasons)

    def close(self, reason: Reason) -> bool:
        """Take nothing for this reason; True if that is new."""
        with self._lock:
            new = reason not in self._reasons
            self._reasons.add(reason)
        return new

    def open(self, reason: Reason) -> bool:
        """This reason is gone; True if it was there."""
        with self._lock:
            there = reason in self._reasons
            self._reasons.discard(reason)
        return there

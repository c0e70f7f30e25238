"""The gate decides whether this worker takes jobs now: reasons close it; without any it is open.

The gate stands before the transport's take: a job that is not taken stays in its queue, where other
workers see it, and nothing has to be put back. While only Ollama closes it, jobs pass that have
merely to be ended.
"""

from __future__ import annotations

import threading
from enum import StrEnum


class Reason(StrEnum):
    """Why a worker takes no jobs."""

    OLLAMA = "ollama"
    DRAINING = "draining"
    PAUSED = "paused"


class Gate:
    """A set of reasons to take no jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: set[Reason] = set()

    @property
    def is_open(self) -> bool:
        """Whether this worker takes jobs."""
        return not self._reasons

    @property
    def may_end_jobs(self) -> bool:
        """Whether this worker takes jobs that need no engine: nothing but Ollama is in the way."""
        with self._lock:
            return self._reasons <= {Reason.OLLAMA}

    @property
    def reasons(self) -> list[str]:
        """The reasons that close the gate, sorted; empty while it is open."""
        with self._lock:
            return sorted(self._reasons)

    def close(self, reason: Reason) -> bool:
        """Take no jobs for this reason; True if the reason is new."""
        with self._lock:
            new = reason not in self._reasons
            self._reasons.add(reason)
        return new

    def open(self, reason: Reason) -> bool:
        """Remove this reason; True if it was there."""
        with self._lock:
            there = reason in self._reasons
            self._reasons.discard(reason)
        return there

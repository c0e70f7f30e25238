"""Remembers how this worker's engine died lately, and which of its deaths no job explains.

A job that kills does so again. Where all jobs that were running at a death are answered afterwards,
the engine died of something else: it was restarted, or the host had no memory left. Then the next
death may have that reason, too, and a job needs more of them to be given up.
"""

from __future__ import annotations

import threading
import time

#: How long a death is remembered.
MEMORY_SECONDS = 600.0
#: What is noted within this time is one death, which ends the jobs of all slots.
ONE_DEATH_SECONDS = 1.0


class EngineDeaths:
    """The deaths of one worker's engine. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Time of each death, and the jobs that may be guilty of it.
        self._suspects: list[tuple[float, set[str]]] = []
        #: When it was last known that a death had no culprit.
        self._unexplained_at: float | None = None

    def note(self, task_id: str) -> None:
        """The engine died now while this job ran."""
        now = time.monotonic()
        with self._lock:
            self._suspects = [one for one in self._suspects if now - one[0] < MEMORY_SECONDS]
            if self._suspects and now - self._suspects[-1][0] < ONE_DEATH_SECONDS:
                self._suspects[-1][1].add(task_id)
            else:
                self._suspects.append((now, {task_id}))

    def acquit(self, task_id: str) -> None:
        """The engine has answered this job, asked as it was when the engine died."""
        if not self._suspects:
            return
        with self._lock:
            for _, jobs in self._suspects:
                jobs.discard(task_id)
            left = [one for one in self._suspects if one[1]]
            if len(left) < len(self._suspects):
                self._unexplained_at = time.monotonic()
            self._suspects = left

    @property
    def has_unexplained(self) -> bool:
        """Whether the engine has lately died of something that was no job."""
        at = self._unexplained_at
        return at is not None and time.monotonic() - at < MEMORY_SECONDS

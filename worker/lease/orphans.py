"""Cancels jobs whose HTTP callers have gone away, or whose process has died: nobody wants them.

A chore of every worker. It is the ordinary cancel: only this caller leaves a group of identical
jobs, and a client's retry, which has joined by then, gets the answer.
"""

from __future__ import annotations

from collections.abc import Callable

from local_llm_service.worker.lease.reaper import AT_ONCE
from local_llm_service.worker.lease.turns import turn
from local_llm_service.worker.store.attendance import Attendance
from local_llm_service.worker.store.store import Store

#: Cancels a job; raises redis-py's errors.
Cancel = Callable[[str], object]


class Orphans:
    """The jobs that nobody attends, of all processes."""

    def __init__(self, store: Store, orphan_seconds: float, cancel: Cancel) -> None:
        self._store, self._attendance = store, Attendance(store.keys)
        self._orphan_seconds, self._cancel = orphan_seconds, cancel

    def end(self) -> None:
        """Cancel those whose time is over. Raises redis-py's errors."""
        turn(self._end_some)

    def _end_some(self) -> bool:
        found = self._attendance.orphans(self._orphan_seconds, AT_ONCE)
        looked, to_cancel = self._store.drive(found)
        for task_id in to_cancel:
            self._cancel(task_id)
        return looked == AT_ONCE

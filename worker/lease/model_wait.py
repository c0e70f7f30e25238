"""Ends jobs that wait for a model: no live worker serves it, or the engine of each fails the job.

A chore of every worker, for all jobs; the scripts let only one of them store a failure.
"""

from __future__ import annotations

import time

from local_llm_service.worker.lease.reaper import Fail
from local_llm_service.worker.lease.unserved import can_be_run, unserved_error
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.presence import Presence, read_all
from local_llm_service.worker.store.store import Store

AT_ONCE = 100
#: Leases are renewed on the same thread: a chore is short.
LONGEST_SECONDS = 0.2


class ModelWait:
    """Fails parked jobs that no live worker could run for MODEL_WAIT_SECONDS."""

    def __init__(self, settings: Settings, store: Store, fail: Fail) -> None:
        self._seconds, self._store, self._fail = settings.model_wait_seconds, store, fail

    def end(self) -> None:
        """Fail the jobs whose wait is over. Raises redis-py's errors."""
        until = time.monotonic() + LONGEST_SECONDS
        while found := self._unserved():
            workers = read_all(self._store)
            for task_id in found:
                self._end(task_id, workers)
            if len(found) < AT_ONCE or time.monotonic() > until:
                return

    def _unserved(self) -> list[str]:
        return self._store.jobs.unserved(keys.QUEUES, wait_seconds=self._seconds, most=AT_ONCE)

    def _end(self, task_id: str, workers: list[Presence]) -> None:
        record = self._store.jobs.record(task_id)
        if record is None or can_be_run(record, workers):
            return  # it has ended, or a worker has just come up with its model
        if record.canvas:
            # Celery tells a chord only if a worker ends the job while it holds the message.
            self._store.jobs.give_up(task_id)
            return
        self._fail(task_id, unserved_error(record, workers))

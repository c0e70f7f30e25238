"""Ends jobs that no worker will end: past their deadline, or given up after too many crashes.

Every worker reaps for all jobs; the scripts let only one of them store a failure.
"""

from __future__ import annotations

import logging
from typing import Protocol

from local_llm_service.worker.errors import CrashedTooOften, DeadlineExceeded, ServiceError
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.lease.unserved import can_be_run, unserved_error
from local_llm_service.worker.metrics import REAPED
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.outcomes import Settled
from local_llm_service.worker.store.presence import read_all
from local_llm_service.worker.store.states import JobRecord, JobState
from local_llm_service.worker.store.store import Store

logger = logging.getLogger(__name__)

#: Jobs that one call of a script looks at.
AT_ONCE = 100


class Fail(Protocol):
    """Stores the failure of a job that no worker holds. Raises redis-py's errors."""

    def __call__(self, task_id: str, error: ServiceError) -> Settled: ...


class Reaper:
    """Stores the failures that nobody else will store."""

    def __init__(self, settings: Settings, store: Store, gate: Gate, fail: Fail) -> None:
        self._settings, self._gate, self._fail = settings, gate, fail
        self._store, self._jobs, self._endings = store, store.jobs, store.endings

    def expire(self) -> bool:
        """Fail jobs whose deadline passed while they waited; a running job ends itself.

        At most AT_ONCE; returns whether there may be more.
        """
        looked, to_fail = self._endings.expired(AT_ONCE)
        for task_id in to_fail:
            record = self._jobs.record(task_id)
            # The script refuses a running job, unless others wait for its answer: then only the
            # job's own caller leaves.
            if self._fail(task_id, self._too_late(record)) is not Settled.LOST:
                self._jobs.forget_deadline(task_id)
        return looked == AT_ONCE

    def _too_late(self, record: JobRecord | None) -> ServiceError:
        if record is not None and record.state is JobState.PARKED:
            workers = read_all(self._store)
            if not can_be_run(record, workers):
                return unserved_error(record, workers)
        if record is not None and record.state is JobState.RUNNING:
            return DeadlineExceeded("the deadline passed while the job was running")
        if Reason.OLLAMA in self._gate.reasons:
            return DeadlineExceeded(
                "the deadline passed while Ollama was unreachable",
                "Start it with `ollama serve` and check OLLAMA_HOST; then send the job again.",
            )
        return DeadlineExceeded("the deadline passed while the job waited in its queue")

    def reap(self) -> bool:
        """Take messages from dead workers, and give up jobs with too many crashes.

        At most AT_ONCE; returns whether there may be more.
        """
        reaped = self._jobs.reap(
            lease_seconds=self._settings.lease_seconds,
            max_crashes=self._settings.max_crashes,
            most=AT_ONCE,
        )
        for task_id in reaped:
            REAPED.inc()
            logger.warning("job %s: its worker is gone; the job runs again or is given up", task_id)
        return len(reaped) == AT_ONCE

    def answer(self) -> None:
        """Store the failures of jobs that were given up, also by a reaper that then died."""
        most = self._settings.max_crashes
        for task_id in self._jobs.unanswered():
            self._fail(task_id, CrashedTooOften(f"the job's worker died {most} times"))
            self._jobs.answered(task_id)

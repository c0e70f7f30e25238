"""Jobs that end without a worker: past their deadline, or given up after too many crashes.

Every worker does this for all jobs; the scripts let only one of them store a failure.
"""

from __future__ import annotations

import logging
from typing import Any

from local_llm_service.worker.errors import CrashedTooOften, DeadlineExceeded
from local_llm_service.worker.intake.gate import GATE, Reason
from local_llm_service.worker.metrics import SWEPT
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.jobs import Jobs, JobState, Settled
from local_llm_service.worker.store.single_flight import Flights

logger = logging.getLogger(__name__)

AT_ONCE = 100


class Overdue:
    """Stores the failures that nobody else will store."""

    def __init__(self, jobs: Jobs, flights: Flights, backend: Any, settings: Settings) -> None:
        self._jobs, self._flights = jobs, flights
        self._backend, self._settings = backend, settings

    def expire(self) -> None:
        """Fail jobs whose deadline passed while they waited; one that runs sees to it itself."""
        client = self._jobs.client
        seconds, micros = client.time()
        now_ms = seconds * 1000 + micros // 1000
        late = client.zrangebyscore(keys.DEADLINES, "-inf", now_ms, start=0, num=AT_ONCE)
        for task_id in map(str, late):
            state, canvas = client.hmget(keys.job(task_id), "state", "canvas")
            if canvas is not None:
                # It ends in the hands of a worker: only that can tell a chord.
                self._flights.unjoin(task_id)
                continue
            # One that runs is refused, unless others wait for its answer: then it leaves them.
            if self._backend.fail(task_id, self._too_late(state)) is not Settled.LOST:
                client.zrem(keys.DEADLINES, task_id)

    def _too_late(self, state: object) -> DeadlineExceeded:
        if state == JobState.RUNNING:
            return DeadlineExceeded("the deadline passed while the job was running")
        if Reason.OLLAMA in GATE.reasons:
            return DeadlineExceeded(
                "the deadline passed while Ollama was unreachable",
                "Start it with `ollama serve` and check OLLAMA_HOST; then send the job again.",
            )
        return DeadlineExceeded("the deadline passed while the job waited in its queue")

    def sweep(self) -> None:
        """Take messages from workers that are gone; a job with too many crashes is given up."""
        swept = self._jobs.sweep(
            lease_seconds=self._settings.lease_seconds,
            max_crashes=self._settings.max_deliveries,
        )
        for task_id in swept:
            SWEPT.inc()
            logger.warning("job %s: its worker is gone, it runs again or is given up", task_id)

    def answer(self) -> None:
        """Store the failure of jobs that were given up; also those of a sweeper that died."""
        most = self._settings.max_deliveries
        for task_id in map(str, self._jobs.client.smembers(keys.UNANSWERED)):
            self._backend.fail(task_id, CrashedTooOften(f"the job's worker died {most} times"))
            self._jobs.client.srem(keys.UNANSWERED, task_id)

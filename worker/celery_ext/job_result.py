"""Celery's handle of a job, which also knows that the job runs."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.result import AsyncResult

from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store


class JobResult(AsyncResult):
    """Celery's AsyncResult; `state` looks into the job's record while there is no result.

    Nothing writes STARTED: one more write for each job would be for those few who ask.
    """

    def __init__(self, id: str, *args: Any, task_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(id, *args, **kwargs)
        #: The task's name, where a task of ours made the handle.
        self.task_name = task_name

    @property
    def state(self) -> str:
        """SUCCESS, FAILURE or REVOKED; before that STARTED while a worker has it, else PENDING."""
        status = str(self._get_task_meta()["status"])
        if status != states.PENDING:
            return status
        runs = process_store().jobs.state(self.id) is JobState.RUNNING
        return states.STARTED if runs else status

    status = state

    def ready(self) -> bool:
        """Whether there is a result; one look into Redis, as in Celery."""
        meta: dict[str, Any] = self._get_task_meta()
        return meta["status"] in states.READY_STATES

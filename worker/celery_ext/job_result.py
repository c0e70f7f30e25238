"""Celery's handle of a job, which also knows that the job runs, and how far it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from celery import states
from celery.result import AsyncResult

from local_llm_service.worker.store.progress import JobNow, job_now
from local_llm_service.worker.store.states import ENDED, JobState
from local_llm_service.worker.store.store import process_store

#: The state of a job whose work has noted how many steps it takes, as Celery's users name it.
PROGRESS = "PROGRESS"


class JobResult(AsyncResult):
    """Celery's AsyncResult; `state` and `info` look into the job's record while there is no result.

    Nothing writes STARTED: one more write for each job would be for those few who ask.
    """

    def __init__(self, id: str, *args: Any, task_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(id, *args, **kwargs)
        #: The task's name, where a task of ours made the handle.
        self.task_name = task_name

    @property
    def state(self) -> str:
        """SUCCESS, FAILURE or REVOKED; before that PROGRESS once its work says how far it is, else
        STARTED while a worker has it, else PENDING."""
        return str(self._meta_now()["status"])

    status = state

    @property
    def result(self) -> Any:
        """The answer or the error; in the state PROGRESS `{"done", "total", "phase"}`, in steps."""
        return self._meta_now()["result"]

    info = result

    def _meta_now(self) -> dict[str, Any]:
        """Celery's meta of the result, or one made of the job's record while there is none."""
        meta: dict[str, Any] = self._get_task_meta()
        if meta["status"] != states.PENDING:
            return meta
        store = process_store()
        now = store.drive(job_now(store.keys, self.id))
        if now is None:
            return meta
        # It may have ended between the two looks.
        return self._get_task_meta() if now.state in ENDED else {**meta, **_shown(now)}

    def ready(self) -> bool:
        """Whether there is a result; one look into Redis, as in Celery."""
        meta: dict[str, Any] = self._get_task_meta()
        return meta["status"] in states.READY_STATES


def _shown(now: JobNow) -> dict[str, Any]:
    if now.has_steps:
        return {"status": PROGRESS, "result": asdict(now.progress)}
    return {"status": states.STARTED} if now.state is JobState.RUNNING else {}

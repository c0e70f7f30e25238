"""A job as a resource: what is known of it now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.asking import has_answer, plain_answer
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.moments import rfc3339
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    Cancelled,
    NotFound,
    NotReady,
    ServiceError,
)
from local_llm_service.worker.store.calls import Calls, Command
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.progress import NOTHING, Progress, noted_of
from local_llm_service.worker.store.states import ENDED, JobRecord, JobState


class JobError(BaseModel):
    """Why a job has no answer."""

    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """What is told of an error."""
        return cls(code=error.code, message=error.message, hint=error.hint)


class JobProgress(BaseModel):
    """How far a job is: `done` of `total` steps, and in a word what it does, or its state."""

    model_config = ConfigDict(from_attributes=True)

    done: int
    total: int
    phase: str


class JobResource(BaseModel):
    """A job. `answer` once it has succeeded, `error` once it has failed or was cancelled.

    What Redis does not know any more is null: a job that the cache answered has no queue.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["job"] = "job"
    kind: str | None
    status: JobState
    queue: str | None
    progress: JobProgress
    submitted_at: str | None
    """RFC 3339, by the clock of Redis."""
    deadline_at: str | None
    """The same."""
    answer: dict[str, Any] | None = None
    error: JobError | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ENDED


async def resource_of(call: Call, job: AsyncJob[Any]) -> JobResource:
    """A job as it is now. Raises NotFound and BrokerUnreachable."""
    record, noted = JobRecord(), NOTHING
    if not has_answer(job):  # of a job that the cache has answered there is none
        record, noted = await call.service.drive(_record(call.service.store.keys, job.id))
    answer, error = None, None
    try:
        answer = await plain_answer(call, job, 0)
        state, record_kind = JobState.SUCCEEDED, answer["kind"]
    except NotReady:
        state, record_kind = record.state, record.kind
    except (NotFound, BrokerUnreachable):  # no job ends so
        raise
    except ServiceError as failure:
        state = JobState.CANCELLED if isinstance(failure, Cancelled) else JobState.FAILED
        record_kind = record.kind
        error = JobError.of(failure)
    return JobResource(
        id=job.id,
        kind=record_kind or None,
        status=state,
        queue=record.queue or None,
        progress=JobProgress.model_validate(Progress.of(state, noted)),
        submitted_at=_time(record.submitted_ms),
        deadline_at=_time(record.deadline_ms),
        answer=answer,
        error=error,
    )


def _record(keys: Keys, task_id: str) -> Calls[tuple[JobRecord, Mapping[str, str | None]]]:
    """The record, empty where there is none, and the one that notes how far the job is."""
    found = yield Command(("HGETALL", keys.job(task_id)))
    return JobRecord.of(found) or JobRecord(), (yield from noted_of(keys, found))


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339(milliseconds)

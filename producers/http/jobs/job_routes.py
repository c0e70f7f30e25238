"""`/v1/jobs`: jobs as resources, which belong to nobody's connection."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.explain import explain
from local_llm_service.producers.http.asking import no_such_job, own_job
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.producers.http.jobs.job_body import JobBody, own_words
from local_llm_service.producers.http.jobs.job_events import job_events, reader_place
from local_llm_service.producers.http.jobs.job_resource import JobResource, resource_of
from local_llm_service.producers.http.jobs.prefer import preference_of
from local_llm_service.producers.http.jobs.submitting import once, preferred_reply, reply_of
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.renaming import in_words_of
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.worker.store.states import JobState


class EventsQuery(BaseModel):
    """`after`: the `id` of the last event that the reader has."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(None, max_length=80)


class Explained(BaseModel):
    """Why a job waits; `reason` is null where it waits for nothing but its turn."""

    id: str
    status: JobState
    reason: str | None


async def submit_job(call: Call) -> Response:
    """Submit a job; what the request prefers says whether the reply waits for its answer."""
    body = await call.read(JobBody)
    asked = body.asked()
    with in_words_of(own_words):
        job = await once(call, asked, body.webhook)
    return await preferred_reply(call, job, preference_of(call))


async def show_job(call: Call) -> Response:
    """A job as it is now."""
    return await reply_of(call, await resource_of(call, _job(call)), 200)


async def stream_job(call: Call) -> Response:
    """A job's text while it is written."""
    after, has_read_all = reader_place(call, call.read_query(EventsQuery).after)
    job = _job(call)
    state = await _known_state(job)
    if has_read_all:
        return Response(status_code=204)
    return EventStream(call, job_events(call, job, after, state))


async def cancel_job(call: Call) -> Response:
    """Cancel a job; 202 while its worker is about to stop it."""
    job = _job(call)
    if await job.cancel() is JobState.UNKNOWN:
        raise no_such_job()
    found = await resource_of(call, job)
    return await reply_of(call, found, 200 if found.has_ended else 202)


async def explain_job(call: Call) -> Response:
    """What a job waits for."""
    job = _job(call)
    state = await _known_state(job)
    reason = await asyncio.to_thread(explain, job.id)
    return json_reply(Explained(id=job.id, status=state, reason=reason).model_dump(mode="json"))


def _job(call: Call) -> AsyncJob[Any]:
    return own_job(call, call.request.path_params["task_id"])


async def _known_state(job: AsyncJob[Any]) -> JobState:
    state = await job.status()
    if state is JobState.UNKNOWN:
        raise no_such_job()
    return state


_JOB = "/v1/jobs/{task_id}"
_ENDED_OR_NOT = {200: JobResource, 202: JobResource}
OPERATIONS = (
    Operation(
        "POST", "/v1/jobs", submit_job, "Submit a job", "jobs", body=JobBody, answers=_ENDED_OR_NOT
    ),
    Operation("GET", _JOB, show_job, "A job as it is now", "jobs", answers={200: JobResource}),
    Operation(
        "GET",
        f"{_JOB}/events",
        stream_job,
        "A job's text while it is written",
        "jobs",
        query=EventsQuery,
        answers={200: "text/event-stream", 204: None},
    ),
    Operation("DELETE", _JOB, cancel_job, "Cancel a job", "jobs", answers=_ENDED_OR_NOT),
    Operation("POST", f"{_JOB}/cancel", cancel_job, "Cancel a job", "jobs", answers=_ENDED_OR_NOT),
    Operation(
        "GET",
        f"{_JOB}/explain",
        explain_job,
        "What a job waits for",
        "jobs",
        answers={200: Explained},
    ),
)

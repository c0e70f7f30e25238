"""A job's text as server-sent events, from any place in it.

An event's `id` is the place after it, and `Last-Event-ID` brings it back. That of the last event
says that there is nothing more: a browser, which would connect again for ever, gets 204.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import sse
from local_llm_service.producers.http.job_news import News, with_news
from local_llm_service.producers.http.job_stream import error_of, followed
from local_llm_service.producers.http.jobs.job_resource import JobError
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.producers.http.replies import one_line
from local_llm_service.producers.text_reader import TextReader
from local_llm_service.worker.errors import ServiceError, ShuttingDown
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.states import JobState

_END = ".end"


def reader_place(call: Call, after: str | None) -> tuple[str | None, bool]:
    """Where the request's reader is, and whether it has read to the end.

    A header is newer than a query, which a browser repeats. Raises InvalidRequest.
    """
    given = call.header("last-event-id") or after
    if not given or given == "0":
        return None, False
    place = given.removesuffix(_END)
    TextReader[Any](place)  # is it one?
    return place, place != given


async def job_events(
    call: Call, job: AsyncJob[Any], after: str | None, state: JobState
) -> AsyncGenerator[bytes, None]:
    """The events of a job in this state."""
    news = with_news(call, job, followed(call, job, after), state)
    try:
        yield _event("status", {"status": state})
        async for one in news:
            yield _told(call, one)
    except ServiceError as error:
        yield _event("error", problem_of(error, call.request_id).body)
    finally:
        await news.aclose()


def _told(call: Call, event: News) -> bytes:
    if isinstance(event, JobState):
        return _event("status", {"status": event})
    if isinstance(event, Progress):
        return _event("progress", asdict(event))
    if event.type == "text":
        return _event("text", {"text": event.text}, event.offset)
    if event.type == "restart":
        return _event("restart", {}, event.offset)
    if event.type == "end" and event.answer is not None:
        answer = event.answer.plain()
        return _event("done", {"answer": answer}, event.offset + _END)
    error = error_of(event)
    if isinstance(error, ShuttingDown):  # the job goes on; the reader comes back, to another one
        return _event("error", problem_of(error, call.request_id).body)
    told = JobError.of(error).model_dump()
    return _event(event.type, {"error": told}, event.offset + _END)


def _event(name: str, data: dict[str, Any], place: str = "") -> bytes:
    return sse(one_line(data), event=name, id=place)

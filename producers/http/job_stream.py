"""A job's text as it is written, for a request that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any, TypeVar
from weakref import finalize

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.asking import (
    Asked,
    has_answer,
    longest_wait,
    nobody_ends_it,
    patient,
    shutting_down,
    submit,
)
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import unbroken
from local_llm_service.producers.http.reading import as_object
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import ServiceError

T = TypeVar("T")


@dataclass(frozen=True)
class JobStream:
    """A job whose text is read while it is written; `events` never says "restart"."""

    job: AsyncJob[Any]
    events: AsyncIterator[StreamEvent[Any]] = field(repr=False)


async def stream(call: Call, asked: Asked) -> JobStream:
    """Submit a job whose text is read meanwhile; a reader that goes away leaves it as `answer`.

    Raises RateLimited, before there is a job, also for a stream too many.
    """
    await call.open_stream()
    asked = patient(call, asked)
    job = await submit(call, with_text(asked))
    most = longest_wait(asked, call.service.settings)
    events = unbroken(followed(call, job, timeout_seconds=most))
    if not has_answer(job):
        events = attended_stream(call, job.id, _explained(call, job, events))
    return JobStream(job, events)


def with_text(asked: Asked) -> Asked:
    """The same, with a text that can be read while it is written."""
    return Asked(asked.kind, {**as_object(asked.arguments), "stream": True})


async def followed(
    call: Call,
    job: AsyncJob[Any],
    after: str | None = None,
    timeout_seconds: float | None = None,
) -> AsyncGenerator[StreamEvent[Any], None]:
    """A job's events. The last one is a failure: ShuttingDown, where this process ends, and
    DeadlineExceeded after `timeout_seconds`."""
    events = job.stream(after)
    end = monotonic() + (inf if timeout_seconds is None else timeout_seconds)
    stopping = asyncio.create_task(call.service.stopping.wait())
    step: asyncio.Task[StreamEvent[Any]] | None = None
    offset = after or ""
    try:
        while True:
            step = asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait(
                (step, stopping),
                timeout=None if end == inf else max(0.0, end - monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not step.done():
                error = shutting_down(job.id) if done else nobody_ends_it()
                yield StreamEvent("failed", offset=offset, error=error)
                return
            try:
                event = step.result()
            except StopAsyncIteration:
                return
            offset = event.offset
            yield event
    finally:
        stopping.cancel()
        if step is not None and not step.done():
            step.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await step
        await events.aclose()


async def _explained(
    call: Call, job: AsyncJob[Any], events: AsyncGenerator[StreamEvent[Any], None]
) -> AsyncGenerator[StreamEvent[Any], None]:
    """The events of a job that is attended; see Attendance.explained."""
    try:
        async for event in events:
            error = event.error and call.service.attendance.explained(job.id, event.error)
            if error is not event.error:
                event = StreamEvent("failed", offset=event.offset, error=error)
            yield event
    finally:
        await events.aclose()


def attended_stream(
    call: Call, task_id: str, pieces: AsyncGenerator[T, None], reader: object = None
) -> AsyncGenerator[T, None]:
    """The pieces of a stream whose job is there for those who read it, as `reader` does.

    A reader that stops before the end has left the job.
    """
    attendance = call.service.attendance

    async def held() -> AsyncGenerator[T, None]:
        async with attendance.hold(task_id, reader):
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await pieces.aclose()

    attendance.begin(task_id, reader)
    stream = held()
    # Should nobody ever read it: the client has gone already.
    finalize(stream, attendance.leave, task_id, reader, quietly=True).atexit = False
    return stream


def error_of(event: StreamEvent[Any]) -> ServiceError:
    """The error of a last event that is not an answer."""
    if event.error is None:
        raise ValueError(f"a {event.type!r} event has no error")
    return event.error

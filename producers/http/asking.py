"""A request's job: submitted within its caller's limits, then waited for or followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import finalize

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.call import Call, ClientGone
from local_llm_service.producers.http.callers.concurrency import counted
from local_llm_service.producers.http.event_stream import unbroken
from local_llm_service.producers.http.known_models import check_model
from local_llm_service.producers.http.reading import as_object
from local_llm_service.producers.job_core import JobCore, task_of
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    ServiceError,
    ShuttingDown,
)
from local_llm_service.worker.store.keys import PRIORITIES
from local_llm_service.worker.store.webhooks import EventKind
from local_llm_service.worker.task_id import is_usable

#: A tenant's own scopes are named under its name.
SCOPE_CHARACTERS_MOST = 100


@dataclass(frozen=True)
class Asked:
    """What a request asks: a kind, with its arguments and options by name."""

    kind: str
    arguments: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class JobStream:
    """A job whose text is read while it is written; `events` never says "restart"."""

    job: AsyncJob[Any]
    events: AsyncIterator[StreamEvent[Any]] = field(repr=False)


async def submit(
    call: Call,
    asked: Asked,
    *,
    task_id: str | None = None,
    webhook: str | None = None,
    event_kind: EventKind = "job",
) -> AsyncJob[Any]:
    """Submit a job for the caller. `webhook`: the URL that is told of its end, by an event of this
    kind (webhooks/noting.py).

    Raises Forbidden, RateLimited, ModelMissing for a model that no worker has, and what
    `AsyncClient.submit` raises; InvalidRequest for a URL that no event may go to. Then nothing was
    queued.
    """
    if webhook is not None:
        await webhooks.check_target(call.service, webhook)
    given = as_object(asked.arguments)
    given = {**given, **_limited(call, asked.kind, given)}
    given.pop("task_id", None)
    await check_model(call.service, given.get("model"))
    made = task_id or call.caller.new_id()
    async with counted(call.service, call.caller, made):
        job = await call.service.client.submit(asked.kind, given, task_id=made)
    if webhook is not None:
        await webhooks.notify_at_end(call.service, job.id, webhook, event_kind)
    return job


async def answer(call: Call, asked: Asked) -> dict[str, Any]:
    """Submit a job and wait for its answer, as plain data. Raises as `submit` and `attended`."""
    return await attended(call, await submit(call, patient(call, asked)))


async def attended(call: Call, job: AsyncJob[Any]) -> dict[str, Any]:
    """The answer of a job that is there for this request alone, as plain data.

    Raises the job's own error; ClientGone, whose job is left ORPHAN_SECONDS; ShuttingDown.
    """
    if has_answer(job):
        return await plain_answer(call, job)
    async with call.service.attendance.hold(job.id):
        return await waited(call, job)


async def waited(call: Call, job: AsyncJob[Any]) -> dict[str, Any]:
    """A job's answer as plain data. Raises the job's own error, ClientGone and ShuttingDown."""
    waiting = asyncio.create_task(plain_answer(call, job))
    gone = asyncio.create_task(call.gone())
    stopping = asyncio.create_task(call.service.stopping.wait())
    try:
        await asyncio.wait((waiting, gone, stopping), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if gone.done():
            raise ClientGone
        raise shutting_down(job.id)
    finally:
        for task in (waiting, gone, stopping):
            task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await waiting


def has_answer(job: AsyncJob[Any]) -> bool:
    """Whether the answer is known in this process: the cache had it."""
    return job._facts.result is not None


async def plain_answer(
    call: Call, job: AsyncJob[Any], timeout_seconds: float | None = None
) -> dict[str, Any]:
    """A job's answer as plain data, whoever goes away; see JobCore.plain_result."""
    here = call.service.client.here()
    return await here.drive(JobCore(here, job._facts).plain_result(timeout_seconds))


async def stream(call: Call, asked: Asked) -> JobStream:
    """Submit a job whose text is read meanwhile; a reader that goes away leaves it as `answer`.

    Raises RateLimited, before there is a job, also for a stream too many.
    """
    await call.open_stream()
    job = await submit(call, streamed(patient(call, asked)))
    events = unbroken(followed(call, job))
    if not has_answer(job):
        events = _attended_events(call, job, events)
        attendance = call.service.attendance
        attendance.begin(job.id)
        # Should nobody ever read them: the client has gone already.
        finalize(events, attendance.leave, job.id, quietly=True).atexit = False
    return JobStream(job, events)


def streamed(asked: Asked) -> Asked:
    """The same, with a text that can be read while it is written."""
    return Asked(asked.kind, {**as_object(asked.arguments), "stream": True})


async def followed(
    call: Call, job: AsyncJob[Any], after: str | None = None
) -> AsyncGenerator[StreamEvent[Any], None]:
    """A job's events. The last one is a failure, ShuttingDown, where this process ends."""
    events = job.stream(after)
    stopping = asyncio.create_task(call.service.stopping.wait())
    step: asyncio.Task[StreamEvent[Any]] | None = None
    offset = after or ""
    try:
        while True:
            step = asyncio.ensure_future(anext(events))
            await asyncio.wait((step, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                yield StreamEvent("failed", offset=offset, error=shutting_down(job.id))
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


async def _attended_events(
    call: Call, job: AsyncJob[Any], events: AsyncGenerator[StreamEvent[Any], None]
) -> AsyncGenerator[StreamEvent[Any], None]:
    """The events of a job that is there for this request alone."""
    attendance = call.service.attendance
    async with attendance.hold(job.id):
        try:
            async for event in events:
                error = event.error and attendance.explained(job.id, event.error)
                if error is not event.error:
                    event = StreamEvent("failed", offset=event.offset, error=error)
                yield event
        finally:
            await events.aclose()


def own_job(call: Call, task_id: str) -> AsyncJob[Any]:
    """The job of an id that the caller may know. Raises NotFound for any other id."""
    if not is_usable(task_id) or not call.caller.owns(task_id):
        raise NotFound("no such job")
    return call.service.client.job(task_id)


def shutting_down(task_id: str) -> ShuttingDown:
    """The error for those who still wait for a job when this process ends."""
    return ShuttingDown(f"this process ends; job {task_id} goes on")


def patient(call: Call, asked: Asked) -> Asked:
    """The same, with the caller's patience as its deadline if it names none.

    And ORPHAN_SECONDS more: a client that gives up asks again, and is to find its job running.
    """
    given = as_object(asked.arguments)
    patience = call.header("x-stainless-read-timeout")
    if patience is None or given.get("deadline_seconds") is not None:
        return asked
    try:
        seconds = float(patience)
    except ValueError:
        return asked
    if not 0 < seconds <= 31_536_000:
        return asked
    seconds += call.service.settings.orphan_seconds
    return Asked(asked.kind, {**given, "deadline_seconds": seconds})


def _limited(call: Call, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the caller's tenant and ceiling change. Raises Forbidden."""
    caller = call.caller
    found: dict[str, Any] = {}
    named = given.get("priority")
    ceiling = PRIORITIES.index(caller.ceiling)
    if named in PRIORITIES and PRIORITIES.index(named) < ceiling:
        raise Forbidden(
            f"priority: this key may use {caller.ceiling!r} and what is less urgent",
            "Leave the priority out, or ask the operator for a key with a higher ceiling.",
        )
    if named is None and PRIORITIES.index(task_of(kind).kind.default_priority) < ceiling:
        found["priority"] = caller.ceiling
    if caller.tenant is not None:
        found["cache_scope"] = scope_of(caller.tenant, given.get("cache_scope"))
    return found


def scope_of(tenant: str, given: object) -> str:
    """The cache scope of a tenant's call that names `given`. Raises InvalidRequest."""
    if given is None:
        return tenant
    if not isinstance(given, str) or not 0 < len(given) <= SCOPE_CHARACTERS_MOST:
        raise InvalidRequest(
            f"cache_scope: must be text of 1 to {SCOPE_CHARACTERS_MOST} characters"
        )
    return f"{tenant}/{given}"


def error_of(event: StreamEvent[Any]) -> ServiceError:
    """The error of a last event that is not an answer."""
    if event.error is None:
        raise ValueError(f"a {event.type!r} event has no error")
    return event.error

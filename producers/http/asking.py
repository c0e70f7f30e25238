"""A request's job: submitted within its caller's limits, then waited for (job_stream.py reads)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.call import Call, ClientGone
from local_llm_service.producers.http.callers.concurrency import counted
from local_llm_service.producers.http.full_queue import estimate_wait
from local_llm_service.producers.http.known_models import check_model
from local_llm_service.producers.http.locality import kept_local, stays_local
from local_llm_service.producers.http.reading import as_object
from local_llm_service.producers.job_core import JobCore, task_of
from local_llm_service.worker.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    QueueFull,
    ShuttingDown,
)
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.bounds import LONGEST_DEADLINE_SECONDS
from local_llm_service.worker.store.keys import PRIORITIES
from local_llm_service.worker.store.progress import JobNow
from local_llm_service.worker.store.webhooks import EventKind
from local_llm_service.worker.task_id import is_usable

#: A worker ends a job whose deadline has passed, within so long. If none does, none is there.
LATE_SECONDS = 5.0
#: A tenant's own scopes are named under its name.
SCOPE_CHARACTERS_MOST = 100


@dataclass(frozen=True)
class Asked:
    """What a request asks: a kind, with its arguments and options by name."""

    kind: str
    arguments: dict[str, Any] = field(repr=False)


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
        try:
            job = await call.service.client.submit(asked.kind, given, task_id=made)
        except QueueFull as error:
            await estimate_wait(call.service, error)
            raise
    if webhook is not None:
        await webhooks.notify_at_end(call.service, job.id, webhook, event_kind)
    return job


async def answer(call: Call, asked: Asked) -> dict[str, Any]:
    """Submit a job and wait for its answer, as plain data. Raises as `submit` and `attended`."""
    asked = patient(call, asked)
    job = await submit(call, asked)
    return await attended(call, job, longest_wait(asked, call.service.settings))


async def attended(call: Call, job: AsyncJob[Any], timeout_seconds: float) -> dict[str, Any]:
    """The answer of a job that is there for this request alone, as plain data.

    Raises the job's own error; DeadlineExceeded where no worker says that; ClientGone, whose job
    is left ORPHAN_SECONDS; ShuttingDown.
    """
    if has_answer(job):
        return await plain_answer(call, job)
    async with call.service.attendance.hold(job.id, by=call):
        return await waited(call, job, timeout_seconds)


async def waited(
    call: Call, job: AsyncJob[Any], timeout_seconds: float | None = None
) -> dict[str, Any]:
    """A job's answer as plain data.

    Raises the job's own error, ClientGone, ShuttingDown, and DeadlineExceeded after
    `timeout_seconds`.
    """
    waiting = asyncio.create_task(plain_answer(call, job))
    gone = asyncio.create_task(call.gone())
    stopping = asyncio.create_task(call.service.stopping.wait())
    try:
        done, _ = await asyncio.wait(
            (waiting, gone, stopping),
            timeout=timeout_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if waiting.done():
            return waiting.result()
        if gone.done():
            raise ClientGone
        raise shutting_down(job.id) if done else nobody_ends_it()
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


async def job_now(call: Call, job: AsyncJob[Any]) -> JobNow:
    """Where a job is and how far, in one look. Raises BrokerUnreachable."""
    here = call.service.client.here()
    return await here.drive(JobCore(here, job._facts).now())


def own_job(call: Call, task_id: str) -> AsyncJob[Any]:
    """The job of an id that the caller may know. Raises NotFound for any other id."""
    if not is_usable(task_id) or not call.caller.owns(task_id):
        raise no_such_job()
    return call.service.client.job(task_id)


def no_such_job() -> NotFound:
    """The error for an id that the caller does not own, or that is none."""
    return NotFound("no such job")


def shutting_down(task_id: str) -> ShuttingDown:
    """The error for those who still wait for a job when this process ends."""
    return ShuttingDown(f"this process ends; job {task_id} goes on")


def nobody_ends_it() -> DeadlineExceeded:
    """The error for a job whose deadline passed while no worker was there to say so."""
    return DeadlineExceeded(
        "the deadline passed, and no worker says what became of the job",
        "Start a worker, or see in `local-llm health` what is the matter with those that run.",
    )


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
    if not 0 < seconds <= LONGEST_DEADLINE_SECONDS:
        return asked
    seconds += call.service.settings.orphan_seconds
    return Asked(asked.kind, {**given, "deadline_seconds": seconds})


def kept_seconds(asked: Asked, settings: Settings) -> int:
    """How long what belongs to a job is kept, beside the job: to its deadline, and RESULT_TTL."""
    return int(_deadline_seconds(asked, settings)) + 1 + settings.result_ttl


def longest_wait(asked: Asked, settings: Settings) -> float:
    """Seconds after which nobody need wait for the job's result."""
    return _deadline_seconds(asked, settings) + LATE_SECONDS


def _deadline_seconds(asked: Asked, settings: Settings) -> float:
    deadline = asked.arguments.get("deadline_seconds")
    if isinstance(deadline, int | float) and 0 < deadline <= LONGEST_DEADLINE_SECONDS:
        return deadline
    return settings.deadline_seconds


def _limited(call: Call, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the caller changes: tenant, ceiling, what stays local. Raises Forbidden."""
    caller = call.caller
    found: dict[str, Any] = kept_local(given, stays_local(call))
    named = given.get("priority")
    if named in PRIORITIES and caller.at_most(named) != named:
        raise Forbidden(
            f"priority: this key may use {caller.ceiling!r} and what is less urgent",
            "Leave the priority out, or ask the operator for a key with a higher ceiling.",
        )
    if named is None:
        found["priority"] = caller.at_most(task_of(kind).kind.default_priority)
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

"""Submits a job that belongs to nobody's connection, and replies with what it is by then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.asking import (
    Asked,
    has_answer,
    kept_seconds,
    plain_answer,
    submit,
    waited,
)
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.jobs.job_body import digest_of
from local_llm_service.producers.http.jobs.job_resource import JobResource, resource_of
from local_llm_service.producers.http.jobs.prefer import (
    Preference,
    idempotency_key,
    preference_of,
)
from local_llm_service.producers.http.locality import kept_local, stays_local
from local_llm_service.producers.http.replies import answer_headers, json_reply
from local_llm_service.worker.errors import IdempotencyMismatch, NotReady, ServiceError
from local_llm_service.worker.store.idempotency import claim_key

#: When to ask again for a job that has not ended, seconds.
RETRY_AFTER = {"Retry-After": "1"}


async def once(call: Call, asked: Asked, webhook: str | None = None) -> AsyncJob[Any]:
    """Submit the job of a request, or find the one that was submitted under its Idempotency-Key.

    `webhook`: the URL that is told of its end. Raises IdempotencyMismatch for a key that came with
    another request, and what `submit` raises.
    """
    key = idempotency_key(call)
    if key is None:
        return await submit(call, asked, webhook=webhook)
    asked = Asked(asked.kind, asked.arguments | kept_local(asked.arguments, stays_local(call)))
    task_id, digest = call.caller.new_id(key), digest_of(asked, webhook)
    seconds = kept_seconds(asked, call.service.settings)
    claim = claim_key(call.service.store.keys, task_id, digest, seconds)
    if await call.service.drive(claim) != digest:
        raise IdempotencyMismatch("Idempotency-Key: was used for another request")
    return await submit(call, asked, task_id=task_id, webhook=webhook)


async def preferred_reply(call: Call, job: AsyncJob[Any], preference: Preference) -> Response:
    """The reply for a job that was submitted: as it is, or after the preferred wait."""
    waits = await _wait(call, job, preference)
    found = await resource_of(call, job)
    applied = preference.applied if waits or not found.has_ended else {}
    return await reply_of(call, found, 200 if found.has_ended else 202, applied)


async def as_preferred(call: Call, asked: Asked) -> Response | None:
    """The reply of a route that waits, for a request that prefers `respond-async`; else None.

    An answer that is there in time is replied as the route does it. `wait` alone changes nothing.
    """
    preference = preference_of(call)
    if not preference.respond_async:
        return None
    job = await once(call, asked)
    await _wait(call, job, preference)
    try:
        answer = await plain_answer(call, job, 0)
    except NotReady:
        return await reply_of(call, await resource_of(call, job), 202, preference.applied)
    return json_reply(answer, headers=await answer_headers(call, answer))


async def _wait(call: Call, job: AsyncJob[Any], preference: Preference) -> bool:
    """Wait as long as preferred; whether that was asked. What has come of it, a look says."""
    if not preference.wait_seconds or has_answer(job):
        return False
    with suppress(TimeoutError, ServiceError):
        async with asyncio.timeout(preference.wait_seconds):
            await waited(call, job)
    return True


async def reply_of(
    call: Call, found: JobResource, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """A reply with a job."""
    said = await answer_headers(call, found.answer or {"task_id": found.id})
    place = {"Location": f"/v1/jobs/{found.id}", **said}
    again = {} if found.has_ended else RETRY_AFTER
    return json_reply(plain(found), status, {**place, **again, **(headers or {})})


def plain(found: JobResource) -> dict[str, Any]:
    """A job as JSON: with an answer, an error, or neither of them."""
    left_out = {name for name in ("answer", "error") if getattr(found, name) is None}
    return found.model_dump(mode="json", exclude=left_out)

"""Responses and what is kept of them: submitted, found again, continued."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.asking import (
    Asked,
    has_answer,
    kept_seconds,
    own_job,
    patient,
    plain_answer,
    submit,
)
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.job_stream import with_text
from local_llm_service.producers.http.openai.responses_ask import ResponseAsk, own_words
from local_llm_service.producers.http.openai.responses_object import (
    PREFIX,
    ResponseFacts,
    answered,
    as_input,
    failed,
    output_of,
    pending,
    status_of,
)
from local_llm_service.producers.http.renaming import in_words_of
from local_llm_service.producers.job_core import task_of
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    InvalidRequest,
    NotFound,
    NotReady,
    ServiceError,
)
from local_llm_service.worker.store import responses as stored


async def conversation_of(call: Call, response_id: str | None) -> tuple[list[dict[str, Any]], bool]:
    """The items up to the answer of a response that a new one continues, and whether these have to
    stay on one's own hardware.

    Raises InvalidRequest where it is not there, or has no answer.
    """
    if response_id is None:
        return [], False
    try:
        facts, job = await kept_response(call, response_id)
        answer = await plain_answer(call, job, 0)
    except NotFound:
        raise InvalidRequest(
            "previous_response_id: there is no such response",
            "It is kept for RESULT_TTL, if it was stored. Send all items instead.",
        ) from None
    except NotReady:
        raise InvalidRequest(
            "previous_response_id: has no answer yet", "Retrieve it until it is completed."
        ) from None
    except BrokerUnreachable:
        raise
    except ServiceError:
        raise InvalidRequest(
            "previous_response_id: has no answer, as it has failed", "Continue an earlier one."
        ) from None
    items = [*facts.items, *as_input(output_of(facts.task_id, answer))]
    return items, answer.get("keep_local") is True


async def submitted(call: Call, ask: ResponseAsk, facts: ResponseFacts) -> AsyncJob[Any]:
    """Submit the job of a response. What is kept of it is there before the job can end."""
    service, keys = call.service, call.service.store.keys
    with in_words_of(own_words):
        task_of(ask.asked.kind).parse((), ask.asked.arguments)  # before anything of it is kept
    asked = bounded(call, ask)
    asked = with_text(asked) if ask.streams or ask.in_background else asked
    if not ask.is_stored:
        with in_words_of(own_words):
            return await _submit(call, ask, asked, facts.task_id)
    seconds = kept_seconds(asked, service.settings)
    await service.drive(stored.keep_response(keys, facts.task_id, facts.as_json(), seconds))
    try:
        with in_words_of(own_words):
            job = await _submit(call, ask, asked, facts.task_id)
    except BaseException:
        with suppress(ServiceError):
            await service.drive(stored.drop_response(keys, facts.task_id))
        raise
    if has_answer(job):  # it would be there for HIT_RESULT_TTL
        await service.drive(stored.keep_result(keys, job.id, service.settings.result_ttl))
    return job


def bounded(call: Call, ask: ResponseAsk) -> Asked:
    """What is asked, with a deadline where its caller's patience is one."""
    return ask.asked if ask.in_background else patient(call, ask.asked)


async def _submit(call: Call, ask: ResponseAsk, asked: Asked, task_id: str) -> AsyncJob[Any]:
    webhook = ask.webhook
    return await submit(call, asked, task_id=task_id, webhook=webhook, event_kind="response")


async def object_now(call: Call, facts: ResponseFacts, job: AsyncJob[Any]) -> dict[str, Any]:
    try:
        return answered(facts, await plain_answer(call, job, 0))
    except NotReady:
        return pending(facts, status_of(await job.status()))
    except (NotFound, BrokerUnreachable):  # no job ends so
        raise
    except ServiceError as error:
        return failed(facts, error)


async def kept_response(call: Call, response_id: str) -> tuple[ResponseFacts, AsyncJob[Any]]:
    """What is kept of a response of this caller's, and its job. Raises NotFound."""
    if not response_id.startswith(PREFIX):
        raise no_response()
    try:
        job = own_job(call, response_id.removeprefix(PREFIX))
    except NotFound:
        raise no_response() from None
    text = await call.service.drive(stored.response(call.service.store.keys, job.id))
    if text is None:
        raise no_response()
    return ResponseFacts.of(text), job


def no_response() -> NotFound:
    return NotFound(
        "no such response", "It is kept for RESULT_TTL seconds after its end, if it was stored."
    )

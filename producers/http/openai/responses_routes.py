"""`/v1/responses`: OpenAI's Responses, on the kind `chat`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import time
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.async_client import AsyncJob
from local_llm_service.producers.http.asking import (
    attended,
    has_answer,
    longest_wait,
    waited,
)
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.producers.http.known_models import check_model, default_model
from local_llm_service.producers.http.openai.responses_ask import ask_of
from local_llm_service.producers.http.openai.responses_kept import (
    bounded,
    conversation_of,
    kept_response,
    no_response,
    object_now,
    submitted,
)
from local_llm_service.producers.http.openai.responses_object import (
    ResponseFacts,
    answered,
    listed,
    pending,
)
from local_llm_service.producers.http.openai.responses_request import ResponseRequest, refuse
from local_llm_service.producers.http.openai.responses_shapes import (
    InputItemList,
    InputItemsQuery,
    ResponseDeleted,
    ResponseObject,
    RetrieveQuery,
)
from local_llm_service.producers.http.openai.responses_stream import resumed, written
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.reading import as_object, checked
from local_llm_service.producers.http.replies import answer_headers, json_reply
from local_llm_service.worker.errors import (
    InvalidRequest,
    ServiceError,
)
from local_llm_service.worker.store import responses as stored
from local_llm_service.worker.store.states import JobState

#: How long a cancel waits for the worker to stop, so that its reply can say `cancelled`.
CANCEL_SECONDS = 2.0


async def create(call: Call) -> Response:
    """Ask for a response: at once, streamed, or in the background."""
    request = checked(ResponseRequest, refuse(as_object(await call.json())))
    before, is_kept = await conversation_of(call, request.previous_response_id)
    if is_kept:  # so is what continues it
        request = request.model_copy(update={"keep_local": True})
    ask = ask_of(request, call.caller, before)
    facts = ResponseFacts(call.caller.new_id(), int(time()), ask.echo, ask.items)
    facts.echo["model"] = request.model or await default_model(call.service)
    await check_model(call.service, request.model)
    if ask.streams:
        await call.open_stream()
    job = await submitted(call, ask, facts)
    most = longest_wait(bounded(call, ask), call.service.settings)
    headers = await answer_headers(call, {"task_id": job.id, "model": facts.echo["model"]})
    if ask.streams:
        state = JobState.SUCCEEDED if has_answer(job) else JobState.QUEUED
        return EventStream(call, written(call, facts, job, state, most), headers=headers)
    if ask.in_background and not has_answer(job):
        return json_reply(pending(facts, "queued"), headers=headers)
    answer = await attended(call, job, most)
    return json_reply(answered(facts, answer), headers=await answer_headers(call, answer))


async def retrieve(call: Call) -> Response:
    """A response as it is now, or its events after a number."""
    query = call.read_query(RetrieveQuery)
    if query.starting_after is not None and not query.stream:
        raise InvalidRequest("starting_after: needs stream=true")
    if query.stream:
        await call.open_stream()
    facts, job = await _found(call)
    if not query.stream:
        return await _shown(call, await object_now(call, facts, job))
    state = await job.status()
    if state is JobState.UNKNOWN:
        raise no_response()
    pieces = await resumed(call, facts, job, state, query.starting_after)
    headers = await answer_headers(call, {"task_id": job.id, "model": facts.echo["model"]})
    return EventStream(call, pieces, headers=headers)


async def cancel(call: Call) -> Response:
    """Cancel a response; one that has ended stays as it is."""
    facts, job = await _found(call)
    if await job.cancel() is JobState.RUNNING:
        with suppress(TimeoutError, ServiceError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await waited(call, job)
    return await _shown(call, await object_now(call, facts, job))


async def delete(call: Call) -> Response:
    """Forget a response: its conversation, its answer, and its job where that has not ended."""
    facts, job = await _found(call)
    store = call.service.store
    await call.service.drive(stored.drop_response(store.keys, facts.task_id))
    state = await job.cancel()
    if state not in (JobState.RUNNING, JobState.UNKNOWN):
        await call.service.drive(store.jobs.moves.clear([job.id]))
    return json_reply({"id": facts.id, "object": "response", "deleted": True})


async def input_items(call: Call) -> Response:
    """The conversation that a response answered, newest first."""
    query = call.read_query(InputItemsQuery)
    facts, _ = await _found(call)
    items = listed(facts.task_id, facts.items)
    if query.order == "desc":
        items.reverse()
    if query.after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == query.after]
        if not places:
            raise InvalidRequest("after: is the id of no item of this response")
        items = items[places[0] + 1 :]
    page = items[: query.limit]
    return json_reply(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > len(page),
        }
    )


async def _found(call: Call) -> tuple[ResponseFacts, AsyncJob[Any]]:
    return await kept_response(call, call.request.path_params["response_id"])


async def _shown(call: Call, response: dict[str, Any]) -> Response:
    said = {**response["local"], "model": response["model"]}
    return json_reply(response, headers=await answer_headers(call, said))


_PATH = "/v1/responses/{response_id}"
_STREAM = "text/event-stream"
OPERATIONS = (
    Operation(
        "POST",
        "/v1/responses",
        create,
        "Ask for a response",
        "OpenAI",
        body=ResponseRequest,
        answers={200: (ResponseObject, _STREAM)},
    ),
    Operation(
        "GET",
        _PATH,
        retrieve,
        "A response as it is now, or its events",
        "OpenAI",
        query=RetrieveQuery,
        answers={200: (ResponseObject, _STREAM)},
    ),
    Operation(
        "DELETE",
        _PATH,
        delete,
        "Forget a response",
        "OpenAI",
        answers={200: ResponseDeleted},
    ),
    Operation(
        "POST",
        f"{_PATH}/cancel",
        cancel,
        "Cancel a response",
        "OpenAI",
        answers={200: ResponseObject},
    ),
    Operation(
        "GET",
        f"{_PATH}/input_items",
        input_items,
        "The conversation that a response answered",
        "OpenAI",
        query=InputItemsQuery,
        answers={200: InputItemList},
    ),
)

"""/api/chat and /api/generate: one job each, told in one record or in a stream of lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked, JobStream, answer, error_of, stream
from local_llm_service.producers.http.call import Call, ClientGone
from local_llm_service.producers.http.event_stream import KEEP_ALIVE_SECONDS, EventStream
from local_llm_service.producers.http.ollama.asked import (
    asked_by_chat,
    asked_by_generate,
    in_ollamas_words,
)
from local_llm_service.producers.http.ollama.bodies import ChatBody, GenerateBody
from local_llm_service.producers.http.ollama.choices import (
    check_context,
    choices,
    left_out,
    own_thinking,
)
from local_llm_service.producers.http.ollama.models import there
from local_llm_service.producers.http.ollama.records import Records, calls_in
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.producers.http.replies import answer_headers, encoded, json_reply
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import InternalError, InvalidRequest, ServiceError

NDJSON = "application/x-ndjson"

Event = StreamEvent[Any]


async def chat(call: Call) -> Response:
    """The next message of a conversation."""
    body = await call.read(ChatBody)
    records = Records(body.model, in_message=True)
    if not body.messages:
        return await _only_load(call, body, records)
    return await _reply(call, body, records, asked_by_chat(body, _most_tokens(call)))


async def generate(call: Call) -> Response:
    """Text for a prompt."""
    body = await call.read(GenerateBody)
    records = Records(body.model, in_message=False)
    if not body.prompt:
        return await _only_load(call, body, records)
    return await _reply(call, body, records, asked_by_generate(body, _most_tokens(call)))


def _most_tokens(call: Call) -> int:
    return call.service.settings.max_output_tokens


async def _only_load(call: Call, body: ChatBody | GenerateBody, records: Records) -> Response:
    """Nothing is asked. Workers load a model when a job needs it, so there is nothing to do."""
    await there(call.service, body.model)
    return json_reply(records.loaded(unloads=body.unloads))


async def _reply(
    call: Call, body: ChatBody | GenerateBody, records: Records, asked: Asked
) -> Response:
    await check_context(call.service, body.model, body.given)
    await own_thinking(call.service, body.model, body.think)
    asked = Asked(asked.kind, asked.arguments | choices(call))
    try:
        if body.is_streamed:
            return await _streamed(call, records, await stream(call, asked), left_out(body))
        found = await answer(call, asked)
    except InvalidRequest as error:
        raise in_ollamas_words(error, body) from None
    return json_reply(records.whole(found), headers=answer_headers(found) | left_out(body))


async def _streamed(
    call: Call, records: Records, begun: JobStream, headers: Mapping[str, str]
) -> Response:
    """The reply begins with the first event, as Ollama's does: an early failure has its status.

    Where none comes for long, an empty piece keeps the connection alive; clients add nothing to
    their text then.
    """
    events = begun.events
    first = asyncio.ensure_future(anext(events))
    gone = asyncio.create_task(call.gone())
    try:
        await asyncio.wait(
            (first, gone), timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if gone.done() and not first.done():
            raise ClientGone
        if first.done() and (event := first.result()).type in ("failed", "cancelled"):
            raise error_of(event)
    except BaseException:
        await _end(first, events)
        raise
    finally:
        gone.cancel()
    return EventStream(
        call,
        _lines(first, events, records),
        media_type=NDJSON,
        headers={"X-Local-LLM-Task-Id": begun.job.id, **headers},
        keep_alive=_line(records.piece("")),
        seconds=KEEP_ALIVE_SECONDS,
    )


async def _lines(
    first: asyncio.Future[Event], events: AsyncIterator[Event], records: Records
) -> AsyncGenerator[bytes, None]:
    """A line for each piece; the last one is a record with `done`, or an error: never silence."""
    try:
        event = await first
        while event.type == "text":
            yield _line(records.piece(event.text))
            event = await anext(events)
        if event.answer is None:
            yield _error_line(error_of(event))
            return
        found = event.answer.model_dump(mode="json")
        if found["logprobs"] or calls_in(found):
            yield _line(records.piece("", calls_in(found), found["logprobs"] or ()))
        yield _line(records.last(found))
    except ServiceError as error:
        yield _error_line(error)
    except StopAsyncIteration:
        yield _error_line(InternalError("the stream has no end"))
    finally:
        await _end(first, events)


async def _end(first: asyncio.Future[Event], events: AsyncIterator[Event]) -> None:
    """Leave a stream, whose job then has nobody who attends."""
    first.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await first
    if isinstance(events, AsyncGenerator):
        await events.aclose()


def _line(record: dict[str, Any]) -> bytes:
    return encoded(record) + b"\n"


def _error_line(error: ServiceError) -> bytes:
    return _line({"error": problem_of(error).error_object["message"]})

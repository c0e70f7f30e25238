"""/api/chat and /api/generate: one job each, told in one record or in a stream of lines."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked, answer
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import KEEP_ALIVE_SECONDS, EventStream
from local_llm_service.producers.http.first_event import after_first
from local_llm_service.producers.http.job_stream import JobStream, stream
from local_llm_service.producers.http.ollama.asked import (
    asked_by_chat,
    asked_by_generate,
    words_of,
)
from local_llm_service.producers.http.ollama.bodies import ChatBody, GenerateBody
from local_llm_service.producers.http.ollama.choices import check, choices, left_out
from local_llm_service.producers.http.ollama.models import there
from local_llm_service.producers.http.ollama.records import Records, calls_in
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.producers.http.renaming import in_words_of
from local_llm_service.producers.http.replies import answer_headers, json_reply, one_line
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import InternalError, ServiceError

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
    await check(call.service, body)
    asked = Asked(asked.kind, asked.arguments | choices(call, body))
    with in_words_of(words_of(body)):
        if body.is_streamed:
            return await _streamed(call, records, await stream(call, asked), left_out(body))
        found = await answer(call, asked)
    headers = await answer_headers(call, found)
    return json_reply(records.whole(found), headers=headers | left_out(body))


async def _streamed(
    call: Call, records: Records, job: JobStream, headers: Mapping[str, str]
) -> Response:
    """The reply begins with the first event, as Ollama's does.

    Where none comes for long, an empty piece keeps the connection alive; clients add nothing to
    their text then.
    """
    events = await after_first(call, job.events, KEEP_ALIVE_SECONDS)
    said = await answer_headers(call, {"task_id": job.job.id, "model": records.model})
    return EventStream(
        call,
        _lines(events, records),
        media_type=NDJSON,
        headers={**said, **headers},
        keep_alive=_line(records.piece("")),
        seconds=KEEP_ALIVE_SECONDS,
    )


async def _lines(
    events: AsyncGenerator[Event, None], records: Records
) -> AsyncGenerator[bytes, None]:
    """A line for each piece; the last one is a record with `done`, or an error: never silence."""
    error: ServiceError | None = InternalError("the stream has no end")
    try:
        # To its end, whatever the last event is: whoever stops before has left the job.
        async with aclosing(events):
            async for event in events:
                if event.type == "text":
                    yield _line(records.piece(event.text))
                    continue
                error = event.error
                if event.answer is not None:
                    for record in _ending(event.answer, records):
                        yield _line(record)
    except ServiceError as broken:
        error = broken
    if error is not None:
        yield _line({"error": problem_of(error).error_object["message"]})


def _ending(answer: Answer, records: Records) -> Iterator[dict[str, Any]]:
    """What comes after the text: calls and log probabilities, which come with the answer."""
    found = answer.plain()
    if found["logprobs"] or calls_in(found):
        yield records.piece("", calls_in(found), found["logprobs"] or ())
    yield records.last(found)


def _line(record: dict[str, Any]) -> bytes:
    return one_line(record).encode() + b"\n"

"""Streams of OpenAI's API: a job's events as chunks, and an end that no client can miss.

A stream that just stops raises nothing in OpenAI's client: its caller believes half an answer. So
the last thing that is sent is `[DONE]` after a chunk with a `finish_reason`, or an error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Protocol

from local_llm_service.producers.http.event_stream import sse
from local_llm_service.producers.http.job_stream import error_of
from local_llm_service.producers.http.openai.chat_reply import (
    Facts,
    calls_of,
    completion_id,
    fingerprint_of,
    local_of,
    logprobs_of,
    usage_of,
)
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.producers.http.replies import one_line
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.tasks.answer import text_of
from local_llm_service.worker.errors import ServiceError, StreamBroken


class Chunks(Protocol):
    """What the events of a stream are in one of OpenAI's forms."""

    def begin(self) -> Iterator[dict[str, Any]]:
        """What comes before the first text."""

    def text(self, piece: str) -> Iterator[dict[str, Any]]:
        """The next piece of the text."""

    def end(self, answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What comes after the last piece; `answer` is plain."""


class ChatChunks:
    """`chat.completion.chunk`s of one job. Calls and log probabilities come with the answer."""

    def __init__(self, task_id: str, model: str, facts: Facts, *, with_usage: bool) -> None:
        self._shared = {
            "id": completion_id(task_id),
            "object": "chat.completion.chunk",
            "created": facts.created,
            "model": model,
            "system_fingerprint": fingerprint_of(model, facts),
            "service_tier": facts.tier,
        }
        if with_usage:
            self._shared["usage"] = None
        self._with_usage = with_usage

    def begin(self) -> Iterator[dict[str, Any]]:
        yield self._chunk([_choice({"role": "assistant", "content": "", "refusal": None})])

    def text(self, piece: str) -> Iterator[dict[str, Any]]:
        yield self._chunk([_choice({"content": piece})])

    def end(self, answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self._shared["model"] = answer["model"]  # of a route, the one that has answered
        for place, call in enumerate(calls_of(answer["message"])):
            yield self._chunk([_choice({"tool_calls": [{"index": place, **call}]})])
        last = _choice({}, answer["finish_reason"], logprobs_of(answer))
        yield self._chunk([last]) | {"local": local_of(answer)}
        if self._with_usage:
            yield self._chunk([]) | {"usage": usage_of(answer["usage"])}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._shared | {"choices": choices}


def _choice(
    delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None
) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


async def written(
    events: AsyncGenerator[StreamEvent[Any], None], chunks: Chunks
) -> AsyncGenerator[bytes, None]:
    """A job's events as server-sent ones. They end with `[DONE]` or with an error.

    `events` is read to its end: a reader that stops before has left its job.
    """
    has_begun, given = False, []
    error: ServiceError | None = StreamBroken("the stream ended before the answer")
    try:
        async for event in events:
            if not has_begun and event.type in ("text", "end"):
                has_begun = True
                for chunk in chunks.begin():
                    yield _event(chunk)
            if event.type == "text":
                given.append(event.text)
                for chunk in chunks.text(event.text):
                    yield _event(chunk)
            elif event.answer is None:
                error = error_of(event)
            else:
                answer = event.answer.plain()
                error = _differs("".join(given), answer)
                for chunk in chunks.end(answer) if error is None else ():
                    yield _event(chunk)
    except ServiceError as raised:
        error = raised
    finally:
        await events.aclose()
    yield sse("[DONE]") if error is None else _event({"error": problem_of(error).error_object})


def _differs(given: str, answer: Mapping[str, Any]) -> StreamBroken | None:
    """The error for a stream whose text is not the answer's; its reader has believed it."""
    if _encoded(given) == _encoded(text_of(answer)):
        return None
    return StreamBroken("the answer differs from the text that was sent")


def _encoded(text: str) -> bytes:
    """As readers get it: half a character, which a model can write, is replaced."""
    return text.encode(errors="replace")


def _event(data: Mapping[str, Any]) -> bytes:
    return sse(one_line(data))

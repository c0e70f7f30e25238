"""Calls of OpenAI's routes: what is known of them at once, and their streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from time import time
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked, error_of, stream
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.producers.http.openai.body import tier_of
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.openai.chat_stream import Chunks, written
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.fingerprint import full_name

#: A job that fails within this time is told with a status of its own, before the stream begins.
FIRST_SECONDS = 2.0


async def facts_of(call: Call, asked: Asked) -> Facts:
    """What objects say beside their answers, as it is now."""
    models = await call.service.models()
    digests = {full_name(one["name"]): one["digest"] for one in models}
    return Facts(int(time()), tier_of(asked), digests)


async def model_of(call: Call, asked: Asked) -> str:
    """The model of a call whose answer has not come yet."""
    named = asked.arguments.get("model")
    if isinstance(named, str):
        return named
    models = await call.service.models()
    return next((one["name"] for one in models if one["default"]), "")


async def streamed(call: Call, asked: Asked, chunks: Callable[[str], Chunks]) -> Response:
    """The stream of a call. `chunks` makes its form of the job's id.

    Raises the error of a job that has failed within FIRST_SECONDS without a text.
    """
    begun = await stream(call, asked)
    events = begun.events
    first = asyncio.ensure_future(anext(events))
    try:
        await asyncio.wait((first,), timeout=FIRST_SECONDS)
        if first.done() and (event := first.result()).type in ("failed", "cancelled"):
            async for _ in events:  # whoever stops before the end has left the job
                pass
            raise error_of(event)
    except BaseException:
        await _left(first, events)
        raise
    pieces = written(_from_first(first, events), chunks(begun.job.id))
    return EventStream(call, pieces, headers={"X-Local-LLM-Task-Id": begun.job.id})


async def _from_first(
    first: asyncio.Future[StreamEvent[Any]], events: AsyncIterator[StreamEvent[Any]]
) -> AsyncGenerator[StreamEvent[Any], None]:
    try:
        yield await first
        async for event in events:
            yield event
    finally:
        await _left(first, events)


async def _left(
    first: asyncio.Future[StreamEvent[Any]], events: AsyncIterator[StreamEvent[Any]]
) -> None:
    """Close a stream of which nobody reads any more."""
    if not first.done():
        first.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await first
    if isinstance(events, AsyncGenerator):
        await events.aclose()
